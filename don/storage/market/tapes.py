"""Stored bars as a tape: files that a backtest, a sweep or a training run reads. Does I/O.

A tape is a folder named by the hash of its content: the bars, the funding payments beside them, and
what the ledger knows of their minutes. The same rows make the same tape.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from don.clock import interval_text
from don.errors import DataError
from don.market.coverage import TAPE_FILE, bar_channel
from don.market.rows import content_hash
from don.paper.tape_data import exchange_symbol
from don.storage.market.absent import no_bars
from don.storage.market.barreads import Given, given_bars
from don.storage.market.reads import MarketStore
from don.storage.market.shares import known_of

_VALUES = ("open", "high", "low", "close", "volume")


def write_tape(
    store: MarketStore,
    folder: Path,
    symbols: Sequence[str],
    interval_ns: int,
    start: int,
    end: int,
    *,
    exchange: str | None = None,
) -> Path:
    """Write stored bars, or bars made of smaller ones or of trades, as a tape.

    Args:
        store: what is read, database and lake.
        folder: where tapes are kept; one that is there already is used again.
        symbols: canonical names of perpetuals quoted in dollars.
        interval_ns: of the bars.
        start: ns, open time of the first bar.
        end: ns, exclusive, of the last bar's close.
        exchange: None: the only one that has them.

    Returns:
        The file of bars; `TAPE_FILE` lies beside it.

    Raises:
        DataError: if a symbol has no bars there, or several exchanges have them.
        DatabaseError: if the database is away.
    """
    names = {symbol: _name(symbol) for symbol in symbols}
    # a bar's time is its close: what opens at `start` closes one interval later
    given = given_bars(store, list(names), interval_ns, start + 1, end + 1, exchange)
    bars = given.table
    found = sorted(set(bars["exchange"].unique().to_pylist()))
    if len(found) > 1:
        raise DataError(f"several exchanges have these bars: give one of {', '.join(found)}")
    there = set(bars["symbol"].unique().to_pylist())
    if lacking := [symbol for symbol in names if symbol not in there]:
        raise no_bars(store.database, exchange, lacking, interval_ns, start, end)
    paid = store.read("funding", list(names), start, end + 1, exchange=found[0])
    content = (
        bars.select(["symbol", "ts_event", *_VALUES]),
        paid.select(["symbol", "ts_event", "rate"]),
    )
    text = f"{interval_ns} {' '.join(content_hash(table) for table in content)}"
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    home = folder / key
    tape = home / f"stored_ohlcv_{interval_text(interval_ns)}.parquet"
    if not tape.is_file():
        draft = _draft(folder)
        pq.write_table(_bars(bars, names, interval_ns), draft / tape.name, compression="zstd")
        if paid.num_rows:
            funding = _funding(paid, names)
            pq.write_table(funding, draft / "stored_funding.parquet", compression="zstd")
        try:
            draft.replace(home)
        except OSError:
            shutil.rmtree(draft)  # another process was faster, with the same content
            if not tape.is_file():
                raise
    _tell(store, given, home, found[0], names, interval_ns, start, end)
    return tape


def _name(symbol: str) -> str:
    """As a tape names it; refused here, before anything is read."""
    plain = symbol if symbol.endswith("-PERP") else symbol.replace("-", "")
    return exchange_symbol(plain)


def _draft(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
    except OSError as error:
        raise DataError(f"folder of tapes {folder} cannot be written: {error}") from error


def _bars(bars: pa.Table, names: dict[str, str], interval_ns: int) -> pa.Table:
    opens = pc.subtract(bars["ts_event"], interval_ns)
    return pa.table(
        {
            "symbol": _renamed(bars["symbol"], names),
            "timestamp": opens.cast(pa.timestamp("ns", "UTC")),
            **{name: bars[name] for name in _VALUES},
        }
    )


def _funding(paid: pa.Table, names: dict[str, str]) -> pa.Table:
    return pa.table(
        {
            "symbol": _renamed(paid["symbol"], names),
            "timestamp": paid["ts_event"].cast(pa.timestamp("ns", "UTC")),
            "funding_rate": paid["rate"],
        }
    )


def _renamed(column: pa.ChunkedArray, names: dict[str, str]) -> pa.Array:
    encoded = column.combine_chunks().dictionary_encode()
    ours = pa.array([names[symbol] for symbol in encoded.dictionary.to_pylist()], pa.string())
    return ours.take(encoded.indices)


def _tell(
    store: MarketStore, given: Given, home: Path, exchange: str, names: dict[str, str],
    interval_ns: int, start: int, end: int,
) -> None:  # fmt: skip
    """Write what the ledger knows now; it may have learned since the tape was made."""
    channel = bar_channel(interval_text(interval_ns))
    states: dict[str, list[tuple[int, int, str]]] = {name: [] for name in names.values()}
    for each in known_of(store, given, exchange, channel, list(names), start, end):
        states[names[each.symbol]].append((each.start, each.end, str(each.state)))
    told = {"exchange": exchange, "channel": channel, "start": start, "end": end, "states": states}
    draft = home / f".{TAPE_FILE}.{os.getpid()}"
    draft.write_text(json.dumps(told))
    draft.replace(home / TAPE_FILE)
