"""How large a position may be: rules that compose, and rounding that never enlarges risk. Pure.

A rule answers with a fraction of equity to hold (the absolute weight), 0 or more. Rules combine
with `smallest` and `scaled`; `to_size` makes an exact size of the answer, rounded down. Estimates
are float64; money enters and leaves as Decimal in `to_size` alone.

Sources: Kelly (1956); Thorp, "The Kelly criterion" (2006); for the uncertain edge Baker & McHale,
"Optimal betting under parameter uncertainty" (2013).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from don.model.instrument import Instrument
from don.model.portfolio import ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What sizing rules look at. Rates and volatilities are per bar, fractions."""

    price: float  # quote per base, > 0
    sigma: float = math.nan  # volatility of a bar
    atr: float = math.nan  # average true range, quote
    stop: float = math.nan  # price at which the trade is given up
    edge: float = math.nan  # expected return per bar of the position, >= 0 if worth holding
    edge_error: float = 0.0  # standard error of that
    drawdown: float = 0.0  # of equity from its highest, 0 to 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.price) and self.price > 0):
            raise ValueError(f"price must be finite and positive, was {self.price}")
        if not 0.0 <= self.drawdown <= 1.0:
            raise ValueError(f"drawdown must be from 0 to 1, was {self.drawdown}")
        if not self.edge_error >= 0:
            raise ValueError(f"edge_error must be 0 or more, was {self.edge_error}")


Rule = Callable[[Setting], float]


def fixed_fraction(fraction: float) -> Rule:
    """The same fraction of equity always."""
    _positive("fraction", fraction)
    return lambda _: fraction


def fixed_risk(risk: float) -> Rule:
    """As much that reaching the stop loses `risk` of equity: risk / (|price - stop| / price)."""
    _positive("risk", risk)

    def rule(setting: Setting) -> float:
        distance = abs(setting.price - setting.stop) / setting.price
        return risk / _known("distance to the stop", distance)

    return rule


def volatility_target(target: float) -> Rule:
    """As much that the position's volatility per bar is `target` of equity."""
    _positive("target", target)
    return lambda setting: target / _known("sigma", setting.sigma)


def atr_units(risk: float, multiple: float = 1.0) -> Rule:
    """As much that a move of `multiple` average true ranges loses `risk` of equity."""
    _positive("risk", risk)
    _positive("multiple", multiple)
    return lambda setting: risk * setting.price / (multiple * _known("atr", setting.atr))


def fractional_kelly(fraction: float) -> Rule:
    """A part of the Kelly bet, shrunk by how uncertain the edge is.

    edge / sigma^2 times edge^2 / (edge^2 + error^2): with an edge known only to its own size, half.
    No edge, no position.
    """
    _positive("fraction", fraction)

    def rule(setting: Setting) -> float:
        if not math.isfinite(setting.edge):
            raise ValueError(f"edge must be finite, was {setting.edge}")
        if setting.edge <= 0:
            return 0.0
        sigma = _known("sigma", setting.sigma)
        trust = setting.edge**2 / (setting.edge**2 + setting.edge_error**2)
        return fraction * trust * setting.edge / sigma**2

    return rule


def drawdown_scaled(rule: Rule, limit: float, floor: float = 0.0) -> Rule:
    """A rule's size, less in proportion to the drawdown: none (or `floor` of it) at `limit`."""
    _positive("limit", limit)
    if not 0.0 <= floor <= 1.0:
        raise ValueError(f"floor must be from 0 to 1, was {floor}")
    return lambda s: rule(s) * max(1.0 - s.drawdown / limit, floor)


def scaled(rule: Rule, factor: float) -> Rule:
    """A rule's size times a factor from 0 to 1: composing may only lessen risk."""
    if not 0.0 <= factor <= 1.0:
        raise ValueError(f"factor must be from 0 to 1, was {factor}")
    return lambda setting: rule(setting) * factor


def smallest(rules: Sequence[Rule]) -> Rule:
    """The least of several rules' sizes."""
    if not rules:
        raise ValueError("smallest needs at least one rule")
    kept = tuple(rules)
    return lambda setting: min(rule(setting) for rule in kept)


def to_size(fraction: float, equity: Decimal, price: Decimal, instrument: Instrument) -> Decimal:
    """The exact size of a fraction of equity, rounded down to lots.

    Args:
        fraction: of equity, finite, 0 or more.
        equity: quote; nothing is held on equity that is not positive.
        price: quote per base, positive.
        instrument: its lots and limits.

    Returns:
        Base units, a whole number of lots: never worth more than the fraction asks, at most the
        instrument's largest order, and 0 where that is below its least size or notional.

    Raises:
        ValueError: if the fraction is negative or not finite, or the price not positive.
    """
    if not (math.isfinite(fraction) and fraction >= 0):
        raise ValueError(f"fraction must be finite and 0 or more, was {fraction}")
    if price <= 0:
        raise ValueError(f"price must be positive, was {price}")
    if equity <= 0:
        return ZERO
    # Decimal(fraction) is the float exactly; a shortest repr could lie above it
    lots = (Decimal(fraction) * equity / price / instrument.lot_size).to_integral_value(ROUND_DOWN)
    size = min(lots * instrument.lot_size, instrument.round_size(instrument.max_size))
    # the division above is rounded to 28 digits: step back where that made a lot too many
    while size > 0 and size * price > Decimal(fraction) * equity:
        size -= instrument.lot_size
    if size < instrument.min_size or size * price < instrument.min_notional:
        return ZERO
    return size


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be finite and positive, was {value}")


def _known(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be finite and positive for this rule, was {value}")
    return value
