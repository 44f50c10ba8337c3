"""Bench of the whole ring: a bar closes at the exchange, an order leaves for it. Starts processes.

Ours goes feed, cache, desk, optimizer, desk, execution, each a process, with the market data
recorded and every input and decision on disk before it is acted on. The peer is the least that
could trade: one process in which cryptofeed's callback calls ccxt, without features, portfolio,
risk or journal. So a ratio below 1 is the price of all that.
"""

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ccxt.async_support as ccxt
import numpy as np
from cryptofeed import FeedHandler
from cryptofeed.connection import RestEndpoint, WebsocketEndpoint
from cryptofeed.defines import CANDLES
from cryptofeed.exchanges import BinanceFutures
from cryptofeed.symbols import Symbols

from don.paper.server.identity import load_api_keys

DURATION_S = 60
PEER_ORDERS = 60
SYMBOLS = ("BTC-USDT-PERP", "ETH-USDT-PERP", "LTC-USDT-PERP", "XRP-USDT-PERP", "EOS-USDT-PERP")
TIMEOUT_S = 150


def rows(full: bool) -> list[dict[str, Any]]:
    """Rows `ring.tick_to_order_p50_ms` and `_p99_ms`: from the bar close's arrival to the send.

    `full` trades for five times as long.
    """
    ours = _don(DURATION_S * (5 if full else 1))
    peer = asyncio.run(_peer(PEER_ORDERS * (5 if full else 1)))
    measured = ours["tick_to_order_ms"]
    return [
        {
            "area": "ring",
            "name": f"ring.tick_to_order_{name}_ms",
            "value": measured[name],
            "unit": "ms",
            "n": measured["n"],
            "min": measured["min"],
            "max": measured["max"],
            "peer": "bare cryptofeed callback to ccxt, no journal",
            "peer_value": float(np.percentile(peer, share)),
            "ratio": float(np.percentile(peer, share)) / measured[name],
        }
        for name, share in (("p50", 50), ("p99", 99))
    ]


def _don(duration_s: int) -> dict[str, Any]:
    home = Path(tempfile.mkdtemp(prefix="don-bench-"))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "don.cli.main", "up", "--json", "--no-console",
             "--duration", str(duration_s)],
            env={**os.environ, "DON_HOME": str(home)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"don up ended with {done.returncode}: {done.stderr[-1000:]}")
        summary: dict[str, Any] = json.loads(done.stdout)
        return summary
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _peer(orders: int) -> list[float]:
    """Milliseconds from a closed bar's arrival to the request, order after order."""
    folder = Path(tempfile.mkdtemp(prefix="don-bench-"))
    config = json.dumps({"state_dir": str(folder), "end_with_parent": True, "speed": "2bar"})
    exchange = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "don.paper.main", config,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert exchange.stdout is not None
        ready = json.loads(await exchange.stdout.readline())
        return await _trade(ready, orders)
    finally:
        exchange.terminate()
        await exchange.wait()
        shutil.rmtree(folder, ignore_errors=True)


async def _trade(ready: dict[str, Any], orders: int) -> list[float]:
    client = _client(ready)
    delays: list[float] = []
    arrived = 0.0
    enough = asyncio.Event()
    plain_fetch = client.fetch

    async def timed_fetch(*args: Any, **kw: Any) -> Any:
        if arrived:
            delays.append((time.time() - arrived) * 1000)
        return await plain_fetch(*args, **kw)

    async def on_candle(candle: Any, receipt: float) -> None:
        nonlocal arrived
        base = candle.symbol.split("-")[0]
        arrived = receipt
        side = "buy" if len(delays) % 2 else "sell"
        await client.create_order(
            f"{base}/USDT:USDT", "market", side, 20 / candle.close.__float__()
        )
        if len(delays) >= orders:
            enough.set()

    try:
        await client.load_markets()
        client.fetch = timed_fetch
        handler = FeedHandler(config={"uvloop": False, "log": {"disabled": True}})
        handler.add_feed(await asyncio.to_thread(_feed, ready, on_candle))
        handler.run(start_loop=False, install_signal_handlers=False)
        async with asyncio.timeout(TIMEOUT_S):
            await enough.wait()
        await handler.stop_async(loop=asyncio.get_running_loop())
    finally:
        await client.close()
    return delays


def _client(ready: dict[str, Any]) -> Any:
    key = load_api_keys(Path(ready["state_dir"]))[0]
    client = ccxt.binanceusdm({"apiKey": key.key, "secret": key.secret, "enableRateLimit": False})
    for name, url in list(client.urls["api"].items()):
        if isinstance(url, str):
            for host in ("https://fapi.binance.com", "https://api.binance.com"):
                url = url.replace(host, ready["rest_url"])
            client.urls["api"][name] = url
    client.options["fetchCurrencies"] = False
    client.options["fetchMargins"] = False
    return client


def _feed(ready: dict[str, Any], on_candle: Any) -> Any:
    trust = ssl.create_default_context(cafile=ready["certificate"])
    Symbols.clear()

    class Local(BinanceFutures):
        websocket_endpoints = [  # noqa: RUF012
            WebsocketEndpoint(ready["stream_url"], options={"ssl": trust, "compression": None})
        ]
        rest_endpoints = [  # noqa: RUF012
            RestEndpoint(ready["rest_url"], routes=BinanceFutures.rest_endpoints[0].routes)
        ]

    return Local(
        symbols=list(SYMBOLS),
        channels=[CANDLES],
        candle_interval=ready["interval"],
        candle_closed_only=True,
        callbacks={CANDLES: on_candle},
    )
