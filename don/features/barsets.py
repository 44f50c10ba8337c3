"""When a set of bars closes: a rule on exchange time alone. Pure.

The bars of N symbols with one close time T are a set. It closes when all of them are in, or when
any event's exchange time has reached T + grace; sets close in the order of T. A set that no bar
belongs to (nothing was traded anywhere, or the data have a hole) is passed over. A bar that comes
after its set has closed, or comes twice, changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from don.features.columns import Floats, Ints

VALUES = 6  # open, high, low, close, volume, trades


@dataclass(slots=True)
class BarSet:
    """Bars of one close time, N symbols."""

    close_ns: int
    values: Floats  # [N, 6], NaN where missing
    present: np.ndarray  # [N] bool
    origin: list[str]  # "" where missing
    recv: Ints  # [N] wall time at which the bar reached the feed
    last_recv: int = 0  # of the bar that came last
    extra: dict[int, Floats] = field(default_factory=dict)  # symbol -> micro columns, if given


class BarSets:
    """Sets that are being filled, and which closes next."""

    def __init__(self, symbols: int, interval_ns: int, grace_ns: int) -> None:
        self._count, self._interval, self._grace = symbols, interval_ns, grace_ns
        self._pending: dict[int, BarSet] = {}
        self.last_close: int | None = None  # of the set closed or passed over last
        self.repeated = 0  # bars that came twice or late
        self.refused = 0  # bars that are not on the grid

    def add(
        self,
        symbol: int,
        close_ns: int,
        values: Floats,
        origin: str,
        recv: int,
        extra: Floats | None = None,
    ) -> None:
        """Take in one bar."""
        if close_ns % self._interval:
            self.refused += 1
            return
        if self.last_close is not None and close_ns <= self.last_close:
            self.repeated += 1
            return
        one = self._pending.get(close_ns)
        if one is None:
            one = self._pending[close_ns] = BarSet(
                close_ns=close_ns,
                values=np.full((self._count, VALUES), np.nan),
                present=np.zeros(self._count, np.bool_),
                origin=[""] * self._count,
                recv=np.zeros(self._count, np.int64),
            )
        if one.present[symbol]:
            self.repeated += 1
            return
        one.values[symbol], one.present[symbol] = values, True
        one.origin[symbol], one.recv[symbol], one.last_recv = origin, recv, recv
        if extra is not None:
            one.extra[symbol] = extra

    def widen(self, each: Callable[[Floats], Floats]) -> None:
        """Apply a function to the micro columns that pending bars brought."""
        for one in self._pending.values():
            one.extra = {symbol: each(values) for symbol, values in one.extra.items()}

    def start(self, close_ns: int) -> None:
        """Let the set after `close_ns` be the next to close; older bars are dropped."""
        self.last_close = close_ns
        for old in [moment for moment in self._pending if moment <= close_ns]:
            del self._pending[old]

    def due(self, now: int) -> tuple[BarSet, bool] | None:
        """The next set if it closes at exchange time `now`, and whether it is complete."""
        if self.last_close is None:
            if not self._pending:
                return None
            self.last_close = min(self._pending) - self._interval
        # times that no bar belongs to are passed over once their grace is gone
        ended = (now - self._grace) // self._interval * self._interval
        empty = min((m for m in self._pending if m <= ended), default=ended + self._interval)
        self.last_close = max(self.last_close, empty - self._interval)
        moment = self.last_close + self._interval
        one = self._pending.get(moment)
        if one is None:
            return None
        complete = bool(one.present.all())
        if not complete and now < moment + self._grace:
            return None
        del self._pending[moment]
        self.last_close = moment
        return one, complete
