"""A misbehaving exchange on loopback: real sockets, real signatures, faults on demand.

It speaks what the gateway uses of the protocol. As the real one, it refuses a client order id only
while another order of that id is open: a careless retry really does double an order here.
"""

import asyncio
import hashlib
import hmac
import json
import time
from collections import Counter, deque
from collections.abc import Callable
from enum import StrEnum
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web
from support.venue_book import PRICES, Book, Refusal, VenueOrder

KEY, SECRET = "test-key", "test-secret"


class Fault(StrEnum):
    """What goes wrong with one request."""

    NONE = "none"
    DROP_BEFORE = "connection lost, not processed"
    DROP_AFTER = "connection lost, processed"
    HANG_AFTER = "no answer, processed"
    LATE = "no answer, processed after a while"
    FAIL_BEFORE = "503, not processed"
    FAIL_AFTER = "503, processed"
    GARBAGE_AFTER = "not JSON, processed"
    LIMITED = "429"
    SKEWED = "-1021"
    UNKNOWN_AFTER = "-1007, processed"


class Glitch(StrEnum):
    """What goes wrong with one user-data event."""

    NONE = "none"
    DOUBLE = "sent twice"
    LOSE = "not sent"
    SWAP = "sent after the next one"
    CUT_BEFORE = "connection cut, not sent"
    CUT_AFTER = "connection cut after it"
    EXPIRE = "listen key expired instead"
    NONSENSE = "an event that cannot be read"


class Venue:
    """One account; `faults` hit order, cancel and query calls, `glitches` the stream's events."""

    def __init__(self) -> None:
        self.book = Book()
        self.faults: deque[Fault] = deque()
        self.read_faults: deque[Fault] = deque()
        self.glitches: deque[Glitch] = deque()
        self.accepted: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.countdowns: list[tuple[str, int]] = []  # (symbol, ms) of each that was set
        self.skew_ms = 0
        self.late_s = 0.1
        self.hang = asyncio.Event()  # set at the end: lets hanging calls go
        self._swapped: list[str] = []
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._keys = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/ws/{key}", self._stream)
        app.router.add_route("*", "/fapi/{tail:.*}", self._call)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self.hang.set()
        for task in list(self._tasks):
            task.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def urls(self) -> dict[str, str]:
        return {
            "rest_url": f"http://127.0.0.1:{self.port}",
            "ws_url": f"ws://127.0.0.1:{self.port}",
        }

    async def act(self, change: Callable[[Book], object]) -> None:
        """Something happens at the exchange by itself."""
        change(self.book)
        await self._publish()

    async def cut(self) -> None:
        for socket in list(self._sockets.values()):
            transport = socket._req.transport if socket._req is not None else None
            if transport is not None:
                transport.abort()

    # ---- REST ----------------------------------------------------------------------------------

    async def _call(self, request: web.Request) -> web.StreamResponse:
        body = (await request.read()).decode()
        path = request.path.removeprefix("/fapi/")
        name = f"{request.method} {path}"
        self.calls[name] += 1
        raw = request.raw_path.partition("?")[2]
        params = dict(parse_qsl(raw)) | dict(parse_qsl(body))
        if name in ("POST v1/order", "DELETE v1/order"):
            fault = self.faults.popleft() if self.faults else Fault.NONE
        else:
            fault = self.read_faults.popleft() if self.read_faults else Fault.NONE
        if path == "v1/time":
            return web.json_response({"serverTime": self._now_ms()})
        match fault:
            case Fault.DROP_BEFORE:
                return self._abort(request)
            case Fault.FAIL_BEFORE:
                return web.Response(status=503, text="Service Unavailable")
            case Fault.LIMITED:
                return web.json_response(
                    {"code": -1003, "msg": "Too many requests."},
                    status=429,
                    headers={"Retry-After": "0"},
                )
            case Fault.SKEWED:
                return self._refused(-1021, "Timestamp for this request is outside.")
            case Fault.LATE:
                await asyncio.sleep(self.late_s)
        answer = await self._answer(name, request, raw, body, params)
        match fault:
            case Fault.DROP_AFTER:
                return self._abort(request)
            case Fault.HANG_AFTER | Fault.LATE:
                await self.hang.wait()
            case Fault.FAIL_AFTER:
                return web.Response(status=502, text="<html>Bad Gateway</html>")
            case Fault.GARBAGE_AFTER:
                return web.Response(text="<html>hello</html>", content_type="text/html")
            case Fault.UNKNOWN_AFTER:
                return self._refused(-1007, "Timeout waiting for response. Send status unknown.")
        return answer

    async def _answer(
        self, name: str, request: web.Request, raw: str, body: str, params: dict[str, str]
    ) -> web.StreamResponse:
        try:
            if name == "GET v1/exchangeInfo":
                return web.json_response(exchange_info())
            if request.headers.get("X-MBX-APIKEY") != KEY:
                raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.")
            if "listenKey" not in name:
                self._check(raw, body, params)
            result = self._run(name, params)
        except Refusal as refusal:
            return self._refused(refusal.code, refusal.message)
        await self._publish()
        return web.json_response(result, headers={"X-MBX-USED-WEIGHT-1M": "1"})

    def _run(self, name: str, params: dict[str, str]) -> object:
        symbol = params.get("symbol", "")
        book = self.book
        match name:
            case "POST v1/listenKey":
                self._keys += 1
                return {"listenKey": f"key{self._keys}"}
            case "PUT v1/listenKey":
                return {}
            case "GET v1/leverageBracket":
                return [{"symbol": name, "brackets": [{"initialLeverage": 50}]} for name in PRICES]
            case "GET v1/commissionRate":
                return {
                    "symbol": symbol,
                    "makerCommissionRate": "0.0002",
                    "takerCommissionRate": "0.0005",
                }
            case "POST v1/order":
                order = book.place(params)
                self.accepted[order.client_id] += 1
                return order.row()
            case "DELETE v1/order":
                order = self._find(params, -2011)
                book.cancel(order)
                return order.row()
            case "GET v1/order":
                return self._find(params, -2013).row()
            case "GET v1/openOrders":
                return [order.row() for order in book.resting()]
            case "GET v1/algoOrder":  # it has no conditional orders
                raise Refusal(-2013, "Order does not exist.")
            case "DELETE v1/algoOrder":
                raise Refusal(-2011, "Unknown order sent.")
            case "GET v1/openAlgoOrders":
                return []
            case "POST v1/countdownCancelAll":
                self.countdowns.append((params["symbol"], int(params["countdownTime"])))
                return {"symbol": params["symbol"], "countdownTime": params["countdownTime"]}
            case "GET v1/userTrades":
                rows = [row for row in book.trades if row["symbol"] == symbol]
                if "orderId" in params:
                    rows = [row for row in rows if str(row["orderId"]) == params["orderId"]]
                start = int(params.get("fromId", 0))
                rows = [row for row in rows if int(str(row["id"])) >= start]
                return rows[: int(params["limit"])]
            case "GET v1/income":
                start = int(params.get("startTime", 0))
                rows = [row for row in book.payments if int(str(row["time"])) >= start]
                rows = [row for row in rows if row["incomeType"] == params["incomeType"]]
                return rows[: int(params["limit"])]
            case "GET v3/account":
                return book.account()
        raise Refusal(-5000, f"Path {name} invalid")

    def _find(self, params: dict[str, str], code: int) -> VenueOrder:
        order = self.book.find(
            params["symbol"], params.get("orderId"), params.get("origClientOrderId")
        )
        if order is None:
            raise Refusal(code, "Order does not exist.")
        return order

    def _check(self, raw: str, body: str, params: dict[str, str]) -> None:
        payload, _, signature = (raw or body).rpartition("&signature=")
        expected = hmac.new(SECRET.encode(), payload.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, signature):
            raise Refusal(-1022, "Signature for this request is not valid.")
        stamp, now = int(params["timestamp"]), self._now_ms()
        if stamp > now + 1_000 or stamp < now - int(params["recvWindow"]):
            raise Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")

    def _now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.skew_ms

    def _refused(self, code: int, message: str) -> web.Response:
        status = 408 if code == -1007 else 400
        return web.json_response({"code": code, "msg": message}, status=status)

    def _abort(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    # ---- user-data stream ----------------------------------------------------------------------

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        key = request.match_info["key"]
        self._sockets[key] = socket
        try:
            async for message in socket:
                if message.type is WSMsgType.ERROR:
                    break
        finally:
            self._sockets.pop(key, None)
        return socket

    async def _publish(self) -> None:
        while self.book.events:
            event = self.book.events.pop(0)
            glitch = self.glitches.popleft() if self.glitches else Glitch.NONE
            text = json.dumps(event)
            match glitch:
                case Glitch.LOSE:
                    continue
                case Glitch.SWAP:
                    self._swapped.append(text)
                    continue
                case Glitch.CUT_BEFORE:
                    await self.cut()
                    continue
                case Glitch.EXPIRE:
                    text = json.dumps({"e": "listenKeyExpired", "E": self.book.now_ms})
                case Glitch.NONSENSE:
                    text = json.dumps({"e": "ORDER_TRADE_UPDATE", "o": {"s": "BTCUSDT"}})
                case Glitch.DOUBLE:
                    await self._send(text)
            await self._send(text)
            while self._swapped:
                await self._send(self._swapped.pop(0))
            if glitch is Glitch.CUT_AFTER:
                await self.cut()

    async def _send(self, text: str) -> None:
        for socket in list(self._sockets.values()):
            try:
                await socket.send_str(text)
            except ConnectionError:
                continue  # it was cut a moment ago


def exchange_info() -> dict[str, object]:
    rows = []
    for symbol in PRICES:
        rows.append(
            {
                "symbol": symbol,
                "contractType": "PERPETUAL",
                "status": "TRADING",
                "baseAsset": symbol.removesuffix("USDT"),
                "quoteAsset": "USDT",
                "filters": [
                    {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
                    {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001",
                     "maxQty": "1000"},
                    {"filterType": "MIN_NOTIONAL", "notional": "5"},
                ],
            }
        )  # fmt: skip
    limits = [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1,
         "limit": 2_000_000},
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 10_000},
        {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 60_000},
    ]  # fmt: skip
    return {"rateLimits": limits, "symbols": rows}
