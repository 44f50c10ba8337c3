"""Order latency on the tape: when requests take effect, whatever the wall clock did. Pure.

With a latency of a part of a bar's length, requests that come while tape time is in
[T, T + latency), T being the last bar boundary, take effect at exactly T + latency, before the
tape's next event at or after that time; those that come later, at the next such point. Whoever
answers a closed bar in time gets the same fills however long it took on the way. Requests of one
point are carried out symbol by symbol, because clients send to several symbols at once; within one
account and symbol in the order in which they came.
"""

from don.clock import interval_ns
from don.paper.config import PaperConfig
from don.paper.types import Pending, WaitingRow


class Delay:
    """Requests that wait for their time; true while there are any."""

    def __init__(self, config: PaperConfig) -> None:
        self._bar_ns = interval_ns(config.intervals[0]) if config.order_latency else 0
        self._latency_ns = max(1, round(self._bar_ns * (config.order_latency or 0)))
        self._requests: list[Pending] = []
        self.changed = False  # since the last `Dirty`

    def __bool__(self) -> bool:
        return bool(self._requests)

    def due(self, now: int) -> int | None:
        """When a request that comes at `now` takes effect; None: at once."""
        if not self._bar_ns:
            return None
        point = now // self._bar_ns * self._bar_ns + self._latency_ns
        return point if now < point else point + self._bar_ns

    def add(self, request: Pending) -> None:
        """Let a request wait."""
        self._requests.append(request)
        self.changed = True

    def next(self) -> int | None:
        """The earliest time at which something takes effect."""
        return min((request.due for request in self._requests), default=None)

    def last(self) -> int | None:
        """The latest time at which something takes effect."""
        return max((request.due for request in self._requests), default=None)

    def take(self, due: int) -> list[Pending]:
        """Take out what takes effect at a time, in the order in which it is to be carried out."""
        taken = [request for request in self._requests if request.due == due]
        self._requests = [request for request in self._requests if request.due != due]
        self.changed = True
        return sorted(taken, key=lambda request: (request.symbol, request.account))  # stable

    def row(self) -> WaitingRow:
        """What a restart needs."""
        return WaitingRow(requests=tuple(self._requests))

    def load(self, row: WaitingRow) -> None:
        """Take stored requests back."""
        self._requests = list(row.requests)
