"""The HTTP that cryptofeed's classes use, over our own client: typed errors, time-outs, no storms.

cryptofeed's own client has no time-out, waits a fixed minute after 429 and asks for a snapshot with
every message as long as it fails.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from random import Random
from typing import Any
from urllib.parse import urlsplit

from yapic import json as yapic_json

from don.errors import ExchangeUnavailable
from don.feeds.backoff import Backoff
from don.feeds.rest import RestClient

PATIENCE_S = 2.0  # a reader that waits longer for a snapshot is behind: a new connection is better


class RestPool:
    """One client for each host; all of them at `base_url` where that is given."""

    def __init__(
        self,
        base_url: str | None,
        make: Callable[[str], RestClient],
        on_failure: Callable[[Exception, float], None],
        backoff: tuple[float, float],
        rng: Random,
    ) -> None:
        self._base_url = base_url
        self._make = make
        self._clients: dict[str, RestClient] = {}
        self.on_failure = on_failure
        self._backoff = backoff
        self._rng = rng

    def at(self, url: str) -> tuple[RestClient, str]:
        """The client for an absolute URL, and what follows the host."""
        parts = urlsplit(url)
        base = self._base_url or f"{parts.scheme}://{parts.netloc}"
        if base not in self._clients:
            self._clients[base] = self._make(base)
        path = parts.path or "/"
        return self._clients[base], f"{path}?{parts.query}" if parts.query else path

    def patience(self) -> Backoff:
        """A new row of delays."""
        return Backoff(*self._backoff, self._rng)

    @property
    def failures(self) -> int:
        """Requests that failed, over all clients."""
        return sum(client.failures for client in self._clients.values())

    async def close(self) -> None:
        """Close all clients."""
        for client in self._clients.values():
            await client.close()


class SyncHttp:
    """cryptofeed's blocking client, for the thread in which its classes are built."""

    def __init__(self, rest: RestPool, loop: asyncio.AbstractEventLoop) -> None:
        self._rest = rest
        self._loop = loop

    def read(
        self,
        address: str,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        json: bool = False,
        text: bool = True,
        uuid: str | None = None,
    ) -> Any:
        """The answer to a GET request, as often as it takes."""
        return self._ask("GET", address, params, headers, json)

    def write(
        self,
        address: str,
        data: Any = None,
        json: bool = False,
        text: bool = True,
        uuid: str | None = None,
        is_data_json: bool = False,
    ) -> Any:
        """The answer to a POST request without a body, as often as it takes."""
        return self._ask("POST", address, None, None, json)

    def _ask(
        self,
        method: str,
        address: str,
        params: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        json: bool,
    ) -> Any:
        client, path = self._rest.at(address)
        work = client.text_until_answered(
            method, path, params, headers=headers, on_failure=self._rest.on_failure
        )
        body = asyncio.run_coroutine_threadsafe(work, self._loop).result()
        # This very parser: cryptofeed's classes count on its reading of dates.
        return yapic_json.loads(body, parse_float=Decimal) if json else body


class AsyncHttp:
    """cryptofeed's client for snapshots while messages are handled, one for each feed."""

    def __init__(self, rest: RestPool) -> None:
        self._rest = rest
        self._tries: dict[str, tuple[Backoff, float]] = {}  # address -> its delays, and when again

    async def read(
        self,
        address: str,
        header: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        return_headers: bool = False,
        retry_count: int = 0,
        retry_delay: float = 60,
    ) -> str:
        """The answer to a GET request.

        The same address is not asked twice within the delays of a back-off, which starts small
        again after a minute: what does not help must not become a storm.

        Raises:
            ExchangeUnavailable: if there is none within `PATIENCE_S`.
        """
        now = time.monotonic()
        backoff, again = self._tries.get(address, (self._rest.patience(), now))
        if now - again > 60.0:
            backoff.reset()
        await asyncio.sleep(max(0.0, again - now))
        self._tries[address] = (backoff, time.monotonic() + backoff.next())
        client, path = self._rest.at(address)
        work = client.text_until_answered(
            "GET", path, params, headers=header, on_failure=self._rest.on_failure
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await work
        except TimeoutError as error:
            raise ExchangeUnavailable(f"no snapshot within {PATIENCE_S} s: {path}") from error

    async def close(self) -> None:
        """The clients belong to the pool."""


def secure(base_url: str, context: Callable[[], ssl.SSLContext]) -> ssl.SSLContext | None:
    """The context for a base URL: none for plain HTTP."""
    return context() if urlsplit(base_url).scheme == "https" else None
