"""Guards in front of every application: host, origin, rate, text, body size. ASGI; reads the clock.

The server listens on loopback, yet any web page in a browser on this machine can reach it. So the
Host header must name this machine (a page that rebinds its own name to 127.0.0.1 fails here), and
what changes something or opens a socket must come from our own pages.
"""

import json
from collections import OrderedDict
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from don.clock import NS_PER_S, Clock, SystemClock

LOOPBACK = ("localhost", "127.0.0.1", "::1")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
MAX_CLIENTS = 4_096  # rate limit buckets kept; the least recently used goes first

# A page of ours may load from and connect to this server alone, whatever a component would fetch.
_CONTENT_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' data: blob:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'self'; object-src 'none'"
)
_HEADERS = [
    (b"content-security-policy", _CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class HostGuard:
    """Refuses foreign Host headers, and foreign origins where they could do harm."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset(name.lower() for name in (*LOOPBACK, *hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 421 (host) or 403 (origin)."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        host = _header(scope, b"host")
        if _hostname(host) not in self._hosts:
            allowed = ", ".join(sorted(self._hosts))
            detail = f"was {host[:80]!r}, must be one of: {allowed}"
            await _refuse(scope, receive, send, 421, "wrong_host", "header.Host", detail)
            return
        origin = _header(scope, b"origin")
        unsafe = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if unsafe and origin and urlsplit(origin).netloc.lower() != host.lower():
            detail = f"was {origin[:80]!r}, must be the page's own: {host!r}"
            await _refuse(scope, receive, send, 403, "forbidden", "header.Origin", detail)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
            await send(message)

        await self._app(scope, receive, with_headers)


class TextGuard:
    """Refuses the character NUL in paths and queries: no name has it and PostgreSQL's text cannot
    hold it, so that a database asked with it would only say so in its own words.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 422."""
        if scope["type"] in ("http", "websocket"):
            query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), True)
            wrong = [
                f"query.{name}".replace("\0", "") for name, text in query if "\0" in name + text
            ]
            if "\0" in scope["path"]:
                wrong.insert(0, "path")
            if wrong:
                detail = "must not contain the character NUL (%00)"
                await _refuse(scope, receive, send, 422, "invalid", wrong[0], detail)
                return
        await self._app(scope, receive, send)


class RateLimit:
    """A token bucket per client and kind of request; per replica.

    Commands have a bucket of their own: nobody's reading can keep a halt from getting through.
    """

    def __init__(
        self, app: ASGIApp, rate_per_s: float, burst: int, clock: Clock | None = None
    ) -> None:
        self._app = app
        self._rate = rate_per_s
        self._burst = float(burst)
        self._clock = clock or SystemClock()
        self._buckets: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 429 with `Retry-After`."""
        if scope["type"] in ("http", "websocket"):
            kind = "command" if scope["path"].startswith("/v1/commands/") else "read"
            wait_s = self._take((scope.get("client") or ("",))[0], kind)
            if wait_s > 0:
                detail = f"more than {self._rate:g} requests a second, retry in {wait_s:.2f} s"
                retry = [(b"retry-after", str(int(wait_s) + 1).encode())]
                await _refuse(scope, receive, send, 429, "rate_limited", "", detail, retry)
                return
        await self._app(scope, receive, send)

    def _take(self, client: str, kind: str) -> float:
        """Take one token; seconds until there is one if there is none."""
        now = self._clock.monotonic_ns()
        tokens, then = self._buckets.pop((client, kind), (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) / NS_PER_S * self._rate)
        wait_s = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        self._buckets[(client, kind)] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return wait_s


class _TooLarge(Exception):
    """Stops an application that is still reading."""


class BodyLimit:
    """Refuses bodies over a size, announced or not, before anything parses them."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 413."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = _header(scope, b"content-length")
        if announced.isdigit() and int(announced) > self._max:
            await self._refuse(scope, receive, send)
            return
        taken, started = 0, False

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._max:
                raise _TooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            # an application that turns the interruption into an answer of its own is overruled
            if taken <= self._max or started:
                started = True
                await send(message)

        try:
            await self._app(scope, counted, watched)
        except _TooLarge:
            if started:
                raise
        if taken > self._max and not started:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"must have at most {self._max} bytes"
        await _refuse(scope, receive, send, 413, "too_large", "body", detail)


def _header(scope: Scope, name: bytes) -> str:
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return ""


def _hostname(host: str) -> str:
    """The name in a Host header: without port and brackets, lower case."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


async def _refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    status: int,
    error: str,
    field: str,
    detail: str,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    if scope["type"] == "websocket":
        await receive()  # the handshake; closing before accepting refuses it
        await send({"type": "websocket.close", "code": 1008, "reason": detail[:120]})
        return
    body = json.dumps({"error": error, "field": field, "detail": detail}).encode()
    kind = (b"content-type", b"application/json")
    length = (b"content-length", str(len(body)).encode())
    start = {
        "type": "http.response.start",
        "status": status,
        "headers": [kind, length, *headers],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})
