"""Bench of the feed: messages per second through the whole pipeline, over real TLS sockets.

The peer is bare cryptofeed with callbacks that do nothing, on the same messages from the same
server process, in turns with ours. Both are timed from the first message to the last one handled.
"""

import asyncio
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptofeed import FeedHandler
from cryptofeed.connection import WebsocketEndpoint
from cryptofeed.defines import CANDLES, FUNDING, L2_BOOK, LIQUIDATIONS, TICKER, TRADES
from cryptofeed.exchanges import BinanceFutures
from cryptofeed.symbols import Symbols

from don.bench.feed_server import SYMBOLS
from don.clock import NS_PER_S, SystemClock
from don.feeds.config import FeedConfig
from don.feeds.live import LiveFeed

RUNS = 5
TIMEOUT_S = 120.0
CANONICAL = tuple(f"{symbol[:-4]}-USDT-PERP" for symbol in SYMBOLS)


def rows(full: bool) -> list[dict[str, Any]]:
    """The row `feed.pipeline`: messages per second from socket to `MarketBatch`es in hand.

    Raises:
        RuntimeError: if the server does not come up or messages were lost.
    """
    count = 300_000 if full else 60_000
    ours, peers = [], []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "don.bench.feed_server", folder, str(count)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdin is not None and server.stdout is not None
            try:
                line = server.stdout.readline()
                if not line:
                    raise RuntimeError("the bench's server did not start")
                listening = json.loads(line)
                for _ in range(RUNS):
                    ours.append(asyncio.run(_ours(listening, count)))
                    peers.append(asyncio.run(_peer(listening, count)))
            finally:
                server.stdin.close()  # the server ends with its standard input
    value, peer_value = statistics.median(ours), statistics.median(peers)
    return [
        {
            "area": "feed",
            "name": "feed.pipeline",
            "value": value,
            "unit": "messages/s",
            "n": count,
            "min": min(ours),
            "max": max(ours),
            "peer": "cryptofeed BinanceFutures, empty callbacks",
            "peer_value": peer_value,
            "ratio": value / peer_value,
        }
    ]


async def _ours(listening: dict[str, Any], count: int) -> float:
    config = FeedConfig(
        symbols=CANONICAL,
        rest_url=f"http://127.0.0.1:{listening['rest']}",
        ws_url=f"wss://localhost:{listening['streams']}",
        ca_file=Path(listening["ca_file"]),
    )
    marks: list[int] = []
    async with asyncio.timeout(TIMEOUT_S), LiveFeed(config, SystemClock(), "bench:1") as feed:
        async for batch in feed.batches():
            table = batch.tables.get("liquidations")
            if table is not None:
                marks += table["ts_recv"].to_pylist()
            if len(marks) == 2:
                break
        end = time.time_ns()
        health = feed.health()
    if health.messages != count + 2 or health.gaps or health.duplicates or health.malformed:
        raise RuntimeError(f"the feed lost or refused messages: {health}")
    return (count + 2) * NS_PER_S / (end - marks[0])


async def _peer(listening: dict[str, Any], count: int) -> float:
    context = ssl.create_default_context(cafile=listening["ca_file"])
    address = f"wss://localhost:{listening['streams']}"
    rest = f"http://127.0.0.1:{listening['rest']}"

    class Loopback(BinanceFutures):
        websocket_endpoints = [  # noqa: RUF012
            WebsocketEndpoint(address, options={"compression": None, "ssl": context})
        ]
        rest_endpoints = [replace(BinanceFutures.rest_endpoints[0], address=rest)]  # noqa: RUF012

    done = asyncio.Event()
    marks: list[float] = []

    async def empty(event: object, receipt: float) -> None:
        """Nothing: the least a callback can do."""

    async def mark(event: object, receipt: float) -> None:
        marks.append(receipt if not marks else time.time())
        if len(marks) == 2:
            done.set()

    callbacks = dict.fromkeys((TRADES, TICKER, L2_BOOK, CANDLES, FUNDING), empty)
    Symbols.clear()
    feed = await asyncio.to_thread(
        Loopback,
        symbols=list(CANONICAL),
        channels=[*callbacks, LIQUIDATIONS],
        callbacks={**callbacks, LIQUIDATIONS: mark},
        config={"uvloop": False, "log": {"disabled": True}},
    )
    handler = FeedHandler(config={"uvloop": False, "log": {"disabled": True}})
    handler.add_feed(feed)
    handler.run(start_loop=False, install_signal_handlers=False)
    async with asyncio.timeout(TIMEOUT_S):
        await done.wait()
    received = feed.connection_handlers[0].conn.received
    await handler.stop_async()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    if received != count + 2:
        raise RuntimeError(f"the peer received {received} of {count + 2} messages")
    return (count + 2) / (marks[1] - marks[0])
