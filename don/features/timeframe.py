"""A feature over larger bars, known only once they have closed. Pure.

Larger bars are built by the rule of `don.market.resample`: a bar of close time t belongs to the
larger one that closes at the next multiple of its interval, a hole stays a hole. A larger bar is
over when the smaller bar at its close comes, or the first one after it; until the next is over the
feature keeps its value. So at no time does it know more than the closed bars say.
"""

from collections.abc import Mapping
from typing import Self

import numpy as np
from numba import njit

from don.features.base import Feature, Spec
from don.features.columns import COLUMNS, PLACE, TIME, Floats, Ints, close_times, rows

_SUMMED = (
    "volume", "buy_volume", "sell_volume", "impact_xy", "impact_xx", "trade_count", "quote_count",
    "trade_var", "trade_bipower", "trade_cov", "mid_var", "ofi",
)  # fmt: skip
_FIRST, _HIGH, _LOW, _LAST, _SUM, _MEAN = range(6)
_RULES = {"open": _FIRST, "high": _HIGH, "low": _LOW, "close": _LAST, TIME: _LAST, "mark": _LAST,
          "rate": _LAST, **dict.fromkeys(_SUMMED, _SUM)}  # fmt: skip
RULES = np.array([_RULES.get(name, _MEAN) for name in COLUMNS], np.int64)


@njit(cache=True)
def add(bar: Floats, seen: Floats, row: Floats, rules: Ints) -> None:
    """Take a smaller bar into the larger one that is open; `seen` counts values by column."""
    for i in range(len(rules)):
        x = row[i]
        if x != x:
            continue
        if seen[i] == 0.0:
            bar[i] = x
        elif rules[i] == _HIGH:
            bar[i] = max(bar[i], x)
        elif rules[i] == _LOW:
            bar[i] = min(bar[i], x)
        elif rules[i] == _LAST:
            bar[i] = x
        elif rules[i] == _SUM:
            bar[i] += x
        elif rules[i] == _MEAN:
            bar[i] += (x - bar[i]) / (seen[i] + 1.0)
        seen[i] += 1.0


@njit(cache=True)
def fold(
    given: Floats, larger_s: float, time: int, bar: Floats, seen: Floats, rules: Ints
) -> tuple[Floats, Ints, float]:
    """Larger bars of the rows [time, column], going on with an open one.

    Returns:
        Closed bars, for each row how many of them are over by then, and the close of the open one
        (NaN if there is none; its values are in `bar` and `seen`).
    """
    T = len(given)
    closed, over = np.empty((T + 1, given.shape[1])), np.empty(T, np.int64)
    count, end = 0, np.nan
    if seen[time] > 0.0:
        end = np.ceil(bar[time] / larger_s) * larger_s
    for t in range(T):
        own = np.ceil(given[t, time] / larger_s) * larger_s
        if end == end and own != end:
            closed[count] = bar
            count += 1
            bar[:], seen[:] = np.nan, 0.0
        end = own
        add(bar, seen, given[t], rules)
        if given[t, time] == end:
            closed[count] = bar
            count += 1
            bar[:], seen[:] = np.nan, 0.0
            end = np.nan
        over[t] = count
    return closed[:count], over, end


class Larger(Feature):
    """A feature over bars of a larger interval.

    `warm_up` counts bars of one minute; `FeatureSet(interval_ns=...)` knows better.

    Args:
        inner: the feature, which must be fresh.
        interval_ns: of the larger bars.
    """

    def __init__(self, inner: Feature, interval_ns: int) -> None:
        self.spec: Spec = inner.spec
        self.inputs = tuple(dict.fromkeys((*inner.inputs, TIME)))
        self.interval_ns = interval_ns
        self.inner, self.endless = inner, inner.endless
        self.warm_up = self.warm_up_at(60 * 10**9)
        self._stream = inner.fresh()
        self._bar, self._seen = np.full(len(COLUMNS), np.nan), np.zeros(len(COLUMNS))
        self._value = float("nan")

    def warm_up_at(self, interval_ns: int) -> int:
        """Bars without a value before the first one, at most, if bars are of this interval."""
        return (self.inner.warm_up + 1) * max(self.interval_ns // interval_ns, 1) - 1

    def fresh(self) -> Self:
        """A stream that has seen nothing."""
        return type(self)(self.inner.fresh(), self.interval_ns)

    def batch(self, columns: Mapping[str, Floats]) -> Floats:
        """Values [time]."""
        return self.fresh().advance(columns)

    def advance(self, columns: Mapping[str, Floats]) -> Floats:
        """Take in many closed bars: their values."""
        close_times(columns, self.name)
        return self._take(rows({name: columns[name] for name in columns if name in PLACE}))

    def update(self, bar: Floats) -> float:
        """Take in a closed bar; its value."""
        time, end = bar[PLACE[TIME]], self._bar[PLACE[TIME]]
        larger = self.interval_ns / 1e9
        if end == end and np.ceil(end / larger) == np.ceil(time / larger) != time / larger:
            add(self._bar, self._seen, bar, RULES)  # nothing closes: the common case
            return self._value
        return float(self._take(bar[None, :])[0])

    def _take(self, given: Floats) -> Floats:
        closed, over, _ = fold(
            given, self.interval_ns / 1e9, PLACE[TIME], self._bar, self._seen, RULES
        )
        known = np.empty(len(closed) + 1)
        known[0] = self._value
        if len(closed):
            own = {c: np.ascontiguousarray(closed[:, i]) for i, c in enumerate(COLUMNS)}
            known[1:] = self._stream.advance(own)
            self._value = float(known[-1])
        values: Floats = known[over]
        return values
