"""Where parsed market events go: continuity, plausibility and health, then rows in the outbox.

Exchange adapters call one method an event; all that follows is the same for every exchange.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from don.feeds.bars import BarKeeper, BarVerdict
from don.feeds.health import Stream, StreamState
from don.feeds.outbox import Outbox
from don.market.book import BookSync, Level, SyncState

_INF = math.inf


class Owner(Protocol):
    """Who acts on what the sink finds."""

    def book_lost(self, stream: Stream) -> None:
        """The symbol's book needs a new snapshot."""

    def bars_wanted(self, symbol: str) -> None:
        """Bars of the symbol are missing: repair them."""

    def burst_ended_soon(self) -> None:
        """A bar closed: let the batch leave when what has arrived is parsed."""


class Sink:
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
    ) -> None:
        self._outbox = outbox
        self._add = outbox.add
        self._bars = bars
        self._books = books
        self._owner = owner
        self._now_ns = now_ns
        self._trade_ids: dict[str, tuple[int, int]] = {}  # symbol -> last id and its time
        self.exchange_now = 0  # latest exchange time seen since `restart`
        self._latest = 0  # the same since ever
        self.malformed = 0
        self.duplicates = 0
        self.gaps = 0

    @property
    def latest(self) -> int:
        """Latest exchange time ever seen."""
        return max(self._latest, self.exchange_now)

    def restart(self) -> None:
        """A new connection: the exchange may have gone back in time, so what was seen before
        proves nothing about what it has closed now.
        """
        self._latest = self.latest
        self.exchange_now = 0

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
        known = self._trade_ids.get(symbol)
        if (
            known is not None
            and trade_id != known[0] + 1
            and not self._jump(stream, known, trade_id, ts_event)
        ):
            return
        self._trade_ids[symbol] = (trade_id, ts_event)
        self._touch(stream, ts_event, ts_recv)
        self._add("trades", (symbol, ts_event, ts_recv, trade_id, price, size, buy))

    def quote(
        self,
        stream: Stream,
        ts_event: int,
        ts_recv: int,
        bid: float,
        bid_size: float,
        ask: float,
        ask_size: float,
    ) -> None:
        """Best bid and ask. A side that is empty is a state of the market, not an error."""
        if (bid == 0.0) != (ask == 0.0) and max(bid, ask) < _INF:
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
        """Mark price and funding rate; NaN rate where the contract has none."""
        if not 0.0 < mark < _INF:
            self.refuse(stream, f"mark price {mark}")
            return
        if ts_event < stream.last_event:
            self.duplicates += 1
            return
        self._touch(stream, ts_event, ts_recv)
        self._add("funding", (stream.symbol, ts_event, ts_recv, mark, rate, next_ts))

    def liquidation(
        self, stream: Stream, ts_event: int, ts_recv: int, price: float, size: float, buy: bool
    ) -> None:
        """A forced order."""
        if not (0.0 < price < _INF and 0.0 < size < _INF):
            self.refuse(stream, f"liquidation with price {price} and size {size}")
            return
        self._touch(stream, ts_event, ts_recv)
        self._add("liquidations", (stream.symbol, ts_event, ts_recv, price, size, buy))

    # ---- states ---------------------------------------------------------------------------

    def refuse(self, stream: Stream, what: str) -> None:
        """Count a message or value that cannot be true, and say so in the status rows."""
        self.malformed += 1
        stream.gaps += 1
        self.gaps += 1
        self._status(stream, "gap", f"refused: {what}")

    def gap(self, stream: Stream, detail: str) -> None:
        """Something was missed; the stream goes on."""
        stream.gaps += 1
        self.gaps += 1
        self._status(stream, "gap", detail)

    def stale(self, stream: Stream, detail: str) -> None:
        """The stream's data is no longer current."""
        if stream.state is StreamState.STALE:
            stream.detail = detail
            return
        stream.state = StreamState.STALE
        stream.detail = detail
        self._status(stream, "stale", detail)

    def live(self, stream: Stream) -> None:
        """The stream's data is current again."""
        if stream.state is StreamState.LIVE:
            return
        stream.state = StreamState.LIVE
        stream.detail = ""
        stream.silent_ns = 0
        self._status(stream, "live", "")

    # ---- inside ---------------------------------------------------------------------------

    def _note_time(self, stream: Stream, ts_event: int, ts_recv: int) -> None:
        stream.events += 1
        stream.last_event = ts_event
        stream.last_recv = ts_recv
        if ts_event > self.exchange_now:
            self.exchange_now = ts_event

    def _touch(self, stream: Stream, ts_event: int, ts_recv: int) -> None:
        self._note_time(stream, ts_event, ts_recv)
        if stream.state is not StreamState.LIVE:
            self.live(stream)

    def _jump(self, stream: Stream, known: tuple[int, int], trade_id: int, ts_event: int) -> bool:
        """Whether a trade whose id does not follow is to be sent."""
        last, last_ts = known
        if trade_id > last + 1:
            missing = trade_id - last - 1
            self.gap(stream, f"trades {last + 1} to {trade_id - 1} missing ({missing})")
            return True
        if ts_event <= last_ts:
            self.duplicates += 1
            return False
        self.gap(stream, f"trade ids restarted at {trade_id}, were at {last}")
        return True

    def _status(self, stream: Stream, state: str, detail: str, since: int | None = None) -> None:
        row = (
            stream.symbol,
            self.latest,
            self._now_ns(),
            stream.channel,
            state,
            detail,
            stream.last_event if since is None else since,
        )
        self._add("status", row)
