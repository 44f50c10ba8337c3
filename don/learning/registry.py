"""The registry of models: PostgreSQL says how each stands, the state folder holds the files.

Entries are append-only (a trigger refuses all else) and hash-chained: who did what, and why, stays.
Files lie under `<home>/models/<id>`, named after their content, so a session that once traded a
model finds the very same when its journal is folded again.
"""

import getpass
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from don.clock import Clock, SystemClock
from don.errors import DonError, UsageError
from don.home import home_dir
from don.learning.anchor import Anchor
from don.learning.entries import Entries, Event, folded, lock
from don.learning.model import Model
from don.learning.stages import (
    LADDER,
    TRADING,
    Stage,
    Version,
    Versions,
    find,
    moves_for,
    promoted,
    rolled_back,
    taken_down,
    unmoved,
)
from don.learning.store import Store
from don.log import get_logger
from don.policies import POLICIES, REGISTRY
from don.storage.chain import Verification
from don.storage.database import Connection, Database
from don.storage.opened import open_database

ANCHOR = "registry.json"  # beside the models


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
        self._files = Store(store)
        anchor = Anchor(self._files.root / ANCHOR)
        self._entries = Entries(db, anchor, clock or SystemClock(), patience_s)

    # ---- reading ---------------------------------------------------------------------------------

    def versions(self, name: str = "", *, deleted: bool = False) -> list[Version]:
        """Versions by name and number."""
        found = self._entries.fold()
        return [
            found[key]
            for key in sorted(found)
            if (not name or key[0] == name) and (deleted or not found[key].deleted)
        ]

    def find(self, text: str) -> Version:
        """See `don.learning.stages.find`."""
        return find(self._entries.fold(), text)

    def folder(self, version: Version) -> Path:
        """Where its files are."""
        return self._files.folder(version.id)

    def model(self, version: Version) -> Model:
        """Read its files.

        Raises:
            DataError, ConfigError: see `Store.load`.
        """
        return self._files.load(version.id)

    def claim(self, version: Version, until: ExitStack) -> None:
        """Have its files stay, deleted or not, until this is closed: see `Store.claim`."""
        self._files.claim(version.id, until)

    def sessions(self, version: Version) -> list[str]:
        """Sessions that were composed with it: their journals need its files."""
        with self._db.connection() as connection:
            return _sessions(connection, version)

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
        return self._entries.verify()

    # ---- writing ---------------------------------------------------------------------------------

    def add(self, folder: Path, *, name: str = "", who: str = "", why: str = "") -> Version:
        """Import a folder: it becomes the next version of its name, a candidate.

        What is in the registry under that name already, to the bit, is not imported again; its
        files are put back if they are gone.

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
        told = {
            "name": model.card.name, "id": model.id, "card": model.card.model_dump(mode="json"),
            "source": str(Path(folder).absolute()), "who": who or user(), "why": why,
        }  # fmt: skip

        def change(versions: Versions) -> list[Event]:
            self._files.keep(model)  # here, where nobody decides meanwhile that they are to go
            own = [one for one in versions.values() if one.name == told["name"]]
            if any(one.id == told["id"] and not one.deleted for one in own):
                return []
            return [("import", {**told, "version": max((v.version for v in own), default=0) + 1})]

        found = self._entries.change(change)
        own = [v for v in found.values() if v.name == told["name"] and v.id == told["id"]]
        return next(v for v in reversed(own) if not v.deleted)

    def promote(
        self, text: str, *, why: str, to: Stage | None = None, who: str = "", force: bool = False,
        at: Stage | None = None, asked: int | None = None,
    ) -> list[Version]:  # fmt: skip
        """Move a version up: to the next stage, or to the one named. Who held it makes room.

        Args:
            text: see `find`.
            why: kept.
            to: None: the next stage.
            who: kept; "": this user.
            force: leave stages out.
            at: the stage that whoever asks saw it in; in another it stays where it is.
            asked: when that was, ns: where `to` is not said, what moved since stays where it is.

        Returns:
            The versions that moved.

        Raises:
            UsageError: if it is no promotion, leaves out a stage without `force`, or was moved
                meanwhile; see `find`.
            DataError, ConfigError: if its files are not there, or not what was imported.
        """

        def change(versions: Versions) -> list[tuple[Version, Stage]]:
            one = find(versions, text)
            unmoved(one, at, asked if to is None else None)
            then = promoted(one, to, force=force)
            self._whole(one, then)
            return moves_for(versions, one, then)

        return self._move(change, who, why)

    def demote(
        self, text: str, *, why: str, to: Stage = Stage.CANDIDATE, who: str = "", rule: str = "",
        key: str = "", seen: int = 0,
    ) -> list[Version]:  # fmt: skip
        """Move a version down.

        Args:
            text: see `find`.
            why: kept.
            to: where.
            who: kept; "": this user.
            rule: that made it; "": a person.
            key: of the command that halted its slot; what it made is on record once.
            seen: with `key`: how many of its moves were known then. Nothing moves if it was taken
                down since.

        Raises:
            UsageError: if it stands no higher than that.
        """

        def change(versions: Versions) -> list[tuple[Version, Stage]]:
            one = find(versions, text)
            if key and (any(m.key == key for m in one.moves) or taken_down(one.moves[seen:])):
                return []
            if (
                one.stage not in LADDER
                or to not in LADDER
                or not (LADDER.index(to) < LADDER.index(one.stage))
            ):
                raise UsageError(f"{one.label} is {one.stage}: it cannot be demoted to {to}")
            return moves_for(versions, one, to)

        return self._move(change, who, why, rule, key)

    def rollback(
        self, name: str, *, why: str, who: str = "", asked: int | None = None
    ) -> list[Version]:
        """Bring back the version that was live before.

        Args:
            name: of the model.
            why: kept.
            who: kept; "": this user.
            asked: when it was asked for, ns: a live version that became so since stays.

        Raises:
            UsageError: if none was.
            DataError, ConfigError: if its files are not there, or not what was imported.
        """

        def change(versions: Versions) -> list[tuple[Version, Stage]]:
            moves = rolled_back(versions, name)
            unmoved(moves[0][0], None, asked)
            self._whole(*moves[-1])
            return moves

        return self._move(change, who, why)

    def measure(self, text: str, measures: Mapping[str, float], *, who: str = "") -> Version:
        """Note what a version was worth out of sample."""

        def change(versions: Versions) -> list[Event]:
            one = find(versions, text)
            return [_event("measure", one, measures=dict(measures), who=who or user())]

        return find(self._entries.change(change), text)

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

        self._entries.change(change)
        if not used:
            self._tidy(gone[0])
        return gone[0]

    def _tidy(self, one: Version) -> None:
        """Remove files of deleted versions that no version means and no session needs, of those
        too whose files stayed when they were deleted: a session was beginning with them, or a
        process was killed. Under the lock, so that whoever imports the same content meanwhile
        finds them whole or not at all.
        """
        try:
            with self._db.connection() as connection:
                lock(connection)
                versions = folded(connection).values()
                alive = {v.id for v in versions if not v.deleted}
                for each in {v.id: v for v in versions if v.id not in alive}.values():
                    if self.folder(each).is_dir() and not _sessions(connection, each):
                        self._files.take_away(each.id)
            self._files.sweep()
        except (DonError, OSError) as error:  # it is deleted all the same
            get_logger("don.models").warning(
                "files of a deleted model stay", model=one.label, error=str(error)
            )

    def _whole(self, one: Version, to: Stage) -> None:
        """Refuse to have a version trade that cannot be loaded."""
        try:
            self.model(one)
        except UsageError as error:
            raise type(error)(
                f"{one.label} cannot become {to}: {error}; if its files are lost, importing the "
                f"same folder again (it was {one.source}) puts them back"
            ) from error

    # ---- entries ---------------------------------------------------------------------------------

    def _move(
        self, decide: Callable[[Versions], list[tuple[Version, Stage]]], who: str, why: str,
        rule: str = "", key: str = "",
    ) -> list[Version]:  # fmt: skip
        if not why.strip():
            raise UsageError("say why: it is kept with the change")
        moved: list[tuple[str, int]] = []

        def change(versions: Versions) -> list[Event]:
            moves = decide(versions)
            moved[:] = [(one.name, one.version) for one, _ in moves]
            return [
                _event("move", one, to=str(to), who=who or user(), why=why, rule=rule, key=key)
                for one, to in moves
            ]

        found = self._entries.change(change)
        return [found[key] for key in moved]


def _event(kind: str, one: Version, **told: Any) -> Event:
    return kind, {"name": one.name, "version": one.version, **told}


def _sessions(connection: Connection, version: Version) -> list[str]:
    rows = connection.execute(
        "SELECT id FROM session WHERE position(%s in config::text) > 0 ORDER BY ts_start",
        (f'"{version.id}"',),
    )
    return [row[0] for row in rows]


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
