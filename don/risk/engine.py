"""Pre-trade risk: targets may only shrink, orders pass or get a typed refusal. Pure.

Two gates. `review` takes a target and returns one that is nowhere larger, with reasons. `check`
looks at each order against the account as it would be after the worst fills, and refuses by value.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from don.clock import NS_PER_S
from don.errors import ConfigError
from don.model.instrument import Instrument
from don.model.order import Denial, DenialCode, Order
from don.model.portfolio import ZERO
from don.risk.config import RiskConfig, SymbolLimits
from don.risk.exposure import (
    Book,
    closable,
    reaches,
    worst_cost,
    worst_gross,
    worst_size,
)
from don.risk.losses import DAY_NS, DayState, LossState, LossWatch
from don.risk.portfolio import PortfolioLimits, Window
from don.risk.targets import HEADROOM, review

__all__ = ["DAY_NS", "HEADROOM", "DayState", "Gate", "RiskEngine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Conditions that close the desk as a whole."""

    halted: bool = False
    reconciled: bool = True
    stale: frozenset[str] = frozenset()  # symbols without fresh prices
    ts_wall: int = 0
    reducing: str = ""  # why only reductions pass; "" if all may
    reducing_code: DenialCode = DenialCode.REDUCING


class RiskEngine:
    """The limits of one account, with the little memory they need (losses, order rate)."""

    def __init__(
        self,
        config: RiskConfig,
        instruments: Mapping[str, Instrument],
        day: DayState | None = None,
        losses: LossState | None = None,
    ) -> None:
        self._instruments = instruments
        self.losses = LossWatch(config, day, losses)
        self._sent: deque[int] = deque()  # wall times, newest last
        self.configure(config)

    def configure(self, config: RiskConfig) -> None:
        """Hold to these limits from now on."""
        self.config = self.losses.config = config
        self.portfolio = PortfolioLimits(config)
        self._own = {own.symbol: own for own in config.symbols}
        self._sent = deque(self._sent, maxlen=config.max_orders)

    @property
    def day(self) -> DayState:
        """The running day of the daily-loss limit."""
        return self.losses.day

    # ---- targets --------------------------------------------------------------------------------

    def review(
        self,
        weights: np.ndarray,
        equity: Decimal,
        held: np.ndarray,
        tradable: np.ndarray,
        *,
        symbols: Sequence[str] = (),
        outside: float = 0.0,
        reducing: str = "",
        window: Window | None = None,
    ) -> tuple[np.ndarray, list[str]]:
        """A target inside the limits: see `don.risk.targets.review`."""
        return review(
            self.config,
            symbols or tuple(self._instruments),
            weights,
            equity,
            held,
            tradable,
            outside=outside,
            reducing=reducing,
            window=window,
        )

    # ---- orders ---------------------------------------------------------------------------------

    def check(
        self, order: Order, book: Book, gate: Gate, window: Window | None = None
    ) -> Denial | None:
        """Why an order may not leave, or None. A passed order counts toward the order rate.

        Orders that only reduce a position pass the exposure limits. `emergency` orders of the kill
        switch do not come here.
        """
        denial = (
            self._closed(order, gate)
            or self._shape(order, book)
            or self._exposure(order, book, gate, window)
            or self._rate(order, book, gate)
        )
        if denial is None:
            self._sent.append(gate.ts_wall)
        return denial

    def _closed(self, order: Order, gate: Gate) -> Denial | None:
        symbol = order.symbol
        if gate.halted:
            return _deny(DenialCode.HALTED, symbol, "the desk is halted until it is resumed")
        if not gate.reconciled:
            return _deny(
                DenialCode.UNRECONCILED, symbol, "the books are not yet compared with the exchange"
            )
        if symbol in gate.stale:
            return _deny(DenialCode.STALE_DATA, symbol, "no fresh price")
        return None

    def _shape(self, order: Order, book: Book) -> Denial | None:
        symbol, size, config = order.symbol, order.size, self.config
        own = self._own.get(symbol, _NONE)
        instrument = self._instruments.get(symbol)
        mark = book.marks.get(symbol)
        if instrument is None or mark is None:
            return _deny(DenialCode.STALE_DATA, symbol, "no instrument or no mark price")
        if order.close_position:
            return None  # it closes what there is when it is set off, at the market's price
        if not instrument.min_size <= size <= instrument.max_size:
            return _deny(
                DenialCode.ORDER_SIZE,
                symbol,
                f"size {size} not in {instrument.min_size} .. {instrument.max_size}",
            )
        if size % instrument.lot_size:
            return _deny(
                DenialCode.ORDER_SIZE, symbol, f"size {size} not in lots of {instrument.lot_size}"
            )
        for most in (config.max_order_size, own.max_order_size):
            if most is not None and size > most:
                return _deny(DenialCode.ORDER_SIZE, symbol, f"size {size} above {most}")
        # an order that waits for a price is measured from there: it meets the market at that price
        mark = order.trigger or mark
        price = order.price or mark
        # a market order has no price of its own: it is held to where the market trades
        met = order.price or (mark if order.trigger else book.lasts.get(symbol, mark))
        distance = abs(met / mark - 1)
        if distance > config.price_collar or (order.price or ZERO) % instrument.tick_size:
            return _deny(
                DenialCode.PRICE_COLLAR,
                symbol,
                f"price {met} must be a multiple of {instrument.tick_size} within "
                f"{config.price_collar} of mark {mark}, was {distance:.6f} away",
            )
        if config.max_slippage is not None and (why := _slips(order, mark, config.max_slippage)):
            return _deny(DenialCode.SLIPPAGE, symbol, why)
        notional = size * max(price, mark)
        limit = _least(config.max_order_notional, own.max_order_notional)
        if notional > limit:
            return _deny(
                DenialCode.ORDER_NOTIONAL, symbol, f"notional {notional:.2f} above {limit}"
            )
        if not order.reduce_only and size * min(price, mark) < instrument.min_notional:
            return _deny(
                DenialCode.MIN_NOTIONAL,
                symbol,
                f"notional {size * min(price, mark):.2f} below {instrument.min_notional}",
            )
        return None

    def _exposure(
        self, order: Order, book: Book, gate: Gate, window: Window | None
    ) -> Denial | None:
        symbol, config = order.symbol, self.config
        if not order.close_position and order.size <= closable(book, order):
            return None
        closes = order.reduce_only or order.close_position
        if closes and worst_size(book, symbol, order) == worst_size(book, symbol):
            return None  # it cannot open anything, nor make room for an order that does
        if gate.reducing:
            return _deny(gate.reducing_code, symbol, f"only reductions pass: {gate.reducing}")
        if breach := self.losses.breach(book.equity):
            return _deny(breach.code, symbol, breach.detail)
        notional = worst_size(book, symbol, order) * book.marks[symbol]
        own = self._own.get(symbol, _NONE).max_position_notional
        limit = _least(config.max_position_notional, own)
        if notional > limit:
            return _deny(
                DenialCode.POSITION_NOTIONAL,
                symbol,
                f"position could reach {notional:.2f}, limit {limit}",
            )
        working = [(r.order, r.remaining) for r in book.orders.in_flight()]
        spent = worst_cost(book, [*working, (order, order.size)], config.price_collar)
        gross = worst_gross(book, order)
        if gross > config.max_gross_leverage * (book.equity - spent):
            return _deny(
                DenialCode.GROSS_LEVERAGE,
                symbol,
                f"positions could reach {gross:.2f} on equity {book.equity:.2f} less "
                f"{spent:.2f} of costs, limit {config.max_gross_leverage}",
            )
        if not self.portfolio.active:
            return None
        capital = book.equity - spent
        return self.portfolio.check(order, book, reaches(book, order), capital, window)

    def _rate(self, order: Order, book: Book, gate: Gate) -> Denial | None:
        config = self.config
        live = book.orders.live
        if live >= config.max_open_orders:
            return _deny(
                DenialCode.OPEN_ORDERS,
                order.symbol,
                f"{live} orders are under way, limit {config.max_open_orders}",
            )
        window = int(config.order_window_s * NS_PER_S)
        if len(self._sent) == config.max_orders and gate.ts_wall - self._sent[0] < window:
            return _deny(
                DenialCode.ORDER_RATE,
                order.symbol,
                f"{config.max_orders} orders within {config.order_window_s} s already",
            )
        return None

    # ---- losses ---------------------------------------------------------------------------------

    def mark_day(self, ts_event: int, equity: Decimal) -> None:
        """Open a new day's reference if exchange time has passed into one; follow the peak."""
        self.losses.mark(ts_event, equity)

    def rebase(self, equity: Decimal) -> None:
        """Count losses from here: a person has seen them and resumed."""
        self.losses.rebase(equity)

    def loss(self, equity: Decimal) -> Decimal:
        """Today's loss as a fraction of the reference; zero or less when there is none."""
        return self.losses.loss(equity)


def check_limits(config: RiskConfig, symbols: Sequence[str], listed: Sequence[Instrument]) -> None:
    """Refuse limits that would limit nothing, or let no order pass at all.

    Raises:
        ConfigError: naming the limits.
    """
    for field, named in (
        ("symbols", tuple(own.symbol for own in config.symbols)),
        *((f"groups.{group.name}", group.symbols) for group in config.groups),
    ):
        if unknown := [symbol for symbol in named if symbol not in symbols]:
            raise ConfigError(
                f"risk.{field} names {', '.join(unknown)}, which is not among the symbols "
                f"traded: {', '.join(symbols)}"
            )
    own = {limits.symbol: limits for limits in config.symbols}
    for item in listed:
        if item.symbol not in symbols:
            continue
        mine = own.get(item.symbol, _NONE)
        most = _least(config.max_order_notional, mine.max_order_notional)
        if most < item.min_notional:
            raise ConfigError(
                f"risk.max_order_notional {most} is below the least notional of {item.symbol}, "
                f"{item.min_notional}: no order could pass"
            )
        for size in (config.max_order_size, mine.max_order_size):
            if size is not None and size < item.min_size:
                raise ConfigError(
                    f"risk.max_order_size {size} is below the least size of {item.symbol}, "
                    f"{item.min_size}: no order could pass"
                )


_NONE = SymbolLimits(symbol="")


def _least(limit: Decimal, own: Decimal | None) -> Decimal:
    return limit if own is None else min(limit, own)


def _slips(order: Order, mark: Decimal, most: Decimal) -> str:
    """Why an order may fill too far from mark; "" if it cannot."""
    if order.price is None:
        return f"a {order.type} order fills at any price, slippage is limited to {most}"
    worse = (order.price / mark - 1) * order.side.sign
    return (
        f"price {order.price} is {worse:.6f} worse than mark, limit {most}" if worse > most else ""
    )


def _deny(code: DenialCode, symbol: str, detail: str) -> Denial:
    return Denial(code=code, symbol=symbol, detail=detail)
