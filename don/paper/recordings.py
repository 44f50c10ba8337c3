"""Recordings of trades and books from files. Reads files; no clock, no randomness.

Two kinds: raw websocket recordings of a futures exchange (gzip; each line a receive time in ns and
a message of a combined stream, or the answer of the REST depth snapshot), and Parquet files of
aggregate trades (`symbol, timestamp, agg_trade_id, price, quantity, is_buyer_maker`).
"""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from don.errors import DataError
from don.paper.book_rows import BookRows
from don.paper.recorded import Ints, Recording
from don.paper.tape_data import (
    NS_PER_MS,
    choose,
    decimals,
    exchange_symbol,
    make_instrument,
    read_table,
    rows_by_symbol,
    step,
    times_ns,
)

AGG_COLUMNS = ("symbol", "timestamp", "agg_trade_id", "price", "quantity", "is_buyer_maker")
_MOST = 8  # decimals
_Diff = tuple[int, int, dict[str, Any]]  # exchange time, arrival, message


@dataclass(slots=True)
class _Raw:
    """Messages of one symbol, as recorded."""

    trades: list[tuple[int, int, int, float, float, bool]] = field(default_factory=list)
    depth: list[_Diff] = field(default_factory=list)
    snapshot: _Diff | None = None


def load_depth(paths: Sequence[Path], symbols: Sequence[str] | None) -> list[Recording]:
    """Recordings from raw files, one or more a symbol; those of a symbol must follow each other.

    Raises:
        DataError: naming file and line, if a file is missing, malformed, or a diff is missing.
    """
    raw: dict[str, _Raw] = {}
    for path in paths:
        _read_raw(path, raw)
    names = choose(paths[0], symbols, [name for name, one in raw.items() if one.trades])
    return [_recording(name, raw[name], paths[0]) for name in names]


def _read_raw(path: Path, raw: dict[str, _Raw]) -> None:
    decode = msgspec.json.decode
    pending: list[tuple[int, dict[str, Any]]] = []  # snapshots do not name their symbol
    seen: set[str] = set()
    number = 0
    try:
        with gzip.open(path, "rb") as lines:
            for line in lines:
                number += 1
                if b"@bookTicker" in line[:120]:
                    continue  # follows from the book
                stamp, _, text = line.partition(b" ")
                message = decode(text)
                if "lastUpdateId" in message:
                    pending.append((int(stamp), message))
                    continue
                data = message["data"]
                name = exchange_symbol(data["s"])
                one = raw.setdefault(name, _Raw())
                seen.add(name)
                ts = int(data.get("T", data["E"])) * NS_PER_MS
                if data["e"] == "trade" and data.get("X", "MARKET") == "MARKET":
                    trade = (ts, int(stamp), data["t"], float(data["p"]), float(data["q"]))
                    one.trades.append((*trade, not data["m"]))
                elif data["e"] == "depthUpdate":
                    one.depth.append((ts, int(stamp), data))
    except FileNotFoundError as error:
        raise DataError(f"recording {path} does not exist") from error
    except (OSError, EOFError, msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"recording {path}, line {number}: expected a receive time in ns and a message of a "
            f"combined stream or a depth snapshot ({type(error).__name__}: {error})"
        ) from error
    for arrival, message in pending:
        if len(seen) != 1:
            raise DataError(f"recording {path} has a depth snapshot and not just one symbol")
        ts = int(message.get("T", arrival // NS_PER_MS)) * NS_PER_MS
        one = raw[next(iter(seen))]
        one.snapshot = one.snapshot or (ts, arrival, message)


def _recording(name: str, raw: _Raw, path: Path) -> Recording:
    if raw.snapshot is None:
        raise DataError(f"recording {path} has no depth snapshot of {name}")
    begin, arrival, snapshot = raw.snapshot
    diffs = _chained(name, raw.depth, int(snapshot["lastUpdateId"]), path)
    sides = [(snapshot["bids"], snapshot["asks"]), *((d["b"], d["a"]) for _, _, d in diffs)]
    levels = np.array(
        [(float(p), float(q)) for pair in sides for side in pair for p, q in side], np.float64
    ).reshape(-1, 2)
    trades = [trade for trade in raw.trades if trade[0] >= begin]
    columns = list(zip(*trades, strict=True)) if trades else [()] * 6
    prices, sizes = np.array(columns[3], np.float64), np.array(columns[4], np.float64)
    tick = _places(np.concatenate([levels[:, 0], prices]))
    lot = _places(np.concatenate([levels[:, 1], sizes]))
    counts = [(len(bids), len(asks)) for bids, asks in sides]
    stamps = np.array([begin, *(ts for ts, _, _ in diffs)], np.int64)
    books = BookRows(
        symbol=name,
        ts=np.maximum(stamps, begin),
        whole=np.arange(len(sides)) == 0,
        ends=np.cumsum(np.array(counts, np.int64)).reshape(-1, 2).astype(np.int64),
        rows=np.rint(levels * (10.0**tick, 10.0**lot)).astype(np.int64),
    )
    return Recording(
        instrument=make_instrument(name, step(tick), step(lot)),
        ts=np.array(columns[0], np.int64),
        arrival=np.array(columns[1], np.int64),
        id=np.array(columns[2], np.int64),
        price=np.rint(prices * 10**tick).astype(np.int64),
        lots=np.rint(sizes * 10**lot).astype(np.int64),
        buy=np.array(columns[5], np.bool_),
        count=np.ones(len(trades), np.int64),
        books=books,
        book_arrival=np.array([arrival, *(moment for _, moment, _ in diffs)], np.int64),
        begin_ns=begin,
    )


def _chained(name: str, depth: list[_Diff], known: int, path: Path) -> list[_Diff]:
    """The diffs after a snapshot, each of which must follow the one before."""
    found: list[_Diff] = []
    last: int | None = None
    for diff in depth:
        first, final = int(diff[2]["U"]), int(diff[2]["u"])
        if final < known:
            continue
        previous = int(diff[2].get("pu", first - 1))
        if (last is None and first > known + 1) or (last is not None and previous != last):
            raise DataError(f"recording {path}, {name}: a depth diff is missing before {first}")
        last = final
        found.append(diff)
    return found


def _places(values: np.ndarray) -> int:
    found = decimals(values, 1.0)
    return _MOST if found is None else found


def is_aggregate(path: Path) -> bool:
    """True if a file is Parquet and looks like aggregate trades rather than bars."""
    try:
        names = set(pq.read_schema(path).names)
    except (pa.ArrowException, OSError):
        return False  # whoever opens it next says what is wrong
    return "is_buyer_maker" in names and "open" not in names


def load_aggregate(path: Path, symbols: Sequence[str] | None) -> list[Recording]:
    """Recordings of aggregate trades from a Parquet file, without books.

    Raises:
        DataError: naming file, column and what is expected.
    """
    table = read_table(path, AGG_COLUMNS, "tape")
    rows = rows_by_symbol(table, path, "tape")
    times = times_ns(table)
    columns = {name: np.asarray(table[name].to_numpy()) for name in AGG_COLUMNS[2:]}
    found = []
    for name in choose(path, symbols, list(rows)):
        own = rows[name]
        own = own[np.argsort(columns["agg_trade_id"][own], kind="stable")]
        ids, ts = columns["agg_trade_id"][own].astype(np.int64), times[own]
        for column, bad in (
            ("agg_trade_id", np.diff(ids) <= 0),
            ("timestamp", np.diff(ts) < 0),
            ("price", ~(columns["price"][own] > 0)),
            ("quantity", ~(columns["quantity"][own] > 0)),
        ):
            if bad.any():
                raise DataError(
                    f"tape {path}, column {column!r}: expected rising ids and times and positive "
                    f"numbers, {name} breaks this {int(bad.sum())} times"
                )
        prices = columns["price"][own].astype(np.float64)
        sizes = columns["quantity"][own].astype(np.float64)
        tick, lot = _places(prices), _places(sizes)
        order: Ints = np.arange(len(own), dtype=np.int64)
        found.append(
            Recording(
                instrument=make_instrument(name, step(tick), step(lot)),
                ts=ts,
                arrival=order,
                id=ids,
                price=np.rint(prices * 10**tick).astype(np.int64),
                lots=np.rint(sizes * 10**lot).astype(np.int64),
                buy=~columns["is_buyer_maker"][own].astype(np.bool_),
                count=np.ones(len(own), np.int64),
                books=(),
                book_arrival=np.empty(0, np.int64),
                begin_ns=int(ts[0]),
            )
        )
    return found
