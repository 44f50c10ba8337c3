"""The registry of models for the API: how versions stand, where they trade, what they were worth.

Blocks; use a thread. Environments are large, and what knows a model's card loads them: they are
not loaded before the registry has a version.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from don.errors import UsageError
from don.storage.database import Database
from don.storage.queries import Queries
from don.storage.research import Research
from don.storage.research_runs import RunKind

if TYPE_CHECKING:
    from don.learning.resolve import Traded
    from don.learning.stages import Version

RUN = "run"  # among figures: the evaluation's number in the research ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsAsked:
    """Which versions."""

    name: str | None
    deleted: bool
    limit: int
    session: str  # the running one; "": none, or unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What the last evaluation said; of its run in the research ledger."""

    run: int
    grade: str
    answer: str
    ts_end: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the running session has a version decide."""

    slot: str  # "": the whole account
    mode: str
    held: bool  # False: it was moved since the session began, and stands elsewhere now


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTold:
    """A version, the places of the running session that have it, and its last evaluation."""

    version: "Version"
    places: tuple[Place, ...] = ()
    evaluated: Evaluated | None = None  # None: never, or the ledger does not have it


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsTold:
    """Versions by name, newest first."""

    models: tuple[ModelTold, ...]
    count: int  # that there are of what was asked for


class RegistryReads:
    """Reads the registry of a database.

    What was read is kept as long as the registry's last entry is the same: it only grows.
    """

    def __init__(self, db: Database, home: Path) -> None:
        self._db, self._home = db, home
        self._kept: tuple[bytes, list[Version]] = b"", []
        self._evaluated: dict[int, tuple[Evaluated, frozenset[str]] | None] = {}
        self._schemas: dict[str, str] = {}

    def listed(self, asked: ModelsAsked) -> ModelsTold:
        """Versions; where they are too many, those that trade and the newest."""
        found = [
            one
            for one in self.versions()
            if asked.name in (None, one.name) and (asked.deleted or not one.deleted)
        ]
        if not found:
            return ModelsTold(models=(), count=0)
        from don.learning.stages import TRADING

        chosen = sorted(found, key=lambda v: (v.stage in TRADING, v.since))[-asked.limit :]
        chosen.sort(key=lambda v: (v.name, -v.version))
        places = self._places(asked.session)
        return ModelsTold(models=tuple(self._told(v, places) for v in chosen), count=len(found))

    def one(self, text: str, session: str) -> tuple[ModelTold, str]:
        """The version that a text means, a deleted one by its number too; the hash of its schema.

        Raises:
            UsageError: if there is none, or it is not clear which.
        """
        versions = self.versions()
        if not versions:
            raise UsageError(f"was {text!r}: the registry has no model yet")
        one = next((v for v in versions if v.label == text), None)
        if one is None:
            from don.learning.stages import find

            one = find({(v.name, v.version): v for v in versions}, text)
        return self._told(one, self._places(session)), self.schema_hash(one)

    def schema_hash(self, one: "Version") -> str:
        """Of what its observations mean; "" if its files cannot be read."""
        from don.learning.registry import Registry, store_of

        if one.id not in self._schemas:
            registry = Registry(self._db, store_of(self._home))
            try:
                self._schemas[one.id] = registry.model(one).schema_hash
            except (UsageError, OSError):
                return ""
        return self._schemas[one.id]

    # ---- what is read ----------------------------------------------------------------------------

    def versions(self) -> "list[Version]":
        """All that there ever were, by name and number."""
        with self._db.connection() as connection:
            row = connection.execute(
                "SELECT hash FROM model_entry ORDER BY seq DESC LIMIT 1"
            ).fetchone()
        end = bytes(row[0]) if row is not None else b""
        if end != self._kept[0]:
            from don.learning.registry import Registry, store_of

            # read after the end was: newer at worst, and then read once more
            registry = Registry(self._db, store_of(self._home))
            self._kept = end, registry.versions(deleted=True)
        return self._kept[1] if end else []

    def trading(self, session: str) -> "tuple[Sequence[Traded], int]":
        """Where a session has models decide, and when it began, ns; nothing of one that is not on
        record yet.
        """
        from don.learning.resolve import traded

        row = Queries(self._db).session(session)
        return ((), 0) if row is None else (traded(row.policy, row.config), row.ts_start)

    def evaluation(self, run: int) -> tuple[Evaluated, frozenset[str]] | None:
        """A run of the ledger and the models that it looked at; None if it is no such."""
        try:
            found = Research(self._db).run(run)
        except UsageError:
            return None
        if found.kind is not RunKind.EVALUATE or found.ts_end is None:
            return None
        told = Evaluated(
            run=run, grade=str(found.metrics.get("grade", "")),
            answer=str(found.metrics.get("answer", "")), ts_end=found.ts_end,
        )  # fmt: skip
        return told, frozenset(str(each) for each in found.config.get("models", ()))

    # ---- put together ----------------------------------------------------------------------------

    def _places(self, session: str) -> Mapping[str, Sequence[Place]]:
        """Places by the label of what they have."""
        from don.learning.resolve import MODES

        places, began = self.trading(session) if session else ((), 0)
        found: dict[str, list[Place]] = {}
        for place in places:
            one = place.known(self.versions()).version
            if one is None:
                continue
            same = MODES.get(one.stage) is place.mode or one.since <= began
            told = Place(slot=place.name, mode=str(place.mode), held=same and not one.deleted)
            found.setdefault(one.label, []).append(told)
        return found

    def _told(self, one: "Version", places: Mapping[str, Sequence[Place]]) -> ModelTold:
        run = one.outside.get(RUN)
        evaluated = None
        if run is not None:
            if int(run) not in self._evaluated:  # an evaluation that is over stays as it is
                self._evaluated[int(run)] = self.evaluation(int(run))
            found = self._evaluated[int(run)]
            if found is not None and one.id in found[1]:  # else it was another ledger's run
                evaluated = found[0]
        own = tuple(places.get(one.label, ()))
        return ModelTold(version=one, places=own, evaluated=evaluated)
