"""The paper exchange: one object that takes tape events and requests and gives events. Pure.

Single-threaded; tape time (`now`) is its only time. Whoever serves it publishes the returned events
in order, after storing `take_dirty()`.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import assert_never

from don.errors import DataError
from don.model.instrument import Instrument
from don.paper import liquidation, placement
from don.paper.config import PaperConfig
from don.paper.events import (
    BarClose,
    BookUpdate,
    Event,
    FundingRate,
    LeverageUpdate,
    MarkPrice,
    PublicTrade,
    TapeEvent,
    TradePrint,
    UpdateReason,
)
from don.paper.filters import refuse
from don.paper.market import Market, rows_of
from don.paper.matching import ASK, BID
from don.paper.restart import build, dump, take_dirty
from don.paper.types import (
    Dirty,
    ExchangeState,
    IncomeKind,
    NewOrder,
    OrderState,
    Pending,
    PendingKind,
    Status,
)
from don.paper.views import Views


class PaperExchange(Views):
    """Books, accounts and bars of a replayed perpetuals market.

    Requests that are refused raise `ExchangeRefused(code, message)` with the exchange's own codes
    and change nothing. `account=None` means the first configured account. Times are tape time, ns.

    Rules worth knowing. A client order id must be unique among the account's open orders; the id of
    a finished order may be used again, as on the real exchange. A reduce-only order is cut to the
    position when placed and follows it down. An account may trade with itself. Post-only and
    fill-or-kill orders that cannot be what they ask for are refused (-5022, -5021), not recorded.

    With `config.order_latency` orders and cancels take effect at a later tape time (see `delay`):
    `place` gives a NEW order that waits, `cancel` the order as it is, and what became of them comes
    with the events of the `apply` (or `release`) that moves time there. What only the market can
    refuse then ends the order as REJECTED, with the code in its `reason`.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        config: PaperConfig,
        state: ExchangeState | None = None,
    ) -> None:
        self.config = config
        self.instruments = {i.exchange_symbol: i for i in instruments}
        self.position = state.counters.position if state else 0  # of the tape, after `now`
        self._clearing = build(self.instruments, config, state)

    # ---- the tape --------------------------------------------------------------------------------

    def apply(self, event: TapeEvent, position: int | None = None) -> list[Event]:
        """Advance the tape by one event.

        Args:
            event: not older than `now`.
            position: the tape's place after it, kept for a restart.

        Returns:
            Market and account events to publish, in order.

        Raises:
            DataError: if the event goes back in time, names an unlisted symbol or makes no sense.
        """
        clearing = self._clearing
        market = clearing.markets.get(event.symbol)
        if market is None:
            raise DataError(f"tape symbol must be a listed one, was {event.symbol!r}")
        if event.ts < clearing.now:
            raise DataError(
                f"tape must not go back: {type(event).__name__} of {event.symbol} at {event.ts}, "
                f"tape time was {clearing.now}"
            )
        if isinstance(event, TradePrint):
            _check_print(event)
        rows = rows_of(event) if isinstance(event, BookUpdate) else []
        events = self._move(event.ts) if clearing.delay else []
        clearing.now = event.ts
        match event:
            case TradePrint():
                self._on_print(market, event)
            case BookUpdate():
                clearing.display(market, rows, event.snapshot)
            case MarkPrice():
                market.on_mark(event)
                clearing.events.append(market.premium(event.ts))
            case FundingRate():
                mark = market.mark if event.mark is None else event.mark
                clearing.fund(event.symbol, event.rate, mark)
            case BarClose():
                clearing.events.append(market.bars.on_close(event))
            case _:
                assert_never(event)
        if position is not None:
            self.position = position
        return events + self._finish() if events else self._finish()

    def release(self) -> list[Event]:
        """Let all requests that wait take effect; tape time moves on to theirs.

        For the end of a tape, after which nothing else moves time.
        """
        return self._move(None)

    def _move(self, until: int | None) -> list[Event]:
        """Let requests that are due at or before a tape time take effect, each at its own time."""
        clearing, events = self._clearing, []
        while (due := clearing.delay.next()) is not None and (until is None or due <= until):
            clearing.now = max(clearing.now, due)
            for request in clearing.delay.take(due):
                placement.carry_out(clearing, request)
            events += self._finish()
        return events

    def _on_print(self, market: Market, event: TradePrint) -> None:
        clearing = self._clearing
        market.on_print(event.price)
        clearing.events.append(
            PublicTrade(
                symbol=event.symbol,
                ts=event.ts,
                id=event.id,
                price=market.price(event.price),
                size=market.size(event.size),
                buy=event.buy,
                count=event.count,
            )
        )
        clearing.events.extend(market.bars.on_print(event))
        clearing.sweep(market, BID if event.buy else ASK, event.price, event.size)

    def _finish(self) -> list[Event]:
        """End of a step: liquidations, then what changed in the books."""
        clearing = self._clearing
        liquidation.check(clearing)
        for market in clearing.markets.values():
            clearing.events.extend(market.publish(clearing.now))
        events, clearing.events = clearing.events, []
        return events

    # ---- requests --------------------------------------------------------------------------------

    def place(self, request: NewOrder) -> tuple[OrderState, list[Event]]:
        """Place an order; its state after matching, and the events to publish."""
        clearing = self._clearing
        account, market = self._account(request.account), self._market(request.symbol)
        due = clearing.delay.due(clearing.now)
        if due is not None:
            order = placement.take_in(clearing, account, market, request, due)
            self._wait(PendingKind.PLACE, account.name, market.symbol, due, order.order_id, request)
            return order, self._finish()
        order = placement.place(clearing, account, market, request)
        events = self._finish()
        return clearing.records.get(order.order_id), events

    def _wait(
        self,
        kind: PendingKind,
        account: str,
        symbol: str,
        due: int,
        order_id: int = 0,
        order: NewOrder | None = None,
    ) -> None:
        self._clearing.delay.add(
            Pending(
                kind=kind, account=account, symbol=symbol, due=due, order_id=order_id, order=order
            )
        )

    def cancel(
        self,
        symbol: str,
        *,
        order_id: int | None = None,
        client_order_id: str | None = None,
        account: str | None = None,
    ) -> tuple[OrderState, list[Event]]:
        """Cancel an open order; -2011 when there is none."""
        name = self._account(account).name
        self._market(symbol)
        order = self._clearing.records.find(name, symbol, order_id, client_order_id)
        if order is None or order.status.final:
            refuse(-2011, "Unknown order sent.")
        due = self._clearing.delay.due(self.now)
        if due is not None:
            self._wait(PendingKind.CANCEL, name, symbol, due, order.order_id)
            return order, []
        return self._clearing.end(order, Status.CANCELED), self._finish()

    def cancel_all(self, symbol: str, *, account: str | None = None) -> list[Event]:
        """Cancel all open orders of a symbol."""
        name = self._account(account).name
        due = self._clearing.delay.due(self.now)
        if due is not None:
            self._wait(PendingKind.CANCEL_ALL, name, self._market(symbol).symbol, due)
            return []
        for order in self.open_orders(self._market(symbol).symbol, account=account):
            self._clearing.end(order, Status.CANCELED)
        return self._finish()

    def set_leverage(
        self, symbol: str, leverage: int, *, account: str | None = None
    ) -> list[Event]:
        """Set a symbol's leverage; -4028 out of range, -2028 if margins would not suffice."""
        holder, market, clearing = self._account(account), self._market(symbol), self._clearing
        if not 1 <= leverage <= market.instrument.max_leverage:
            refuse(-4028, f"Leverage {leverage} is not valid")
        if leverage == holder.leverage(symbol):
            return []
        before = sum(holder.initial_margin(symbol, market.mark))
        after = sum(holder.initial_margin(symbol, market.mark, leverage=leverage))
        if after > before and after - before > holder.free(clearing.marks):
            refuse(-2028, "Leverage is smaller than permitted: insufficient margin balance.")
        holder.set_leverage(symbol, leverage)
        clearing.changed_positions[holder.name, symbol] = None
        clearing.events.append(
            LeverageUpdate(account=holder.name, ts=self.now, symbol=symbol, leverage=leverage)
        )
        return self._finish()

    def transfer(self, amount: Decimal, *, account: str | None = None) -> list[Event]:
        """Move money in (positive) or out; -2018 if more than may be withdrawn is asked for."""
        holder, clearing = self._account(account), self._clearing
        if not amount.is_finite() or not amount:
            refuse(-4046, "Amount must be positive.")
        if -amount > holder.state(clearing.marks, self.now).max_withdraw:
            refuse(-2018, "Balance is insufficient.")
        reason = UpdateReason.DEPOSIT if amount > 0 else UpdateReason.WITHDRAW
        clearing.credit(holder, IncomeKind.TRANSFER, amount, reason)
        return self._finish()

    # ---- restart ---------------------------------------------------------------------------------

    def dump(self) -> ExchangeState:
        """All that a restart needs, books and forming bars included."""
        return dump(self._clearing, self.position)

    def take_dirty(self) -> Dirty:
        """Rows that changed since the last call; store them in one transaction, then publish."""
        return take_dirty(self._clearing, self.position)


def _check_print(event: TradePrint) -> None:
    if event.price <= 0 or event.size <= 0:
        raise DataError(
            f"print {event.id} of {event.symbol}: price and size must be positive, in ticks "
            f"and lots, were {event.price} and {event.size}"
        )
