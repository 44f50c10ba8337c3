"""Where trades of one series may be missing, as the rows and the ledger tell. Pure.

A bar made of trades is whole only if no such stretch touches its time.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from don.clock import NS_PER_S
from don.market.coverage import Range, State, StreamKey
from don.market.coverage_stored import StoredTrades

# Where ids prove nothing and the ledger knows nothing, a longer silence counts as a hole.
SILENCE_NS = 3_600 * NS_PER_S

Ints = NDArray[np.int64]
Spans = list[tuple[int, int]]  # ns, [start, end)


class TradeHoles:
    """Fold over the stored trades of one series, in order of time.

    Args:
        stream: whose.
        counted: ids rise by one, so that they prove what is there.
    """

    def __init__(self, stream: StreamKey, *, counted: bool) -> None:
        self._ids = StoredTrades(stream) if counted else None
        self._silences: Spans = []
        self._none = True
        self.first = self.last = 0  # times of the first row and the last, once there is one

    def add(self, times: Ints, ids: Ints) -> None:
        """The next rows."""
        if not len(times):
            return
        if self._none:
            self._none, self.first, self.last = False, int(times[0]), int(times[0])
        if self._ids is not None:
            self._ids.add(times, (), ids)  # of the claims only the gaps are wanted
        else:
            joined = np.append(self.last, times)
            for at in np.flatnonzero(np.diff(joined) > SILENCE_NS).tolist():
                self._silences.append((int(joined[at]), int(joined[at + 1])))
        self.last = int(times[-1])

    def found(self, ledger: Sequence[Range], start: int, end: int) -> Spans:
        """The stretches of [start, end) of which something may be missing.

        Before the first row, behind the last and in long silences the ledger may say that nothing
        is. Ids that do not follow are a hole unless the exchange itself was down; what the ledger
        calls a gap is one.

        Args:
            ledger: what it says of the stream's minutes there.
            start: ns.
            end: ns, exclusive.
        """
        unsure = list(self._silences)
        unsure += [(start, end)] if self._none else [(start, self.first), (self.last, end)]
        sure = sorted((r.start, r.end) for r in ledger if r.state is not State.GAP)
        down = sorted((r.start, r.end) for r in ledger if r.state is State.DOWN)
        claims = [] if self._ids is None else self._ids.claims()
        missing = [(r.start, r.end) for r in claims if r.state is State.GAP]
        gaps = [(r.start, r.end) for r in ledger if r.state is State.GAP]
        return sorted([*_minus(unsure, sure), *_minus(missing, down), *gaps])


def touched(opens: Ints, closes: Ints, spans: Spans) -> NDArray[np.bool_]:
    """Which of the times [open, close) a span touches.

    Args:
        opens: ns.
        closes: ns, as many.
        spans: in the order of their starts.
    """
    if not spans:
        return np.zeros(len(opens), np.bool_)
    starts = np.array([start for start, _ in spans], np.int64)
    reach = np.maximum.accumulate(np.array([end for _, end in spans], np.int64))
    before = np.searchsorted(starts, closes, "left")  # so many begin before the close
    return (before > 0) & (reach[before - 1] > opens)


def _minus(spans: Spans, known: Spans) -> Spans:
    """What is left of the spans; `known` is sorted and without overlap."""
    left: Spans = []
    for start, end in spans:
        at = start
        for low, high in known:
            if high <= at or low >= end:
                continue
            if low > at:
                left.append((at, low))
            at = high
        if at < end:
            left.append((at, end))
    return left
