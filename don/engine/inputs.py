"""What the optimizer needs beyond means and covariance, for configurations that ask for it. Pure.

A default configuration asks for nothing, and then nothing is journalled.
"""

from decimal import Decimal

import numpy as np

from don.clock import NS_PER_S
from don.engine.core import Core
from don.model.messages import FeatureSnapshot, PortfolioInputs
from don.portfolio.config import Objective, Rounding
from don.portfolio.costs import funding_carry, impact_coefficient

_TAILS = (Objective.CVAR, Objective.CDAR)


def inputs_for(
    core: Core, snapshot: FeatureSnapshot, Sigma: np.ndarray, equity: Decimal
) -> PortfolioInputs | None:
    """The inputs that the configured objective, costs and limits need; None if they need none.

    Args:
        core: the engine's state.
        snapshot: the one that is decided on.
        Sigma: [symbol, symbol] covariance per bar.
        equity: quote, positive.
    """
    config = core.config
    rounds = config.portfolio.rounding is not Rounding.NONE
    fields: dict[str, np.ndarray | None] = dict(
        carry=_carry(core, snapshot),
        impact=_impact(core, snapshot, Sigma, float(equity)),
        margin=_margin(core) if config.portfolio.max_margin is not None else None,
        lot=_weights(core, "lot_size", equity) if rounds else None,
        least=_weights(core, "min_notional", equity) if rounds else None,
        scenarios=core.market.closes.returns() if config.portfolio.objective in _TAILS else None,
    )
    return PortfolioInputs(**fields) if any(v is not None for v in fields.values()) else None


def _carry(core: Core, snapshot: FeatureSnapshot) -> np.ndarray | None:
    """[symbol] funding per bar, if a feature tells the rate."""
    name = core.config.funding_feature
    if not name or name not in snapshot.names:
        return None
    rate = core.market.features(snapshot, [name])[name]
    period = np.full(len(rate), core.config.funding_period_s)
    return funding_carry(rate, period, core.start.interval_ns / NS_PER_S)


def _impact(
    core: Core, snapshot: FeatureSnapshot, Sigma: np.ndarray, equity: float
) -> np.ndarray | None:
    """[symbol] coefficient of square-root impact, if it is wanted and volumes are known."""
    strength = core.config.impact
    if strength <= 0 or snapshot.volume is None:
        return None
    order = [snapshot.symbols.index(symbol) for symbol in core.symbols]
    quote = np.nan_to_num(snapshot.volume[order] * snapshot.close[order])
    sigma = np.sqrt(np.maximum(np.diag(Sigma), 0.0))
    return impact_coefficient(sigma, quote, equity, strength)


def _margin(core: Core) -> np.ndarray:
    """[symbol] initial margin per unit of |weight|: the account's rate, the symbol's at least."""
    rate = float(core.config.risk.initial_margin_rate)
    return np.array([max(rate, 1.0 / core.instruments[s].max_leverage) for s in core.symbols])


def _weights(core: Core, rule: str, equity: Decimal) -> np.ndarray:
    """[symbol] a lot, or the least notional, as a part of equity; zero where there is no mark."""
    found = []
    for symbol in core.symbols:
        amount: Decimal = getattr(core.instruments[symbol], rule)
        if rule == "lot_size":
            amount *= core.market.marks.get(symbol, Decimal(0))
        found.append(float(amount / equity))
    return np.array(found)
