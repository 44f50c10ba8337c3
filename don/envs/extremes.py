"""Compiled steps of a bar's extremes: resting orders that it trades through, liquidation. Pure."""

import numpy as np
from numba import njit

from don.envs.booking import drawn_book, due, liquidate, settle
from don.envs.layout import (
    COST,
    GAIN,
    HIGH,
    LOT,
    LOTS,
    LOW,
    MAINTENANCE,
    MAKER,
    MAKER_X,
    PART,
    PNL,
    PRESENT,
    PRICE,
    STATE,
    TICK,
    VOLUME,
    WALLET,
)  # fmt: skip


@njit(cache=True, _nrt=False, error_model="numpy")
def through(d, m, j, u, s, rules, order, low, high, mark, rest):  # type: ignore[no-untyped-def]
    """Fill a resting order that the bar trades through, after the house's lots at its price."""
    bar, spec = d.bars[u, s], d.spec[s]
    size = np.floor(bar[VOLUME] * rules[PART])
    if bar[STATE] < PRESENT or size <= 0:
        return
    limit, left = order[PRICE], rest[j]
    touch = bar[LOW] + 1.0 if left > 0 else bar[HIGH] - 1.0
    if touch <= 0 or (limit < touch if left > 0 else limit > touch):
        return
    if limit == touch:  # queued behind what the drawn book shows at that price
        count, depth, half, step = drawn_book(bar, rules, high)
        away = (low - half - limit) if left > 0 else (limit - high - half)
        if away >= 0 and away % step == 0 and away / step < count:
            size -= depth
    amount = min(size, abs(left))
    if amount > 0:
        sign = 1.0 if left > 0 else -1.0
        settle(m, j, sign * amount, limit, mark, spec[MAKER] * rules[MAKER_X],
               spec[TICK] * spec[LOT], d.money, d.book, d.flow, d.share)  # fmt: skip


@njit(cache=True, _nrt=False, error_model="numpy")
def worst(d, m, u, cols, rules, price, low, high, marks, rest):  # type: ignore[no-untyped-def]
    """All positions at their worst price of the bar; true if that liquidates.

    Longs' marks fall first, then shorts' rise, one by one, as `DrawnExchange.worst` applies them.
    """
    bars, book, spec, money = d.bars, d.book, d.spec, d.money
    n = len(cols)
    left = money[m, WALLET]
    held = False
    for j in range(n):
        lots = book[m, j, LOTS]
        if lots != 0:
            held = True
            s = cols[j]
            extreme = bars[u, s, LOW] if lots > 0 else bars[u, s, HIGH]
            worth = lots * extreme * (spec[s, TICK] * spec[s, LOT])
            left += worth - book[m, j, COST] - abs(worth) * rules[MAINTENANCE]
    if left >= 0 or not held:
        return False
    for side in (1.0, -1.0):
        for j in range(n):
            if book[m, j, LOTS] * side <= 0:
                continue
            s = cols[j]
            marks[j] = bars[u, s, LOW] if side > 0 else bars[u, s, HIGH]
            gain = book[m, j, LOTS] * (marks[j] - price[j]) * (spec[s, TICK] * spec[s, LOT])
            d.flow[m, PNL] += gain
            d.share[m, j, GAIN] += gain
            if due(m, cols, marks, spec, rules, money, book):
                for i in range(n):
                    if book[m, i, LOTS] != 0:
                        c = cols[i]
                        low[i] = bars[u, c, LOW] if book[m, i, LOTS] > 0 else bars[u, c, HIGH]
                        high[i] = low[i]
                liquidate(
                    m, u, cols, marks, low, high, rest, bars, spec, rules, money, book, d.flow,
                    d.share,
                )  # fmt: skip
                return True
    # rounding alone: take the moves back, the close is reckoned from where orders arrived
    for j in range(n):
        if book[m, j, LOTS] != 0:
            s = cols[j]
            gain = book[m, j, LOTS] * (marks[j] - price[j]) * (spec[s, TICK] * spec[s, LOT])
            d.flow[m, PNL] -= gain
            d.share[m, j, GAIN] -= gain
            marks[j] = price[j]
    return False
