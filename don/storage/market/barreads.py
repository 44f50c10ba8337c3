"""Bars of any interval: stored, resampled from smaller bars, or made of trades. Does I/O."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from don.clock import NS_PER_S
from don.errors import DataError
from don.market.resample import bars_from_trades, resample_bars
from don.market.rows import ordered
from don.model.channels import CHANNELS
from don.storage.market.blocks import HOUR_NS
from don.storage.market.hotreads import Pair

if TYPE_CHECKING:
    from don.storage.market.reads import MarketStore

_CHUNK_NS = 86_400 * NS_PER_S  # of trades read at once


def any_bars(
    store: "MarketStore",
    symbols: Sequence[str] | None,
    interval: int,
    start: int,
    end: int,
    exchange: str | None,
) -> pa.Table:
    """See `MarketStore.bars`."""
    if interval <= 0 or interval % NS_PER_S:
        raise DataError(f"interval must be whole seconds, was {interval} ns")
    chosen = store.chosen(symbols, exchange)
    known = store.intervals(chosen)
    stored = CHANNELS["bars"].schema.empty_table()
    if end <= start or any(interval in intervals for intervals in known.values()):
        stored = store.read("bars", symbols, start, end, exchange=exchange, interval=interval)
    first, last = -(-start // interval) * interval, (end - 1) // interval * interval
    if first > last:  # no bar closes in the range
        return stored
    lacking = _lacking(chosen, stored, (last - first) // interval + 1)
    if not lacking:
        return stored
    made = [stored]
    by_source: dict[int, list[Pair]] = {}
    for pair in lacking:
        smaller = [i for i in known[pair] if i < interval and interval % i == 0]
        by_source.setdefault(min(smaller, default=0), []).append(pair)
    for source, pairs in by_source.items():
        # one question an exchange, however many symbols it has
        for name in dict.fromkeys(pair[0] for pair in pairs):
            wanted = [pair[1] for pair in pairs if pair[0] == name]
            if source:
                made.append(_resampled(store, name, wanted, source, interval, first, last))
            else:
                made += [_of_trades(store, name, one, interval, first, last) for one in wanted]
    made = [table for table in made if table.num_rows]
    return ordered(pa.concat_tables(made), CHANNELS["bars"]) if made else stored


def _lacking(pairs: list[Pair], stored: pa.Table, count: int) -> list[Pair]:
    """The series that have fewer bars than the range has closes."""
    if not stored.num_rows:
        return pairs
    counted = stored.group_by(["exchange", "symbol"]).aggregate([([], "count_all")]).to_pylist()
    found = {(row["exchange"], row["symbol"]): row["count_all"] for row in counted}
    return [pair for pair in pairs if found.get(pair, 0) < count]


def _resampled(
    store: "MarketStore", exchange: str, symbols: list[str], source: int, interval: int,
    first: int, last: int,
) -> pa.Table:  # fmt: skip
    """Closed bars in [first, last] of smaller ones; of whole hours where those are kept."""
    low, high = first - interval + 1, last + 1
    if interval % HOUR_NS == 0 and source < HOUR_NS and HOUR_NS % source == 0:
        hours = store.hours(symbols, exchange, source, low, high)
        if hours is not None:
            bars = hours if interval == HOUR_NS else resample_bars(hours, interval)
            return _reached(store, bars, exchange, source)
    part = store.read("bars", symbols, low, high, exchange=exchange, interval=source)
    return _closed(store, part, exchange, source, interval)


def _reached(store: "MarketStore", bars: pa.Table, exchange: str, source: int) -> pa.Table:
    """The bars at or past whose close their series has a smaller bar."""
    symbols = pc.unique(bars["symbol"]).to_pylist()
    if not symbols:
        return bars
    newest = store.read(
        "bars", symbols, None, None, ["symbol", "ts_event"],
        exchange=exchange, interval=source, last=1,
    )  # fmt: skip
    place = pc.index_in(bars["symbol"], newest["symbol"].combine_chunks())
    reach = newest["ts_event"].take(place)
    return bars.filter(pc.less_equal(bars["ts_event"], reach))


def _closed(
    store: "MarketStore", part: pa.Table, exchange: str, source: int, interval: int
) -> pa.Table:
    """Resampled bars that cannot grow any more: the series has a smaller bar at or past the close.

    Most often that is the last one of the range; where it is missing, a later one will do.
    """
    every = resample_bars(part, interval)
    sure = resample_bars(part, interval, closed_only=True)
    if every.num_rows == sure.num_rows:
        return every
    by = ["symbol", "ts_event"]
    unsure = every.join(sure.select(by), by, join_type="left anti")
    open_ones = ordered(unsure.select(every.column_names).cast(every.schema), CHANNELS["bars"])
    return pa.concat_tables([sure, _reached(store, open_ones, exchange, source)])


def _of_trades(
    store: "MarketStore", exchange: str, symbol: str, interval: int, first: int, last: int
) -> pa.Table:
    """Bars that close in [first, last] of one series' trades, read some bars' time at a time."""
    newest = store.read(
        "trades", [symbol], None, None, ["ts_event"], exchange=exchange, last=1
    )["ts_event"]  # fmt: skip
    oldest = _oldest(store, exchange, symbol, first - interval, last)
    if not len(newest) or oldest is None:
        return CHANNELS["bars"].schema.empty_table()
    # a bar is closed when a trade at or past its close is known
    last = min(last, newest[0].as_py() // interval * interval)
    begin = oldest // interval * interval
    step = max(interval, _CHUNK_NS // interval * interval)
    made = [CHANNELS["bars"].schema.empty_table()]
    for low in np.arange(begin, last, step).tolist():
        trades = store.read("trades", [symbol], low, min(low + step, last), exchange=exchange)
        made.append(bars_from_trades(trades, interval))
    return pa.concat_tables(made)


def _oldest(store: "MarketStore", exchange: str, symbol: str, start: int, end: int) -> int | None:
    """Time of the first trade in the range."""
    for batch in store.scan(
        "trades", [symbol], start, end, ["ts_event"], exchange=exchange, batch_rows=1
    ):
        return int(pc.min(batch["ts_event"]).as_py())
    return None
