"""Where parsed market events go: continuity, plausibility and health, then rows in the outbox.

Exchange adapters call one method an event; all that follows is the same for every exchange.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from don.clock import NS_PER_MS
from don.feeds.bars import BarKeeper, BarVerdict
from don.feeds.early import DepthDiff, EarlyDiffs
from don.feeds.health import Stream, StreamState
from don.feeds.outbox import Outbox, TopOfBook
from don.feeds.states import States
from don.feeds.trades import Hole, TradeKeeper, TradeVerdict
from don.market.book import BookSync, Level, SyncState

_INF = math.inf


class Owner(Protocol):
    """Who acts on what the sink finds."""

    def book_lost(self, stream: Stream) -> None:
        """The symbol's book needs a new snapshot."""

    def bars_wanted(self, symbol: str) -> None:
        """Bars of the symbol are missing: repair them."""

    def trades_missed(self, stream: Stream, hole: Hole) -> None:
        """Trade ids of the symbol are missing: repair them, or say so."""

    def burst_ended_soon(self) -> None:
        """A bar closed: let the batch leave when what has arrived is parsed."""


class Sink(States):
    """Turns events into rows; one instance for all connections of a feed.

    Times are ns; `ts_event` is the exchange's, `ts_recv` the wall clock's at arrival. An exchange
    that is restarted may repeat what it had told (a replayed one goes back a little): repeats are
    counted and not sent, nor do they make a stream live.
    """

    def __init__(
        self,
        outbox: Outbox,
        bars: BarKeeper,
        books: dict[str, BookSync],
        owner: Owner,
        now_ns: Callable[[], int],
        late_ns: int = 0,
    ) -> None:
        super().__init__(outbox, now_ns)
        self._bars = bars
        self._books = books
        self._owner = owner
        self.trades: dict[str, TradeKeeper] = {}  # by symbol
        self._forced: dict[str, tuple[int, Counter[Any]]] = {}  # symbol -> last ms, what it had
        self._early: dict[str, EarlyDiffs] = {}  # by symbol, where several connections bring it
        self.late_ns = late_ns
        self.deltas_wanted = False  # whether changes of books are sent too
        self.duplicates = 0

    # ---- events ---------------------------------------------------------------------------

    def trade(
        self,
        stream: Stream,
        ts_event: int,
        ts_recv: int,
        trade_id: int,
        price: float,
        size: float,
        buy: bool,
    ) -> None:
        """One trade; ids of a symbol rise by one, so a hole in them is a hole in the data."""
        if not (0.0 < price < _INF and 0.0 < size < _INF):
            self.refuse(stream, f"trade {trade_id} with price {price} and size {size}")
            return
        symbol = stream.symbol
        known = self.trades.get(symbol)
        if known is None:
            self.trades[symbol] = TradeKeeper(trade_id, ts_event)
        elif trade_id == known.last + 1:
            known.last, known.last_ts = trade_id, ts_event
        elif not self._jump(stream, known, trade_id, ts_event):
            return
        self._touch(stream, ts_event, ts_recv)
        self._add("trades", (symbol, ts_event, ts_recv, trade_id, price, size, buy))

    def print(
        self,
        stream: Stream,
        ts_event: int,
        ts_recv: int,
        trade_id: int,
        price: float,
        size: float,
        buy: bool,
    ) -> None:
        """One trade of an exchange whose ids prove nothing about what is missing."""
        if not (0.0 < price < _INF and 0.0 < size < _INF):
            self.refuse(stream, f"trade {trade_id} with price {price} and size {size}")
            return
        self._touch(stream, max(ts_event, stream.last_event), ts_recv)
        self._add("trades", (stream.symbol, ts_event, ts_recv, trade_id, price, size, buy))

    def quote(
        self,
        stream: Stream,
        ts_event: int,
        ts_recv: int,
        bid: float,
        bid_size: float,
        ask: float,
        ask_size: float,
        number: int = 0,
    ) -> None:
        """Best bid and ask. A side that is empty is a state of the market, not an error.

        `number` rises with each quote where it is not 0; it tells copies of a quote that came by
        another connection.
        """
        if stream.copies > 1 and 0 < number <= stream.number and ts_event <= stream.last_event:
            self.duplicates += 1
            return
        stream.number = number
        if (bid == 0.0 <= ask or ask == 0.0 <= bid) and max(bid, ask) < _INF:
            if ts_event >= stream.last_event:
                self._note_time(stream, ts_event, ts_recv)
                self.stale(stream, f"the {'bid' if bid == 0.0 else 'ask'} side is empty")
            return
        if not (0.0 < bid < ask < _INF):
            self.refuse(stream, f"quote with bid {bid} and ask {ask}")
            return
        if ts_event < stream.last_event:
            self.duplicates += 1
            return
        self._touch(stream, ts_event, ts_recv)
        self._add("quotes", (stream.symbol, ts_event, ts_recv, bid, bid_size, ask, ask_size))

    def diff(
        self,
        stream: Stream,
        ts_event: int,
        ts_recv: int,
        first: int,
        last: int,
        previous: int,
        bids: Sequence[Level],
        asks: Sequence[Level],
    ) -> None:
        """A change of the book; the symbol is resynchronised if something before it is missing."""
        sync = self._books[stream.symbol]
        if stream.copies == 1:
            self._diff(stream, sync, ts_event, ts_recv, first, last, previous, bids, asks)
            return
        early = self._early.setdefault(stream.symbol, EarlyDiffs(self.late_ns))
        diff = DepthDiff(ts_event, ts_recv, first, last, previous, bids, asks)
        for ready in early.offer(sync, diff):
            self._diff(stream, sync, *ready)

    def _diff(
        self,
        stream: Stream,
        sync: BookSync,
        ts_event: int,
        ts_recv: int,
        first: int,
        last: int,
        previous: int,
        bids: Sequence[Level],
        asks: Sequence[Level],
    ) -> None:
        known = sync.book.update_id
        lost = sync.on_diff(first, last, previous, bids, asks)
        if ts_event > self.exchange_now:
            self.exchange_now = ts_event
        if ts_event < stream.last_event:
            self.duplicates += 1  # the change counts, but the state at that time is known
        else:
            stream.events += 1
            stream.last_event = ts_event
            stream.last_recv = ts_recv
        if lost is not None:
            self._outbox.drop_book(stream.symbol)
            self.gap(stream, lost.reason)
            self.stale(stream, "resynchronising")
            self._owner.book_lost(stream)
        elif sync.state is SyncState.LIVE and ts_event >= stream.last_event:
            if stream.state is not StreamState.LIVE:
                self.live(stream)
            self._outbox.set_book(stream.symbol, ts_event, ts_recv, sync.book)
        if self.deltas_wanted and lost is None and last > known:
            self.deltas(stream, ts_event, ts_recv, first, last, True, bids)
            self.deltas(stream, ts_event, ts_recv, first, last, False, asks)

    def book(self, stream: Stream, ts_event: int, ts_recv: int, book: TopOfBook) -> None:
        """The state of a book that somebody else keeps; it is read when the batch leaves."""
        self._touch(stream, max(ts_event, stream.last_event), ts_recv)
        self._outbox.set_book(stream.symbol, ts_event, ts_recv, book)

    def snapshot(
        self,
        stream: Stream,
        ts_recv: int,
        number: int,
        bids: Sequence[Level],
        asks: Sequence[Level],
    ) -> None:
        """A whole book as changed levels: what was known of it before is void.

        It is a ns after the newest change, which may have its number: each keeps its own row.
        """
        ts_event = (max(self.exchange_now, stream.last_event) or ts_recv) + 1
        self.deltas(stream, ts_event, ts_recv, -1, number, True, bids)
        self.deltas(stream, ts_event, ts_recv, -1, number, False, asks)

    def deltas(
        self,
        stream: Stream,
        ts_event: int,
        ts_recv: int,
        first: int,
        last: int,
        buy: bool,
        levels: Sequence[Level],
    ) -> None:
        """Changed levels of one side of a book; `first` -1: the levels of a snapshot."""
        symbol = stream.symbol
        for price, size in levels:
            self._add("book_deltas", (symbol, ts_event, ts_recv, first, last, buy, price, size))

    def bar(
        self,
        stream: Stream,
        ts_close: int,
        ts_recv: int,
        values: tuple[float, float, float, float, float, int],
    ) -> None:
        """A closed bar: (open, high, low, close, volume, number of trades)."""
        open_, high, low, close, volume, _ = values
        if not (0.0 < low <= min(open_, close) <= max(open_, close) <= high < _INF and volume >= 0):
            self.refuse(stream, f"bar of {ts_close} with {values}")
            return
        symbol = stream.symbol
        verdict = self._bars.on_stream(symbol, ts_close)
        if verdict is BarVerdict.KNOWN:
            self.duplicates += 1
            return
        if verdict is BarVerdict.HOLE:
            self._owner.bars_wanted(symbol)  # first, so that this bar waits for those before it
        self._touch(stream, ts_close, ts_recv)
        self._add("bars", (symbol, ts_close, ts_recv, *values, "stream"))
        self._owner.burst_ended_soon()

    def forming(self, stream: Stream, ts_event: int, ts_recv: int) -> None:
        """An update of a bar that is not closed: a sign of life only."""
        self._touch(stream, ts_event, ts_recv)

    def funding(
        self,
        stream: Stream,
        ts_event: int,
        ts_recv: int,
        mark: float,
        rate: float,
        next_ts: int,
    ) -> None:
        """Mark price and funding rate; NaN where the contract or the message has none."""
        if not (0.0 < mark < _INF or (mark != mark and math.isfinite(rate))):
            self.refuse(stream, f"mark price {mark}")
            return
        late = ts_event < stream.last_event
        if late or (stream.copies > 1 and ts_event == stream.last_event):
            self.duplicates += 1
            return
        self._touch(stream, ts_event, ts_recv)
        self._add("funding", (stream.symbol, ts_event, ts_recv, mark, rate, next_ts))

    def liquidation(
        self, stream: Stream, ts_event: int, ts_recv: int, price: float, size: float, buy: bool
    ) -> None:
        """A forced order. Of equal ones within a ms the second is told a ns later, and so on:
        exchanges tell no more than ms, and time is part of what rows are told apart by.
        """
        if not (0.0 < price < _INF and 0.0 < size < _INF):
            self.refuse(stream, f"liquidation with price {price} and size {size}")
            return
        ms, same = ts_event // NS_PER_MS, (price, size, buy)
        at, counts = self._forced.get(stream.symbol, (0, Counter()))
        if at != ms:
            at, counts = ms, Counter()
            self._forced[stream.symbol] = (at, counts)
        ts_event += counts[same]
        counts[same] += 1
        self._touch(stream, ts_event, ts_recv)
        self._add("liquidations", (stream.symbol, ts_event, ts_recv, price, size, buy))

    def open_interest(
        self, stream: Stream, ts_event: int, ts_recv: int, size: float, notional: float
    ) -> None:
        """Open contracts, and their value in quote (NaN: the exchange does not say)."""
        if not 0.0 <= size < _INF:
            self.refuse(stream, f"open interest {size}")
            return
        if ts_event <= stream.last_event:
            self.duplicates += 1
            return
        self._touch(stream, ts_event, ts_recv)
        self._add("open_interest", (stream.symbol, ts_event, ts_recv, size, notional))

    # ---- inside ---------------------------------------------------------------------------

    def _jump(self, stream: Stream, known: TradeKeeper, trade_id: int, ts_event: int) -> bool:
        """Whether a trade whose id does not follow is to be sent."""
        last = known.last
        verdict = known.on_jump(trade_id, ts_event)
        if verdict is TradeVerdict.KNOWN:
            self.duplicates += 1
            return False
        if verdict is TradeVerdict.RESTART:
            self.gap(stream, f"trade ids restarted at {trade_id}, were at {last}")
        elif verdict is TradeVerdict.HOLE:
            self._owner.trades_missed(stream, known.holes[-1])
        return True
