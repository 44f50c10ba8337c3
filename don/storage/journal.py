"""The append-only journal: one totally ordered, hash-chained log an account. Does I/O.

Exactly one writer: `acquire()` takes the account over by raising its epoch, and an older writer's
next append fails, however late it comes. An append is all or nothing and durable when it returns;
when the connection breaks in a commit, the head in the database says whether it counted.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg

from don.errors import JournalError
from don.storage.chain import (
    GENESIS,
    Entry,
    Head,
    Record,
    Verification,
    chain,
    verify_chain,
)
from don.storage.database import Connection, Database, patient
from don.storage.projections import PROJECTED, Place, Statement, project

__all__ = ["GENESIS", "Entry", "Head", "Journal", "Record", "Verification"]

_CHUNK = 1_000


class Journal:
    """The journal of one account as one session writes it. Reading needs no `acquire`.

    Args:
        db: the database, migrated.
        account: whose journal.
        session: the session that appends.
        patience_s: how long an append bears a database that is away before it gives up.
        projector: gives the statements that update the read models for a message.
    """

    def __init__(
        self,
        db: Database,
        account: str,
        session: str,
        *,
        patience_s: float = 30.0,
        projector: Callable[[Place, object], list[Statement]] = project,
    ) -> None:
        self._db = db
        self._account = account
        self._session = session
        self._patience_s = patience_s
        self._project = projector
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._epoch: int | None = None
        self._head = Head()

    def acquire(self) -> Head:
        """Become the account's only writer, and return the head to continue from.

        Call it before reading what the state is built on: from then on nobody else appends.

        Raises:
            DatabaseError: if the database stays away.
            JournalError: if the end of the chain was cut off.
        """
        with self._lock:
            for attempt in patient(self._patience_s):
                with attempt, self._db.errors():
                    self._take_over(self._connected())
            return self._head

    def append(self, records: Sequence[Record]) -> bool:
        """Append records in order, all or none; durable on return.

        Returns:
            False, with nothing written, if the first record's key is already in the journal.

        Raises:
            JournalError: if another writer took over, this one never did, or a later key exists.
            DatabaseError: if the database stays away. The outcome is then unknown: append the same
                records again, or acquire and read.
        """
        if not records:
            raise ValueError("an append needs at least one record")
        with self._lock:
            if self._epoch is None:
                raise JournalError("the journal was not acquired: call acquire() before append()")
            entries = chain(records, self._head, self._account, self._session)
            statements = [
                statement
                for entry in entries
                if entry.kind in PROJECTED
                for statement in self._project(_place(entry), entry.message())
            ]
            for attempt in patient(self._patience_s):
                with attempt, self._db.errors():
                    return self._append(self._connected(), entries, statements)
        raise AssertionError("retries end in a return or a raise")

    def head(self) -> Head:
        """The head as the database has it now."""
        with self._db.connection() as connection:
            row = connection.execute(
                "SELECT seq, hash FROM journal_head WHERE account = %s", (self._account,)
            ).fetchone()
        return Head(seq=row[0], hash=bytes(row[1])) if row else Head()

    def read(self, session: str | None = None, after_seq: int = 0) -> Iterator[Entry]:
        """Entries in order, of one session or of all, beginning behind `after_seq`.

        Read in chunks by number: entries never change, so no transaction need stay open, and a
        connection lost on the way is replaced.
        """
        condition = "AND session = %(session)s " if session is not None else ""
        query = (
            "SELECT account, session, kind, key, payload, ts_recv, prev_hash, hash, seq "
            f"FROM journal WHERE account = %(account)s {condition}"
        )
        for row in self._pages(query, session, after_seq):
            yield _entry(row)

    def keys(self, session: str | None = None) -> Iterator[str]:
        """The idempotency keys, in order, of one session or of all."""
        condition = "AND session = %(session)s " if session is not None else ""
        yield from (
            row[0]
            for row in self._pages(
                f"SELECT key, seq FROM journal WHERE account = %(account)s {condition}", session, 0
            )
        )

    def known(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys that are in the journal, of whatever session."""
        with self._db.connection() as connection:
            rows = connection.execute(
                "SELECT key FROM journal WHERE account = %s AND key = ANY(%s)",
                (self._account, list(keys)),
                prepare=True,
            ).fetchall()
        return {row[0] for row in rows}

    def last_session(self, *, before: str | None = None) -> str | None:
        """The session of the newest entry, or of the newest one older than session `before`."""
        with self._db.connection() as connection:
            row = connection.execute(
                "SELECT session FROM journal WHERE account = %(account)s AND seq < coalesce("
                "(SELECT min(seq) FROM journal WHERE account = %(account)s "
                "AND session = %(before)s), 9223372036854775807) ORDER BY seq DESC LIMIT 1",
                {"account": self._account, "before": before},
            ).fetchone()
        return row[0] if row else None

    def verify(self) -> Verification:
        """Recompute the whole chain; the first entry that is not as it was written is named."""
        end = self.head()  # first: entries appended meanwhile lie behind it and are checked too
        return verify_chain(self.read(), end)

    def close(self) -> None:
        """Let the writer's connection go."""
        with self._lock:
            self._disconnect()

    def _pages(self, query: str, session: str | None, after: int) -> Iterator[tuple[Any, ...]]:
        """Rows of a query whose last column is the number, chunk by chunk."""
        values = {"account": self._account, "session": session, "limit": _CHUNK}
        rows: list[tuple[Any, ...]] = []
        while True:
            for attempt in patient(self._patience_s):
                with attempt, self._db.connection() as connection:
                    rows = connection.execute(
                        query + "AND seq > %(after)s ORDER BY seq LIMIT %(limit)s",
                        {**values, "after": after},
                        binary=True,
                    ).fetchall()
            yield from rows
            if len(rows) < _CHUNK:
                return
            after = rows[-1][-1]

    # ---- writing --------------------------------------------------------------------------------

    def _take_over(self, connection: Connection) -> None:
        with connection.transaction():
            row = connection.execute(
                "INSERT INTO journal_head (account, seq, hash, epoch) VALUES (%s, 0, %s, 1) "
                "ON CONFLICT (account) DO UPDATE SET epoch = journal_head.epoch + 1 "
                "RETURNING seq, hash, epoch",
                (self._account, GENESIS),
            ).fetchone()
            last = connection.execute(
                "SELECT seq, hash FROM journal WHERE account = %s ORDER BY seq DESC LIMIT 1",
                (self._account,),
            ).fetchone()
        assert row is not None
        head = Head(seq=row[0], hash=bytes(row[1]))
        found = Head(seq=last[0], hash=bytes(last[1])) if last else Head()
        if found != head:
            raise JournalError(
                f"journal of {self._account} ends at entry {found.seq}, but entry {head.seq} was "
                "acknowledged: restore a backup"
            )
        self._head, self._epoch = head, row[2]

    def _append(
        self, connection: Connection, entries: list[Entry], statements: list[Statement]
    ) -> bool:
        last = Head(seq=entries[-1].seq, hash=entries[-1].hash)
        # One short statement after another: psycopg's pipeline mode costs more than it saves here.
        try:
            with connection.cursor() as cursor:
                cursor.execute("BEGIN")
                # Waits for a transaction of ours that a broken connection may have left behind.
                query = (self._account, entries[0].key, self._account)
                row = cursor.execute(_LOCK_HEAD, query, prepare=True).fetchone()
                found, known = self._checked(row, last)
                if found == last or known:
                    cursor.execute("ROLLBACK")
                    self._head = found
                    return found == last  # then an attempt before this one was committed
                cursor.execute(_INSERT, _columns(entries), prepare=True, binary=True)
                for statement, values in statements:
                    cursor.execute(statement, values, prepare=True)
                cursor.execute(_MOVE_HEAD, (last.seq, last.hash, self._account), prepare=True)
                cursor.execute("COMMIT")
        except psycopg.errors.UniqueViolation as error:
            connection.execute("ROLLBACK")
            raise JournalError(
                f"a key behind the first is already in the journal: {error.diag.message_detail}"
            ) from error
        except BaseException:
            self._disconnect()  # its state is unknown
            raise
        self._head = last
        return True

    def _checked(self, row: tuple[Any, ...] | None, last: Head) -> tuple[Head, bool]:
        """The head and whether the first key is known; refuses unless this is the writer."""
        if row is None:
            raise JournalError(f"journal of {self._account} lost its head: restore a backup")
        found, epoch, known = Head(seq=row[0], hash=bytes(row[1])), row[2], row[3]
        if epoch != self._epoch:
            raise JournalError(
                f"another writer took the journal of {self._account} over (epoch {epoch}, this one "
                f"has {self._epoch}): this writer must end"
            )
        if found not in (self._head, last):
            raise JournalError(
                f"journal of {self._account} is at entry {found.seq}, this writer expected "
                f"{self._head.seq}: acquire and read it again"
            )
        return found, known

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed or self._connection.broken:
            self._connection = None
            connection = self._db.connect(statement_timeout_s=15.0)
            connection.execute("SET synchronous_commit TO on")
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_LOCK_HEAD = """
SELECT seq, hash, epoch, EXISTS (SELECT 1 FROM journal WHERE account = %s AND key = %s)
FROM journal_head WHERE account = %s FOR UPDATE
"""
_MOVE_HEAD = "UPDATE journal_head SET seq = %s, hash = %s WHERE account = %s"
_INSERT = """
INSERT INTO journal (account, seq, session, kind, key, payload, ts_recv, prev_hash, hash)
SELECT * FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[],
    %s::bigint[], %s::bytea[], %s::bytea[])
"""


def _columns(entries: list[Entry]) -> tuple[list[Any], ...]:
    return (
        [e.account for e in entries],
        [e.seq for e in entries],
        [e.session for e in entries],
        [e.kind for e in entries],
        [e.key for e in entries],
        [e.payload.decode() for e in entries],
        [e.ts_recv for e in entries],
        [e.prev_hash for e in entries],
        [e.hash for e in entries],
    )


def _place(entry: Entry) -> Place:
    return Place(account=entry.account, session=entry.session, seq=entry.seq, ts_recv=entry.ts_recv)


def _entry(row: tuple[Any, ...]) -> Entry:
    account, session, kind, key, payload, ts_recv, prev_hash, own_hash, seq = row
    return Entry(
        account=account,
        seq=seq,
        session=session,
        kind=kind,
        key=key,
        payload=payload.encode(),
        ts_recv=ts_recv,
        prev_hash=bytes(prev_hash),
        hash=bytes(own_hash),
    )
