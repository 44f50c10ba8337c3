"""Recordings of real exchanges, served again: REST over HTTP, streams over TLS WebSocket.

The recordings are cryptofeed's own raw collections (`EXCHANGE.0`: listings and the subscription,
`EXCHANGE.http.*`: snapshots, `EXCHANGE.ws.*`: connections). All connections of a recording are
merged by time and played as fast as the client reads.
"""

import ast
import asyncio
import json
import ssl
from collections import defaultdict
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from aiohttp import WSMsgType, web
from support.fault_exchange import make_certificate
from support.ports import free_port

FOLDER = Path(__file__).parents[2].parent / "shared" / "data" / "raw" / "cryptofeed"
OURS = {
    "trades": "trades",
    "ticker": "quotes",
    "l2_book": "books",
    "candles": "bars",
}


def _key(url: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    parts = urlsplit(url)
    return parts.path, tuple(sorted(parse_qsl(parts.query)))


class Recording:
    """What was recorded of one exchange."""

    def __init__(self, exchange: str, folder: Path = FOLDER) -> None:
        self.exchange = exchange
        self.subscription: dict[str, list[str]] = {}
        self.answers: dict[tuple, list[str]] = defaultdict(list)  # in the order of requests
        self.listings: list[str] = []  # those of instruments, in the order of requests
        self.messages: list[str | bytes] = []  # what the exchange sent, by time
        for path in sorted(folder.glob(f"{exchange}.*")):
            rest = path.name.removeprefix(f"{exchange}.")
            if rest.startswith("ws."):
                continue
            for line in path.read_text(encoding="utf-8").splitlines():
                if line.startswith("configuration: "):
                    self.subscription = json.loads(line.split(": ", 1)[1])
                elif line.startswith("http"):
                    url, _, body = line.partition(" -> ")
                    answer = body.split(": ", 1)[1].split(" header: ")[0]
                    self.answers[_key(url)].append(answer)
                    if not rest.startswith("http."):
                        self.listings.append(answer)
        timed: list[tuple[float, int, str | bytes]] = []
        for path in sorted(folder.glob(f"{exchange}.ws.*")):
            for line in path.read_text(encoding="utf-8").splitlines():
                if line and not line.startswith(("wss", "http")):
                    stamp, _, text = line.partition(": ")
                    timed.append((float(stamp), len(timed), _frame(text)))
        self.messages = [message for _, _, message in sorted(timed, key=lambda row: row[:2])]

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(OURS[name] for name in self.subscription)

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(s for names in self.subscription.values() for s in names))


def _frame(text: str) -> str | bytes:
    if text.startswith(("b'", 'b"')):
        return ast.literal_eval(text)
    return text


class RecordedExchange:
    """Serves one recording. The streams are played `plays` times, to the first clients."""

    def __init__(
        self, recording: Recording, folder: Path, *, speaks_first: bool = False, plays: int = 1
    ) -> None:
        self.plays = plays
        self.recording = recording
        self.folder = folder
        self.speaks_first = speaks_first  # subscriptions are in the address, no frame comes
        self.rest_port, self.ws_port = free_port(), free_port()
        self.sent = 0
        self.received: list[str] = []
        self.unknown: list[str] = []  # requests that were not recorded
        self.played = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        self._asked: dict[tuple, int] = defaultdict(int)
        self._runners: list[web.AppRunner] = []
        self.clients: list[web.WebSocketResponse] = []

    async def say(self, *messages: str | bytes) -> None:
        """Send to everybody who is connected."""
        for ws in self.clients:
            for message in messages:
                await (ws.send_bytes if isinstance(message, bytes) else ws.send_str)(message)

    async def start(self) -> None:
        cert, key = make_certificate(self.folder)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(cert, key)
        rest, stream = web.Application(), web.Application()
        rest.router.add_route("*", "/{path:.*}", self._answer)
        stream.router.add_get("/{path:.*}", self._stream)
        for app, port, context in ((rest, self.rest_port, None), (stream, self.ws_port, tls)):
            runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
            self._runners.append(runner)

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.rest_port}"

    @property
    def ws_url(self) -> str:
        return f"wss://localhost:{self.ws_port}"

    async def _answer(self, request: web.Request) -> web.Response:
        key = (request.path, tuple(sorted(parse_qsl(request.query_string))))
        bodies = self.recording.answers.get(key)
        if bodies is None and request.path.endswith("/klines"):
            return web.json_response([])
        if bodies is None and self.recording.listings:
            # Some classes ask under another address today: answers in the recorded order, as in
            # cryptofeed's own playback.
            bodies = [self.recording.listings.pop(0)]
        if bodies is None:
            self.unknown.append(f"{request.path}?{request.query_string}")
            return web.json_response({"code": -1, "msg": "not recorded"}, status=404)
        if bodies[0] in self.recording.listings:
            self.recording.listings.remove(bodies[0])
        number = min(self._asked[key], len(bodies) - 1)
        self._asked[key] += 1
        return web.Response(text=bodies[number], content_type="application/json")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        if not self.speaks_first:
            first = await ws.receive()
            if first.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return ws
            self.received.append(str(first.data))
        reader = asyncio.create_task(self._drain(ws))
        self.clients.append(ws)
        try:
            await self.go.wait()
            if self.plays > 0:
                self.plays -= 1
                for message in self.recording.messages:
                    if isinstance(message, bytes):
                        await ws.send_bytes(message)
                    else:
                        await ws.send_str(message)
                    self.sent += 1
                if self.plays == 0:
                    self.played.set()
            await reader
        finally:
            reader.cancel()
            self.clients.remove(ws)
        return ws

    async def _drain(self, ws: web.WebSocketResponse) -> None:
        async for message in ws:
            self.received.append(str(message.data))
