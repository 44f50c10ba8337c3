"""The registry's entries in PostgreSQL: appended under a lock, hash-chained, folded. Does I/O."""

import json
import secrets
from collections.abc import Callable
from typing import Any

from don.clock import Clock
from don.learning.anchor import Anchor
from don.learning.stages import Versions, fold
from don.storage.chain import Entry, Head, Record, Verification, chain, verify_chain
from don.storage.database import Connection, Database, patient

_LOCK = 0x646F6E6D  # "donm"
_ACCOUNT = "models"
Event = tuple[str, dict[str, Any]]  # kind, payload


class Entries:
    """All entries of a database.

    Args:
        db: migrated.
        anchor: remembers the last entry that this state folder wrote or verified.
        clock: stamps entries.
        patience_s: how long to bear a database that is away.
    """

    def __init__(self, db: Database, anchor: Anchor, clock: Clock, patience_s: float) -> None:
        self._db, self._anchor, self._clock = db, anchor, clock
        self._patience_s = patience_s

    def fold(self) -> Versions:
        """How versions stand."""
        with self._db.connection() as connection:
            return folded(connection)

    def verify(self) -> Verification:
        """Recompute the chain; the first entry that is not as written is named, and an end that is
        missing: this state folder remembers the last entry that it wrote or verified.
        """
        with self._db.connection() as connection:
            entries = _entries(connection)
        if not entries:
            return verify_chain([], Head())
        first = entries[0].hash
        found = verify_chain(entries, self._anchor.end(first))
        if found.ok:
            self._anchor.keep(first, Head(seq=entries[-1].seq, hash=entries[-1].hash))
        return found

    def change(self, decide: Callable[[Versions], list[Event]]) -> Versions:
        """Append what is decided on the registry as it stands; nobody else changes it meanwhile."""
        keys = secrets.token_hex(12)
        for attempt in patient(self._patience_s):
            with attempt, self._db.connection() as connection:
                connection.execute("SET LOCAL synchronous_commit TO on")
                lock(connection)
                known = connection.execute(
                    "SELECT 1 FROM model_entry WHERE key = %s", (f"{keys}/0",)
                ).fetchone()
                if known is None:  # else an attempt before this one was committed after all
                    self._append(connection, decide(folded(connection)), keys)
                found = folded(connection)
                ends = self._ends(connection)
        if ends is not None:
            self._anchor.keep(*ends)
        return found

    def _ends(self, connection: Connection) -> tuple[bytes, Head] | None:
        """First entry's hash and last entry, for the anchor; None where the end that it knows is
        missing: then it goes on saying so.
        """
        row = connection.execute("SELECT hash FROM model_entry WHERE seq = 1").fetchone()
        if row is None:
            return None
        known = self._anchor.end(bytes(row[0]))
        rows = connection.execute(
            "SELECT seq, hash FROM model_entry WHERE seq = %s "
            "OR seq = (SELECT max(seq) FROM model_entry) ORDER BY seq",
            (known.seq,),
        ).fetchall()
        if known.seq and (rows[0][0] != known.seq or bytes(rows[0][1]) != known.hash):
            return None
        return bytes(row[0]), Head(seq=rows[-1][0], hash=bytes(rows[-1][1]))

    def _append(self, connection: Connection, events: list[Event], keys: str) -> None:
        last = connection.execute(
            "SELECT seq, hash FROM model_entry ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        head = Head(seq=last[0], hash=bytes(last[1])) if last else Head()
        now = self._clock.now_ns()
        for place, (kind, told) in enumerate(events):
            record = Record(
                kind=kind, key=f"{keys}/{place}", payload=json.dumps(told, sort_keys=True).encode(),
                ts_recv=now,
            )  # fmt: skip
            entry = chain([record], head, _ACCOUNT, told["name"])[0]
            connection.execute(
                "INSERT INTO model_entry VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                (entry.seq, told["name"], kind, entry.key, entry.payload.decode(), now,
                 entry.prev_hash, entry.hash),
            )  # fmt: skip
            head = Head(seq=entry.seq, hash=entry.hash)


def lock(connection: Connection) -> None:
    """Until the transaction ends nobody else changes the registry."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))


def _entries(connection: Connection) -> list[Entry]:
    rows = connection.execute(
        "SELECT seq, model, kind, key, payload, ts, prev_hash, hash FROM model_entry ORDER BY seq"
    )
    return [
        Entry(
            account=_ACCOUNT, seq=r[0], session=r[1], kind=r[2], key=r[3], payload=r[4].encode(),
            ts_recv=r[5], prev_hash=bytes(r[6]), hash=bytes(r[7]),
        )
        for r in rows
    ]  # fmt: skip


def folded(connection: Connection) -> Versions:
    """How versions stand, in a transaction."""
    return fold((e.kind, e.ts_recv, json.loads(e.payload)) for e in _entries(connection))
