"""Where the bars of a feature build come from: a Parquet file, or the market database. Does I/O.

A source gives the rows of one symbol and a span of close times at a time, so that a build needs no
more memory than a span takes, however long the history is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from don.clock import iso
from don.errors import DataError
from don.features.columns import PRICE, Floats, Ints
from don.market.bars import MICRO, BarSums
from don.paper.funding import DEFAULT_RATE, load_funding
from don.storage.market.reads import MarketStore

DAY_NS = 86_400 * 10**9
_ROWS = 65_536  # of a file that are looked at together
_BUFFER = 1 << 20  # bytes of a column of a row group that are read at once
_SUMMED = ("trades", "quotes", "books", "marks")
_AS_FED = {"marks": "funding"}  # the channel's name among feeds


class BarSource(Protocol):
    """Bars of some symbols, of one interval."""

    symbols: tuple[str, ...]
    interval_ns: int

    def span(self) -> tuple[int, int]:
        """Close of the first bar and of the last, over all symbols, ns."""

    def bars(self, symbol: str, start: int, end: int) -> tuple[Ints, dict[str, Floats]]:
        """Close times in [start, end), rising, and columns: `PRICE` and what else is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bars:
    """Where a symbol's bars lie."""

    first: int  # open, ns
    last: int
    step: int | None  # greatest that all its steps are multiples of, ns; None: there is one bar


class ParquetBars:
    """A file of bars: `symbol`, `timestamp` (the open, as a timestamp), prices and volume.

    Args:
        path: the file, sorted by symbol and timestamp.
        symbols: as the file names them; all if empty.
        interval_ns: of the bars; None: what all steps between them are multiples of.
        funding: a file of funding payments, for the column `rate`: the last one paid before a bar
            closed, for of the next one nothing was recorded before it was paid.

    Raises:
        DataError: if the file cannot be read as one, is not sorted, lacks a symbol, or has bars of
            another interval. A bar is known at its open and the interval: were that too short, a
            feature would know bars that have not closed.
    """

    def __init__(
        self,
        path: Path,
        symbols: Sequence[str] = (),
        interval_ns: int | None = None,
        funding: Path | None = None,
    ) -> None:
        self._path = path
        self._check()
        known = self._spans()
        there = sorted(known)
        unknown = [symbol for symbol in symbols if symbol not in there]
        if unknown or not there:
            has = ", ".join(there) or "no bars"
            raise DataError(f"{path} has no {', '.join(unknown) or 'bars'}; it has {has}")
        self.symbols = tuple(symbols or there)
        self._known = {symbol: known[symbol] for symbol in self.symbols}
        step = math.gcd(*(one.step or 0 for one in self._known.values())) or None
        if interval_ns is None and step is None:
            raise DataError(f"{path} has one bar of {', '.join(self.symbols)}: state the interval")
        if interval_ns is not None and step is not None and interval_ns != step:
            raise DataError(
                f"interval must be that of the bars: {path} has bars every {step / 1e9:g} s, was "
                f"{interval_ns / 1e9:g} s"
            )
        self.interval_ns = interval_ns if interval_ns is not None else int(step or 0)
        self._rates = dict(
            zip(self.symbols, load_funding(funding, self.symbols), strict=True)
        ) if funding is not None else {}  # fmt: skip

    def _check(self) -> None:
        try:
            schema = pq.read_schema(self._path)
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"bars {self._path} cannot be read: {error}") from error
        lacking = sorted({"symbol", "timestamp", *PRICE} - set(schema.names))
        if lacking:
            raise DataError(f"bars {self._path} lack columns {', '.join(lacking)}")
        if not pa.types.is_timestamp(kind := schema.field("timestamp").type):
            raise DataError(f"timestamp of bars {self._path} must be a timestamp, was {kind}")
        for name in PRICE:
            kind = schema.field(name).type
            if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
                raise DataError(f"{name} of bars {self._path} must be numbers, was {kind}")

    def _spans(self) -> dict[str, "_Bars"]:
        """First and last open and step of every symbol, in one pass of bounded memory."""
        found: dict[str, _Bars] = {}
        with pq.ParquetFile(self._path) as file:
            for batch in file.iter_batches(_ROWS, columns=["symbol", "timestamp"]):
                stamps = batch["timestamp"].cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
                names = pc.dictionary_encode(batch["symbol"].cast(pa.string()))
                if stamps.null_count or names.null_count:
                    raise DataError(f"symbol and timestamp of bars {self._path} must be known")
                times, at = np.asarray(stamps.to_numpy()), names.indices.to_numpy()
                for place, name in enumerate(names.dictionary.to_pylist()):
                    own = times[at == place]
                    before = found.get(name)
                    steps = np.diff(own if before is None else np.append(before.last, own))
                    if len(steps) and steps.min() <= 0:
                        raise DataError(
                            f"bars of {name} in {self._path} must be sorted by timestamp, each "
                            f"once; one at {int(own[0])} ns or later is not"
                        )
                    known = 0 if before is None or before.step is None else before.step
                    step = math.gcd(known, int(np.gcd.reduce(steps)) if len(steps) else 0)
                    found[name] = _Bars(
                        first=int(own[0]) if before is None else before.first, last=int(own[-1]),
                        step=step or None,
                    )  # fmt: skip
        return found

    def span(self) -> tuple[int, int]:
        """Close of the first bar and of the last."""
        ends, step = self._known.values(), self.interval_ns
        return min(e.first for e in ends) + step, max(e.last for e in ends) + step

    def bars(self, symbol: str, start: int, end: int) -> tuple[Ints, dict[str, Floats]]:
        """Close times in [start, end) and columns."""
        table = self._read(symbol, start - self.interval_ns, end - self.interval_ns)
        closes = _ns(table["timestamp"]).to_numpy() + self.interval_ns
        columns = {name: np.asarray(table[name].to_numpy(), np.float64) for name in PRICE}
        if (schedule := self._rates.get(symbol)) is not None:
            rates = np.array([*map(float, schedule.rates), float(DEFAULT_RATE)])  # -1: the default
            columns["rate"] = rates[schedule.known_at(closes)]
        return closes, columns

    def _read(self, symbol: str, start: int, end: int) -> pa.Table:
        """Rows with an open in [start, end), a batch at a time: row groups may be big."""
        found: list[pa.Table] = []
        with pq.ParquetFile(self._path, buffer_size=_BUFFER, pre_buffer=False) as file:
            names, about = file.schema_arrow.names, file.metadata
            at, stamp = names.index("symbol"), names.index("timestamp")
            groups = [
                g for g in range(about.num_row_groups)
                if _may_have(about.row_group(g).column(at), symbol, symbol)
                and _may_have(about.row_group(g).column(stamp), start, end - 1)
            ]  # fmt: skip
            columns = ["symbol", "timestamp", *PRICE]
            for batch in file.iter_batches(_ROWS, row_groups=groups, columns=columns):
                opens = _ns(batch["timestamp"])
                own = pc.equal(batch["symbol"].cast(pa.string()), symbol)
                own = pc.and_(own, pc.greater_equal(opens, start))
                kept = batch.filter(pc.and_(own, pc.less(opens, end)))
                if kept.num_rows:
                    found.append(pa.Table.from_batches([kept]).select(columns[1:]))
            schema = pa.schema([file.schema_arrow.field(name) for name in columns[1:]])
        return pa.concat_tables(found) if found else schema.empty_table()


def _ns(stamps: Any) -> Any:
    """Times as ns since the epoch: of an array, chunks of them, or one."""
    return stamps.cast(pa.timestamp("ns", "UTC")).cast(pa.int64())


def _may_have(column: Any, low: str | int, high: str | int) -> bool:
    """Whether a row group may have a value of a column from `low` to `high`, by its statistics.

    Times are in ns, as is what they are compared with.
    """
    known = column.statistics
    if known is None or not known.has_min_max:
        return True
    least, most = known.min, known.max
    if isinstance(low, int):
        least, most = (_ns(pa.scalar(moment)).as_py() for moment in (least, most))
    return bool(least <= high and most >= low)


class StoreBars:
    """Bars of the market database and its lake, with the micro-structure of what is stored.

    Args:
        store: to read from.
        symbols: canonical names.
        interval_ns: of the bars.
        start: first close, ns.
        end: close before which it ends, ns.
        exchange: of the series, where several have the symbols.
        micro: recompute the sums of `don.market.bars` from stored trades, quotes, books and marks.
    """

    def __init__(
        self,
        store: MarketStore,
        symbols: Sequence[str],
        interval_ns: int,
        start: int,
        end: int,
        *,
        exchange: str | None = None,
        micro: bool = True,
    ) -> None:
        if start >= end:
            raise DataError(f"start must be before end, were {iso(start)} and {iso(end)}")
        self._store, self.symbols, self.interval_ns = store, tuple(symbols), interval_ns
        self._start, self._end = start, end
        self._exchange, self._micro = exchange, micro

    def span(self) -> tuple[int, int]:
        """First close that is asked for and the last; there may be no bars at them."""
        step = self.interval_ns
        return -(-self._start // step) * step, (self._end - 1) // step * step

    def bars(self, symbol: str, start: int, end: int) -> tuple[Ints, dict[str, Floats]]:
        """Close times in [start, end) and columns."""
        start, end = max(start, self._start), min(end, self._end)
        if start >= end:
            return np.empty(0, np.int64), {name: np.empty(0) for name in PRICE}
        table = self._store.bars([symbol], self.interval_ns, start, end, exchange=self._exchange)
        closes = np.asarray(table["ts_event"].to_numpy(), np.int64)
        columns = {name: np.asarray(table[name].to_numpy(), np.float64) for name in PRICE}
        if self._micro:
            micro = self._sums(symbol, closes)
            columns |= {name: micro[:, i] for i, name in enumerate(MICRO)}
        return closes, columns

    def _sums(self, symbol: str, closes: Ints) -> Floats:
        out = np.full((len(closes), len(MICRO)), np.nan)
        sums = BarSums((symbol,), self.interval_ns)
        done = 0
        while done < len(closes):  # a day at a time: that much is held at once
            begin = int(closes[done]) - self.interval_ns
            last = int(np.searchsorted(closes, begin + max(DAY_NS, self.interval_ns), "right"))
            last = max(last, done + 1)
            end = int(closes[last - 1])
            for channel in _SUMMED:
                until = end + 1 if channel == "marks" else end
                for batch in self._store.scan(
                    channel, [symbol], begin, until, exchange=self._exchange
                ):
                    sums.add(_AS_FED.get(channel, channel), pa.Table.from_batches([batch]))
            for i in range(done, last):
                out[i] = sums.finish(int(closes[i]))[0]
            done = last
        return out
