"""REST over HTTP: checks a request as the exchange does, runs it, answers. I/O at the edge.

After the body is read nothing is awaited, so a request is one step of the event loop.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import structlog
from aiohttp import web

from don.clock import NS_PER_MS, Clock
from don.errors import ExchangeRefused
from don.paper.server import codes, signing
from don.paper.server.limits import RateLimits
from don.paper.server.params import Params
from don.paper.server.routes import Call, Route, Security
from don.paper.server.signing import ApiKey

MAX_BODY = 64 * 1024

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class RestServer:
    """Answers the exchange's REST calls.

    Args:
        routes: the calls there are.
        keys: key pairs that are accepted.
        limits: what a client may ask for in a time.
        clock: wall time, against which requests are checked.
        on_failure: hears of an error that nobody foresaw; the process must stop then, for what it
            holds in memory may not be what it stored.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        keys: Sequence[ApiKey],
        limits: RateLimits,
        clock: Clock,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._routes = {(route.method, route.path): route for route in routes}
        self._keys = keys
        self._limits = limits
        self._clock = clock
        self._on_failure = on_failure

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        path, _, query = request.raw_path.partition("?")
        body = ""
        if request.can_read_body:
            raw = await request.content.read(MAX_BODY + 1)
            if len(raw) > MAX_BODY:
                return _answer({"code": -1101, "msg": "Too much data sent."}, 413, {})
            body = raw.decode("utf-8", "replace")
        try:
            return self._respond(request, path, query, body)
        except Exception as error:
            self._on_failure(error)  # first: a full disk may take no log line either
            _log.exception("request failed", method=request.method, path=path)
            text = "An unknown error occurred while processing the request."
            return _answer({"code": -1000, "msg": text}, 500, {})

    def _respond(
        self, request: web.BaseRequest, path: str, query: str, body: str
    ) -> web.StreamResponse:
        now_ms = self._clock.now_ns() // NS_PER_MS
        route = self._routes.get((request.method, path))
        weight, orders, headers = 1, 0, {}
        try:
            params = Params.parse(query, body)
            if route is not None:
                weight, orders = route.weight, route.orders
                if route.weigh is not None:
                    weight = route.weigh(params)
                if route.count is not None:
                    orders = route.count(params)
            exceeded = self._limits.take(weight, orders, now_ms)
            headers = self._limits.headers(orders > 0)
            if exceeded is not None:
                headers["Retry-After"] = str(exceeded.retry_after_s)
                raise exceeded.refusal
            if route is None:
                raise ExchangeRefused(
                    codes.BAD_PATH, f"Path {path}, Method {request.method} is invalid"
                )
            account = ""
            if route.security is not Security.NONE:
                api = signing.find_key(self._keys, request.headers.get("X-MBX-APIKEY"))
                account = api.account
                if route.security is Security.SIGNED:
                    signing.check_signature(api, query, body, params, now_ms)
            answer = route.run(Call(params=params, account=account, now_ms=now_ms))
        except ExchangeRefused as refused:
            content = {"code": refused.code, "msg": refused.message}
            return _answer(content, codes.http_status(refused.code), headers)
        return _answer(answer, 200, headers)


def _answer(content: Any, status: int, headers: dict[str, str]) -> web.Response:
    return web.Response(
        body=_encode(content), status=status, headers=headers, content_type="application/json"
    )
