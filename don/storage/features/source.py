"""Where the bars of a feature build come from: a Parquet file, or the market database. Does I/O.

A source gives the rows of one symbol and a span of close times at a time, so that a build needs no
more memory than a span takes, however long the history is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from don.errors import DataError
from don.features.columns import PRICE, Floats, Ints
from don.market.bars import MICRO, BarSums
from don.paper.funding import load_funding
from don.storage.market.reads import MarketStore

DAY_NS = 86_400 * 10**9
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


class ParquetBars:
    """A file of bars: `symbol`, `timestamp` (the open, as a timestamp), prices and volume.

    Args:
        path: the file, sorted by symbol and timestamp.
        symbols: as the file names them; all if empty.
        interval_ns: of the bars; None: the smallest step of the first symbol.
        funding: a file of funding payments, for the columns `rate` and `mark` (the close).

    Raises:
        DataError: if the file cannot be read as one, or lacks a symbol.
    """

    def __init__(
        self,
        path: Path,
        symbols: Sequence[str] = (),
        interval_ns: int | None = None,
        funding: Path | None = None,
    ) -> None:
        self._path = path
        needed = {"symbol", "timestamp", *PRICE}
        try:
            lacking = sorted(needed - set(pq.read_schema(path).names))
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"bars {path} cannot be read: {error}") from error
        if lacking:
            raise DataError(f"bars {path} lack columns {', '.join(lacking)}")
        known = pc.unique(pq.read_table(path, columns=["symbol"])["symbol"].cast(pa.string()))
        there = sorted(known.to_pylist())
        unknown = [symbol for symbol in symbols if symbol not in there]
        if unknown:
            raise DataError(f"{path} has no {', '.join(unknown)}; it has {', '.join(there)}")
        self.symbols = tuple(symbols or there)
        times = self._opens(self.symbols[0])
        steps = np.diff(times)
        if interval_ns is None and not len(steps):
            raise DataError(f"{path} has one bar of {self.symbols[0]}: state the interval")
        self.interval_ns = int(steps.min()) if interval_ns is None else interval_ns
        self._rates = dict(
            zip(self.symbols, load_funding(funding, self.symbols), strict=True)
        ) if funding is not None else {}  # fmt: skip

    def _opens(self, symbol: str) -> Ints:
        table = pq.read_table(
            self._path, columns=["timestamp"], filters=pc.field("symbol") == symbol
        )
        times = table["timestamp"].cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
        return np.asarray(times.to_numpy())

    def span(self) -> tuple[int, int]:
        """Close of the first bar and of the last."""
        ends = [self._opens(symbol)[[0, -1]] for symbol in self.symbols]
        step = self.interval_ns
        return int(min(e[0] for e in ends)) + step, int(max(e[1] for e in ends)) + step

    def bars(self, symbol: str, start: int, end: int) -> tuple[Ints, dict[str, Floats]]:
        """Close times in [start, end) and columns."""
        kind = pq.read_schema(self._path).field("timestamp").type
        low, high = (
            pa.scalar(moment - self.interval_ns, pa.timestamp("ns", "UTC")).cast(kind, safe=False)
            for moment in (start, end)
        )
        stamp = pc.field("timestamp")
        wanted = (pc.field("symbol") == symbol) & (stamp >= low) & (stamp < high)
        table = pq.read_table(self._path, columns=["timestamp", *PRICE], filters=wanted)
        opens = table["timestamp"].cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_numpy()
        closes = np.asarray(opens, np.int64) + self.interval_ns
        columns = {name: np.asarray(table[name].to_numpy(), np.float64) for name in PRICE}
        schedule = self._rates.get(symbol)
        if schedule is not None and len(closes):
            columns["mark"] = columns["close"].copy()
            running = (schedule.next_after(ts - 1)[1] for ts in closes.tolist())
            columns["rate"] = np.array([float(rate) for rate in running])
        return closes, columns


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
            raise DataError(f"start must be before end, were {start} and {end}")
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
