"""Many recorded trades and book changes of one symbol at once, where no user's order is met. Pure.

The same steps on the same book as one event after the other; only what would be published of each
is left out, but for the best prices when they change. It ends before the first step that would
fill a user's order, and the caller takes that one as an ordinary event.
"""

from dataclasses import dataclass

import numpy as np

from don.paper.algo import Working
from don.paper.clearing import Clearing
from don.paper.columns import PRICE, Columns
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
    due = next_due(clearing)
    if due is not None:
        stop = min(stop, int(np.searchsorted(columns.ts, due)))
    if (
        start >= stop
        or columns.ts[start] < clearing.now
        or not market.marked
        or clearing.revalued
        or clearing.events
        or market.book.touched
        or clearing.algos.armed(market.symbol, Working.CONTRACT_PRICE)
    ):
        return None
    bid, ask = _resting(clearing, market)
    parts, at, changes = [], start, 0
    best = np.array(market.best_known, np.int64)
    while at < stop:
        told = np.empty((min(_ROWS, stop - at), 5), np.int64)
        next_at, rows, changed = market.book.play(
            columns.levels, columns.steps, at, stop, bid, ask, best, told
        )
        changes += changed
        parts.append(told[:rows])
        if rows < len(told):
            at = next_at
            break
        if next_at == at:
            break
        at = next_at
    if at == start:
        return None
    market.played(changes, tuple(best.tolist()))
    trades = columns.trades(start, at)
    if len(trades):
        market.on_print(int(columns.steps[trades[-1], PRICE]))
        market.bars.fold(columns, trades)
    clearing.now = int(columns.ts[at - 1])
    return Stretch(start=start, stop=at, best=np.concatenate(parts))


def _resting(clearing: Clearing, market: Market) -> tuple[int, int]:
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
