"""Compiled steps of the limit order book. Pure: they change the arrays of a `Store`.

Layout. `orders` is a pool of nodes, each level a FIFO queue linked through it; `levels` is a pool
of queues; `ladder` holds per side the sorted levels, best at the end, so that changes near the
touch move little; `table` maps order ids to nodes (open addressing). A key is the price on the bid
side and the negated price on the ask side: the best level always has the greatest key. Prices are
ticks > 0, sizes lots > 0, all int64. Order id 0 is the house: the tape's own displayed size.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]

BID, ASK = 0, 1
HOUSE_ID = 0
ANY_PRICE = 1 << 61  # limit of a buyer who takes any price; sellers use 0
LIMIT, TAKE, CANCEL = 0, 1, 2  # kinds of messages of `process`

# columns
ID, KEY, SIZE, SIDE, PREV, NEXT, LEVEL = 0, 1, 2, 3, 4, 5, 6  # orders
HEAD, TAIL, TOTAL, HOUSE = 0, 1, 2, 3  # levels
FREE_ORDER, FREE_LEVEL, USED = 2, 3, 4  # meta; 0 and 1 count the levels of each side


class Store(NamedTuple):
    """Arrays of one book; all int64. C: capacity in orders, H: a power of two >= 2 C."""

    orders: Ints  # (C, 8)
    levels: Ints  # (C, 4)
    ladder: Ints  # (2, C, 2): key, level; ascending by key
    table: Ints  # (H, 2): order id (0: empty), node
    meta: Ints  # (8,)


def make_store(capacity: int) -> Store:
    """An empty book with room for `capacity` orders."""
    width = 1 << (2 * capacity - 1).bit_length()
    store = Store(
        np.zeros((capacity, 8), np.int64),
        np.zeros((capacity, 4), np.int64),
        np.zeros((2, capacity, 2), np.int64),
        np.zeros((width, 2), np.int64),
        np.zeros(8, np.int64),
    )
    chain = np.append(np.arange(1, capacity), -1)
    store.orders[:, NEXT] = chain
    store.levels[:, HEAD] = chain
    return store


def grow_store(old: Store) -> Store:
    """The same book with twice the room."""
    size = len(old.orders)
    new = make_store(2 * size)
    new.orders[:size] = old.orders
    new.levels[:size] = old.levels
    new.ladder[:, :size] = old.ladder
    new.meta[:] = old.meta
    # the free list of the new half goes in front of what is left of the old one
    new.orders[-1, NEXT] = old.meta[FREE_ORDER]
    new.levels[-1, HEAD] = old.meta[FREE_LEVEL]
    new.meta[FREE_ORDER] = new.meta[FREE_LEVEL] = size
    for ident, node in old.table[old.table[:, 0] > 0]:
        _insert(new.table, ident, node)
    return new


# ---- id table ------------------------------------------------------------------------------------


@njit(cache=True)
def _slot(table, ident):  # type: ignore[no-untyped-def]
    """Home slot: Fibonacci hashing, since consecutive ids would cluster."""
    return ((ident * -7046029254386353131) >> 20) & (len(table) - 1)


@njit(cache=True)
def _insert(table, ident, node):  # type: ignore[no-untyped-def]
    mask = len(table) - 1
    at = _slot(table, ident)
    while table[at, 0] != 0:
        at = (at + 1) & mask
    table[at, 0] = ident
    table[at, 1] = node


@njit(cache=True)
def _find(table, ident):  # type: ignore[no-untyped-def]
    mask = len(table) - 1
    at = _slot(table, ident)
    while table[at, 0] != 0:
        if table[at, 0] == ident:
            return at
        at = (at + 1) & mask
    return -1


@njit(cache=True)
def _erase(table, at):  # type: ignore[no-untyped-def]
    """Empty a slot and move later ones of its run back, so that no tombstones are needed."""
    mask = len(table) - 1
    hole = at
    at = (at + 1) & mask
    while table[at, 0] != 0:
        home = _slot(table, table[at, 0])
        if ((at - home) & mask) >= ((at - hole) & mask):
            table[hole, 0] = table[at, 0]
            table[hole, 1] = table[at, 1]
            hole = at
        at = (at + 1) & mask
    table[hole, 0] = 0


@njit(cache=True)
def node_of(s, ident):  # type: ignore[no-untyped-def]
    """Node of a resting order, -1 if there is none."""
    at = _find(s.table, ident)
    return s.table[at, 1] if at >= 0 else -1


# ---- levels and queues ---------------------------------------------------------------------------


@njit(cache=True)
def locate(s, side, key):  # type: ignore[no-untyped-def]
    """Index of the first level whose key is not below `key`; near the end first, then by halves."""
    n = s.meta[side]
    i = n
    while i > 0 and s.ladder[side, i - 1, 0] >= key:
        i -= 1
        if n - i == 12:
            low, high = 0, i
            while low < high:
                middle = (low + high) // 2
                if s.ladder[side, middle, 0] < key:
                    low = middle + 1
                else:
                    high = middle
            return low
    return i


@njit(cache=True)
def level_of(s, side, key):  # type: ignore[no-untyped-def]
    """The level of a key, -1 if there is none."""
    i = locate(s, side, key)
    if i < s.meta[side] and s.ladder[side, i, 0] == key:
        return s.ladder[side, i, 1]
    return -1


@njit(cache=True)
def _open(ladder, i, n):  # type: ignore[no-untyped-def]
    """Move levels i to n - 1 one up. Flat and unsigned, which compiles to wide moves."""
    part = ladder.reshape(-1)[2 * i : 2 * n + 2]
    m = 2 * (n - i)
    for k in range(m):
        j = np.uint64(m + 1 - k)
        part[j] = part[j - np.uint64(2)]


@njit(cache=True)
def _close(ladder, i, n):  # type: ignore[no-untyped-def]
    """Move levels i + 1 to n - 1 one down; see `_open`."""
    part = ladder.reshape(-1)[2 * i : 2 * n]
    for k in range(2 * (n - i - 1)):
        j = np.uint64(k)
        part[j] = part[j + np.uint64(2)]


@njit(cache=True)
def add(s, ident, side, price, size):  # type: ignore[no-untyped-def]
    """Queue an order at the back of its level. The caller has made sure of room and of no cross."""
    key = price if side == BID else -price
    n = s.meta[side]
    i = locate(s, side, key)
    if i < n and s.ladder[side, i, 0] == key:
        level = s.ladder[side, i, 1]
    else:
        level = s.meta[FREE_LEVEL]
        s.meta[FREE_LEVEL] = s.levels[level, HEAD]
        s.levels[level, HEAD] = -1
        s.levels[level, TAIL] = -1
        s.levels[level, TOTAL] = 0
        s.levels[level, HOUSE] = 0
        _open(s.ladder[side], i, n)
        s.ladder[side, i, 0] = key
        s.ladder[side, i, 1] = level
        s.meta[side] = n + 1
    node = s.meta[FREE_ORDER]
    s.meta[FREE_ORDER] = s.orders[node, NEXT]
    s.meta[USED] += 1
    tail = s.levels[level, TAIL]
    s.orders[node, ID] = ident
    s.orders[node, KEY] = key
    s.orders[node, SIZE] = size
    s.orders[node, SIDE] = side
    s.orders[node, PREV] = tail
    s.orders[node, NEXT] = -1
    s.orders[node, LEVEL] = level
    if tail >= 0:
        s.orders[tail, NEXT] = node
    else:
        s.levels[level, HEAD] = node
    s.levels[level, TAIL] = node
    s.levels[level, TOTAL] += size
    if ident == HOUSE_ID:
        s.levels[level, HOUSE] += size
    else:
        _insert(s.table, ident, node)


@njit(cache=True)
def shrink(s, node, size):  # type: ignore[no-untyped-def]
    """Take `size` off a node; an empty node leaves its queue, an empty level the ladder."""
    level = s.orders[node, LEVEL]
    ident = s.orders[node, ID]
    s.orders[node, SIZE] -= size
    s.levels[level, TOTAL] -= size
    if ident == HOUSE_ID:
        s.levels[level, HOUSE] -= size
    if s.orders[node, SIZE] > 0:
        return
    before, after = s.orders[node, PREV], s.orders[node, NEXT]
    if before >= 0:
        s.orders[before, NEXT] = after
    else:
        s.levels[level, HEAD] = after
    if after >= 0:
        s.orders[after, PREV] = before
    else:
        s.levels[level, TAIL] = before
    if ident != HOUSE_ID:
        _erase(s.table, _find(s.table, ident))
    s.orders[node, NEXT] = s.meta[FREE_ORDER]
    s.meta[FREE_ORDER] = node
    s.meta[USED] -= 1
    if s.levels[level, HEAD] < 0:
        side = s.orders[node, SIDE]
        n = s.meta[side]
        _close(s.ladder[side], locate(s, side, s.orders[node, KEY]), n)
        s.meta[side] = n - 1
        s.levels[level, HEAD] = s.meta[FREE_LEVEL]
        s.meta[FREE_LEVEL] = level


@njit(cache=True)
def queue_house(s, level, side, price, size):  # type: ignore[no-untyped-def]
    """Add to the house at the back of a level's queue; `level` is -1 where there is none yet."""
    if level >= 0:
        tail = s.levels[level, TAIL]
        if s.orders[tail, ID] == HOUSE_ID:
            s.orders[tail, SIZE] += size
            s.levels[level, TOTAL] += size
            s.levels[level, HOUSE] += size
            return
    add(s, HOUSE_ID, side, price, size)


# ---- matching ------------------------------------------------------------------------------------


@njit(cache=True)
def take(s, side, limit, size, stop, fills, base):  # type: ignore[no-untyped-def]
    """Match an aggressor against the other side in price-time order.

    Writes rows (maker id, price, size) to `fills` from row `base`; neighbouring fills of the house
    at one price share a row. With `stop`, ends after the first fill of a user's order, so that the
    caller can settle it before the next. Ends also when `fills` is full.

    Returns:
        (rows written, size left).
    """
    other = 1 - side
    bound = -limit if side == BID else limit
    n, left = 0, size
    while left > 0 and s.meta[other] > 0:
        top = s.meta[other] - 1
        key = s.ladder[other, top, 0]
        if key < bound:
            break
        node = s.levels[s.ladder[other, top, 1], HEAD]
        ident = s.orders[node, ID]
        price = abs(key)
        at = base + n
        merge = n > 0 and ident == HOUSE_ID and fills[at - 1, 0] == HOUSE_ID
        if merge and fills[at - 1, 1] == price:
            at -= 1
        elif at == len(fills):
            break
        else:
            fills[at, 0] = ident
            fills[at, 1] = price
            fills[at, 2] = 0
            n += 1
        amount = min(left, s.orders[node, SIZE])
        fills[at, 2] += amount
        left -= amount
        shrink(s, node, amount)
        if stop and ident != HOUSE_ID:
            break
    return n, left


@njit(cache=True)
def sweep(s, side, price, size, fills):  # type: ignore[no-untyped-def]
    """A trade of the tape as an outside aggressor: up to the first fill of a user's order.

    Users' orders at better prices come first, whatever the house shows there; then the queue at the
    print's own price. What the print takes of the house moves to the back of the queue instead of
    going away: how much the tape displays is for its next book update to say.

    Returns:
        (rows written to `fills`, 0 or 1, size left).
    """
    other = 1 - side
    key = price if other == BID else -price
    left = size
    i = s.meta[other] - 1
    while i >= 0 and s.ladder[other, i, 0] >= key:
        level = s.ladder[other, i, 1]
        if s.levels[level, TOTAL] > s.levels[level, HOUSE]:
            own = s.ladder[other, i, 0] == key
            passed = 0
            node = s.levels[level, HEAD]
            while s.orders[node, ID] == HOUSE_ID and left > 0:
                after = s.orders[node, NEXT]
                if own:
                    amount = min(left, s.orders[node, SIZE])
                    left -= amount
                    passed += amount
                    shrink(s, node, amount)
                node = after
            if passed > 0:
                queue_house(s, level, other, abs(key), passed)
            if left == 0:
                return 0, 0
            amount = min(left, s.orders[node, SIZE])
            fills[0, 0] = s.orders[node, ID]
            fills[0, 1] = abs(s.ladder[other, i, 0])
            fills[0, 2] = amount
            shrink(s, node, amount)
            return 1, left - amount
        i -= 1
    return 0, 0


@njit(cache=True)
def fillable(s, side, limit, house_only):  # type: ignore[no-untyped-def]
    """Size that an aggressor could take up to a limit."""
    other = 1 - side
    bound = -limit if side == BID else limit
    total = 0
    for i in range(s.meta[other] - 1, -1, -1):
        if s.ladder[other, i, 0] < bound:
            break
        level = s.ladder[other, i, 1]
        total += s.levels[level, HOUSE] if house_only else s.levels[level, TOTAL]
    return total


@njit(cache=True)
def process(s, messages, start, fills):  # type: ignore[no-untyped-def]
    """Run messages (kind, id, side, price, size) from row `start`: the engine's batch entry.

    LIMIT takes what it crosses and rests; TAKE takes and drops the rest; CANCEL removes by id. It
    stops early when the pool must grow or `fills` might not hold all fills of the next message.

    Returns:
        (next row, fills written).
    """
    n = 0
    for i in range(start, len(messages)):
        if s.meta[USED] == len(s.orders) or len(fills) - n <= s.meta[USED]:
            return i, n
        kind, side = messages[i, 0], messages[i, 2]
        if kind == CANCEL:
            node = node_of(s, messages[i, 1])
            if node >= 0:
                shrink(s, node, s.orders[node, SIZE])
            continue
        price = messages[i, 3]
        count, left = take(s, side, price, messages[i, 4], False, fills, n)
        n += count
        if kind == LIMIT and left > 0:
            add(s, messages[i, 1], side, price, left)
    return len(messages), n
