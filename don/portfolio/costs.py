"""What trading and holding perpetuals costs, as the optimizer takes it. Pure.

Fees by tier and by how often an order makes; half the spread; impact by the square root of the
share of volume traded (Almgren et al. 2005); funding as carry.
"""

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from pydantic import Field

from don.errors import ConfigError
from don.model.section import Section


class FeeTier(Section):
    """Fees of accounts whose volume in 30 days is at least `volume`; fractions of notional."""

    volume: Decimal = Field(ge=0)  # quote
    maker: Decimal
    taker: Decimal


def tier_of(tiers: Sequence[FeeTier], volume: Decimal) -> FeeTier:
    """The tier of an account.

    Args:
        tiers: in any order, one of them from volume 0.
        volume: traded in 30 days, quote, >= 0.

    Raises:
        ConfigError: if no tier begins at or below the volume.
    """
    reached = [tier for tier in tiers if tier.volume <= volume]
    if not reached:
        raise ConfigError(f"fee tiers must begin at volume 0, none is at or below {volume}")
    return max(reached, key=lambda tier: tier.volume)


def turnover_cost(
    maker: np.ndarray, taker: np.ndarray, half_spread: np.ndarray, maker_share: float
) -> np.ndarray:
    """Cost per unit of turnover: `OptimizeRequest.cost`.

    A taker pays its fee and half the spread; a maker pays its fee and earns no spread here, because
    what a resting order earns it tends to lose to those who know more.

    Args:
        maker: [symbol] fee, a fraction; negative is a rebate.
        taker: [symbol] fee.
        half_spread: [symbol] of the middle price.
        maker_share: part of the volume expected to be made, 0 to 1.

    Returns:
        [symbol], at least 0: a cost below zero would ask for endless turnover.

    Raises:
        ValueError: if the share is not between 0 and 1.
    """
    if not 0.0 <= maker_share <= 1.0:
        raise ValueError(f"maker_share must be from 0 to 1, was {maker_share}")
    paid = maker_share * maker + (1.0 - maker_share) * (taker + half_spread)
    return np.asarray(np.maximum(paid, 0.0))


def impact_coefficient(
    sigma: np.ndarray, volume: np.ndarray, equity: float, strength: float = 1.0
) -> np.ndarray:
    """C of the cost c |z|^1.5 of trading weight z within a bar: `PortfolioInputs.impact`.

    A trade of Q quote moves the price by strength * sigma * sqrt(Q / V); with Q = |z| equity the
    cost is strength * sigma * sqrt(equity / V) |z|^1.5 of equity.

    Args:
        sigma: [symbol] volatility of a bar.
        volume: [symbol] traded in a bar, quote; where it is not positive nothing can be traded
            without moving the price by all of sigma.
        equity: quote, positive.
        strength: about 1 in the literature.
    """
    if equity <= 0:
        raise ValueError(f"equity must be positive, was {equity}")
    known = volume > 0
    share = np.divide(equity, volume, out=np.ones_like(sigma), where=known)
    return np.asarray(strength * sigma * np.sqrt(share))


def funding_carry(rate: np.ndarray, period_s: np.ndarray, bar_s: float) -> np.ndarray:
    """Funding that a long of weight 1 pays per bar: `PortfolioInputs.carry`.

    Args:
        rate: [symbol] expected rate of one funding period, positive: longs pay shorts; NaN: not
            known, counted as none.
        period_s: [symbol] seconds between fundings, such as 8 hours.
        bar_s: seconds of a bar.
    """
    return np.asarray(np.where(np.isfinite(rate), rate, 0.0) * bar_s / period_s)
