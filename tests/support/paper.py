"""The paper exchange for tests: served in the test's own loop on free ports, or as a process."""

import asyncio
import contextlib
import json
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import ccxt.async_support as ccxt

from don.paper.main import serve
from don.paper.server.config import PaperServerConfig, Ready
from don.paper.server.identity import load_api_keys
from don.paper.server.signing import ApiKey, sign

SYMBOL = "BTCUSDT"
UNIFIED = "BTC/USDT:USDT"


def config(folder: Path, **changes: Any) -> PaperServerConfig:
    """A configuration for tests: the sample tape, held until somebody listens, on free ports."""
    return PaperServerConfig.model_validate({"state_dir": folder, **changes})


@contextlib.asynccontextmanager
async def served(folder: Path, **changes: Any) -> AsyncIterator[Ready]:
    """A paper exchange in this event loop, behind real sockets."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve(config(folder, **changes), on_ready=ready.set_result, stop=stop)
    )
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield ready.result()
    finally:
        stop.set()
        await task


class Process:
    """A paper exchange as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, ready: Ready) -> None:
        self.process = process
        self.ready = ready

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls, folder: Path, **changes: Any) -> "AsyncIterator[Process]":
        """A process that answers; it does not outlive the block."""
        text = config(folder, **changes).model_dump_json()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "don.paper.main", text),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # its log is not what is tested
        )
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), 180)
            assert line, f"the exchange ended with {await process.wait()}"
            yield cls(process, Ready(**json.loads(line)))
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def end(self, number: signal.Signals) -> int:
        """Send a signal and wait; the exit code."""
        os.kill(self.process.pid, number)
        return await asyncio.wait_for(self.process.wait(), 120)


def api_key(ready: Ready) -> ApiKey:
    """The key pair of the first account."""
    return load_api_keys(Path(ready.state_dir))[0]


def ccxt_client(ready: Ready, **changes: Any) -> ccxt.binanceusdm:
    """An unmodified ccxt client; only its addresses are overridden."""
    key = api_key(ready)
    client = ccxt.binanceusdm(
        {
            "apiKey": key.key,
            "secret": key.secret,
            "enableRateLimit": False,
            "options": {"fetchCurrencies": False, "fetchMargins": False},
            **changes,
        }
    )
    for name, url in client.urls["api"].items():
        if isinstance(url, str):
            client.urls["api"][name] = url.replace("https://fapi.binance.com", ready.rest_url)
    return client


def trusting(ready: Ready) -> ssl.SSLContext:
    """A TLS context that trusts the exchange."""
    return ssl.create_default_context(cafile=ready.certificate)


class Rest:
    """Raw signed requests, for what no client library would send."""

    def __init__(self, session: aiohttp.ClientSession, ready: Ready) -> None:
        self._session = session
        self._ready = ready
        self._key = api_key(ready)

    async def __call__(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        secret: str | None = None,
        signature: str | None = None,
        signed: bool = False,
        **params: Any,
    ) -> tuple[int, Any, Any]:
        """(status, JSON, headers); signed when asked for."""
        query = "&".join(f"{name}={value}" for name, value in params.items())
        if signed:
            query += f"&signature={signature or sign(secret or self._key.secret, query)}"
        headers = {"X-MBX-APIKEY": self._key.key if key is None else key}
        url = f"{self._ready.rest_url}{path}"
        where = {"data": query} if method == "POST" else {}
        if method != "POST" and query:
            url += f"?{query}"
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        async with self._session.request(method, url, headers=headers | form, **where) as answer:
            return answer.status, await answer.json(), answer.headers


@contextlib.asynccontextmanager
async def raw(ready: Ready) -> AsyncIterator[Rest]:
    """Raw requests to a running exchange."""
    async with aiohttp.ClientSession() as session:
        yield Rest(session, ready)


@contextlib.asynccontextmanager
async def stream(ready: Ready, path: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A stream connection."""
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(ready.stream_url + path, ssl=trusting(ready)) as socket:
            yield socket


async def until(
    condition: Callable[[], Any], what: str, timeout_s: float = 120.0, every_s: float = 0.01
) -> None:
    """Wait for a condition."""
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110, the condition is not ours to signal
                await asyncio.sleep(every_s)
    except TimeoutError as error:
        raise AssertionError(f"not within {timeout_s} s: {what}") from error
