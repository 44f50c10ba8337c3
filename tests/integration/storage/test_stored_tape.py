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
from don.envs import BatchEnv, EnvConfig
from don.envs.completeness import completeness, weak
from don.envs.layout import RATE
from don.errors import DataError, UsageError
from don.learning.config import NetConfig
from don.learning.model import Model
from don.market.coverage import MINUTE_NS
from don.model.channels import complete, conform
from don.paper.tape_data import load_bars
from don.storage.database import Database
from don.storage.market.audit import rebuild
from don.storage.market.coverage import CoverageLedger
from don.storage.market.hot import MarketTables
from don.storage.market.reads import MarketStore
from don.storage.market.shares import shares
from don.storage.market.tapes import write_tape
from experiments.rllib.market_file import open_data, read_market, write_market
from experiments.training_config import DataConfig

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
    # the ledger knows minutes only: an hour made of them is as good as they are; of half of them
    # none is made
    told = shares_beside([tape], [BTC, ETH], T0 + 20 * HOUR_NS, end)
    assert [(one.symbol, one.minutes, one.by_state) for one in told] == [
        (BTC, 1_680, {"complete": 1_680}),
        (ETH, 1_680, {"complete": 1_560, "gap": 60, "repaired": 60}),
    ]
    assert shares(store, EXCHANGE, "bars:1h", [BTC, ETH], T0, end) == {
        "complete": (2_880 + 2_760) / 5_760, "gap": 60 / 5_760, "repaired": 60 / 5_760,
        "synthetic": 0.0, "down": 0.0, "unknown": 0.0,
    }  # fmt: skip
    again = write_tape(store, tmp_path, [BTC, ETH], HOUR_NS, T0, end)
    assert again == tape and len(list(tmp_path.iterdir())) == 1
    one = np.ones(1)  # an hour of its own: what is known of it counts
    load(
        stored, "bars", ETH, ts_event=np.full(1, T0 + 31 * HOUR_NS),
        interval_ns=np.full(1, HOUR_NS), open=one, high=one, low=one, close=one, volume=one,
        origin=["synthetic"],
    )  # fmt: skip
    rebuild(store, CoverageLedger(stored), channel="bars:1h")
    tape = write_tape(store, tmp_path, [BTC, ETH], HOUR_NS, T0, end)
    assert tape != again
    assert shares_beside([tape], [ETH], T0, end)[0].by_state == {
        "complete": 2_760, "repaired": 60, "synthetic": 60,
    }  # fmt: skip
    assert shares_beside([tmp_path / "elsewhere" / "x.parquet"], [ETH], T0, end) == ()
    tape.with_name("coverage.json").write_text("{")
    with pytest.raises(DataError, match="make the tape anew"):
        shares_beside([tape], [ETH], T0, end)


def test_an_empty_store_says_what_fills_it(database: Database, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no market data are stored yet; `don data collect` .*don "
    ):
        write_tape(MarketStore(database), tmp_path, [BTC], HOUR_NS, T0, T0 + 9 * HOUR_NS)


def test_what_cannot_become_a_tape_is_named(stored: Database, tmp_path: Path) -> None:
    store = MarketStore(stored)
    there = (
        "no bars of 1h of BTC-USDT-PERP are stored from 2025.*known are BINANCE_FUTURES bars:1m "
    )
    with pytest.raises(DataError, match=f"{there}of BTC-USDT-PERP from .*don data backfill"):
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
    assert told["data"]["gap"] == pytest.approx(60 / 1_920)
    assert told["data"]["repaired"] == pytest.approx(60 / 1_920)
    result = load_result(tmp_path / "run")
    assert result.digest == told["digest"]
    page = report(result, draws=10)
    assert "not all are complete: 3.125% repaired, 3.125% gap" in page
    wrong = CliRunner().invoke(app, ["backtest", "--store", "--symbols", BTC])
    assert "--store needs --interval, --start, --end" in str(wrong.exception)


def test_a_training_of_stored_bars_says_what_it_used(
    stored: Database, database_url: str, don_home: Path, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("DON_DATABASE_URL", database_url)
    config = DataConfig(
        store=True, symbols=(BTC, ETH), interval="1h",
        start=iso(T0 + 24 * HOUR_NS), end=iso(T0 + 40 * HOUR_NS),
    )  # fmt: skip
    market = open_data(config, don_home)
    assert market.symbols == (BTC, ETH)
    assert market.close_ns.tolist() == [T0 + n * HOUR_NS for n in range(25, 41)]
    assert market.bars[:, 0, RATE].sum() == pytest.approx(2e-4)  # paid at hours 32 and 40
    told = completeness(market)
    assert told["source"] == "BINANCE_FUTURES bars:1h"
    assert (told["gap"], told["repaired"]) == pytest.approx((60 / 1_920, 60 / 1_920))
    assert weak(told) == "3.125% gap, 3.125% repaired"
    write_market(market, tmp_path / "market.npz")  # what runners and trials of a search open
    again = read_market(str(tmp_path / "market.npz"))
    assert again.hash == market.hash
    assert completeness(again) == told
    # a window of it tells of its own minutes
    early = market.part(None, T0 + 30 * HOUR_NS)
    assert weak(completeness(early)) == f"{60 / 720:.3%} repaired"
    with pytest.raises(DataError, match="exchange 'KRAKEN' is not known"):
        open_data(config.model_copy(update={"exchange": "KRAKEN"}), don_home)


def test_a_registered_model_is_evaluated_on_stored_bars(
    stored: Database, database_url: str, don_home: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("DON_HOME", str(don_home))
    monkeypatch.setenv("DON_DATABASE_URL", database_url)

    def don(*words: str) -> str:
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    until = iso(T0 + 24 * HOUR_NS)
    config = DataConfig(store=True, symbols=(BTC, ETH), interval="1h", start=iso(T0), end=until)
    env = EnvConfig.model_validate({"observation": {"features": ["log_return_1"]}})
    made = Model.untrained(
        BatchEnv(open_data(config, don_home), env, 1), NetConfig(hidden=(4,)), name="stored"
    )
    card = made.card.model_copy(update={"notes": {"data_end": until}})
    Model(card=card, weights=made.weights, states=made.states).save(tmp_path / "model")
    don("models", "import", str(tmp_path / "model"), "--reason", "first")
    words = ("--store", "--end", iso(T0 + 40 * HOUR_NS), "--draws", "10", "--json")
    told = json.loads(don("evaluate", "model:stored", *words))
    assert (told["start"], told["end"]) == (until, iso(T0 + 40 * HOUR_NS))
    assert told["about"]["data_shares"]["gap"] == pytest.approx(60 / 1_920)
    assert "The data are not all complete: 3.125% gap, 3.125% repaired." in told["cautions"]
    noted = json.loads(don("models", "show", "stored", "--json"))["out_of_sample"]
    assert noted["total_return"] == told["figures"]["stored"]["total_return"]
    assert noted["run"] == told["about"]["run"]
    # a second one leaves the first as it is, one that is refused leaves no folder
    first = (don_home / "evaluations" / "stored@1" / "result.json").read_text()
    don("evaluate", str(tmp_path / "model"), *words)
    again = json.loads(don("evaluate", "stored", *words))
    assert any("looked at before, evaluated 2 times" in each for each in again["cautions"])
    late = CliRunner().invoke(app, ["evaluate", "stored", *words, "--start", "2030-01-01"])
    assert late.exit_code != 0
    made = {each.name for each in (don_home / "evaluations").iterdir()}
    assert made == {"stored@1", "stored@1-2", f"{tmp_path.name}-model"}
    assert (don_home / "evaluations" / "stored@1" / "result.json").read_text() == first
    don("models", "delete", "stored", "--reason", "of no use")
    assert "of no use" in don("models", "history")
    (entry,) = json.loads(don("models", "history", "--json"))
    assert entry["deleted"] and entry["deletion"]["why"] == "of no use"
    wrong = CliRunner().invoke(app, ["evaluate", "stored", "--store"])
    assert "'stored' is not in the registry" in str(wrong.exception)
    wrong = CliRunner().invoke(app, ["evaluate", "some/where", "--store"])
    assert "model must be a folder" in str(wrong.exception)
