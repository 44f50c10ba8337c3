"""What a tape refuses, and what the shipped sample is."""

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from don.errors import DataError
from don.paper.tape import Tape, open_tape

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "don/paper/sample/spot_usd_30m.parquet"
SHARED = ROOT.parent / "shared" / "data"


def test_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.parquet does not exist"):
        open_tape(tmp_path / "nowhere.parquet")


def test_not_parquet_names_it(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("hello")
    with pytest.raises(DataError, match=r"x\.parquet is not a readable Parquet"):
        open_tape(tmp_path / "x.parquet")


def test_missing_column_is_named(write_bars, tmp_path: Path) -> None:
    path = write_bars(tmp_path / "b.parquet", [("BTCUSDT", s, 1, 1, 1, 1, 1.0) for s in (0, 1)])
    pq.write_table(pq.read_table(path).drop_columns(["volume"]), path)
    with pytest.raises(DataError, match=r"b\.parquet lacks column 'volume'; expected columns"):
        open_tape(path)


def test_wrong_type_is_named(write_bars, tmp_path: Path) -> None:
    path = write_bars(tmp_path / "b.parquet", [("BTCUSDT", s, 1, 1, 1, 1, 1.0) for s in (0, 1)])
    table = pq.read_table(path)
    pq.write_table(table.set_column(2, "open", pa.array(["1", "2"])), path)
    with pytest.raises(DataError, match="column 'open': expected a number, was string"):
        open_tape(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("BTCUSDT", 1, 1.0, 0.9, 0.8, 0.85, 1.0), "column 'high', row 1: 0.9 is inside"),
        (("BTCUSDT", 1, 1.0, 1.0, 0.9, 0.8, 1.0), "column 'low', row 1: 0.9 is inside"),
        (("BTCUSDT", 1, 1.0, 1.0, 1.0, float("nan"), 1.0), "column 'close', row 1: expected a fin"),
        (("BTCUSDT", 1, 1.0, 1.0, 1.0, 1.0, -1.0), "column 'volume', row 1: expected a fin"),
        (("BTCUSDT", 0, 1.0, 1.0, 1.0, 1.0, 1.0), "the same time twice"),
        (("BTCUSD", 1, 1.0, 1.0, 1.0, 1.0, 1.0), "two names mean BTCUSDT"),
        (("BTCEUR", 1, 1.0, 1.0, 1.0, 1.0, 1.0), "symbol must be like .* was 'BTCEUR'"),
    ],
)
def test_bad_rows_are_named(write_bars, tmp_path: Path, row: tuple, message: str) -> None:
    path = write_bars(tmp_path / "b.parquet", [("BTCUSDT", 0, 1.0, 1.0, 1.0, 1.0, 1.0), row])
    with pytest.raises(DataError, match=message):
        open_tape(path)


def test_bad_arguments_are_named(sample: Tape) -> None:
    with pytest.raises(DataError, match=r"no symbol 'DOGEUSDT'; available: BTCUSDT, EOSUSDT"):
        open_tape(symbols=["DOGEUSDT"])
    with pytest.raises(DataError, match="start must be from 2018-10-01"):
        open_tape(start_ns=0)
    with pytest.raises(DataError, match="interval must be that of the bars"):
        open_tape(interval="1m")
    with pytest.raises(DataError, match="interval must be a multiple of 30m, was '45m'"):
        sample.history("BTCUSDT", "45m", sample.end_ns)
    with pytest.raises(DataError, match=r"position 5 .* is not on tape"):
        next(sample.events(5))


def test_the_sample_is_small_and_consistent(sample: Tape) -> None:
    assert SAMPLE.stat().st_size <= 2 * 2**20
    assert "MIT" in SAMPLE.with_name("NOTICE.md").read_text()
    table = pq.read_table(SAMPLE)
    assert table.column_names == [
        "symbol", "timestamp", "open", "high", "low", "close", "volume"
    ]  # fmt: skip
    assert table.num_rows == 87_446
    frame = table.to_pandas()
    assert sorted(frame["symbol"].unique()) == ["BTCUSD", "EOSUSD", "ETHUSD", "LTCUSD", "XRPUSD"]
    assert (frame["high"] >= frame[["open", "close"]].max(axis=1)).all()
    assert (frame["low"] <= frame[["open", "close"]].min(axis=1)).all()
    assert (frame["volume"] > 0).all()
    ticks = {i.exchange_symbol: (i.tick_size, i.lot_size) for i in sample.instruments()}
    assert ticks["BTCUSDT"] == (Decimal("0.1"), Decimal("0.0001"))
    assert ticks["XRPUSDT"] == (Decimal("0.00001"), Decimal(1))


def test_the_sample_equals_its_source() -> None:
    source = SHARED / "spot_usd_ohlcv_30m_2017_2019.parquet"
    if not source.exists():
        pytest.skip("no recorded data at ../shared/data")
    ours = pq.read_table(SAMPLE)
    theirs = pq.read_table(source).to_pandas()
    theirs = theirs[theirs["timestamp"] >= "2018-10-01"].astype({"symbol": "str"})
    assert ours.to_pandas().astype({"symbol": "str"}).equals(theirs.reset_index(drop=True))
