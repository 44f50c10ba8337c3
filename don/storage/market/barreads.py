"""Bars of any interval: stored, resampled from smaller bars, or made of trades. Does I/O.

A bar is given if one source has all of it: the bar itself is stored, all its smaller bars of one
interval are, or trades are stored for all of its time. Sources are tried for each close by itself,
the smallest interval first, trades last; a bar is never made of a part of its parts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from don.clock import NS_PER_S
from don.errors import DataError
from don.market.resample import resample_bars
from don.market.rows import ordered
from don.model.channels import CHANNELS
from don.storage.lake import manifest
from don.storage.market.blocks import HOUR_NS
from don.storage.market.hotreads import (
    FIRST,
    LAST,
    Ask,
    Pair,
    bounds_of,
    pair_at,
    partitions_in,
)
from don.storage.market.tradebars import traded

if TYPE_CHECKING:
    from don.storage.market.reads import MarketStore

TRADES = 0  # step of bars that were made of trades
NONE = -1  # code of a close that has no bar
_APART_NS = 86_400 * NS_PER_S  # missing bars that are closer are read for together
_CELLS = 5_000_000  # closes of all series together, beyond which a range is cut to what is stored

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Bars, and of what each close of the range was made."""

    table: pa.Table
    series: tuple[Pair, ...]
    closes: Ints  # ns, on the grid: of the bars that the range may have
    steps: tuple[int, ...]  # ns, intervals of the sources by code; TRADES
    codes: NDArray[np.int8]  # [series, close]; NONE where there is no bar. A close in whose time
    # nothing was traded, as trades that cover it say, has their code although it has no bar


def given_bars(
    store: "MarketStore",
    symbols: Sequence[str] | None,
    interval: int,
    start: int,
    end: int,
    exchange: str | None,
) -> Given:
    """Bars as `MarketStore.bars` gives them, and their sources; arguments and errors as there."""
    if interval <= 0 or interval % NS_PER_S:
        raise DataError(f"interval must be whole seconds, was {interval} ns")
    chosen = store.chosen(symbols, exchange)
    known = store.intervals(chosen)
    stored = CHANNELS["bars"].schema.empty_table()
    if end <= start or any(interval in intervals for intervals in known.values()):
        stored = store.read("bars", symbols, start, end, exchange=exchange, interval=interval)
    smaller = {
        pair: [step for step in known[pair] if step < interval and interval % step == 0]
        for pair in chosen
    }
    steps = sorted({step for steps in smaller.values() for step in steps})
    closes = _range(store, interval, start, end, len(chosen))
    made = _Made(chosen, closes, interval, (interval, *steps, TRADES))
    made.take(stored, interval, strays=True)
    for step in steps:
        _resample(store, made, step, [pair for pair in chosen if step in smaller[pair]])
    _make_of_trades(store, made)
    return made.given()


class _Made:
    """What was found so far, and which bars are still lacking."""

    def __init__(
        self, series: Sequence[Pair], closes: Ints, interval: int, steps: tuple[int, ...]
    ) -> None:
        self.closes, self.interval, self._steps = closes, interval, steps
        self._rows = {pair: row for row, pair in enumerate(series)}
        self._codes = np.full((len(series), len(closes)), NONE, np.int8)
        self._tables: list[pa.Table] = []

    def take(self, table: pa.Table, step: int, *, strays: bool = False) -> None:
        """Keep the bars that were lacking; with `strays` those off the grid too."""
        if not table.num_rows:
            return
        kept = np.full(table.num_rows, strays)
        times = table["ts_event"].to_numpy()
        for low, high in bounds_of(table) if len(self.closes) else ():
            own = self._codes[self._rows[pair_at(table, low)]]
            at, off = np.divmod(times[low:high] - self.closes[0], self.interval)
            fits = np.flatnonzero((off == 0) & (at >= 0) & (at < len(own)))
            fits = fits[own[at[fits]] == NONE]
            own[at[fits]] = self._steps.index(step)
            kept[low + fits] = True
        self._tables.append(table if kept.all() else table.filter(pa.array(kept)))

    def quiet(self, pair: Pair, closes: Ints) -> None:
        """Trades say that there is no bar at these closes."""
        at = (closes - self.closes[0]) // self.interval
        self._codes[self._rows[pair], at] = self._steps.index(TRADES)

    def lacking(self, pairs: Iterable[Pair] | None = None) -> list[Pair]:
        """The series, of these or of all, that have a close without a bar."""
        short = (self._codes == NONE).any(axis=1)
        asked = self._rows if pairs is None else pairs
        return [pair for pair in asked if short[self._rows[pair]]]

    def closes_without(self, pairs: Sequence[Pair]) -> Ints:
        """The closes at which one of the series has no bar yet."""
        rows = [self._rows[pair] for pair in pairs]
        return self.closes[(self._codes[rows] == NONE).any(axis=0)]

    def given(self) -> Given:
        tables = [table for table in self._tables if table.num_rows]
        tables = tables or [CHANNELS["bars"].schema.empty_table()]
        return Given(
            table=ordered(pa.concat_tables(tables), CHANNELS["bars"]),
            series=tuple(self._rows),
            closes=self.closes,
            steps=self._steps,
            codes=self._codes,
        )


def _resample(store: "MarketStore", made: _Made, step: int, pairs: Sequence[Pair]) -> None:
    """Make what is lacking of smaller bars of one interval."""
    for exchange, own in _by_exchange(made.lacking(pairs)):
        # one question an exchange, however many symbols it has
        symbols = [pair[1] for pair in own]
        for first, last in _windows(made.closes_without(own), made.interval):
            bars = _resampled(store, exchange, symbols, step, made.interval, first, last)
            made.take(bars, step)


def _resampled(
    store: "MarketStore", exchange: str, symbols: list[str], source: int, interval: int,
    first: int, last: int,
) -> pa.Table:  # fmt: skip
    """Whole bars in [first, last] of smaller ones; of whole hours where those are kept."""
    low, high = first - interval + 1, last + 1
    if interval % HOUR_NS == 0 and source < HOUR_NS and HOUR_NS % source == 0:
        hours = store.hours(symbols, exchange, source, low, high)
        if hours is not None:
            return hours if interval == HOUR_NS else resample_bars(hours, interval, whole=True)
    part = store.read("bars", symbols, low, high, exchange=exchange, interval=source)
    return resample_bars(part, interval, whole=True)


def _make_of_trades(store: "MarketStore", made: _Made) -> None:
    """Make what is lacking of trades."""
    for exchange, own in _by_exchange(made.lacking()):
        closes = made.closes_without(own)
        low, high = int(closes[0]) - made.interval, int(closes[-1])
        # which of them have trades there: one question, and mostly the answer is none
        newest = store.read(
            "trades", [pair[1] for pair in own], low, high, ["symbol"], exchange=exchange, last=1
        )
        for symbol in newest["symbol"].to_pylist():
            closes = made.closes_without([(exchange, symbol)])
            for first, last in _windows(closes, made.interval):
                inside = closes[(closes >= first) & (closes <= last)]
                bars, quiet = traded(store, exchange, symbol, made.interval, inside)
                made.take(bars, TRADES)
                made.quiet((exchange, symbol), quiet)


def _by_exchange(pairs: Sequence[Pair]) -> list[tuple[str, list[Pair]]]:
    names = dict.fromkeys(pair[0] for pair in pairs)
    return [(name, [pair for pair in pairs if pair[0] == name]) for name in names]


def _windows(closes: Ints, interval: int) -> list[tuple[int, int]]:
    """First and last close of the stretches in which bars are lacking; near ones as one."""
    if not len(closes):
        return []
    cuts = np.flatnonzero(np.diff(closes) > max(_APART_NS, interval))
    firsts, lasts = closes[np.r_[0, cuts + 1]], closes[np.r_[cuts, len(closes) - 1]]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def _range(store: "MarketStore", interval: int, start: int, end: int, series: int) -> Ints:
    """The closes in [start, end); of a very long range those only near which anything is stored."""
    if (end - start) // interval * series > _CELLS:
        low, high = _extent(store, start - interval, end)
        start, end = max(start, low), min(end, high + interval)
    return np.arange(-(-start // interval) * interval, end, interval, dtype=np.int64)


def _extent(store: "MarketStore", start: int, end: int) -> tuple[int, int]:
    """Between which times of [start, end) there may be bars or trades; no time if none."""
    bounds: list[tuple[int, int]] = []
    start, end = max(start, FIRST), min(end, LAST)
    with store.database.statements() as connection:
        for channel in ("bars", "trades"):
            # the manifest on both sides: rows may move meanwhile
            files = manifest.listed(connection, channel, start=start, end=end)
            ask = Ask(channel=channel, columns=(), start=start, end=end)
            bounds += partitions_in(connection, ask)
            files += manifest.listed(connection, channel, start=start, end=end)
            bounds += [(max(file.start, start), min(file.end, end)) for file in files]
    if not bounds:
        return start, start
    return min(low for low, _ in bounds), max(high for _, high in bounds)
