"""Streams over TLS WebSocket: `/stream?streams=a/b`, `/ws/a`, later subscriptions. I/O."""

import asyncio
from collections.abc import Callable, Container, Sequence
from typing import Any
from urllib.parse import parse_qs

import msgspec
import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from don.clock import NS_PER_S, Clock
from don.errors import UsageError
from don.paper.server.config import StreamConfig
from don.paper.server.hub import Connection, Hub, frame
from don.paper.server.names import parse_stream

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode
_PREFIXES = ("/public", "/market", "/private")
_MAX_COMMAND = 16 * 1024


class StreamServer:
    """Serves the streams.

    Args:
        hub: who reads what.
        symbols: the listed ones.
        is_listen_key: tells listen keys in force.
        on_market_reader: called when somebody subscribed to a market stream.
        clock: for the rate of commands.
        config: limits.
    """

    def __init__(
        self,
        hub: Hub,
        symbols: Container[str],
        is_listen_key: Callable[[str], bool],
        on_market_reader: Callable[[], None],
        clock: Clock,
        config: StreamConfig,
    ) -> None:
        self._hub = hub
        self._symbols = symbols
        self._is_listen_key = is_listen_key
        self._on_market_reader = on_market_reader
        self._clock = clock
        self._config = config
        self._open: set[web.WebSocketResponse] = set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one connection until it ends."""
        try:
            combined, names = self._requested(request)
        except UsageError as error:
            return web.json_response({"code": -1130, "msg": str(error)}, status=400)
        socket = web.WebSocketResponse(
            compress=False, heartbeat=self._config.heartbeat_s, max_msg_size=_MAX_COMMAND
        )
        await socket.prepare(request)
        transport = request.transport
        if transport is None:
            return socket  # gone already
        client = Connection(transport, combined=combined, limit=self._config.max_buffer)
        expiry = asyncio.get_running_loop().call_later(
            self._config.max_age_s, client.abort, "its day is over"
        )
        self._open.add(socket)
        try:
            self._subscribe(client, names)
            await self._listen(socket, client)
        finally:
            expiry.cancel()
            self._open.discard(socket)
            self._hub.drop(client)
        return socket

    async def close(self) -> None:
        """End all connections, telling the clients that the exchange goes away."""
        sockets = list(self._open)
        closing = (s.close(code=WSCloseCode.GOING_AWAY, message=b"stopping") for s in sockets)
        await asyncio.gather(*closing, return_exceptions=True)

    def _requested(self, request: web.BaseRequest) -> tuple[bool, list[str]]:
        """(combined, names) of a path.

        Raises:
            UsageError: if path or names are not served.
        """
        path, _, query = request.raw_path.partition("?")
        for prefix in _PREFIXES:
            path = path.removeprefix(prefix) if path.startswith(prefix + "/") else path
        if path == "/stream":
            streams = parse_qs(query).get("streams", [""])[0]
            names = [name for name in streams.split("/") if name]
            combined = True
        elif path == "/ws" or path.startswith("/ws/"):
            names = [name for name in path.removeprefix("/ws").split("/") if name]
            combined = False
        else:
            raise UsageError(f"path must be /stream?streams=... or /ws/..., was {path[:80]!r}")
        self._check(names, 0)
        return combined, names

    def _check(self, names: Sequence[str], already: int) -> None:
        if already + len(names) > self._config.max_streams:
            raise UsageError(f"a connection can have {self._config.max_streams} streams at most")
        for name in names:
            if not self._is_listen_key(name):
                parse_stream(name, self._symbols)

    def _subscribe(self, client: Connection, names: Sequence[str]) -> None:
        self._hub.subscribe(client, names)
        if any(not self._is_listen_key(name) for name in names):
            self._on_market_reader()

    async def _listen(self, socket: web.WebSocketResponse, client: Connection) -> None:
        second = count = 0
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            now = self._clock.monotonic_ns() // NS_PER_S
            second, count = (second, count + 1) if now == second else (now, 1)
            if count > self._config.max_commands_per_s:
                _log.warning("stream client cut off", reason="it sends too many commands")
                await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"Too many requests")
                return
            client.push(frame(_encode(self._obey(client, message.data))))
            client.flush()

    def _obey(self, client: Connection, text: str) -> dict[str, Any]:
        """Carry out a command; the answer to it."""
        number: Any = None
        try:
            command = msgspec.json.decode(text)
            if not isinstance(command, dict):
                raise UsageError("a command must be a JSON object")
            number = command.get("id")
            return {"result": self._result(client, command), "id": number}
        except (UsageError, msgspec.DecodeError) as error:
            return {"error": {"code": 2, "msg": f"Invalid request: {error}"}, "id": number}

    def _result(self, client: Connection, command: dict[str, Any]) -> Any:
        method, names = command.get("method"), command.get("params", [])
        if method == "LIST_SUBSCRIPTIONS":
            return sorted(client.streams)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UsageError("params must be a list of stream names")
        if method == "SUBSCRIBE":
            fresh = [name for name in names if name not in client.streams]
            self._check(fresh, len(client.streams))
            self._subscribe(client, fresh)
        elif method == "UNSUBSCRIBE":
            self._hub.unsubscribe(client, names)
        else:
            raise UsageError(
                f"method must be SUBSCRIBE, UNSUBSCRIBE or LIST_SUBSCRIPTIONS, was {method!r}"
            )
        return None
