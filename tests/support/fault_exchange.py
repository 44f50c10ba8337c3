"""A small USD-M futures exchange on loopback that misbehaves on purpose.

It speaks the streams and the REST answers that a feed needs, over real sockets (REST over HTTP,
streams over TLS WebSocket). Tests push market events into it and switch faults on and off. It keeps
the truth (bars, books), so that tests compare what a feed delivered with what happened.
"""

import asyncio
import datetime
import ipaddress
import json
import ssl
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import WSMsgType, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.ports import free_port

MINUTE_MS = 60_000
START_MS = 1_700_000_040_000  # the open of a minute


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost: (certificate, key) as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


def listing(symbols: list[str]) -> dict:
    return {
        "timezone": "UTC",
        "serverTime": START_MS,
        "rateLimits": [],
        "exchangeFilters": [],
        "assets": [],
        "symbols": [
            {
                "symbol": symbol,
                "pair": symbol,
                "contractType": "PERPETUAL",
                "status": "TRADING",
                "baseAsset": symbol[:-4],
                "quoteAsset": "USDT",
                "marginAsset": "USDT",
                "filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.10"}],
            }
            for symbol in symbols
        ],
    }


@dataclass
class Market:
    """The truth about one symbol."""

    symbol: str
    trade_id: int = 100
    update_id: int = 1000
    bids: dict[str, str] = field(default_factory=lambda: {"100.0": "1", "99.9": "2", "99.8": "3"})
    asks: dict[str, str] = field(default_factory=lambda: {"100.1": "1", "100.2": "2"})
    bars: list[list] = field(default_factory=list)  # klines rows of closed bars
    forming: list | None = None
    trades: list[dict] = field(default_factory=list)  # all there were, as REST tells them
    quotes: int = 0


class FaultExchange:
    """Runs in the test's event loop. Time (`now_ms`) stands still unless a test moves it."""

    def __init__(self, symbols: list[str], folder: Path) -> None:
        self.markets = {symbol: Market(symbol) for symbol in symbols}
        self.folder = folder
        self.rest_port, self.ws_port = free_port(), free_port()
        self.now_ms = START_MS
        self.requests: Counter[str] = Counter()  # by path
        self.asked: defaultdict[str, list[float]] = defaultdict(list)  # when, s, by path
        self.handshakes = 0
        self.sockets: dict[web.WebSocketResponse, set[str]] = {}
        self.dead: list[web.WebSocketResponse] = []  # connected, but nothing is sent to them
        self.opened: list[float] = []  # when handshakes came, s
        # faults
        self.rest_faults: dict[str, list[int]] = {}  # path's end -> statuses of the next answers
        self.retry_after: str | None = None
        self.refuse_streams = 0  # handshakes to refuse with 503
        self.muted = False  # connected but silent
        self.swallow: set[str] = set()  # streams whose messages are not sent
        self.snapshot_gate: asyncio.Event | None = None  # depth answers wait for it
        self.klines_gate: asyncio.Event | None = None
        self._runners: list[web.AppRunner] = []

    # ---- life ------------------------------------------------------------------------------

    async def start(self) -> None:
        cert, key = make_certificate(self.folder)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(cert, key)
        rest, stream = web.Application(), web.Application()
        rest.router.add_get("/fapi/v1/exchangeInfo", self._info)
        rest.router.add_get("/fapi/v1/depth", self._depth)
        rest.router.add_get("/fapi/v1/klines", self._klines)
        rest.router.add_get("/fapi/v1/aggTrades", self._agg_trades)
        rest.router.add_get("/fapi/v1/openInterest", self._open_interest)
        stream.router.add_get("/stream", self._stream)
        for app, port, context in ((rest, self.rest_port, None), (stream, self.ws_port, tls)):
            runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
            await runner.setup()
            await web.TCPSite(
                runner, "127.0.0.1", port, ssl_context=context, reuse_address=True
            ).start()
            self._runners.append(runner)

    async def stop(self) -> None:
        """Vanish: connections are cut, the ports refuse."""
        self.cut()
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    def cut(self, *which: web.WebSocketResponse) -> None:
        """Drop stream connections (default: all) without a closing handshake."""
        for ws in which or list(self.sockets):
            transport = ws._req.transport if ws._req is not None else None
            if transport is not None:
                transport.abort()
            self.sockets.pop(ws, None)

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.rest_port}"

    @property
    def ws_url(self) -> str:
        return f"wss://localhost:{self.ws_port}"

    @property
    def ca_file(self) -> Path:
        return self.folder / "cert.pem"

    # ---- the market ------------------------------------------------------------------------

    async def trade(
        self, symbol: str, price: float = 100.0, size: float = 1.0, *, lose: bool = False, **raw
    ) -> None:
        """A trade happens; with `lose` the message never leaves."""
        market = self.markets[symbol]
        market.trade_id += 1
        data = {
            "e": "aggTrade", "E": self.now_ms, "s": symbol, "a": market.trade_id,
            "p": f"{price:.2f}", "q": f"{size:.3f}", "f": 1, "l": 1, "T": self.now_ms, "m": False,
        }  # fmt: skip
        market.trades.append(data | raw)
        if not lose:
            await self.send(symbol, "aggTrade", data | raw)

    async def quote(self, symbol: str, bid: str = "100.0", ask: str = "100.1") -> None:
        self.markets[symbol].quotes += 1
        data = {
            "e": "bookTicker", "u": self.markets[symbol].quotes, "s": symbol,
            "b": bid, "B": "1.5", "a": ask, "A": "2.5", "T": self.now_ms, "E": self.now_ms,
        }  # fmt: skip
        await self.send(symbol, "bookTicker", data)

    async def diff(self, symbol: str, bids=(), asks=(), *, lose: bool = False) -> None:
        """Change the book; with `lose` the message never leaves."""
        market = self.markets[symbol]
        previous, market.update_id = market.update_id, market.update_id + 3
        for side, changes in ((market.bids, bids), (market.asks, asks)):
            for price, size in changes:
                if float(size) == 0:
                    side.pop(price, None)
                else:
                    side[price] = size
        if lose:
            return
        data = {
            "e": "depthUpdate", "E": self.now_ms, "T": self.now_ms, "s": symbol,
            "U": previous + 1, "u": market.update_id, "pu": previous,
            "b": [list(change) for change in bids], "a": [list(change) for change in asks],
        }  # fmt: skip
        await self.send(symbol, "depth", data)

    async def mark(self, symbol: str, price: str = "100.05") -> None:
        data = {
            "e": "markPriceUpdate", "E": self.now_ms, "s": symbol, "p": price, "i": price,
            "P": price, "r": "0.00010000", "T": self.now_ms + 3_600_000,
        }  # fmt: skip
        await self.send(symbol, "markPrice", data)

    async def liquidate(self, symbol: str, price: str = "99.5") -> None:
        order = {
            "s": symbol, "S": "SELL", "o": "LIMIT", "f": "IOC", "q": "0.5", "p": price,
            "ap": price, "X": "FILLED", "l": "0.5", "z": "0.5", "T": self.now_ms,
        }  # fmt: skip
        await self.send(symbol, "forceOrder", {"e": "forceOrder", "E": self.now_ms, "o": order})

    def open_bar(self, symbol: str, price: float = 100.0) -> None:
        """A bar opens at `now_ms`: REST shows it as the last row from now on."""
        row = [
            self.now_ms, f"{price}", f"{price + 1}", f"{price - 1}", f"{price}", "1.5",
            self.now_ms + MINUTE_MS - 1, "150", 7, "0.5", "50", "0",
        ]  # fmt: skip
        self.markets[symbol].forming = row

    async def close_bars(self, *symbols: str, lose: tuple[str, ...] = ()) -> int:
        """Move time a minute on and close the bars; returns their close time in ns."""
        names = symbols or tuple(self.markets)
        opened = self.now_ms
        for name in names:
            if self.markets[name].forming is None:
                self.open_bar(name, price=100.0 + (opened // MINUTE_MS) % 10)
        self.now_ms = opened + MINUTE_MS
        for name in names:
            market = self.markets[name]
            row, market.forming = market.forming, None
            market.bars.append(row)
        for name in names:
            if name not in lose:
                await self.send(name, "kline_1m", self._kline(name, self.markets[name].bars[-1]))
            self.open_bar(name, price=100.0 + (self.now_ms // MINUTE_MS) % 10)
        return self.now_ms * 1_000_000

    def bar_times(self, symbol: str) -> list[int]:
        """Close times (ns) of all closed bars."""
        return [(row[0] + MINUTE_MS) * 1_000_000 for row in self.markets[symbol].bars]

    async def send(self, symbol: str, kind: str, data: dict) -> None:
        await self.send_text(f"{symbol.lower()}@{kind}", json.dumps(data))

    async def send_text(self, stream: str, data: str) -> None:
        """Send raw text as the data of a stream; `depth` stands for the subscribed `depth@...`."""
        if self.muted or stream in self.swallow:
            return
        for ws, names in list(self.sockets.items()):
            if ws in self.dead:
                continue
            for name in names:
                if name == stream or name.startswith(f"{stream}@"):
                    try:
                        await ws.send_str(f'{{"stream":"{name}","data":{data}}}')
                    except ConnectionError:
                        self.sockets.pop(ws, None)

    # ---- answers ---------------------------------------------------------------------------

    def _kline(self, symbol: str, row: list) -> dict:
        kline = {
            "t": row[0], "T": row[6], "s": symbol, "i": "1m", "f": 1, "L": 2, "o": row[1],
            "c": row[4], "h": row[2], "l": row[3], "v": row[5], "n": row[8], "x": True,
            "q": row[7], "V": row[9], "Q": row[10], "B": "0",
        }  # fmt: skip
        return {"e": "kline", "E": self.now_ms, "s": symbol, "k": kline}

    def _fault(self, request: web.Request) -> web.Response | None:
        self.requests[request.path] += 1
        self.asked[request.path].append(asyncio.get_running_loop().time())
        for end, statuses in self.rest_faults.items():
            if request.path.endswith(end) and statuses:
                headers = {"Retry-After": self.retry_after} if self.retry_after else {}
                status = statuses.pop(0)
                return web.json_response({"code": -1, "msg": "no"}, status=status, headers=headers)
        return None

    async def _info(self, request: web.Request) -> web.Response:
        return self._fault(request) or web.json_response(listing(list(self.markets)))

    async def _depth(self, request: web.Request) -> web.Response:
        if fault := self._fault(request):
            return fault
        if self.snapshot_gate is not None:
            await self.snapshot_gate.wait()
        market = self.markets[request.query["symbol"]]
        body = {
            "lastUpdateId": market.update_id, "E": self.now_ms, "T": self.now_ms,
            "bids": sorted(market.bids.items(), key=lambda level: -float(level[0])),
            "asks": sorted(market.asks.items(), key=lambda level: float(level[0])),
        }  # fmt: skip
        return web.json_response(body)

    async def _klines(self, request: web.Request) -> web.Response:
        if fault := self._fault(request):
            return fault
        if self.klines_gate is not None:
            await self.klines_gate.wait()
        query = request.query
        market = self.markets[query["symbol"]]
        rows = [*market.bars, *([market.forming] if market.forming else [])]
        if "startTime" in query:
            rows = [row for row in rows if row[0] >= int(query["startTime"])]
        if "endTime" in query:
            rows = [row for row in rows if row[0] <= int(query["endTime"])]
        limit = int(query["limit"])
        rows = rows[:limit] if "startTime" in query else rows[-limit:]
        return web.json_response(rows)

    async def _agg_trades(self, request: web.Request) -> web.Response:
        if fault := self._fault(request):
            return fault
        query = request.query
        start, limit = int(query["fromId"]), int(query["limit"])
        rows = [t for t in self.markets[query["symbol"]].trades if t["a"] >= start]
        return web.json_response(rows[:limit])

    async def _open_interest(self, request: web.Request) -> web.Response:
        if fault := self._fault(request):
            return fault
        body = {"symbol": request.query["symbol"], "openInterest": "1234.5", "time": self.now_ms}
        return web.json_response(body)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self.handshakes += 1
        self.opened.append(asyncio.get_running_loop().time())
        if self.refuse_streams > 0:
            self.refuse_streams -= 1
            return web.Response(status=503)
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        self.sockets[ws] = set(request.query["streams"].split("/"))
        try:
            async for message in ws:
                if message.type is WSMsgType.ERROR:
                    break
        finally:
            self.sockets.pop(ws, None)
        return ws
