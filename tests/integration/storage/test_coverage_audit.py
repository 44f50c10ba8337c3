"""`don data audit`: what stored rows prove; gaps are told, and set the exit code."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import Result
from typer.testing import CliRunner

from don.cli.main import app
from don.clock import iso
from don.errors import UsageError
from don.market.coverage import MINUTE_NS, Range, State
from don.model.channels import complete, conform
from don.storage.database import Database
from don.storage.market.audit import rebuild
from don.storage.market.coverage import CoverageLedger
from don.storage.market.hot import MarketTables
from don.storage.market.reads import MarketStore

pytestmark = pytest.mark.postgres
T0 = 1_746_057_600_000_000_000  # 2025-05-01
BTC, ETH = "BTC-USDT-PERP", "ETH-USDT-PERP"


def load(db: Database, channel: str, exchange: str, symbol: str, **columns: object) -> None:
    table = complete(channel, pa.table(columns), exchange=exchange, symbol=symbol)
    MarketTables(db).load(channel, conform(channel, table, where="test"))


def load_bars(db: Database, minutes: np.ndarray, origin: str = "stream") -> None:
    one = np.ones(len(minutes))
    load(
        db, "bars", "BINANCE", BTC, ts_event=T0 + (minutes + 1) * MINUTE_NS,
        interval_ns=np.full(len(minutes), MINUTE_NS), open=one, high=one, low=one, close=one,
        volume=one, origin=[origin] * len(minutes),
    )  # fmt: skip


def load_trades(db: Database, exchange: str, ids: np.ndarray, symbol: str = ETH) -> None:
    one = np.ones(len(ids))
    load(
        db, "trades", exchange, symbol, ts_event=T0 + ids * 10_000_000_000, id=ids,
        price=one, size=one, buy=one > 0,
    )  # fmt: skip


@pytest.fixture
def stored(database: Database) -> Database:
    """Two days of bars without minutes 100 to 109, 7 repaired ones; trades without 600 to 650."""
    minutes = np.arange(2_880)
    gone = (minutes >= 100) & (minutes < 110)
    mended = (minutes >= 200) & (minutes < 207)
    load_bars(database, minutes[~gone & ~mended])
    load_bars(database, minutes[mended], "repair")
    ids = np.arange(2_000)
    load_trades(database, "BINANCE", ids[(ids < 600) | (ids > 650)])
    load_trades(database, "KRAKEN", ids[ids % 3 > 0])
    return database


def test_the_ledger_is_made_anew_from_rows(stored: Database) -> None:
    ledger = CoverageLedger(stored)
    lie = Range(
        exchange="BINANCE", channel="bars:1m", symbol=BTC, start=T0, end=T0 + 2_880 * MINUTE_NS,
        state=State.COMPLETE,
    )  # fmt: skip
    ledger.add([lie])
    found = rebuild(MarketStore(stored), ledger)
    assert [(a.stream.exchange, a.stream.channel, a.rows, a.gaps) for a in found] == [
        ("BINANCE", "bars:1m", 2_870, 1), ("BINANCE", "trades", 1_949, 1),
        ("KRAKEN", "trades", 1_333, 0),
    ]  # fmt: skip
    assert "do not rise by one" in found[2].skipped
    gap, = ledger.read(channel="bars", states=[State.GAP])  # fmt: skip
    assert ((gap.start - T0) // MINUTE_NS, gap.minutes) == (100, 10)
    assert gap.reason == "10 bars missing"
    mended, = ledger.read(states=[State.REPAIRED])  # fmt: skip
    assert ((mended.start - T0) // MINUTE_NS, mended.minutes) == (200, 7)
    hole, = ledger.read(channel="trades", states=[State.GAP])  # fmt: skip
    assert hole.reason == "trades 600 to 650 missing (51)"
    assert (hole.start, hole.end) == (T0 + 99 * MINUTE_NS, T0 + 109 * MINUTE_NS)
    shares = ledger.shares("BINANCE", "bars:1m", [BTC], T0, T0 + 2_880 * MINUTE_NS)
    assert shares.by_state == {State.COMPLETE: 2_863, State.GAP: 10, State.REPAIRED: 7}
    load_bars(stored, np.arange(100, 110), "repair")
    rebuild(MarketStore(stored), ledger, channel="bars:1m", start=T0, end=T0 + 900 * MINUTE_NS)
    assert ledger.read(channel="bars", states=[State.GAP]) == []
    with pytest.raises(UsageError, match="only bars and trades prove"):
        rebuild(MarketStore(stored), ledger, channel="quotes")


def test_bars_of_two_intervals_are_judged_apart(database: Database) -> None:
    load_bars(database, np.setdiff1d(np.arange(60), [31, 32]))
    five = np.setdiff1d(np.arange(12), [4])
    one = np.ones(len(five))
    load(
        database, "bars", "BINANCE", BTC, ts_event=T0 + (five + 1) * 5 * MINUTE_NS,
        interval_ns=np.full(len(five), 5 * MINUTE_NS), open=one, high=one, low=one, close=one,
        volume=one,
    )  # fmt: skip
    ledger = CoverageLedger(database)
    found = rebuild(MarketStore(database), ledger)
    assert [(a.stream.channel, a.rows, a.gaps) for a in found] == [
        ("bars:1m", 58, 1), ("bars:5m", 11, 1),
    ]  # fmt: skip
    gaps = ledger.read(states=[State.GAP])
    assert [(g.channel, (g.start - T0) // MINUTE_NS, g.minutes) for g in gaps] == [
        ("bars:1m", 31, 2), ("bars:5m", 20, 5),
    ]  # fmt: skip


def test_the_command_tells_and_fails_on_gaps(
    stored: Database, database_url: str, don_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DON_HOME", str(don_home))
    monkeypatch.setenv("DON_DATABASE_URL", database_url)

    def don(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["data", "audit", *arguments])

    done = don("--rebuild", "--strict", "--json")
    assert done.exit_code == 3, done.output
    told = json.loads(done.stdout)
    assert {(g["channel"], g["minutes"], g["start"]) for g in told["gaps"]} == {
        ("bars:1m", 10, iso(T0 + 100 * MINUTE_NS)),
        ("trades", 10, iso(T0 + 99 * MINUTE_NS)),
    }
    assert told["streams"][0]["shares"]["gap"] == pytest.approx(10 / 2_880)
    assert told["other"][0]["state"] == "repaired"
    plain = don("--channel", "bars")
    assert plain.exit_code == 0
    assert "BINANCE   bars:1m  BTC-USDT-PERP  10 bars missing" in plain.stdout
    assert "60 min a column" in plain.stdout and "99.41" in plain.stdout
    with pytest.raises(UsageError, match="--start must be an ISO-8601 time"):
        CliRunner().invoke(app, ["data", "audit", "--start", "now"], catch_exceptions=False)
    with pytest.raises(UsageError, match="nothing is known of 'quotes', but of BINANCE bars:1m"):
        CliRunner().invoke(app, ["data", "audit", "--channel", "quotes"], catch_exceptions=False)
    with pytest.raises(UsageError, match="symbol BTCUSDT; did you mean BTC-USDT-PERP"):
        CliRunner().invoke(app, ["data", "audit", "--symbol", "BTCUSDT"], catch_exceptions=False)
    with pytest.raises(UsageError, match="nothing is known of symbol DOGE;"):
        CliRunner().invoke(app, ["data", "audit", "--symbol", "DOGE"], catch_exceptions=False)
