"""The desk's account at an exchange in the same process: orders in, reports out. No waiting.

Every order and every report passes the translations of the wire, both ways: what the exchange's
REST and user stream would say, and what the gateway would make of it. So whatever crosses the
sockets live crosses here, rounded and named alike.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from don.backtest.config import LatencyConfig
from don.clock import NS_PER_MS
from don.errors import ExchangeRefused
from don.exchanges import binance_wire as wire
from don.exchanges.base import FundingDue, KnownOrder, Report, StreamState
from don.exchanges.binance_algo import algo_event, algo_from_rest, algo_request
from don.exchanges.reconcile import Tracker, ours, submit_order
from don.model.instrument import Instrument
from don.model.messages import AccountReport, CancelOrder
from don.model.order import Order, OrderStatus
from don.model.portfolio import ZERO
from don.paper.algo import AlgoState
from don.paper.events import AccountUpdate, AlgoUpdate, Event, OrderUpdate, UpdateReason
from don.paper.exchange import PaperExchange
from don.paper.server import wire_account, wire_algo
from don.paper.server.order_params import new_algo, new_order
from don.paper.server.params import Params
from don.paper.types import IncomeKind, OrderState

_PAYMENTS = (IncomeKind.FUNDING_FEE, IncomeKind.INSURANCE_CLEAR)
_REASONS = (UpdateReason.FUNDING_FEE, UpdateReason.INSURANCE_CLEAR)

EVERY = 1_000_000_000  # rows

Act = Callable[[], list[Event]]


class LocalAccount:
    """One account; what the exchange tells waits in `reports` until it is taken.

    Args:
        exchange: the exchange.
        instruments: what it lists.
        latency: of requests, if the exchange itself has none.
        seed: of drawn latencies.
        wall: wall time now, for stamps.
    """

    def __init__(
        self,
        exchange: PaperExchange,
        instruments: Sequence[Instrument],
        latency: LatencyConfig,
        seed: int,
        wall: Callable[[], int],
    ) -> None:
        self._exchange, self._wall = exchange, wall
        self._name = exchange.config.accounts[0]
        self._symbols = wire.Symbols(list(instruments))
        self._asset = exchange.config.asset
        self._tracker = Tracker()
        self._paid = 0  # transaction number of the last payment told
        self._draw = _draws(latency, seed) if exchange.config.order_latency is None else None
        self._algos: dict[str, int] = {}  # client ids of conditional orders -> the exchange's
        self._under_way: deque[tuple[int, Act]] = deque()  # (tape time, request), sorted
        self.reports: deque[Report] = deque()
        self._take_over()

    def _take_over(self) -> None:
        """Know the orders of ours that are open already; that they are is no news."""
        opened = self._exchange.open_orders(account=self._name)
        algos = self._exchange.open_algos(account=self._name)
        known = [(o.client_order_id, o.symbol, o.filled, o.ts_created) for o in opened]
        known += [(a.client_algo_id, a.symbol, ZERO, a.ts_created) for a in algos]
        self._algos.update((a.client_algo_id, a.algo_id) for a in algos)
        for name, symbol, filled, ts in known:
            self._tracker.adopt(
                KnownOrder(
                    client_order_id=name, symbol=symbol, acknowledged=True, filled=filled,
                    ts_event=ts,
                )
            )  # fmt: skip
            report = wire.order_report(
                client_order_id=name, symbol=symbol, status=OrderStatus.OPEN, filled=filled,
                ts_event=ts, ts_recv=ts,
            )  # fmt: skip
            self._tracker.fold([report])

    # ---- out -------------------------------------------------------------------------------------

    def send(self, cancels: Sequence[CancelOrder], orders: Sequence[Order]) -> list[Event]:
        """Send requests as the execution service does: cancels first, then what reduces.

        Returns:
            The exchange's events, also those for everybody.
        """
        events: list[Event] = []
        for cancel in cancels:
            events += self._dispatch(partial(self._cancel, cancel))
        for order in submit_order(orders):
            self._tracker.begin(order)
            events += self._dispatch(partial(self._place, order))
        return events

    def arrive(self, until: int) -> list[Event]:
        """Let requests that arrive at or before a tape time reach the exchange."""
        events: list[Event] = []
        while self._under_way and self._under_way[0][0] <= until:
            events += self._under_way.popleft()[1]()
        return events

    @property
    def next_arrival(self) -> int | None:
        """When the next request arrives; None if none is under way."""
        return self._under_way[0][0] if self._under_way else None

    def _dispatch(self, act: Act) -> list[Event]:
        if self._draw is None:
            return act()
        due = self._exchange.now + self._draw()
        self._under_way.append((due, act))
        self._under_way = deque(sorted(self._under_way, key=lambda item: item[0]))  # stable
        return []

    def _place(self, order: Order) -> list[Event]:
        symbol = self._symbols.theirs(order.symbol)
        conditional = order.type.conditional
        try:
            if conditional:
                asked = new_algo(Params(algo_request(order, symbol)), symbol, self._name)
                made, events = self._exchange.place_algo(asked)
            else:
                params = Params(wire.order_request(order, symbol))
                state, events = self._exchange.place(new_order(params, symbol, self._name))
        except ExchangeRefused as refused:
            report = wire.order_report(
                client_order_id=order.client_order_id,
                symbol=order.symbol,
                status=OrderStatus.REJECTED,
                filled=ZERO,
                detail=f"{refused.code} {refused.message}",
                ts_event=order.ts_event,
                ts_recv=self._wall(),
            )
            self._tell([report])
            return []
        self.hear(events)
        if conditional:
            self._algos[order.client_order_id] = made.algo_id
            self._answer_algo(made)
        else:
            self._answer(state)
        return events

    def _cancel(self, cancel: CancelOrder) -> list[Event]:
        symbol = self._symbols.theirs(cancel.symbol)
        if cancel.client_order_id in self._algos:
            return self._cancel_algo(cancel.client_order_id, symbol)
        try:
            state, events = self._exchange.cancel(
                symbol, client_order_id=cancel.client_order_id, account=self._name
            )
        except ExchangeRefused:
            return []  # it has ended: its reports say how
        self.hear(events)
        self._answer(state)
        return events

    def _cancel_algo(self, name: str, symbol: str) -> list[Event]:
        """Cancel a conditional order, or the order that it became."""
        try:
            made, events = self._exchange.cancel_algo(client_algo_id=name, account=self._name)
        except ExchangeRefused:
            became = self._exchange.order_of(
                self._exchange.algo(client_algo_id=name, account=self._name)
            )
            if became is None:
                return []
            try:
                state, events = self._exchange.cancel(
                    symbol, order_id=became.order_id, account=self._name
                )
            except ExchangeRefused:
                return []  # it has ended: its reports say how
            self.hear(events)
            self._answer(state)
            return events
        self.hear(events)
        self._answer_algo(made)
        return events

    def _answer_algo(self, made: AlgoState) -> None:
        row = wire_algo.algo(made, self._exchange.order_of(made))
        symbol = self._symbols.ours(made.symbol) or made.symbol
        self._tell([algo_from_rest(row, symbol, self._wall())])

    def _answer(self, state: OrderState) -> None:
        tracked = self._tracker.find(state.client_order_id)
        if tracked is not None and tracked.final:
            return  # the stream has told how it ended: the answer is no news
        row = wire_account.placed(state, result=True)
        symbol = self._symbols.ours(state.symbol) or state.symbol
        self._tell([wire.order_from_rest(row, symbol, self._wall())])

    # ---- in --------------------------------------------------------------------------------------

    def hear(self, events: Iterable[Event]) -> None:
        """Take in what the user stream would tell, of all of the exchange's events."""
        paid: int | None = None  # since when payments are to be asked for
        for event in events:
            if isinstance(event, OrderUpdate):
                if event.account == self._name:
                    if paid is not None:
                        self._payments(paid)
                        paid = None
                    self._hear(wire_account.order_event(event))
            elif isinstance(event, AlgoUpdate):
                if event.account == self._name:
                    body = wire_algo.algo_event(event)
                    self._tell(algo_event(body, self._symbols, self._wall()))
            elif isinstance(event, AccountUpdate) and event.account == self._name:
                if event.reason in _REASONS and paid is None:
                    paid = event.ts
        if paid is not None:
            self._payments(paid)

    def _hear(self, body: wire_account.Json) -> None:
        told = wire.user_event(body, self._symbols, self._asset, self._wall())
        self._tell([one for one in told if not isinstance(one, StreamState | FundingDue)])

    def _payments(self, ts: int) -> None:
        """Payments since the last ones told, as the execution service polls them."""
        rows = [
            row
            for row in self._exchange.income(start=ts, limit=EVERY, account=self._name)
            if row.tran_id > self._paid and row.kind in _PAYMENTS
        ]
        if not rows:
            return
        self._paid = rows[-1].tran_id
        told = wire.payments_from_rest(
            [wire_account.income(row) for row in rows], self._symbols, self._asset, self._wall()
        )
        self._tell(told)

    def _tell(self, reports: Sequence[Report]) -> None:
        self.reports.extend(self._tracker.fold(reports))

    def account(self, *, final: bool = False) -> AccountReport:
        """The account as the exchange has it; only to be told when `reports` is empty."""
        state = self._exchange.account(self._name)
        report = wire.account_from_rest(
            wire_account.account(state, v2=False), self._symbols, self._asset, self._wall()
        )
        open_orders = [
            wire.order_from_rest(wire_account.order(one), one.symbol, self._wall())
            for one in self._exchange.open_orders(account=self._name)
        ]
        open_orders += [
            algo_from_rest(
                wire_algo.algo(one, self._exchange.order_of(one)), one.symbol, self._wall()
            )
            for one in self._exchange.open_algos(account=self._name)
        ]
        ts = max(report.ts_event, self._exchange.now)
        return replace(
            report,
            key=f"account:{ts}:{self._wall()}:{int(final)}",
            open_orders=tuple(sorted(one.client_order_id for one in ours(open_orders))),
            final=final,
            ts_event=ts,
        )


def _draws(latency: LatencyConfig, seed: int) -> Callable[[], int] | None:
    """Where latencies come from, ns; None if there is none."""
    if latency.measured_ms:
        measured = np.asarray(latency.measured_ms)
        rng = np.random.default_rng(seed)
        return lambda: int(measured[rng.integers(len(measured))] * NS_PER_MS)
    if latency.constant_ms:
        constant = int(latency.constant_ms * NS_PER_MS)
        return lambda: constant
    return None
