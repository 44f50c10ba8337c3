"""Recordings of 18 real exchanges through real sockets: every recorded event comes out, once.

The counts are those that the recordings' own description gives for cryptofeed's playback.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog
from support.feed import Collected, until
from support.recordings import FOLDER, RecordedExchange, Recording

from don.clock import SystemClock
from don.feeds.config import FeedConfig
from don.feeds.health import FeedHealth
from don.feeds.live import LiveFeed
from don.feeds.venues import VENUES

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="no recordings: ../shared/data/raw/cryptofeed is not there"
)

COUNTS = {
    "BINANCE": {"books": 176, "quotes": 84, "trades": 2, "bars": 2},
    "BINANCE_DELIVERY": {"quotes": 2240, "books": 1798, "trades": 51, "bars": 33},
    "BINANCE_FUTURES": {"quotes": 613, "books": 756, "bars": 67, "trades": 91},
    "BITFINEX": {"quotes": 21, "trades": 210, "books": 1600},
    "BITFLYER": {"trades": 162, "quotes": 249, "books": 749},
    "BITMEX": {"quotes": 436, "trades": 27, "books": 1979},
    "BITSTAMP": {"books": 627, "trades": 10},
    "DERIBIT": {"quotes": 89, "books": 46},
    "DYDX": {"books": 4663, "trades": 1026},
    "GATEIO": {"books": 169, "quotes": 22, "bars": 14, "trades": 9},
    "GEMINI": {"books": 655, "trades": 16},
    "HUOBI": {"books": 292, "trades": 73},
    "KRAKEN": {"trades": 10, "quotes": 18, "books": 4279},
    "KRAKEN_FUTURES": {"books": 7024, "quotes": 107, "trades": 3},
    "OKX": {"quotes": 28, "trades": 74, "books": 290},
    "PHEMEX": {"books": 1337, "trades": 10025, "bars": 10041},
    "POLONIEX": {"books": 294, "trades": 6},
    "UPBIT": {"trades": 304, "books": 145},
}


@dataclass
class Played:
    """What came out of a feed that was served a recording."""

    recording: Recording
    health: FeedHealth
    rows: Counter[str] = field(default_factory=Counter)
    keys: dict[str, set] = field(default_factory=dict)


async def play(name: str, folder: Path) -> Played:
    """Serve one recording to a feed until all of it has been read."""
    recording = Recording(name)
    exchange = RecordedExchange(recording, folder, speaks_first=VENUES[name].fast is not None)
    await exchange.start()
    config = FeedConfig(
        exchange=name,
        symbols=recording.symbols,
        channels=recording.channels,
        rest_url=exchange.rest_url,
        ws_url=exchange.ws_url,
        ca_file=folder / "cert.pem",
        streams_per_connection=1000,
    )
    feed = LiveFeed(config, SystemClock(), f"{name}:1")
    played = Played(recording, feed.health())

    async def collect() -> None:
        async for batch in feed.batches():
            for channel, table in batch.tables.items():
                played.rows[channel] += table.num_rows
                if channel == "trades":
                    rows = zip(*(table[c].to_pylist() for c in ("symbol", "id")), strict=True)
                    played.keys.setdefault(channel, set()).update(rows)

    task = asyncio.create_task(collect())
    try:
        async with asyncio.timeout(120):
            await feed.start()
            await exchange.played.wait()
            await until(lambda: feed.health().messages == len(recording.messages), 60)
            # The books' snapshots may be on their way still; of other exchanges not all symbols
            # were heard of in the recording.
            enough = all if VENUES[name].fast is not None else any
            await until(
                lambda: (
                    enough(s.state == "live" for s in feed.health().streams if s.channel == "books")
                    and played.rows["books"] > 0
                )
            )
        played.health = feed.health()
        assert exchange.unknown == []
    finally:
        await feed.close()
        await task
        await exchange.stop()
    return played


def diffs(recording: Recording) -> int:
    return sum("@depth" in str(message)[:80] for message in recording.messages)


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> dict[str, Played]:
    async def all_of_them() -> dict[str, Played]:
        slots = asyncio.Semaphore(4)

        async def one(name: str) -> Played:
            async with slots:
                return await play(name, tmp_path_factory.mktemp(name.lower()))

        # The longest first: cryptofeed's BITSTAMP waits for 5 s before its snapshots.
        names = sorted(COUNTS, key=lambda name: name != "BITSTAMP")
        found = await asyncio.gather(*(one(name) for name in names))
        return dict(zip(names, found, strict=True))

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("name", COUNTS)
def test_every_recorded_event_comes_out_once(name, played):
    run = played[name]
    health = run.health
    events: Counter[str] = Counter()
    for stream in health.streams:
        events[stream.channel] += stream.events
    expected = dict(COUNTS[name])
    if VENUES[name].fast is not None:
        expected["books"] = diffs(run.recording)  # ours counts messages, theirs what it applied
    if name == "PHEMEX":  # its history of closed bars comes newest first: known when it comes
        assert events["bars"] + health.duplicates == expected["bars"]
        events["bars"] = expected["bars"]
    assert +events == expected
    assert (health.malformed, health.gaps, health.resyncs, health.reconnects) == (0, 0, 0, 0)
    assert run.rows["trades"] == expected.get("trades", 0)
    assert len(run.keys.get("trades", ())) == run.rows["trades"], "ids must tell trades apart"
    assert run.rows["books"] > 0


def test_the_table_says_which_exchanges_were_recorded():
    assert {name for name, venue in VENUES.items() if venue.recording} == set(COUNTS)


@pytest.mark.parametrize("name", ["HUOBI", "UPBIT", "GEMINI"])
async def test_two_connections_of_any_exchange_give_each_trade_once(name, tmp_path):
    recording = Recording(name)
    exchange = RecordedExchange(recording, tmp_path, plays=2)
    exchange.go.clear()
    await exchange.start()
    config = FeedConfig(
        exchange=name,
        symbols=recording.symbols,
        channels=recording.channels,
        rest_url=exchange.rest_url,
        ws_url=exchange.ws_url,
        ca_file=tmp_path / "cert.pem",
        streams_per_connection=1000,
        redundancy=2,
    )
    feed = LiveFeed(config, SystemClock(), "TEST:1")
    await feed.start()
    collected = Collected(feed)
    try:
        await until(lambda: len(exchange.clients) == 2)
        exchange.go.set()
        await until(lambda: feed.health().messages == 2 * len(recording.messages))
        await until(lambda: len(collected.rows("trades")) >= COUNTS[name]["trades"])
        rows = [(r["symbol"], r["id"]) for r in collected.rows("trades")]
        assert len(rows) == len(set(rows)) == COUNTS[name]["trades"]
        assert (feed.health().gaps, feed.health().malformed) == (0, 0)
        for symbol in recording.symbols:  # one copy's states at a time: never back in time
            times = [r["ts_event"] for r in collected.rows("books") if r["symbol"] == symbol]
            assert times == sorted(times)
    finally:
        await collected.close()
        await exchange.stop()


async def test_a_refused_subscription_shows_in_the_log_and_in_the_stream(tmp_path):
    recording = Recording("OKX")
    recording.messages = ['{"event":"error","msg":"no such channel","code":"60018"}'] * 5
    exchange = RecordedExchange(recording, tmp_path)
    await exchange.start()
    config = FeedConfig(
        exchange="OKX",
        symbols=recording.symbols,
        channels=("trades",),
        rest_url=exchange.rest_url,
        ws_url=exchange.ws_url,
        ca_file=tmp_path / "cert.pem",
    )
    with structlog.testing.capture_logs() as logs:
        async with LiveFeed(config, SystemClock(), "TEST:1") as feed:
            await until(lambda: feed.health().messages == 5)
            details = {s.detail for s in feed.health().streams}
    await exchange.stop()
    assert details == {"subscribed, nothing has come yet"}
    said = [entry for entry in logs if entry["event"] == "cryptofeed says"]
    assert "no such channel" in said[0]["text"]
    assert [entry["count"] for entry in said] == [1, 2, 4]
