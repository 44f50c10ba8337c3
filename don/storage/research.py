"""The research ledger: counts every run that looked for a strategy. Does I/O.

Who tries a hundred strategies and shows the best one shows luck; how lucky the best of N is can be
reckoned if N is known. So each run is entered when it begins, before anything is known of its
result. Entries are append-only (a trigger refuses all else) and hash-chained. The state folder
keeps an anchor, the last entry that was acknowledged: a ledger that is cut off, put back or
exchanged is noticed by the next run, which enters how many runs are missing, and they go on
counting.
"""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from don.clock import Clock, SystemClock
from don.errors import JournalError, UsageError
from don.home import home_dir
from don.storage.chain import Entry, Head, Record, Verification, chain, verify_chain
from don.storage.database import Connection, Database, patient
from don.storage.opened import open_database
from don.storage.research_anchor import ANCHOR, Anchor
from don.storage.research_notes import Found, Notes
from don.storage.research_runs import (
    Outside,
    Run,
    RunKind,
    RunStatus,
    Trials,
    as_json,
    begin_payload,
    count_trials,
    end_payload,
    outside_of,
    runs_of,
)
from don.words import amount

_LOCK = 0x646F6E72  # "donr"
_within: ContextVar[int | None] = ContextVar("research_run", default=None)


@contextmanager
def counted_by(run: int) -> Iterator[None]:
    """Runs that begin in this block, in this task, are parts of a run that has counted already."""
    token = _within.set(run)
    try:
        yield
    finally:
        _within.reset(token)


class Research:
    """The ledger in a database.

    Args:
        db: migrated.
        anchor: file that remembers the ledger's end outside of the database; None: nobody does.
        clock: stamps entries.
        warn: takes a line when runs are found missing.
        patience_s: how long to bear a database that is away.
    """

    def __init__(
        self,
        db: Database,
        *,
        anchor: Path | None = None,
        clock: Clock | None = None,
        warn: Callable[[str], None] = lambda text: None,
        patience_s: float = 10.0,
    ) -> None:
        self._db, self._warn, self._patience_s = db, warn, patience_s
        self._anchor = Anchor(anchor)
        self._clock = clock or SystemClock()

    # ---- writing ---------------------------------------------------------------------------------

    def begin(
        self,
        kind: RunKind | str,
        config: Mapping[str, Any],
        data_hash: str,
        *,
        seed: int = 0,
        lineage: Sequence[str] = (),
        parent: int | None = None,
        trials: int | None = None,
    ) -> int:
        """Count a run, before it does anything.

        Args:
            kind: of `RunKind`.
            config: all that shapes it, as JSON takes it.
            data_hash: of the data that it looks at.
            seed: of everything drawn.
            lineage: further names of the data: hashes of files that they were cut from, symbols.
            parent: the run that it is a part of; None: that of `counted_by`, if it is inside one.
            trials: that it counts for; None: none inside `counted_by`, else as its kind says.

        Returns:
            Its number.

        Raises:
            UsageError: if the kind is unknown or trials are negative.
            DatabaseError: if the database stays away: a run that cannot be counted must not begin.
        """
        over = _within.get()
        if trials is None and over is not None:
            trials = 0
        payload = begin_payload(
            kind, config, data_hash, seed=seed, lineage=lineage,
            parent=over if parent is None else parent, trials=trials,
        )  # fmt: skip
        return self._append("begin", f"begin:{secrets.token_hex(12)}", payload, None)

    def end(
        self, run: int, status: RunStatus | str = RunStatus.DONE,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Enter what came of a run.

        `metrics["sharpe"]`, annual, deflates others; with `metrics["returns"]`, of how many it is,
        and `metrics["days"]`, how long a record: without them it is worth little.

        Raises:
            UsageError: if the run never began, has ended already, or the status is none.
            DatabaseError: if the database stays away.
        """
        self._append("end", f"end:{run}", end_payload(status, metrics), run)

    def take_in(self, notes: Notes) -> int:
        """Enter what was noted while the ledger was closed; each run once, whatever happens.

        Notes that were removed or changed since are entered as runs that are missing.

        Returns:
            How many runs began.

        Raises:
            DatabaseError: if the database stays away; the notes stay.
        """
        begun = 0
        with notes.taken() as found:
            if found.lost:
                self._lost(found)
            for note in found.notes:
                key = f"begin:{note.key}"
                if not note.ended:
                    self._append("begin", key, note.payload, None)
                    begun += 1
                    continue
                run = self._number(key)
                if run is None:
                    self._warn(f"a run that ended was never noted as begun: {note.key}")
                    continue
                self._append("end", f"end:{run}", note.payload, run)
        return begun

    def _lost(self, found: Found) -> None:
        """Enter runs whose notes were not left as they were; the same ones once."""
        self._warn(found.words)
        for attempt in patient(self._patience_s):
            with attempt, self._db.connection() as connection:
                ledger, head, runs = self._begun(connection)
                key = f"outside:{ledger}:notes:{found.name}"
                head, cut = self._missing(connection, ledger, head, runs)
                if not connection.execute(
                    "SELECT 1 FROM research_entry WHERE key = %s", (key,)
                ).fetchone():
                    cut += found.lost
                    entry = {"ledger": ledger, "runs": cut, "why": "cut"}
                    head = self._write(connection, ledger, head, "outside", key, 0, entry)
                self._move(connection, head, runs)
        self._anchor.keep(ledger, head, runs + cut)

    def _number(self, key: str) -> int | None:
        with self._db.connection() as connection:
            row = connection.execute(
                "SELECT run FROM research_entry WHERE key = %s", (key,)
            ).fetchone()
        return None if row is None else int(row[0])

    def _append(self, kind: str, key: str, payload: Mapping[str, Any], run: int | None) -> int:
        for attempt in patient(self._patience_s):
            with attempt, self._db.connection() as connection:
                number, head, ledger, runs = self._appended(connection, kind, key, payload, run)
        self._anchor.keep(ledger, head, runs)
        return number

    def _appended(
        self, connection: Connection, kind: str, key: str, payload: Mapping[str, Any],
        run: int | None,
    ) -> tuple[int, Head, str, int]:  # fmt: skip
        ledger, head, runs = self._begun(connection)
        known = connection.execute(
            "SELECT run, payload FROM research_entry WHERE key = %s", (key,)
        ).fetchone()
        if known is not None:  # an attempt before this one was committed after all
            if known[1] != as_json(payload):
                raise UsageError(f"run {known[0]} has ended already")
            return known[0], head, ledger, runs + _cut(self._read(connection, run=0))
        if run is not None and not 0 < run <= runs:
            raise UsageError(f"run {run} never began: the ledger has {runs}")
        head, cut = self._missing(connection, ledger, head, runs)
        number = runs + 1 if run is None else run
        runs += run is None
        head = self._write(connection, ledger, head, kind, key, number, payload)
        self._move(connection, head, runs)
        return number, head, ledger, runs + cut

    def _move(self, connection: Connection, head: Head, runs: int) -> None:
        connection.execute(
            "UPDATE research_head SET seq = %s, hash = %s, runs = %s",
            (head.seq, head.hash, runs),
        )

    def _begun(self, connection: Connection) -> tuple[str, Head, int]:
        """The ledger's name, its end and how many runs began; nobody else enters meanwhile."""
        connection.execute("SET LOCAL synchronous_commit TO on")
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        row = connection.execute("SELECT ledger, seq, hash, runs FROM research_head").fetchone()
        if row is None:
            row = (secrets.token_hex(8), 0, Head().hash, 0)
            connection.execute("INSERT INTO research_head VALUES (%s, %s, %s, %s)", row)
        return row[0], Head(seq=row[1], hash=bytes(row[2])), row[3]

    def _missing(
        self, connection: Connection, ledger: str, head: Head, runs: int
    ) -> tuple[Head, int]:
        """Enter runs that the anchor knows and this ledger does not; the end, and runs cut off."""
        last = connection.execute(
            "SELECT seq, hash FROM research_entry ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        found = Head(seq=last[0], hash=bytes(last[1])) if last else Head()
        if found != head:
            raise JournalError(
                f"the research ledger ends at entry {found.seq}, but entry {head.seq} was "
                "acknowledged: entries were removed; restore a backup"
            )
        notes = self._read(connection, run=0)
        cut = _cut(notes)
        entered = {(one.ledger, one.why): one.runs for one in outside_of(notes)}
        for one in self._anchor.missing(ledger, runs + cut, lambda at: _hash_at(connection, at)):
            count = one.runs + (cut if one.why == "cut" else 0)  # what was lost before stays lost
            if count <= entered.get((one.ledger, one.why), 0):
                continue
            cut = count if one.why == "cut" else cut
            self._warn(
                f"the research ledger misses {amount(count, 'run')} "
                + ("that it had" if one.why == "cut" else f"that ledger {one.ledger} has")
                + ": they go on counting as trials"
            )
            told = {"ledger": one.ledger, "runs": count, "why": one.why}
            key = f"outside:{one.ledger}:{one.why}:{count}:{head.seq}"
            head = self._write(connection, ledger, head, "outside", key, 0, told)
        return head, cut

    def _write(
        self, connection: Connection, ledger: str, head: Head, kind: str, key: str, number: int,
        payload: Mapping[str, Any],
    ) -> Head:  # fmt: skip
        record = Record(
            kind=kind, key=key, payload=as_json(payload).encode(), ts_recv=self._clock.now_ns()
        )
        entry = chain([record], head, ledger, str(number))[0]
        connection.execute(
            "INSERT INTO research_entry VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            (entry.seq, number, kind, key, entry.payload.decode(), entry.ts_recv,
             entry.prev_hash, entry.hash),
        )  # fmt: skip
        return Head(seq=entry.seq, hash=entry.hash)

    # ---- reading ---------------------------------------------------------------------------------

    def runs(self) -> list[Run]:
        """Every run, oldest first."""
        return runs_of(self._entries())

    def run(self, number: int) -> Run:
        """One run.

        Raises:
            UsageError: if there is none.
        """
        with self._db.connection() as connection:
            entries = self._read(connection, run=number)
        found = next(iter(runs_of(entries)), None)
        if found is None:
            raise UsageError(f"run {number} is not in the research ledger: see `don research list`")
        return found

    def trials(self, data_hash: str, lineage: Sequence[str] = ()) -> Trials:
        """How many trials a result on these data is the best of; see `count_trials`."""
        return count_trials(self._entries(), (data_hash, *lineage))

    def outside(self) -> list[Outside]:
        """Runs that are known to be missing."""
        return outside_of(self._entries())

    def reference(self) -> dict[str, Any]:
        """What a result keeps to say which ledger, up to which entry, it was counted by."""
        with self._db.connection() as connection:
            row = connection.execute("SELECT ledger, seq, hash, runs FROM research_head").fetchone()
        ledger, seq, digest, runs = row if row is not None else ("", 0, Head().hash, 0)
        return {"ledger": ledger, "entry": seq, "hash": bytes(digest).hex(), "runs": runs}

    def stamp(
        self, run: int, data_hash: str, lineage: Sequence[str] = (), *, planned: int = 0
    ) -> dict[str, str]:
        """What a model's card says of where its training was counted.

        Args:
            run: its number.
            data_hash: of what it is trained on.
            lineage: further names of the data.
            planned: trials of this run that are still to begin.
        """
        found = self.trials(data_hash, lineage)
        tried = sum(each.trials for each in self.runs() if each.run in found.runs)
        count = max(tried + found.outside + planned, 1)
        ledger = self.reference()["ledger"]
        return {"ledger": ledger, "ledger_run": str(run), "ledger_trials": str(count)}

    def has(self, stamp: Mapping[str, str]) -> bool:
        """Whether a run that `stamp` tells of is in this ledger."""
        own = self.reference()
        return stamp["ledger"] == own["ledger"] and int(stamp["ledger_run"]) <= own["runs"]

    def verify(self) -> Verification:
        """Recompute the chain; the first entry that is not as written is named."""
        with self._db.connection() as connection:
            row = connection.execute("SELECT seq, hash FROM research_head").fetchone()
        end = Head(seq=row[0], hash=bytes(row[1])) if row is not None else Head()
        return verify_chain(self._entries(), end)

    def _entries(self) -> list[Entry]:
        with self._db.connection() as connection:
            return self._read(connection)

    def _read(self, connection: Connection, run: int | None = None) -> list[Entry]:
        row = connection.execute("SELECT ledger FROM research_head").fetchone()
        ledger = row[0] if row is not None else ""
        rows = connection.execute(
            "SELECT seq, run, kind, key, payload, ts, prev_hash, hash FROM research_entry "
            + ("" if run is None else "WHERE run = %(run)s ")
            + "ORDER BY seq",
            {"run": run},
        )
        return [
            Entry(
                account=ledger, seq=r[0], session=str(r[1]), kind=r[2], key=r[3],
                payload=r[4].encode(), ts_recv=r[5], prev_hash=bytes(r[6]), hash=bytes(r[7]),
            )
            for r in rows
        ]  # fmt: skip


@contextmanager
def open_research(
    home: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    warn: Callable[[str], None] = lambda text: None,
) -> Iterator[Research]:
    """The ledger of a state folder; an embedded database is made and started if need be, and
    stopped by its last user.

    Raises:
        DependencyError: if the database cannot be reached.
    """
    folder = home_dir(environ) if home is None else home
    with open_database(home, environ) as db:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # it keeps the anchor
        research = Research(db, anchor=folder / ANCHOR, warn=warn)
        research.take_in(Notes(folder, warn))
        yield research


def _cut(notes: list[Entry]) -> int:
    """Runs that this ledger lost, of its entries about itself."""
    return sum(one.runs for one in outside_of(notes) if one.why == "cut")


def _hash_at(connection: Connection, seq: int) -> bytes | None:
    row = connection.execute("SELECT hash FROM research_entry WHERE seq = %s", (seq,)).fetchone()
    return None if row is None else bytes(row[0])
