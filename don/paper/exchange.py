"""The paper exchange: one object that takes tape events and requests and gives events. Pure.

Single-threaded; tape time (`now`) is its only time. Whoever serves it publishes the returned events
in order, after storing `take_dirty()`.
"""

from collections.abc import Sequence
from decimal import Decimal

from don.model.instrument import Instrument
from don.paper.config import PaperConfig
from don.paper.events import BookTicker, Event, Kline, Premium, TapeEvent
from don.paper.types import (
    AccountState,
    AccountTrade,
    DepthSnapshot,
    Dirty,
    ExchangeState,
    Income,
    IncomeKind,
    NewOrder,
    OrderState,
)


class PaperExchange:
    """Books, accounts and bars of a replayed perpetuals market.

    Requests that are refused raise `ExchangeRefused(code, message)` with the exchange's own codes and
    change nothing. `account=None` means the first configured account.
    """

    now: int  # tape time, ns
    position: int  # tape position after the last applied event
    instruments: dict[str, Instrument]  # by exchange symbol
    config: PaperConfig

    def __init__(
        self,
        instruments: Sequence[Instrument],
        config: PaperConfig,
        state: ExchangeState | None = None,
    ) -> None: ...

    def apply(self, event: TapeEvent, position: int | None = None) -> list[Event]:
        """Advance the tape by one event; `position` is the tape's place after it."""
        ...

    def place(self, request: NewOrder) -> tuple[OrderState, list[Event]]: ...

    def cancel(
        self,
        symbol: str,
        *,
        order_id: int | None = None,
        client_order_id: str | None = None,
        account: str | None = None,
    ) -> tuple[OrderState, list[Event]]: ...

    def cancel_all(self, symbol: str, *, account: str | None = None) -> list[Event]: ...

    def order(
        self,
        symbol: str,
        *,
        order_id: int | None = None,
        client_order_id: str | None = None,
        account: str | None = None,
    ) -> OrderState: ...

    def open_orders(
        self, symbol: str | None = None, *, account: str | None = None
    ) -> list[OrderState]: ...

    def all_orders(
        self,
        symbol: str,
        *,
        from_id: int | None = None,
        start: int | None = None,
        end: int | None = None,
        limit: int = 500,
        account: str | None = None,
    ) -> list[OrderState]: ...

    def trades(
        self,
        symbol: str | None,
        *,
        order_id: int | None = None,
        from_id: int | None = None,
        start: int | None = None,
        end: int | None = None,
        limit: int = 500,
        account: str | None = None,
    ) -> list[AccountTrade]: ...

    def income(
        self,
        *,
        symbol: str | None = None,
        kind: IncomeKind | None = None,
        start: int | None = None,
        end: int | None = None,
        limit: int = 100,
        account: str | None = None,
    ) -> list[Income]: ...

    def account(self, account: str | None = None) -> AccountState: ...

    def set_leverage(
        self, symbol: str, leverage: int, *, account: str | None = None
    ) -> list[Event]: ...

    def transfer(self, amount: Decimal, *, account: str | None = None) -> list[Event]: ...

    def depth(self, symbol: str, limit: int) -> DepthSnapshot: ...

    def ticker(self, symbol: str) -> BookTicker: ...

    def premium(self, symbol: str) -> Premium: ...

    def last_price(self, symbol: str) -> Decimal: ...

    def forming(self, symbol: str, interval: str) -> Kline | None: ...

    def dump(self) -> ExchangeState: ...

    def take_dirty(self) -> Dirty: ...
