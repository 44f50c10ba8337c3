"""A live feed under test: how it is set up, what it has delivered, and how to wait for it."""

import asyncio
import time
from collections.abc import Callable

import pyarrow as pa
from support.fault_exchange import FaultExchange

from don.feeds.config import FeedConfig
from don.feeds.live import LiveFeed
from don.model.schema import SCHEMAS, MarketBatch

SYMBOLS = ["BTCUSDT", "ETHUSDT"]


class Collected:
    """A feed and everything it has delivered so far."""

    def __init__(self, feed: LiveFeed) -> None:
        self.feed = feed
        self.batches: list[MarketBatch] = []
        self.error: BaseException | None = None
        self._task = asyncio.create_task(self._collect())

    async def _collect(self) -> None:
        async for batch in self.feed.batches():
            self.batches.append(batch)

    def rows(self, channel: str) -> list[dict]:
        tables = [b.tables[channel] for b in self.batches if channel in b.tables]
        return pa.concat_tables([SCHEMAS[channel].empty_table(), *tables]).to_pylist()

    def bars(self, symbol: str) -> list[int]:
        return [row["ts_event"] for row in self.rows("bars") if row["symbol"] == symbol]

    def states(self, symbol: str, channel: str) -> list[str]:
        rows = self.rows("status")
        return [r["state"] for r in rows if r["symbol"] == symbol and r["channel"] == channel]

    def stream(self, symbol: str, channel: str):
        streams = self.feed.health().streams
        return next(s for s in streams if s.symbol == symbol and s.channel == channel)

    async def close(self) -> None:
        await self.feed.close()
        await asyncio.wait_for(self._task, 120)


async def until(condition: Callable[[], bool], timeout_s: float = 60.0, what: str = "") -> None:
    """Wait for a condition; an error, not a hang, if it does not come true."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s} s: {what or condition}")
        await asyncio.sleep(0.005)


def feed_config(exchange: FaultExchange, **changes) -> FeedConfig:
    values = {
        "symbols": ("BTC-USDT-PERP", "ETH-USDT-PERP"),
        "interval": "1m",
        "rest_url": exchange.rest_url,
        "ws_url": exchange.ws_url,
        "ca_file": exchange.ca_file,
        "backoff_base_s": 0.02,
        "backoff_cap_s": 0.2,
        "bar_wait_s": 0.05,
    }
    return FeedConfig(**(values | changes))
