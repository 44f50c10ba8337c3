"""The user-data stream: listen key, socket, reconnects for ever. Does I/O.

A listen key is made for each connection and kept alive; when it expires, or the socket falls
silent, the stream goes DOWN and comes UP again on a fresh one. Delays are full-jitter and capped.
"""

import asyncio
import json
import random
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from don.clock import NS_PER_S, Clock
from don.errors import DonError
from don.exchanges.base import StreamEvent, StreamState, StreamStatus
from don.exchanges.binance_wire import Row
from don.exchanges.ccxt_client import CcxtClient, Endpoint
from don.exchanges.config import GatewayConfig
from don.exchanges.rates import Priority

_log = structlog.get_logger(__name__)

CREATE_KEY = Endpoint(name="fapiPrivatePostListenKey", weight=1)
KEEP_KEY = Endpoint(name="fapiPrivatePutListenKey", weight=1)

STABLE_S = 10.0  # a connection that lived so long was a good one: the next delay starts small again
MAX_QUEUE = (
    4_096  # messages held while the reader catches up; then the socket's sender is held back
)
MAX_BYTES = 1 << 20


class _Broken(Exception):
    """The connection has to be made anew; the text says why."""


class UserStream:
    """User-data events of one account, in the exchange's order."""

    def __init__(
        self,
        client: CcxtClient,
        config: GatewayConfig,
        clock: Clock,
        rng: random.Random,
        parse: Callable[[Row, int], list[StreamEvent]],
    ) -> None:
        self._client = client
        self._config = config
        self._clock = clock
        self._rng = rng
        self._parse = parse
        self._tls: ssl.SSLContext | None = None
        if config.ws_url.startswith("wss:"):
            cafile = str(config.ca_file) if config.ca_file is not None else None
            self._tls = ssl.create_default_context(cafile=cafile)

    async def events(self) -> AsyncGenerator[StreamEvent]:
        """Events and changes of state, for ever; ends only when the iterator is closed."""
        failures = 0
        while True:
            began = self._clock.monotonic_ns()
            try:
                async with aclosing(self._connection()) as events:
                    async for event in events:
                        yield event
                detail = "closed by the exchange"
            except (DonError, _Broken, WebSocketException, OSError, TimeoutError) as error:
                detail = f"{type(error).__name__}: {error}"
            _log.warning("user-data stream down", detail=detail, failures=failures)
            yield StreamState(status=StreamStatus.DOWN, detail=detail, ts_recv=self._clock.now_ns())
            lived_s = (self._clock.monotonic_ns() - began) / NS_PER_S
            failures = 0 if lived_s >= STABLE_S else failures + 1
            await asyncio.sleep(self._delay_s(failures))

    def _delay_s(self, failures: int) -> float:
        ceiling = self._config.reconnect_base_s * 2.0 ** min(failures, 30)
        return self._rng.random() * min(ceiling, self._config.reconnect_cap_s)

    async def _connection(self) -> AsyncGenerator[StreamEvent]:
        row = await self._client.call(CREATE_KEY, {}, Priority.CANCEL)
        key = str(row["listenKey"]) if isinstance(row, dict) and row.get("listenKey") else ""
        if not key:
            raise _Broken("the exchange gave no listen key")
        socket = await connect(
            f"{self._config.ws_url.rstrip('/')}/ws/{key}",
            ssl=self._tls,
            proxy=None,
            compression=None,
            open_timeout=self._config.request_timeout_s,
            ping_interval=self._config.ping_s,
            ping_timeout=self._config.ping_s,
            close_timeout=1.0,
            max_queue=MAX_QUEUE,
            max_size=MAX_BYTES,
        )
        keeper = asyncio.create_task(self._keep_alive(socket), name="listen-key")
        try:
            yield StreamState(status=StreamStatus.UP, detail="", ts_recv=self._clock.now_ns())
            async for raw in socket:
                for event in self._read(raw):
                    yield event
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await socket.close()

    def _read(self, raw: str | bytes) -> list[StreamEvent]:
        ts_recv = self._clock.now_ns()
        try:
            event: Any = json.loads(raw, parse_float=str)
            if event.get("e") == "listenKeyExpired":
                raise _Broken("listen key expired")
            return self._parse(event, ts_recv)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            # an event that cannot be read may have been a fill: polling after the reconnect tells
            raise _Broken(f"event not understood: {error!r}") from error

    async def _keep_alive(self, socket: ClientConnection) -> None:
        while True:
            await asyncio.sleep(self._config.keepalive_s)
            try:
                await self._client.call(KEEP_KEY, {}, Priority.CANCEL)
            except DonError as error:
                _log.warning("listen key not kept alive, reconnecting", error=str(error))
                await socket.close()
                return
