"""What a file of the lake is: its place, its coverage and what it must contain. Pure.

`<channel>/exchange=…/symbol=…/date=…/part-….parquet`, `date` being the first day (UTC) of the
period that the file covers. A file's name carries its content's hash, so writing the same rows
again writes the same file.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from don.clock import NS_PER_S, iso
from don.errors import DataError
from don.market.rows import content_hash
from don.model.channels import CHANNELS

NS_PER_DAY = 86_400 * NS_PER_S
WIDER = {"day": "month", "month": "year"}  # into what small files are compacted
PARTED = ("exchange", "symbol")  # columns that the path holds


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeFile:
    """One file: rows of one series in [start, end)."""

    path: str  # below the root
    channel: str
    exchange: str
    symbol: str
    start: int  # the period covered, ns UTC
    end: int
    rows: int
    size: int  # bytes
    hash: str  # of its content, see `content_hash`
    intervals: tuple[int, ...] = ()  # of bars, ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something wrong with a file of the lake."""

    path: str
    what: str


def period(width: str, ts_ns: int) -> tuple[int, int]:
    """[start, end) of the day, month or year (UTC) that a time falls into, ns."""
    moment = datetime.fromtimestamp(ts_ns // NS_PER_S, UTC)
    if width == "day":
        start = ts_ns // NS_PER_DAY * NS_PER_DAY
        return start, start + NS_PER_DAY
    if width == "month":
        year, month = moment.year + moment.month // 12, moment.month % 12 + 1
        return _midnight(moment.year, moment.month), _midnight(year, month)
    if width == "year":
        return _midnight(moment.year, 1), _midnight(moment.year + 1, 1)
    raise DataError(f"period must be day, month or year, was {width!r}")


def _midnight(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * NS_PER_S


def folder(channel: str, exchange: str, symbol: str, start: int) -> str:
    """Where the files of a period lie, below the root; odd characters are percent-encoded."""
    day = datetime.fromtimestamp(start // NS_PER_S, UTC).date().isoformat()
    return (
        f"{channel}/exchange={quote(exchange, safe='')}/symbol={quote(symbol, safe='')}/date={day}"
    )


def named(path: str) -> dict[str, str]:
    """Channel, exchange, symbol and date in a file's path.

    Raises:
        DataError: if it is not a path of the lake's.
    """
    parts = path.split("/")
    found = dict(part.split("=", 1) for part in parts[1:-1] if "=" in part)
    if len(parts) != 5 or set(found) != {"exchange", "symbol", "date"}:
        raise DataError(
            f"lake file {path}: must be CHANNEL/exchange=…/symbol=…/date=…/part-….parquet"
        )
    return {"channel": parts[0], **{name: unquote(value) for name, value in found.items()}}


def unfinished(path: str) -> bool:
    """Whether this is what a crash leaves of a file on a disk before it has its name."""
    name = path.rsplit("/", 1)[-1]
    return name.startswith(".part-") and name.endswith(".tmp")


def describe(channel: str, table: pa.Table, start: int, end: int, size: int = 0) -> LakeFile:
    """The file that a series' rows of a period make.

    Args:
        channel: of the rows.
        table: rows of one series, in the channel's order, every `ts_event` in [start, end).
        start: of the period, ns.
        end: of the period, exclusive, ns.
        size: bytes, if written already.

    Raises:
        DataError: if there are no rows, several series, or a time outside the period.
    """
    names = [pc.unique(table[name]).to_pylist() for name in PARTED]
    if [len(found) for found in names] != [1, 1]:
        raise DataError(f"a lake file of {channel} holds one series, these rows have {names}")
    (exchange,), (symbol,) = names
    times = table["ts_event"].to_numpy()
    if times.min() < start or times.max() >= end:
        row = int(np.flatnonzero((times < start) | (times >= end))[0])
        raise DataError(
            f"{channel} of {exchange} {symbol}: row {row}, column ts_event: must be in "
            f"[{iso(start)}, {iso(end)}), was {iso(int(times[row]))}"
        )
    digest = content_hash(table)
    intervals: tuple[int, ...] = ()
    if "interval_ns" in table.column_names:
        intervals = tuple(sorted(pc.unique(table["interval_ns"]).to_pylist()))
    return LakeFile(
        path=f"{folder(channel, exchange, symbol, start)}/part-{digest[:16]}.parquet",
        channel=channel,
        exchange=exchange,
        symbol=symbol,
        start=start,
        end=end,
        rows=table.num_rows,
        size=size,
        hash=digest,
        intervals=intervals,
    )


def stored_schema(channel: str) -> pa.Schema:
    """Columns inside a file: those of the channel that the path does not say."""
    return pa.schema([field for field in CHANNELS[channel].schema if field.name not in PARTED])
