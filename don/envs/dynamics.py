"""One compiled step of all accounts of all episodes over one bar. Pure: it changes its arrays.

The bar model of the paper exchange (`don.backtest.drawn`, `don.paper`), account by account:

1. Orders decided on at the close of bar t arrive inside bar t + 1, at the part `AFTER` of it. Marks
   move to the price on the bar's path; whoever is below maintenance margin is liquidated there.
2. What reduces goes first, then by symbol. Filters, price bands and margin are the exchange's; what
   it would refuse is counted as denied. Takers walk a drawn book; what it does not hold expires.
3. A resting order is filled at its own price when the bar trades through it, by at most the drawn
   part of the bar's volume; it ends with the bar.
4. All positions at their worst price of the bar: whoever is due is liquidated there.
5. Marks move to the close; funding is paid on it.

Each account meets a book of its own: agents of one episode do not take from each other here (they
do in `don.envs.arena`).
"""

import numpy as np
from numba import njit

from don.envs.booking import arrival, drawn_book, due, liquidate, money_up, take
from don.envs.extremes import through, worst
from don.envs.layout import (
    AFTER_EQUITY,
    BAND,
    BEFORE,
    CASH,
    CLOSE,
    COST,
    DENIED,
    DEPOSIT,
    DOWN,
    EQUITY,
    FUNDING,
    FUNDING_X,
    GAIN,
    GROSS,
    HOLD,
    KIND,
    LEVERAGE,
    LIMIT,
    LIQUIDATED,
    LOT,
    LOTS,
    MAX_LOTS,
    MIN_LOTS,
    MIN_NOTIONAL,
    PEAK,
    PNL,
    POST_ONLY,
    PRESENT,
    PRICE,
    RATE,
    SIZE,
    STATE,
    TAKER,
    TAKER_X,
    TARGET,
    TICK,
    UP,
    WALLET,
)  # fmt: skip
from don.envs.single import step_single

SLIPPED = 1.0005  # by which a market buy's margin is reckoned above the best ask


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def step_accounts(d, bar_of, active, orders, deposits, scratch, general):  # type: ignore[no-untyped-def]
    """Carry out a step.

    Args:
        d: `Dynamics`.
        bar_of: [B] the bar on whose close was decided; the next one is traded.
        active: [B] bool: episodes that step.
        orders: [M, n, ORDER].
        deposits: [M] quote, moved in (or out) before the orders.
        scratch: [6, n], overwritten.
        general: whether to do without the short cut for accounts with one symbol.
    """
    for b in range(len(bar_of)):
        if active[b]:
            step_episode(d, b, bar_of[b], orders, deposits, scratch, general)


@njit(cache=True, _nrt=False, error_model="numpy", forceinline=True)
def step_episode(d, b, t, orders, deposits, scratch, general):  # type: ignore[no-untyped-def]
    """Step the accounts of episode b, which stands at bar t; see `step_accounts`."""
    K = len(d.columns)
    short = d.columns.shape[1] == 1 and not general
    price, low, high = scratch[0], scratch[1], scratch[2]
    marks, want, rest = scratch[3], scratch[4], scratch[5]
    for k in range(K):
        m = b * K + k
        s = d.columns[k, 0]
        if short and s >= 0 and step_single(
            m, t, s, b, d.bars, d.spec, d.rules, d.money, d.book, d.flow, d.share, orders,
            deposits[m],
        ):  # fmt: skip
            continue
        _one(
            d, m, t, d.columns[k], d.rules[b], orders[m], deposits[m], price, low, high,
            marks, want, rest,
        )  # fmt: skip


@njit(cache=True, _nrt=False, error_model="numpy")
def _one(d, m, t, cols, rules, orders, deposit, price, low, high, marks, want, rest):  # type: ignore[no-untyped-def]
    """Step one account."""
    n = len(cols)
    bars, spec, money, book, flow, share = d.bars, d.spec, d.money, d.book, d.flow, d.share
    u = t + 1
    flow[m, :] = 0.0
    flow[m, DEPOSIT] = deposit
    money[m, WALLET] += deposit
    before = money[m, EQUITY] + deposit
    flow[m, BEFORE] = before
    held = False
    for j in range(n):
        share[m, j, :] = 0.0
        rest[j] = 0.0
        s = cols[j]
        if s < 0:
            price[j] = marks[j] = 0.0
            continue
        price[j], low[j], high[j] = arrival(bars[u, s], rules)
        marks[j] = bars[t, s, CLOSE]
        held = held or book[m, j, LOTS] != 0
    dead = False
    if held:
        dead = _move(d, m, u, cols, rules, price, low, high, marks, rest)
    for j in range(n):
        marks[j] = price[j]
    if not dead:
        _orders(d, m, t, cols, rules, orders, before, price, low, high, want, rest)
        dead = flow[m, LIQUIDATED] > 0
    if not dead:
        for j in range(n):
            if rest[j] != 0:
                through(d, m, j, u, cols[j], rules, orders[j], low[j], high[j], price[j], rest)
        dead = worst(d, m, u, cols, rules, price, low, high, marks, rest)
    if not dead:
        paid = False
        for j in range(n):
            lots = book[m, j, LOTS]
            if lots == 0:
                continue
            s = cols[j]
            value = spec[s, TICK] * spec[s, LOT]
            gain = lots * (bars[u, s, CLOSE] - price[j]) * value
            flow[m, PNL] += gain
            share[m, j, GAIN] += gain
            marks[j] = bars[u, s, CLOSE]
            rate = bars[u, s, RATE] * rules[FUNDING_X]
            if rate != 0:
                amount = money_up(-lots * marks[j] * value * rate)
                money[m, WALLET] += amount
                flow[m, FUNDING] -= amount
                share[m, j, GAIN] += amount
                paid = True
        if paid and due(m, cols, marks, spec, rules, money, book):
            for j in range(n):
                low[j] = high[j] = marks[j]
            liquidate(
                m, u, cols, marks, low, high, rest, bars, spec, rules, money, book, flow, share
            )
    equity = money[m, WALLET]
    for j in range(n):
        if book[m, j, LOTS] != 0:
            s = cols[j]
            equity += book[m, j, LOTS] * bars[u, s, CLOSE] * (spec[s, TICK] * spec[s, LOT])
            equity -= book[m, j, COST]
    money[m, EQUITY] = equity
    money[m, PEAK] = max(money[m, PEAK] + deposit, equity)
    flow[m, AFTER_EQUITY] = equity


@njit(cache=True, _nrt=False, error_model="numpy")
def _move(d, m, u, cols, rules, price, low, high, marks, rest):  # type: ignore[no-untyped-def]
    """Marks go to where orders arrive, one symbol after the other; true if that liquidates."""
    book, spec, money, flow, share = d.book, d.spec, d.money, d.flow, d.share
    n = len(cols)
    dead = False
    for j in range(n):
        if book[m, j, LOTS] == 0:
            continue
        old = marks[j]
        marks[j] = price[j]
        s = cols[j]
        gain = book[m, j, LOTS] * (price[j] - old) * (spec[s, TICK] * spec[s, LOT])
        flow[m, PNL] += gain
        share[m, j, GAIN] += gain
        if gain < 0 and due(m, cols, marks, spec, rules, money, book):
            liquidate(
                m, u, cols, marks, low, high, rest, d.bars, spec, rules, money, book, flow, share
            )
            dead = True
            break
    return dead


@njit(cache=True, _nrt=False, error_model="numpy")
def _orders(d, m, t, cols, rules, orders, equity, price, low, high, want, rest):  # type: ignore[no-untyped-def]
    """Turn targets into lots, then carry orders out: first what reduces, then the others."""
    book, spec, bars = d.book, d.spec, d.bars
    n = len(cols)
    total = 0.0
    for j in range(n):
        if orders[j, KIND] == TARGET:
            total += abs(orders[j, SIZE])
    scale = rules[GROSS] / total if total > rules[GROSS] else 1.0
    later = 0
    for j in range(n):
        s = cols[j]
        want[j] = 0.0
        # who has no bar of its own to decide on keeps its position, as a desk's stale symbol does
        if s < 0 or bars[t, s, STATE] < PRESENT or orders[j, KIND] == HOLD:
            continue
        if orders[j, KIND] == TARGET:
            weight = orders[j, SIZE] * scale
            held = book[m, j, LOTS]
            worth = bars[t, s, CLOSE] * (spec[s, TICK] * spec[s, LOT])
            lots = weight * equity / worth
            # toward zero, minding that 3.0 lots may come out as 2.9999999
            lots = np.floor(lots + 1e-9) if lots > 0 else np.ceil(lots - 1e-9)
            delta = min(max(lots, -spec[s, MAX_LOTS]), spec[s, MAX_LOTS]) - held
            if abs(delta) * worth < rules[BAND] * equity and lots != 0:
                delta = 0.0
            want[j] = delta
        else:
            want[j] = orders[j, SIZE]
        if want[j] == 0:
            continue
        if want[j] * book[m, j, LOTS] < 0 and abs(want[j]) <= abs(book[m, j, LOTS]):
            _order(d, m, j, t + 1, cols, rules, orders, True, price, low, high, want, rest)
            if d.flow[m, LIQUIDATED] > 0:
                return
        else:
            later += 1
    if later:
        for j in range(n):
            if want[j] != 0:
                _order(d, m, j, t + 1, cols, rules, orders, False, price, low, high, want, rest)
                if d.flow[m, LIQUIDATED] > 0:
                    return


@njit(cache=True, _nrt=False, error_model="numpy")
def _order(d, m, j, u, cols, rules, orders, reduces, price, low, high, want, rest):  # type: ignore[no-untyped-def]
    """Check one order as the exchange does, match it, and note what rests."""
    s = cols[j]
    spec, book, money, flow = d.spec[s], d.book, d.money, d.flow
    lots, kind, mark = want[j], orders[j, KIND], price[j]
    want[j] = 0.0
    limited = kind == LIMIT or kind == POST_ONLY
    value = spec[TICK] * spec[LOT]
    sign = 1.0 if lots > 0 else -1.0
    size = abs(lots)
    count, depth, half, step = drawn_book(d.bars[u, s], rules, high[j])
    best = high[j] + half if sign > 0 else low[j] - half
    there = count > 0 and best > 0
    if rules[CASH] > 0:
        size = _affordable(d, m, j, cols, sign, size, rules, count, depth, best, step, orders, rest)
        if size < spec[MIN_LOTS]:
            return
    limit = orders[j, PRICE]
    if limited:
        bad = limit <= 0 or (limit > mark * rules[UP] if sign > 0 else limit < mark * rules[DOWN])
        bad = bad or (kind == POST_ONLY and there and (limit - best) * sign >= 0)
    else:
        # the nudges keep products that are whole numbers but for rounding where they belong
        up, down = np.floor(mark * rules[UP] + 1e-9), np.ceil(mark * rules[DOWN] - 1e-9)
        limit = up if sign > 0 else down
        bad = there and (best > mark * rules[UP] if sign > 0 else best < mark * rules[DOWN])
    bad = bad or size < spec[MIN_LOTS] or size > spec[MAX_LOTS]
    if not (reduces and kind == TARGET) and not bad:
        worth = limit if limited else mark
        bad = worth * size * value < spec[MIN_NOTIONAL] - 1e-9
        if not bad and rules[CASH] == 0:
            paid = limit if limited else (best if there else mark)
            if sign > 0 and not limited:
                paid *= SLIPPED
            bad = _short_of_margin(d, m, j, cols, sign, size, paid, price, orders, rest)
    if bad:
        flow[m, DENIED] += 1.0
        return
    left = take(m, j, sign * size, limit, mark, low[j], high[j], 0.0, d.bars[u, s], spec, rules,
                money, book, flow, d.share)  # fmt: skip
    if left < size and due(m, cols, price, d.spec, rules, money, book):
        liquidate(m, u, cols, price, low, high, rest, d.bars, d.spec,
                  rules, money, book, flow, d.share)  # fmt: skip
    elif limited and left > 0:
        rest[j] = sign * left


@njit(cache=True, _nrt=False, error_model="numpy")
def _short_of_margin(d, m, j, cols, sign, size, paid, marks, orders, rest):  # type: ignore[no-untyped-def]
    """True if the margin that an order adds, and its opening loss, are not free.

    Source: `don.paper.placement.check_margin`.
    """
    spec, book = d.spec, d.book
    s = cols[j]
    value = spec[s, TICK] * spec[s, LOT]
    held = book[m, j, LOTS]
    notional = held * marks[j] * value
    after = max(abs(notional), abs(notional + sign * size * paid * value)) / spec[s, LEVERAGE]
    added = after - abs(notional) / spec[s, LEVERAGE]
    if added <= 0:
        return False
    closable = abs(held) if held * sign < 0 else 0.0
    loss = max(0.0, (paid - marks[j]) * sign * max(0.0, size - closable) * value)
    free = d.money[m, WALLET]
    for i in range(len(cols)):
        c = cols[i]
        if c < 0 or (book[m, i, LOTS] == 0 and rest[i] == 0):
            continue
        worth = book[m, i, LOTS] * marks[i] * (spec[c, TICK] * spec[c, LOT])
        free += worth - book[m, i, COST]
        used = abs(worth)
        if rest[i] != 0:
            asked = rest[i] * orders[i, PRICE] * (spec[c, TICK] * spec[c, LOT])
            used = max(used, abs(worth + asked))
        free -= used / spec[c, LEVERAGE]
    return added + loss > free


@njit(cache=True, _nrt=False, error_model="numpy")
def _affordable(d, m, j, cols, sign, size, rules, count, depth, best, step, orders, rest):  # type: ignore[no-untyped-def]
    """Spot: lots that cash pays for with fees, or that are there to be sold."""
    book, spec = d.book, d.spec
    if sign < 0:
        return min(size, max(book[m, j, LOTS], 0.0))
    cash = d.money[m, WALLET]
    fee = 1.0 + rules[TAKER_X] * spec[cols[j], TAKER]
    for i in range(len(cols)):
        cash -= book[m, i, COST]
        if rest[i] > 0:
            cash -= rest[i] * orders[i, PRICE] * (spec[cols[i], TICK] * spec[cols[i], LOT]) * fee
    worst = best + max(0.0, min(count, np.ceil(size / max(depth, 1.0))) - 1.0) * step
    if orders[j, KIND] == LIMIT or orders[j, KIND] == POST_ONLY:
        worst = orders[j, PRICE]
    unit = worst * (spec[cols[j], TICK] * spec[cols[j], LOT]) * fee
    if unit <= 0:
        return size
    return max(0.0, min(size, np.floor((cash - 1e-6) / unit)))
