"""Compiled steps of the limit order book. Pure: they change the arrays of a `Store`.

Queues and matching; where levels and orders lie is in `ladder`.
"""

from numba import njit

from don.paper.ladder import (
    ASK,
    BID,
    FREE_ORDER,
    HEAD,
    HOUSE,
    HOUSE_ID,
    ID,
    KEY,
    LEVEL,
    NEXT,
    PREV,
    SIDE,
    SIZE,
    TAIL,
    TOTAL,
    USED,
    Ints,
    Store,
    close_level,
    erase,
    find,
    grow_store,
    insert,
    level_of,
    make_store,
    node_of,
    open_level,
    sort_down_to,
)

__all__ = [
    "ANY_PRICE", "ASK", "BID", "CANCEL", "HOUSE_ID", "LIMIT", "TAKE", "Ints", "Store", "add",
    "fillable", "grow_store", "make_store", "node_of", "process", "queue_house", "shrink", "sweep",
    "take",
]  # fmt: skip

ANY_PRICE = 1 << 61  # limit of a buyer who takes any price; sellers use 0
LIMIT, TAKE, CANCEL = 0, 1, 2  # kinds of messages of `process`

# ---- queues --------------------------------------------------------------------------------------


@njit(cache=True, _nrt=False)
def add(s, ident, side, price, size):  # type: ignore[no-untyped-def]
    """Queue an order at the back of its level. The caller has made sure of room and of no cross."""
    key = price if side == BID else -price
    level = level_of(s, side, key)
    if level < 0:
        level = open_level(s, side, key)
    join(s, level, ident, side, key, size)


@njit(cache=True, _nrt=False)
def join(s, level, ident, side, key, size):  # type: ignore[no-untyped-def]
    """Queue an order at the back of a level that there is."""
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
        insert(s.table, ident, node)


@njit(cache=True, _nrt=False)
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
        erase(s.table, find(s.table, ident))
    s.orders[node, NEXT] = s.meta[FREE_ORDER]
    s.meta[FREE_ORDER] = node
    s.meta[USED] -= 1
    if s.levels[level, HEAD] < 0:
        close_level(s, s.orders[node, SIDE], s.orders[node, KEY], level)


@njit(cache=True, _nrt=False)
def queue_house(s, level, side, price, size):  # type: ignore[no-untyped-def]
    """Add to the house at the back of a level's queue; `level` is -1 where there is none yet."""
    if level >= 0:
        tail = s.levels[level, TAIL]
        if s.orders[tail, ID] == HOUSE_ID:
            s.orders[tail, SIZE] += size
            s.levels[level, TOTAL] += size
            s.levels[level, HOUSE] += size
            return
    key = price if side == BID else -price
    if level < 0:
        level = open_level(s, side, key)
    join(s, level, HOUSE_ID, side, key, size)


# ---- matching ------------------------------------------------------------------------------------


@njit(cache=True, _nrt=False)
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


@njit(cache=True, _nrt=False)
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
    sort_down_to(s, other, key)
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


@njit(cache=True, _nrt=False)
def fillable(s, side, limit, house_only):  # type: ignore[no-untyped-def]
    """Size that an aggressor could take up to a limit."""
    other = 1 - side
    bound = -limit if side == BID else limit
    total = 0
    sort_down_to(s, other, bound)
    for i in range(s.meta[other] - 1, -1, -1):
        if s.ladder[other, i, 0] < bound:
            break
        level = s.ladder[other, i, 1]
        total += s.levels[level, HOUSE] if house_only else s.levels[level, TOTAL]
    return total


@njit(cache=True, _nrt=False)
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
