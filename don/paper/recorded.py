"""A tape over recorded trades, with recorded books or with none. Pure once its data are loaded.

Trades and book changes come as recorded, in the order of exchange time, then of arrival. Bars are
built from the trades; the part of a bar before the first event or after the last is no bar. The
mark price is the last trade price (before the first trade: the first trade's).

Where no book was recorded, one is drawn around each trade: the trade's price is the best of the
side it took, the other side is a tick away, and levels follow tick by tick with sizes like the
tape's mean trade.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from don.clock import interval_ns as parse_interval
from don.errors import DataError
from don.model.instrument import Instrument
from don.paper import bridge
from don.paper.book_rows import BookRows
from don.paper.columns import PRICE, Columns, columns_of
from don.paper.events import BarClose, BookUpdate, TapeEvent, TradePrint
from don.paper.funding import FundingSchedule
from don.paper.merged import Merged, merge
from don.paper.slots import OFFSET_BITS, Side, SlotTape, apply_book

Ints = NDArray[np.int64]
_MARKS = 20  # mark prices a bar
_LEVELS = 10  # of a drawn book


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One symbol's trades [T] and book changes, each in order; ticks, lots and ns."""

    instrument: Instrument
    ts: Ints
    arrival: Ints  # order between trades and books at the same ts
    id: Ints
    price: Ints
    lots: Ints
    buy: NDArray[np.bool_]
    count: Ints  # single trades in each
    books: Sequence[BookUpdate]  # empty: draw them
    book_arrival: Ints
    begin_ns: int  # from here on the recording is whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Steps `start` to before `stop` of recordings, with no other event between them."""

    columns: Columns | Merged
    start: int
    stop: int


class RecordedTape(SlotTape):
    """Replays recordings of several symbols. See the module; `SlotTape` for order and positions."""

    def __init__(
        self,
        source: str,
        recordings: Sequence[Recording],
        interval_ns: int,
        funding: Sequence[FundingSchedule],
        *,
        seed: int = 0,
        start_ns: int | None = None,
    ) -> None:
        self._recordings = tuple(recordings)
        empty = [r.instrument.exchange_symbol for r in recordings if not len(r.ts)]
        if empty:
            raise DataError(f"tape {source} has no trades of {', '.join(empty)}")
        self._begin = max(r.begin_ns for r in recordings)
        self._until = min(int(r.ts[-1]) for r in recordings)
        if self._begin >= self._until:
            raise DataError(f"tape {source}: its symbols share no time")
        slots = self._begin // interval_ns, self._until // interval_ns
        super().__init__(
            source,
            [r.instrument for r in recordings],
            interval_ns,
            funding,
            slots,
            start_ns,
            _MARKS,
        )
        self.begin_ns = self._begin
        self._key = np.uint64(seed % 2**64)
        self._means = [max(int(r.lots.mean()), 1) for r in recordings]
        self.columns = _columns(self._recordings)
        self._book_ts = [BookRows.of("", r.books).ts for r in recordings]

    # ---- history ---------------------------------------------------------------------------------

    def history(self, symbol: str, interval: str, end_ns: int, limit: int = 500) -> list[BarClose]:
        """Bars of a symbol that closed at or before `end_ns`, oldest first, at most `limit`.

        Raises:
            DataError: if the symbol is not on this tape, or the interval no multiple of its own.
        """
        n = self.index(symbol)
        try:
            length = parse_interval(interval)
        except ValueError as error:
            raise DataError(str(error)) from error
        if length % self.interval_ns:
            raise DataError(f"interval must be a multiple of {self.interval}, was {interval!r}")
        last = min(end_ns, self._until) // length  # bars before this number are complete
        first = max(-(-self._begin // length), last - limit)
        return [self._bar(n, number * length, length, interval) for number in range(first, last)]

    def _bar(self, n: int, open_ns: int, length: int, interval: str) -> BarClose:
        one = self._recordings[n]
        a, b = np.searchsorted(one.ts, [open_ns, open_ns + length]).tolist()
        price, lots, buy = one.price[a:b], one.lots[a:b], one.buy[a:b]
        quote = price * lots
        flat = int(one.price[max(a - 1, 0)])
        value = self._values[n]
        return BarClose(
            symbol=self.symbols[n],
            ts=open_ns + length,
            interval=interval,
            open=int(price[0]) if a < b else flat,
            high=int(price.max()) if a < b else flat,
            low=int(price.min()) if a < b else flat,
            close=int(price[-1]) if a < b else flat,
            volume=int(lots.sum()),
            quote_volume=int(quote.sum()) * value,
            trades=int(one.count[a:b].sum()),
            buy_volume=int(lots[buy].sum()),
            buy_quote_volume=int(quote[buy].sum()) * value,
        )

    # ---- events ----------------------------------------------------------------------------------

    def market_events(self, slot: int) -> tuple[list[TapeEvent], list[BarClose]]:
        """Trades and books of a slot in order, and its closed bars if it is a whole one."""
        open_ns, end_ns = slot * self.interval_ns, (slot + 1) * self.interval_ns
        found: list[tuple[int, int, int, TapeEvent]] = []  # ts, arrival, symbol, event
        for n, one in enumerate(self._recordings):
            a, b = np.searchsorted(one.ts, [max(open_ns, self._begin), end_ns]).tolist()
            drawn = self._drawn(n, a, b) if not one.books else None
            for i in range(a, b):
                ts, arrival = int(one.ts[i]), int(one.arrival[i])
                if drawn is not None and i in drawn:
                    found.append((ts, arrival, n, drawn[i]))
                trade = TradePrint(
                    symbol=self.symbols[n],
                    ts=ts,
                    id=int(one.id[i]),
                    price=int(one.price[i]),
                    size=int(one.lots[i]),
                    buy=bool(one.buy[i]),
                    count=int(one.count[i]),
                )
                found.append((ts, arrival, n, trade))
            a, b = np.searchsorted(self._book_ts[n], [max(open_ns, self._begin), end_ns]).tolist()
            rows = zip(one.books[a:b], one.book_arrival[a:b].tolist(), strict=True)
            found.extend((book.ts, arrival, n, book) for book, arrival in rows)
        found.sort(key=lambda row: row[:3])
        return [row[3] for row in found], self._closes(slot)

    def _closes(self, slot: int) -> list[BarClose]:
        """The bars that close at the end of a slot if it is a whole one."""
        open_ns = slot * self.interval_ns
        whole = self._begin <= open_ns and open_ns + self.interval_ns <= self._until
        return [
            self._bar(n, open_ns, self.interval_ns, self.interval)
            for n in range(len(self.symbols) if whole else 0)
        ]

    def runs(self, position: int) -> Iterator[tuple[int, TapeEvent | Run]]:
        """As `events`, but trades and books between other events come as one `Run`.

        The position with a run is that before its first step; each step adds one.

        Raises:
            ValueError: if the tape has no `columns`.
        """
        if self.columns is None:
            raise ValueError(f"tape {self.source} cannot be told in runs")
        slot, offset = position >> OFFSET_BITS, position & ((1 << OFFSET_BITS) - 1)
        if offset or not self._first <= slot <= self._last:
            events = self.events(position)
            yield from itertools.takewhile(lambda told: told[0] >> OFFSET_BITS == slot, events)
            slot += 1
        else:  # the books and marks as they stand, without making the slot's events
            for event in self._standing(slot, ()):
                yield position, event
        for at in range(slot, self._last + 1):
            yield from self._slot_runs(at, self.columns)

    def _slot_runs(
        self, slot: int, columns: Columns | Merged
    ) -> Iterator[tuple[int, TapeEvent | Run]]:
        open_ns, end_ns = slot * self.interval_ns, (slot + 1) * self.interval_ns
        begin = max(open_ns, self._begin)
        at, last = np.searchsorted(columns.ts, [begin, end_ns]).tolist()
        own = columns.columns if isinstance(columns, Merged) else (columns,)
        prints = [_prints(one, begin, end_ns) for one in own]
        position = slot << OFFSET_BITS
        for event in self.timed_events(slot, prints, self._closes(slot)):
            stop = int(np.searchsorted(columns.ts[at:last], event.ts, side="right")) + at
            if stop > at:
                yield position, Run(columns=columns, start=at, stop=stop)
                position += stop - at
                at = stop
            position += 1
            yield position, event
        if last > at:
            yield position, Run(columns=columns, start=at, stop=last)

    def slot_of_trade(self, n: int, trade_id: int) -> int:
        """The slot of a symbol's trade, or of the next one that there is."""
        one = self._recordings[n]
        at = min(int(np.searchsorted(one.id, trade_id)), len(one.ts) - 1)
        return int(one.ts[at]) // self.interval_ns

    def last_price(self, slot: int, n: int) -> int:
        """The last trade's price, or the first one's."""
        one = self._recordings[n]
        at = int(np.searchsorted(one.ts, max(slot * self.interval_ns, self._begin)))
        return int(one.price[max(at - 1, 0)])

    def book_before(self, slot: int, n: int) -> tuple[Side, Side]:
        """The recorded book when the slot opens (or the replay begins), or the drawn one."""
        one = self._recordings[n]
        opened = max(slot * self.interval_ns, self._begin)
        bids: Side = {}
        asks: Side = {}
        if one.books:
            for book in one.books[: int(np.searchsorted(self._book_ts[n], opened))]:
                apply_book(book, bids, asks)
        else:
            at = int(np.searchsorted(one.ts, opened))
            if at:
                apply_book(self._draw(n, at - 1), bids, asks)
        return bids, asks

    def _drawn(self, n: int, a: int, b: int) -> dict[int, BookUpdate]:
        """The drawn books before trades a to b, where they differ from the one before."""
        found: dict[int, BookUpdate] = {}
        one = self._recordings[n]
        for i in range(a, b):
            moved = i == 0 or one.price[i] != one.price[i - 1] or one.buy[i] != one.buy[i - 1]
            if moved:
                found[i] = self._draw(n, i)
        return found

    def _draw(self, n: int, i: int) -> BookUpdate:
        one = self._recordings[n]
        while i and one.price[i] == one.price[i - 1] and one.buy[i] == one.buy[i - 1]:
            i -= 1  # the book stands since the first of the trades at one price and side
        price = int(one.price[i])
        bid = price - 1 if one.buy[i] else price
        out = np.zeros((2, 2, _LEVELS), np.int64)
        bridge.image(self._key, bid, bid + 1, int(one.id[i]), self._means[n], 1, _LEVELS, out)
        bids, asks = ([(p, q) for p, q in zip(*side, strict=True) if p] for side in out.tolist())
        return BookUpdate(
            symbol=self.symbols[n],
            ts=int(one.ts[i]),
            bids=tuple(bids),
            asks=tuple(asks),
            snapshot=True,
        )


def _prints(columns: Columns, begin: int, end: int) -> list[tuple[int, int]]:
    """Time and price of a symbol's trades from `begin` to before `end`."""
    trades = columns.trades(*np.searchsorted(columns.ts, [begin, end]).tolist())
    prices = columns.steps[trades, PRICE].tolist()
    return list(zip(columns.ts[trades].tolist(), prices, strict=True))


def _columns(recordings: Sequence[Recording]) -> Columns | Merged | None:
    """Arrays of the recordings, if all have books."""
    found = []
    for one in recordings:
        trades = (one.ts, one.arrival, one.id, one.price, one.lots, one.buy, one.count)
        name = one.instrument.exchange_symbol
        columns = columns_of(name, one.books, one.book_arrival, trades)
        if columns is None:
            return None
        found.append(columns)
    return found[0] if len(found) == 1 else merge(found)
