"""Files in and out of the market tables: whole or not at all, and errors that say where."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from don.cli.data.importing import file_mapping
from don.cli.main import app
from don.clock import SystemClock
from don.errors import DatabaseError, DataError, UsageError
from don.storage.database import Database
from don.storage.lake.archive import Archiver
from don.storage.lake.lake import Lake
from don.storage.market import readers
from don.storage.market.exports import write_file
from don.storage.market.imports import Importer, Overlap, try_out
from don.storage.market.mapping import ImportMapping
from don.storage.market.presets import PRESETS, preset_for
from don.storage.market.reads import MarketStore

HOUR_MS = 3_600_000
START_MS = 1_735_689_600_000  # 2025-01-01
RECORDED = Path(__file__).resolve().parents[4] / "shared" / "data"


def bars(
    rows: int = 5, *, start_ms: int = START_MS, step_ms: int = HOUR_MS, **columns: Any
) -> pa.Table:
    times = [start_ms + n * step_ms for n in range(rows)]
    made = {
        "symbol": ["BTCUSDT"] * rows,
        "timestamp": times,
        "open": [100.0 + n for n in range(rows)],
        "high": [110.0 + n for n in range(rows)],
        "low": [90.0 + n for n in range(rows)],
        "close": [105.0 + n for n in range(rows)],
        "volume": [1.0] * rows,
    }
    return pa.table({**made, **columns})


MAPPING = ImportMapping(
    channel="bars", exchange="BINANCE_FUTURES", symbol_rule="perp", interval="1h"
)


def write(folder: Path, table: pa.Table, name: str = "bars.parquet") -> Path:
    path = folder / name
    if name.endswith(".csv"):
        pa_csv.write_csv(table, path)
    elif name.endswith(".feather"):
        feather.write_feather(table, path)
    else:
        pq.write_table(table, path)
    return path


def count(db: Database, table: str = "md_bars") -> int:
    with db.connection() as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.feather"])
def test_every_format_gives_the_same_rows_labelled_by_their_close(
    name: str, tmp_path: Path, database: Database
) -> None:
    done = Importer(database).load(write(tmp_path, bars(), name), MAPPING)
    assert (done.rows, done.inserted) == (5, 5)
    assert done.series == {"BINANCE_FUTURES BTC-USDT-PERP": 5}
    stored = MarketStore(database).read("bars")
    assert stored["ts_event"].to_pylist() == [
        (START_MS + (n + 1) * HOUR_MS) * 10**6 for n in range(5)
    ]
    assert stored["close"].to_pylist() == [105.0, 106.0, 107.0, 108.0, 109.0]
    assert set(stored["origin"].to_pylist()) == {"import"}
    again = Importer(database).load(tmp_path / name, MAPPING)
    assert (again.rows, again.inserted) == (5, 0)


def test_a_zipped_csv_with_iso_times_and_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(
        gzip.compress(b"2025-01-01T00:00:00Z,1,2,0.5,1.5,3\n2025-01-01 01:00,1,2,1,1,3\n")
    )
    mapping = MAPPING.model_copy(
        update={
            "symbol": "BTC-USDT-PERP",
            "header": ("timestamp", "open", "high", "low", "close", "volume"),
            "label": "close",
        }
    )
    with pytest.raises(DataError, match=r"row 0, column timestamp.*with and without a zone"):
        try_out(path, mapping)
    path.write_bytes(
        gzip.compress(b"2025-01-01T00:00:00,1,2,0.5,1.5,3\n2025-01-01 01:00,1,2,1,1,3\n")
    )
    told, head = try_out(path, mapping)
    assert told.rows == 2 and told.dry_run
    assert head["ts_event"].to_pylist() == [START_MS * 10**6, (START_MS + HOUR_MS) * 10**6]


def replaced(column: str, row: int, value: Any) -> pa.Table:
    table = bars()
    values = table[column].to_pylist()
    values[row] = value
    return table.set_column(table.column_names.index(column), column, pa.array(values))


BAD = [
    (replaced("open", 3, float("nan")), "row 3, column open: must be positive and finite"),
    (replaced("low", 2, 500.0), "row 2, column open: must lie between low and high"),
    (replaced("volume", 1, -1.0), "row 1, column volume: must be finite and not negative"),
    (replaced("close", 4, None), "row 4, column close: is empty"),
    (replaced("symbol", 2, "WHAT"), "row 2, column symbol: unknown symbol 'WHAT'"),
    (replaced("timestamp", 3, START_MS), "row 3, column timestamp: time goes back for BTC-USDT"),
    (
        replaced("timestamp", 2, START_MS // 1_000),
        r"row 2, column timestamp: 1735689600 is no time .* in ms, but would be one in s",
    ),
    (bars(timestamp=pa.array([1, 2, 3, 4, 5])), "row 0, column timestamp: 1 is no time"),
    (bars().drop_columns(["close"]), "has no column 'close'; it has symbol, timestamp"),
    (
        bars(open=pa.array(["100", "101.", "x", "1e2", "104"])),
        "row 2, column open: 'x' is no number",
    ),
]


@pytest.mark.parametrize(("table", "text"), BAD)
def test_a_bad_row_is_named_and_nothing_of_the_file_is_stored(
    table: pa.Table, text: str, tmp_path: Path, database: Database, monkeypatch
) -> None:
    monkeypatch.setattr(readers.batches, "__kwdefaults__", {"header": (), "rows": 2})
    path = write(tmp_path, table, "bad.parquet")
    with pytest.raises(DataError, match=f"^bad.parquet: {text}"):
        Importer(database).load(path, MAPPING)
    assert count(database) == 0, "not even the good pieces before it"


def test_seconds_declared_as_milliseconds_are_refused_with_the_cure(tmp_path: Path) -> None:
    path = write(
        tmp_path, bars(timestamp=pa.array([START_MS // 1_000 + n * 3_600 for n in range(5)]))
    )
    with pytest.raises(DataError, match=r"in ms, but would be one in s: give --time-unit s"):
        try_out(path, MAPPING.model_copy(update={"time_unit": "ms"}))
    assert try_out(path, MAPPING)[0].first_ns == (START_MS + HOUR_MS) * 10**6


@pytest.mark.parametrize(
    ("step", "off_ms", "interval", "said"),
    [
        (15, 0, "5m", "follow each other by 15m everywhere.*give --interval 15m"),
        (
            15,
            0,
            "1h",
            "row 1, column timestamp: a bar of 1h that closes at .*:15:.*not on whole 1h",
        ),
        (60, 0, "4h", "row 1, column timestamp: follows the bar before it by 1h"),
        (60, 1_000, "1h", "row 0, column timestamp: .*01:00:01.000Z is not on whole 1h"),
    ],
)
def test_bars_that_cannot_have_their_interval_are_refused(
    step: int, off_ms: int, interval: str, said: str, tmp_path: Path
) -> None:
    path = write(tmp_path, bars(20, step_ms=step * 60_000, start_ms=START_MS + off_ms))
    with pytest.raises(DataError, match=said):
        try_out(path, MAPPING.model_copy(update={"interval": interval}))


def test_bars_with_holes_and_days_that_begin_in_the_afternoon_are_fine(tmp_path: Path) -> None:
    table = bars(60).take([n for n in range(60) if n not in (3, 4, 5, 30)])
    assert try_out(write(tmp_path, table), MAPPING)[0].rows == 56
    days = bars(20, step_ms=24 * HOUR_MS, start_ms=START_MS + 16 * HOUR_MS)
    assert try_out(write(tmp_path, days), MAPPING.model_copy(update={"interval": "1d"}))[0].rows


def test_damaged_files_are_refused_wherever_the_damage_is(
    tmp_path: Path, database: Database
) -> None:
    path = write(tmp_path, bars(50_000, step_ms=60_000), "cut.parquet")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut.parquet: damaged or no Parquet file"):
        Importer(database).load(path, MAPPING)
    middle = bytearray(whole)
    middle[len(whole) // 3 : len(whole) // 3 + 2_000] = bytes(2_000)
    path.write_bytes(middle)
    with pytest.raises(DataError, match=r"cut.parquet: "):
        Importer(database).load(path, MAPPING)
    bad = tmp_path / "torn.csv"
    bad.write_text("symbol,timestamp,open,high,low,close,volume\nBTCUSDT,1,2\n")
    with pytest.raises(DataError, match=r"torn.csv: damaged or no csv file, from row 0 on.*Row #2"):
        Importer(database).load(bad, MAPPING)
    (tmp_path / "not.feather").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"not.feather: damaged or no feather file"):
        Importer(database).load(tmp_path / "not.feather", MAPPING)
    with pytest.raises(DataError, match="there is no such file"):
        Importer(database).load(tmp_path / "missing.parquet", MAPPING)
    with pytest.raises(DataError, match="must end in one of"):
        Importer(database).load(tmp_path / "a.xlsx", MAPPING)
    assert count(database) == 0


def test_overlapping_files_agree_or_are_refused(tmp_path: Path, database: Database) -> None:
    importer = Importer(database)
    importer.load(write(tmp_path, bars(5), "one.parquet"), MAPPING)
    shifted = bars(5, start_ms=START_MS + 3 * HOUR_MS)
    with pytest.raises(
        DataError, match=r"two.parquet: row 0, column open: is 100.0, but 103.0 is stored for BTC-"
    ):
        importer.load(write(tmp_path, shifted, "two.parquet"), MAPPING)
    assert count(database) == 5
    kept = Importer(database, overlap=Overlap.KEEP).load(tmp_path / "two.parquet", MAPPING)
    assert (kept.rows, kept.inserted) == (5, 3)
    same = write(tmp_path, bars(4), "same.parquet")
    assert importer.load(same, MAPPING).inserted == 0
    twice = pa.concat_tables([bars(1, start_ms=1_599_998_400_000)] * 2)
    done = importer.load(write(tmp_path, twice, "twice.parquet"), MAPPING)
    assert (done.rows, done.inserted) == (2, 1)


def test_a_user_or_a_database_that_stops_in_the_middle_leaves_nothing(
    tmp_path: Path, database: Database
) -> None:
    path = write(tmp_path, bars(140_000, step_ms=60_000), "long.parquet")
    mapping = MAPPING.model_copy(update={"interval": "1m"})

    def interrupt(file: str, rows: int, of: int | None) -> None:
        raise KeyboardInterrupt  # as Ctrl-C

    with pytest.raises(KeyboardInterrupt):
        Importer(database, progress=interrupt).load(path, mapping)
    assert count(database) == 0

    def cut(file: str, rows: int, of: int | None) -> None:
        assert of == 140_000
        with database.connect() as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    with pytest.raises(DatabaseError, match=r"long.parquet: nothing of it was imported"):
        Importer(database, progress=cut).load(path, mapping)
    database.close()
    assert count(database) == 0


def test_what_is_exported_can_be_imported_again(tmp_path: Path, database: Database) -> None:
    Importer(database).load(write(tmp_path, bars(100)), MAPPING)
    store = MarketStore(database)
    before = store.read("bars")
    for ending in ("parquet", "csv", "feather"):
        out = tmp_path / f"out.{ending}"
        assert write_file(out, "bars", store.scan("bars", batch_rows=30)) == 100
        mapping = file_mapping(out, "auto", None, {})
        told, head = try_out(out, mapping)
        assert told.rows == 100
        assert head.equals(before.slice(0, 3)), "to the last bit, origin included"
        assert told.first_ns == before["ts_event"][0].as_py()
        assert Importer(database).load(out, mapping).inserted == 0, "the same rows"
    with pytest.raises(UsageError, match="has lists, which CSV cannot hold"):
        write_file(tmp_path / "b.csv", "books", [])
    with pytest.raises(UsageError, match="must end in one of"):
        write_file(tmp_path / "b.txt", "bars", [])
    assert not list(tmp_path.glob(".*.part"))


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, database: Database) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    Importer(database).load(write(tmp_path, bars(10)), MAPPING)
    (tmp_path / ".out.parquet.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"out.parquet: cannot be written: .*No space left"):
        write_file(tmp_path / "out.parquet", "bars", MarketStore(database).scan("bars"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bars.parquet"]


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.parquet")), ids=lambda path: path.stem)
def test_presets_read_the_recorded_files_as_they_are(path: Path) -> None:
    try:
        mapping = preset_for(path)
    except DataError as error:
        assert "cannot be imported: it holds" in str(error)
        assert path.stem in ("bitstamp_l3_orders_btcusd_20150501", "perp_liquidation_daily")
        return
    if path.stat().st_size > 7_000_000:
        pytest.skip("large: read when benchmarks run")
    told, head = try_out(path, mapping)
    assert told.rows == pq.read_metadata(path).num_rows
    assert all(name.count("-") in (1, 2) for name in told.series)
    assert head.num_rows == 3


def test_options_change_a_preset_and_mistakes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "binance_usdm_ohlcv_1h.parquet"
    mapping = file_mapping(path, "auto", None, {"label": "close", "columns": {"volume": "vol"}})
    assert (mapping.interval, mapping.label, mapping.columns["volume"]) == ("1h", "close", "vol")
    with pytest.raises(DataError, match=r"no preset fits its name; give --channel"):
        file_mapping(tmp_path / "x.parquet", "auto", None, {})
    with pytest.raises(DataError, match=r"--preset must be auto or one of binance-spot-bars"):
        file_mapping(path, "wrong", None, {})
    with pytest.raises(DataError, match=r"time_unit was 'minutes': must be one of auto, s, ms"):
        file_mapping(path, "auto", None, {"time_unit": "minutes"})
    toml = tmp_path / "m.toml"
    toml.write_text('channel = "bars"\nexchange = "X"\ninterval = "1h"\nnonsense = 1\n')
    with pytest.raises(DataError, match=r"m.toml: unknown key 'nonsense'; known keys: .*channel"):
        file_mapping(path, "auto", toml, {})
    assert all(preset.refusal or preset.values["channel"] for preset in PRESETS.values())


def test_trades_say_who_was_the_aggressor(tmp_path: Path) -> None:
    table = pa.table(
        {
            "symbol": ["APEUSDT"] * 2,
            "timestamp": pa.array([START_MS, START_MS], pa.timestamp("ms", "UTC")),
            "agg_trade_id": [1, 2],
            "price": [1.0, 2.0],
            "quantity": [1.0, 1.0],
            "is_buyer_maker": [True, False],
        }
    )
    path = write(tmp_path, table, "binance_usdm_aggtrades_x.parquet")
    _, head = try_out(path, preset_for(path))
    assert head["buy"].to_pylist() == [False, True]
    wrong = table.set_column(5, "is_buyer_maker", pa.array(["maybe", "true"]))
    path = write(tmp_path, wrong, "binance_usdm_aggtrades_x.parquet")
    with pytest.raises(DataError, match=r"row 0, column is_buyer_maker: 'maybe' is no side"):
        try_out(path, preset_for(path))


def test_the_commands(
    tmp_path: Path, database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, bars(20), "binance_usdm_ohlcv_1h_x.parquet")
    monkeypatch.setenv("DON_DATABASE_URL", database_url)
    monkeypatch.setenv("DON_HOME", str(tmp_path))

    def don(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["data", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    dry = don("import", str(path), "--dry-run")
    assert "BTC-USDT-PERP" in dry and "dry run" in dry
    assert count(database) == 0
    done = json.loads(don("import", str(path), "--json"))
    assert (done[0]["rows"], done[0]["inserted"]) == (20, 20)
    out = tmp_path / "out.csv"
    told = json.loads(don("export", "bars", "BTC-USDT-PERP", "-o", str(out), "--json"))
    assert told["rows"] == 20
    assert pc.sum(pa_csv.read_csv(out)["close"]).as_py() == sum(105.0 + n for n in range(20))
    again = json.loads(don("import", str(out), "--json"))
    assert (again[0]["rows"], again[0]["inserted"]) == (20, 0), "its own exports it knows"
    other = write(tmp_path, bars(2), "other.csv")
    with pytest.raises(DataError, match=r"^other.csv: no preset fits its name"):
        don("import", str(other))


def test_what_the_lake_holds_counts_as_stored(tmp_path: Path, database: Database) -> None:
    lake = Lake(str(tmp_path / "lake"))
    Importer(database).load(write(tmp_path, bars(10)), MAPPING)
    archiver = Archiver(database, lake, SystemClock())
    for part in archiver.due("bars", SystemClock().now_ns(), 0):
        archiver.archive(part)
    again = Importer(database, lake).load(write(tmp_path, bars(12)), MAPPING)
    assert (again.rows, again.inserted) == (12, 2)
    other = write(tmp_path, bars(12, close=[105.0, 106.0, 107.5, *range(105, 114)]), "other.csv")
    with pytest.raises(DataError, match=r"other.csv: row 2, column close: is 107.5, but 107.0 is"):
        Importer(database, lake).load(other, MAPPING)
    with pytest.raises(DataError, match=r"archived: name the lake.*unarchive"):
        Importer(database).load(other, MAPPING)
    kept = Importer(database, lake, overlap=Overlap.KEEP).load(other, MAPPING)
    assert (kept.rows, kept.inserted) == (12, 0)
    closes = MarketStore(database, lake).read("bars")["close"].to_pylist()
    assert closes == [105.0 + n for n in range(12)]
