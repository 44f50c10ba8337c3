"""Bench of the depth replay: recorded book changes and trades per second through the matching book.

The recorded diffs of a raw recording set the house's levels, its trades sweep the book, and a quote
of ours on each side joins the best price anew after every diff, so that orders queue, advance and
are filled. The kernels are those of the paper exchange, in its order. Reads files and a timer.
"""

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from don.paper.display import deposit, raise_house, top_levels, withdraw
from don.paper.kernels import ASK, BID, SIZE, Ints, add, make_store, node_of, shrink, sweep, take
from don.paper.market import rows_of
from don.paper.matching import Book
from don.paper.recorded import Recording
from don.paper.recordings import load_depth

RECORDINGS = Path("../shared/data/raw/binance_depth")  # beside the repository, where there are any
_FILE = "usdm_btcusdt_20240808.gz"
_RUNS = 5
_ROOM = 1 << 15  # orders; the kernels do not grow their book
_OWN = 1_000  # lots of our quotes


def rows(full: bool) -> list[dict[str, Any]]:
    """The row `backtest.depth_events`: changed levels and trades per second of one core's own time.

    An event is one level of a diff, or one trade. None where the recording is not at hand.
    """
    path = RECORDINGS / _FILE
    if not path.is_file():
        return []
    (recording,) = load_depth([path], None)
    levels, steps = flatten(recording)
    check(recording, levels, steps)
    fills = _run(levels, steps)  # compiles
    rates = []
    count = len(levels) + int((steps[:, 0] == 1).sum())
    for _ in range(_RUNS * (4 if full else 1)):
        start = time.process_time()
        again = _run(levels, steps)
        rates.append(count / (time.process_time() - start))
        if again != fills or not fills:
            raise AssertionError(f"each run must fill the same, {fills} and {again}")
    return [
        {
            "area": "backtest",
            "name": "backtest.depth_events",
            "value": statistics.median(rates),
            "unit": "events/s",
            "n": count,
            "min": min(rates),
            "max": max(rates),
            "peer": None,
            "peer_value": None,
            "ratio": None,
        }
    ]


def flatten(recording: Recording) -> tuple[Ints, Ints]:
    """A recording as arrays: levels (side, price, size) and steps in the order of time.

    A step is (0, first level, level after the last, is a snapshot) or (1, price, size, is a buy).
    """
    found: list[tuple[int, int, int]] = []
    steps: list[tuple[int, int, int, int, int, int]] = []
    for book, arrival in zip(recording.books, recording.book_arrival.tolist(), strict=True):
        begin = len(found)
        found += rows_of(book)
        steps.append((book.ts, arrival, 0, begin, len(found), int(book.snapshot)))
    for n, ts in enumerate(recording.ts.tolist()):
        price, lots = int(recording.price[n]), int(recording.lots[n])
        steps.append((ts, int(recording.arrival[n]), 1, price, lots, int(recording.buy[n])))
    steps.sort()
    return np.array(found, np.int64), np.array(steps, np.int64)[:, 2:]


def check(recording: Recording, levels: Ints, steps: Ints) -> None:
    """Hold the books after all diffs against those of `Book.display`, without orders of ours.

    Raises:
        AssertionError: if they differ.
    """
    book = Book()
    for update in recording.books:
        for _ in book.display(rows_of(update), snapshot=update.snapshot):
            raise AssertionError("a book without users' orders cannot be crossed")
    store = make_store(_ROOM)
    _replay(store, levels, steps[steps[:, 0] == 0], np.zeros((64, 3), np.int64), 0)
    for side in (BID, ASK):
        out: Ints = np.empty((int(store.meta[side]), 3), np.int64)
        n = top_levels(store, side, len(out), out)
        if [tuple(row) for row in out[:n].tolist()] != book.levels(side):
            raise AssertionError("the replayed book must be the exchange's")


def _run(levels: Ints, steps: Ints) -> int:
    return int(_replay(make_store(_ROOM), levels, steps, np.zeros((64, 3), np.int64), _OWN))


@njit(cache=True)
def _replay(s, levels, steps, fills, own):  # type: ignore[no-untyped-def]
    """Replay all steps; how many lots of ours were filled. `own` lots rest at each best price."""
    touched = np.empty((2 * len(s.orders), 2), np.int64)
    quotes = np.zeros(2, np.int64)
    ident = filled = 0
    for i in range(len(steps)):
        if steps[i, 0] == 1:
            side = BID if steps[i, 3] else ASK
            left = steps[i, 2]
            while left > 0:
                n, left = sweep(s, side, steps[i, 1], left, fills)
                if n == 0:
                    break
                filled += fills[0, 2]
            continue
        rows = levels[steps[i, 1] : steps[i, 2]]
        withdraw(s, rows, steps[i, 3] == 1, touched)
        at, _ = deposit(s, rows, 0, touched)
        while at < len(rows):  # a level that stands against ours
            side, price, left = rows[at, 0], rows[at, 1], rows[at, 2]
            while left > 0:
                n, left = take(s, side, price, left, True, fills, 0)
                if n == 0:
                    break
                for k in range(n):
                    if fills[k, 0] != 0:
                        filled += fills[k, 2]
            if left > 0:
                raise_house(s, side, price, left)
            at, _ = deposit(s, rows, at + 1, touched)
        if own == 0:
            continue
        for side in (BID, ASK):
            node = node_of(s, quotes[side]) if quotes[side] else -1
            if node >= 0:
                shrink(s, node, s.orders[node, SIZE])
            top = s.meta[side] - 1
            if top >= 0:
                ident += 1
                quotes[side] = ident
                add(s, ident, side, abs(s.ladder[side, top, 0]), own)
    return filled
