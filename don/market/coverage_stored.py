"""Completeness of what is stored, from the rows themselves: ids and bars that do not follow. Pure.

For history, for imports and for audits. Feed the rows of one stream in the order in which they are
stored, then take the claims; hand them to the ledger with `anew=True`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from don.market.coverage import MINUTE_NS, Range, State, StreamKey, ceil_minute, floor_minute

OVERLAP = 4096  # trades kept for the next block: ids may be out of order by as much

Ints = NDArray[np.int64]
_STATE_OF = {  # by origin, the worse ones last; else complete
    "history": State.FILLED,
    "import": State.FILLED,
    "repair": State.REPAIRED,
    "synthetic": State.SYNTHETIC,
}


class StoredFold(Protocol):
    """Rows of one stream in, claims out."""

    def add(self, times: Ints, origins: Sequence[str], ids: Ints | None = None) -> None:
        """The next rows; `ids` for trades."""

    def claims(self) -> list[Range]:
        """All claims; the fold is over."""


class StoredBars:
    """Bars of one interval: every interval between the first and the last must be there.

    Args:
        stream: whose, e.g. channel `bars:1m`.
        interval_ns: their length.
    """

    def __init__(self, stream: StreamKey, interval_ns: int) -> None:
        self._stream = stream
        self._interval = interval_ns
        self._first: int | None = None  # open of the first bar
        self._last: int | None = None  # close of the newest
        self._holes: list[tuple[int, int]] = []
        self._made: _Origins = _Origins()

    def add(self, times: Ints, origins: Sequence[str], ids: Ints | None = None) -> None:
        """The next bars by close time, ascending."""
        if not len(times):
            return
        if self._last is None:
            self._first = self._last = int(times[0]) - self._interval
        steps = np.diff(times, prepend=self._last)
        for at in np.flatnonzero(steps > self._interval).tolist():
            close = int(times[at])
            self._holes.append((close - int(steps[at]), close - self._interval))
        self._last = int(times[-1])
        self._made.add(times - self._interval, times, origins)

    def claims(self) -> list[Range]:
        """Complete from the first bar to the last; then what is not."""
        if self._first is None or self._last is None:
            return []
        found = self._made.claims(self._stream, self._first, self._last, self._holes)
        for start, end in self._holes:
            count = (end - start) // self._interval
            why = f"{count} bar{'s' if count > 1 else ''} missing"
            found.append(_spread(self._stream, start, end, State.GAP, why))
        return found


class StoredTrades:
    """Trades whose ids rise by one: every id between the first and the last must be there.

    Args:
        stream: whose.
    """

    def __init__(self, stream: StreamKey) -> None:
        self._stream = stream
        self._first: int | None = None
        self._last = 0
        self._kept: tuple[Ints, Ints] = (np.empty(0, np.int64), np.empty(0, np.int64))
        self._holes: list[tuple[int, int, int, int]] = []
        self._made: _Origins = _Origins()

    def add(self, times: Ints, origins: Sequence[str], ids: Ints | None = None) -> None:
        """The next trades, ascending by time; ids may be a little out of order."""
        if ids is None or len(ids) != len(times):
            raise ValueError("trades are judged by their ids: one a row is needed")
        if not len(times):
            return
        if self._first is None:
            self._first = int(times[0])
        self._last = max(self._last, int(times[-1]))
        self._made.add(times, times + 1, origins)
        self._judge(np.concatenate([self._kept[0], times]), np.concatenate([self._kept[1], ids]))

    def _judge(self, times: Ints, ids: Ints, *, all_of_it: bool = False) -> None:
        order = np.argsort(ids, kind="stable")
        times, ids = times[order], ids[order]
        keep = 1 if all_of_it else min(OVERLAP, len(ids))
        whole = len(ids) - keep + 1  # the first that is kept ends the last pair that is judged
        for at in np.flatnonzero(np.diff(ids[:whole]) > 1).tolist():
            start, end = sorted((int(times[at]), int(times[at + 1])))
            self._holes.append((int(ids[at]) + 1, int(ids[at + 1]) - 1, start, end))
        self._kept = (times[whole - 1 :], ids[whole - 1 :])

    def claims(self) -> list[Range]:
        """Complete from the first trade to the last; then what is not."""
        if self._first is None:
            return []
        self._judge(*self._kept, all_of_it=True)
        holes = [(start, end + 1) for _, _, start, end in self._holes]
        found = self._made.claims(self._stream, self._first, self._last, holes)
        for first, last, start, end in self._holes:
            why = f"trades {first} to {last} missing ({last - first + 1})"
            found.append(_spread(self._stream, start, end + 1, State.GAP, why))
        return found


class _Origins:
    """Runs of minutes with rows that did not come as they happened."""

    def __init__(self) -> None:
        self._runs: dict[State, list[tuple[int, int]]] = {s: [] for s in _STATE_OF.values()}

    def add(self, starts: Ints, ends: Ints, origins: Sequence[str]) -> None:
        named = np.asarray(origins)
        for state in dict.fromkeys(_STATE_OF.values()):
            which = np.isin(named, [o for o, s in _STATE_OF.items() if s is state])
            if not which.any():
                continue
            lows = starts[which] // MINUTE_NS * MINUTE_NS
            highs = -(-ends[which] // MINUTE_NS) * MINUTE_NS
            breaks = np.flatnonzero(lows[1:] > highs[:-1]) + 1
            for low, high in zip(
                lows[np.r_[0, breaks]], highs[np.r_[breaks - 1, len(highs) - 1]], strict=True
            ):
                self._put(self._runs[state], int(low), int(high))

    def claims(
        self, stream: StreamKey, first: int, last: int, holes: Sequence[tuple[int, int]]
    ) -> list[Range]:
        """What is between the two times; no two claims of a minute, and none where a hole is."""
        found: list[Range] = []
        whole = (ceil_minute(first), floor_minute(last))
        taken = sorted((floor_minute(low), ceil_minute(high)) for low, high in holes)
        for state in (State.SYNTHETIC, State.REPAIRED, State.FILLED, State.COMPLETE):
            runs = self._runs[state] if state is not State.COMPLETE else [whole]
            if state is State.FILLED:  # as complete: only minutes that are whole
                runs = [(max(low, whole[0]), min(high, whole[1])) for low, high in runs]
            runs = list(_minus(runs, taken))
            found += [_spread(stream, low, high, state, "") for low, high in runs]
            taken = sorted([*taken, *runs])
        return found

    @staticmethod
    def _put(runs: list[tuple[int, int]], low: int, high: int) -> None:
        if runs and low <= runs[-1][1]:
            runs[-1] = (runs[-1][0], max(high, runs[-1][1]))
        else:
            runs.append((low, high))


def _minus(
    runs: Iterable[tuple[int, int]], taken: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """What is left of the runs; both ascending by their starts."""
    at = 0
    for start, end in runs:
        low = start
        while at < len(taken) and taken[at][1] <= low:
            at += 1
        n = at
        while n < len(taken) and taken[n][0] < end:
            if taken[n][0] > low:
                yield low, taken[n][0]
            low = max(low, taken[n][1])
            n += 1
        if low < end:
            yield low, end


def _spread(stream: StreamKey, start: int, end: int, state: State, reason: str) -> Range:
    return Range(
        exchange=stream.exchange,
        channel=stream.channel,
        symbol=stream.symbol,
        start=floor_minute(start),
        end=ceil_minute(end),
        state=state,
        reason=reason,
    )
