"""What to believe about orders and what to report: the rules of the execution service. Pure.

Reports reach the service from several sides (answers, stream, polling), doubled and overtaking each
other. `Tracker` turns them into one sequence that only goes forward: fills once, an order's state
only after the fills that it counts, nothing after a final state. Times come in from outside.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from don.exchanges.base import PREFIX, KnownOrder, Report
from don.exchanges.binance_wire import order_report
from don.model.evolve import evolve
from don.model.messages import AccountReport, FillReport, FundingReport, OrderReport
from don.model.order import Order, OrderStatus
from don.model.portfolio import ZERO

MAX_KEYS = 200_000  # fills and payments remembered; older repeats are left to the desk's own keys
MAX_FINISHED = 50_000  # finished orders remembered, so that a repeated submit is recognised


@dataclass(slots=True)
class Tracked:
    """An order of ours while it matters."""

    client_order_id: str
    symbol: str
    ts_event: int  # exchange time of the intent
    acknowledged: bool = False
    filled: Decimal = ZERO  # sum of the fills told
    exchange_order_id: str = ""
    ts_sent: int = 0
    told: OrderReport | None = None  # last state told
    held: OrderReport | None = None  # a state that waits for its fills

    @property
    def final(self) -> bool:
        """True if a final state was told."""
        return self.told is not None and self.told.status.final


class Missing(StrEnum):
    """What "the exchange does not know this order" means."""

    WAIT = "wait"  # it may still be on its way
    LOST = "lost"  # it never arrived and never will
    GONE = "gone"  # it was there, and the exchange has forgotten it


def missing(*, acknowledged: bool, last_send_ns: int, now_ns: int, window_ns: int) -> Missing:
    """Judge an order that the exchange does not find.

    Args:
        acknowledged: the exchange once confirmed it.
        last_send_ns: monotonic time after which it was certainly not sent again.
        now_ns: monotonic time at which the question was asked (not answered).
        window_ns: after this the exchange refuses the request, clock error and delays included.
    """
    if now_ns - last_send_ns <= window_ns:
        return Missing.WAIT
    return Missing.GONE if acknowledged else Missing.LOST


def submit_order(orders: Iterable[Order]) -> list[Order]:
    """Orders as they should leave: those that reduce risk first, else as decided."""
    return sorted(orders, key=lambda order: not order.reduce_only)


def advances(new: OrderReport, old: OrderReport | None) -> bool:
    """Whether a state is news after another one of the same order."""
    if old is None:
        return True
    if old.status is OrderStatus.LOST:
        return new.status is not OrderStatus.LOST  # we were wrong: that must be told
    if old.status.final:
        return False
    return new.status.final or new.filled > old.filled


class Tracker:
    """Orders, fills and payments already told; what is news is given back, in the right order."""

    def __init__(self) -> None:
        self._orders: dict[str, Tracked] = {}
        self._finished: OrderedDict[str, Tracked] = OrderedDict()
        self._keys: OrderedDict[str, None] = OrderedDict()

    def adopt(self, known: KnownOrder) -> bool:
        """Take over an order from the journal; False if it is not new."""
        if self.find(known.client_order_id) is not None:
            return False
        self._orders[known.client_order_id] = Tracked(
            client_order_id=known.client_order_id,
            symbol=known.symbol,
            ts_event=known.ts_event,
            acknowledged=known.acknowledged,
            filled=known.filled,
        )
        return True

    def begin(self, order: Order) -> Tracked | None:
        """Take on a new order; None if this id was seen before."""
        if self.find(order.client_order_id) is not None:
            return None
        tracked = Tracked(
            client_order_id=order.client_order_id, symbol=order.symbol, ts_event=order.ts_event
        )
        self._orders[order.client_order_id] = tracked
        return tracked

    def find(self, client_order_id: str) -> Tracked | None:
        """An order of ours, finished or not."""
        tracked = self._orders.get(client_order_id)
        return tracked if tracked is not None else self._finished.get(client_order_id)

    def live(self) -> list[Tracked]:
        """Orders without a final state."""
        return list(self._orders.values())

    def held(self) -> list[Tracked]:
        """Orders whose latest state waits for fills that have not come."""
        return [tracked for tracked in self._orders.values() if tracked.held is not None]

    def gap(self, report: FillReport, order: OrderReport) -> bool:
        """Whether fills of this symbol are missing before a fill that the stream brings.

        Args:
            report: the fill.
            order: the state of its order after it.
        """
        if report.key in self._keys:
            return False
        tracked = self._orders.get(order.client_order_id)
        if tracked is not None and order.filled - report.fill.size > tracked.filled:
            return True
        return any(
            other.symbol == order.symbol and other.client_order_id != order.client_order_id
            for other in self.held()
        )

    def fold(self, reports: Sequence[Report]) -> list[Report]:
        """Take reports in; give back those to be told, in order."""
        told: list[Report] = []
        for report in reports:
            if isinstance(report, OrderReport):
                told += self._order(report)
            elif isinstance(report, FillReport):
                told += self._fill(report)
            elif isinstance(report, AccountReport) or self._first(report.key):
                told.append(report)
        return told

    def _first(self, key: str) -> bool:
        if key in self._keys:
            return False
        self._keys[key] = None
        while len(self._keys) > MAX_KEYS:
            self._keys.popitem(last=False)
        return True

    def _fill(self, report: FillReport) -> list[Report]:
        if not self._first(report.key):
            return []
        told: list[Report] = [report]
        tracked = self.find(report.fill.client_order_id)
        if tracked is not None:
            tracked.acknowledged = True
            tracked.filled += report.fill.size
            if tracked.held is not None:
                told += self._tell(tracked, tracked.held)
        return told

    def _order(self, report: OrderReport) -> list[Report]:
        tracked = self.find(report.client_order_id)
        if tracked is None:
            return []
        if report.exchange_order_id:
            tracked.acknowledged = True
            tracked.exchange_order_id = report.exchange_order_id
        tracked.ts_sent = report.ts_sent or tracked.ts_sent
        return self._tell(tracked, report)

    def _tell(self, tracked: Tracked, report: OrderReport) -> list[Report]:
        if not advances(report, tracked.told):
            return []
        if report.filled < tracked.filled and not report.status.final:
            return []  # overtaken by its own fills
        if report.filled > tracked.filled:
            if advances(report, tracked.held):
                tracked.held = report
            return []
        if tracked.held is not None and not advances(tracked.held, report):
            tracked.held = None
        report = evolve(report, ts_sent=tracked.ts_sent)
        tracked.told = report
        if report.status.final:
            tracked.held = None
            self._orders.pop(tracked.client_order_id, None)
            self._finished[tracked.client_order_id] = tracked
            while len(self._finished) > MAX_FINISHED:
                self._finished.popitem(last=False)
        else:
            self._orders[tracked.client_order_id] = tracked
            self._finished.pop(tracked.client_order_id, None)
        return [report]


def never_arrived(tracked: Tracked, detail: str, ts_recv: int) -> OrderReport:
    """The report of an order that is proven never to have reached the exchange."""
    return order_report(
        client_order_id=tracked.client_order_id,
        symbol=tracked.symbol,
        status=OrderStatus.LOST,
        filled=tracked.filled,
        detail=detail,
        ts_event=tracked.ts_event,
        ts_recv=ts_recv,
        ts_sent=tracked.ts_sent,
    )


def forgotten(tracked: Tracked, ts_recv: int) -> OrderReport:
    """The report of an order that the exchange once confirmed and no longer knows."""
    last = tracked.told or tracked.held
    return order_report(
        client_order_id=tracked.client_order_id,
        exchange_order_id=tracked.exchange_order_id,
        symbol=tracked.symbol,
        status=OrderStatus.CANCELLED,
        filled=tracked.filled,
        detail="the exchange no longer knows the order",
        ts_event=max(tracked.ts_event, last.ts_event if last is not None else 0),
        ts_recv=ts_recv,
        ts_sent=tracked.ts_sent,
    )


def ours(open_orders: Iterable[OrderReport]) -> list[OrderReport]:
    """Open orders that carry our prefix; others are left alone."""
    return [report for report in open_orders if report.client_order_id.startswith(PREFIX)]


def after(
    reports: Iterable[FillReport | FundingReport], since_ts: int
) -> list[FillReport | FundingReport]:
    """Reports at or after the exchange time at which the account's books begin."""
    return [
        report
        for report in reports
        if (report.fill.ts_event if isinstance(report, FillReport) else report.ts_event) >= since_ts
    ]
