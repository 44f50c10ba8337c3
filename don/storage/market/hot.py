"""Loads of market data into PostgreSQL: all or nothing, once by natural key. Does I/O.

Rows of times that nothing is known of go straight into the table by binary COPY, under a savepoint;
those that may be known already go through a temporary table and are inserted where the key is new.
Either way in the order of the index: that is half the work, halves the index, and keeps two loads
of the same rows from waiting for each other in a circle (most often: those that do are repeated).
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from don.errors import DatabaseError
from don.model.channels import conform
from don.storage.database import Connection, Database
from don.storage.market.copy import Ints, encode, hot_columns, names_of
from don.storage.market.known import parted, sortable
from don.storage.market.partitions import Partitions, number_of, span_of_number
from don.storage.market.seals import unseal
from don.storage.market.tables import LAYOUTS, Layout

_TIMEOUT_S = 600.0
_SERIES_TRIES = 5  # one that another process makes at the same moment is seen the next time


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a load did."""

    rows: int  # handed in
    inserted: int  # new by natural key; the others were known

    @property
    def duplicates(self) -> int:
        """Rows that were known, or twice in the table."""
        return self.rows - self.inserted


class MarketTables:
    """The market tables of one database; safe to use from several threads.

    Args:
        db: the database, migrated.
        timeout_s: longest that one load may take.
    """

    def __init__(self, db: Database, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._db = db
        self._timeout_ms = round(timeout_s * 1_000)
        self.partitions = Partitions(db)
        self._lock = threading.Lock()
        self._series: dict[tuple[str, str], int] = {}
        self._spans: set[tuple[str, int]] = set()

    def load(self, channel: str, table: pa.Table, *, where: str = "load") -> Loaded:
        """Store a table in one transaction; repeats and overlaps are harmless.

        Args:
            channel: its name.
            table: in the channel's schema (see `don.model.channels.conform`).
            where: file or stream, for messages.

        Raises:
            DataError: naming `where`, row and column, if a row is not valid: nothing is stored.
            DatabaseError: if the database is away: all of it was stored, or nothing; repeat it.
        """
        return self.load_checked(channel, conform(channel, table, where=where))

    def load_checked(self, channel: str, table: pa.Table) -> Loaded:
        """As `load`, for a table that `conform` or `sift` has returned."""
        if not table.num_rows:
            return Loaded(rows=0, inserted=0)
        layout, columns, numbers, rows = self._prepared(channel, table)
        inserted = 0
        for attempt in _again():
            with attempt:
                self._ensure(channel, numbers)
                inserted = self._transfer(layout, columns, rows)
        return Loaded(rows=table.num_rows, inserted=inserted)

    def load_within(self, connection: Connection, channel: str, table: pa.Table) -> Loaded:
        """As `load_checked`, within the caller's transaction and as lasting as that.

        The transaction must be READ COMMITTED; no archive of the channel ends before it does. Rows
        that may have been known are in the temporary table `stage_<channel>` afterwards.

        Raises:
            DatabaseError: roll back, and repeat the whole transaction.
        """
        if not table.num_rows:
            return Loaded(rows=0, inserted=0)
        layout, columns, numbers, rows = self._prepared(channel, table)
        with self._db.errors():
            self._hold(connection, layout, numbers)
            connection.execute(_stage(layout))
            connection.execute(sql.SQL("TRUNCATE {}").format(_stage_name(layout)))
            inserted = self._put(connection, layout, columns, rows)
            if inserted:
                unseal(connection, channel, columns["ts_event"])
        return Loaded(rows=table.num_rows, inserted=inserted)

    def series_ids(self, pairs: tuple[tuple[str, str], ...]) -> Ints:
        """Numbers of (exchange, symbol) pairs; new ones are given to those that have none."""
        with self._lock:
            new = [pair for pair in pairs if pair not in self._series]
        for _ in range(_SERIES_TRIES):
            if not new:
                break
            with self._db.connection() as connection:
                rows = connection.execute(
                    _SERIES, ([pair[0] for pair in new], [pair[1] for pair in new])
                ).fetchall()
            with self._lock:  # committed: what is kept here is never taken back
                self._series.update({(exchange, symbol): n for n, exchange, symbol in rows})
                new = [pair for pair in new if pair not in self._series]
        with self._lock:
            return np.array([self._series[pair] for pair in pairs], np.int64)

    # ---- inside ---------------------------------------------------------------------------------

    def _ensure(self, channel: str, numbers: Ints) -> None:
        with self._lock:
            wanted = {(channel, int(number)) for number in np.unique(numbers)} - self._spans
        if wanted:
            width = LAYOUTS[channel].channel.partition
            self.partitions.ensure(channel, (span_of_number(width, n) for _, n in wanted))
            with self._lock:
                self._spans |= wanted

    def _hold(self, connection: Connection, layout: Layout, numbers: Ints) -> None:
        """Have the partitions there until the caller's transaction ends.

        Whoever drops one locks the table against loads first: none goes once we have our lock.
        """
        connection.execute(f"LOCK TABLE ONLY {layout.table} IN ROW EXCLUSIVE MODE")
        channel, width = layout.channel.name, layout.channel.partition
        wanted = [int(number) for number in np.unique(numbers)]
        spans = (span_of_number(width, number) for number in wanted)
        if self.partitions.missing(connection, channel, spans):  # dropped since we saw it
            with self._lock:
                self._spans.difference_update((channel, number) for number in wanted)
            self._ensure(channel, numbers)

    def _prepared(
        self, channel: str, table: pa.Table
    ) -> tuple[Layout, dict[str, Any], Ints, Ints | slice]:
        """(layout, hot columns, partition number of each row, order of the rows)."""
        layout = LAYOUTS[channel]
        names = names_of(table)
        ids = self.series_ids(names.pairs)
        columns = hot_columns(layout, table, ids[names.codes])
        numbers = number_of(layout.channel.partition, columns["ts_event"])
        self._ensure(channel, numbers)
        return layout, columns, numbers, _sorted(layout, columns, numbers)

    def _transfer(self, layout: Layout, columns: dict[str, Any], rows: Ints | slice) -> int:
        try:
            with self._db.connection() as connection:
                connection.execute(f"SET LOCAL statement_timeout = {self._timeout_ms}")
                inserted = self._put(connection, layout, columns, rows)
                if inserted:
                    unseal(connection, layout.channel.name, columns["ts_event"])
                return inserted
        except psycopg.errors.CheckViolation as error:
            if error.diag.constraint_name:  # somebody's own rule, which the rows break
                raise
            with self._lock:
                self._spans.clear()
            raise Moved(f"{layout.table}: a partition was archived during the load") from None

    def _put(
        self,
        connection: Connection,
        layout: Layout,
        columns: dict[str, Any],
        rows: Ints | slice,
    ) -> int:
        try:
            new, known = parted(connection, layout, columns, rows)
            inserted = 0
            if new is not None:
                try:
                    with connection.transaction():
                        inserted = _copy(connection, layout.table, layout, columns, new)
                except psycopg.errors.UniqueViolation:
                    known = rows  # twice in the table, or another load was faster: undone
            if known is not None:
                inserted += _merge(connection, layout, columns, known)
            return inserted
        except psycopg.errors.DeadlockDetected:
            raise Deadlock(f"{layout.table}: another load of the same rows") from None


def _again() -> Retrying:
    return Retrying(
        retry=retry_if_exception_type((Deadlock, Moved)),
        stop=stop_after_attempt(5),
        wait=wait_random(0.01, 0.2),
        reraise=True,
    )


class Deadlock(DatabaseError):
    """Two loads waited for each other, and this one was chosen to give way."""


class Moved(DatabaseError):
    """A partition went between the look for it and the load; the next load makes it again."""


def _sorted(layout: Layout, columns: dict[str, Any], numbers: Ints) -> Ints | slice:
    """Rows in the order of partitions and, within one, of the index."""
    by = [numbers, *(sortable(columns[name]) for name in layout.key)]
    head = by[: 2 + layout.key.index("ts_event")]  # what follows the time hardly matters
    if _in_order(head):
        return slice(None)
    return np.lexsort(by[::-1])


def _in_order(by: list[Any]) -> bool:
    below = np.zeros(len(by[0]) - 1, np.bool_)  # the row is decided to be behind the one before it
    for values in by:
        if bool(np.any(~below & (values[1:] < values[:-1]))):
            return False
        below |= values[1:] > values[:-1]
    return True


def _copy(
    connection: Connection,
    target: str,
    layout: Layout,
    columns: dict[str, Any],
    rows: Ints | slice,
) -> int:
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(target), _names(layout)
    )
    with connection.cursor() as cursor:
        with cursor.copy(statement) as sink:
            for chunk in encode(layout, columns, rows):
                sink.write(chunk)
        return cursor.rowcount


def _merge(
    connection: Connection, layout: Layout, columns: dict[str, Any], rows: Ints | slice
) -> int:
    stage = f"stage_{layout.channel.name}"
    connection.execute(_stage(layout))
    _copy(connection, stage, layout, columns, rows)
    statement = sql.SQL(
        "INSERT INTO {} ({names}) SELECT {names} FROM {} ON CONFLICT DO NOTHING"
    ).format(sql.Identifier(layout.table), sql.Identifier(stage), names=_names(layout))
    return connection.execute(statement).rowcount


def _stage_name(layout: Layout) -> sql.Identifier:
    return sql.Identifier(f"stage_{layout.channel.name}")


def _stage(layout: Layout) -> sql.Composed:
    return sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} (LIKE {}) ON COMMIT DELETE ROWS").format(
        _stage_name(layout), sql.Identifier(layout.table)
    )


def _names(layout: Layout) -> sql.Composable:
    return sql.SQL(", ").join(map(sql.Identifier, layout.names))


def series_names(db: Database) -> dict[int, tuple[str, str]]:
    """All series: number to (exchange, symbol)."""
    with db.connection() as connection:
        return {n: (exchange, symbol) for n, exchange, symbol in _all(connection)}


def _all(connection: Connection) -> Iterator[tuple[int, str, str]]:
    yield from connection.execute("SELECT id, exchange, symbol FROM series").fetchall()


# Known ones are not proposed: each proposal would use up a number.
_SERIES = """
WITH wanted AS (SELECT * FROM unnest(%s::text[], %s::text[]) AS w (exchange, symbol)),
made AS (
    INSERT INTO series (exchange, symbol)
    SELECT w.exchange, w.symbol FROM wanted AS w
    WHERE NOT EXISTS (
        SELECT FROM series AS s WHERE s.exchange = w.exchange AND s.symbol = w.symbol)
    ORDER BY 1, 2 ON CONFLICT DO NOTHING RETURNING id, exchange, symbol
)
SELECT * FROM made UNION
SELECT s.id, s.exchange, s.symbol FROM series AS s JOIN wanted USING (exchange, symbol)
"""
