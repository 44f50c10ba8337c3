"""Limits on the account as a whole that are off unless configured. Pure.

Each looks at the account as it would be after the worst fills of all working orders. VaR and CVaR
look at the account with all working orders filled: over subsets of orders they have no closed form.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from don.model.order import Denial, DenialCode, Order
from don.model.portfolio import ZERO
from don.risk.config import GroupLimits, RiskConfig
from don.risk.exposure import Book, Reach
from don.risk.measures import Tail, correlation_break, tail
from don.risk.scenarios import BY_NAME, Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Recent returns of the session's symbols."""

    symbols: tuple[str, ...]
    returns: np.ndarray  # [time, symbol], oldest first


def net_reach(found: Sequence[Reach]) -> Decimal:
    """The largest |sum of positions|, quote."""
    return max(-sum((r.low for r in found), ZERO), sum((r.high for r in found), ZERO), ZERO)


def gross_reach(found: Sequence[Reach]) -> Decimal:
    """The largest sum of |positions|, quote."""
    return sum((r.gross for r in found), ZERO)


def liquidation_distance(
    equity: Decimal, gross: Decimal, maintenance_rate: Decimal
) -> Decimal | None:
    """The move d of every price against its position at which a cross account is liquidated.

    Equity falls by d gross, and the margin to be kept grows to rate gross (1 + d) at most, so
    d = (equity - rate gross) / (gross (1 + rate)). None without positions: nothing to liquidate.
    """
    if gross <= 0:
        return None
    return (equity - maintenance_rate * gross) / (gross * (1 + maintenance_rate))


def stress_loss(scenario: Scenario, found: Sequence[Reach]) -> Decimal:
    """What a scenario costs with the worst fills, quote; negative if nothing can be lost."""
    total = ZERO
    for r in found:
        shock = _exact(scenario.shock(r.symbol))
        total += max(-r.low * shock, -r.high * shock)
    return total


def worst_stress(config: RiskConfig, found: Sequence[Reach]) -> tuple[str, Decimal]:
    """(name, loss) of the configured scenario that costs most; ("", 0) if none costs anything."""
    worst, name = ZERO, ""
    for scenario in config.scenarios:
        loss = stress_loss(BY_NAME[scenario], found)
        if loss > worst:
            worst, name = loss, scenario
    return name, worst


def tail_of(
    config: RiskConfig, window: Window, positions: Mapping[str, Decimal], equity: Decimal
) -> Tail | None:
    """VaR and CVaR of positions (quote by symbol); those outside the window count as not moving.

    Returns:
        None while the window says too little.
    """
    weights = np.array([float(positions.get(s, ZERO) / equity) for s in window.symbols])
    return tail(weights, window.returns, config)


class PortfolioLimits:
    """The optional limits of a configuration, ready to be asked."""

    def __init__(self, config: RiskConfig) -> None:
        self.config = config
        self.active = bool(config.groups) or any(
            limit is not None
            for limit in (
                config.max_net_leverage,
                config.max_concentration,
                config.max_margin,
                config.min_liquidation_distance,
                config.max_stress_loss,
                config.max_var,
                config.max_cvar,
                config.max_correlation_break,
            )
        )
        self.needs_window = any(
            limit is not None
            for limit in (config.max_var, config.max_cvar, config.max_correlation_break)
        )

    def check(
        self,
        order: Order,
        book: Book,
        found: Sequence[Reach],
        capital: Decimal,
        window: Window | None,
    ) -> Denial | None:
        """Why an order that enlarges a position may not leave, or None.

        Args:
            order: the order.
            book: the account without it.
            found: what positions can come to with it.
            capital: equity less what the fills would cost, quote.
            window: recent returns, if `needs_window`.
        """
        if not self.active:
            return None
        symbol, config = order.symbol, self.config
        if capital <= 0:
            return _deny(
                DenialCode.GROSS_LEVERAGE, symbol, f"equity after costs would be {capital:.2f}"
            )
        gross = gross_reach(found)
        one = next(r.gross for r in found if r.symbol == symbol)
        for code, value, limit, what in (
            (DenialCode.NET_LEVERAGE, net_reach(found), config.max_net_leverage, "net"),
            (DenialCode.CONCENTRATION, one, config.max_concentration, symbol),
            (
                DenialCode.MARGIN,
                gross * config.initial_margin_rate,
                config.max_margin,
                "initial margin",
            ),
        ):
            if limit is not None and value > limit * capital:
                return _deny(
                    code,
                    symbol,
                    f"{what} could reach {value:.2f} on equity {capital:.2f} after costs, "
                    f"limit {limit}",
                )
        for group in config.groups:
            if symbol in group.symbols and (why := _group(group, found, capital)):
                return _deny(DenialCode.GROUP_EXPOSURE, symbol, why)
        distance = liquidation_distance(capital, gross, config.maintenance_rate)
        least = config.min_liquidation_distance
        if least is not None and distance is not None and distance < least:
            return _deny(
                DenialCode.LIQUIDATION_DISTANCE,
                symbol,
                f"liquidation could be {max(distance, ZERO):.4f} away, at least {least} wanted",
            )
        if config.max_stress_loss is not None:
            name, loss = worst_stress(config, found)
            if loss > config.max_stress_loss * capital:
                return _deny(
                    DenialCode.STRESS_LOSS,
                    symbol,
                    f"{name} would cost {loss:.2f} of {capital:.2f}, "
                    f"limit {config.max_stress_loss}",
                )
        return self._statistical(order, book, capital, window)

    def _statistical(
        self, order: Order, book: Book, capital: Decimal, window: Window | None
    ) -> Denial | None:
        config, symbol = self.config, order.symbol
        if not self.needs_window or window is None:
            return None
        if config.max_correlation_break is not None:
            moved = correlation_break(window.returns, config.correlation_bars)
            if moved is not None and moved > config.max_correlation_break:
                return _deny(
                    DenialCode.CORRELATION_BREAK,
                    symbol,
                    f"correlations moved by {moved:.3f}, limit {config.max_correlation_break}",
                )
        if config.max_var is None and config.max_cvar is None:
            return None
        coming = filled(book, order)
        said = tail_of(config, window, coming, capital)
        if said is None:
            return _deny(
                DenialCode.VAR,
                symbol,
                f"only {len(window.returns)} returns known: value at risk cannot be told yet",
            )
        for code, value, limit in (
            (DenialCode.VAR, said.var, config.max_var),
            (DenialCode.CVAR, said.cvar, config.max_cvar),
        ):
            if limit is not None and value > limit:
                return _deny(code, symbol, f"{code} of a bar would be {value:.5f}, limit {limit}")
        return None


def filled(book: Book, order: Order | None = None) -> dict[str, Decimal]:
    """Positions by symbol, quote at mark, once all working orders and `order` are filled."""
    symbols = set(book.ledger.positions) | book.orders.symbols()
    if order is not None:
        symbols.add(order.symbol)
    coming = {}
    for symbol in sorted(symbols):
        position = book.ledger.position(symbol)
        size = position.size + book.orders.net_remaining(symbol)
        if order is not None and order.symbol == symbol:
            size += order.size * order.side.sign
        coming[symbol] = size * (book.marks.get(symbol) or abs(position.entry_price))
    return coming


def _group(group: GroupLimits, found: Sequence[Reach], capital: Decimal) -> str:
    members = [r for r in found if r.symbol in group.symbols]
    for what, value, limit in (
        ("gross", gross_reach(members), group.max_gross),
        ("net", net_reach(members), group.max_net),
    ):
        if limit is not None and value > limit * capital:
            return (
                f"{what} of group {group.name} could reach {value:.2f} on equity {capital:.2f} "
                f"after costs, limit {limit}"
            )
    return ""


def _exact(value: float) -> Decimal:
    return Decimal(repr(value))


def _deny(code: DenialCode, symbol: str, detail: str) -> Denial:
    return Denial(code=code, symbol=symbol, detail=detail)
