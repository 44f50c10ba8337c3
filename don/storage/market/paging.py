"""Answers in pages, for readers that come back for more. Does I/O; keeps nothing in between.

A page ends between two times of a series, and says where the next one begins; so a page is right
whatever was loaded or archived since the one before.
"""

import re
from collections.abc import Sequence
from contextlib import closing

import numpy as np
import pyarrow as pa

from don.errors import DataError
from don.market.rows import ranks
from don.model.channels import CHANNELS
from don.storage.market.reads import MarketStore

Resume = tuple[str, str, int]  # exchange, symbol, time (ns)
_SEPARATOR = "|"
_NUMBER = re.compile(r"-?[0-9]{1,19}")


def parse_resume(text: str) -> Resume:
    """Where a page begins, from what the page before said.

    Raises:
        DataError: if it is not that.
    """
    parts = text.split(_SEPARATOR)
    if len(parts) != 3 or not _NUMBER.fullmatch(parts[2]):
        raise DataError(f"next must be what the page before said, was {text[:80]!r}")
    return parts[0], parts[1], int(parts[2])


def resume_text(at: Resume) -> str:
    """A place as text."""
    return _SEPARATOR.join((at[0], at[1], str(at[2])))


def page(
    store: MarketStore,
    channel: str,
    symbols: Sequence[str] | None = None,
    start: int | None = None,
    end: int | None = None,
    columns: Sequence[str] | None = None,
    *,
    exchange: str | None = None,
    interval: int | None = None,
    limit: int,
    resume: Resume | None = None,
) -> tuple[pa.Table, Resume | None]:
    """About `limit` rows, and where the next page begins; None after the last.

    Fewer rows where a time would be cut in two, more where one time alone has more. Arguments and
    errors as for `MarketStore.read`.
    """
    wanted = columns
    if columns is not None:  # what the cut needs
        wanted = list(dict.fromkeys(("exchange", "symbol", "ts_event", *columns)))
    batches = store.scan(
        channel, symbols, start, end, wanted, exchange=exchange, interval=interval,
        batch_rows=limit + 1, resume=resume,
    )  # fmt: skip
    found: list[pa.RecordBatch] = []
    rows = 0
    cut: int | None = None
    with closing(batches):
        for batch in batches:
            found.append(batch)
            rows += batch.num_rows
            cut = _cut(pa.Table.from_batches(found), limit) if rows > limit else None
            if cut is not None:
                break
    if not found:
        schema = CHANNELS[channel].schema
        empty = schema.empty_table()
        return (empty if columns is None else empty.select(list(columns))), None
    table = pa.Table.from_batches(found)
    after: Resume | None = None
    if cut is not None:
        row = {name: table[name][cut].as_py() for name in ("exchange", "symbol", "ts_event")}
        after = (row["exchange"], row["symbol"], row["ts_event"])
        table = table.slice(0, cut)
    return (table if columns is None else table.select([n for n in table.column_names
                                                        if n in columns])), after  # fmt: skip


def _cut(table: pa.Table, limit: int) -> int | None:
    """Row at which the page ends, so that rows of one time stay together; None: none known yet."""
    keys = [ranks(table, name) for name in ("exchange", "symbol", "ts_event")]
    changed = np.zeros(table.num_rows - 1, bool)
    for key in keys:
        changed |= key[1:] != key[:-1]
    cuts = np.flatnonzero(changed) + 1
    if not len(cuts):
        return None
    inside = cuts[cuts <= limit]
    return int(inside[-1] if len(inside) else cuts[0])
