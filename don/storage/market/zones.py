"""Periods of the lake; several sources of a series as one stream by time. Does I/O by iterating.

Memory is bounded: of each source at most one piece is held (a row group of a file, a page of the
database), with the rows of one moment that the piece before ended with.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from don.market.rows import ordered
from don.model.channels import CHANNELS, Channel
from don.storage.lake.files import LakeFile
from don.storage.lake.lake import Lake
from don.storage.market.hotreads import FIRST, Ask, Pair, bounds_of, pair_at


def zones(files: Sequence[LakeFile]) -> list[tuple[int, int, list[LakeFile]]]:
    """Periods that files cover, apart from each other, in order; with their files."""
    found: list[tuple[int, int, list[LakeFile]]] = []
    for file in sorted(files, key=lambda f: (f.start, f.end)):
        if found and file.start < found[-1][1]:
            start, end, group = found.pop()
            found.append((start, max(end, file.end), [*group, file]))
        else:
            found.append((file.start, file.end, [file]))
    return found


def by_time(lake: Lake, file: LakeFile, ask: Ask) -> list[Iterator[pa.Table]]:
    """A file's rows as streams that are each in the order of time: one a bar interval."""
    limits: dict[str, Any] = {"columns": ask.columns, "start": ask.start, "end": ask.end}
    if CHANNELS[ask.channel].sort[2] == "ts_event" or ask.interval_ns is not None:
        return [lake.batches(file, **limits, interval_ns=ask.interval_ns)]
    if file.intervals:
        return [lake.batches(file, **limits, interval_ns=length) for length in file.intervals]
    # by set of features, a row a bar: short
    rows = lake.read(file, **limits)
    return [iter([ordered(rows, CHANNELS[ask.channel], by_time=True)])]


def merged(
    sources: Sequence[Iterator[pa.Table]], channel: Channel, *, by_time: bool
) -> Iterator[pa.Table]:
    """The rows of all sources by time, each natural key once: the first source's.

    Args:
        sources: tables of one series with the channel's key; each source in the order of time.
        channel: whose key and order.
        by_time: as for `ordered`.
    """
    held = [pa.table({}) for _ in sources]
    open_ = [_pull(held, n, source) for n, source in enumerate(sources)]
    while any(table.num_rows for table in held):
        horizon = min((_last(held[n]) for n, more in enumerate(open_) if more), default=None)
        ready = []
        for n, table in enumerate(held):
            times = table["ts_event"].to_numpy() if table.num_rows else np.empty(0, np.int64)
            # a source may have more rows of its last moment
            safe = len(times) if horizon is None else int(np.searchsorted(times, horizon))
            if safe:
                ready.append(table.slice(0, safe))
                held[n] = table.slice(safe)
        if ready:
            yield ordered(pa.concat_tables(ready), channel, by_time=by_time)
        for n, source in enumerate(sources):
            if open_[n] and (not held[n].num_rows or _last(held[n]) == horizon):
                open_[n] = _pull(held, n, source)


def _pull(held: list[pa.Table], n: int, source: Iterator[pa.Table]) -> bool:
    """Hold the source's next rows too; False if there are none."""
    for table in source:
        if table.num_rows:
            held[n] = pa.concat_tables([held[n], table]) if held[n].num_rows else table
            return True
    return False


def _last(table: pa.Table) -> int:
    return int(table["ts_event"][-1].as_py())


def within(ask: Ask, start: int, end: int) -> Ask:
    """The part of an ask that a zone covers."""
    return replace(ask, start=max(ask.start, start), end=min(ask.end, end))


def newest(
    lake: Lake, files: list[LakeFile], last: int, limits: dict[str, Any], hot: list[pa.Table]
) -> list[pa.Table]:
    """The newest rows of each series in the lake, as far as the database's may not suffice."""
    enough: dict[Pair, int] = {}  # series -> time of its oldest row, if the database had plenty
    for table in hot:
        for low, high in bounds_of(table):
            if high - low >= last:
                enough[pair_at(table, low)] = table["ts_event"][low].as_py()
    found: list[pa.Table] = []
    for pair in dict.fromkeys((file.exchange, file.symbol) for file in files):
        own = [file for file in files if (file.exchange, file.symbol) == pair]
        rows = 0
        for _, end, group in reversed(zones(own)):
            if rows >= last or end <= enough.get(pair, FIRST):
                break
            for file in group:
                found.append(lake.read(file, **limits))
                rows += found[-1].num_rows
    return found
