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
    DENIED,
    DEPOSIT,
    DOWN,
    EQUITY,
    FEES,
    FILLS,
    FUNDING,
    FUNDING_X,
    GAIN,
    GROSS,
    HALF,
    HIGH,
    KIND,
    LEVELS,
    LEVERAGE,
    LIQUIDATED,
    LIQUIDATION,
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


@njit(cache=True, _nrt=False, error_model="numpy", forceinline=True)
def step_single(m, t, s, b, bars, spec, rules, money, book, flow, share, orders, deposit):  # type: ignore[no-untyped-def]
    """Step account m, whose only symbol is s, of episode b; false if it was left as it is.

    What depends on the direction of a trade is chosen between two results, not branched on: a
    processor guesses directions wrong half of the time, and waits for each wrong guess.
    """
    bar, was, one, rule = bars[t + 1, s], bars[t, s], spec[s], rules[b]
    order, cash, place = orders[m, 0], money[m], book[m, 0]
    if order[KIND] != TARGET or rule[CASH] > 0 or bar[STATE] != PRESENT or was[STATE] != PRESENT:
        return False
    value = one[TICK] * one[LOT]
    held, cost = place[LOTS], place[COST]
    wallet = cash[WALLET] + deposit
    before = cash[EQUITY] + deposit
    old = was[CLOSE]
    o, h, low_bar, c = bar[OPEN], bar[HIGH], bar[LOW], bar[CLOSE]
    keep = rule[MAINTENANCE]

    # where orders arrive
    if rule[PATH] == PATH_OPEN:
        price = low = high = o
    else:
        rises = c >= o
        first, second = low_bar if rises else h, h if rises else low_bar
        at = rule[AFTER] * 3.0
        if at < 1.0:
            price = np.rint(o + (first - o) * at)
            low, high = min(o, price), max(o, price)
        elif at < 2.0:
            price = np.rint(first + (second - first) * (at - 1.0))
            low, high = min(o, first, price), max(o, first, price)
        else:
            price = np.rint(second + (c - second) * (at - 2.0))
            low, high = min(o, first, second, price), max(o, first, second, price)
        if rule[PATH] != PATH_PESSIMISTIC:
            low = high = price
    notional = held * price * value
    margin = abs(notional)
    if (held != 0) & (wallet + (notional - cost) < margin * keep):
        return False
    pnl = held * (price - old) * value + 0.0  # no negative zero of an account without position
    gained, spent = pnl, 0.0

    # the order
    weight = order[SIZE]
    total = abs(weight)
    if total > rule[GROSS]:
        weight *= rule[GROSS] / total
    unit = old * value
    lots = weight * before / unit
    lots = np.copysign(np.floor(abs(lots) + 1e-9), lots)
    delta = min(max(lots, -one[MAX_LOTS]), one[MAX_LOTS]) - held
    if (abs(delta) * unit < rule[BAND] * before) & (lots != 0):
        delta = 0.0
    fees, slippage, turnover, fills = 0.0, 0.0, 0.0, 0.0
    if delta != 0:
        sign = np.copysign(1.0, delta)
        size = abs(delta)
        shown = np.floor(bar[VOLUME] * rule[PART])
        depth = np.floor(shown / rule[LEVELS])
        count = rule[LEVELS] if depth > 0 else min(shown, rule[LEVELS])
        depth = max(depth, 1.0)
        half = max(1.0, np.rint(high * rule[HALF]))
        step = max(1.0, np.rint(high * rule[STEP]))
        buys = delta > 0
        best = (high if buys else low) + sign * half
        edge = price * (rule[UP] if buys else rule[DOWN])
        limit = sign * np.floor(sign * edge + 1e-9)
        bad = (count <= 0) | (best <= 0) | (size < one[MIN_LOTS]) | (size > one[MAX_LOTS])
        bad |= (best - edge) * sign > 0
        against = delta * held < 0
        paid = best * (SLIPPED if buys else 1.0)
        most = max(margin, abs(notional + sign * size * paid * value))
        used = margin / one[LEVERAGE]
        added = most / one[LEVERAGE] - used
        closable = abs(held) if against else 0.0
        loss = max(0.0, (paid - price) * sign * max(0.0, size - closable) * value)
        free = wallet + (notional - cost) - used
        small = price * size * value < one[MIN_NOTIONAL] - 1e-9
        short = (added > 0) & (added + loss > free)
        opens = (not against) | (size > abs(held))
        if bad | (opens & (small | short)):
            return False
        rate = one[TAKER] * rule[TAKER_X]
        left, k = size, 0.0
        while left > 0 and k < count:
            at_price = best + sign * k * step
            if (at_price <= 0) | ((at_price - limit) * sign > 0):
                break
            amount = min(depth, left)
            signed = sign * amount
            quote = amount * at_price * value
            fee = money_up(quote * rate)
            # a position after a fill, as `don.envs.booking.book_fill` has it
            closing = min(amount, abs(held)) if held * signed < 0 else 0.0
            whole = closing == abs(held)
            part = np.rint(cost * closing / abs(held) * UNIT) / UNIT
            removed = cost if whole else part
            realized = closing * at_price * value
            realized = (-realized if sign > 0 else realized) - removed
            opened = sign * (amount - closing)
            held = opened if whole else held + sign * closing + opened
            cost = (0.0 if whole else cost - removed) + opened * at_price * value
            wallet += (realized if closing > 0 else 0.0) - fee
            slip = signed * (at_price - price) * value
            fees += fee
            slippage += slip
            turnover += quote
            fills += 1.0
            gained -= fee + slip
            spent += fee + slip
            left -= amount
            k += 1.0
        notional = held * price * value
        if (wallet + (notional - cost) < abs(notional) * keep) if held != 0 else wallet < 0:
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
        pays = bar[RATE] * rule[FUNDING_X]
        worth = held * c * value
        if pays != 0:
            amount = money_up(-held * c * value * pays)
            wallet += amount
            funding = 0.0 - amount
            gained += amount
            if wallet + (worth - cost) < abs(worth) * keep:
                return False
        equity = wallet + worth
        equity -= cost

    cash[WALLET] = wallet
    cash[EQUITY] = equity
    cash[PEAK] = max(cash[PEAK] + deposit, equity)
    place[LOTS], place[COST] = held, cost
    share[m, 0, GAIN] = gained
    share[m, 0, SPENT] = spent
    told = flow[m]
    told[BEFORE], told[AFTER_EQUITY], told[PNL] = before, equity, pnl
    told[FEES], told[SLIPPAGE], told[FUNDING] = fees, slippage, funding
    told[LIQUIDATION], told[DENIED], told[LIQUIDATED] = 0.0, 0.0, 0.0
    told[TURNOVER], told[FILLS], told[DEPOSIT] = turnover, fills, deposit
    return True
