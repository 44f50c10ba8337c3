"""Fixtures of the tape's tests: small files of bars, and the sample."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from don.paper.tape import Tape, open_tape

START = datetime(2024, 1, 1, tzinfo=UTC)
Row = tuple[str, int, float, float, float, float, float]


@pytest.fixture(scope="session")
def write_bars() -> Callable[[Path, list[Row]], Path]:
    """Writes bars (symbol, minute since 2024, open, high, low, close, volume) to a Parquet file."""
    return _write_bars


@pytest.fixture(scope="session")
def sample() -> Tape:
    return open_tape(seed=7)


def _write_bars(path: Path, rows: list[Row]) -> Path:
    names = ("symbol", "timestamp", "open", "high", "low", "close", "volume")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    origin = int(START.timestamp()) * 1000
    columns["timestamp"] = pa.array(
        [origin + slot * 60_000 for slot in columns["timestamp"]], pa.timestamp("ms", "UTC")
    )
    pq.write_table(pa.table(columns), path)
    return path
