"""A message of a recorded book is taken out: the feed notices, and has that one book anew."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from support.feed import Collected, until
from support.recordings import FOLDER, RecordedExchange, Recording

from don.clock import SystemClock
from don.feeds.config import FeedConfig
from don.feeds.health import StreamState
from don.feeds.live import LiveFeed

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="no recordings: ../shared/data/raw/cryptofeed is not there"
)


def okx(message: dict) -> tuple[str, bool] | None:
    if message.get("arg", {}).get("channel") != "books" or "action" not in message:
        return None
    return message["arg"]["instId"], message["action"] == "snapshot"


def kraken(message: list) -> tuple[str, bool] | None:
    if not isinstance(message, list) or not str(message[-2]).startswith("book"):
        return None
    return message[-1], "as" in message[1]


def kraken_futures(message: dict) -> tuple[str, bool] | None:
    if message.get("feed") not in ("book", "book_snapshot") or "product_id" not in message:
        return None
    return message["product_id"], message["feed"] == "book_snapshot"


@dataclass(frozen=True)
class Case:
    exchange: str
    symbol: str
    key: str
    about: Callable[[object], tuple[str, bool] | None]  # (exchange symbol, snapshot?) of a message
    why: str
    lost: int = 1  # messages
    changed: Callable[[dict], dict] | None = None  # the message comes all the same, so


@pytest.mark.parametrize(
    "case",
    [
        Case("OKX", "BTC-USDT", "BTC-USDT", okx, "checksum of the book differs"),
        Case("KRAKEN", "XMR-USD", "XMR/USD", kraken, "checksum of the book differs", 20),
        Case(
            "KRAKEN_FUTURES",
            "BTC-USD-21U24",
            "FI_XBTUSD_210924",
            kraken_futures,
            "MissingSequenceNumber",
        ),
        Case(
            "KRAKEN_FUTURES",
            "BTC-USD-21U24",
            "FI_XBTUSD_210924",
            kraken_futures,
            "book crossed: 999999",
            changed=lambda message: {**message, "side": "buy", "price": 999_999.0, "qty": 1.0},
        ),
    ],
    ids=lambda case: f"{case.exchange}-{case.why.split()[0]}",
)
async def test_a_lost_or_wrong_message_costs_that_one_book_only(case, tmp_path):
    recording = Recording(case.exchange)
    whole = recording.messages
    told = list(whole)  # by the exchange, rightly
    mine = [i for i, m in enumerate(whole) if (case.about(json.loads(m)) or ("",))[0] == case.key]
    lost, last = mine[5 : 5 + case.lost], mine[5 + case.lost + 20]
    if case.changed is not None:
        whole[lost[0]] = json.dumps(case.changed(json.loads(whole[lost[0]])))
        lost = []
    recording.messages = [m for i, m in enumerate(whole[: last + 1]) if i not in lost]
    exchange = RecordedExchange(recording, tmp_path)
    await exchange.start()
    config = FeedConfig(
        exchange=case.exchange,
        symbols=recording.symbols,
        channels=("books",),
        rest_url=exchange.rest_url,
        ws_url=exchange.ws_url,
        ca_file=tmp_path / "cert.pem",
        streams_per_connection=1000,
    )
    feed = LiveFeed(config, SystemClock(), "TEST:1")
    await feed.start()
    collected = Collected(feed)

    def asked(what: str) -> list[str]:
        return [text for text in exchange.received if f'"{what}"' in text]

    try:
        await exchange.played.wait()
        await until(lambda: asked("unsubscribe"))
        (leave,), again = asked("unsubscribe"), asked("subscribe")[-1]
        assert case.key.lower() in leave.lower() and again == leave.replace("unsub", "sub")
        others = [s for s in recording.symbols if s != case.symbol]
        keys = {key for key, _ in filter(None, (case.about(json.loads(m)) for m in whole))}
        assert not any(key.lower() in leave.lower() for key in keys if key != case.key)
        await until(lambda: "stale" in collected.states(case.symbol, "books"))
        assert collected.stream(case.symbol, "books").detail == "resynchronising"
        sent = len([r for r in collected.rows("books") if r["symbol"] == case.symbol])
        for symbol in others:
            assert "stale" not in collected.states(symbol, "books")
        # What follows of the old book is not believed; a snapshot and its updates are.
        await exchange.say(whole[last])
        await exchange.say(*(told[i] for i in mine if i <= last))
        await until(lambda: collected.stream(case.symbol, "books").state is StreamState.LIVE)
        await exchange.say(*whole[last + 1 :])
        total = len(whole) - len(lost) + 1 + len([i for i in mine if i <= last])
        await until(lambda: feed.health().messages == total)
        await until(
            lambda: len([r for r in collected.rows("books") if r["symbol"] == case.symbol]) > sent
        )
        health = feed.health()
        (gap,) = [r["detail"] for r in collected.rows("status") if r["state"] == "gap"]
        assert gap.startswith(case.why)
        assert (health.resyncs, health.gaps, health.reconnects) == (1, 1, 0)
        assert collected.states(case.symbol, "books") == ["live", "gap", "stale", "live"]
    finally:
        await collected.close()
        await exchange.stop()


async def test_a_book_that_does_not_come_again_ends_the_connection(tmp_path, monkeypatch):
    """The exchange ignores the new subscription: a new connection is the last resort."""
    monkeypatch.setattr("don.feeds.resubscribe.WAIT_S", 0.05)
    recording = Recording("OKX")
    mine = [i for i, m in enumerate(recording.messages) if (okx(json.loads(m)) or ("",))[0]]
    key = okx(json.loads(recording.messages[mine[0]]))[0]
    of_key = [i for i in mine if okx(json.loads(recording.messages[i]))[0] == key]
    recording.messages = [recording.messages[i] for i in (*of_key[:3], *of_key[4:12])]
    exchange = RecordedExchange(recording, tmp_path)
    await exchange.start()
    config = FeedConfig(
        exchange="OKX",
        symbols=recording.symbols,
        channels=("books",),
        rest_url=exchange.rest_url,
        ws_url=exchange.ws_url,
        ca_file=tmp_path / "cert.pem",
        backoff_base_s=0.01,
        backoff_cap_s=0.02,
    )
    feed = LiveFeed(config, SystemClock(), "TEST:1")
    await feed.start()
    collected = Collected(feed)
    try:
        await until(lambda: feed.health().reconnects == 1)
        assert "does not come" in feed.health().detail
        assert len([t for t in exchange.received if '"unsubscribe"' in t]) == 3
    finally:
        await collected.close()
        await exchange.stop()
        await asyncio.sleep(0)
