"""The parts of a feed and what they tell each other; `LiveFeed` is its public face."""

import asyncio
import difflib
from collections.abc import Coroutine
from random import Random
from typing import Any

import structlog

from don.clock import NS_PER_S, Clock, interval_ns
from don.errors import ConfigError, DataError, ExchangeUnavailable, UsageError
from don.feeds.adapter import Adapter
from don.feeds.backoff import Backoff
from don.feeds.bars import BarKeeper
from don.feeds.binance import KINDS, BinanceParser, split_name, streams_of
from don.feeds.builder import FeedBuilder, Pair, Subscribed
from don.feeds.config import FeedConfig
from don.feeds.copies import Copies
from don.feeds.foreign_log import forward
from don.feeds.gate import Gate, gate_of
from don.feeds.health import FeedHealth, FeedState, Stream
from don.feeds.http import RestPool, secure
from don.feeds.outbox import Outbox
from don.feeds.pace import Pace
from don.feeds.pool import Copy, Lane, Pool
from don.feeds.repair import BarRepair
from don.feeds.rest import RestClient
from don.feeds.rest_parts import connect_rest
from don.feeds.resubscribe import Resubscriber
from don.feeds.resync import BookLoader
from don.feeds.sink import Sink
from don.feeds.socket import FeedSocket
from don.feeds.tls import Trust
from don.feeds.trade_repair import TradeRepair
from don.feeds.trades import Hole
from don.feeds.venues import venue_of
from don.feeds.watch import Watch
from don.market.book import BookSync

log = structlog.get_logger(__name__)


class Core:
    """Builds the parts of one feed, connects them, and acts on what sockets and sink find."""

    def __init__(
        self,
        config: FeedConfig,
        clock: Clock,
        source: str,
        *,
        rng: Random | None = None,
        gate: Gate | None = None,
        pace: Pace | None = None,
    ) -> None:
        if not config.symbols:
            raise ConfigError("feed symbols must name at least one symbol, was empty")
        self.config = config
        self.clock = clock
        self.source = source
        self.rng = rng if rng is not None else Random()
        self._pace = pace
        self.venue = venue_of(config.exchange)
        offered = self.venue.channels
        if unknown := [c for c in config.channels if c not in offered]:
            raise ConfigError(
                f"feed channels must be among {', '.join(offered)} on {config.exchange}, "
                f"were also {', '.join(unknown)}"
            )
        self.interval_ns = interval_ns(config.interval)
        self.outbox = Outbox(
            source,
            max_rows=config.batch_rows,
            max_age_s=config.batch_age_ms / 1000,
            max_batches=config.queue_batches,
            hold_rows=config.hold_rows,
            monotonic_ns=clock.monotonic_ns,
        )
        has_bars = "bars" in config.channels
        self.keeper = BarKeeper(config.symbols if has_bars else (), self.interval_ns)
        self.books: dict[str, BookSync] = {}
        fast = self.venue.fast
        if fast is not None and "books" in config.channels:
            self.books = {symbol: BookSync(fast.rule) for symbol in config.symbols}
        late_ns = int(config.late_s * NS_PER_S)
        self.sink = Sink(self.outbox, self.keeper, self.books, self, clock.now_ns, late_ns)
        self.sink.deltas_wanted = "book_deltas" in config.channels
        self._trust = Trust(config.ca_file)
        self.requests = RestPool(
            config.rest_url,
            self._client,
            self.note,
            (config.backoff_base_s, config.backoff_cap_s),
            self.rng,
        )
        self.builder = FeedBuilder(self.venue, config, self.requests)
        self.gate = gate if gate is not None else gate_of(config, clock, self.rng)
        self.copies = Copies()
        self.pool = Pool(
            self.builder,
            config,
            self.venue.life_s,
            make=self._make,
            left=self._left,
            spawn=self.spawn,
            clock=clock,
            rng=self.rng,
        )
        self.foreign = Resubscriber(
            self.venue,
            config,
            pool=lambda: self.pool,
            sink=self.sink,
            outbox=self.outbox,
            copies=self.copies,
            clock=clock,
            rng=self.rng,
            spawn=self.spawn,
        )
        self._parser = BinanceParser(self.sink, self.interval_ns, self.copies)
        self.streams: dict[Pair, Stream] = {}
        self.keys: dict[str, str] = {}  # canonical -> exchange symbol
        self._loader: BookLoader | None = None
        self.repair: BarRepair | None = None
        self.trades: TradeRepair | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self._flush_soon = False
        self._started = False
        self.closed = False
        self.detail = ""
        self.resyncs = 0

    # ---- life -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Learn the instruments, build the connections, open them; as `LiveFeed.start`."""
        table = await self.builder.symbols()
        if self.closed:
            raise ExchangeUnavailable("the feed was closed while it started")
        for symbol in self.config.symbols:
            if symbol not in table:
                near = difflib.get_close_matches(symbol, table, n=1, cutoff=0.5)
                hint = f"; did you mean {near[0]}?" if near else ""
                exchange = self.config.exchange
                raise UsageError(f"symbol {symbol} is not traded on {exchange}{hint}")
        forward()
        self.keys = {symbol: table[symbol] for symbol in self.config.symbols}
        await self.pool.start(self.add_streams)
        if self.closed:
            raise ExchangeUnavailable("the feed was closed while it started")
        self._connect()

    async def close(self) -> None:
        """End all tasks and connections, send what is pending. Idempotent."""
        if self.closed:
            return
        self.closed = True
        tasks = [*self.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.requests.close()
        self.pool.forget()
        if self.repair is not None:
            self.repair.close()
        self.outbox.close()

    def health(self) -> FeedHealth:
        """Counters and the state of every stream."""
        sockets = self.pool.sockets
        connected = sum(socket.connected for socket in sockets)
        if self.closed:
            state = FeedState.CLOSED
        elif not self.pool.received:
            state = FeedState.STARTING
        else:
            state = FeedState.LIVE if connected == len(sockets) else FeedState.RECONNECTING
        gate = self.gate.health()
        sink, outbox, repair = self.sink, self.outbox, self.repair
        return FeedHealth(
            source=self.source,
            state=state,
            detail=self.detail,
            ts_exchange=sink.latest,
            connections=len(sockets),
            connected=connected,
            reconnects=self.pool.losses,
            messages=self.pool.received,
            batches=outbox.seq,
            rows=outbox.rows_sent,
            queue_depth=outbox.depth,
            queue_limit=self.config.queue_batches,
            blocked_s=outbox.blocked_ns / NS_PER_S,
            malformed=sink.malformed,
            duplicates=sink.duplicates + self.copies.repeats,
            dropped=0,
            gaps=sink.gaps,
            resyncs=self.resyncs + self.foreign.resyncs,
            bars_repaired=repair.repaired if repair else 0,
            bars_missing=repair.missing if repair else 0,
            request_failures=self.requests.failures,
            trades_repaired=self.trades.repaired if self.trades else 0,
            rotations=self.pool.rotations,
            breaker=str(gate.state),
            breaker_pause_s=gate.pause_s,
            streams=tuple(stream.health() for stream in self.streams.values()),
        )

    # ---- what sockets tell (SocketOwner) ------------------------------------------------------

    def opened(self, socket: FeedSocket) -> None:
        """Subscribed, nothing read yet: repair bars first, fetch books; the rest events tell."""
        lane = self.pool.lane_of(socket)
        for stream in lane.streams:
            stream.seen, stream.silent_ns = stream.events, 0
        if lane.connected > 1:
            return  # another connection has brought all of it
        if self.venue.fast is None:
            self.sink.subscribed(lane.streams, given=False)
            return
        self.sink.restart()
        if self.repair is not None:
            self.repair.connected()
            self.repair.want([s.symbol for s in lane.streams if s.channel == "bars"], hold=True)
        self.sink.subscribed([s for s in lane.streams if s.channel != "books"])
        if self._loader is not None:
            for stream in (s for s in lane.streams if s.channel == "books"):
                self._loader.load(stream)

    def began(self, socket: FeedSocket) -> None:
        """The first message tells the exchange's time."""
        if self.repair is not None:
            self.repair.began()

    def lost(self, socket: FeedSocket, reason: str, delay_s: float) -> None:
        """Nothing that comes from this socket is current any more."""
        self.detail = f"connection lost: {reason}"
        lane = self.pool.lane_of(socket)
        for copy in lane.copies:
            if copy.socket is socket:
                self._left(copy)
        if lane.connected:
            return  # another connection of the lane goes on
        for stream in lane.streams:
            if stream.channel == "books":
                if self._loader is not None:
                    self._loader.forget(stream)
                self.outbox.drop_book(stream.symbol)
            self.sink.stale(stream, f"disconnected: {reason}")

    def refused(self, error: DataError) -> None:
        """Count it; log the first, then ever more rarely."""
        self.sink.malformed += 1
        count = self.sink.malformed
        if count & (count - 1) == 0:
            log.warning("message refused", error=str(error), count=count)

    # ---- what the sink tells (Owner) ----------------------------------------------------------

    def book_lost(self, stream: Stream) -> None:
        """A gap in one symbol's book: load that one anew."""
        self.resyncs += 1
        assert self._loader is not None
        self._loader.load(stream)

    def bars_wanted(self, symbol: str) -> None:
        """A hole in one symbol's bars."""
        if self.repair is not None:
            self.repair.want([symbol], hold=True)
            return
        stream = self.streams["bars", symbol]
        self.sink.gap(stream, f"bars after {stream.last_event} missing: no REST to repair them")

    def trades_missed(self, stream: Stream, hole: Hole) -> None:
        """A hole in one symbol's trade ids."""
        assert self.trades is not None
        self.trades.missed(stream, hole)

    def burst_ended_soon(self) -> None:
        """Let the batch leave once what has arrived together is parsed: bars close together."""
        if self.config.bars_at_once and not self._flush_soon:
            self._flush_soon = True
            asyncio.get_running_loop().call_soon(self._flush_now)

    # ---- inside -------------------------------------------------------------------------------

    def _flush_now(self) -> None:
        self._flush_soon = False
        self.outbox.flush()

    def _client(self, base_url: str) -> RestClient:
        return RestClient(
            base_url,
            timeout_s=self.config.request_timeout_s,
            max_requests=self.config.max_requests,
            backoff=(self.config.backoff_base_s, self.config.backoff_cap_s),
            rng=self.rng,
            tls=lambda: secure(base_url, self._trust.context),
            pace=self._pace,
        )

    def add_streams(self, pairs: tuple[Pair, ...]) -> list[Stream]:
        """Make the records of subscriptions."""
        made = []
        for channel, symbol in pairs:
            stream = Stream(symbol, channel, self.keys[symbol])
            self.streams[channel, symbol] = stream
            made.append(stream)
        return made

    def _make(self, lane: Lane, part: Subscribed) -> Copy:
        config, fast = self.config, self.venue.fast
        adapter: Adapter | None = None
        if fast is not None:
            for name in streams_of(part.conn.address):
                key, kind = split_name(name)
                stream = next(s for s in lane.streams if s.key == key and s.channel == KINDS[kind])
                self._parser.add(name, stream)
        else:
            adapter = Adapter(
                part,
                self.venue,
                self.streams,
                self.sink,
                interval_ns=self.interval_ns,
                copies=self.copies,
                lost=lambda stream, why: self.foreign.lost(copy, stream, why),
                deltas=self.sink.deltas_wanted,
            )
        socket = FeedSocket(
            part.conn,
            lane.streams,
            owner=self,
            subscribe=_nothing if adapter is None else adapter.subscribe,
            on_message=self._parser.on_message if adapter is None else adapter.on_message,
            text=adapter is not None,
            heartbeat=self.venue.heartbeat,
            outbox=self.outbox,
            backoff=Backoff(config.backoff_base_s, config.backoff_cap_s, self.rng),
            gate=self.gate,
            stable_s=config.backoff_cap_s,
            tls=self._trust.context,
            clock=self.clock,
        )
        copy = Copy(part, socket, adapter)
        return copy

    def _left(self, copy: Copy) -> None:
        if copy.adapter is not None:
            for stream in copy.adapter.streams:
                self.copies.gone(stream, copy.adapter)

    def _connect(self) -> None:
        config, fast, clock = self.config, self.venue.fast, self.clock
        rest, _ = self.requests.at(str(self.venue.feed.rest_endpoints[0].address))
        self.trades = TradeRepair(
            fast,
            config,
            rest=rest,
            keepers=self.sink.trades,
            sink=self.sink,
            outbox=self.outbox,
            clock=clock,
            spawn=self.spawn,
            note=self.note,
        )
        if fast is not None:
            parts = connect_rest(self, fast, rest)
            self._loader, self.repair = parts.loader, parts.repair
        watch = Watch(config, self.pool, self.sink, self.keeper, self.repair, clock, self.streams)
        self.spawn(watch.run(), "watch")
        self.pool.run()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a task of the feed; if it fails, the feed does."""
        task = asyncio.create_task(work, name=f"feed {self.source} {name}")
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("feed failed", task=task.get_name(), error=repr(error))
            self.outbox.fail(error)

    def note(self, error: Exception, delay_s: float) -> None:
        """A request failed and is made again."""
        self.detail = str(error)
        failures = self.requests.failures
        if failures & (failures - 1) == 0:
            log.warning("request failed", error=str(error), failures=failures)


async def _nothing() -> None:
    """The fast path subscribes by the address."""
