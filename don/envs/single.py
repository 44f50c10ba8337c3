"""The compiled step of an account with one symbol that asks for a target: the common case. Pure.

The same arithmetic as `don.envs.dynamics`, in the same order and so to the same bit (a test holds
them together), but on numbers instead of arrays. Whatever is not plain (a bar that is not there, a
liquidation, an order that is refused, spot) it leaves to the general step, having changed nothing.
"""

import numpy as np
from numba import njit

from don.envs.booking import money_up
from don.envs.layout import (
    AFTER,
    AFTER_EQUITY,
    BAND,
    BEFORE,
    CASH,
    CLOSE,
    COST,
    DEPOSIT,
    DOWN,
    EQUITY,
    FEES,
    FILLS,
    FLOW,
    FUNDING,
    FUNDING_X,
    GAIN,
    GROSS,
    HALF,
    HIGH,
    KIND,
    LEVELS,
    LEVERAGE,
    LOT,
    LOTS,
    LOW,
    MAINTENANCE,
    MAX_LOTS,
    MIN_LOTS,
    MIN_NOTIONAL,
    OPEN,
    PART,
    PATH,
    PATH_OPEN,
    PATH_PESSIMISTIC,
    PEAK,
    PNL,
    PRESENT,
    RATE,
    SIZE,
    SLIPPAGE,
    SPENT,
    STATE,
    STEP,
    TAKER,
    TAKER_X,
    TARGET,
    TICK,
    TURNOVER,
    UP,
    VOLUME,
    WALLET,
)  # fmt: skip

SLIPPED = 1.0005  # see `don.envs.dynamics`
UNIT = 1e8


@njit(cache=True, _nrt=False, error_model="numpy")
def step_single(m, t, s, b, bars, spec, rules, money, book, flow, share, orders, deposit):  # type: ignore[no-untyped-def]
    """Step account m, whose only symbol is s, of episode b; false if it was left as it is."""
    u = t + 1
    if orders[m, 0, KIND] != TARGET or rules[b, CASH] > 0 or bars[u, s, STATE] != PRESENT:
        return False
    if bars[t, s, STATE] < 1.0:
        return False
    value = spec[s, TICK] * spec[s, LOT]
    held, cost = book[m, 0, LOTS], book[m, 0, COST]
    wallet = money[m, WALLET] + deposit
    before = money[m, EQUITY] + deposit
    old = bars[t, s, CLOSE]
    o, h, low_bar, c = bars[u, s, OPEN], bars[u, s, HIGH], bars[u, s, LOW], bars[u, s, CLOSE]
    keep = rules[b, MAINTENANCE]

    # where orders arrive
    if rules[b, PATH] == PATH_OPEN:
        price = low = high = o
    else:
        first, second = (low_bar, h) if c >= o else (h, low_bar)
        at = rules[b, AFTER] * 3.0
        if at < 1.0:
            price = np.rint(o + (first - o) * at)
            low, high = min(o, price), max(o, price)
        elif at < 2.0:
            price = np.rint(first + (second - first) * (at - 1.0))
            low, high = min(o, first, price), max(o, first, price)
        else:
            price = np.rint(second + (c - second) * (at - 2.0))
            low, high = min(o, first, second, price), max(o, first, second, price)
        if rules[b, PATH] != PATH_PESSIMISTIC:
            low = high = price
    pnl = 0.0
    if held != 0:
        worth = held * price * value
        if wallet + (worth - cost) < abs(worth) * keep:
            return False
        pnl = held * (price - old) * value
    gained, spent = pnl, 0.0

    # the order
    weight = orders[m, 0, SIZE]
    total = abs(weight)
    weight *= rules[b, GROSS] / total if total > rules[b, GROSS] else 1.0
    unit = old * value
    lots = weight * before / unit
    lots = np.floor(lots + 1e-9) if lots > 0 else np.ceil(lots - 1e-9)
    delta = min(max(lots, -spec[s, MAX_LOTS]), spec[s, MAX_LOTS]) - held
    if abs(delta) * unit < rules[b, BAND] * before and lots != 0:
        delta = 0.0
    fees, slippage, turnover, fills = 0.0, 0.0, 0.0, 0.0
    if delta != 0:
        sign = 1.0 if delta > 0 else -1.0
        size = abs(delta)
        shown = np.floor(bars[u, s, VOLUME] * rules[b, PART])
        depth = np.floor(shown / rules[b, LEVELS])
        count = rules[b, LEVELS] if depth > 0 else min(shown, rules[b, LEVELS])
        depth = max(depth, 1.0)
        half = max(1.0, np.rint(high * rules[b, HALF]))
        step = max(1.0, np.rint(high * rules[b, STEP]))
        best = high + half if sign > 0 else low - half
        if count <= 0 or best <= 0 or size < spec[s, MIN_LOTS] or size > spec[s, MAX_LOTS]:
            return False
        if sign > 0:
            limit = np.floor(price * rules[b, UP] + 1e-9)
            if best > price * rules[b, UP]:
                return False
        else:
            limit = np.ceil(price * rules[b, DOWN] - 1e-9)
            if best < price * rules[b, DOWN]:
                return False
        if not (delta * held < 0 and size <= abs(held)):
            if price * size * value < spec[s, MIN_NOTIONAL] - 1e-9:
                return False
            paid = best * SLIPPED if sign > 0 else best
            notional = held * price * value
            most = max(abs(notional), abs(notional + sign * size * paid * value))
            added = most / spec[s, LEVERAGE] - abs(notional) / spec[s, LEVERAGE]
            if added > 0:
                closable = abs(held) if held * sign < 0 else 0.0
                loss = max(0.0, (paid - price) * sign * max(0.0, size - closable) * value)
                free = wallet
                if held != 0:
                    free += notional - cost
                    free -= abs(notional) / spec[s, LEVERAGE]
                if added + loss > free:
                    return False
        rate = spec[s, TAKER] * rules[b, TAKER_X]
        left, k = size, 0.0
        while left > 0 and k < count:
            at_price = best + sign * k * step
            if at_price <= 0 or (at_price - limit) * sign > 0:
                break
            amount = min(depth, left)
            signed = sign * amount
            quote = amount * at_price * value
            fee = money_up(quote * rate)
            realized = 0.0
            rest = signed
            if held * rest < 0:
                closing = min(amount, abs(held))
                if closing == abs(held):
                    removed = cost
                else:
                    removed = np.rint(cost * closing / abs(held) * UNIT) / UNIT
                side = 1.0 if held > 0 else -1.0
                realized = side * closing * at_price * value - removed
                cost -= removed
                held -= side * closing
                rest += side * closing
                if held == 0:
                    cost = 0.0
            held = held + rest
            cost = cost + rest * at_price * value
            wallet += realized - fee
            slip = signed * (at_price - price) * value
            fees += fee
            slippage += slip
            turnover += quote
            fills += 1.0
            gained -= fee + slip
            spent += fee + slip
            left -= amount
            k += 1.0
        if held != 0:
            worth = held * price * value
            if wallet + (worth - cost) < abs(worth) * keep:
                return False
        elif wallet < 0:
            return False

    # extremes, close, funding
    funding = 0.0
    equity = wallet
    if held != 0:
        worth = held * (low_bar if held > 0 else h) * value
        if wallet + (worth - cost - abs(worth) * keep) < 0:
            return False
        gain = held * (c - price) * value
        pnl += gain
        gained += gain
        pays = bars[u, s, RATE] * rules[b, FUNDING_X]
        if pays != 0:
            amount = money_up(-held * c * value * pays)
            wallet += amount
            funding = 0.0 - amount
            gained += amount
            worth = held * c * value
            if wallet + (worth - cost) < abs(worth) * keep:
                return False
        equity = wallet + held * c * value
        equity -= cost

    money[m, WALLET] = wallet
    money[m, EQUITY] = equity
    money[m, PEAK] = max(money[m, PEAK] + deposit, equity)
    book[m, 0, LOTS] = held
    book[m, 0, COST] = cost
    share[m, 0, GAIN] = gained
    share[m, 0, SPENT] = spent
    for i in range(FLOW):
        flow[m, i] = 0.0
    flow[m, BEFORE], flow[m, AFTER_EQUITY], flow[m, PNL] = before, equity, pnl
    flow[m, FEES], flow[m, SLIPPAGE], flow[m, FUNDING] = fees, slippage, funding
    flow[m, TURNOVER], flow[m, FILLS], flow[m, DEPOSIT] = turnover, fills, deposit
    return True
