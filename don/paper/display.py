"""Compiled steps that keep the tape's displayed levels, the house, in a book. Pure on a `Store`."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from don.paper.kernels import queue_house, shrink
from don.paper.ladder import (
    ASK,
    BID,
    FAR,
    HEAD,
    HOUSE,
    HOUSE_ID,
    ID,
    NEXT,
    PREV,
    SIZE,
    TAIL,
    TOTAL,
    Store,
    level_of,
    locate,
    sort_down_to,
    sort_levels,
)

Ints = NDArray[np.int64]


_SET = -2  # in a memo: a level that need not grow


@njit(cache=True, _nrt=False)
def house_size(s, side, price):  # type: ignore[no-untyped-def]
    """The house's size at a price."""
    level = level_of(s, side, price if side == BID else -price)
    return s.levels[level, HOUSE] if level >= 0 else 0


@njit(cache=True, _nrt=False)
def lower_house(s, side, price, size):  # type: ignore[no-untyped-def]
    """Bring the house at a price down to `size`, from the back of the queue forward.

    That is the pessimistic choice: whoever queues ahead of us is the last to go away.

    Returns:
        The level's total size before, or -1 if nothing changed.
    """
    level = level_of(s, side, price if side == BID else -price)
    return _lower(s, level, size) if level >= 0 else -1


@njit(cache=True, _nrt=False)
def _lower(s, level, size):  # type: ignore[no-untyped-def]
    excess = s.levels[level, HOUSE] - size
    if excess <= 0:
        return -1
    total = s.levels[level, TOTAL]
    node = s.levels[level, TAIL]
    while excess > 0:
        before = s.orders[node, PREV]
        if s.orders[node, ID] == HOUSE_ID:
            amount = min(excess, s.orders[node, SIZE])
            excess -= amount
            shrink(s, node, amount)
        node = before
    return total


@njit(cache=True, _nrt=False)
def raise_house(s, side, price, size):  # type: ignore[no-untyped-def]
    """Bring the house at a price up to `size`, at the back of the queue.

    Returns:
        The level's total size before, or -1 if nothing changed.
    """
    level = level_of(s, side, price if side == BID else -price)
    missing = size - (s.levels[level, HOUSE] if level >= 0 else 0)
    if missing <= 0:
        return -1
    total = s.levels[level, TOTAL] if level >= 0 else 0
    queue_house(s, level, side, price, missing)
    return total


@njit(cache=True, _nrt=False)
def withdraw(s, rows, touched, memo):  # type: ignore[no-untyped-def]
    """First half of an update: everything of the house that shrinks or goes.

    Args:
        s: the book.
        rows: (n, 3) side, price, absolute size.
        touched: buffer for (side, price, total size before) of changed levels; room for all.
        memo: room for each row's level for `deposit`, which saves looking for it twice, where no
            price comes twice; else empty.

    Returns:
        Rows written to `touched`.
    """
    n = 0
    for k in range(len(rows)):
        side, price, size = rows[k, 0], rows[k, 1], rows[k, 2]
        level = level_of(s, side, price if side == BID else -price)
        if len(memo) > 0:
            house = s.levels[level, HOUSE] if level >= 0 else 0
            memo[k] = level if size > house else _SET
        before = _lower(s, level, size) if level >= 0 else -1
        if before >= 0:
            touched[n, 0], touched[n, 1], touched[n, 2] = side, price, before
            n += 1
    return n


@njit(cache=True)
def withdraw_unnamed(s, rows, touched):  # type: ignore[no-untyped-def]
    """Remove the house from levels that are not among the rows; as `withdraw`."""
    n = 0
    named = set()
    named.add(np.int64(0))
    for k in range(len(rows)):
        named.add(rows[k, 1] if rows[k, 0] == BID else -rows[k, 1])
    for side in (BID, ASK):
        sort_levels(s, side, s.meta[side] + s.meta[FAR + side])
        for i in range(s.meta[side] - 1, -1, -1):
            key = s.ladder[side, i, 0]
            if key not in named:
                before = lower_house(s, side, abs(key), 0)
                if before >= 0:
                    touched[n, 0], touched[n, 1], touched[n, 2] = side, abs(key), before
                    n += 1
    return n


@njit(cache=True, _nrt=False)
def deposit(s, rows, start, touched, base, memo):  # type: ignore[no-untyped-def]
    """Second half: everything that grows, from row `start`, until one meets users' orders.

    A house level that the new one crosses is out of date (the tape never crosses itself) and goes.
    `memo` is what `withdraw` made of it, or empty; it holds until a level is crossed.

    Returns:
        (row that users' orders stand against, or len(rows); rows of `touched` in use, of which
        `base` were before; levels of the house that were crossed).
    """
    n, crossed = base, 0
    for k in range(start, len(rows)):
        side, price, size = rows[k, 0], rows[k, 1], rows[k, 2]
        known = crossed == 0 and len(memo) > 0
        if size == 0 or (known and memo[k] == _SET):
            continue
        other = 1 - side
        bound = -price if side == BID else price
        i = s.meta[other] - 1
        if i >= 0 and s.ladder[other, i, 0] >= bound:
            sort_down_to(s, other, bound)
            i = s.meta[other] - 1
        while i >= 0 and s.ladder[other, i, 0] >= bound:
            key = s.ladder[other, i, 0]
            before = lower_house(s, other, abs(key), 0)
            if before >= 0:
                touched[n, 0], touched[n, 1], touched[n, 2] = other, abs(key), before
                n += 1
                crossed += 1
            i = locate(s, other, key) - 1  # more may be sorted now
        top = s.meta[other] - 1
        if top >= 0 and s.ladder[other, top, 0] >= bound:
            return k, n, crossed
        if crossed == 0 and len(memo) > 0:
            level = memo[k]
            before = s.levels[level, TOTAL] if level >= 0 else 0
            house = s.levels[level, HOUSE] if level >= 0 else 0
            queue_house(s, level, side, price, size - house)
        else:
            before = raise_house(s, side, price, size)
        if before >= 0:
            touched[n, 0], touched[n, 1], touched[n, 2] = side, price, before
            n += 1
    return len(rows), n, crossed


@njit(cache=True, _nrt=False)
def top_levels(s, side, limit, out):  # type: ignore[no-untyped-def]
    """The best levels of a side into `out` rows (price, size, house size); returns how many."""
    sort_levels(s, side, limit)
    n = min(limit, s.meta[side])
    for j in range(n):
        i = s.meta[side] - 1 - j
        level = s.ladder[side, i, 1]
        out[j, 0] = abs(s.ladder[side, i, 0])
        out[j, 1] = s.levels[level, TOTAL]
        out[j, 2] = s.levels[level, HOUSE]
    return n


@njit(cache=True, _nrt=False)
def sizes(s, rows):  # type: ignore[no-untyped-def]
    """Fill the third column of rows (side, price, total size), 0 where there is no level."""
    for k in range(len(rows)):
        key = rows[k, 1] if rows[k, 0] == BID else -rows[k, 1]
        level = level_of(s, rows[k, 0], key)
        rows[k, 2] = s.levels[level, TOTAL] if level >= 0 else 0


@njit(cache=True, _nrt=False)
def queue(s, side, price, out):  # type: ignore[no-untyped-def]
    """A level's queue into `out` rows (order id, size), first in line first; returns how many."""
    level = level_of(s, side, price if side == BID else -price)
    n = 0
    node = s.levels[level, HEAD] if level >= 0 else -1
    while node >= 0:
        out[n, 0] = s.orders[node, ID]
        out[n, 1] = s.orders[node, SIZE]
        n += 1
        node = s.orders[node, NEXT]
    return n


def level_count(s: Store) -> int:
    """Levels on both sides."""
    return int(s.meta[BID] + s.meta[ASK] + s.meta[FAR] + s.meta[FAR + ASK])
