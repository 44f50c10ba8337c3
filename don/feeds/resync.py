"""Snapshots of order books: at each connection, and after a gap for the one symbol that has it."""

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from don.clock import Clock
from don.errors import DataError, ExchangeRefused
from don.feeds.backoff import Backoff
from don.feeds.binance import parse_snapshot, snapshot_limit
from don.feeds.config import FeedConfig
from don.feeds.health import Stream
from don.feeds.outbox import Outbox
from don.feeds.rest import RestClient
from don.feeds.sink import Sink
from don.feeds.venues import Fast
from don.market.book import BookSync


class BookLoader:
    """Loads books one task a symbol; diffs go on being buffered in the symbol's `BookSync`."""

    def __init__(
        self,
        *,
        fast: Fast,
        config: FeedConfig,
        rest: RestClient,
        books: dict[str, BookSync],
        sink: Sink,
        outbox: Outbox,
        clock: Clock,
        rng: Random,
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        note: Callable[[Exception, float], None],
    ) -> None:
        self._path = f"{fast.prefix}/depth"
        self._limit = snapshot_limit(config.depth_limit, fast.depth_limits)
        self._backoff = (config.backoff_base_s, config.backoff_cap_s)
        self._rest = rest
        self._books = books
        self._sink = sink
        self._outbox = outbox
        self._clock = clock
        self._rng = rng
        self._spawn = spawn
        self._note = note
        self._loading: dict[str, asyncio.Task[None]] = {}

    def load(self, stream: Stream) -> None:
        """Have the symbol's book loaded; does nothing if that is under way."""
        running = self._loading.get(stream.symbol)
        if running is None or running.done():
            self._loading[stream.symbol] = self._spawn(self._load(stream), f"book {stream.symbol}")

    def forget(self, stream: Stream) -> None:
        """The connection was lost: what is known of the book is worth nothing."""
        loading = self._loading.pop(stream.symbol, None)
        if loading is not None:
            loading.cancel()
        self._books[stream.symbol].reset()
        self._outbox.drop_book(stream.symbol)

    async def _load(self, stream: Stream) -> None:
        """Fetch snapshots until one fits the diffs that arrive meanwhile."""
        sync = self._books[stream.symbol]
        backoff = Backoff(*self._backoff, self._rng)
        params: dict[str, str | int] = {"symbol": stream.key, "limit": self._limit}
        while True:
            if await self._try(stream, sync, params):
                break
            await asyncio.sleep(backoff.next())
        self._sink.live(stream)
        ts_event = self._sink.exchange_now
        if ts_event and ts_event >= stream.last_event:
            self._outbox.set_book(stream.symbol, ts_event, self._clock.now_ns(), sync.book)

    async def _try(self, stream: Stream, sync: BookSync, params: dict[str, str | int]) -> bool:
        try:
            answer = await self._rest.get_until_answered(self._path, params, on_failure=self._note)
            number, bids, asks = parse_snapshot(answer)
            fits = sync.on_snapshot(number, bids, asks)
        except (ExchangeRefused, DataError) as error:
            self._note(error, 0.0)  # perhaps for this symbol only: the others go on
            return False
        if fits and self._sink.deltas_wanted:
            self._sink.snapshot(stream, self._clock.now_ns(), number, bids, asks)
        return fits
