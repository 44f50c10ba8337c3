"""Partitions of market tables by time: what spans they cover, making, listing, detaching. Does I/O.

Made ahead by maintenance, on demand by loads; made under one lock, so that makers do not meet, and
attached, not created in place: readers and writers of the table are not held up.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from psycopg import sql

from don.clock import NS_PER_S
from don.storage.database import Connection, Database
from don.storage.market.tables import LAYOUTS, Layout

_LOCK = 0x6D61726B  # "mark"
_UNITS = {"day": "D", "month": "M", "year": "Y"}
_DAY_NS = 86_400 * NS_PER_S
_BOUNDS = re.compile(r"FROM \('?(-?\d+)'?\) TO \('?(-?\d+)'?\)")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Span:
    """A day, month or year of UTC."""

    start: int  # ns, inclusive
    end: int  # ns, exclusive
    label: str  # "20250504" | "202505" | "2025"


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition that exists."""

    channel: str
    table: str
    span: Span
    rows: int  # as the planner estimates; 0 before the first analysis
    bytes: int  # with indexes


def number_of(width: str, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The running number of the span of each time: equal where the span is."""
    if width == "day":
        return times // _DAY_NS
    return times.astype("datetime64[ns]").astype(f"datetime64[{_UNITS[width]}]").astype(np.int64)


def span_of_number(width: str, number: int) -> Span:
    """The span of a running number from `number_of`."""
    units = np.array([number, number + 1], np.int64).astype(f"datetime64[{_UNITS[width]}]")
    start, end = units.astype("datetime64[ns]").astype(np.int64).tolist()
    return Span(start=start, end=end, label=str(units[0]).replace("-", ""))


def span_of(width: str, ts_ns: int) -> Span:
    """The span that a time lies in."""
    return span_of_number(width, int(number_of(width, np.array([ts_ns], np.int64))[0]))


def spans_ahead(width: str, now_ns: int, ahead_days: int) -> list[Span]:
    """The spans from now until so many days ahead."""
    spans = [span_of(width, now_ns)]
    while spans[-1].end <= now_ns + ahead_days * _DAY_NS:
        spans.append(span_of(width, spans[-1].end))
    return spans


def partition_name(layout: Layout, span: Span) -> str:
    """`md_trades_p20250504`."""
    return f"{layout.table}_p{span.label}"


class Partitions:
    """The partitions of one database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def ensure(self, channel: str, spans: Iterable[Span]) -> list[str]:
        """Make those that are not there; returns the names of the new ones.

        Raises:
            DatabaseError: if the database is away.
        """
        layout = LAYOUTS[channel]
        wanted = {partition_name(layout, span): span for span in spans}
        made = []
        with self._db.connection() as connection:
            missing = wanted.keys() - _attached(connection, layout)
            if missing:
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                missing = wanted.keys() - _attached(connection, layout)
            for name in sorted(missing):
                _make(connection, layout, name, wanted[name])
                made.append(name)
        return made

    def missing(self, connection: Connection, channel: str, spans: Iterable[Span]) -> set[str]:
        """Names of those that are not there, as a transaction of the caller's sees it."""
        layout = LAYOUTS[channel]
        return {partition_name(layout, span) for span in spans} - _attached(connection, layout)

    def list(self, channel: str) -> list[Partition]:
        """All partitions of a channel, oldest first."""
        layout = LAYOUTS[channel]
        with self._db.connection() as connection:
            rows = connection.execute(_LIST, (layout.table,)).fetchall()
        found = []
        for name, bounds, estimate, size in rows:
            match = _BOUNDS.search(bounds or "")
            if match is None or size is None:
                continue  # somebody else's default partition, or one that is being dropped
            span = Span(
                start=int(match[1]), end=int(match[2]), label=name.removeprefix(layout.table + "_p")
            )
            found.append(
                Partition(
                    channel=channel, table=name, span=span, rows=max(0, int(estimate)), bytes=size
                )
            )
        return sorted(found, key=lambda partition: partition.span)

    def drop(self, connection: Connection, partition: Partition) -> None:
        """Detach and drop a partition within the caller's transaction.

        Waits at most a second at a time for those that use the table: a queue behind this lock
        would hold everybody up.

        Raises:
            psycopg.errors.LockNotAvailable: if it is in use; roll back and try again later.
        """
        parent, child = sql.Identifier(LAYOUTS[partition.channel].table), sql.Identifier(
            partition.table
        )  # fmt: skip
        connection.execute("SET LOCAL lock_timeout = '1s'")
        connection.execute(sql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(parent, child))
        connection.execute(sql.SQL("DROP TABLE {}").format(child))


def _attached(connection: Connection, layout: Layout) -> set[str]:
    rows = connection.execute(
        "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = %s::regclass",
        (layout.table,),
    ).fetchall()
    return {row[0] for row in rows}


def _make(connection: Connection, layout: Layout, name: str, span: Span) -> None:
    parent, child = sql.Identifier(layout.table), sql.Identifier(name)
    connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(child, parent))
    connection.execute(
        sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            parent, child, sql.Literal(span.start), sql.Literal(span.end)
        )
    )


_LIST = """
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), c.reltuples, pg_total_relation_size(c.oid)
FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = %s::regclass
"""
