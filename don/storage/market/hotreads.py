"""Reads of the hot tier: rows of chosen series in a time range, as Arrow. Does I/O.

Small answers are one prepared statement. Large ones come in pages by time, partition by partition,
so that neither side ever holds more than a page.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from psycopg.types.numeric import Int4, Int8

from don.clock import NS_PER_S
from don.market.rows import ordered, ranks
from don.model.channels import CHANNELS
from don.storage.database import Connection, Cursor
from don.storage.market.fetch import Selection
from don.storage.market.tables import LAYOUTS, SERIES

FIRST, LAST = -(2**63), 2**63 - 1  # no bound
PAGE = 65_536  # rows fetched at once
ANSWER = 1_000_000  # most rows that one statement is asked for

Pair = tuple[str, str]  # exchange, symbol
Names = Mapping[int, Pair]  # by series number


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is wanted of a channel."""

    channel: str
    columns: tuple[str, ...]  # of the channel, in its order
    start: int = FIRST  # ns
    end: int = LAST  # exclusive, ns
    interval_ns: int | None = None  # of bars; None: all intervals

    @property
    def schema(self) -> pa.Schema:
        """Of the answer."""
        schema = CHANNELS[self.channel].schema
        return pa.schema([schema.field(name) for name in self.columns])

    @property
    def by_time(self) -> bool:
        """Whether rows of several bar intervals are interleaved by time."""
        return self.interval_ns is None


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that were asked for; in a pipeline the answer comes when that ends."""

    ask: Ask
    names: Names
    selection: Selection
    cursor: Cursor

    def table(self) -> pa.Table:
        """The rows, sorted."""
        answer = self.cursor.pgresult
        assert answer is not None
        values = [answer.get_value(0, place) for place in range(answer.nfields)]
        table = _table(self.ask, self.selection.decode(values), self.names)
        return ordered(table, CHANNELS[self.ask.channel], by_time=self.ask.by_time)


def rows_of(
    connection: Connection, ask: Ask, names: Names, ids: Sequence[int], most: int,
    *, newest: bool = False,
) -> Rows:  # fmt: skip
    """At most `most` rows of each series: the first ones, or the newest.

    Args:
        connection: to ask on.
        ask: with all key columns of its channel.
        names: of at least the series asked for.
        ids: numbers of the series.
        most: rows of each.
        newest: the last ones instead of the first.

    Raises:
        psycopg.Error: as the connection does.
    """
    selection = Selection(
        layout=LAYOUTS[ask.channel],
        columns=tuple(dict.fromkeys((*ask.columns, "ts_event"))),
        interval=ask.interval_ns is not None,
        newest=newest,
    )
    asked: dict[str, Any] = {
        "ids": [Int4(number) for number in ids],
        "start": Int8(ask.start),
        "end": Int8(ask.end),
        "most": Int8(most),
    }
    if ask.interval_ns is not None:
        asked["interval"] = Int4(ask.interval_ns // NS_PER_S)
    cursor = connection.execute(selection.sql, asked, binary=True, prepare=True)
    return Rows(ask, names, selection, cursor)


def newest_rows(
    connection: Connection, ask: Ask, names: Names, ids: Sequence[int], last: int
) -> list[Rows]:
    """The newest rows of some series; what one statement may answer at once."""
    return [rows_of(connection, ask, names, group, last, newest=True)
            for group in _groups(ids, last)]  # fmt: skip


def _groups(ids: Sequence[int], most: int) -> list[Sequence[int]]:
    step = max(1, ANSWER // most)  # series in one statement
    return [ids[at : at + step] for at in range(0, len(ids), step)] or [[]]


def hot_rows(connection: Connection, ask: Ask, names: Names, ids: Sequence[int]) -> list[pa.Table]:
    """All rows of some series: what fits a page at once, longer series by page."""
    most = _page(ask)
    found = []
    for group in _groups(ids, most):
        table = rows_of(connection, ask, names, group, most).table()
        found.append(table)
        if table.num_rows < most:
            continue
        back = {names[number]: number for number in group}
        for low, high in bounds_of(table):
            if high - low == most:  # there may be more; the last time may have been cut off
                number = back[pair_at(table, low)]
                latest = int(table["ts_event"].slice(low, most).to_numpy().max())
                found += pages(connection, replace(ask, start=latest), names, number)
    return found


def _page(ask: Ask) -> int:
    """Rows of a series in one answer: of bars no more than the range can have, so that many series
    fit one statement.
    """
    if ask.interval_ns is None:
        return PAGE
    return min(PAGE, (ask.end - ask.start) // ask.interval_ns + 2)


def bounds_of(table: pa.Table, inner: str | None = None) -> list[tuple[int, int]]:
    """Where each series of a sorted table begins and ends; cut at changes of `inner` too, if the
    table has such a column.
    """
    if not table.num_rows:
        return []
    changed = np.zeros(table.num_rows - 1, bool)
    for name in ("exchange", "symbol", *([inner] if inner else [])):
        if name in table.column_names:
            code = ranks(table, name)
            changed |= code[1:] != code[:-1]
    cuts = [0, *(np.flatnonzero(changed) + 1).tolist(), table.num_rows]
    return list(itertools.pairwise(cuts))


def pair_at(table: pa.Table, row: int) -> Pair:
    """Exchange and symbol of a row."""
    return table["exchange"][row].as_py(), table["symbol"][row].as_py()


def pages(
    connection: Connection, ask: Ask, names: Names, number: int, *, rows: int = PAGE
) -> Iterator[pa.Table]:
    """All rows of one series in time order, about `rows` at a time.

    Rows of one time never come apart, so that a page ends between two times.
    """
    for low, high in partitions_in(connection, ask):
        start, most = low, rows
        while start < high:
            part = Ask(
                channel=ask.channel, columns=ask.columns, start=start, end=high,
                interval_ns=ask.interval_ns,
            )  # fmt: skip
            found = rows_of(connection, part, names, [number], most).table()
            if found.num_rows < most:
                if found.num_rows:
                    yield found
                break
            times = found["ts_event"].to_numpy()
            latest = int(times.max())
            whole = int(np.count_nonzero(times < latest))
            if not whole:  # more rows of one time than a page has
                most *= 2
                continue
            yield found.slice(0, whole)
            start, most = latest, rows


def intervals_of(connection: Connection, pairs: Sequence[Pair]) -> list[tuple[Pair, int]]:
    """The intervals (ns) of the bars of some series: one look into the index for each."""
    rows = connection.execute(
        _INTERVALS, ([pair[0] for pair in pairs], [pair[1] for pair in pairs]), prepare=True
    ).fetchall()
    return [((exchange, symbol), seconds * NS_PER_S) for exchange, symbol, seconds in rows]


# The index has no way to skip from one interval to the next, so it is led there.
_INTERVALS = """
WITH RECURSIVE s AS (
    SELECT id, exchange, symbol FROM series
    WHERE (exchange, symbol) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
), step (id, seconds) AS (
    SELECT id, 0 FROM s
    UNION ALL
    SELECT step.id, (SELECT interval_s FROM md_bars AS b
                     WHERE b.series = step.id AND b.interval_s > step.seconds
                     ORDER BY interval_s LIMIT 1)
    FROM step WHERE step.seconds IS NOT NULL
)
SELECT s.exchange, s.symbol, step.seconds FROM step JOIN s USING (id) WHERE step.seconds > 0
"""


def partitions_in(connection: Connection, ask: Ask) -> Iterator[tuple[int, int]]:
    """The asked range cut at the bounds of the partitions that there are, in order."""
    rows = connection.execute(
        "SELECT (regexp_match(pg_get_expr(c.relpartbound, c.oid), "
        "$$FROM \\('?(-?\\d+)'?\\) TO \\('?(-?\\d+)'?\\)$$))::int8[] AS bounds "
        "FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = %s::regclass ORDER BY bounds",
        (LAYOUTS[ask.channel].table,),
    ).fetchall()
    for (bounds,) in rows:
        if bounds is None:  # is being dropped: what it had is in the lake, where readers look again
            continue
        low, high = max(ask.start, bounds[0]), min(ask.end, bounds[1])
        if low < high:
            yield low, high


def _table(ask: Ask, made: dict[str, Any], names: Names) -> pa.Table:
    """Fetched columns as a table with names for series numbers; key columns and time are kept."""
    schema = CHANNELS[ask.channel].schema
    numbers = made.pop(SERIES)
    columns: dict[str, Any] = dict(made)
    present = np.unique(numbers) if len(numbers) > 1 and numbers[0] != numbers[-1] else numbers[:1]
    for place, name in enumerate(("exchange", "symbol")):
        texts = pa.array([names[int(number)][place] for number in present], pa.string())
        if len(present) == 1:
            columns[name] = pa.repeat(texts[0], len(numbers))
        else:
            columns[name] = texts.take(pa.array(np.searchsorted(present, numbers)))
    kept = [field for field in schema if field.name in columns]
    return pa.table(
        [pa.array(columns[field.name], field.type) if not isinstance(columns[field.name], pa.Array)
         else columns[field.name] for field in kept],
        schema=pa.schema(kept),
    )  # fmt: skip
