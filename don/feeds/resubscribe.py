"""One symbol's book anew on a connection that stays up, for exchanges parsed by cryptofeed.

cryptofeed answers a gap by dropping the connection, or by forgetting all its books. Here the one
symbol is unsubscribed and subscribed again, with the messages that cryptofeed itself would send.
"""

import asyncio
import copy as copying
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import structlog
from cryptofeed.feed import Feed

from don.clock import NS_PER_S, Clock
from don.feeds.backoff import Backoff
from don.feeds.config import FeedConfig
from don.feeds.copies import Copies
from don.feeds.health import Stream
from don.feeds.memory import LASTING, forget
from don.feeds.outbox import Outbox
from don.feeds.pool import Copy, Pool
from don.feeds.sink import Sink
from don.feeds.venues import Venue

log = structlog.get_logger(__name__)

WAIT_S = 10.0  # for the new snapshot
TRIES = 3  # then the connection is made anew
REST_S = 10.0  # between two losses of one book: a market that is crossed for a while is no storm
TICK_S = 0.02


class Resubscriber:
    """Acts on what adapters have lost."""

    def __init__(
        self,
        venue: Venue,
        config: FeedConfig,
        *,
        pool: Callable[[], Pool],
        sink: Sink,
        outbox: Outbox,
        copies: Copies,
        clock: Clock,
        rng: Random,
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
    ) -> None:
        self._venue = venue
        self._config = config
        self._pool = pool
        self._sink = sink
        self._outbox = outbox
        self._copies = copies
        self._clock = clock
        self._rng = rng
        self._spawn = spawn
        self._again_ns: dict[Stream, int] = {}  # when its book was last asked for
        self.resyncs = 0

    def lost(self, copy: Copy, stream: Stream | None, why: str) -> None:
        """A symbol's book, or all that the connection brings, is no longer to be believed."""
        if stream is None:
            copy.socket.abort(why)
            return
        self.resyncs += 1
        lane = self._pool().lane_of(copy.socket)
        assert copy.adapter is not None
        self._copies.gone(stream, copy.adapter)
        if not any(self._good(other, stream) for other in lane.copies if other is not copy):
            self._outbox.drop_book(stream.symbol)
            self._sink.gap(stream, why)
            self._sink.stale(stream, "resynchronising")
        if self._venue.resync is None:
            copy.socket.abort(why)
        elif self._venue.resync == "forget":
            forget(copy.part.feed, stream)  # its next message has cryptofeed ask for a snapshot
        else:
            self._spawn(self._again(copy, stream), f"book {stream.symbol}")

    @staticmethod
    def _good(copy: Copy, stream: Stream) -> bool:
        return (
            copy.socket.connected
            and copy.adapter is not None
            and stream.symbol not in copy.adapter.awaiting
        )

    async def _again(self, copy: Copy, stream: Stream) -> None:
        assert copy.adapter is not None
        backoff = Backoff(self._config.backoff_base_s, self._config.backoff_cap_s, self._rng)
        opened_ns = copy.socket.opened_ns
        asked_ns = self._again_ns.get(stream)
        if asked_ns is not None:
            passed_s = (self._clock.monotonic_ns() - asked_ns) / NS_PER_S
            await asyncio.sleep(max(0.0, REST_S - passed_s))
        self._again_ns[stream] = self._clock.monotonic_ns()
        for _ in range(TRIES):
            if copy.socket.opened_ns != opened_ns or not copy.socket.connected:
                return  # a new connection has subscribed to everything
            for text in await frames(copy.part.feed, copy.part.conn, stream):
                await copy.socket.send(text)
            waited_s = 0.0
            while waited_s < WAIT_S:
                if stream.symbol not in copy.adapter.awaiting:
                    return
                if copy.socket.opened_ns != opened_ns or not copy.socket.connected:
                    return  # a new connection has subscribed to everything
                await asyncio.sleep(TICK_S)
                waited_s += TICK_S
            await asyncio.sleep(backoff.next())
        log.warning("book does not come", symbol=stream.symbol, after_s=TRIES * WAIT_S)
        copy.socket.abort(f"the book of {stream.symbol} does not come")


class _Collector:
    """Stands for a connection while cryptofeed subscribes: keeps what it would send."""

    def __init__(self, conn: Any, subscription: dict[str, list[str]]) -> None:
        self.sent: list[str] = []
        self.subscription = subscription
        self.uuid = conn.uuid

    async def write(self, text: str) -> None:
        self.sent.append(text)


async def frames(feed: Feed, conn: Any, stream: Stream) -> list[str]:
    """What to send to have one symbol's book anew; the feed has then forgotten that book alone."""
    channel = feed.std_channel_to_exchange("l2_book")
    collector = _Collector(conn, {channel: [stream.key]})
    whole = feed.subscription
    before = {
        name: copying.copy(value)
        for name, value in vars(feed).items()
        if isinstance(value, dict) and name not in LASTING
    }
    feed.subscription = collector.subscription
    try:
        await feed.subscribe(collector)
    finally:
        feed.subscription = whole
        for name, kept in before.items():
            now = vars(feed)[name]
            now.update({k: v for k, v in kept.items() if k not in (stream.symbol, stream.key)})
    leave = [
        text.replace("subscribe", "unsubscribe").replace('"sub"', '"unsub"')
        for text in collector.sent
    ]
    return [*leave, *collector.sent]
