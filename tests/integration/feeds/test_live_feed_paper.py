"""The live feed against Don's own paper exchange: a process of its own, killed and restarted."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.feed import Collected, until
from support.paper import Process

from don.clock import SystemClock, interval_ns
from don.feeds.config import FeedConfig
from don.feeds.health import StreamState
from don.feeds.live import LiveFeed
from don.paper.server.config import Ready

SETTINGS: dict[str, Any] = {"speed": "5bar"}  # a second
VALUES = ("open", "high", "low", "close", "volume", "trades")


def config_of(ready: Ready) -> FeedConfig:
    return FeedConfig(
        symbols=tuple(f"{name.removesuffix('USDT')}-USDT-PERP" for name in ready.symbols),
        interval=ready.interval,
        rest_url=ready.rest_url,
        ws_url=ready.stream_url,
        ca_file=Path(ready.certificate),
        backoff_base_s=0.05,
        backoff_cap_s=0.5,
        hold_s=60.0,  # however slow the machine: repaired bars go first
    )


async def truth(ready: Ready, symbol: str) -> dict[int, tuple]:
    """Bars of a symbol by close time, as the exchange shows them now."""
    name = symbol.replace("-", "").removesuffix("PERP")
    async with aiohttp.ClientSession() as session:
        params = {"symbol": name, "interval": ready.interval, "limit": 1500}
        async with session.get(f"{ready.rest_url}/fapi/v1/klines", params=params) as answer:
            rows = await answer.json()
    step = interval_ns(ready.interval)
    return {
        row[0] * 1_000_000 + step: (*(float(value) for value in row[1:6]), row[8]) for row in rows
    }


def all_live(feed: LiveFeed) -> bool:
    return all(stream.state is StreamState.LIVE for stream in feed.health().streams)


@pytest.fixture
async def stack() -> AsyncIterator[contextlib.AsyncExitStack]:
    """Ends the processes of a test."""
    async with contextlib.AsyncExitStack() as opened:
        yield opened


async def begin(stack: contextlib.AsyncExitStack, folder: Path, **changes: Any) -> Process:
    settings = {**SETTINGS, "log_home": folder, **changes}
    return await stack.enter_async_context(Process.started(folder / "paper", **settings))


@pytest.mark.fault
async def test_kill_9_and_restart_leave_no_hole_and_no_second_version(
    tmp_path: Path, stack: contextlib.AsyncExitStack
) -> None:
    exchange = await begin(stack, tmp_path)
    config = config_of(exchange.ready)
    feed = LiveFeed(config, SystemClock(), "TEST:1")
    await feed.start()
    history = await feed.history(30)
    collected = Collected(feed)
    symbols = config.symbols

    def bars() -> int:
        return min(len(collected.bars(symbol)) for symbol in symbols)

    await until(lambda: bars() >= 110 and all_live(feed), 60)  # 100 of them repaired
    await exchange.end(signal.SIGKILL)
    await until(lambda: feed.health().connected == 0)
    assert not any(stream.state is StreamState.LIVE for stream in feed.health().streams)
    before = bars()
    ports = {
        "port": int(exchange.ready.rest_url.rpartition(":")[2]),
        "stream_port": int(exchange.ready.stream_url.rpartition(":")[2]),
    }
    exchange = await begin(stack, tmp_path, **ports)
    await until(lambda: bars() >= before + 30 and all_live(feed), 60)
    health = feed.health()
    assert health.reconnects == 1 and health.malformed == 0 and health.dropped == 0
    rows = collected.rows("bars")
    for symbol in symbols:
        times = collected.bars(symbol)
        shown = await truth(exchange.ready, symbol)
        wanted = [ts for ts in sorted(shown) if times[0] <= ts <= times[-1]]
        assert times == wanted  # in order, none missing, none twice
        told = [row["ts_event"] for row in history.to_pylist() if row["symbol"] == symbol]
        both = sorted({*told, *times})
        assert both == [ts for ts in sorted(shown) if both[0] <= ts <= both[-1]]
        for row in rows:
            if row["symbol"] == symbol:
                assert tuple(row[name] for name in VALUES) == shown[row["ts_event"]]
    for channel in ("trades", "quotes", "books", "funding"):
        seen: dict[str, int] = {}
        for row in collected.rows(channel):
            assert row["ts_event"] >= seen.get(row["symbol"], 0), (channel, row)
            seen[row["symbol"]] = row["ts_event"]
    await collected.close()


async def test_slow_consumer_is_waited_for_and_nothing_is_lost(
    tmp_path: Path, stack: contextlib.AsyncExitStack
) -> None:
    exchange = await begin(stack, tmp_path)
    config = config_of(exchange.ready).model_copy(update={"queue_batches": 2, "batch_rows": 64})
    feed = LiveFeed(config, SystemClock(), "TEST:1")
    await feed.start()
    ids: dict[str, list[int]] = {symbol: [] for symbol in config.symbols}
    gaps = []
    async for batch in feed.batches():
        await asyncio.sleep(0.002)  # each batch costs something
        if "trades" in batch.tables:
            for row in batch.tables["trades"].to_pylist():
                ids[row["symbol"]].append(row["id"])
        if "status" in batch.tables:
            gaps += [row for row in batch.tables["status"].to_pylist() if row["state"] == "gap"]
        if min(map(len, ids.values())) > 60:
            break
    assert gaps == []
    for seen in ids.values():
        assert seen == list(range(seen[0], seen[0] + len(seen)))
    await feed.close()
