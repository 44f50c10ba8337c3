"""Which rows of a load the database may know already. Reads PostgreSQL; changes nothing.

Told by time: of a time that no stored row of the series has, every row is new. The times come as
one array a series, out of the index.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from psycopg import sql
from psycopg.types.numeric import Int8

from don.storage.database import Connection
from don.storage.market.copy import Ints
from don.storage.market.tables import Layout

_GROUPS_MOST = 20_000  # a load of more series and ranges is taken as known
_TIMES_MOST = 4  # stored rows of a group's range that are looked at, times the rows of the load
_TIMES_LEAST = 1_000
_HEAD = 20  # bytes before an array's elements
_ELEMENT = np.dtype([("length", ">i4"), ("value", ">i8")])

Rows = Ints | slice


def sortable(values: Any) -> Any:
    """A column as something that numpy can sort and compare; of texts only equality counts."""
    if isinstance(values, np.ndarray):
        return values
    return values.dictionary_encode().indices.to_numpy()


def parted(
    connection: Connection, layout: Layout, columns: dict[str, Any], rows: Rows
) -> tuple[Rows | None, Rows | None]:
    """The rows that are new for sure, and those that may be known; None where there are none.

    Args:
        connection: to ask on.
        layout: of the channel.
        columns: from `hot_columns`.
        rows: of the load, in the order of partitions and index.
    """
    times = columns["ts_event"][rows]
    before = layout.key[: layout.key.index("ts_event")]
    keys = {name: sortable(columns[name])[rows] for name in before}
    first, last = _groups(times, list(keys.values()))
    if len(first) > _GROUPS_MOST:
        return None, rows
    places = np.arange(len(columns["ts_event"]))[rows]
    named = [_at(columns[name], places[first]) for name in before]
    largest = int((last - first).max()) + 1
    found = _stored(connection, layout, before, [*named, times[first], times[last]], largest)
    if not found:
        return rows, None
    known = np.zeros(len(times), np.bool_)
    for group, (stored, whole) in found.items():
        part = slice(int(first[group]), int(last[group]) + 1)
        own = times[part]
        at = np.minimum(np.searchsorted(stored, own), len(stored) - 1)
        known[part] = stored[at] == own
        if not whole:  # there is more than was looked at
            known[part] |= own >= stored[-1]
    if known.all():
        return None, rows
    return places[~known], places[known]


def _groups(times: Ints, keys: list[Any]) -> tuple[Ints, Ints]:
    """First and last row of each run of one series (and interval …) in the order of time.

    One that spans several partitions may come several times, which is as good.
    """
    changed = np.ones(len(times), np.bool_)
    changed[1:] = times[1:] < times[:-1]
    for values in keys:
        changed[1:] |= values[1:] != values[:-1]
    first = np.flatnonzero(changed)
    return first, np.append(first[1:], len(times)) - 1


def _at(values: Any, places: Ints) -> Any:
    return values[places] if isinstance(values, np.ndarray) else values.take(pa.array(places))


def _stored(
    connection: Connection, layout: Layout, before: tuple[str, ...], groups: list[Any], rows: int
) -> dict[int, tuple[npt.NDArray[np.int64], bool]]:
    """Times of stored rows in each group's range, ascending, by number of the group; and whether
    those are all (`rows`: of the largest group). Groups that have none are left out.
    """
    kinds = {column.name: column.kind for column in layout.columns}
    unnested = sql.SQL(", ").join(
        sql.SQL("%s::{}[]").format(sql.SQL(kind))
        for kind in [*(kinds[name] for name in before), "int8", "int8"]
    )
    same = sql.SQL(" AND ").join(
        sql.SQL("m.{0} = g.{0}").format(sql.Identifier(name)) for name in before
    )
    names = sql.SQL(", ").join(sql.Identifier(name) for name in (*before, "first", "last", "n"))
    # LIMIT keeps the planner from joining the whole table; the outer bounds prune partitions.
    query = sql.SQL(
        "SELECT g.n, h.times FROM unnest({}) WITH ORDINALITY AS g ({}), LATERAL ("
        "SELECT array_agg(k.ts_event) AS times FROM (SELECT m.ts_event FROM {} AS m WHERE {} "
        "AND m.ts_event BETWEEN g.first AND g.last AND m.ts_event BETWEEN %s AND %s "
        "ORDER BY m.ts_event LIMIT %s) AS k) AS h WHERE h.times IS NOT NULL"
    ).format(unnested, names, sql.Identifier(layout.table), same)
    most = max(_TIMES_LEAST, _TIMES_MOST * rows)
    starts, ends = groups[-2], groups[-1]
    answer = connection.execute(
        query,
        (*(group.tolist() for group in groups), int(starts.min()), int(ends.max()), Int8(most)),
        binary=True,
    ).pgresult
    assert answer is not None
    found = {}
    for row in range(answer.ntuples):
        number, times = answer.get_value(row, 0), answer.get_value(row, 1)
        assert number is not None and times is not None
        stored = np.frombuffer(times, _ELEMENT, offset=_HEAD)["value"].astype(np.int64)
        found[int.from_bytes(number, "big") - 1] = (stored, len(stored) < most)
    return found
