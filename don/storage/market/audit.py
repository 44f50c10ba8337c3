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

from don.clock import interval_text as interval_text
from don.errors import UsageError
from don.market.coverage import COUNTED_IDS, State, StreamKey, bar_channel
from don.market.coverage_stored import StoredBars, StoredFold, StoredTrades
from don.storage.market.coverage import CoverageLedger

PROVEN = ("bars", "trades")  # channels whose rows prove their own completeness


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
        """Rows sorted by exchange, symbol, time; bars of several intervals mixed."""
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
    series: tuple[str, str] | None = None
    streams: dict[StreamKey, _Stream] = {}  # of one series: bars of several intervals lie mixed
    extra = "interval_ns" if name == "bars" else "id"
    columns = ("exchange", "symbol", "ts_event", "origin", extra)

    def finish() -> None:
        for key, stream in sorted(streams.items(), key=lambda item: item[0].channel):
            if channel is None or ":" not in channel or key.channel == channel:
                found.append(_claim(ledger, key, stream))
        streams.clear()

    for batch in store.scan(name, symbols, start, end, columns, exchange=exchange):
        for key, interval_ns, part in _segments(batch, name):
            if (key.exchange, key.symbol) != series:
                finish()
                series = key.exchange, key.symbol
            if key not in streams:
                streams[key] = _Stream(_fold(key, interval_ns, counted))
            stream = streams[key]
            stream.rows += part.num_rows
            if stream.fold is not None:
                times = part["ts_event"].to_numpy()
                ids = part["id"].to_numpy() if name == "trades" else None
                stream.fold.add(times, part["origin"].to_pylist(), ids)
    finish()
    return found


@dataclass(slots=True)
class _Stream:
    fold: StoredFold | None  # None: its rows prove nothing
    rows: int = 0


def _claim(ledger: CoverageLedger, key: StreamKey, stream: _Stream) -> Audited:
    if stream.fold is None:
        why = "trade ids do not rise by one on this exchange"
        return Audited(stream=key, rows=stream.rows, gaps=0, skipped=why)
    claims = stream.fold.claims()
    ledger.add(claims, anew=True)
    gaps = sum(claim.state is State.GAP for claim in claims)
    return Audited(stream=key, rows=stream.rows, gaps=gaps)


def _fold(key: StreamKey, interval_ns: int, counted: bool | None) -> StoredFold | None:
    if interval_ns:
        return StoredBars(key, interval_ns)
    proves = key.exchange in COUNTED_IDS if counted is None else counted
    return StoredTrades(key) if proves else None


def _segments(batch: pa.RecordBatch, name: str) -> Iterator[tuple[StreamKey, int, pa.RecordBatch]]:
    """The parts of a batch that belong to one stream each, each in order of time."""
    changed = np.zeros(batch.num_rows, bool)
    for column in ("exchange", "symbol"):
        codes = batch[column].dictionary_encode().indices.to_numpy()
        changed[1:] |= codes[1:] != codes[:-1]
    cuts = [0, *np.flatnonzero(changed).tolist(), batch.num_rows]
    for low, high in pairwise(cuts):
        if low == high:
            continue
        part = batch.slice(low, high - low)
        exchange, symbol = part["exchange"][0].as_py(), part["symbol"][0].as_py()
        if name != "bars":
            yield StreamKey(exchange, name, symbol), 0, part
            continue
        intervals = part["interval_ns"].to_numpy()
        for interval_ns in np.unique(intervals).tolist():
            own = part.filter(pa.array(intervals == interval_ns))
            yield (
                StreamKey(exchange, bar_channel(interval_text(interval_ns)), symbol),
                interval_ns,
                own,
            )
