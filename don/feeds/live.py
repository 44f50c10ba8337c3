"""A live feed: cryptofeed's subscriptions on our sockets, events batched into Arrow tables."""

import asyncio
import atexit
import difflib
from collections.abc import AsyncIterator, Coroutine
from random import Random
from typing import Any, Self
from urllib.parse import urlsplit

import pyarrow as pa
import structlog

from don.clock import NS_PER_S, Clock, interval_ns
from don.errors import ConfigError, DataError, ExchangeUnavailable, UsageError
from don.feeds.backoff import Backoff
from don.feeds.bars import BarKeeper
from don.feeds.binance import KINDS, split_name, streams_of
from don.feeds.config import FeedConfig
from don.feeds.health import FeedHealth, FeedState, Stream
from don.feeds.outbox import Outbox
from don.feeds.repair import BarRepair
from don.feeds.rest import RestClient
from don.feeds.resync import BookLoader
from don.feeds.sink import Sink
from don.feeds.socket import FeedSocket
from don.feeds.tls import Trust
from don.feeds.venues import (
    build_feed,
    instruments_path,
    rest_url,
    symbol_table,
    venue_of,
)
from don.feeds.watch import Watch
from don.market.book import BookSync
from don.model.schema import MarketBatch

log = structlog.get_logger(__name__)


class LiveFeed:
    """One exchange's public streams for some symbols, for as long as it is open.

    Guarantees of `batches()`: rows of a channel are in arrival order; every closed bar of a symbol
    comes once and, unless REST is away for longer than `hold_s`, in order and without a hole; what
    is lost (trade ids, book ids, bars that do not exist) is told by a status row; nothing is
    dropped by the feed itself: if the consumer is slow, the socket is not read.

    Failures of the exchange are never raised: the feed retries for ever and says so in `health()`
    and in status rows. A defect of the feed ends `batches()` with its exception.
    """

    def __init__(
        self, config: FeedConfig, clock: Clock, source: str, *, rng: Random | None = None
    ) -> None:
        if not config.symbols:
            raise ConfigError("feed symbols must name at least one symbol, was empty")
        self._config = config
        self._clock = clock
        self._source = source
        self._rng = rng if rng is not None else Random()
        self._venue = venue_of(config.exchange)
        self._interval_ns = interval_ns(config.interval)
        self._outbox = Outbox(
            source,
            max_rows=config.batch_rows,
            max_age_s=config.batch_age_ms / 1000,
            max_batches=config.queue_batches,
            hold_rows=config.hold_rows,
            monotonic_ns=clock.monotonic_ns,
        )
        has_bars = "bars" in config.channels
        self._keeper = BarKeeper(config.symbols if has_bars else (), self._interval_ns)
        self._books: dict[str, BookSync] = {}
        if "books" in config.channels:
            self._books = {symbol: BookSync(self._venue.rule) for symbol in config.symbols}
        self._sink = Sink(self._outbox, self._keeper, self._books, self, clock.now_ns)
        trust = Trust(config.ca_file)
        self._trust = trust
        secure = urlsplit(rest_url(self._venue, config)).scheme == "https"
        self._rest = RestClient(
            rest_url(self._venue, config),
            timeout_s=config.request_timeout_s,
            max_requests=config.max_requests,
            backoff=(config.backoff_base_s, config.backoff_cap_s),
            rng=self._rng,
            tls=lambda: trust.context() if secure else None,
        )
        self._loader = BookLoader(
            venue=self._venue,
            config=config,
            rest=self._rest,
            books=self._books,
            sink=self._sink,
            outbox=self._outbox,
            clock=clock,
            rng=self._rng,
            spawn=self._spawn,
            note=self._note,
        )
        self._streams: list[Stream] = []
        self._keys: dict[str, str] = {}  # canonical -> exchange symbol
        self._sockets: list[FeedSocket] = []
        self._conns: list[Any] = []
        self._repair: BarRepair | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._flush_soon = False
        self._started = False
        self._closed = False
        self._detail = ""
        self._resyncs = 0

    # ---- public -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Learn the instruments, then connect in the background. Waits while the exchange is away.

        Raises:
            UsageError: if a symbol is not listed; ConfigError if the subscription is impossible.
            DataError, ExchangeRefused: if the exchange's list cannot be had or understood at all.
            ExchangeUnavailable: only if the feed is closed meanwhile.
        """
        if self._started or self._closed:
            raise UsageError("a feed can be started once; make a new one")
        self._started = True
        listing = await self._rest.get_until_answered(
            instruments_path(self._venue), on_failure=self._note
        )
        if self._closed:
            raise ExchangeUnavailable("the feed was closed while it started")
        table, _ = symbol_table(self._venue, listing)
        for symbol in self._config.symbols:
            if symbol not in table:
                near = difflib.get_close_matches(symbol, table, n=1, cutoff=0.5)
                hint = f"; did you mean {near[0]}?" if near else ""
                exchange = self._config.exchange
                raise UsageError(f"symbol {symbol} is not traded on {exchange}{hint}")
        self._keys = {symbol: table[symbol] for symbol in self._config.symbols}
        self._connect(listing)

    async def history(self, limit: int) -> pa.Table:
        """The last `limit` closed bars of every symbol, origin `history`, by (ts_event, symbol).

        For warming up: take it after `start`; bars that close later come through `batches`, and
        the first repair covers `repair_bars` bars, so that no bar falls between the two.

        Raises:
            UsageError: if the feed was not started, or limit < 1.
        """
        if self._repair is None or limit < 1:
            raise UsageError(f"history needs a started feed and limit >= 1, limit was {limit}")
        return await self._repair.history(limit, self._keys)

    async def batches(self) -> AsyncIterator[MarketBatch]:
        """Batches as they come, until `close`. One consumer."""
        while (batch := await self._outbox.get()) is not None:
            yield batch

    def health(self) -> FeedHealth:
        """Counters and the state of every stream, now."""
        connected = sum(socket.connected for socket in self._sockets)
        if self._closed:
            state = FeedState.CLOSED
        elif not self._sockets or not any(socket.received for socket in self._sockets):
            state = FeedState.STARTING
        else:
            up = connected == len(self._sockets)
            state = FeedState.LIVE if up else FeedState.RECONNECTING
        sink, outbox, repair = self._sink, self._outbox, self._repair
        return FeedHealth(
            source=self._source,
            state=state,
            detail=self._detail,
            ts_exchange=sink.latest,
            connections=len(self._sockets),
            connected=connected,
            reconnects=sum(socket.losses for socket in self._sockets),
            messages=sum(socket.received for socket in self._sockets),
            batches=outbox.seq,
            rows=outbox.rows_sent,
            queue_depth=outbox.depth,
            queue_limit=self._config.queue_batches,
            blocked_s=outbox.blocked_ns / NS_PER_S,
            malformed=sink.malformed,
            duplicates=sink.duplicates,
            dropped=0,
            gaps=sink.gaps,
            resyncs=self._resyncs,
            bars_repaired=repair.repaired if repair else 0,
            bars_missing=repair.missing if repair else 0,
            request_failures=self._rest.failures,
            streams=tuple(stream.health() for stream in self._streams),
        )

    async def close(self) -> None:
        """Disconnect, send what is pending, end `batches`. Idempotent."""
        if self._closed:
            return
        self._closed = True
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._rest.close()
        for conn in self._conns:
            atexit.unregister(conn.__del__)  # cryptofeed would keep it until the process ends
        if self._repair is not None:
            self._repair.close()
        self._outbox.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # ---- what sockets tell (SocketOwner) ------------------------------------------------------

    def opened(self, socket: FeedSocket) -> None:
        """Subscribed, nothing read yet: repair bars first, fetch books, the rest is live."""
        assert self._repair is not None
        self._sink.restart()
        self._repair.connected()
        self._repair.want([s.symbol for s in socket.streams if s.channel == "bars"], hold=True)
        for stream in socket.streams:
            stream.seen, stream.silent_ns = stream.events, 0
            if stream.channel == "books":
                self._loader.load(stream)
            else:
                self._sink.live(stream)

    def began(self, socket: FeedSocket) -> None:
        """The first message tells the exchange's time."""
        assert self._repair is not None
        self._repair.began()

    def lost(self, socket: FeedSocket, reason: str, delay_s: float) -> None:
        """Nothing that comes from this socket is current any more."""
        self._detail = f"connection lost: {reason}"
        for stream in socket.streams:
            if stream.channel == "books":
                self._loader.forget(stream)
            self._sink.stale(stream, f"disconnected: {reason}")

    def refused(self, error: DataError) -> None:
        """Count it; log the first, then ever more rarely."""
        self._sink.malformed += 1
        count = self._sink.malformed
        if count & (count - 1) == 0:
            log.warning("message refused", error=str(error), count=count)

    # ---- what the sink tells (Owner) ----------------------------------------------------------

    def book_lost(self, stream: Stream) -> None:
        """A gap in one symbol's book: load that one anew."""
        self._resyncs += 1
        self._loader.load(stream)

    def bars_wanted(self, symbol: str) -> None:
        """A hole in one symbol's bars."""
        assert self._repair is not None
        self._repair.want([symbol], hold=True)

    def burst_ended_soon(self) -> None:
        """Let the batch leave once what has arrived together is parsed: bars close together."""
        if not self._flush_soon:
            self._flush_soon = True
            asyncio.get_running_loop().call_soon(self._flush_now)

    # ---- inside -------------------------------------------------------------------------------

    def _flush_now(self) -> None:
        self._flush_soon = False
        self._outbox.flush()

    def _connect(self, listing: Any) -> None:
        config = self._config
        feed = build_feed(self._venue, config, listing)
        parser = self._venue.parser(self._sink, self._interval_ns)
        canonical = {key: symbol for symbol, key in self._keys.items()}
        self._conns = [feed.http_conn]
        for conn, *_ in feed.connect():
            streams = []
            for name in streams_of(conn.address):
                key, kind = split_name(name)
                stream = Stream(canonical[key], KINDS[kind], key)
                parser.add(name, stream)
                streams.append(stream)
            self._conns.append(conn)
            self._streams += streams
            self._sockets.append(
                FeedSocket(
                    conn,
                    feed,
                    streams,
                    owner=self,
                    on_message=parser.on_message,
                    outbox=self._outbox,
                    backoff=Backoff(config.backoff_base_s, config.backoff_cap_s, self._rng),
                    stable_s=config.backoff_cap_s,
                    tls=self._trust.context,
                    clock=self._clock,
                )
            )
        self._repair = BarRepair(
            venue=self._venue,
            config=config,
            interval_ns=self._interval_ns,
            rest=self._rest,
            keeper=self._keeper,
            sink=self._sink,
            outbox=self._outbox,
            streams={s.symbol: s for s in self._streams if s.channel == "bars"},
            clock=self._clock,
            rng=self._rng,
            note=self._note,
        )
        self._spawn(self._repair.run(), "bar repair")
        watch = Watch(config, self._sockets, self._sink, self._keeper, self._repair, self._clock)
        self._spawn(watch.run(), "watch")
        for socket in self._sockets:
            self._spawn(socket.run(), "socket")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=f"feed {self._source} {name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("feed failed", task=task.get_name(), error=repr(error))
            self._outbox.fail(error)

    def _note(self, error: Exception, delay_s: float) -> None:
        self._detail = str(error)
        failures = self._rest.failures
        if failures & (failures - 1) == 0:
            log.warning("request failed", error=str(error), failures=failures)
