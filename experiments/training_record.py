"""What a training's folder says it was begun with, and the run that it is. Reads and writes a file.

A training that goes on is the run that it was, however often it was stopped or killed. A few
settings may be changed for that: they are told, kept here and on the model's card, and counted as
one more trial, as a configuration that a population goes on as.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from don.errors import DataError, UsageError
from don.storage.research import Research
from don.storage.research_runs import Run, RunKind, RunStatus
from experiments.begun import check_versions
from experiments.durable import read_json, write_json
from experiments.training_config import TrainConfig

CONFIG, PROGRESS = "config.json", "progress.jsonl"
# what may differ when a training goes on: how long, and by whom
FREE = ("stop", "workers", "keep", "out")
# and how it learns, but not what: of `algorithm`. Not the reward's scale: the values that were
# learned, and the rewards that are remembered, are of the old one
LEARNING = ("lr", "grad_clip")


def free(out: Path, *, resume: bool) -> bool:
    """Whether a training has begun in a folder.

    Raises:
        UsageError: if it has, and is not to go on.
    """
    begun = (out / PROGRESS).exists()
    if begun and not resume:
        raise UsageError(f"{out} holds a training already: use --resume, or another --out")
    return begun


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A setting that was changed when a training went on."""

    name: str
    was: float | None
    now: float | None
    since: int  # first iteration with it

    @property
    def words(self) -> str:
        """For people."""
        return f"{self.name} {self.was} → {self.now} from iteration {self.since} on"


@dataclass(slots=True, kw_only=True)
class Record:
    """Of one training, in `OUT/config.json`.

    Attributes:
        config: as it goes on.
        data_hash: of its market.
        begun: `experiments.begun.versions`.
        before: what the file said; empty: it begins.
        changes: settings that were changed, in order; the last ones by this process.
    """

    config: TrainConfig
    data_hash: str
    begun: Mapping[str, Any]
    before: Mapping[str, Any] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    fresh: int = 0  # changes of this process
    run: int = 0
    ledger: str = ""

    @classmethod
    def of(
        cls, config: TrainConfig, data_hash: str, begun: Mapping[str, Any], *, resume: bool
    ) -> Self:
        """The record of a folder; what goes on must be what began. Writes nothing.

        Raises:
            UsageError: if the folder holds another training, or one that is not to go on.
            DataError: if its file cannot be read.
        """
        made = cls(config=config, data_hash=data_hash, begun=begun)
        started = free(config.out, resume=resume)
        if not resume or not (config.out / CONFIG).exists():
            return made
        made.before = read_json(config.out / CONFIG, "training")
        if not started:  # it was killed before its first iteration: it begins, as the run it was
            if made._told() != {key: made.before.get(key) for key in made._told()}:
                made.before = {}
            return made
        try:
            made._compare(made.before["config"], made.before["data_hash"])
            made.changes = [Change(**told) for told in made.before.get("changes", [])]
            check_versions(made.before, begun, config.out)
            made._take_changes(made.before["config"]["algorithm"])
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{config.out / CONFIG} is none of Don's: {error!r}") from error
        return made

    def enter(self, research: Research, lineage: tuple[str, ...]) -> int:
        """Have the training in the ledger, and write the file.

        Args:
            research: the ledger.
            lineage: further names of the data.

        Returns:
            The number of its run.
        """
        self.run = self._entered(research, lineage)
        self.ledger = research.reference()["ledger"]  # it has a name when it has a run
        self._write()
        return self.run

    def from_iteration(self, number: int) -> list[str]:
        """Say from where it goes on; what is changed holds from there.

        Returns:
            What this process changed, in words.
        """
        was = list(self.changes)
        self.changes = [replace(each, since=min(each.since or number, number)) for each in was]
        if self.changes != was:
            self._write()
        return [each.words for each in self.changes[len(was) - self.fresh :]]

    @property
    def notes(self) -> dict[str, str]:
        """For the model's card and the ledger."""
        if not self.changes:
            return {}
        return {"changed": "; ".join(each.words for each in self.changes)}

    # ---- inside ----------------------------------------------------------------------------------

    def _compare(self, was: Mapping[str, Any], data_hash: str) -> None:
        now = self.config.model_dump(mode="json")
        other = []
        for key in now:
            if key in FREE or was.get(key) == now[key]:
                continue
            if key == "algorithm" and was[key]["name"] == now[key]["name"]:
                other += [
                    f"algorithm.{name}"
                    for name in now[key]
                    if name not in LEARNING and was[key].get(name) != now[key][name]
                ]
            else:
                other.append(key)
        if data_hash != self.data_hash:
            other.append("the data")
        if other:
            raise UsageError(
                f"{self.config.out} was begun with another {', '.join(other)}: resume with what it "
                "was begun with, or use another --out"
            )

    def _take_changes(self, was: Mapping[str, Any]) -> None:
        now = self.config.algorithm.model_dump(mode="json")
        found = [
            Change(name=f"algorithm.{name}", was=was[name], now=now[name], since=0)
            for name in LEARNING
            if was[name] != now[name]
        ]
        self.changes, self.fresh = [*self.changes, *found], len(found)

    def _entered(self, research: Research, lineage: tuple[str, ...]) -> int:
        told = self.config.model_dump(mode="json")
        known = self._known(research)
        if known is not None and known.status is RunStatus.OPEN:
            if not self.fresh:
                return known.run
            research.end(known.run, RunStatus.STOPPED, {"error": "went on with other settings"})
        trials = None
        if known is not None and not self.fresh:
            # one that ended and goes on as it was is no further try; one that was done and is to
            # go on for longer is
            longer = self.before["config"].get("stop") != told["stop"]
            trials = None if longer and known.status is RunStatus.DONE else 0
        return research.begin(
            RunKind.TRAIN, told, self.data_hash, seed=self.config.seed, lineage=lineage,
            parent=None if known is None else known.run, trials=trials,
        )  # fmt: skip

    def _known(self, research: Research) -> Run | None:
        """The run that the folder's training is; None: this ledger has none."""
        if self.before.get("ledger") != research.reference()["ledger"]:
            return None
        return next((run for run in research.runs() if run.run == self.before.get("run")), None)

    def _told(self) -> dict[str, Any]:
        config = self.config.model_dump(mode="json")
        return {"config": config, "data_hash": self.data_hash, **self.begun}

    def _write(self) -> None:
        write_json(
            self.config.out / CONFIG,
            {
                **self._told(), "run": self.run, "ledger": self.ledger,
                "changes": [_plain(each) for each in self.changes],
            },
        )  # fmt: skip


def _plain(change: Change) -> dict[str, Any]:
    return {"name": change.name, "was": change.was, "now": change.now, "since": change.since}
