"""The paper exchange: one object that takes tape events and requests and gives events. Pure.

Single-threaded; tape time (`now`) is its only time. Whoever serves it publishes the returned events
in order, after storing `take_dirty()`.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import assert_never

from don.clock import iso
from don.errors import DataError
from don.model.instrument import Instrument
from don.model.portfolio import ZERO
from don.paper import amendment, conditional, liquidation, merged, placement, timeline
from don.paper.algo import AlgoState, AlgoStatus, NewAlgo, Working
from don.paper.columns import Columns
from don.paper.config import PaperConfig
from don.paper.events import (
    BarClose,
    BookUpdate,
    Event,
    FundingRate,
    LeverageUpdate,
    MarkPrice,
    TapeEvent,
    TradePrint,
    UpdateReason,
)
from don.paper.filters import refuse
from don.paper.market import Market, rows_of
from don.paper.matching import ASK, BID
from don.paper.merged import Merged, Stretches
from don.paper.restart import build, display, dump, take_dirty
from don.paper.stretch import Stretch
from don.paper.types import (
    BookLevels,
    Dirty,
    ExchangeState,
    FormingBar,
    IncomeKind,
    MarketRow,
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
        *,
        listened: bool = True,
    ) -> None:
        """`listened`: somebody reads market data and the positions in account updates; if not, they
        are not made, while all that happens to orders and accounts is the same.
        """
        self.config = config
        self.instruments = {i.exchange_symbol: i for i in instruments}
        self.position = state.counters.position if state else 0  # of the tape, after `now`
        self._clearing = build(self.instruments, config, state)
        self._clearing.listened = listened

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
        events = self._take(event)
        if position is not None:
            self.position = position
        return events + self._finish() if events else self._finish()

    def apply_all(self, events: Sequence[TapeEvent]) -> list[Event]:
        """Advance the tape by events of one moment: accounts are looked at once, after the last.

        Raises:
            DataError: as `apply`; the events before the bad one have been applied then.
        """
        before: list[Event] = []
        for event in events:
            before += self._take(event)
        return before + self._finish()

    def advance(
        self, columns: Columns | Merged, start: int, stop: int
    ) -> Stretch | Stretches | None:
        """Take in recorded steps at once, up to one that meets a user's order.

        Leaves what `apply` of each would have left, but tells no events and not `position`.

        Returns:
            None if the first step must be applied as an event.
        """
        return merged.advance(self._clearing, columns, start, stop)

    def _take(self, event: TapeEvent) -> list[Event]:
        """Apply an event but for what follows from it; the events of what was due before it."""
        clearing = self._clearing
        market = clearing.markets.get(event.symbol)
        if market is None:
            raise DataError(f"tape symbol must be a listed one, was {event.symbol!r}")
        if event.ts < clearing.now:
            raise DataError(
                f"tape must not go back: {type(event).__name__} of {event.symbol} at "
                f"{iso(event.ts)}, tape time was {iso(clearing.now)}"
            )
        if isinstance(event, TradePrint):
            _check_print(event)
        rows = rows_of(event) if isinstance(event, BookUpdate) else []
        events = self._move(event.ts) if clearing.delay or clearing.expiries else []
        clearing.now = event.ts
        if isinstance(event, MarkPrice) or not market.marked:
            clearing.revalue(event.symbol)
        match event:
            case MarkPrice():
                market.on_mark(event)
                if clearing.listened:
                    clearing.events.append(market.premium(event.ts))
                conditional.on_price(clearing, market, Working.MARK_PRICE)
            case TradePrint():
                self._on_print(market, event)
            case BookUpdate():
                clearing.display(market, rows, event.snapshot)
            case FundingRate():
                mark = market.mark if event.mark is None else event.mark
                clearing.fund(event.symbol, event.rate, mark)
            case BarClose():
                clearing.events.append(market.bars.on_close(event))
            case _:
                assert_never(event)
        return events

    def release(self) -> list[Event]:
        """Let all requests that wait take effect; tape time moves on to theirs.

        For the end of a tape, after which nothing else moves time.
        """
        last = self._clearing.delay.last()
        return [] if last is None else self._move(last)

    def _move(self, until: int) -> list[Event]:
        """What is due at or before a tape time, each at its own time."""
        events: list[Event] = []
        while (due := timeline.next_due(self._clearing)) is not None and due <= until:
            timeline.run(self._clearing, due)
            events += self._finish()
        return events

    def _on_print(self, market: Market, event: TradePrint) -> None:
        clearing = self._clearing
        market.on_print(event.price)
        if clearing.listened:
            clearing.events.extend(market.told(event))
        clearing.sweep(market, BID if event.buy else ASK, event.price, event.size)
        conditional.on_price(clearing, market, Working.CONTRACT_PRICE)
        if not market.marked:
            conditional.on_price(clearing, market, Working.MARK_PRICE)

    def _finish(self) -> list[Event]:
        """End of a step: liquidations, then what changed in the books."""
        clearing = self._clearing
        if clearing.revalued:
            liquidation.check(clearing)
        if clearing.algos.ended:
            conditional.finish(clearing)
        for market in clearing.markets.values():
            if market.book.touched:
                if clearing.listened:
                    clearing.events.extend(market.publish(clearing.now))
                else:
                    market.book.touched.clear()
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
        size: Decimal = ZERO,
        price: Decimal = ZERO,
    ) -> None:
        self._clearing.delay.add(
            Pending(
                kind=kind,
                account=account,
                symbol=symbol,
                due=due,
                order_id=order_id,
                order=order,
                size=size,
                price=price,
            )
        )

    def amend(
        self,
        symbol: str,
        size: Decimal,
        price: Decimal,
        *,
        order_id: int | None = None,
        client_order_id: str | None = None,
        account: str | None = None,
    ) -> tuple[OrderState, list[Event]]:
        """Change an open limit order, see `amendment`; -2013 when there is none."""
        name, market = self._account(account).name, self._market(symbol)
        order = self._records.find(name, symbol, order_id, client_order_id)
        if order is None or order.status.final:
            refuse(-2013, "Order does not exist.")
        amendment.check(market, order, size, price)
        due = self._clearing.delay.due(self.now)
        if due is not None:
            self._wait(PendingKind.AMEND, name, symbol, due, order.order_id, size=size, price=price)
            return order, []
        amendment.amend(self._clearing, order, size, price)
        events = self._finish()
        return self._records.get(order.order_id), events

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

    def cancel_all(
        self, symbol: str, *, account: str | None = None, at_once: bool = False
    ) -> list[Event]:
        """Cancel all open orders of a symbol; `at_once` if the exchange itself does it."""
        name = self._account(account).name
        due = None if at_once else self._clearing.delay.due(self.now)
        if due is not None:
            self._wait(PendingKind.CANCEL_ALL, name, self._market(symbol).symbol, due)
            return []
        for order in self.open_orders(self._market(symbol).symbol, account=account):
            self._clearing.end(order, Status.CANCELED)
        return self._finish()

    # ---- conditional orders ----------------------------------------------------------------------

    def place_algo(self, request: NewAlgo) -> tuple[AlgoState, list[Event]]:
        """Place a conditional order; its state, and the events to publish."""
        clearing = self._clearing
        account, market = self._account(request.account), self._market(request.symbol)
        due = clearing.delay.due(clearing.now)
        algo = conditional.place(clearing, account, market, request, due)
        if due is not None:
            self._wait(PendingKind.ALGO_PLACE, account.name, market.symbol, due, algo.algo_id)
        return algo, self._finish()

    def cancel_algo(
        self,
        *,
        algo_id: int | None = None,
        client_algo_id: str | None = None,
        account: str | None = None,
    ) -> tuple[AlgoState, list[Event]]:
        """Cancel a conditional order that was not set off; -2011 when there is none."""
        name = self._account(account).name
        algo = self._clearing.algos.find(name, algo_id, client_algo_id)
        if algo is None or algo.status is not AlgoStatus.NEW:
            refuse(-2011, "Unknown order sent.")
        due = self._clearing.delay.due(self.now)
        if due is not None:
            self._wait(PendingKind.ALGO_CANCEL, name, algo.symbol, due, algo.algo_id)
            return algo, []
        return conditional.end(self._clearing, algo, AlgoStatus.CANCELED), self._finish()

    def cancel_all_algos(self, symbol: str, *, account: str | None = None) -> list[Event]:
        """Cancel all conditional orders of a symbol that were not set off."""
        name, symbol = self._account(account).name, self._market(symbol).symbol
        due = self._clearing.delay.due(self.now)
        if due is not None:
            self._wait(PendingKind.ALGO_CANCEL_ALL, name, symbol, due)
            return []
        conditional.end_all(self._clearing, name, symbol)
        return self._finish()

    # ---- the account -----------------------------------------------------------------------------

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

    def display(
        self,
    ) -> tuple[tuple[MarketRow, ...], tuple[BookLevels, ...], tuple[FormingBar, ...]]:
        """What of `dump()` follows from the tape alone: markets, books and forming bars."""
        return display(self._clearing)

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
