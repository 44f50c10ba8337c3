"""Bench of the paper exchange over its sockets: stream messages per second, order round trip.

The exchange runs as a process of its own, as in production: every step of the tape is matched,
stored and encoded before it is sent, every order is verified, matched and stored before it is
answered. The peer is a bare aiohttp server that does none of that, with the same client.
"""

import asyncio
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from don.paper.server.config import LimitsConfig, PaperServerConfig
from don.paper.server.identity import load_api_keys
from don.paper.server.signing import ApiKey, sign

RUNS = 5
WARM_UP = 50
SYMBOL = "BTCUSDT"
CHANNELS = ("aggTrade", "bookTicker", "depth@0ms", "kline_30m", "markPrice@1s")
PEER = "bare aiohttp server of constants"
UNLIMITED = LimitsConfig(weight_per_minute=10**9, orders_per_10s=10**9, orders_per_minute=10**9)


def rows(full: bool) -> list[dict[str, Any]]:
    """The rows `paper.messages` (per second) and `paper.order_round_trip_ms`.

    A ratio above 1 means that the paper exchange is faster than its peer, which does nothing.

    Raises:
        RuntimeError: if a server does not come up or refuses an order.
    """
    seconds, orders = (10.0, 2_000) if full else (2.0, 200)
    sent: tuple[list[float], list[float]] = [], []
    trips: tuple[list[float], list[float]] = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _process("don.bench.paper_peer", str(folder)) as peer:
            state = folder / "max"
            with _exchange(state, speed="max", hold=True) as ours:
                key = load_api_keys(state)[0]
                for _ in range(RUNS):
                    asyncio.run(_control(ours, key, "resume"))
                    sent[0].append(asyncio.run(_read(ours, seconds)))
                    asyncio.run(_control(ours, key, "pause"))
                    sent[1].append(asyncio.run(_read(peer, seconds)))
            state = folder / "orders"
            with _exchange(state, speed="1bar", hold=False) as ours:
                key = load_api_keys(state)[0]
                for _ in range(RUNS):
                    trips[0].append(asyncio.run(_trade(ours, key, orders, cancel=True)))
                    trips[1].append(asyncio.run(_trade(peer, key, orders, cancel=False)))
    fast = _row("paper.messages", "messages/s", sent)
    quick = _row("paper.order_round_trip_ms", "ms", trips)
    fast["ratio"] = fast["value"] / fast["peer_value"]
    quick["ratio"] = quick["peer_value"] / quick["value"]
    return [fast, quick]


def _row(name: str, unit: str, runs: tuple[list[float], list[float]]) -> dict[str, Any]:
    ours, peers = runs
    return {
        "area": "paper",
        "name": name,
        "value": statistics.median(ours),
        "unit": unit,
        "n": len(ours),
        "min": min(ours),
        "max": max(ours),
        "peer": PEER,
        "peer_value": statistics.median(peers),
    }


@contextmanager
def _process(*command: str) -> Iterator[dict[str, Any]]:
    """A server of our own; gives the line that it prints when it listens."""
    with subprocess.Popen(
        [sys.executable, "-m", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        try:
            line = server.stdout.readline()
            if not line:
                raise RuntimeError(f"the bench's server {command[0]} did not start")
            yield json.loads(line)
        finally:
            server.stdin.close()  # both servers end with their standard input


@contextmanager
def _exchange(state: Path, *, speed: str, hold: bool) -> Iterator[dict[str, Any]]:
    config = PaperServerConfig(
        state_dir=state, speed=speed, hold=hold, limits=UNLIMITED, end_with_parent=True
    )
    with _process("don.paper.main", config.model_dump_json()) as ready:
        yield ready


async def _control(ready: dict[str, Any], key: ApiKey, what: str) -> None:
    """Pause or resume the tape."""
    async with (
        aiohttp.ClientSession(headers={"X-MBX-APIKEY": key.key}) as session,
        session.post(f"{ready['rest_url']}/paper/v1/{what}") as answer,
    ):
        answer.raise_for_status()


async def _read(ready: dict[str, Any], seconds: float) -> float:
    """Messages per second over a while; they are counted, not parsed."""
    context = ssl.create_default_context(cafile=ready["certificate"])
    symbols = [s.lower() for s in ready.get("symbols", (SYMBOL,))]
    path = "/stream?streams=" + "/".join(f"{s}@{c}" for s in symbols for c in CHANNELS)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(ready["stream_url"] + path, ssl=context, max_msg_size=0) as socket,
    ):
        for _ in range(WARM_UP):
            await socket.receive()
        count, start = 0, time.perf_counter()
        while (took := time.perf_counter() - start) < seconds:
            message = await socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise RuntimeError("the stream ended before its time")
            count += 1
        return count / took


async def _trade(ready: dict[str, Any], key: ApiKey, count: int, *, cancel: bool) -> float:
    """Median time of a signed post-only order from send to answer, ms; cancels are not timed."""
    headers = {"X-MBX-APIKEY": key.key, "Content-Type": "application/x-www-form-urlencoded"}
    url, times = ready["rest_url"] + "/fapi/v1/order", []
    async with aiohttp.ClientSession(headers=headers) as session:
        price = "1"
        if cancel:
            ticker = f"{ready['rest_url']}/fapi/v1/ticker/price?symbol={SYMBOL}"
            async with session.get(ticker) as answer:
                price = f"{float((await answer.json())['price']) * 0.98:.1f}"
        for number in range(WARM_UP + count):
            body = _signed(
                key,
                f"symbol={SYMBOL}&side=BUY&type=LIMIT&timeInForce=GTX&quantity=0.1&price={price}"
                f"&newClientOrderId=bench-{number}&newOrderRespType=RESULT",
            )
            start = time.perf_counter()
            async with session.post(url, data=body) as answer:
                told = await answer.json()
            times.append(1e3 * (time.perf_counter() - start))
            if "orderId" not in told:
                raise RuntimeError(f"the bench's order was refused: {told}")
            if cancel:
                query = _signed(key, f"symbol={SYMBOL}&orderId={told['orderId']}")
                async with session.delete(f"{url}?{query}") as answer:
                    await answer.read()
    return statistics.median(times[WARM_UP:])


def _signed(key: ApiKey, query: str) -> str:
    query += f"&timestamp={time.time_ns() // 1_000_000}"
    return f"{query}&signature={sign(key.secret, query)}"
