"""`don data query`, `archive`, `unarchive`, `compact`, `verify` as a user runs them."""

import json
from pathlib import Path

import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from support.stored import market_rows
from typer.testing import CliRunner

from don.cli.main import app
from don.errors import DonError
from don.storage.database import Database
from don.storage.market.hot import MarketTables
from don.storage.market.reads import MarketStore

pytestmark = pytest.mark.postgres


@pytest.fixture
def data(database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DON_DATABASE_URL", database_url)
    monkeypatch.setenv("DON_HOME", str(tmp_path / "home"))
    for channel in ("trades", "bars", "books"):
        MarketTables(database).load(channel, market_rows(channel, 300))

    def run(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, ["data", *words])
        if isinstance(result.exception, DonError):
            assert result.exception.exit_code == code, result.exception
        else:
            assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


def test_a_partition_goes_to_the_lake_and_back(data, tmp_path: Path) -> None:
    before = data("query", "trades", "--format", "csv").output
    assert len(before.splitlines()) == 301
    due = json.loads(data("archive", "trades", "--older-than", "0", "--dry-run", "--json").output)
    moved = json.loads(data("archive", "trades", "--older-than", "0", "--json").output)
    assert len(due) == len(moved) == 3 and sum(row["rows"] for row in moved) == 300
    assert data("query", "trades", "--format", "csv").output == before
    assert json.loads(data("verify", "--json").output) == {"files": 9, "faults": []}
    assert json.loads(data("compact", "trades", "--json").output)["trades"]["made"] == 3
    span = ("--start", "2025-05-01", "--end", "2025-05-09")
    victim = next(p for p in (tmp_path / "home" / "lake").rglob("*.parquet") if "KRAKEN" in str(p))
    assert "9 files" in data("unarchive", "trades", *span).output or victim.exists()
    assert data("query", "trades", "--format", "csv").output == before


def test_verify_exits_with_three(data, tmp_path: Path) -> None:
    lake = tmp_path / "elsewhere"
    data("archive", "trades", "--older-than", "0", "--lake", str(lake))
    next(lake.rglob("*.parquet")).write_bytes(b"nonsense")
    assert "1 wrong" in data("verify", "--lake", str(lake), code=3).output
    assert "9 wrong" in data("verify", code=3).output  # the configured lake has none of them


def test_every_format_holds_the_same_rows(data, database: Database, tmp_path: Path) -> None:
    whole = MarketStore(database).read("books")
    out = {form: tmp_path / f"books.{form}" for form in ("json", "arrow", "parquet")}
    for form, path in out.items():
        data("query", "books", "--format", form, "-o", str(path))
    rows = [json.loads(line) for line in out["json"].read_text().splitlines()]
    assert rows == whole.to_pylist()
    assert pyarrow.ipc.open_stream(out["arrow"].read_bytes()).read_all().to_pylist() == rows
    assert pq.read_table(out["parquet"]).to_pylist() == rows
    assert sorted(tmp_path.glob(".*")) == []


def test_questions_and_answers(data) -> None:
    lines = data("query", "trades", "BTC-USDT-PERP", "--exchange", "KRAKEN", "--last", "3").output
    assert len(lines.splitlines()) == 4 and "2025-05-03T" in lines
    hours = data("query", "bars", "--interval", "1h", "--start", "2025-05-01", "--end",
                 "2025-05-02", "--columns", "ts_event,close", "--format", "csv").output  # fmt: skip
    assert hours.splitlines()[0] == '"ts_event","close"'
    counted = data("query", "--sql", "SELECT count(*) AS n FROM md_trades", "--format", "json")
    assert json.loads(counted.output) == {"n": 300}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("query",), "either a channel or --sql"),
        (("query", "trade"), "channel must be one of"),
        (("query", "trades", "--format", "xls"), "--format must be one of"),
        (("query", "trades", "--format", "parquet"), "needs --output"),
        (("query", "trades", "--start", "noon"), "--start must be an ISO-8601 time"),
        (("query", "bars", "--interval", "1x"), "interval must be like 1m"),
        (("query", "--sql", "DROP TABLE series"), "--sql must be one SELECT"),
        (("query", "--sql", "SELECT 1; DELETE FROM series"), "--sql must be one"),
        (("query", "--sql", "WITH d AS (DELETE FROM series RETURNING 1) SELECT 1"), "--sql: "),
        (("query", "trades", "--exchange", "NOPE"), "known are BINANCE_FUTURES, KRAKEN"),
        (("query", "books", "--format", "csv", "-o", "/no/such/x"), "there is no folder /no/such"),
        (("unarchive", "bars", "--start", "2025-05-02", "--end", "2025-05-01"), "must be after"),
        (("archive", "nothing"), "channel must be one of"),
        (
            ("backfill", "BYBIT", "books", "--symbols", "all", "--start", "2025-01-01"),
            "was 'books'",
        ),
    ],
)
def test_mistakes_are_named(data, words: tuple[str, ...], said: str) -> None:
    assert said in str(data(*words, code=2).exception)


def test_a_statement_that_takes_too_long_is_ended(data) -> None:
    slow = data("query", "--sql", "SELECT pg_sleep(20)", "--timeout", "0.2", code=2)
    assert "--sql took longer than --timeout 0.2 s" in str(slow.exception)
