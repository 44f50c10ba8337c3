"""Compiled: recorded trades and book changes, one after the other, where no user's order is met.

Pure on a `Store`. See `stretch` for what follows from it.
"""

from numba import njit

from don.paper.columns import BEGIN, BUY, END, KIND, PRICE, SIZE_OF, TRADE, WHOLE
from don.paper.display import deposit, withdraw
from don.paper.kernels import sweep
from don.paper.ladder import (
    ASK,
    BID,
    HEAD,
    HOUSE_ID,
    ID,
    NEXT,
    SIZE,
    TOTAL,
    USED,
    level_of,
)


@njit(cache=True, _nrt=False)
def play(s, levels, steps, start, stop, bid, ask, best, told, touched, memo):  # type: ignore[no-untyped-def]
    """Take in steps until one meets a user's order or is a snapshot, `told` is full, or the book
    must grow.

    Args:
        s: the book.
        levels: (L, 3) side, price, size.
        steps: (M, 5), see `columns`.
        start: first step.
        stop: after the last.
        bid: users' highest bid, 0 without one.
        ask: users' lowest ask, `ANY_PRICE` without one.
        best: (4,) best bid, its size, best ask, its size; kept up to date.
        told: rows (step, *best) where these changed.
        touched: (3 C, 3) room.
        memo: (C,) room.

    Returns:
        (next step, rows in `told`, levels that changed, each step counted by itself).
    """
    m = changes = 0
    for i in range(start, stop):
        if steps[i, KIND] == TRADE:
            price, size = steps[i, PRICE], steps[i, SIZE_OF]
            side = BID if steps[i, BUY] else ASK
            limit = ask if side == BID else bid
            if price >= limit if side == BID else price <= limit:
                if price != limit or _reached(s, 1 - side, price) < size:
                    return i, m, changes
                sweep(s, side, price, size, touched)
            continue
        if m == len(told):
            return i, m, changes
        begin, end = steps[i, BEGIN], steps[i, END]
        if steps[i, WHOLE] == 1 or s.meta[USED] + end - begin > len(s.orders):
            return i, m, changes
        for k in range(begin, end):
            if levels[k, 2] > 0:
                price = levels[k, 1]
                if price >= ask if levels[k, 0] == BID else price <= bid:
                    return i, m, changes
        rows = levels[begin:end]
        n = withdraw(s, rows, touched, memo)
        _, n, crossed = deposit(s, rows, 0, touched, n, memo)
        changes += n if crossed == 0 else _distinct(s, touched, n)
        if _look(s, best):
            told[m, 0] = i
            for j in range(4):
                told[m, 1 + j] = best[j]
            m += 1
    return stop, m, changes


@njit(cache=True, _nrt=False)
def _reached(s, side, price):  # type: ignore[no-untyped-def]
    """Size of the house before the first user's order of a level."""
    level = level_of(s, side, price if side == BID else -price)
    ahead = 0
    node = s.levels[level, HEAD]
    while node >= 0 and s.orders[node, ID] == HOUSE_ID:
        ahead += s.orders[node, SIZE]
        node = s.orders[node, NEXT]
    return ahead


@njit(cache=True, _nrt=False)
def _look(s, best):  # type: ignore[no-untyped-def]
    """Bring the best prices and sizes up to date; True if any changed."""
    changed = False
    for side in (BID, ASK):
        price = size = 0
        top = s.meta[side] - 1
        if top >= 0:
            price = abs(s.ladder[side, top, 0])
            size = s.levels[s.ladder[side, top, 1], TOTAL]
        if best[2 * side] != price or best[2 * side + 1] != size:
            best[2 * side], best[2 * side + 1] = price, size
            changed = True
    return changed


@njit(cache=True, _nrt=False)
def _distinct(s, touched, n):  # type: ignore[no-untyped-def]
    """How many levels are not what they were before a step that touched some of them twice."""
    count = 0
    for j in range(n):
        side, price = touched[j, 0], touched[j, 1]
        first = True
        for k in range(j):
            if touched[k, 0] == side and touched[k, 1] == price:
                first = False
                break
        if first:
            level = level_of(s, side, price if side == BID else -price)
            size = s.levels[level, TOTAL] if level >= 0 else 0
            if size != touched[j, 2]:
                count += 1
    return count
