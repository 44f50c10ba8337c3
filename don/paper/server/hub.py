"""Who listens to which stream, and the bytes on their way out. I/O: writes to sockets, never waits.

A message is framed once for all its readers and appended to each reader's outgoing bytes; `flush`
hands them to the sockets, one write a reader. Nothing here awaits, so state changes and what is
published about them stay one step. A reader that lets its socket buffer grow over the limit is cut
off, as exchanges do: memory stays bounded.
"""

import asyncio
from collections.abc import Callable, Iterable

import structlog

_TEXT = 0x81  # FIN, text frame

_log = structlog.get_logger(__name__)


def frame(payload: bytes) -> bytes:
    """One unmasked WebSocket text frame (RFC 6455, 5.2), as a server sends it."""
    size = len(payload)
    if size < 126:
        return bytes((_TEXT, size)) + payload
    if size < 65_536:
        return bytes((_TEXT, 126)) + size.to_bytes(2) + payload
    return bytes((_TEXT, 127)) + size.to_bytes(8) + payload


class Connection:
    """One WebSocket of a client and what is still to be written to it."""

    def __init__(self, transport: asyncio.Transport, *, combined: bool, limit: int) -> None:
        self.combined = combined  # messages are wrapped as {"stream": ..., "data": ...}
        self.streams: set[str] = set()
        self.cut = False
        self._transport = transport
        self._limit = limit
        self._out: list[bytes] = []

    def push(self, framed: bytes) -> None:
        """Append a framed message."""
        self._out.append(framed)

    def backlog(self) -> int:
        """Bytes that the client has not taken yet."""
        return 0 if self._transport.is_closing() else self._transport.get_write_buffer_size()

    def flush(self) -> bool:
        """Write what was pushed; False if the client was cut off for being slow, or is gone."""
        data = b"".join(self._out)
        self._out.clear()
        if self.cut or self._transport.is_closing():
            return False
        if self.backlog() > self._limit:
            self.abort("its buffer is over the limit")
            return False
        self._transport.write(data)
        return True

    def abort(self, why: str) -> None:
        """Cut the client off at once."""
        _log.warning("stream client cut off", reason=why, behind=self.backlog())
        self.cut = True
        self._transport.abort()


class Hub:
    """Readers by stream name. Listen keys of the user-data stream are stream names too."""

    def __init__(self) -> None:
        self._readers: dict[str, dict[Connection, None]] = {}
        self._dirty: dict[Connection, None] = {}
        self.on_change: Callable[[], None] = lambda: None  # the set of streams may have changed
        self.sent = 0  # messages handed to sockets

    @property
    def streams(self) -> set[str]:
        """Streams that somebody reads."""
        return set(self._readers)

    def connections(self) -> set[Connection]:
        """All clients that read something."""
        return {c for readers in self._readers.values() for c in readers}

    def subscribe(self, connection: Connection, names: Iterable[str]) -> None:
        """Send these streams to the client from now on; a repeat changes nothing."""
        for name in names:
            connection.streams.add(name)
            self._readers.setdefault(name, {})[connection] = None
        self.on_change()

    def unsubscribe(self, connection: Connection, names: Iterable[str]) -> None:
        """Stop sending these streams to the client."""
        for name in list(names):
            connection.streams.discard(name)
            readers = self._readers.get(name, {})
            readers.pop(connection, None)
            if not readers:
                self._readers.pop(name, None)
        self.on_change()

    def drop(self, connection: Connection) -> None:
        """Forget a client."""
        self._dirty.pop(connection, None)
        self.unsubscribe(connection, connection.streams)

    def forget(self, name: str) -> None:
        """Take a stream from all its readers."""
        for connection in list(self._readers.get(name, ())):
            self.unsubscribe(connection, [name])

    def publish(self, name: str, payload: bytes) -> None:
        """Queue a message for all readers of a stream; it leaves with the next `flush`."""
        readers = self._readers.get(name)
        if not readers:
            return
        plain = wrapped = b""
        for connection in readers:
            if connection.combined:
                wrapped = wrapped or frame(b'{"stream":"%b","data":%b}' % (name.encode(), payload))
                connection.push(wrapped)
            else:
                plain = plain or frame(payload)
                connection.push(plain)
            self._dirty[connection] = None
            self.sent += 1

    def flush(self) -> None:
        """Write everything that was published, one write a client."""
        dirty, self._dirty = self._dirty, {}
        for connection in dirty:
            if not connection.flush():
                self.drop(connection)

    def backlog(self) -> int:
        """Bytes that the slowest client has not taken yet."""
        return max((c.backlog() for c in self.connections()), default=0)

    def cut_slowest(self, over: int, why: str) -> None:
        """Cut off every client with more than `over` bytes outstanding."""
        for connection in self.connections():
            if connection.backlog() > over:
                connection.abort(why)
                self.drop(connection)
