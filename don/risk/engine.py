"""Pre-trade risk: targets may only shrink, orders pass or get a typed refusal. Pure.

Two gates. `review` takes a target and returns one that is nowhere larger, with reasons. `check`
looks at each order against the account as it would be after the worst fills, and refuses by value.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from don.clock import NS_PER_S
from don.model.instrument import Instrument
from don.model.order import Denial, DenialCode, Order
from don.model.portfolio import ZERO
from don.risk.config import RiskConfig
from don.risk.exposure import Book, closable, worst_cost, worst_gross, worst_size

DAY_NS = 86_400 * NS_PER_S
HEADROOM = 0.98  # of a limit that a reviewed target uses: room for fees and worse prices


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Conditions that close the desk as a whole."""

    halted: bool = False
    reconciled: bool = True
    stale: frozenset[str] = frozenset()  # symbols without fresh prices
    ts_wall: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DayState:
    """The running day of the daily-loss limit; days are UTC days of exchange time."""

    day: int = -1
    reference: Decimal = ZERO  # equity that losses are counted from


class RiskEngine:
    """The limits of one account, with the little memory they need (day's reference, order rate)."""

    def __init__(
        self,
        config: RiskConfig,
        instruments: Mapping[str, Instrument],
        day: DayState | None = None,
    ) -> None:
        self.config = config
        self._instruments = instruments
        self.day = day or DayState()
        self._sent: deque[int] = deque(maxlen=config.max_orders)  # wall times, newest last

    # ---- targets --------------------------------------------------------------------------------

    def review(
        self, weights: np.ndarray, equity: Decimal, held: np.ndarray, tradable: np.ndarray
    ) -> tuple[np.ndarray, list[str]]:
        """A target inside the limits.

        Args:
            weights: [symbol] fractions of equity.
            equity: quote, positive.
            held: [symbol] current weights: what symbols that cannot be traded go on using.
            tradable: [symbol] bool.

        Returns:
            [symbol] weights, each of the same sign and at most the size of the one given, and the
            reasons of every change. A target that is not finite becomes all zeros in size, with a
            reason; the caller must not trade on it.
        """
        reasons: list[str] = []
        if not np.isfinite(weights).all():
            return np.zeros_like(weights), ["target refused: a weight is not finite"]
        cap = float(self.config.max_position_notional / equity) * HEADROOM
        out = np.clip(weights, -cap, cap)
        if (np.abs(out) < np.abs(weights)).any():
            reasons.append(
                f"weights cut to {cap:.4f}: positions are limited to "
                f"{self.config.max_position_notional}"
            )
        limit = float(self.config.max_gross_leverage) * HEADROOM
        pinned = float(np.abs(held[~tradable]).sum())
        free = float(np.abs(out[tradable]).sum())
        room = max(limit - pinned, 0.0)
        if free > room:
            out = np.where(tradable, out * (room / free), out)
            reasons.append(
                f"target scaled by {room / free:.4f}: gross leverage is limited to "
                f"{self.config.max_gross_leverage}"
            )
        return out, reasons

    # ---- orders ---------------------------------------------------------------------------------

    def check(self, order: Order, book: Book, gate: Gate) -> Denial | None:
        """Why an order may not leave, or None. A passed order counts toward the order rate.

        Orders that only reduce a position pass the exposure limits. `emergency` orders of the kill
        switch do not come here.
        """
        denial = (
            self._closed(order, gate)
            or self._shape(order, book)
            or self._exposure(order, book)
            or self._rate(order, gate)
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
        instrument = self._instruments.get(symbol)
        mark = book.marks.get(symbol)
        if instrument is None or mark is None:
            return _deny(DenialCode.STALE_DATA, symbol, "no instrument or no mark price")
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
        price = order.price or mark
        # a market order has no price of its own: it is held to where the market trades
        met = order.price or book.lasts.get(symbol, mark)
        distance = abs(met / mark - 1)
        if distance > config.price_collar or (order.price or ZERO) % instrument.tick_size:
            return _deny(
                DenialCode.PRICE_COLLAR,
                symbol,
                f"price {met} must be a multiple of {instrument.tick_size} within "
                f"{config.price_collar} of mark {mark}, was {distance:.6f} away",
            )
        notional = size * max(price, mark)
        if notional > config.max_order_notional:
            return _deny(
                DenialCode.ORDER_NOTIONAL,
                symbol,
                f"notional {notional:.2f} above {config.max_order_notional}",
            )
        if not order.reduce_only and size * min(price, mark) < instrument.min_notional:
            return _deny(
                DenialCode.MIN_NOTIONAL,
                symbol,
                f"notional {size * min(price, mark):.2f} below {instrument.min_notional}",
            )
        return None

    def _exposure(self, order: Order, book: Book) -> Denial | None:
        if order.reduce_only or order.size <= closable(book, order):
            return None
        symbol, config = order.symbol, self.config
        if self.loss(book.equity) >= config.max_daily_loss:
            return _deny(
                DenialCode.DAILY_LOSS,
                symbol,
                f"down {self.loss(book.equity):.4f} today, limit {config.max_daily_loss}",
            )
        notional = worst_size(book, symbol, order) * book.marks[symbol]
        if notional > config.max_position_notional:
            return _deny(
                DenialCode.POSITION_NOTIONAL,
                symbol,
                f"position could reach {notional:.2f}, limit {config.max_position_notional}",
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
        return None

    def _rate(self, order: Order, gate: Gate) -> Denial | None:
        config = self.config
        window = int(config.order_window_s * NS_PER_S)
        if len(self._sent) == config.max_orders and gate.ts_wall - self._sent[0] < window:
            return _deny(
                DenialCode.ORDER_RATE,
                order.symbol,
                f"{config.max_orders} orders within {config.order_window_s} s already",
            )
        return None

    # ---- daily loss -----------------------------------------------------------------------------

    def mark_day(self, ts_event: int, equity: Decimal) -> None:
        """Open a new day's reference if exchange time has passed into one."""
        day = ts_event // DAY_NS
        if day > self.day.day:
            self.day = DayState(day=day, reference=equity)

    def rebase(self, equity: Decimal) -> None:
        """Count the day's losses from here: a person has seen them and resumed."""
        self.day = DayState(day=self.day.day, reference=equity)

    def loss(self, equity: Decimal) -> Decimal:
        """Today's loss as a fraction of the reference; zero or less when there is none."""
        if self.day.reference <= 0:
            return ZERO
        return (self.day.reference - equity) / self.day.reference


def _deny(code: DenialCode, symbol: str, detail: str) -> Denial:
    return Denial(code=code, symbol=symbol, detail=detail)
