"""The compiled loop of the vector mode: one account, bars in ticks and lots, weights in. Pure.

Each function does what the engine, its planner and the paper exchange do to the same orders over
closed bars. Prices and sizes are integers of ticks and lots, limits in ticks are exact integers;
money is float64, rounded to 1e-8 where the exchange rounds it.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from don.backtest import vector_types as v
from don.backtest.vector_types import Account, Bars, Floats, Ints, Rules, Sides, Symbols


@njit(cache=True)
def money(amount: float) -> float:
    """Rounded to 1e-8."""
    return np.floor(amount * 1e8 + 0.5) / 1e8


@njit(cache=True)
def fill(t: int, n: int, lots: int, ticks: int, on: Symbols, own: Account) -> None:
    """Book a fill of signed lots at a price; what it realised counts by average cost."""
    unit, pos, cost, acc = on.unit, own.pos, own.cost, own.acc
    quote = abs(lots) * ticks * unit[n]
    fee = money(quote * on.fee[n])
    signed = lots * ticks * unit[n]
    realized = 0.0
    if pos[n] != 0 and (pos[n] > 0) != (lots > 0):
        closing = min(abs(lots), abs(pos[n]))
        removed = cost[n] * closing / abs(pos[n])
        direction = 1 if pos[n] > 0 else -1
        realized = direction * closing * ticks * unit[n] - removed
        cost[n] -= removed
        opened = abs(lots) - closing
        cost[n] += (1 if lots > 0 else -1) * opened * ticks * unit[n]
    else:
        cost[n] += signed
    pos[n] += lots
    if pos[n] == 0:
        cost[n] = 0.0
    acc[v.CASH] -= signed + fee
    acc[v.WALLET] += realized - fee
    acc[v.FEES] += fee
    acc[v.REALIZED] += realized
    acc[v.TRADED] += quote
    own.flows[n] -= signed + fee
    k = own.counts[v.FILLS]
    if k < len(own.log):
        row = own.log[k]
        row[0], row[1], row[2], row[3] = t, n, lots, ticks
    own.counts[v.FILLS] += 1


@njit(cache=True)
def path(o: int, h: int, low: int, c: int, kind: int, after: float) -> tuple[int, int, int]:
    """Price on the bar's path when orders arrive, and the least and greatest that they may meet."""
    if kind == 2:
        return o, o, o
    way = (o, low, h, c) if c >= o else (o, h, low, c)
    at = after * 3
    whole = min(int(at), 2)
    price = int(np.rint(way[whole] + (way[whole + 1] - way[whole]) * (at - whole)))
    least = most = price
    if kind == 0:
        for k in range(whole + 1):
            least, most = min(least, way[k]), max(most, way[k])
    return price, least, most


@njit(cache=True)
def draw(low: int, high: int, volume: int, r: Rules, sides: Sides) -> int:
    """Prices of a book's levels and what each side's levels hold; how many levels there are."""
    total = int(volume * r.part)
    lots = total // r.levels
    count = r.levels if lots else min(total, r.levels)
    half = max(1, int(np.rint(high * r.half_spread)))
    step = max(1, int(np.rint(high * r.step)))
    for k in range(count):
        sides.bids[k] = low - half - k * step
        sides.asks[k] = high + half + k * step
        sides.left[0, k] = sides.left[1, k] = max(lots, 1)
    return count


@njit(cache=True)
def take(
    t: int, n: int, lots: int, limit: int, count: int, sides: Sides, on: Symbols, own: Account
) -> int:
    """Let an order of signed lots take what the book has up to a limit; lots that are left."""
    open_lots = abs(lots)
    buy = lots > 0
    side = 1 if buy else 0
    for k in range(count):
        if open_lots == 0:
            break
        price = sides.asks[k] if buy else sides.bids[k]
        if price <= 0 or (price > limit if buy else price < limit):
            break
        amount = min(open_lots, sides.left[side, k])
        if amount == 0:
            continue
        sides.left[side, k] -= amount
        open_lots -= amount
        fill(t, n, amount if buy else -amount, price, on, own)
    return open_lots


@njit(cache=True)
def review(w: Floats, ok: NDArray[np.bool_], held_w: Floats, equity: float, r: Rules) -> None:
    """Weights inside the limits of the risk engine's review."""
    cap = r.max_position / equity * 0.98
    pinned = free = 0.0
    for n in range(len(w)):
        if ok[n]:
            w[n] = min(max(w[n], -cap), cap)
            free += abs(w[n])
        else:
            pinned += abs(held_w[n])
    room = max(r.max_gross * 0.98 - pinned, 0.0)
    if free > room:
        for n in range(len(w)):
            if ok[n]:
                w[n] *= room / free


@njit(cache=True)
def plan(
    w: Floats,
    ok: NDArray[np.bool_],
    close: Ints,
    equity: float,
    loss: float,
    r: Rules,
    on: Symbols,
    own: Account,
    orders: Ints,
) -> int:
    """Orders from weights, as planner and risk checks make them: reductions first.

    Fills `orders` with (symbol, signed lots, limit in ticks, reduce only); how many there are.
    """
    pos, counts = own.pos, own.counts
    unit, least, min_lots = on.unit, on.least, on.min_lots
    N = len(w)
    made = 0
    # what positions could become, for the check of leverage
    buys, sells, covered = np.zeros(N), np.zeros(N), np.zeros(N)
    gross, spent = 0.0, 0.0
    for n in range(N):
        gross += abs(pos[n]) * close[n] * unit[n]
    for reducing in (True, False):
        for n in range(N):
            if not ok[n] or close[n] <= 0:
                continue
            mark = close[n] * unit[n]  # of a lot
            delta = w[n] * equity / mark - pos[n]
            size = int(np.floor(abs(delta)))
            if size == 0 or (w[n] != 0.0 and size * mark < r.band * equity):
                continue
            buy = delta > 0
            reduces = pos[n] != 0 and (pos[n] > 0) != buy and size <= abs(pos[n])
            if reduces != reducing:
                continue
            if buy:
                limit = close[n] * (r.slip_den + r.slip) // r.slip_den
            else:
                limit = -(-(close[n] * (r.slip_den - r.slip)) // r.slip_den)
            price = close[n] if r.market else limit
            if not reduces and size * min(price, close[n]) < least[n]:
                continue
            cap = on.cap[n] // max(price, close[n])
            if min(size, cap) < min_lots[n]:
                continue
            rest = size
            for _ in range(r.max_slices):
                if rest <= 0:
                    break
                part = min(rest, cap)
                rest -= part
                if part < min_lots[n] or (not reduces and part * min(price, close[n]) < least[n]):
                    continue
                # risk: what adds to exposure must leave room after the worst fills
                held = max(-pos[n] if buy else pos[n], 0) - covered[n]
                adverse = max((price - close[n]) * (1 if buy else -1), 0) * unit[n]
                worse = part * (adverse + max(on.fee[n], 0.0) * max(price, close[n]) * unit[n])
                b = buys[n] + (part if buy and not reduces else 0)
                s = sells[n] + (0 if buy or reduces else part)
                now = max(abs(pos[n] + buys[n]), abs(pos[n] - sells[n]), abs(pos[n]))
                then = max(abs(pos[n] + b), abs(pos[n] - s), abs(pos[n]))
                total = gross + (then - now) * mark
                room = r.max_gross * (equity - spent - worse)
                much = loss >= r.max_loss or then * mark > r.max_position or total > room
                if made >= r.max_orders or (not reduces and part > max(held, 0) and much):
                    counts[v.DENIED] += 1
                    continue
                buys[n], sells[n], gross = b, s, total
                covered[n] += part
                spent += worse
                orders[made, 0], orders[made, 1] = n, part if buy else -part
                orders[made, 2], orders[made, 3] = (0 if r.market else limit), int(reduces)
                made += 1
    counts[v.ORDERS] += made
    return made


@njit(cache=True)
def arrive(
    t: int, made: int, orders: Ints, bars: Bars, r: Rules, on: Symbols, own: Account
) -> None:
    """Let orders meet the market of bar t."""
    pos, cost, acc, counts = own.pos, own.cost, own.acc, own.counts
    o, h, low, c = bars.open, bars.high, bars.low, bars.close
    unit, levels = on.unit, r.levels
    N = len(pos)
    drawn = np.full(N, -1)
    mark = np.zeros(N, np.int64)
    bids = np.zeros((N, levels), np.int64)
    asks = np.zeros((N, levels), np.int64)
    left = np.zeros((N, 2, levels), np.int64)
    for n in range(N):
        if pos[n] != 0:
            mark[n] = path(o[t, n], h[t, n], low[t, n], c[t, n], r.kind, r.after)[0]
    for k in range(made):
        n = orders[k, 0]
        if drawn[n] >= 0:
            continue
        mark[n], least_seen, most_seen = path(o[t, n], h[t, n], low[t, n], c[t, n], r.kind, r.after)
        drawn[n] = 0
        if bars.present[t, n]:
            drawn[n] = draw(
                least_seen, most_seen, bars.volume[t, n], r, Sides(bids[n], asks[n], left[n])
            )
    for k in range(made):
        n, lots, limit, reduce = orders[k, 0], orders[k, 1], orders[k, 2], orders[k, 3]
        buy = lots > 0
        best = asks[n, 0] if buy else bids[n, 0]
        if limit == 0:  # a market order stops at the price band
            if drawn[n] > 0 and (best > mark[n] * r.up if buy else best < mark[n] * r.down):
                counts[v.REFUSED] += 1
                continue
            top = mark[n] * r.up + 1e-9
            low_end = mark[n] * r.down - 1e-9
            limit = int(np.floor(top)) if buy else int(np.ceil(low_end))
            worth = mark[n]
        elif limit > mark[n] * r.up if buy else limit < mark[n] * r.down:
            counts[v.REFUSED] += 1
            continue
        else:
            worth = limit
        if reduce:
            closable = max(-pos[n], 0) if buy else max(pos[n], 0)
            if closable == 0:
                counts[v.REFUSED] += 1
                continue
            lots = min(abs(lots), closable) * (1 if buy else -1)
        else:
            if worth * abs(lots) < on.least[n]:
                counts[v.REFUSED] += 1
                continue
            # initial margin: of all positions at their marks, and of this one as it would be
            used = unreal = 0.0
            for m in range(N):
                if pos[m] != 0:
                    used += money(abs(pos[m]) * mark[m] * unit[m] / on.leverage[m])
                    unreal += pos[m] * mark[m] * unit[m] - cost[m]
            before = abs(pos[n]) * mark[n] * unit[n]
            after_w = abs(pos[n] * mark[n] + lots * worth) * unit[n]
            added = (max(before, after_w) - before) / on.leverage[n]
            if added > 0:
                closing = max(-pos[n], 0) if buy else max(pos[n], 0)
                opening = max(abs(lots) - closing, 0)
                loss = max((worth - mark[n]) * (1 if buy else -1) * opening, 0) * unit[n]
                if added + loss > acc[v.WALLET] + unreal - used:
                    counts[v.REFUSED] += 1
                    continue
        take(t, n, lots, limit, drawn[n], Sides(bids[n], asks[n], left[n]), on, own)


@njit(cache=True)
def worst(t: int, bars: Bars, rate: float, on: Symbols, own: Account) -> float:
    """Margin balance less maintenance with every position at its worst price of the bar."""
    pos, unit = own.pos, on.unit
    left = own.acc[v.WALLET]
    for n in range(len(pos)):
        if pos[n] != 0:
            value = pos[n] * (bars.low[t, n] if pos[n] > 0 else bars.high[t, n]) * unit[n]
            left += value - own.cost[n] - rate * abs(value)
    return left


@njit(cache=True)
def liquidate(t: int, bars: Bars, r: Rules, on: Symbols, own: Account) -> None:
    """Close everything at the bar's worst prices, no worse than at bankruptcy."""
    pos, cost, acc, counts = own.pos, own.cost, own.acc, own.counts
    h, low, unit, levels = bars.high, bars.low, on.unit, r.levels
    N = len(pos)
    balance, gross = acc[v.WALLET], 0.0
    for n in range(N):
        if pos[n] != 0:
            value = pos[n] * (low[t, n] if pos[n] > 0 else h[t, n]) * unit[n]
            balance += value - cost[n]
            gross += abs(value)
    closed = 0.0
    empty = np.zeros(levels, np.int64)
    sides = Sides(empty, empty.copy(), np.zeros((2, levels), np.int64))
    for n in range(N):
        if pos[n] == 0:
            continue
        mark = low[t, n] if pos[n] > 0 else h[t, n]
        share = balance * abs(pos[n]) * mark * unit[n] / gross  # quote
        price = mark - share / (pos[n] * unit[n])
        limit = max(1, int(np.ceil(price - 1e-9)) if pos[n] > 0 else int(np.floor(price + 1e-9)))
        traded = acc[v.TRADED]
        count = draw(mark, mark, bars.volume[t, n], r, sides)
        rest = take(t, n, -pos[n], limit, count, sides, on, own)
        if rest:
            lots = -rest if pos[n] > 0 else rest
            fill(t, n, lots, limit, on, own)
        closed += acc[v.TRADED] - traded
    fee = min(max(acc[v.WALLET], 0.0), money(closed * r.liquidation_fee))
    made_up = max(fee - acc[v.WALLET], 0.0)
    acc[v.CLEARED] += made_up - fee
    # flat: the account is worth its wallet, which exchanges keep to 1e-8
    acc[v.CASH] = acc[v.WALLET] = money(acc[v.WALLET] + made_up - fee)
    counts[v.LIQUIDATIONS] += 1


@njit(cache=True)
def run(
    bars: Bars,
    days: Floats,
    begin: int,
    stop: int,
    payments: Ints,
    rates: Floats,
    at: Ints,
    targets: Floats,
    r: Rules,
    on: Symbols,
    own: Account,
    curve: Floats,
) -> None:
    """The whole course; see `don.backtest.vector.simulate` for what the arrays are."""
    pos, acc, counts = own.pos, own.acc, own.counts
    c, unit, N = bars.close, on.unit, len(own.pos)
    acc[v.CASH] = acc[v.WALLET] = r.deposit
    acc[v.DAY], counts[v.HALT_SLOT] = -1.0, -1
    orders = np.zeros((max(r.max_orders, N), 4), np.int64)
    made, decision, paid = 0, 0, 0
    w, held_w, ok = np.zeros(N), np.zeros(N), np.zeros(N, np.bool_)
    for t in range(begin, stop + 1):
        if made:
            arrive(t, made, orders, bars, r, on, own)
            made = 0
        if t == stop:
            break
        if np.any(pos != 0) and worst(t, bars, r.maintenance, on, own) < 0:
            liquidate(t, bars, r, on, own)
        equity = acc[v.CASH]
        for n in range(N):
            if pos[n] != 0:
                equity += pos[n] * c[t, n] * unit[n]
        shown = np.any(bars.present[t])  # else a hole, of which a desk is not told
        if shown and days[t] > acc[v.DAY]:
            acc[v.DAY], acc[v.DAY_START] = days[t], equity
        loss = (acc[v.DAY_START] - equity) / acc[v.DAY_START] if acc[v.DAY_START] > 0 else 0.0
        if shown and acc[v.HALTED] == 0 and loss >= r.max_loss:
            acc[v.HALTED], counts[v.HALT_SLOT] = 1, t
        while decision < len(at) and at[decision] < t:
            decision += 1
        if shown and acc[v.HALTED] > 0:  # bring the account to flat and keep it there
            for n in range(N):
                if pos[n] != 0:
                    orders[made, 0], orders[made, 1] = n, -pos[n]
                    orders[made, 2], orders[made, 3] = 0, 1
                    made += 1
            counts[v.ORDERS] += made
        elif shown and decision < len(at) and at[decision] == t and equity > 0:
            for n in range(N):
                w[n] = targets[decision, n]
                ok[n] = bars.present[t, n] and np.isfinite(w[n])
                held_w[n] = pos[n] * c[t, n] * unit[n] / equity if pos[n] != 0 else 0.0
                if not ok[n]:
                    w[n] = 0.0
            review(w, ok, held_w, equity, r)
            made = plan(w, ok, c[t], equity, loss, r, on, own, orders)
        # what is paid at a close does not count in what is decided on it, as in the engine
        while paid < len(payments) and payments[paid, 0] <= t:
            n = payments[paid, 1]
            if payments[paid, 0] == t and pos[n] != 0:
                due = money(-pos[n] * c[t, n] * unit[n] * rates[paid])
                acc[v.CASH] += due
                acc[v.WALLET] += due
                acc[v.FUNDING] += due
                own.flows[n] += due
                equity += due
            paid += 1
        curve[t - begin] = equity
