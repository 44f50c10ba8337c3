"""Many recorded trades and book changes of one symbol at once, where no user's order is met. Pure.

The same steps on the same book as one event after the other; only what would be published of each
is left out, but for the best prices when they change. It ends before the first step that would
fill a user's order, and the caller takes that one as an ordinary event.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from don.paper.algo import Working
from don.paper.clearing import Clearing
from don.paper.columns import BOOK, PRICE, Columns
from don.paper.kernels import ANY_PRICE
from don.paper.ladder import Ints
from don.paper.market import Market
from don.paper.timeline import next_due

_ROWS = 1 << 14  # changes of the best prices told in one compiled call


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What happened: steps from `start` to before `stop`."""

    start: int
    stop: int
    best: Ints  # (n, 5) step, bid, its size, ask, its size: where they changed; 0 where a side ends


def advance(
    clearing: Clearing, market: Market, columns: Columns, start: int, stop: int
) -> Stretch | None:
    """Take in steps `start` to before `stop`, or those of them that meet nobody.

    Returns:
        None if the first step must be taken as an event.
    """
    stop = bound(clearing, columns.ts, stop)
    if start >= stop or columns.ts[start] < clearing.now or not calm(clearing, [market]):
        return None
    done = take(market, columns, start, stop, resting(clearing, market))
    if done.stop == start:
        return None
    clearing.now = int(columns.ts[done.stop - 1])
    return done


def bound(clearing: Clearing, ts: Ints, stop: int) -> int:
    """`stop`, or the first step at or after the time at which something is due."""
    due = next_due(clearing)
    return stop if due is None else min(stop, int(np.searchsorted(ts, due)))


def calm(clearing: Clearing, markets: Sequence[Market]) -> bool:
    """True if nothing but resting orders could make a step matter to anyone."""
    if clearing.revalued or clearing.events:
        return False
    return all(
        market.marked
        and not market.book.touched
        and not clearing.algos.armed(market.symbol, Working.CONTRACT_PRICE)
        for market in markets
    )


def take(
    market: Market, columns: Columns, start: int, stop: int, limits: tuple[int, int]
) -> Stretch:
    """Take in a symbol's steps up to the first that meets an order, or is a snapshot.

    Args:
        market: of the symbol.
        columns: its recording.
        start: first step.
        stop: after the last.
        limits: users' highest bid and lowest ask, see `resting`.
    """
    parts, at, changes = [], start, 0
    best = np.array(market.best_known, np.int64)
    while at < stop:
        told = np.empty((min(_ROWS, stop - at), 5), np.int64)
        at, rows, changed = market.book.play(
            columns.levels, columns.steps, at, stop, *limits, best, told
        )
        changes += changed
        parts.append(told[:rows])
        if rows < len(told) and at < stop and not _grown(market, columns, at):
            break
    if at > start:
        market.played(changes, tuple(best.tolist()))
        trades = columns.trades(start, at)
        if len(trades):
            market.on_print(int(columns.steps[trades[-1], PRICE]))
            market.bars.fold(columns, trades)
    found = np.concatenate(parts) if parts else np.empty((0, 5), np.int64)
    return Stretch(start=start, stop=at, best=found)


def _grown(market: Market, columns: Columns, at: int) -> bool:
    """Give a book room that a step needs; False if it stops for another reason."""
    kind, begin, end, whole, _ = columns.steps[at].tolist()
    return kind == BOOK and not whole and market.book.make_room(end - begin)


def resting(clearing: Clearing, market: Market) -> tuple[int, int]:
    """Users' highest bid and lowest ask."""
    bid, ask = 0, ANY_PRICE
    for order in clearing.records.all_open():
        if order.symbol != market.symbol or order.waiting:
            continue
        price = market.ticks(order.price)
        if order.side.sign > 0:
            bid = max(bid, price)
        else:
            ask = min(ask, price)
    return bid, ask
