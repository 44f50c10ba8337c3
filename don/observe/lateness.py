"""How late decisions come, in bars: a desk on a busy machine falls behind without an error. Pure.

Two clocks say it. Ours: from the arrival of what closed a bar to the decision on it, against the
pace at which bars come (a replay's are shorter than their name). The exchange's: from a bar's close
to the time at which the exchange took the order in, which also shows what waited before it reached
us. The worse of the two medians counts.
"""

from collections import OrderedDict, deque
from statistics import median
from typing import TypeVar

from don.clock import NS_PER_S
from don.model.messages import Decision, FeatureSnapshot, Input, OrderReport, Output, SubmitOrder
from don.model.order import OrderStatus

K = TypeVar("K")

KEPT = 20  # decisions looked back on
FEWEST = 10  # before anything is said: the first ones of a session take longer
LATE = 1.0  # bars: from here on the next bar is known before the last one is traded
FINE = 0.75  # bars: under this it is over; between the two nothing changes
_OPEN = 256  # snapshots without a decision, orders without a report: remembered at most
_TAKEN = frozenset(
    {OrderStatus.OPEN, OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.EXPIRED}
)


class Lateness:
    """Watches what a desk takes in and gives out."""

    def __init__(self, interval_ns: int) -> None:
        self.late = False
        self._interval = interval_ns
        self._decisions = 0
        self._arrived: OrderedDict[int, int] = OrderedDict()  # snapshot -> ts_recv
        self._bars: deque[tuple[int, int]] = deque(maxlen=KEPT)  # ts_event, ts_recv
        self._waits: deque[int] = deque(maxlen=KEPT)  # ns, arrival to decision
        self._sent: OrderedDict[str, int] = OrderedDict()  # order -> close of its bar
        self._taken: deque[tuple[int, float]] = deque(maxlen=KEPT)  # decisions by then, bars

    @property
    def pace_ns(self) -> float:
        """Wall time between two bars, over the last ones; at most what a bar lasts."""
        if len(self._bars) < 2:
            return float(self._interval)
        (first, begin), (last, end) = self._bars[0], self._bars[-1]
        bars = max((last - first) / self._interval, 1.0)
        return min(max((end - begin) / bars, 1.0), float(self._interval))

    @property
    def bars(self) -> float | None:
        """Median lateness of the last decisions; None while there are too few."""
        if len(self._waits) < FEWEST:
            return None
        ours = median(self._waits) / self.pace_ns
        theirs = [bars for at, bars in self._taken if at > self._decisions - KEPT]
        return max(ours, median(theirs)) if len(theirs) >= FEWEST else ours

    @property
    def text(self) -> str:
        """What is to be said: how late, and what helps; "" if all is well."""
        found = self.bars
        if not self.late or found is None:
            return ""
        seconds = found * self.pace_ns / NS_PER_S
        return (
            f"decisions come {found:.1f} bars late, {seconds:.3g} s (median of the last "
            f"{len(self._waits)}): the machine is too busy; fewer symbols or slots, longer bars, a "
            "lower --speed of a replay"
        )

    def take(self, item: Input | Output, now: int) -> None:
        """Take in what passed the desk; `now` is wall time, when it was acted on."""
        match item:
            case FeatureSnapshot():
                self._bars.append((item.ts_event, item.ts_recv))
                _keep(self._arrived, item.version, item.ts_recv)
            case Decision(snapshot=version) if version in self._arrived:
                self._waits.append(max(now - self._arrived.pop(version), 0))
                self._decisions += 1
            case SubmitOrder(order=order) if not order.parent:
                _keep(self._sent, order.client_order_id, order.ts_event)
            case OrderReport(client_order_id=name) if name in self._sent:
                closed = self._sent.pop(name)
                if item.status in _TAKEN:
                    passed = max(item.ts_event - closed, 0) / self._interval
                    self._taken.append((self._decisions, passed))
            case _:
                return
        found = self.bars
        if found is not None:
            self.late = found > (FINE if self.late else LATE)


def _keep(known: OrderedDict[K, int], key: K, value: int) -> None:
    known[key] = value
    while len(known) > _OPEN:
        known.popitem(last=False)
