"""Where episodes may begin. Pure."""

from collections.abc import Sequence

import numpy as np

from don.envs.layout import Bools, Ints
from don.envs.market import Segment
from don.errors import DataError


def possible_starts(
    segments: Sequence[Segment], ready: Bools, length: int | None
) -> tuple[Ints, Ints]:
    """Bars at which an episode may begin, and the last bar that each may come to.

    Args:
        segments: of the market.
        ready: [T] bars that can be observed and decided on.
        length: bars of an episode; None: to the end.

    Raises:
        DataError: if there are none.
    """
    starts, stops = [], []
    for segment in segments:
        own = np.flatnonzero(ready[segment.start : segment.stop]) + segment.start
        if not len(own):
            continue
        # where nothing can be observed (a symbol is delisted, a segment ends) an episode ends
        run_end = own[np.append(np.flatnonzero(np.diff(own) > 1), len(own) - 1)]
        stop = run_end[np.searchsorted(run_end, own)] + 1  # the bar that is traded last
        good = stop - own >= (length or 1)
        starts.append(own[good])
        stops.append(stop[good])
    if not starts or not sum(len(s) for s in starts):
        raise DataError(
            f"too little history: episode.length is {length}, but at most {int(ready.sum())} bars "
            "can be observed in a row: give more bars or shorter episodes"
        )
    return np.concatenate(starts), np.concatenate(stops)
