"""The registry of models: PostgreSQL says how each stands, the state folder holds the files.

Entries are append-only (a trigger refuses all else) and hash-chained: who did what, and why, stays.
Files lie under `<home>/models/<id>`, named after their content, so a session that once traded a
model finds the very same when its journal is folded again.
"""

import getpass
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from don.clock import Clock, SystemClock
from don.errors import UsageError
from don.home import home_dir
from don.learning.anchor import Anchor
from don.learning.model import Model
from don.learning.stages import (
    LADDER,
    TRADING,
    Stage,
    Version,
    Versions,
    find,
    fold,
    moves_for,
    promoted,
    rolled_back,
)
from don.policies import POLICIES, REGISTRY
from don.storage.chain import Entry, Head, Record, Verification, chain, verify_chain
from don.storage.database import Connection, Database, patient
from don.storage.opened import open_database

ANCHOR = "registry.json"  # beside the models
_LOCK = 0x646F6E6D  # "donm"
_ACCOUNT = "models"
Event = tuple[str, dict[str, Any]]  # kind, payload


class Registry:
    """The registry in a database.

    Args:
        db: migrated.
        store: folder of the models' files.
        clock: stamps entries.
        patience_s: how long to bear a database that is away.
    """

    def __init__(
        self,
        db: Database,
        store: Path,
        *,
        clock: Clock | None = None,
        patience_s: float = 10.0,
    ) -> None:
        self.db = self._db = db
        self._store, self._patience_s = Path(store), patience_s
        self._clock = clock or SystemClock()
        self._anchor = Anchor(self._store / ANCHOR)

    # ---- reading ---------------------------------------------------------------------------------

    def versions(self, name: str = "", *, deleted: bool = False) -> list[Version]:
        """Versions by name and number."""
        found = self._fold()
        return [
            found[key]
            for key in sorted(found)
            if (not name or key[0] == name) and (deleted or not found[key].deleted)
        ]

    def find(self, text: str) -> Version:
        """See `don.learning.stages.find`."""
        return find(self._fold(), text)

    def folder(self, version: Version) -> Path:
        """Where its files are."""
        return self._store / version.id

    def model(self, version: Version) -> Model:
        """Read its files.

        Raises:
            DataError, ConfigError: see `Model.load`.
        """
        return Model.load(self.folder(version))

    def sessions(self, version: Version) -> list[str]:
        """Sessions that were composed with it: their journals need its files."""
        with self._db.connection() as connection:
            rows = connection.execute(
                "SELECT id FROM session WHERE position(%s in config::text) > 0 ORDER BY ts_start",
                (f'"{version.id}"',),
            )
            return [row[0] for row in rows]

    def last_session(self) -> str:
        """The session that began last.

        Raises:
            UsageError: if there is none.
        """
        with self._db.connection() as connection:
            row = connection.execute("SELECT id FROM session ORDER BY ts_start DESC LIMIT 1")
            found = row.fetchone()
        if found is None:
            raise UsageError("there is no session yet: start one with `don up`")
        return str(found[0])

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

    def _fold(self) -> Versions:
        with self._db.connection() as connection:
            return _folded(connection)

    # ---- writing ---------------------------------------------------------------------------------

    def add(self, folder: Path, *, name: str = "", who: str = "", why: str = "") -> Version:
        """Import a folder: it becomes the next version of its name, a candidate.

        What is in the registry under that name already, to the bit, is not imported again.

        Raises:
            DataError, ConfigError: if the folder is no whole model, see `Model.load`.
            UsageError: if the name is none.
        """
        model = Model.load(Path(folder))
        if name:
            try:
                card = type(model.card).model_validate({**model.card.model_dump(), "name": name})
            except ValueError as error:
                raise UsageError(
                    f"name of a model must be a-z, 0-9, . _ -, was {name!r}"
                ) from error
            model = Model(card=card, weights=model.weights, states=model.states)
        if model.card.name in {*POLICIES, REGISTRY}:
            raise UsageError(
                f"name of a model must not be that of a policy that comes with Don, was "
                f"{model.card.name!r}: give another with --name"
            )
        self.keep(model)
        told = {
            "name": model.card.name, "id": model.id, "card": model.card.model_dump(mode="json"),
            "source": str(Path(folder).absolute()), "who": who or user(), "why": why,
        }  # fmt: skip

        def change(versions: Versions) -> list[Event]:
            own = [one for one in versions.values() if one.name == told["name"]]
            if any(one.id == told["id"] and not one.deleted for one in own):
                return []
            return [("import", {**told, "version": max((v.version for v in own), default=0) + 1})]

        found = self._change(change)
        own = [v for v in found.values() if v.name == told["name"] and v.id == told["id"]]
        return next(v for v in reversed(own) if not v.deleted)

    def keep(self, model: Model) -> Path:
        """Put a model's files into the store, if they are not there; registers nothing."""
        folder = self._store / model.id
        if not folder.exists():
            self._store.mkdir(parents=True, exist_ok=True, mode=0o700)
            model.save(folder)
        return folder

    def promote(
        self, text: str, *, why: str, to: Stage | None = None, who: str = "", force: bool = False
    ) -> list[Version]:
        """Move a version up: to the next stage, or to the one named. Who held it makes room.

        Returns:
            The versions that moved.

        Raises:
            UsageError: if it is no promotion, or leaves out a stage without `force`; see `find`.
        """

        def change(versions: Versions) -> list[tuple[Version, Stage]]:
            one = find(versions, text)
            return moves_for(versions, one, promoted(one, to, force=force))

        return self._move(change, who, why)

    def demote(
        self, text: str, *, why: str, to: Stage = Stage.CANDIDATE, who: str = "", rule: str = ""
    ) -> list[Version]:
        """Move a version down.

        Raises:
            UsageError: if it stands no higher than that.
        """

        def change(versions: Versions) -> list[tuple[Version, Stage]]:
            one = find(versions, text)
            if (
                one.stage not in LADDER
                or to not in LADDER
                or not (LADDER.index(to) < LADDER.index(one.stage))
            ):
                raise UsageError(f"{one.label} is {one.stage}: it cannot be demoted to {to}")
            return moves_for(versions, one, to)

        return self._move(change, who, why, rule)

    def rollback(self, name: str, *, why: str, who: str = "") -> list[Version]:
        """Bring back the version that was live before.

        Raises:
            UsageError: if none was.
        """
        return self._move(lambda versions: rolled_back(versions, name), who, why)

    def measure(self, text: str, measures: Mapping[str, float], *, who: str = "") -> Version:
        """Note what a version was worth out of sample."""

        def change(versions: Versions) -> list[Event]:
            one = find(versions, text)
            return [_event("measure", one, measures=dict(measures), who=who or user())]

        return find(self._change(change), text)

    def delete(self, text: str, *, why: str, who: str = "", used: bool = False) -> Version:
        """Take a version out of the registry. Its entries stay; its files go with its last name.

        Args:
            text: see `find`.
            why: kept.
            who: kept; "": this user.
            used: whether a session traded it: then its files stay, its journal needs them.

        Raises:
            UsageError: if it is shadow, canary or live: demote it first.
        """
        gone: list[Version] = []

        def change(versions: Versions) -> list[Event]:
            one = find(versions, text)
            if one.stage in TRADING:
                raise UsageError(f"{one.label} is {one.stage}: demote it before it is deleted")
            gone[:] = [one]
            return [_event("delete", one, who=who or user(), why=why)]

        left = self._change(change)
        one = gone[0]
        if not used and not any(v.id == one.id and not v.deleted for v in left.values()):
            shutil.rmtree(self.folder(one), ignore_errors=True)
        return one

    # ---- entries ---------------------------------------------------------------------------------

    def _move(
        self, decide: Callable[[Versions], list[tuple[Version, Stage]]], who: str, why: str,
        rule: str = "",
    ) -> list[Version]:  # fmt: skip
        if not why.strip():
            raise UsageError("say why: it is kept with the change")
        moved: list[tuple[str, int]] = []

        def change(versions: Versions) -> list[Event]:
            moves = decide(versions)
            moved[:] = [(one.name, one.version) for one, _ in moves]
            return [
                _event("move", one, to=str(to), who=who or user(), why=why, rule=rule)
                for one, to in moves
            ]

        found = self._change(change)
        return [found[key] for key in moved]

    def _change(self, decide: Callable[[Versions], list[Event]]) -> Versions:
        """Append what is decided on the registry as it stands; nobody else changes it meanwhile."""
        keys = secrets.token_hex(12)
        for attempt in patient(self._patience_s):
            with attempt, self._db.connection() as connection:
                connection.execute("SET LOCAL synchronous_commit TO on")
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                known = connection.execute(
                    "SELECT 1 FROM model_entry WHERE key = %s", (f"{keys}/0",)
                ).fetchone()
                if known is None:  # else an attempt before this one was committed after all
                    self._append(connection, decide(_folded(connection)), keys)
                found = _folded(connection)
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


def _event(kind: str, one: Version, **told: Any) -> Event:
    return kind, {"name": one.name, "version": one.version, **told}


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


def _folded(connection: Connection) -> Versions:
    return fold((e.kind, e.ts_recv, json.loads(e.payload)) for e in _entries(connection))


def user() -> str:
    """Who runs this process, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"


def store_of(home: Path) -> Path:
    """Where a state folder keeps its models."""
    return home / "models"


@contextmanager
def open_registry(
    home: Path | None = None, environ: Mapping[str, str] = os.environ
) -> Iterator[Registry]:
    """The registry of a state folder; an embedded database is made and started if need be, and
    stopped by its last user.

    Raises:
        DependencyError: if the database cannot be reached.
    """
    with open_database(home, environ) as db:
        yield Registry(db, store_of(home_dir(environ) if home is None else home))
