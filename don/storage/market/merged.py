"""One answer of blocks and of rows: each span from where it is at hand. Does I/O."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from don.market.resample import resample_bars
from don.market.rows import ordered
from don.model.channels import CHANNELS
from don.storage.database import Connection
from don.storage.market.blocks import HOUR_NS, Block
from don.storage.market.hotreads import Ask, Pair, bounds_of, hot_rows, pair_at
from don.storage.market.seals import SPAN_NS


def from_blocks(
    connection: Connection,
    ask: Ask,
    series: Mapping[int, Pair],
    held: Mapping[int, Block],
    *,
    hours: bool = False,
) -> pa.Table:
    """Rows of some series, sorted: of the spans that are held from there, of others by query.

    Args:
        connection: on which `held` was found.
        ask: with its key columns; of bars, of one interval.
        series: names by number, sorted by name.
        held: blocks by start, of spans that touch the ask.
        hours: whole bars of an hour, made of those that were asked for; then the ask begins
            right behind the close of an hour, and ends right behind one.
    """
    wanted = {(*pair, ask.interval_ns or 0) for pair in series.values()}
    whole = list(ask.columns) == CHANNELS[ask.channel].schema.names
    parts: dict[Pair, list[pa.RecordBatch]] = {pair: [] for pair in series.values()}
    mixed: list[pa.RecordBatch] = []  # of several series: short ones, cheaper to sort than to cut
    at = ask.start
    for first in sorted(held):
        if at < first:
            _query(connection, ask, series, at, first, parts, hours=hours)
        at = first + SPAN_NS
        batch, places = held[first].batch, held[first].places
        edge = first < ask.start or at > ask.end
        times = batch["ts_event"].to_numpy() if edge else None
        batch = batch if whole else batch.select(list(ask.columns))
        if hours and not edge and places.keys() <= wanted:
            mixed.append(batch)
            continue
        for key in wanted if len(wanted) < len(places) else places.keys() & wanted:
            place = places.get(key)
            if place is not None and times is not None:
                place = _inside(times, place, ask)
            if place is not None:
                parts[key[:2]].append(batch.slice(*place))
    if at < ask.end:
        _query(connection, ask, series, at, ask.end, parts, hours=hours)
    batches = [batch for found in (mixed, *parts.values()) for batch in found]
    table = pa.Table.from_batches(batches, ask.schema)
    return ordered(table.combine_chunks(), CHANNELS[ask.channel]) if mixed else table


def _inside(times: NDArray[np.int64], place: tuple[int, int], ask: Ask) -> tuple[int, int] | None:
    """The rows of a series (first, how many) that lie in the asked range; None if none do."""
    low, rows = place
    skipped, until = np.searchsorted(times[low : low + rows], (ask.start, ask.end)).tolist()
    return (low + skipped, until - skipped) if until > skipped else None


def _query(
    connection: Connection, ask: Ask, series: Mapping[int, Pair], start: int, end: int,
    parts: dict[Pair, list[pa.RecordBatch]], *, hours: bool,
) -> None:  # fmt: skip
    names = dict(series)
    part = Ask(channel=ask.channel, columns=ask.columns, start=start, end=end,
               interval_ns=ask.interval_ns)  # fmt: skip
    rows = pa.concat_tables(hot_rows(connection, part, names, list(series)))
    rows = ordered(rows, CHANNELS[ask.channel])
    if hours:
        rows = resample_bars(rows, HOUR_NS, whole=True)
    for low, high in bounds_of(rows):
        part = rows.slice(low, high - low).select(ask.columns)
        parts[pair_at(rows, low)] += part.to_batches()
