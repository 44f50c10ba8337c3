"""What every tape has in common: slots of one bar's length, positions, standing books, marks. Pure.

Order of events: by time; at the same time as the tape has them, then mark prices, closed bars,
funding. A position is `slot << 20 | offset`: the number of the bar interval since the epoch, and
how many of its events are done. It means the same in every run with the same data, symbols and
settings.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from decimal import Decimal
from operator import attrgetter

from don.clock import iso
from don.errors import DataError
from don.model.instrument import Instrument
from don.paper.events import BarClose, BookUpdate, FundingRate, MarkPrice, TapeEvent, TradePrint
from don.paper.funding import FundingSchedule
from don.paper.tape_data import NS_PER_MS, exchange_symbol, interval_name

OFFSET_BITS = 20
HISTORY_BARS = 500  # left before the default start, for warm-up
_OFFSET = (1 << OFFSET_BITS) - 1
_by_time = attrgetter("ts")
Side = dict[int, int]  # ticks -> lots


class SlotTape(ABC):
    """A tape whose events can be made slot by slot, each slot without those before it.

    Args:
        source: name for messages.
        instruments: in the order of the symbols.
        interval_ns: length of a slot and of the bars that close.
        funding: a schedule for each symbol.
        slots: first and last slot that can be replayed, numbers since the epoch.
        start_ns: where a new replay begins; None leaves `HISTORY_BARS`, at most half the tape.
        marks: mark prices a symbol and slot, the last at its close.
    """

    def __init__(
        self,
        source: str,
        instruments: Sequence[Instrument],
        interval_ns: int,
        funding: Sequence[FundingSchedule],
        slots: tuple[int, int],
        start_ns: int | None,
        marks: int,
    ) -> None:
        self.source, self._instruments = source, tuple(instruments)
        self.symbols = tuple(i.exchange_symbol for i in instruments)
        self.interval_ns, self.interval = interval_ns, interval_name(interval_ns)
        self._funding, self._marks = tuple(funding), marks
        self._first, self._last = slots
        self.begin_ns = self._first * interval_ns  # nothing is told before; inside the first slot
        self._ticks = tuple(i.tick_size for i in instruments)
        self._values = tuple(i.tick_size * i.lot_size for i in instruments)
        if start_ns is None:
            slot = self._first + min(HISTORY_BARS, (self._last - self._first + 1) // 2)
        elif self.first_ns <= start_ns < self.end_ns:
            slot = start_ns // interval_ns
        else:
            raise DataError(
                f"start must be from {iso(self.first_ns)} to before {iso(self.end_ns)} for tape "
                f"{source}, was {iso(start_ns)}"
            )
        self.start = slot << OFFSET_BITS

    @property
    def first_ns(self) -> int:
        """Earliest time that can be replayed, to the bar."""
        return self._first * self.interval_ns

    @property
    def end_ns(self) -> int:
        """End of the last bar."""
        return (self._last + 1) * self.interval_ns

    def instruments(self) -> tuple[Instrument, ...]:
        """The instruments, in the order of the symbols."""
        return self._instruments

    def time_of(self, position: int) -> int:
        """Tape time at which the bar of a position opens."""
        return (position >> OFFSET_BITS) * self.interval_ns

    def index(self, symbol: str) -> int:
        """Place of a symbol, by its exchange or canonical name.

        Raises:
            DataError: if it is not on this tape.
        """
        name = exchange_symbol(symbol)
        if name not in self.symbols:
            raise DataError(f"symbol must be one of {', '.join(self.symbols)}, was {symbol!r}")
        return self.symbols.index(name)

    # ---- what a kind of tape provides ------------------------------------------------------------

    @abstractmethod
    def market_events(self, slot: int) -> tuple[list[TapeEvent], list[BarClose]]:
        """Trades and books of a slot by symbol or time, and the bars that close at its end."""

    @abstractmethod
    def book_before(self, slot: int, n: int) -> tuple[Side, Side]:
        """New dicts of bids and asks of a symbol when a slot opens."""

    @abstractmethod
    def last_price(self, slot: int, n: int) -> int:
        """Last price of a symbol when a slot opens, ticks."""

    @abstractmethod
    def slot_of_trade(self, n: int, trade_id: int) -> int:
        """The slot of a symbol's trade, or of the next one that there is."""

    # ---- events ----------------------------------------------------------------------------------

    def trades(
        self, symbol: str, *, from_id: int | None = None, start_ns: int | None = None
    ) -> Iterator[TradePrint]:
        """The trades of a symbol from an id or a time on, or all, in order.

        Raises:
            DataError: if the symbol is not on this tape.
        """
        n = self.index(symbol)
        slot = self._first
        if from_id is not None:
            slot = max(slot, self.slot_of_trade(n, from_id))
        if start_ns is not None:
            slot = max(slot, start_ns // self.interval_ns)
        for at in range(slot, self._last + 1):
            for event in self.market_events(at)[0]:
                if type(event) is not TradePrint or event.symbol != self.symbols[n]:
                    continue
                if (from_id is None or event.id >= from_id) and (
                    start_ns is None or event.ts >= start_ns
                ):
                    yield event

    def events(self, position: int | None = None) -> Iterator[tuple[int, TapeEvent]]:
        """The tape from a position (default: `start`) to its end: (where to go on after it, event).

        Before the first event come each symbol's book (a snapshot) and mark price as they stand
        there, with the position unchanged: whoever starts in the middle knows the market at once.

        Raises:
            DataError: if the position is not on this tape.
        """
        at = self.start if position is None else position
        slot, offset = at >> OFFSET_BITS, at & _OFFSET
        if not self._first <= slot <= self._last + 1:
            raise DataError(
                f"position {at} ({iso(self.time_of(at))}) is not on tape {self.source}: "
                f"{iso(self.first_ns)} to {iso(self.end_ns)}"
            )
        if slot > self._last:
            return
        events = self.slot_events(slot)
        for event in self._standing(slot, events[:offset]):
            yield at, event
        while True:
            yield from enumerate(events[offset:], (slot << OFFSET_BITS) + offset + 1)
            if slot == self._last:
                return
            slot, offset = slot + 1, 0
            events = self.slot_events(slot)

    def slot_events(self, slot: int) -> list[TapeEvent]:
        """All events of one slot, in order."""
        events, closes = self.market_events(slot)
        printed: list[list[tuple[int, int]]] = [[] for _ in self.symbols]
        place = {symbol: n for n, symbol in enumerate(self.symbols)}
        for event in events:
            if type(event) is TradePrint:
                printed[place[event.symbol]].append((event.ts, event.price))
        events.extend(self.timed_events(slot, printed, closes))
        events.sort(key=_by_time)  # stable: at the same time the order of construction holds
        return events

    def timed_events(
        self, slot: int, printed: list[list[tuple[int, int]]], closes: list[BarClose]
    ) -> list[TapeEvent]:
        """All events of one slot but trades and books, in order.

        Args:
            slot: which.
            printed: (time, price) of each symbol's trades in it, in order.
            closes: bars that close at its end.
        """
        open_ns = slot * self.interval_ns
        events: list[TapeEvent] = []
        for n, prints in enumerate(printed):
            events.extend(self._mark_prices(n, slot, prints))
        events.extend(closes)
        for symbol, schedule in zip(self.symbols, self._funding, strict=True):
            for ts, rate in schedule.between(open_ns, open_ns + self.interval_ns):
                events.append(FundingRate(symbol=symbol, ts=ts, rate=rate))
        events.sort(key=_by_time)  # stable: at the same time the order of construction holds
        return events

    def _mark_prices(self, n: int, slot: int, prints: list[tuple[int, int]]) -> list[MarkPrice]:
        open_ns, bar_ms = slot * self.interval_ns, self.interval_ns // NS_PER_MS
        ticks = self.last_price(slot, n)
        found, i = [], 0
        for j in range(1, self._marks + 1):
            ts = open_ns + bar_ms * j // self._marks * NS_PER_MS
            if ts < self.begin_ns:
                continue
            while i < len(prints) and prints[i][0] <= ts:
                ticks, i = prints[i][1], i + 1
            found.append(self._mark(n, ts, ticks))
        return found

    def _mark(self, n: int, ts: int, ticks: int) -> MarkPrice:
        price: Decimal = ticks * self._ticks[n]
        next_ts, _ = self._funding[n].next_after(ts - 1)
        return MarkPrice(
            symbol=self.symbols[n],
            ts=ts,
            mark=price,
            index=price,
            rate=self._funding[n].known(ts),
            next_funding_ts=next_ts,
        )

    def _standing(self, slot: int, done: Sequence[TapeEvent]) -> list[TapeEvent]:
        """Books and marks after the `done` events of a slot."""
        ts = done[-1].ts if done else max(slot * self.interval_ns, self.begin_ns)
        found: list[TapeEvent] = []
        for n, symbol in enumerate(self.symbols):
            bids, asks = self.book_before(slot, n)
            ticks = self.last_price(slot, n)
            for event in done:
                if event.symbol != symbol:
                    continue
                if isinstance(event, BookUpdate):
                    apply_book(event, bids, asks)
                elif isinstance(event, TradePrint):
                    ticks = event.price
            found.append(
                BookUpdate(
                    symbol=symbol,
                    ts=ts,
                    bids=tuple(sorted(bids.items(), reverse=True)),
                    asks=tuple(sorted(asks.items())),
                    snapshot=True,
                )
            )
            found.append(self._mark(n, ts, ticks))
        return found


def apply_book(event: BookUpdate, bids: Side, asks: Side) -> None:
    """Bring a book up to date in place."""
    if event.snapshot:
        bids.clear()
        asks.clear()
    for side, changes in ((bids, event.bids), (asks, event.asks)):
        for price, size in changes:
            if size:
                side[price] = size
            else:
                side.pop(price, None)
