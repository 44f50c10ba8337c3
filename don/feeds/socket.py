"""One WebSocket connection of a feed, kept up for ever: connect, read, wait, again."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import structlog
from cryptofeed.connection import WSAsyncConn
from cryptofeed.feed import Feed
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from don.clock import NS_PER_S, Clock
from don.errors import DataError
from don.feeds.backoff import Backoff
from don.feeds.health import Stream
from don.feeds.outbox import Outbox

log = structlog.get_logger(__name__)


class SocketOwner(Protocol):
    """Who is told what happens to a socket."""

    def opened(self, socket: "FeedSocket") -> None:
        """Connected and subscribed; nothing has been read yet."""

    def began(self, socket: "FeedSocket") -> None:
        """The first message of this connection has been handled."""

    def lost(self, socket: "FeedSocket", reason: str, delay_s: float) -> None:
        """Not connected; the next try comes after `delay_s`."""

    def refused(self, error: DataError) -> None:
        """A message was not understood; reading goes on."""


MAX_BLOCKED_S = 2.0


class _Behind(Exception):
    """The socket was not read for too long."""


class FeedSocket:
    """Replaces cryptofeed's connection handler, which gives up or doubles its delay without cap.

    The delay starts small again only after a connection that brought messages for `stable_s`: an
    exchange that accepts and hangs up at once is not stormed.
    """

    def __init__(
        self,
        conn: WSAsyncConn,
        feed: Feed,
        streams: list[Stream],
        *,
        owner: SocketOwner,
        on_message: Callable[[bytes, int], None],
        outbox: Outbox,
        backoff: Backoff,
        stable_s: float,
        tls: Callable[[], ssl.SSLContext],
        clock: Clock,
    ) -> None:
        self.streams = streams
        self.connected = False
        self.received = 0
        self.losses = 0  # connections that were up and went down
        self.blocked = False  # waiting for the consumer
        self._conn = conn
        self._feed = feed
        self._owner = owner
        self._on_message = on_message
        self._outbox = outbox
        self._backoff = backoff
        self._stable_ns = int(stable_s * NS_PER_S)
        self._tls = tls
        self._clock = clock
        self._abort_reason = ""

    async def run(self) -> None:
        """Keep the connection up until cancelled."""
        while True:
            received, since_ns = self.received, self._clock.monotonic_ns()
            hint_s = 0.0
            try:
                reason = await self._session()
            except InvalidStatus as error:
                reason, hint_s = f"refused with status {error.response.status_code}", _hint(error)
            except (OSError, WebSocketException) as error:
                reason = str(error) or type(error).__name__
            up_ns = self._clock.monotonic_ns() - since_ns
            if self.received > received and up_ns >= self._stable_ns:
                self._backoff.reset()
            delay_s = self._backoff.next(at_least_s=hint_s)
            tries = self._backoff.tries
            if tries & (tries - 1) == 0:  # the first, then ever more rarely
                log.warning("feed not connected", reason=reason, tries=tries)
            self._owner.lost(self, reason, delay_s)
            await asyncio.sleep(delay_s)

    def abort(self, reason: str) -> None:
        """Drop the connection now, without a closing handshake; `run` then makes a new one."""
        self._abort_reason = reason
        if self._conn.conn is not None:
            self._conn.conn.transport.abort()

    async def _session(self) -> str:
        """One connection from handshake to loss; returns why it ended."""
        self._abort_reason = ""
        self._conn.ws_kwargs["ssl"] = self._tls()
        async with self._conn.connect():
            await self._feed.authenticate(self._conn)
            await self._feed.subscribe(self._conn)
            self.connected = True
            self._owner.opened(self)
            try:
                await self._read(self._conn.conn)
            except ConnectionClosed as error:
                return self._abort_reason or str(error)
            except _Behind as error:
                self.abort(str(error))
                return str(error)
            finally:
                if self.connected:
                    self.losses += 1
                self.connected = False
                self.blocked = False

    async def _read(self, ws: Any) -> NoReturn:
        recv, on_message, now_ns = ws.recv, self._on_message, self._clock.now_ns
        outbox = self._outbox
        first = True
        while True:
            data = await recv(decode=False)
            self.received += 1
            try:
                on_message(data, now_ns())
            except DataError as error:
                self._owner.refused(error)
            if first:
                first = False
                self._owner.began(self)
            if outbox.congested:
                self.blocked = True
                began = self._clock.monotonic_ns()
                await outbox.room()
                self.blocked = False
                waited_s = (self._clock.monotonic_ns() - began) / NS_PER_S
                if waited_s > MAX_BLOCKED_S:
                    # What lies in the buffers is as old as the wait and would pass for fresh: a
                    # new connection gives the present, and repair what was missed.
                    raise _Behind(f"the consumer was {waited_s:.1f} s behind")


def _hint(error: InvalidStatus) -> float:
    text = error.response.headers.get("Retry-After", "")
    return min(float(text), 300.0) if text.isdigit() else 0.0
