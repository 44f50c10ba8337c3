"""The seeded bridge from a recorded bar to trades and book updates. Pure; compiled with numba.

Everything about a bar is a function of (seed, symbol, the bar, its open time): no state runs from
bar to bar, so a replay may start anywhere. Prices are integer ticks, sizes integer lots, times ns.

The trades of a bar reproduce it exactly: the first is at the open, the last at the close, high and
low are touched (an up bar visits its low first, a down bar its high), none is outside, and the
lots add up to the volume. A trade that lifts the price is a buy at the best ask, one that lowers
it a sell at the best bid, and the book before each trade quotes that price. A bar's first book
update is its whole image, the later ones are differences; one more after the last trade leaves a
book around the close. Book levels lie on a grid, and a level keeps its size for some updates.
Level sizes scale with the bar's own mean trade. All times are whole milliseconds inside the bar.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]

MAX_LEVELS = 50
_MS = 1_000_000
_GOLD = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S11 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(11)
_REFRESH = 6  # updates that a level keeps its size


@njit(cache=True)
def mix(x: np.uint64) -> np.uint64:
    """SplitMix64's output function: a good 64-bit hash."""
    x = np.uint64(x) + _GOLD
    x = (x ^ (x >> _S30)) * _M1
    x = (x ^ (x >> _S27)) * _M2
    return x ^ (x >> _S31)


@njit(cache=True)
def _unit(key: np.uint64, i: int) -> float:
    """Uniform on [0, 1) from a key and a counter."""
    return np.float64(mix(key ^ mix(np.uint64(i))) >> _S11) * (1.0 / 9007199254740992.0)


@njit(cache=True)
def bar_key(symbol_key: np.uint64, open_ns: int) -> np.uint64:
    """The random key of one bar."""
    return mix(symbol_key ^ mix(np.uint64(open_ns)))


@njit(cache=True)
def trade_count(key: np.uint64, o: int, h: int, low: int, c: int, v: int, mean: int) -> int:
    """Trades in a bar: about `mean`, at least what touches its prices, at most one a lot."""
    if v == 0:
        return 0
    first = low if c >= o else h
    second = h if c >= o else low
    need = 1 + (first != o) + (second != first) + (c != second)
    count = mean - mean // 4 + int(_unit(key, 1) * (mean // 2 + 1))
    return max(need, min(count, v))


@njit(cache=True)
def trade_counts(
    symbol_keys: NDArray[np.uint64],
    open_ns: Ints,
    o: Ints,
    h: Ints,
    low: Ints,
    c: Ints,
    v: Ints,
    mean: int,
) -> Ints:
    """`trade_count` of every bar of a panel: [slot, symbol]."""
    out = np.zeros(o.shape, np.int64)
    for s in range(o.shape[0]):
        for n in range(o.shape[1]):
            key = bar_key(symbol_keys[n], open_ns[s])
            out[s, n] = trade_count(key, o[s, n], h[s, n], low[s, n], c[s, n], v[s, n], mean)
    return out


@njit(cache=True)
def bar_spread(h: int, low: int, c: int) -> int:
    """Spread in ticks: a hundredth of the bar's range, between one tick and 5 basis points."""
    return max(1, min((h - low) // 100, c // 2000))


@njit(cache=True)
def trades(
    key: np.uint64, o: int, h: int, low: int, c: int, v: int, count: int, previous: int, bar_ms: int
) -> tuple[Ints, Ints, Ints, NDArray[np.bool_]]:
    """Times (ms after the open), prices, lots and aggressor (true: buyer) of a bar's trades."""
    ms, price = np.empty(count, np.int64), np.empty(count, np.int64)
    lots, buy = np.empty(count, np.int64), np.empty(count, np.bool_)
    # way points: open, first extreme, second extreme, close, without repeats
    way = np.empty(4, np.int64)
    way[0] = o
    k = 1
    for p in (low if c >= o else h, h if c >= o else low, c):
        if p != way[k - 1]:
            way[k] = p
            k += 1
    at = np.zeros(5, np.int64)
    at[k - 1] = count - 1 if k > 1 else 0
    for j in range(1, k - 1):  # each later than the one before, room left for those after
        lo, hi = at[j - 1] + 1, count - 1 - (k - 1 - j)
        span = (hi - lo + 1) // (k - j) if k - j > 1 else hi - lo + 1
        at[j] = lo + int(_unit(key, 10 + j) * max(span, 1))
    j = 0
    for i in range(count):
        while j < k - 1 and i >= at[j + 1]:
            j += 1
        if i == at[j]:
            price[i] = way[j]
        elif j >= k - 1:
            price[i] = c
        else:
            f = (i - at[j]) / (at[j + 1] - at[j])
            noise = (_unit(key, 1000 + i) - 0.5) * 0.7 * np.sqrt(f * (1.0 - f)) * (h - low)
            p = way[j] + (way[j + 1] - way[j]) * f + noise
            price[i] = min(max(int(np.rint(p)), low), h)
    total = 0.0
    for i in range(count):
        u = _unit(key, 2000 + i)
        total += 0.2 + u * u * u * 5.0  # few large trades, many small
    spare, done, seen = v - count, 0, 0.0
    step = bar_ms / count
    last = previous
    for i in range(count):
        u = _unit(key, 2000 + i)
        seen += 0.2 + u * u * u * 5.0
        upto = spare if i == count - 1 else min(int(seen / total * spare), spare)
        lots[i] = 1 + upto - done
        done = upto
        ms[i] = int((i + 0.1 + 0.8 * _unit(key, 3000 + i)) * step)
        buy[i] = price[i] > last or (price[i] == last and _unit(key, 4000 + i) < 0.5)
        last = price[i]
    return ms, price, lots, buy


@njit(cache=True)
def _level_lots(key: np.uint64, price: int, update: int, base: int, depth: int) -> int:
    h = mix(key ^ mix(np.uint64(price)))
    epoch = (np.int64(update) + np.int64(h & np.uint64(1023))) // _REFRESH
    u = _unit(h, epoch)
    return 1 + int(base * (0.3 + 2.5 * u * u) * (1.0 + 0.15 * depth))


@njit(cache=True)
def image(
    key: np.uint64, bid: int, ask: int, update: int, base: int, grid: int, levels: int, out: Ints
) -> None:
    """Write a book into `out` [2 sides, 2 (price, lots), levels], best first; price 0: no level."""
    for side in range(2):
        p = bid if side == 0 else ask
        for i in range(levels):
            if p < 1:
                out[side, 0, i], out[side, 1, i] = 0, 0
                continue
            out[side, 0, i] = p
            out[side, 1, i] = _level_lots(key, p, update, base, i)
            p = ((p - 1) // grid) * grid if side == 0 else (p // grid + 1) * grid


@njit(cache=True)
def difference(old: Ints, new: Ints, side: int, out: Ints, n: int) -> int:
    """Append to `out` [2, rows] the levels of a side that changed (size 0: gone); the new end."""
    sign = 1 if side == 1 else -1  # asks rise, bids fall
    levels = old.shape[2]
    i = j = 0
    while i < levels or j < levels:
        a = old[side, 0, i] if i < levels else 0
        b = new[side, 0, j] if j < levels else 0
        if a == 0 and b == 0:
            break
        if b == 0 or (a != 0 and sign * a < sign * b):
            out[0, n], out[1, n] = a, 0
            n += 1
            i += 1
            continue
        same = a == b
        if not same or old[side, 1, i] != new[side, 1, j]:
            out[0, n], out[1, n] = b, new[side, 1, j]
            n += 1
        j += 1
        if same:
            i += 1
    return n


@njit(cache=True)
def closing_image(
    symbol_key: np.uint64, open_ns: int, bar: Ints, count: int, grid: int, levels: int
) -> Ints:
    """The book that a bar leaves, around its close: [2 sides, 2 (price, lots), levels]."""
    out = np.zeros((2, 2, levels), np.int64)
    h, low, c, v = bar[1], bar[2], bar[3], bar[4]
    spread = bar_spread(h, low, c)
    bid = c - (spread + 1) // 2
    key = bar_key(symbol_key, open_ns)
    image(key, bid, bid + spread, count, max(v // max(count, 1), 1), grid, levels, out)
    return out


@njit(cache=True)
def totals(symbol_key: np.uint64, open_ns: Ints, bars: Ints, counts: Ints, bar_ms: int) -> Ints:
    """Sums over the trades of bars [S, 6]: [S, 3] ticks*lots, lots bought, ticks*lots bought."""
    out = np.zeros((len(counts), 3), np.int64)
    for s in range(len(counts)):
        if counts[s] == 0:
            continue
        b = bars[s]
        key = bar_key(symbol_key, open_ns[s])
        _, price, lots, buy = trades(key, b[0], b[1], b[2], b[3], b[4], counts[s], b[5], bar_ms)
        for i in range(counts[s]):
            out[s, 0] += price[i] * lots[i]
            if buy[i]:
                out[s, 1] += lots[i]
                out[s, 2] += price[i] * lots[i]
    return out


@njit(cache=True)
def expand(
    symbol_keys: NDArray[np.uint64],
    open_ns: int,
    bar_ms: int,
    bars: Ints,
    counts: Ints,
    grids: Ints,
    levels: int,
) -> tuple[Ints, Ints, Ints]:
    """All trades and book updates of one slot, symbol by symbol, in time order within a symbol.

    A bar of m > 0 trades has m + 1 book updates: one before each trade, one after the last.

    Args:
        symbol_keys: [N].
        open_ns: open time of the slot.
        bar_ms: length of the slot.
        bars: [N, 6] open, high, low, close, volume, last close before the bar.
        counts: [N] trades of each bar.
        grids: [N] distance of book levels, ticks.
        levels: book levels a side.

    Returns:
        trades [4, T]: ts, price, lots, buy;
        books [4, U]: ts, first row, first ask row, end row in the levels;
        levels [2, R]: price, lots (0: the level is gone).
    """
    total = int(counts.sum())
    active = int((counts > 0).sum())
    tape = np.empty((4, total), np.int64)
    books = np.empty((4, total + active), np.int64)
    rows = np.empty((2, (total + active) * 4 * levels), np.int64)
    old = np.zeros((2, 2, levels), np.int64)
    new = np.zeros((2, 2, levels), np.int64)
    t = u = r = 0
    for n in range(len(counts)):
        m = counts[n]
        if m == 0:
            continue
        b = bars[n]
        key = bar_key(symbol_keys[n], open_ns)
        ms, price, lots, buy = trades(key, b[0], b[1], b[2], b[3], b[4], m, b[5], bar_ms)
        spread, base = bar_spread(b[1], b[2], b[3]), max(b[4] // m, 1)
        old[:] = 0
        since = 0
        for i in range(m + 1):
            if i < m:
                wide = max(1, spread + (int(_unit(key, 5000 + i) * 3.0) - 1) * (spread // 2))
                bid = price[i] - wide if buy[i] else price[i]
                image(key, bid, bid + wide, i, base, grids[n], levels, new)
                moment = ms[i] - (ms[i] - since) // 4
                since = ms[i]
            else:
                new[:] = closing_image(symbol_keys[n], open_ns, b, m, grids[n], levels)
                moment = ms[m - 1] + (bar_ms - ms[m - 1]) // 2
            books[0, u], books[1, u] = open_ns + moment * _MS, r
            r = difference(old, new, 0, rows, r)
            books[2, u] = r
            r = difference(old, new, 1, rows, r)
            books[3, u] = r
            u += 1
            old[:] = new
            if i < m:
                tape[0, t], tape[1, t] = open_ns + ms[i] * _MS, price[i]
                tape[2, t], tape[3, t] = lots[i], buy[i]
                t += 1
    return tape, books, rows[:, :r]
