"""A tape over recorded bars, expanded by the seeded bridge. Pure once its data are loaded.

Order of events: by time; at the same time symbol by symbol, a book update before its trade, then
mark prices, closed bars, funding. A position is `slot << 20 | offset`: the number of the bar
interval since the epoch, and how many of its events are done. It means the same in every run with
the same file, symbols, seed and bridge settings.

Stated simplifications: the mark price and the index are the last trade price of the tape; a
symbol's missing bar is flat at the last close with no volume and no trades, as exchanges publish
it, while its book stands still; the tape covers the time for which all its symbols are recorded.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from don.clock import interval_ns as parse_interval
from don.clock import iso
from don.errors import DataError
from don.model.instrument import Instrument
from don.model.section import Section
from don.paper import bridge
from don.paper.events import BarClose, BookUpdate, FundingRate, MarkPrice, TapeEvent, TradePrint
from don.paper.funding import FundingSchedule
from don.paper.tape_data import NS_PER_MS, BarPanel, exchange_symbol, interval_name

OFFSET_BITS = 20
HISTORY_BARS = 500  # left before the default start, for warm-up
_OFFSET = (1 << OFFSET_BITS) - 1
_by_time = attrgetter("ts")


class BridgeConfig(Section):
    """How bars are expanded."""

    trades_per_bar: int = Field(default=16, ge=4, le=900)  # mean, per symbol
    levels: int = Field(default=10, ge=1, le=bridge.MAX_LEVELS)  # of the book, a side
    levels_per_range: int = Field(default=30, ge=1)  # book levels in a symbol's median bar range
    marks_per_bar: int = Field(default=4, ge=1, le=1000)  # mark prices, the last at the close


class BarTape:
    """Replays a `BarPanel`. See the module for order, positions and simplifications."""

    def __init__(
        self,
        panel: BarPanel,
        funding: Sequence[FundingSchedule],
        *,
        seed: int = 0,
        start_ns: int | None = None,
        config: BridgeConfig | None = None,
    ) -> None:
        self._panel = panel
        self._funding = tuple(funding)
        self._config = config or BridgeConfig()
        self.symbols = tuple(i.exchange_symbol for i in panel.instruments)
        self.interval_ns = panel.interval_ns
        self.interval = interval_name(panel.interval_ns)
        self._bar_ms = panel.interval_ns // NS_PER_MS
        if 2 * self._config.trades_per_bar > self._bar_ms:
            raise DataError(
                f"trades_per_bar must be at most {self._bar_ms // 2} for bars of {self.interval}, "
                f"was {self._config.trades_per_bar}"
            )
        self._first, self._last = int(panel.first.max()), int(panel.last.min())
        if self._first > self._last:
            raise DataError(f"tape {panel.source}: its symbols {self.symbols} share no time")
        self._ticks = tuple(i.tick_size for i in panel.instruments)
        self._values = tuple(i.tick_size * i.lot_size for i in panel.instruments)
        self._keys = _symbol_keys(seed, self.symbols)
        self._opens = panel.origin_ns + np.arange(panel.slots, dtype=np.int64) * panel.interval_ns
        before = np.vstack([panel.open[:1], panel.close[:-1]])
        # [slot, symbol, 6]: open, high, low, close, volume, last close before
        self._bars = np.stack(
            [panel.open, panel.high, panel.low, panel.close, panel.volume, before], axis=2
        )
        self._counts = bridge.trade_counts(
            self._keys,
            self._opens,
            *(self._bars[:, :, i] for i in range(5)),
            self._config.trades_per_bar,
        )
        self._ids = np.cumsum(self._counts, axis=0) - self._counts  # trades before each bar
        self._grids = np.array(
            [self._grid(panel, n) for n in range(len(self.symbols))], dtype=np.int64
        )
        self.start = self._start(start_ns)

    def _grid(self, panel: BarPanel, n: int) -> int:
        """Distance of a symbol's book levels in ticks: fine where bars are calm, one at least."""
        own = slice(panel.first[n], panel.last[n] + 1)
        median = float(np.median(panel.high[own, n] - panel.low[own, n]))
        return max(1, round(median / self._config.levels_per_range))

    # ---- what there is ---------------------------------------------------------------------------

    @property
    def first_ns(self) -> int:
        """Open time of the first bar that can be replayed."""
        return self._panel.open_ns(self._first)

    @property
    def end_ns(self) -> int:
        """Close time of the last bar."""
        return self._panel.open_ns(self._last + 1)

    def instruments(self) -> tuple[Instrument, ...]:
        """The instruments, in the order of the symbols."""
        return self._panel.instruments

    def time_of(self, position: int) -> int:
        """Tape time at which the bar of a position opens."""
        return (position >> OFFSET_BITS) * self.interval_ns

    def _start(self, start_ns: int | None) -> int:
        if start_ns is None:
            slot = self._first + min(HISTORY_BARS, (self._last - self._first + 1) // 2)
        elif self.first_ns <= start_ns < self.end_ns:
            slot = (start_ns - self._panel.origin_ns) // self.interval_ns
        else:
            raise DataError(
                f"start must be from {iso(self.first_ns)} to before {iso(self.end_ns)} for tape "
                f"{self._panel.source}, was {iso(start_ns)}"
            )
        return self._position(slot)

    def _position(self, slot: int, offset: int = 0) -> int:
        return (self._panel.open_ns(slot) // self.interval_ns) << OFFSET_BITS | offset

    # ---- history ---------------------------------------------------------------------------------

    def history(self, symbol: str, interval: str, end_ns: int, limit: int = 500) -> list[BarClose]:
        """Bars of a symbol that closed at or before `end_ns`, oldest first, at most `limit`.

        Args:
            symbol: exchange or canonical name.
            interval: the tape's own or a multiple; larger bars are complete and start on the epoch
                grid.
            end_ns: tape time.
            limit: most bars, >= 1.

        Raises:
            DataError: if the symbol or the interval is not on this tape.
        """
        n = self._index(symbol)
        try:
            length = parse_interval(interval)
        except ValueError as error:
            raise DataError(str(error)) from error
        step, rest = divmod(length, self.interval_ns)
        if rest or not step:
            raise DataError(f"interval must be a multiple of {self.interval}, was {interval!r}")
        origin, first = self._panel.origin_ns, int(self._panel.first[n])
        stop = min((end_ns // length * length - origin) // self.interval_ns, self._panel.slots)
        stop = min(stop, int(self._panel.last[n]) + 1)
        stop -= ((origin // self.interval_ns) + stop) % step
        begin = max(stop - limit * step, first)
        begin += -((origin // self.interval_ns) + begin) % step
        if begin >= stop:
            return []
        return self._closed(n, begin, stop, step, interval)

    def _closed(self, n: int, begin: int, stop: int, step: int, interval: str) -> list[BarClose]:
        bars, counts = self._bars[begin:stop, n], self._counts[begin:stop, n]
        sums = bridge.totals(
            self._keys[n], self._opens[begin:stop], bars, counts, self._bar_ms
        ).reshape(-1, step, 3)
        parts = bars.reshape(-1, step, 6)
        quote, bought, bought_quote = sums.sum(axis=1).T.tolist()
        columns = (
            (self._opens[begin:stop:step] + step * self.interval_ns).tolist(),
            parts[:, 0, 0].tolist(),
            parts[:, :, 1].max(axis=1).tolist(),
            parts[:, :, 2].min(axis=1).tolist(),
            parts[:, -1, 3].tolist(),
            parts[:, :, 4].sum(axis=1).tolist(),
            counts.reshape(-1, step).sum(axis=1).tolist(),
            quote,
            bought,
            bought_quote,
        )
        value = self._values[n]
        return [
            BarClose(
                symbol=self.symbols[n],
                ts=ts,
                interval=interval,
                open=o,
                high=h,
                low=low,
                close=c,
                volume=v,
                quote_volume=q * value,
                trades=m,
                buy_volume=b,
                buy_quote_volume=bq * value,
            )
            for ts, o, h, low, c, v, m, q, b, bq in zip(*columns, strict=True)
        ]

    def _index(self, symbol: str) -> int:
        name = exchange_symbol(symbol)
        if name not in self.symbols:
            raise DataError(f"symbol must be one of {', '.join(self.symbols)}, was {symbol!r}")
        return self.symbols.index(name)

    # ---- events ----------------------------------------------------------------------------------

    def events(self, position: int | None = None) -> Iterator[tuple[int, TapeEvent]]:
        """The tape from a position (default: `start`) to its end: (where to go on after it, event).

        Before the first event come each symbol's book (a snapshot) and mark price as they stand
        there, with the position unchanged: whoever starts in the middle knows the market at once.

        Raises:
            DataError: if the position is not on this tape.
        """
        at = self.start if position is None else position
        slot = (self.time_of(at) - self._panel.origin_ns) // self.interval_ns
        offset = at & _OFFSET
        if not self._first <= slot <= self._last + 1:
            raise DataError(
                f"position {at} ({iso(self.time_of(at))}) is not on tape {self._panel.source}: "
                f"{iso(self.first_ns)} to {iso(self.end_ns)}"
            )
        if slot > self._last:
            return
        events = self.bar_events(slot)
        for event in self._standing(slot, events[:offset]):
            yield at, event
        while True:
            place = self._position(slot)
            yield from enumerate(events[offset:], place + offset + 1)
            if slot == self._last:
                return
            slot, offset = slot + 1, 0
            events = self.bar_events(slot)

    def bar_events(self, slot: int) -> list[TapeEvent]:
        """All events of one slot, in order."""
        open_ns = self._panel.open_ns(slot)
        bars, counts = self._bars[slot], self._counts[slot]
        tape, books, rows = bridge.expand(
            self._keys, open_ns, self._bar_ms, bars, counts, self._grids, self._config.levels
        )
        levels = tuple(zip(rows[0].tolist(), rows[1].tolist(), strict=True))
        book_rows, trade_rows = zip(*books.tolist(), strict=True), zip(*tape.tolist(), strict=True)
        events: list[TapeEvent] = []
        closes: list[BarClose] = []
        marks: list[TapeEvent] = []
        for n, symbol in enumerate(self.symbols):
            count = int(counts[n])
            trade_id = int(self._ids[slot, n])
            printed: list[tuple[int, int]] = [(open_ns, int(bars[n, 5]))]  # time, ticks
            quote = bought = bought_quote = 0
            for i in range(count + 1 if count else 0):
                ts, a, b, c = next(book_rows)
                events.append(
                    BookUpdate(
                        symbol=symbol,
                        ts=ts,
                        bids=levels[a:b],
                        asks=levels[b:c],
                        snapshot=i == 0,
                    )
                )
                if i < count:
                    ts, price, lots, buy = next(trade_rows)
                    trade_id += 1
                    quote += price * lots
                    if buy:
                        bought += lots
                        bought_quote += price * lots
                    printed.append((ts, price))
                    events.append(
                        TradePrint(
                            symbol=symbol,
                            ts=ts,
                            id=trade_id,
                            price=price,
                            size=lots,
                            buy=bool(buy),
                        )
                    )
            marks.extend(self._marks(n, open_ns, printed))
            value = self._values[n]
            closes.append(
                BarClose(
                    symbol=symbol,
                    ts=open_ns + self.interval_ns,
                    interval=self.interval,
                    open=int(bars[n, 0]),
                    high=int(bars[n, 1]),
                    low=int(bars[n, 2]),
                    close=int(bars[n, 3]),
                    volume=int(bars[n, 4]),
                    quote_volume=quote * value,
                    trades=count,
                    buy_volume=bought,
                    buy_quote_volume=bought_quote * value,
                )
            )
        events.extend(marks)
        events.extend(closes)
        for symbol, schedule in zip(self.symbols, self._funding, strict=True):
            for ts, rate in schedule.between(open_ns, open_ns + self.interval_ns):
                events.append(FundingRate(symbol=symbol, ts=ts, rate=rate))
        events.sort(key=_by_time)  # stable: at the same time the order of construction holds
        return events

    def _mark(self, n: int, ts: int, ticks: int) -> MarkPrice:
        price: Decimal = ticks * self._ticks[n]
        next_ts, rate = self._funding[n].next_after(ts - 1)
        return MarkPrice(
            symbol=self.symbols[n],
            ts=ts,
            mark=price,
            index=price,
            rate=rate,
            next_funding_ts=next_ts,
        )

    def _marks(self, n: int, open_ns: int, printed: list[tuple[int, int]]) -> list[MarkPrice]:
        found, i, count = [], 0, self._config.marks_per_bar
        for j in range(1, count + 1):
            ts = open_ns + self._bar_ms * j // count * NS_PER_MS
            while i + 1 < len(printed) and printed[i + 1][0] <= ts:
                i += 1
            found.append(self._mark(n, ts, printed[i][1]))
        return found

    def _standing(self, slot: int, done: Sequence[TapeEvent]) -> list[TapeEvent]:
        """Books and marks after the `done` events of a slot."""
        ts = done[-1].ts if done else self._panel.open_ns(slot)
        found: list[TapeEvent] = []
        for n, symbol in enumerate(self.symbols):
            bids, asks = self._closing_book(slot, n)
            ticks = int(self._bars[slot, n, 5])
            for event in done:
                if event.symbol != symbol:
                    continue
                if isinstance(event, BookUpdate):
                    if event.snapshot:
                        bids, asks = {}, {}
                    for side, changes in ((bids, event.bids), (asks, event.asks)):
                        side.update(changes)
                elif isinstance(event, TradePrint):
                    ticks = event.price
            live = [tuple((p, q) for p, q in side.items() if q) for side in (bids, asks)]
            found.append(
                BookUpdate(symbol=symbol, ts=ts, bids=live[0], asks=live[1], snapshot=True)
            )
            found.append(self._mark(n, ts, ticks))
        return found

    def _closing_book(self, slot: int, n: int) -> tuple[dict[int, int], dict[int, int]]:
        """The book before a slot: what the last bar with trades left; empty if there is none."""
        traded = np.flatnonzero(self._counts[self._panel.first[n] : slot, n])
        if not len(traded):
            return {}, {}
        last = int(self._panel.first[n] + traded[-1])
        book = bridge.closing_image(
            self._keys[n],
            self._panel.open_ns(last),
            self._bars[last, n],
            int(self._counts[last, n]),
            int(self._grids[n]),
            self._config.levels,
        ).tolist()
        bids, asks = (
            {p: q for p, q in zip(*side, strict=True) if p} for side in (book[0], book[1])
        )
        return bids, asks


def _symbol_keys(seed: int, symbols: Sequence[str]) -> NDArray[np.uint64]:
    """A random key for each symbol: FNV-1a of its name, mixed with the seed."""
    keys = []
    for symbol in symbols:
        value = 0xCBF29CE484222325
        for byte in symbol.encode():
            value = (value ^ byte) * 0x100000001B3 % 2**64
        keys.append(value ^ (seed * 0x9E3779B97F4A7C15 % 2**64))
    return np.array(keys, np.uint64)
