"""The clock of each collected exchange is measured and told, whatever becomes of the others."""

from pathlib import Path

import pytest
from support.feed import until
from support.paper import served

from actors.clocks import Clocks
from don.clock import NS_PER_MS, SystemClock
from don.feeds.config import FeedConfig


class Ahead(SystemClock):
    """A machine whose clock is five seconds ahead."""

    def now_ns(self) -> int:
        return super().now_ns() + 5_000 * NS_PER_MS


async def test_each_source_tells_how_far_its_clock_is(tmp_path: Path) -> None:
    feed = FeedConfig(exchange="BINANCE_FUTURES", symbols=("BTC-USDT-PERP",))
    async with served(tmp_path) as ready:
        sources = [
            ("AWAY", feed.model_copy(update={"rest_url": "http://127.0.0.1:1"})),
            ("PAPER", feed.model_copy(update={"rest_url": ready.rest_url})),
        ]
        clocks = Clocks(sources, Ahead(), lambda exchange, limits: None)
        await until(lambda: bool(clocks.summary()))
        await clocks.close()
    (name, found), *others = clocks.summary().items()
    assert (name, others) == ("PAPER", [])
    assert abs(found["ahead_ms"] - 5_000) <= found["error_ms"] + 1
    assert clocks.text().startswith("clock ") and "ms ahead of PAPER" in clocks.text()
    told = {each.name: each.value for each in clocks.samples()}
    assert told["exchange_clock_ahead_seconds"] == pytest.approx(
        found["ahead_ms"] / 1_000, abs=1e-5
    )
