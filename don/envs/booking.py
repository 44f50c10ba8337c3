"""Compiled steps of one account: fills, fees, the drawn book, liquidation. Pure.

The arithmetic of `don.paper` (`apply_fill`, `Clearing.fill`, `liquidation.liquidate`) in float64:
fees, funding and cost are rounded to 1e-8 as there. All functions are inlined into the step.
"""

import numpy as np
from numba import njit

from don.envs.layout import (
    ABSENT,
    AFTER,
    CLOSE,
    COST,
    FEES,
    FILLS,
    GAIN,
    HALF,
    HIGH,
    LEVELS,
    LIQUIDATED,
    LIQUIDATION,
    LOT,
    LOTS,
    LOW,
    MAINTENANCE,
    OPEN,
    PART,
    PATH,
    PATH_OPEN,
    PATH_PESSIMISTIC,
    PENALTY,
    SLIPPAGE,
    SPENT,
    STATE,
    STEP,
    TAKER,
    TAKER_X,
    TICK,
    TURNOVER,
    VOLUME,
    WALLET,
)

MONEY_UNIT = 1e8  # money is kept to 1e-8


@njit(cache=True, _nrt=False, error_model="numpy")
def money_up(amount):  # type: ignore[no-untyped-def]
    """Round to 1e-8, half away from zero, as fees and funding are."""
    if amount >= 0:
        return np.floor(amount * MONEY_UNIT + 0.5) / MONEY_UNIT
    return -np.floor(-amount * MONEY_UNIT + 0.5) / MONEY_UNIT


@njit(cache=True, _nrt=False, error_model="numpy")
def book_fill(held, cost, lots, price, value):  # type: ignore[no-untyped-def]
    """A position after a fill; see `don.model.portfolio.apply_fill`.

    Args:
        held: signed lots.
        cost: quote.
        lots: signed lots of the fill.
        price: ticks.
        value: quote of one lot at one tick.

    Returns:
        (held, cost, realised profit before fees).
    """
    realized = 0.0
    if held * lots < 0:
        closing = min(abs(lots), abs(held))
        if closing == abs(held):
            removed = cost
        else:
            removed = np.rint(cost * closing / abs(held) * MONEY_UNIT) / MONEY_UNIT
        sign = 1.0 if held > 0 else -1.0
        realized = sign * closing * price * value - removed
        cost -= removed
        held -= sign * closing
        lots += sign * closing
        if held == 0:
            cost = 0.0
    return held + lots, cost + lots * price * value, realized


@njit(cache=True, _nrt=False, error_model="numpy")
def arrival(bar, rules):  # type: ignore[no-untyped-def]
    """(price on the bar's path when orders arrive, least and greatest until then), ticks.

    Source: `don.backtest.drawn.DrawnExchange`.
    """
    o = bar[OPEN]
    if rules[PATH] == PATH_OPEN:
        return o, o, o
    c = bar[CLOSE]
    if c >= o:
        first, second = bar[LOW], bar[HIGH]
    else:
        first, second = bar[HIGH], bar[LOW]
    at = rules[AFTER] * 3.0
    if at < 1.0:
        price = np.rint(o + (first - o) * at)
        low, high = min(o, price), max(o, price)
    elif at < 2.0:
        price = np.rint(first + (second - first) * (at - 1.0))
        low, high = min(o, first, price), max(o, first, price)
    else:
        price = np.rint(second + (c - second) * (at - 2.0))
        low, high = min(o, first, second, price), max(o, first, second, price)
    if rules[PATH] != PATH_PESSIMISTIC:
        low = high = price
    return price, low, high


@njit(cache=True, _nrt=False, error_model="numpy")
def drawn_book(bar, rules, high):  # type: ignore[no-untyped-def]
    """(levels, lots a level, first offset, distance of levels) of the book around a price."""
    if bar[STATE] <= ABSENT:
        return 0.0, 0.0, 0.0, 0.0
    total = np.floor(bar[VOLUME] * rules[PART])
    lots = np.floor(total / rules[LEVELS])
    count = rules[LEVELS] if lots > 0 else min(total, rules[LEVELS])
    half = max(1.0, np.rint(high * rules[HALF]))
    step = max(1.0, np.rint(high * rules[STEP]))
    return count, max(lots, 1.0), half, step


@njit(cache=True, _nrt=False, error_model="numpy")
def take(m, j, lots, limit, mark, low, high, used, bar, spec, rules, money, book, flow, share):  # type: ignore[no-untyped-def]
    """Let an aggressor take from the drawn book up to a limit; what it could not take, in lots.

    Args:
        m: the account.
        j: its place of the symbol.
        lots: signed lots.
        limit: worst price in ticks.
        mark: price in ticks that slippage is reckoned from.
        low: price below which the bids begin, ticks.
        high: price above which the asks begin.
        used: lots of this side that were taken before.
        bar: the bar.
        spec: of the symbol.
        rules: of the episode.
        money: all accounts.
        book: all positions.
        flow: what the step did.
        share: what it did by symbol.
    """
    count, depth, half, step = drawn_book(bar, rules, high)
    value = spec[TICK] * spec[LOT]
    sign = 1.0 if lots > 0 else -1.0
    left = abs(lots)
    edge = high + half if sign > 0 else low - half
    k = 0.0
    while left > 0 and k < count:
        room = depth - used
        if room <= 0:
            used -= depth
            k += 1.0
            continue
        price = edge + sign * k * step
        if price <= 0 or (price - limit) * sign > 0:
            break
        amount = min(room, left)
        settle(m, j, sign * amount, price, mark, spec[TAKER] * rules[TAKER_X], value,
               money, book, flow, share)  # fmt: skip
        left -= amount
        used = 0.0
        k += 1.0
    return left


@njit(cache=True, _nrt=False, error_model="numpy")
def settle(m, j, lots, price, mark, rate, value, money, book, flow, share):  # type: ignore[no-untyped-def]
    """Book one fill with its fee."""
    quote = abs(lots) * price * value
    fee = money_up(quote * rate)
    held, cost, realized = book_fill(book[m, j, LOTS], book[m, j, COST], lots, price, value)
    book[m, j, LOTS] = held
    book[m, j, COST] = cost
    money[m, WALLET] += realized - fee
    slip = lots * (price - mark) * value
    flow[m, FEES] += fee
    flow[m, SLIPPAGE] += slip
    flow[m, TURNOVER] += quote
    flow[m, FILLS] += 1.0
    share[m, j, GAIN] -= fee + slip
    share[m, j, SPENT] += fee + slip


@njit(cache=True, _nrt=False, error_model="numpy")
def liquidate(m, t, cols, marks, lows, highs, weights, bars, spec, rules, money, book, flow, share):  # type: ignore[no-untyped-def]
    """Close everything against drawn books, no worse than at bankruptcy prices.

    What the books do not take is taken over at that price. What the closing costs beyond the marks,
    its fees and the liquidation fee, less what the insurance fund makes up, is `LIQUIDATION`.

    Args:
        m: the account.
        t: the bar.
        cols: symbols of the account.
        marks: [n] ticks.
        lows: [n] where bids begin, ticks.
        highs: [n] where asks begin.
        weights: [n] scratch: parts of what was held.
        bars: of the market.
        spec: of the symbols.
        rules: of the episode.
        money: all accounts.
        book: all positions.
        flow: what the step did.
        share: what it did by symbol.
    """
    n = len(cols)
    balance = money[m, WALLET]
    gross = 0.0
    for j in range(n):
        weights[j] = 0.0
        if cols[j] >= 0 and book[m, j, LOTS] != 0:
            value = spec[cols[j], TICK] * spec[cols[j], LOT]
            worth = book[m, j, LOTS] * marks[j] * value
            balance += worth - book[m, j, COST]
            gross += abs(worth)
    fees, slip, turnover = flow[m, FEES], flow[m, SLIPPAGE], flow[m, TURNOVER]
    for j in range(n):
        s = cols[j]
        if s < 0 or book[m, j, LOTS] == 0:
            continue
        held = book[m, j, LOTS]
        value = spec[s, TICK] * spec[s, LOT]
        weight = abs(held) * marks[j] * value / gross
        part = balance * weight
        price = marks[j] - part / (held * value)
        # one part in 1e12 keeps a price that is a whole tick but for rounding on that tick
        price = np.ceil(price * (1 - 1e-12)) if held > 0 else np.floor(price * (1 + 1e-12))
        price = max(price, 1.0)
        left = take(m, j, -held, price, marks[j], lows[j], highs[j], 0.0, bars[t, s], spec[s],
                    rules, money, book, flow, share)  # fmt: skip
        weights[j] = weight
        if left > 0:
            over = -left if held > 0 else left
            settle(m, j, over, price, marks[j], spec[s, TAKER] * rules[TAKER_X], value,
                   money, book, flow, share)  # fmt: skip
    closed = flow[m, TURNOVER] - turnover
    wallet = money[m, WALLET]
    fee = min(max(wallet, 0.0), money_up(closed * rules[PENALTY]))
    made_up = max(fee - wallet, 0.0)
    money[m, WALLET] += made_up - fee
    for j in range(n):
        share[m, j, GAIN] += (made_up - fee) * weights[j]
    flow[m, LIQUIDATION] += fee - made_up + flow[m, FEES] - fees + flow[m, SLIPPAGE] - slip
    flow[m, FEES], flow[m, SLIPPAGE] = fees, slip
    flow[m, LIQUIDATED] = 1.0


@njit(cache=True, _nrt=False, error_model="numpy")
def due(m, cols, marks, spec, rules, money, book):  # type: ignore[no-untyped-def]
    """True if an account's margin balance is below its maintenance margin."""
    balance = money[m, WALLET]
    needed = 0.0
    held = False
    for j in range(len(cols)):
        lots = book[m, j, LOTS]
        if lots != 0:
            held = True
            worth = lots * marks[j] * spec[cols[j], TICK] * spec[cols[j], LOT]
            balance += worth - book[m, j, COST]
            needed += abs(worth) * rules[MAINTENANCE]
    return balance < needed if held else balance < 0.0
