"""Bench of the depth replay: recorded book changes and trades per second through the matching book.

What `don backtest` does with a raw recording: its diffs set the house's levels, its trades sweep
the book, many at once where no order of ours is met, one by one where one is. A quote of ours on
each side joins the best price anew every second, so that orders queue, advance
and are filled. Reads files and a timer.
"""

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from don.paper.columns import BEGIN, BUY, END, KIND, PRICE, SIZE_OF, TRADE, WHOLE, Columns
from don.paper.kernels import ANY_PRICE
from don.paper.ladder import ASK, BID
from don.paper.matching import Book
from don.paper.recorded import RecordedTape
from don.paper.tape import open_tape

RECORDINGS = Path("../shared/data/raw/binance_depth")  # beside the repository, where there are any
_FILE = "usdm_btcusdt_20240808.gz"
_RUNS = 5
_OWN = 100  # lots of our quotes
_EVERY_NS = 1_000_000_000  # between our quotes


def rows(full: bool) -> list[dict[str, Any]]:
    """The row `backtest.depth_events`: changed levels and trades per second of one core's own time.

    An event is one level of a diff, or one trade. None where the recording is not at hand.
    """
    path = RECORDINGS / _FILE
    if not path.is_file():
        return []
    tape = open_tape(path)
    if not isinstance(tape, RecordedTape) or not isinstance(tape.columns, Columns):
        raise AssertionError("a raw recording of one symbol must be told in runs")
    columns = tape.columns
    check(columns)
    first = replay(columns)  # compiles
    count = len(columns.levels) + len(columns.trade_steps)
    rates = []
    for _ in range(_RUNS * (4 if full else 1)):
        start = time.process_time()
        again = replay(columns)
        rates.append(count / (time.process_time() - start))
        if again != first or not first[0]:
            raise AssertionError(f"each run must fill the same, {first} and {again}")
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


def check(columns: Columns) -> None:
    """Hold the replay with orders of ours against the same steps taken one by one.

    Raises:
        AssertionError: if fills or books differ.
    """
    fast, slow = replay(columns), replay(columns, at_once=False)
    if fast != slow:
        raise AssertionError("steps taken at once must leave what they leave one by one")


def replay(
    columns: Columns, *, at_once: bool = True
) -> tuple[int, list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """Lots of ours that were filled, and both sides of the book at the end."""
    book = Book()
    steps, stamps = columns.steps, columns.ts
    moments = np.arange(int(stamps[0]), int(stamps[-1]) + _EVERY_NS, _EVERY_NS)
    best = np.zeros(4, np.int64)
    told = np.empty((1 << 14, 5), np.int64)
    quotes, ident, filled, at = [0, 0], 0, 0, 0
    for stop in np.searchsorted(stamps, moments[1:]).tolist():
        for side in (BID, ASK):
            ident += 1
            _quote(book, side, quotes[side], ident)
            quotes[side] = ident
        limits = [book.price_of(one) for one in quotes]
        while at < stop:
            if at_once:
                after, _, _ = book.play(
                    columns.levels, steps, at, stop, limits[BID], limits[ASK] or ANY_PRICE,
                    best, told,
                )  # fmt: skip
                if after > at:
                    at = after
                    continue
            filled += _step(book, columns, at)
            limits = [book.price_of(one) for one in quotes]
            at += 1
    return filled, book.levels(BID), book.levels(ASK)


def _quote(book: Book, side: int, last: int, ident: int) -> None:
    """Take our last quote back and join the best price."""
    if last:
        book.cancel(last)
    best = book.best(side)
    if best is not None:
        book.add(ident, side, best[0], _OWN)
    book.touched.clear()


def _step(book: Book, columns: Columns, at: int) -> int:
    """One step as the exchange takes it; how many lots of ours it filled."""
    step = columns.steps[at]
    filled = 0
    if step[KIND] == TRADE:
        side, left = BID if step[BUY] else ASK, int(step[SIZE_OF])
        while left > 0:
            fills, left = book.sweep(side, int(step[PRICE]), left)
            if not fills:
                break
            filled += sum(fill.size for fill in fills)
    else:
        rows = columns.levels[step[BEGIN] : step[END]]
        shown = book.display(rows, snapshot=bool(step[WHOLE]))
        for side, price, left in shown:
            while left > 0:
                fills, left = book.take(side, price, left)
                if not fills:
                    break
                filled += sum(fill.size for fill in fills if fill.maker)
            shown.settle(left)
    book.touched.clear()
    return filled
