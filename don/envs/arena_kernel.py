"""Compiled steps of a market that its agents make: one limit order book an episode. Pure.

Matching is the paper exchange's own (`don.paper.kernels`). Order ids carry their owner:
id = number * owners + owner + 1; the last owner is the noise.
"""

import numpy as np
from numba import njit

from don.paper.kernels import add, shrink, take
from don.paper.ladder import ASK, BID, Store, node_of

CASH, HELD, FEES, TRADED, MADE = 0, 1, 2, 3, 4  # columns of accounts [B, owners, 5]
VALUE, SEQ, RING_AT, LAST, BOUGHT, SOLD = 0, 1, 2, 3, 4, 5  # columns of state [B, 6]
ANY_BUY, ANY_SELL = 1 << 61, 0


@njit(cache=True, error_model="numpy")
def draw(rng, b):  # type: ignore[no-untyped-def]
    """A number from 0, below 1: SplitMix64, see `don.envs.draws`."""
    rng[b] += np.uint64(0x9E3779B97F4A7C15)
    z = rng[b]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) * 2.0**-53


@njit(cache=True, error_model="numpy")
def _normal(rng, b):  # type: ignore[no-untyped-def]
    """Box & Muller, Annals of Mathematical Statistics 29(2), 1958."""
    first = 1.0 - draw(rng, b)
    return np.sqrt(-2.0 * np.log(first)) * np.cos(2.0 * np.pi * draw(rng, b))


@njit(cache=True, error_model="numpy")
def middle(s, last):  # type: ignore[no-untyped-def]
    """Half way between the best prices; a side that is empty counts as the last price."""
    bid = s.ladder[BID, s.meta[BID] - 1, 0] if s.meta[BID] > 0 else np.int64(last)
    ask = -s.ladder[ASK, s.meta[ASK] - 1, 0] if s.meta[ASK] > 0 else np.int64(last)
    return 0.5 * (bid + ask)


@njit(cache=True, error_model="numpy")
def submit(s, b, owner, owners, side, limit, size, rests, state, accounts, fees, fills):  # type: ignore[no-untyped-def]
    """Match an order and settle both sides of each fill; the id of what rests of it, or 0."""
    maker_fee, taker_fee = fees
    sign = 1.0 if side == BID else -1.0
    left = size
    while left > 0:
        count, left = take(s, side, limit, left, False, fills, 0)
        if count == 0:
            break
        for i in range(count):
            other = (fills[i, 0] - 1) % owners
            price, amount = float(fills[i, 1]), float(fills[i, 2])
            quote = price * amount
            accounts[b, owner, CASH] -= sign * quote + quote * taker_fee
            accounts[b, owner, HELD] += sign * amount
            accounts[b, owner, FEES] += quote * taker_fee
            accounts[b, owner, TRADED] += quote
            accounts[b, other, CASH] += sign * quote - quote * maker_fee
            accounts[b, other, HELD] -= sign * amount
            accounts[b, other, FEES] += quote * maker_fee
            accounts[b, other, MADE] += quote
            state[b, LAST] = price
            state[b, BOUGHT if sign > 0 else SOLD] += amount
    if left > 0 and rests:
        state[b, SEQ] += 1
        ident = np.int64(state[b, SEQ]) * owners + owner + 1
        add(s, ident, side, limit, left)
        return ident
    return np.int64(0)


@njit(cache=True, error_model="numpy")
def cancel(s, ident):  # type: ignore[no-untyped-def]
    """Take an order out if it is there."""
    if ident > 0:
        node = node_of(s, ident)
        if node >= 0:
            shrink(s, node, s.orders[node, 2])


@njit(cache=True, error_model="numpy")
def _noise(s, b, owners, rng, ring, state, accounts, fees, fills, noise):  # type: ignore[no-untyped-def]
    """One noise order: a limit order around the value, or a market order that leans to it."""
    limits, most, reach, lean = noise
    value = state[b, VALUE]
    size = np.int64(1 + draw(rng, b) * most)
    if draw(rng, b) < limits:
        away = 1.0 - np.log(1.0 - draw(rng, b)) * reach
        side = BID if draw(rng, b) < 0.5 else ASK
        price = np.int64(max(1.0, np.rint(value - away if side == BID else value + away)))
        at = np.int64(state[b, RING_AT])
        cancel(s, ring[b, at])
        ring[b, at] = submit(
            s, b, owners - 1, owners, side, price, size, True, state, accounts, fees, fills
        )
        state[b, RING_AT] = (at + 1) % ring.shape[1]
        return
    mid = middle(s, state[b, LAST])
    chance = 0.5 + lean * (1.0 if value > mid else -1.0 if value < mid else 0.0)
    side = BID if draw(rng, b) < chance else ASK
    limit = ANY_BUY if side == BID else ANY_SELL
    submit(s, b, owners - 1, owners, side, limit, size, False, state, accounts, fees, fills)


@njit(cache=True, error_model="numpy")
def begin(  # type: ignore[no-untyped-def]
    orders, levels, ladder, table, meta, chosen, rng, ring, state, accounts, fees, fills, noise
):
    """Fill fresh books with noise limit orders until the ring has gone round once."""
    _, most, reach, lean = noise
    owners = accounts.shape[1]
    for b in range(len(chosen)):
        if chosen[b]:
            s = Store(orders[b], levels[b], ladder[b], table[b], meta[b])
            for _ in range(ring.shape[1]):
                _noise(s, b, owners, rng, ring, state, accounts, fees, fills,
                       (1.0, most, reach, lean))  # fmt: skip


@njit(cache=True, error_model="numpy")
def step_arena(  # type: ignore[no-untyped-def]
    orders,
    levels,
    ladder,
    table,
    meta,
    active,
    rng,
    ring,
    state,
    accounts,
    quotes,
    makers,
    wishes,
    gone,
    inventory,
    marks,
    fees,
    fills,
    noise,
    sigma,
    count,
):
    """One step of all books.

    The value moves; half of the noise comes; agents act in an order drawn anew; the other half.

    Args:
        orders: arrays of `Store`, [B, ...].
        levels: the same.
        ladder: the same.
        table: the same.
        meta: the same.
        active: [B].
        rng: [B] uint64.
        ring: [B, R] ids of noise orders.
        state: [B, 6].
        accounts: [B, owners, 5].
        quotes: [B, makers, 2] ids.
        makers: how many agents are makers; they come first.
        wishes: [B, agents, 3]: makers: offsets of bid and ask in ticks, size; takers: signed size.
        gone: [B, agents] have left: their quotes are withdrawn, they do nothing.
        inventory: a maker's quotes do not take what it holds beyond, lots.
        marks: [B] set to the middle of the book.
        fees: (maker, taker).
        fills: (rows, 3) buffer.
        noise: (share of limit orders, greatest size, reach, lean).
        sigma: deviation of the value's log move.
        count: noise orders a step.
    """
    owners = accounts.shape[1]
    agents = owners - 1
    turn = np.arange(agents)
    for b in range(len(active)):
        if not active[b]:
            continue
        s = Store(orders[b], levels[b], ladder[b], table[b], meta[b])
        state[b, BOUGHT] = state[b, SOLD] = 0.0
        state[b, VALUE] = max(10.0, state[b, VALUE] * np.exp(sigma * _normal(rng, b)))
        for a in range(makers):
            if gone[b, a]:
                for side in range(2):
                    cancel(s, quotes[b, a, side])
                    quotes[b, a, side] = 0
        for _ in range(count // 2):
            _noise(s, b, owners, rng, ring, state, accounts, fees, fills, noise)
        for i in range(agents):
            turn[i] = i
        for i in range(agents - 1, 0, -1):
            j = np.int64(draw(rng, b) * (i + 1))
            turn[i], turn[j] = turn[j], turn[i]
        for i in range(agents):
            a = turn[i]
            if gone[b, a]:
                continue
            if a < makers:
                for side in range(2):
                    cancel(s, quotes[b, a, side])
                    quotes[b, a, side] = 0
                mid = middle(s, state[b, LAST])
                size = np.int64(wishes[b, a, 2])
                bid = np.int64(max(1.0, np.floor(mid - wishes[b, a, 0])))
                ask = np.int64(max(2.0, np.ceil(mid + wishes[b, a, 1])))
                # what it holds now: others' orders may have met its old quotes in this very step
                room = min(size, inventory - np.int64(accounts[b, a, HELD]))
                if room > 0:
                    quotes[b, a, 0] = submit(
                        s, b, a, owners, BID, bid, room, True, state, accounts, fees, fills
                    )
                room = min(size, inventory + np.int64(accounts[b, a, HELD]))
                if room > 0:
                    quotes[b, a, 1] = submit(
                        s, b, a, owners, ASK, ask, room, True, state, accounts, fees, fills
                    )
            else:
                size = np.int64(abs(wishes[b, a, 0]))
                if size > 0:
                    side = BID if wishes[b, a, 0] > 0 else ASK
                    limit = ANY_BUY if side == BID else ANY_SELL
                    submit(s, b, a, owners, side, limit, size, False, state, accounts, fees, fills)
        for _ in range(count - count // 2):
            _noise(s, b, owners, rng, ring, state, accounts, fees, fills, noise)
        marks[b] = middle(s, state[b, LAST])


@njit(cache=True, error_model="numpy")
def image(levels, ladder, meta, marks, depth, out):  # type: ignore[no-untyped-def]
    """[B, 2, depth, 2]: distance from the middle in ticks, and lots, of the best levels."""
    for b in range(len(marks)):
        for side in range(2):
            n = meta[b, side]
            for k in range(depth):
                if k < n:
                    price = abs(ladder[b, side, n - 1 - k, 0])
                    out[b, side, k, 0] = price - marks[b]
                    out[b, side, k, 1] = levels[b, ladder[b, side, n - 1 - k, 1], 2]
                else:
                    out[b, side, k, 0] = 0.0
                    out[b, side, k, 1] = 0.0
