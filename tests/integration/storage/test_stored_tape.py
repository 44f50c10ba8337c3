"""Stored bars as a tape: the same rows, what the ledger knows beside them, told by a backtest."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from don.backtest.files import load as load_result
from don.backtest.provenance import shares_beside
from don.backtest.report import report
from don.cli.main import app
from don.clock import iso
from don.errors import DataError, UsageError
from don.market.coverage import MINUTE_NS, Range, State
from don.model.channels import complete, conform
from don.paper.tape_data import load_bars
from don.storage.database import Database
from don.storage.market.audit import rebuild
from don.storage.market.coverage import CoverageLedger
from don.storage.market.hot import MarketTables
from don.storage.market.reads import MarketStore
from don.storage.market.shares import shares
from don.storage.market.tapes import write_tape

pytestmark = pytest.mark.postgres
T0 = 1_746_057_600_000_000_000  # 2025-05-01
HOUR_NS = 60 * MINUTE_NS
BTC, ETH = "BTC-USDT-PERP", "ETH-USDT-PERP"
EXCHANGE = "BINANCE_FUTURES"


def load(db: Database, channel: str, symbol: str, exchange: str = EXCHANGE, **columns: object):
    table = complete(channel, pa.table(columns), exchange=exchange, symbol=symbol)
    MarketTables(db).load(channel, conform(channel, table, where="test"))


def load_minutes(db: Database, symbol: str, minutes: np.ndarray, origin: str = "stream") -> None:
    price = 100.0 + np.sin(minutes / 50.0).round(2)
    load(
        db, "bars", symbol, ts_event=T0 + (minutes + 1) * MINUTE_NS,
        interval_ns=np.full(len(minutes), MINUTE_NS), open=price, high=price + 0.5,
        low=price - 0.5, close=price, volume=np.full(len(minutes), 3.0),
        origin=[origin] * len(minutes),
    )  # fmt: skip


@pytest.fixture
def stored(database: Database) -> Database:
    """Two days of minutes; ETH has one repaired hour and lacks half of another."""
    minutes = np.arange(2_880)
    load_minutes(database, BTC, minutes)
    late = (minutes >= 1_500) & (minutes < 1_560)
    load_minutes(database, ETH, minutes[~late & ~((minutes >= 1_800) & (minutes < 1_830))])
    load_minutes(database, ETH, minutes[late], "repair")
    load(
        database, "funding", BTC, ts_event=T0 + np.arange(1, 7) * 8 * HOUR_NS, rate=np.full(6, 1e-4)
    )
    rebuild(MarketStore(database), CoverageLedger(database))
    return database


def test_a_tape_holds_what_is_stored_and_what_is_known_of_it(
    stored: Database, tmp_path: Path
) -> None:
    store = MarketStore(stored)
    end = T0 + 2_880 * MINUTE_NS
    tape = write_tape(store, tmp_path, [BTC, ETH], HOUR_NS, T0, end)
    panel = load_bars(tape, (BTC, ETH), None)
    assert (panel.slots, panel.interval_ns, panel.open_ns(0)) == (48, HOUR_NS, T0)
    whole = store.bars([BTC], HOUR_NS, T0 + 1, end + 1)
    ticks = float(panel.instruments[0].tick_size)
    assert (panel.high[:, 0] * ticks).tolist() == pytest.approx(whole["high"].to_pylist())
    assert len(pq.read_table(tape.with_name("stored_funding.parquet"))) == 6
    # the ledger knows minutes only: an hour made of them is as good as they are
    told = shares_beside([tape], [BTC, ETH], T0 + 20 * HOUR_NS, end)
    assert [(one.symbol, one.minutes, one.by_state) for one in told] == [
        (BTC, 1_680, {"complete": 1_680}),
        (ETH, 1_680, {"complete": 1_590, "gap": 30, "repaired": 60}),
    ]
    assert shares(store, EXCHANGE, "bars:1h", [BTC, ETH], T0, end) == {
        "complete": (2_880 + 2_790) / 5_760, "gap": 30 / 5_760, "repaired": 60 / 5_760,
        "synthetic": 0.0, "down": 0.0, "unknown": 0.0,
    }  # fmt: skip
    again = write_tape(store, tmp_path, [BTC, ETH], HOUR_NS, T0, end)
    assert again == tape and len(list(tmp_path.iterdir())) == 1
    hour = Range(exchange=EXCHANGE, channel="bars:1h", symbol=ETH, start=T0 + 30 * HOUR_NS,
                 end=T0 + 31 * HOUR_NS, state=State.SYNTHETIC)  # fmt: skip
    CoverageLedger(stored).add([hour])  # what is known of the hours themselves comes first
    write_tape(store, tmp_path, [BTC, ETH], HOUR_NS, T0, end)
    assert shares_beside([tape], [ETH], T0, end)[0].by_state == {
        "complete": 2_760, "repaired": 60, "synthetic": 60,
    }  # fmt: skip
    assert shares_beside([tmp_path / "elsewhere" / "x.parquet"], [ETH], T0, end) == ()
    tape.with_name("coverage.json").write_text("{")
    with pytest.raises(DataError, match="make the tape anew"):
        shares_beside([tape], [ETH], T0, end)


def test_what_cannot_become_a_tape_is_named(stored: Database, tmp_path: Path) -> None:
    store = MarketStore(stored)
    with pytest.raises(DataError, match="no bars of 1h of BTC-USDT-PERP are stored from 2025"):
        write_tape(store, tmp_path, [BTC], HOUR_NS, T0 + 200 * HOUR_NS, T0 + 250 * HOUR_NS)
    one = np.ones(1)
    load(
        stored, "bars", BTC, "KRAKEN", ts_event=np.full(1, T0 + HOUR_NS),
        interval_ns=np.full(1, HOUR_NS), open=one, high=one, low=one, close=one, volume=one,
    )  # fmt: skip
    with pytest.raises(DataError, match="give one of BINANCE_FUTURES, KRAKEN"):
        write_tape(store, tmp_path, [BTC], HOUR_NS, T0, T0 + 9 * HOUR_NS)
    with pytest.raises(UsageError, match="need their interval"):
        shares(store, EXCHANGE, "bars", [BTC], T0, T0 + HOUR_NS)
    assert not list(tmp_path.iterdir())


def test_a_backtest_of_stored_bars_says_what_it_used(
    stored: Database, database_url: str, don_home: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("DON_HOME", str(don_home))
    monkeypatch.setenv("DON_DATABASE_URL", database_url)

    def don(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["backtest", *words])
        assert done.exit_code == code, done.output
        return done.stdout

    span = ("--start", iso(T0 + 24 * HOUR_NS), "--end", iso(T0 + 40 * HOUR_NS))
    (tmp_path / "config.toml").write_text("history_bars = 20\n")
    told = json.loads(
        don(
            "--store", "--symbols", f"{BTC},{ETH}", "--interval", "1h", *span, "--detail", "bars",
            "--policy", "hold", "--config", str(tmp_path / "config.toml"),
            "--save", str(tmp_path / "run"), "--json",
        )
    )  # fmt: skip
    assert (told["start"], told["end"]) == (iso(T0 + 24 * HOUR_NS), iso(T0 + 40 * HOUR_NS))
    assert told["data"]["source"] == "BINANCE_FUTURES bars:1h"
    assert told["data"]["gap"] == pytest.approx(30 / 1_920)
    assert told["data"]["repaired"] == pytest.approx(60 / 1_920)
    result = load_result(tmp_path / "run")
    assert result.digest == told["digest"]
    page = report(result, draws=10)
    assert "not all are complete: 3.125% repaired, 1.562% gap" in page
    wrong = CliRunner().invoke(app, ["backtest", "--store", "--symbols", BTC])
    assert "--store needs --interval, --start, --end" in str(wrong.exception)
