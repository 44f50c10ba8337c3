"""Public REST of an exchange: typed errors, bounded concurrency, retries that never storm."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any, TypeVar

import aiohttp
import msgspec
from yarl import URL

from don.errors import ExchangeRefused, ExchangeUnavailable, RateLimited
from don.feeds.backoff import Backoff
from don.feeds.pace import FreePace, Pace

T = TypeVar("T")
MAX_RETRY_AFTER_S = 300.0  # a hint beyond this is not believed


class RestClient:
    """GET requests to one host. `tls` gives the SSL context at each connection, or None."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float,
        max_requests: int,
        backoff: tuple[float, float],
        rng: Random,
        tls: Callable[[], ssl.SSLContext | None],
        pace: Pace | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._slots = asyncio.Semaphore(max_requests)
        self._backoff = backoff
        self._rng = rng
        self._tls = tls
        self._pace = pace or FreePace()
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self.failures = 0  # requests that failed and were, or may be, tried again

    async def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        """The decoded JSON answer of one request.

        Raises:
            RateLimited: on 429 and 418, with the exchange's hint.
            ExchangeUnavailable: if there was no answer, a 5xx, or something that is not JSON.
            ExchangeRefused: on any other status; trying again would not help.
        """
        status, body = await self._ask("GET", path, params)
        return _answer(path, status, body)

    async def _ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Status and body of one request: RateLimited, ExchangeUnavailable as `get`."""
        url = URL(f"{self._base_url}{path}", encoded=True)
        try:
            async with self._slots:
                await self._pace.leave(path, params or {})
                session = self._open()
                context = self._tls()
                async with session.request(
                    method,
                    url.update_query(dict(params)) if params else url,
                    headers=headers,
                    ssl=True if context is None else context,
                ) as response:
                    body = await response.read()
                    status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            text = str(error) or type(error).__name__
            raise ExchangeUnavailable(f"{method} {path} failed: {text}") from error
        self._pace.heard(response.headers)
        if status in (418, 429):
            hint = _seconds(response.headers.get("Retry-After"))
            self._pace.refused(hint)
            raise RateLimited(f"{method} {path}: the exchange asked to slow down ({status})", hint)
        if status >= 500:
            raise ExchangeUnavailable(f"{method} {path}: the exchange answered {status}")
        return status, body

    async def text_until_answered(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        on_failure: Callable[[Exception, float], None] | None = None,
    ) -> str:
        """The text of an answer; errors and repetition as `get_until_answered`."""

        async def once() -> str:
            status, body = await self._ask(method, path, params, headers)
            if status >= 400:
                raise ExchangeRefused(status, f"{method} {path}: {body[:200]!r}")
            return body.decode()

        return await self._until_answered(once, f"{method} {path}", on_failure)

    async def get_until_answered(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        on_failure: Callable[[Exception, float], None] | None = None,
    ) -> Any:
        """As `get`, but tries for ever while the exchange is away or asks us to slow down.

        Raises:
            ExchangeRefused: as `get` does.
            ExchangeUnavailable: only if the client has been closed meanwhile.
        """
        return await self._until_answered(lambda: self.get(path, params), f"GET {path}", on_failure)

    async def _until_answered(
        self,
        ask: Callable[[], Awaitable[T]],
        what: str,
        on_failure: Callable[[Exception, float], None] | None,
    ) -> T:
        backoff = Backoff(*self._backoff, self._rng)
        while True:
            try:
                return await ask()
            except RateLimited as error:
                failure: Exception = error
                delay = backoff.next(at_least_s=error.retry_after_s)
            except ExchangeUnavailable as error:
                failure = error
                delay = backoff.next()
            self.failures += 1
            if self._closed:
                raise ExchangeUnavailable(f"{what}: given up, the feed was closed")
            if on_failure is not None:
                on_failure(failure, delay)
            await asyncio.sleep(delay)

    async def close(self) -> None:
        """Close all connections; whoever waits for an answer gives up."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._closed:
            raise ExchangeUnavailable("the feed was closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        return self._session


def _answer(path: str, status: int, body: bytes) -> Any:
    try:
        decoded = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise ExchangeUnavailable(f"GET {path}: the answer is not JSON: {error}") from error
    if status >= 400:
        known = decoded if isinstance(decoded, dict) else {}
        code, message = known.get("code", status), known.get("msg", "no reason given")
        raise ExchangeRefused(int(code), f"GET {path}: {message}")
    return decoded


def _seconds(hint: str | None) -> float:
    try:
        seconds = float(hint) if hint is not None else 1.0
    except ValueError:
        return 1.0  # an HTTP date: not worth parsing for a hint
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
