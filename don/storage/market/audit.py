"""Audits of what is stored: the ledger's claims made anew from the rows themselves. Does I/O.

Bars and trades carry their own proof: each interval, each id must be there. Of other channels only
the live record knows whether something is missing; their claims are left as they are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import pyarrow as pa

from don.errors import UsageError
from don.market.coverage import COUNTED_IDS, State, StreamKey, bar_channel
from don.market.coverage_stored import StoredBars, StoredFold, StoredTrades
from don.storage.market.coverage import CoverageLedger

PROVEN = ("bars", "trades")  # channels whose rows prove their own completeness
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


class Store(Protocol):
    """As `don.storage.market.reads.MarketStore`."""

    def scan(
        self,
        channel: str,
        symbols: Sequence[str] | None = None,
        start: int | None = None,
        end: int | None = None,
        columns: Sequence[str] | None = None,
        *,
        exchange: str | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Rows sorted by exchange, symbol, (interval,) time."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What an audit found in one stream."""

    stream: StreamKey
    rows: int
    gaps: int
    skipped: str = ""  # why nothing was claimed


def rebuild(
    store: Store,
    ledger: CoverageLedger,
    *,
    exchange: str | None = None,
    channel: str | None = None,
    symbols: Sequence[str] | None = None,
    start: int | None = None,
    end: int | None = None,
    counted: bool | None = None,
) -> list[Audited]:
    """Read bars and trades, and make the ledger say what they prove.

    Between the first and the last row of a stream in [start, end) every minute is claimed anew;
    what was known to be the exchange's outage stays so. Memory is bounded by the number of holes.

    Args:
        store: what is read.
        ledger: what is written.
        exchange: None: all.
        channel: "trades", "bars", "bars:1m"; None: all that prove themselves.
        symbols: None: all.
        start: ns; None: from the first row.
        end: ns, exclusive; None: to the last row.
        counted: trade ids rise by one; None: if the exchange is one of `COUNTED_IDS`.

    Raises:
        UsageError: if the channel does not prove its own completeness.
        DataError: as reads of the store.
    """
    if channel is not None and channel.partition(":")[0] not in PROVEN:
        raise UsageError(
            f"only {' and '.join(PROVEN)} prove their own completeness, channel was {channel!r}: "
            "of others only what was noted while they were collected is known"
        )
    found: list[Audited] = []
    for name in PROVEN:
        if channel is not None and channel.partition(":")[0] != name:
            continue
        found += _rebuild(store, ledger, name, channel, symbols, start, end, exchange, counted)
    return found


def _rebuild(
    store: Store,
    ledger: CoverageLedger,
    name: str,
    channel: str | None,
    symbols: Sequence[str] | None,
    start: int | None,
    end: int | None,
    exchange: str | None,
    counted: bool | None,
) -> list[Audited]:
    found: list[Audited] = []
    fold: StoredFold | None = None
    current: StreamKey | None = None
    rows = 0
    extra = "interval_ns" if name == "bars" else "id"
    columns = ("exchange", "symbol", "ts_event", "origin", extra)

    def finish() -> None:
        other = channel is not None and ":" in channel
        if current is None or (other and current.channel != channel):
            return
        if fold is None:
            why = "trade ids do not rise by one on this exchange"
            found.append(Audited(stream=current, rows=rows, gaps=0, skipped=why))
            return
        claims = fold.claims()
        ledger.add(claims, anew=True)
        gaps = sum(claim.state is State.GAP for claim in claims)
        found.append(Audited(stream=current, rows=rows, gaps=gaps))

    for batch in store.scan(name, symbols, start, end, columns, exchange=exchange):
        for key, interval_ns, part in _segments(batch, name):
            if key != current:
                finish()
                current, rows, fold = key, 0, _fold(key, interval_ns, counted)
            rows += part.num_rows
            if fold is not None:
                times = part["ts_event"].to_numpy()
                ids = part["id"].to_numpy() if name == "trades" else None
                fold.add(times, part["origin"].to_pylist(), ids)
    finish()
    return found


def _fold(key: StreamKey, interval_ns: int, counted: bool | None) -> StoredFold | None:
    if interval_ns:
        return StoredBars(key, interval_ns)
    proves = key.exchange in COUNTED_IDS if counted is None else counted
    return StoredTrades(key) if proves else None


def _segments(batch: pa.RecordBatch, name: str) -> Iterator[tuple[StreamKey, int, pa.RecordBatch]]:
    """The parts of a batch that belong to one stream each."""
    changed = np.zeros(batch.num_rows, bool)
    columns = ("exchange", "symbol", *(("interval_ns",) if name == "bars" else ()))
    for column in columns:
        codes = batch[column].dictionary_encode().indices.to_numpy()
        changed[1:] |= codes[1:] != codes[:-1]
    cuts = [0, *np.flatnonzero(changed).tolist(), batch.num_rows]
    for low, high in pairwise(cuts):
        if low == high:
            continue
        part = batch.slice(low, high - low)
        interval_ns = part["interval_ns"][0].as_py() if name == "bars" else 0
        said = bar_channel(interval_text(interval_ns)) if name == "bars" else name
        yield (
            StreamKey(part["exchange"][0].as_py(), said, part["symbol"][0].as_py()),
            interval_ns,
            part,
        )


def interval_text(interval_ns: int) -> str:
    """An interval in its largest whole unit, `1m`."""
    seconds = interval_ns // 1_000_000_000
    unit, size = next((u, s) for u, s in _UNITS if seconds % s == 0)
    return f"{seconds // size}{unit}"
