"""Where a book's levels and orders are: the pools, the id table, the ladder of prices. Pure.

Layout. `orders` is a pool of nodes, each level a FIFO queue linked through it; `levels` is a pool
of queues; `table` (open addressing) finds an order's node by its id and a level by its price. The
ladder holds per side the levels nearest to the other side, sorted, best at the end, so that changes
at the touch move little. The levels behind them are only in the table, unsorted: a recorded book
has thousands, most of its changes are there, and nobody asks for their order until the price comes
near. A key is the price on the bid side and the negated price on the ask side: the best level
always has the greatest key. Prices are ticks > 0, sizes lots > 0, all int64. Order id 0 is the
house: the tape's own displayed size.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]

BID, ASK = 0, 1
HOUSE_ID = 0

# columns
ID, KEY, SIZE, SIDE, PREV, NEXT, LEVEL = 0, 1, 2, 3, 4, 5, 6  # orders
HEAD, TAIL, TOTAL, HOUSE = 0, 1, 2, 3  # levels
# meta; 0 and 1 count the sorted levels of each side, FAR and FAR + 1 those behind them
FREE_ORDER, FREE_LEVEL, USED, FAR = 2, 3, 4, 5

LEAST, FILLED, MOST = 64, 256, 512  # sorted levels: at least, after a change of them, at most


class Store(NamedTuple):
    """Arrays of one book; all int64. C: capacity in orders, H: a power of two >= 4 C.

    Compiled steps neither keep nor make arrays, and are compiled without reference counts
    (`_nrt=False`): counting five arrays at every call took most of the time.
    """

    orders: Ints  # (C, 8)
    levels: Ints  # (C, 4)
    ladder: Ints  # (2, C, 2): key, level; ascending by key
    table: Ints  # (H, 2): order id and node, or name of a level and level; name 0: empty
    meta: Ints  # (8,)


def make_store(capacity: int) -> Store:
    """An empty book with room for `capacity` orders."""
    width = 1 << (4 * capacity - 1).bit_length()
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
    _enter(new.table, old.table)
    return new


# ---- table ---------------------------------------------------------------------------------------


@njit(cache=True, _nrt=False)
def level_name(side, key):  # type: ignore[no-untyped-def]
    """What a level is called in the table: below 0, where order ids are above."""
    return -(2 * abs(key) + side)


@njit(cache=True, _nrt=False)
def _slot(table, name):  # type: ignore[no-untyped-def]
    """Home slot: Fibonacci hashing, since consecutive ids would cluster."""
    return ((name * -7046029254386353131) >> 20) & (len(table) - 1)


@njit(cache=True, _nrt=False)
def insert(table, name, place):  # type: ignore[no-untyped-def]
    """Enter what is not there yet."""
    mask = len(table) - 1
    at = _slot(table, name)
    while table[at, 0] != 0:
        at = (at + 1) & mask
    table[at, 0] = name
    table[at, 1] = place


@njit(cache=True, _nrt=False)
def _enter(table, rows):  # type: ignore[no-untyped-def]
    """Enter all of another table."""
    for k in range(len(rows)):
        if rows[k, 0] != 0:
            insert(table, rows[k, 0], rows[k, 1])


@njit(cache=True, _nrt=False)
def find(table, name):  # type: ignore[no-untyped-def]
    """The slot of a name, -1 if it is not there."""
    mask = len(table) - 1
    at = _slot(table, name)
    while table[at, 0] != 0:
        if table[at, 0] == name:
            return at
        at = (at + 1) & mask
    return -1


@njit(cache=True, _nrt=False)
def erase(table, at):  # type: ignore[no-untyped-def]
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


@njit(cache=True, _nrt=False)
def node_of(s, ident):  # type: ignore[no-untyped-def]
    """Node of a resting order, -1 if there is none."""
    at = find(s.table, ident)
    return s.table[at, 1] if at >= 0 else -1


@njit(cache=True, _nrt=False)
def level_of(s, side, key):  # type: ignore[no-untyped-def]
    """The level of a key, -1 if there is none."""
    at = find(s.table, level_name(side, key))
    return s.table[at, 1] if at >= 0 else -1


# ---- ladder --------------------------------------------------------------------------------------


@njit(cache=True, _nrt=False)
def locate(s, side, key):  # type: ignore[no-untyped-def]
    """Index of the first sorted level whose key is not below `key`; near the end first, then by
    halves.
    """
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


@njit(cache=True, _nrt=False)
def _open(ladder, i, n):  # type: ignore[no-untyped-def]
    """Move levels i to n - 1 one up. Flat and unsigned, which compiles to wide moves."""
    part = ladder.reshape(-1)[2 * i : 2 * n + 2]
    m = 2 * (n - i)
    for k in range(m):
        j = np.uint64(m + 1 - k)
        part[j] = part[j - np.uint64(2)]


@njit(cache=True, _nrt=False)
def _close(ladder, i, n):  # type: ignore[no-untyped-def]
    """Move levels i + 1 to n - 1 one down; see `_open`."""
    part = ladder.reshape(-1)[2 * i : 2 * n]
    for k in range(2 * (n - i - 1)):
        j = np.uint64(k)
        part[j] = part[j + np.uint64(2)]


@njit(cache=True, _nrt=False)
def open_level(s, side, key):  # type: ignore[no-untyped-def]
    """A new, empty level at a key that has none."""
    level = s.meta[FREE_LEVEL]
    s.meta[FREE_LEVEL] = s.levels[level, HEAD]
    s.levels[level, HEAD] = -1
    s.levels[level, TAIL] = -1
    s.levels[level, TOTAL] = 0
    s.levels[level, HOUSE] = 0
    insert(s.table, level_name(side, key), level)
    if s.meta[FAR + side] > 0 and key < s.ladder[side, 0, 0]:
        s.meta[FAR + side] += 1
        return level
    n = s.meta[side]
    i = locate(s, side, key)
    _open(s.ladder[side], i, n)
    s.ladder[side, i, 0] = key
    s.ladder[side, i, 1] = level
    s.meta[side] = n + 1
    if n >= MOST:
        _forget(s, side)
    return level


@njit(cache=True, _nrt=False)
def close_level(s, side, key, level):  # type: ignore[no-untyped-def]
    """Take an empty level away."""
    erase(s.table, find(s.table, level_name(side, key)))
    s.levels[level, HEAD] = s.meta[FREE_LEVEL]
    s.meta[FREE_LEVEL] = level
    n = s.meta[side]
    if s.meta[FAR + side] > 0 and key < s.ladder[side, 0, 0]:
        s.meta[FAR + side] -= 1
        return
    _close(s.ladder[side], locate(s, side, key), n)
    s.meta[side] = n - 1
    if n <= LEAST and s.meta[FAR + side] > 0:
        sort_levels(s, side, FILLED)


@njit(cache=True, _nrt=False)
def _forget(s, side):  # type: ignore[no-untyped-def]
    """Leave only the best `FILLED` levels sorted."""
    gone = s.meta[side] - FILLED
    ladder = s.ladder[side]
    for i in range(FILLED):
        ladder[i, 0] = ladder[i + gone, 0]
        ladder[i, 1] = ladder[i + gone, 1]
    s.meta[side] = FILLED
    s.meta[FAR + side] += gone


@njit(cache=True, _nrt=False)
def sort_levels(s, side, count):  # type: ignore[no-untyped-def]
    """Let at least `count` levels of a side be sorted, or all if there are no more.

    The rows of the ladder behind those in use hold the heap: nothing is allocated.
    """
    n, far = s.meta[side], s.meta[FAR + side]
    more = min(count - n, far)
    if more <= 0:
        return
    ladder = s.ladder[side]
    found = n
    for at in range(len(s.table)):
        name = -s.table[at, 0]
        if name > 0 and (name & 1) == side:
            key = name >> 1 if side == BID else -(name >> 1)
            if n == 0 or key < ladder[0, 0]:
                ladder[found, 0] = key
                ladder[found, 1] = s.table[at, 1]
                found += 1
    for i in range(far // 2 - 1, -1, -1):
        _sink(ladder, n, i, far)
    for end in range(far - 1, far - more - 1, -1):
        _swap(ladder, n, n + end)
        _sink(ladder, n, 0, end)
    for i in range(more):
        ladder[n + i, 0] = ladder[n + far - more + i, 0]
        ladder[n + i, 1] = ladder[n + far - more + i, 1]
    _turn(ladder, 0, n)
    _turn(ladder, n, n + more)
    _turn(ladder, 0, n + more)
    s.meta[side] = n + more
    s.meta[FAR + side] = far - more


@njit(cache=True, _nrt=False)
def _swap(ladder, i, j):  # type: ignore[no-untyped-def]
    key, level = ladder[i, 0], ladder[i, 1]
    ladder[i, 0], ladder[i, 1] = ladder[j, 0], ladder[j, 1]
    ladder[j, 0], ladder[j, 1] = key, level


@njit(cache=True, _nrt=False)
def _turn(ladder, start, stop):  # type: ignore[no-untyped-def]
    """Reverse the order of rows."""
    for k in range((stop - start) // 2):
        _swap(ladder, start + k, stop - 1 - k)


@njit(cache=True, _nrt=False)
def _sink(ladder, base, i, size):  # type: ignore[no-untyped-def]
    """Let element i of a heap find its place, the greatest key at the root."""
    while True:
        child = 2 * i + 1
        if child >= size:
            return
        if child + 1 < size and ladder[base + child + 1, 0] > ladder[base + child, 0]:
            child += 1
        if ladder[base + child, 0] <= ladder[base + i, 0]:
            return
        _swap(ladder, base + i, base + child)
        i = child


@njit(cache=True, _nrt=False)
def sort_down_to(s, side, key):  # type: ignore[no-untyped-def]
    """Let all levels of a side with a key not below `key` be sorted."""
    while s.meta[FAR + side] > 0 and s.ladder[side, 0, 0] >= key:
        sort_levels(s, side, 2 * s.meta[side])
