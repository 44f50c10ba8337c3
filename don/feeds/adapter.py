"""cryptofeed's parser of one connection, its normalised objects turned into sink calls.

One adapter, and one cryptofeed feed, a connection: a gap on one does not disturb the others. What
its parser raises, and what its books show (checksums, crossed sides), becomes a loss of the symbol
that is concerned.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cryptofeed.defines import (
    ASK,
    BID,
    BUY,
    CANDLES,
    FUNDING,
    L2_BOOK,
    LIQUIDATIONS,
    OPEN_INTEREST,
    TICKER,
    TRADES,
)
from cryptofeed.exceptions import BadChecksum, MissingSequenceNumber

from don.clock import NS_PER_MS, NS_PER_S
from don.errors import DataError, DonError
from don.feeds.builder import Pair, Subscribed
from don.feeds.copies import Copies
from don.feeds.health import Stream
from don.feeds.memory import forget
from don.feeds.sink import Sink
from don.feeds.venues import Venue
from don.market.book import Top
from don.model.trade_ids import trade_id, unnamed_trade_id

NAN = float("nan")
FUTURE_NS = 60 * NS_PER_S  # an exchange time further ahead than this is none


class ForeignBook:
    """cryptofeed's book of a symbol, read when a batch leaves."""

    __slots__ = ("_book",)

    def __init__(self, book: Any) -> None:
        self._book = book

    def top(self, depth: int) -> Top:
        """The best `depth` levels of both sides."""
        bids, asks = self._book.bids, self._book.asks
        best_bids = [bids.index(i) for i in range(min(depth, len(bids)))]
        best_asks = [asks.index(i) for i in range(min(depth, len(asks)))]
        return Top(
            bid_prices=[float(price) for price, _ in best_bids],
            bid_sizes=[float(size) for _, size in best_bids],
            ask_prices=[float(price) for price, _ in best_asks],
            ask_sizes=[float(size) for _, size in best_asks],
        )


class Adapter:
    """Handles the messages of one connection.

    Args:
        part: the connection with its feed.
        venue: what is particular about the exchange.
        streams: the records of the subscriptions.
        sink: where events go.
        interval_ns: of the bars.
        copies: says which of several connections of the same subscriptions is listened to.
        lost: told that a symbol's book, or (None) everything of this connection, is to be had anew.
        deltas: whether changes of books are sent too.
    """

    def __init__(
        self,
        part: Subscribed,
        venue: Venue,
        streams: Mapping[Pair, Stream],
        sink: Sink,
        *,
        interval_ns: int,
        copies: Copies,
        lost: Callable[[Stream | None, str], None],
        deltas: bool = False,
    ) -> None:
        self._feed = part.feed
        self._conn = part.conn
        self._venue = venue
        self._streams = {pair: streams[pair] for pair in part.pairs}
        self._keys = {s.key: s for (c, _), s in self._streams.items() if c == "books"}
        self._sink = sink
        self._interval_ns = interval_ns
        self._copies = copies
        self._lost = lost
        self._deltas = deltas
        self._ts_recv = 0
        self.awaiting: set[str] = set()  # symbols whose book comes anew
        self._candles: dict[str, Any] = {}  # symbol -> its bar as it was last seen
        self._repeats: dict[Stream, tuple[int, Counter[Any]]] = {}
        self._subscribing = False
        handlers = {
            "trades": (TRADES, self._trade),
            "quotes": (TICKER, self._quote),
            "books": (L2_BOOK, self._book),
            "bars": (CANDLES, self._candle),
            "funding": (FUNDING, self._funding),
            "liquidations": (LIQUIDATIONS, self._liquidation),
            "open_interest": (OPEN_INTEREST, self._open_interest),
        }
        callbacks: dict[str, list[Any]] = {name: [] for name in self._feed.callbacks}
        for channel in {channel for channel, _ in self._streams}:
            name, handler = handlers[channel]
            callbacks[name] = [handler]
        self._feed.callbacks = callbacks
        self._guard_reset()

    @property
    def streams(self) -> list[Stream]:
        """What this connection brings."""
        return list(self._streams.values())

    # ---- messages ---------------------------------------------------------------------------

    async def subscribe(self) -> None:
        """Send the subscriptions; all books are to come anew."""
        self.awaiting = {stream.symbol for stream in self._keys.values()}
        self._candles.clear()
        for stream in self._keys.values():
            forget(self._feed, stream)
        self._subscribing = True
        try:
            await self._feed.authenticate(self._conn)
            await self._feed.subscribe(self._conn)
        finally:
            self._subscribing = False

    async def on_message(self, data: str | bytes, ts_recv: int) -> None:
        """Handle one message.

        Raises:
            DataError: if cryptofeed does not understand it.
            DependencyError: if the exchange did not give a snapshot that was asked for.
        """
        heartbeat = self._venue.heartbeat
        if heartbeat is not None and isinstance(data, str) and data.startswith(heartbeat.answer):
            return
        self._ts_recv = ts_recv
        try:
            await self._feed.message_handler(data, self._conn, ts_recv / NS_PER_S)
        except DonError:
            raise
        except (MissingSequenceNumber, BadChecksum) as error:
            self._failed(data, type(error).__name__)
        except Exception as error:  # a parser that is not ours may raise anything
            if not self._failed(data, f"{type(error).__name__}: {error}", only_books=True):
                return
            raise DataError(
                f"message {data[:200]!r} is not understood by cryptofeed: {error!r}"
            ) from error

    # ---- what cryptofeed calls --------------------------------------------------------------

    async def _trade(self, t: Any, _: float) -> None:
        stream = self._stream("trades", t.symbol)
        if stream is None:
            return
        ts_event = self._time(t.timestamp)
        price, size, buy = float(t.price), float(t.amount), t.side == BUY
        key = self._key(stream, ts_event, t.id, price, size, buy)
        if self._copies.first(stream, key):
            self._sink.print(stream, ts_event, self._ts_recv, key, price, size, buy)

    async def _quote(self, t: Any, _: float) -> None:
        stream = self._stream("quotes", t.symbol)
        if stream is None or not self._copies.leads(stream, self, self._ts_recv):
            return
        bid_size, ask_size = self._sizes(t.raw)
        ts_event = self._time(t.timestamp)
        self._sink.quote(
            stream, ts_event, self._ts_recv, float(t.bid), bid_size, float(t.ask), ask_size
        )

    async def _book(self, b: Any, _: float) -> None:
        stream = self._stream("books", b.symbol)
        if stream is None:
            return
        snapshot = b.delta is None
        if b.symbol in self.awaiting:
            if not snapshot:
                return
            self.awaiting.discard(b.symbol)
        if self._venue.checksum and b.checksum is not None and b.book.checksum() != b.checksum:
            self._lose(stream, "checksum of the book differs")
            return
        book = ForeignBook(b.book)
        best = book.top(1)
        if best.bid_prices and best.ask_prices and best.bid_prices[0] >= best.ask_prices[0]:
            # A level that should have gone is there: it would stay when prices have moved past it.
            self._lose(stream, f"book crossed: {best.bid_prices[0]} over {best.ask_prices[0]}")
            return
        if not self._copies.leads(stream, self, self._ts_recv):
            return
        ts_event = self._time(b.timestamp)
        if self._deltas:
            self._send_deltas(stream, b, ts_event, snapshot=snapshot)
        self._sink.book(stream, ts_event, self._ts_recv, book)

    async def _candle(self, c: Any, _: float) -> None:
        stream = self._stream("bars", c.symbol)
        if stream is None:
            return
        if self._venue.closes == "flag":
            if c.closed is True:
                self._bar(stream, c)
            else:
                self._sink.forming(stream, self._ts_recv, self._ts_recv)
            return
        before = self._candles.get(c.symbol)
        if before is not None and c.start < before.start:
            self._bar(stream, c)  # of the history that some exchanges send first
            return
        self._candles[c.symbol] = c
        if before is not None and c.start > before.start:
            self._bar(stream, before)
        else:
            self._sink.forming(stream, min(self._time(c.timestamp), self._ts_recv), self._ts_recv)

    async def _funding(self, f: Any, _: float) -> None:
        stream = self._stream("funding", f.symbol)
        if stream is None or not self._copies.leads(stream, self, self._ts_recv):
            return
        mark = NAN if f.mark_price is None else float(f.mark_price)
        rate = NAN if f.rate is None else float(f.rate)
        ahead = f.next_funding_time
        next_ts = 0 if ahead is None else _ns(float(ahead))
        self._sink.funding(stream, self._time(f.timestamp), self._ts_recv, mark, rate, next_ts)

    async def _open_interest(self, o: Any, _: float) -> None:
        stream = self._stream("open_interest", o.symbol)
        if stream is not None and self._copies.leads(stream, self, self._ts_recv):
            ts_event = self._time(o.timestamp)
            self._sink.open_interest(stream, ts_event, self._ts_recv, float(o.open_interest), NAN)

    async def _liquidation(self, q: Any, _: float) -> None:
        stream = self._stream("liquidations", q.symbol)
        if stream is None:
            return
        ts_event = self._time(q.timestamp)
        price, size, buy = float(q.price), float(q.quantity), q.side == BUY
        key = self._key(stream, ts_event, q.id, price, size, buy)
        if self._copies.first(stream, key):
            self._sink.liquidation(stream, ts_event, self._ts_recv, price, size, buy)

    # ---- inside -----------------------------------------------------------------------------

    def _stream(self, channel: str, symbol: str) -> Stream | None:
        return self._streams.get((channel, symbol))

    def _time(self, timestamp: float | None) -> int:
        """Exchange time in ns; the time of arrival where the exchange gives none that can be."""
        if timestamp is None:
            return self._ts_recv
        ts_event = _ns(float(timestamp))
        return ts_event if 0 < ts_event <= self._ts_recv + FUTURE_NS else self._ts_recv

    def _key(
        self, stream: Stream, ts_event: int, given: Any, price: float, size: float, buy: bool
    ) -> int:
        """The trade's id where it is a number, else one that is the same on each connection."""
        if given is not None:
            return trade_id(given)
        # Without an id, equal trades of one ms are told apart by their order.
        same, ms = (price, size, buy), ts_event // NS_PER_MS
        at, counts = self._repeats.get(stream, (0, Counter()))
        if at != ms:
            at, counts = ms, Counter()
            self._repeats[stream] = (at, counts)
        counts[same] += 1
        return unnamed_trade_id(ts_event, price, size, buy, counts[same])

    def _sizes(self, raw: Any) -> tuple[float, float]:
        if self._venue.sizes is None:
            return NAN, NAN
        bid, ask = (_dig(raw, name) for name in self._venue.sizes)
        return bid, ask

    def _bar(self, stream: Stream, c: Any) -> None:
        values = (float(c.open), float(c.high), float(c.low), float(c.close), float(c.volume))
        trades = -1 if c.trades is None else int(c.trades)
        ts_close = _ns(float(c.start)) + self._interval_ns
        self._sink.bar(stream, ts_close, self._ts_recv, (*values, trades))

    def _send_deltas(self, stream: Stream, b: Any, ts_event: int, *, snapshot: bool) -> None:
        number = b.sequence_number
        last = self._ts_recv if number is None else int(number)
        for buy, side, levels in ((True, BID, b.book.bids), (False, ASK, b.book.asks)):
            changed: Iterable[tuple[Any, Any]]
            if snapshot:
                changed = levels.to_dict().items()
            else:
                changed = b.delta.get(side, ())
            rows = [(float(price), float(size)) for price, size in changed]
            first = -1 if snapshot else last
            self._sink.deltas(stream, ts_event, self._ts_recv, first, last, buy, rows)

    def _failed(self, data: str | bytes, why: str, *, only_books: bool = False) -> bool:
        """Have anew what the message was about; False if that was under way already."""
        text = (data if isinstance(data, str) else data.decode("latin-1")).lower()
        named = [key for key in self._keys if key.lower() in text]  # some subscribe in other case
        found = [k for k in named if not any(k != other and k in other for other in named)]
        if not found:
            if not only_books:
                self._lost(None, why)
            return True
        if all(self._keys[key].symbol in self.awaiting for key in found):
            for key in found:  # what was still on its way must not count against the snapshot
                forget(self._feed, self._keys[key])
            return False
        for key in found:
            self._lose(self._keys[key], why)
        return True

    def _lose(self, stream: Stream, why: str) -> None:
        if stream.symbol not in self.awaiting:
            self.awaiting.add(stream.symbol)
            self._lost(stream, why)

    def _guard_reset(self) -> None:
        """Some classes answer one symbol's gap by silently forgetting every book."""
        theirs = getattr(self._feed, "_reset", None)
        if theirs is None:
            return

        def reset(*args: Any) -> None:
            if not self._subscribing:
                raise MissingSequenceNumber
            theirs(*args)

        self._feed._reset = reset


def _ns(seconds: float) -> int:
    return round(seconds * 1e6) * (NS_PER_MS // 1000)


def _dig(raw: Any, path: str) -> float:
    for name in path.split("."):
        try:
            raw = raw[int(name) if name.isdigit() else name]
        except (KeyError, IndexError, TypeError):
            return NAN
    try:
        return float(raw)
    except (TypeError, ValueError):
        return NAN
