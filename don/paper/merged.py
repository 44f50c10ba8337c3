"""Recordings of several symbols as one, for steps taken many at a time. Pure.

A step of the merged recording is a step of one symbol's, in the order in which the tape tells them:
by exchange time, then arrival, then symbol. Books do not know each other, so each symbol's steps
are taken by themselves; only where orders of ours may be met in several symbols, they are taken in
turns, so that none is ever ahead of the first step that meets one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from don.paper import stretch
from don.paper.clearing import Clearing
from don.paper.columns import BEGIN, BOOK, BUY, END, KIND, PRICE, TRADE, WHOLE, Columns
from don.paper.events import BookUpdate, TradePrint
from don.paper.kernels import ANY_PRICE
from don.paper.ladder import BID, Ints
from don.paper.stretch import Stretch, resting, take

_NONE: Ints = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """Steps of several symbols; N of them, M steps in all."""

    columns: tuple[Columns, ...]
    ts: Ints  # [M] ns
    symbol: Ints  # [M] number of the symbol
    step: Ints  # [M] step of that symbol
    places: tuple[Ints, ...]  # of each symbol: where its steps are among all
    # of each symbol and step: the highest bid or buyer's price, and the lowest ask or seller's
    highs: tuple[Ints, ...]
    lows: tuple[Ints, ...]
    wholes: tuple[NDArray[np.bool_], ...]  # of each symbol and step: a snapshot
    whole_until: int  # time of the last one, ns

    def event(self, at: int) -> BookUpdate | TradePrint:
        """A step as the tape's event."""
        return self.columns[self.symbol[at]].event(int(self.step[at]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretches:
    """What happened: merged steps from `start` to before `stop`, and of each symbol its own."""

    start: int
    stop: int
    parts: tuple[Stretch, ...]


def merge(columns: Sequence[Columns]) -> Merged:
    """One recording of several, in the order of their symbols."""
    counts = [len(one.ts) for one in columns]
    ts = np.concatenate([one.ts for one in columns])
    arrival = np.concatenate([one.arrival for one in columns])
    symbol = np.repeat(np.arange(len(columns)), counts)
    step = np.concatenate([np.arange(count) for count in counts])
    order = np.lexsort((symbol, arrival, ts))  # stable: a symbol's own order holds
    at = np.empty(len(order), np.int64)
    at[order] = np.arange(len(order))
    ranges = [_ranges(one) for one in columns]
    wholes = [(one.steps[:, KIND] == BOOK) & (one.steps[:, WHOLE] == 1) for one in columns]
    last = [
        int(one.ts[whole][-1]) for one, whole in zip(columns, wholes, strict=True) if whole.any()
    ]
    return Merged(
        columns=tuple(columns),
        ts=ts[order],
        symbol=symbol[order],
        step=step[order],
        places=tuple(np.split(at, np.cumsum(counts)[:-1])),
        highs=tuple(high for high, _ in ranges),
        lows=tuple(low for _, low in ranges),
        wholes=tuple(wholes),
        whole_until=max(last, default=-1),
    )


def _ranges(one: Columns) -> tuple[Ints, Ints]:
    """Of each step the prices beyond which an order of ours may be met."""
    high = np.zeros(len(one.ts), np.int64)
    low = np.full(len(one.ts), ANY_PRICE, np.int64)
    kind, price = one.steps[:, KIND], one.steps[:, PRICE]
    buys = (kind == TRADE) & (one.steps[:, BUY] > 0)
    sells = (kind == TRADE) & ~buys
    high[buys], low[sells] = price[buys], price[sells]
    books = np.flatnonzero((kind == BOOK) & (one.steps[:, END] > one.steps[:, BEGIN]))
    if len(books):
        shown, bid = one.levels[:, 2] > 0, one.levels[:, 0] == BID
        begin = one.steps[books, BEGIN]
        highest = np.where(shown & bid, one.levels[:, 1], 0)
        lowest = np.where(shown & ~bid, one.levels[:, 1], ANY_PRICE)
        order = np.argsort(begin)  # levels follow each other from book to book, without a hole
        high[books[order]] = np.maximum.reduceat(highest, begin[order])
        low[books[order]] = np.minimum.reduceat(lowest, begin[order])
    return high, low


class _Runner:
    """One symbol's steps on their way through a stretch."""

    def __init__(self, clearing: Clearing, merged: Merged, n: int, start: int, stop: int) -> None:
        self.columns, self.places = merged.columns[n], merged.places[n]
        self.market = clearing.markets[self.columns.symbol]
        self.begin, self.end = np.searchsorted(self.places, [start, stop]).tolist()
        self.at = self.begin
        self.limits = resting(clearing, self.market)
        self._parts: list[Stretch] = []
        bid, ask = self.limits
        if bid or ask < ANY_PRICE or merged.ts[start] <= merged.whole_until:
            own = slice(self.begin, self.end)
            met = (merged.highs[n][own] >= ask) | (merged.lows[n][own] <= bid)
            met |= merged.wholes[n][own]
            self._met = self.places[own][met]  # merged steps that may have to be taken as events
        else:
            self._met = _NONE

    def next_met(self) -> int | None:
        """The next merged step that may have to be taken as an event."""
        place = self.places[self.at] if self.at < self.end else None
        if place is None:
            return None
        i = int(np.searchsorted(self._met, place))
        return int(self._met[i]) if i < len(self._met) else None

    def to(self, stop: int) -> int | None:
        """Go on to before a merged step; the one at which it had to stop, None if there is none."""
        last = int(np.searchsorted(self.places, stop))
        if self.at >= last:
            return None
        done = take(self.market, self.columns, self.at, last, self.limits)
        self.at = done.stop
        if done.stop > done.start:
            self._parts.append(done)
        return int(self.places[self.at]) if self.at < last else None

    def taken(self) -> Stretch:
        """All steps that it took."""
        best = [part.best for part in self._parts]
        found = np.concatenate(best) if best else np.empty((0, 5), np.int64)
        return Stretch(start=self.begin, stop=self.at, best=found)


def advance(
    clearing: Clearing, steps: Columns | Merged, start: int, stop: int
) -> Stretch | Stretches | None:
    """Take in steps `start` to before `stop` of one or several symbols, or those of them that meet
    nobody.

    Returns:
        None if the first step must be taken as an event.
    """
    if isinstance(steps, Columns):
        return stretch.advance(clearing, clearing.markets[steps.symbol], steps, start, stop)
    stop = stretch.bound(clearing, steps.ts, stop)
    if start >= stop or steps.ts[start] < clearing.now:
        return None
    if not stretch.calm(clearing, [clearing.markets[one.symbol] for one in steps.columns]):
        return None
    runners = [_Runner(clearing, steps, n, start, stop) for n in range(len(steps.columns))]
    stop = _lead(runners, stop)
    for runner in runners:
        if runner.to(stop) is not None:
            raise AssertionError("no symbol may stop before the first step that meets an order")
    if stop == start:
        return None
    clearing.now = int(steps.ts[stop - 1])
    return Stretches(start=start, stop=stop, parts=tuple(one.taken() for one in runners))


def _lead(runners: Sequence[_Runner], stop: int) -> int:
    """Let whoever is next to meet an order go, as far as nobody else may; where somebody does."""
    while True:
        asked = sorted(
            (place, n) for n, one in enumerate(runners) if (place := one.next_met()) is not None
        )
        if not asked:
            return stop
        leader = runners[asked[0][1]]
        met = leader.to(asked[1][0] if len(asked) > 1 else stop)
        if met is not None:
            return met
