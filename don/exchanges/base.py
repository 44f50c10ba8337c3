"""What an exchange must be able to do for Don, in Don's own words and exact amounts. Pure.

A gateway translates at the border: a definite refusal is `ExchangeRefused` (for a submit: a
REJECTED report), a call whose effect is not known is `ExchangeUnavailable` (for a submit:
`SubmitUnknown`), and `RateLimited` means that it was turned away and certainly had no effect.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from don.errors import ExchangeUnavailable
from don.exchanges.clock_offset import Reading
from don.model.instrument import Instrument
from don.model.messages import AccountReport, FillReport, FundingReport, OrderReport
from don.model.order import Order, Side

PREFIX = "don-"  # client order ids that begin so are ours

Report = OrderReport | FillReport | FundingReport | AccountReport


class StreamStatus(StrEnum):
    """Whether the user-data stream delivers."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """The user-data stream came up or went down. Whatever happened before UP must be polled."""

    status: StreamStatus
    detail: str
    ts_recv: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingDue:
    """Funding was charged; the payments themselves must be polled: the event names no symbol."""

    ts_event: int
    ts_recv: int


StreamEvent = OrderReport | FillReport | StreamState | FundingDue


class SubmitUnknown(ExchangeUnavailable):
    """A new order left, but what became of it is not known: ask by its id, never send it again."""

    def __init__(self, message: str, ts_sent: int, sent_monotonic_ns: int) -> None:
        super().__init__(message, ts_sent, sent_monotonic_ns)
        self.message = message
        self.ts_sent = ts_sent  # wall ns just before the (last) send
        self.sent_monotonic_ns = sent_monotonic_ns

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownOrder:
    """An order that the journal holds as not final."""

    client_order_id: str
    symbol: str
    acknowledged: (
        bool  # the exchange once confirmed it; then "not found" does not mean "never came"
    )
    filled: Decimal  # sum of the fills that the journal holds
    ts_event: int  # exchange time of the intent


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownState:
    """What the journal knows of the account: where the reports have to go on from."""

    orders: tuple[KnownOrder, ...] = ()
    last_trade: dict[str, str] = field(default_factory=dict)  # symbol -> highest trade id
    last_funding_ts: int = 0  # exchange time of the last known payment, 0 if none
    since_ts: int = (
        0  # exchange time at which the account's books begin; earlier history is not ours
    )


class Gateway(Protocol):
    """One account at one exchange. All amounts are exact; symbols are canonical."""

    recv_window_ms: int  # the exchange refuses requests that are older

    async def instruments(self) -> list[Instrument]:
        """Tradable instruments, by symbol."""
        ...

    async def submit(self, order: Order) -> OrderReport:
        """Send a new order once.

        Returns:
            Its state; a definite refusal is a REJECTED report.

        Raises:
            SubmitUnknown: it left, but the outcome is not known.
            RateLimited: it was turned away and certainly not processed.
        """
        ...

    async def cancel(self, symbol: str, client_order_id: str) -> OrderReport:
        """Cancel an order. Safe to repeat.

        Raises:
            ExchangeRefused: there is nothing (left) to cancel; `order()` tells its state.
            ExchangeUnavailable: the outcome is not known.
        """
        ...

    async def amend(
        self, symbol: str, client_order_id: str, side: Side, size: Decimal, price: Decimal
    ) -> OrderReport:
        """Give an open limit order another size and price; its place in the queue may be lost.

        Safe to repeat.

        Raises:
            ExchangeRefused: the order stays as it is, or is no longer open; -5027: it is so now.
            ExchangeUnavailable: the outcome is not known.
        """
        ...

    async def arm_dead_man(self, symbol: str, timeout_s: float) -> None:
        """Have the exchange cancel our open orders in a symbol unless told again in time; 0: stop.

        Conditional orders stay.
        """
        ...

    async def order(self, symbol: str, client_order_id: str) -> OrderReport | None:
        """State of an order; None if the exchange does not know it (yet)."""
        ...

    async def open_orders(self) -> list[OrderReport]:
        """All resting orders of the account, ours or not."""
        ...

    async def fills_since(self, symbol: str, trade_id: str | None) -> list[FillReport]:
        """Every fill after `trade_id` (None: all that the exchange still has), in trade order."""
        ...

    async def fills_of(self, symbol: str, exchange_order_id: str) -> list[FillReport]:
        """Every fill of one order, in trade order."""
        ...

    async def funding_since(self, ts_ns: int) -> list[FundingReport]:
        """Funding payments at or after an exchange time, in time order; 0: the latest ones."""
        ...

    async def account(self) -> AccountReport:
        """Balance and positions from one atomic answer; `open_orders` is left empty."""
        ...

    def stream(self) -> AsyncGenerator[StreamEvent]:
        """User-data events in the exchange's order; reconnects for ever. One reader at a time.

        Each fill is followed at once by the report of its order's state.
        """
        ...

    def clock(self) -> Reading | None:
        """How our clock stands to the exchange's; None before the first comparison."""
        ...

    def rate_use(self) -> float:
        """Fraction of the request budget used in the running window."""
        ...

    async def close(self) -> None:
        """Close connections; the gateway cannot be used afterwards."""
        ...
