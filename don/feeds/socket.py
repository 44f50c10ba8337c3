"""One WebSocket connection of a feed, kept up for ever: connect, read, wait, again."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, Protocol

import structlog
from cryptofeed.connection import WSAsyncConn
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from don.clock import NS_PER_S, Clock
from don.errors import DataError, DependencyError, ExchangeRefused
from don.feeds.backoff import Backoff
from don.feeds.gate import Gate
from don.feeds.health import Stream
from don.feeds.outbox import Outbox
from don.feeds.venues import Heartbeat

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
        streams: list[Stream],
        *,
        owner: SocketOwner,
        subscribe: Callable[[], Awaitable[None]],
        on_message: Callable[[Any, int], Awaitable[None] | None],
        text: bool,
        heartbeat: Heartbeat | None,
        outbox: Outbox,
        backoff: Backoff,
        gate: Gate,
        stable_s: float,
        tls: Callable[[], ssl.SSLContext],
        clock: Clock,
    ) -> None:
        self.streams = streams
        self.connected = False
        self.received = 0
        self.losses = 0  # connections that were up and went down
        self.blocked = False  # waiting for the consumer
        self.opened_ns = 0  # monotonic time at which the present connection was made
        self.began_ns = 0  # the same of its first message, 0 before
        self._conn = conn
        self._owner = owner
        self._subscribe = subscribe
        self._on_message = on_message
        self._decode = None if text else False  # None: as the frame says
        self._heartbeat = heartbeat
        self._outbox = outbox
        self._backoff = backoff
        self._gate = gate
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
            except (OSError, WebSocketException, DependencyError, ExchangeRefused) as error:
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

    async def send(self, text: str) -> None:
        """Send a message; does nothing if there is no connection: the next one begins anew."""
        ws = self._conn.conn
        if ws is not None and self.connected:
            try:
                await ws.send(text)
            except ConnectionClosed:
                log.debug("not sent, the connection is lost")

    def abort(self, reason: str) -> None:
        """Drop the connection now, without a closing handshake; `run` then makes a new one."""
        self._abort_reason = reason
        if self._conn.conn is not None:
            self._conn.conn.transport.abort()

    async def _session(self) -> str:
        """One connection from handshake to loss; returns why it ended."""
        self._abort_reason = ""
        await self._gate.enter()
        told = False
        try:
            self._conn.ws_kwargs["ssl"] = self._tls()
            async with self._conn.connect():
                self._gate.worked()
                told = True
                return await self._talk()
        except InvalidStatus:
            told = True
            self._gate.refused()
            raise
        finally:
            if not told:
                self._gate.undecided()

    async def _talk(self) -> str:
        """What a connection is for, until it is lost."""
        beat: asyncio.Task[None] | None = None
        try:
            await self._subscribe()
            self.connected = True
            self.began_ns, self.opened_ns = 0, self._clock.monotonic_ns()
            self._owner.opened(self)
            if self._heartbeat is not None:
                beat = asyncio.create_task(self._beat(self._heartbeat))
            await self._read(self._conn.conn)
        except ConnectionClosed as error:
            return self._abort_reason or str(error)
        except _Behind as error:
            self.abort(str(error))
            return str(error)
        finally:
            if beat is not None:
                beat.cancel()
            if self.connected:
                self.losses += 1
            self.connected = False
            self.blocked = False

    async def _beat(self, heartbeat: Heartbeat) -> None:
        while True:
            await asyncio.sleep(heartbeat.every_s)
            await self.send(heartbeat.send)

    async def _read(self, ws: Any) -> NoReturn:
        recv, on_message, now_ns = ws.recv, self._on_message, self._clock.now_ns
        outbox, decode = self._outbox, self._decode
        first = True
        while True:
            data = await recv(decode=decode)
            self.received += 1
            try:
                handled = on_message(data, now_ns())
                if handled is not None:
                    await handled
            except DataError as error:
                self._owner.refused(error)
            if first:
                first = False
                self.began_ns = self._clock.monotonic_ns()
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
