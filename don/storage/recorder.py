"""The recording of a session's market data, as the features saw it. Does I/O.

Ordinary batches commit without waiting for the disk. One that leads to decisions commits
synchronously; the write-ahead log is sequential, so all before it are durable with it. What is not
yet known to be durable is kept, and written again in order when the server was lost meanwhile.
"""

import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from don.model.schema import MarketBatch
from don.storage.arrow import pack, unpack
from don.storage.database import Connection, Database, patient

_UNSAFE_BATCHES = 512  # at most so many are kept for writing again
_UNSAFE_BYTES = 32 * 2**20
_CHUNK = 64
_BAR_COLUMNS = ("open", "high", "low", "close", "volume", "trades", "origin")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A batch as it is stored; `token` names the call that stores it."""

    source: str
    seq: int
    token: int
    ts_recv: int
    rows: int
    gaps: int
    payload: bytes


class MarketRecorder:
    """Writes and reads one session's market batches and closed bars.

    Args:
        db: the database, migrated.
        session: whose recording.
        interval_ns: length of its bars.
        patience_s: how long a call bears a database that is away before it gives up.
    """

    def __init__(
        self, db: Database, session: str, interval_ns: int, *, patience_s: float = 30.0
    ) -> None:
        self._db = db
        self._session = session
        self._interval_ns = interval_ns
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._waits = True  # the connection's present synchronous_commit
        self._unsafe: list[_Row] = []
        self._unsafe_bytes = 0

    def record(self, batch: MarketBatch, sync: bool) -> bool:
        """Store a batch once by (source, seq).

        Args:
            batch: what the feed handed on.
            sync: True returns only when it, and all before it, are on disk.

        Returns:
            False if the batch was stored before: it must not be applied again.

        Raises:
            DatabaseError: if the database stays away; the call may be repeated with the same batch
                only by a recorder that reads first what is stored.
        """
        row = _row(batch)
        with self._lock:
            full = len(self._unsafe) >= _UNSAFE_BATCHES or self._unsafe_bytes >= _UNSAFE_BYTES
            wait = sync or full
            for attempt in patient(self._patience_s):
                with attempt, self._db.errors():
                    added = self._store(self._connected(), row, wait=wait)
            if wait:
                self._unsafe, self._unsafe_bytes = [], 0
            elif added:
                self._unsafe.append(row)
                self._unsafe_bytes += len(row.payload)
        return added

    def read(self, session: str | None = None, *, after: int = 0) -> Iterator[MarketBatch]:
        """The session's batches (or another's) in the order in which they were recorded.

        Args:
            session: whose; None: this recorder's.
            after: only those with a greater ordinal.
        """
        while True:
            rows: list[tuple[Any, ...]] = []
            for attempt in patient(self._patience_s):
                with attempt, self._db.connection() as connection:
                    rows = connection.execute(
                        "SELECT ordinal, source, seq, payload FROM market_batch "
                        "WHERE session = %s AND ordinal > %s ORDER BY ordinal LIMIT %s",
                        (session or self._session, after, _CHUNK),
                        binary=True,
                    ).fetchall()
            for _, source, seq, payload in rows:
                yield MarketBatch(source=source, seq=seq, tables=unpack(payload))
            if len(rows) < _CHUNK:
                return
            after = rows[-1][0]

    def record_bars(self, table: pa.Table) -> None:
        """Store closed bars: exactly, with every column, and as rows to read. Repeats are harmless.

        Args:
            table: columns `symbol`, `ts_event` (close time) and those of bars; any more are kept.

        Raises:
            DatabaseError: if the database stays away.
        """
        if not table.num_rows:
            return
        sets = []
        for moment in pc.unique(table["ts_event"]).sort().to_pylist():
            part = table.filter(pc.equal(table["ts_event"], moment))
            sets.append((self._session, self._interval_ns, moment, pack({"bars": part})))
        columns, present = ("symbol", "ts_event", *_BAR_COLUMNS), set(table.column_names)
        bars = [
            (self._session, self._interval_ns, *(row.get(name) for name in columns))
            for row in table.select([name for name in columns if name in present]).to_pylist()
        ]
        with self._lock:
            for attempt in patient(self._patience_s):
                with attempt, self._db.errors():
                    connection = self._connected()
                    self._set_waiting(connection, True)
                    with connection.transaction(), connection.cursor() as cursor:
                        cursor.executemany(_BAR_SET, sets)
                        cursor.executemany(_BAR, bars)

    def read_bars(self, session: str | None = None) -> pa.Table:
        """All closed bars of the session (or another's), exactly, oldest first; empty if none."""
        with self._db.connection() as connection:
            rows = connection.execute(
                "SELECT payload FROM bar_set WHERE session = %s AND interval_ns = %s "
                "ORDER BY ts_event",
                (session or self._session, self._interval_ns),
                binary=True,
            ).fetchall()
        tables = [unpack(payload)["bars"] for (payload,) in rows]
        return pa.concat_tables(tables, promote_options="default") if tables else pa.table({})

    def flush(self) -> None:
        """Return when everything recorded so far is on disk.

        Raises:
            DatabaseError: if the database stays away.
        """
        with self._lock:
            for attempt in patient(self._patience_s):
                with attempt, self._db.errors():
                    connection = self._connected()
                    self._set_waiting(connection, True)
                    with connection.transaction():  # a commit needs something to commit
                        connection.execute("SELECT pg_logical_emit_message(true, 'don', 'flush')")
            self._unsafe, self._unsafe_bytes = [], 0

    def close(self) -> None:
        """Make everything durable and let the connection go."""
        if self._connection is not None:
            self.flush()
            self._connection.close()
            self._connection = None

    # ---- inside ---------------------------------------------------------------------------------

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed or self._connection.broken:
            self._connection = None
            connection = self._db.connect(statement_timeout_s=15.0)
            self._waits = True
            connection.execute("SET synchronous_commit TO on")
            for row in self._unsafe:  # the server may have died with them
                self._insert(connection, row)
            self._connection = connection
        return self._connection

    def _store(self, connection: Connection, row: _Row, *, wait: bool) -> bool:
        self._set_waiting(connection, wait)
        if self._insert(connection, row):
            return True
        # There already: either a repeat, or an attempt of this call whose answer was lost.
        found = connection.execute(
            "SELECT token FROM market_batch WHERE session = %s AND source = %s AND seq = %s",
            (self._session, row.source, row.seq),
        ).fetchone()
        return found is not None and found[0] == row.token

    def _insert(self, connection: Connection, row: _Row) -> bool:
        values = (self._session, row.source, row.seq, row.token, row.ts_recv, row.rows, row.gaps)
        done = connection.execute(_BATCH, (*values, row.payload), prepare=True, binary=True)
        return done.rowcount == 1

    def _set_waiting(self, connection: Connection, wait: bool) -> None:
        if wait != self._waits:
            connection.execute(f"SET synchronous_commit TO {'on' if wait else 'off'}")
            self._waits = wait


_BATCH = """
INSERT INTO market_batch (session, source, seq, token, ts_recv, rows, gaps, payload)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (session, source, seq) DO NOTHING
"""
_BAR_SET = """
INSERT INTO bar_set (session, interval_ns, ts_event, payload) VALUES (%s, %s, %s, %s)
ON CONFLICT (session, interval_ns, ts_event) DO NOTHING
"""
_BAR = """
INSERT INTO bar (session, interval_ns, symbol, ts_event, open, high, low, close, volume, trades,
    origin)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (session, symbol, interval_ns, ts_event) DO NOTHING
"""


def _row(batch: MarketBatch) -> _Row:
    times = [
        pc.max(table["ts_recv"]).as_py()
        for table in batch.tables.values()
        if table.num_rows and "ts_recv" in table.column_names
    ]
    status = batch.tables.get("status")
    gaps = pc.sum(pc.equal(status["state"], "gap")).as_py() if status is not None else 0
    return _Row(
        source=batch.source,
        seq=batch.seq,
        token=secrets.randbits(63),
        ts_recv=max(times, default=0),
        rows=batch.rows,
        gaps=gaps or 0,
        payload=pack(batch.tables),
    )
