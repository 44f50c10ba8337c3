"""A training as a trial of Ray Tune: one iteration a step, checkpoints of Tune's. Needs Ray."""

import json
import shutil
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from ray import tune as library
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining

from don.storage.research_runs import RunStatus
from experiments.begun import check_versions
from experiments.rllib import progress
from experiments.rllib.checkpoints import OWN, Counters
from experiments.rllib.loop import BEST, Training
from experiments.rllib.market_file import read_market
from experiments.tune_config import NOTHING, Search, TuneConfig, training, within


class Trial(library.Trainable):
    """One training; the score is the mean return of its last episodes."""

    _placed = False  # whether there is anything to give back

    def setup(
        self, config: dict[str, Any], settings: str = "", market: str = "",
        notes: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Know what to train; the rest is built when it is known what it goes on from."""
        search = TuneConfig.model_validate_json(settings)
        out = search.out / "trials" / self.trial_id
        made = training(search, config).model_copy(update={"out": out})
        self._training = Training(made, read_market(market), lambda line: None, notes=notes)
        self._point, self._score, self._placed = dict(config), NOTHING, False
        self._line: list[dict[str, Any]] = []  # whose training this one goes on from, oldest first

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial, or another point of one: a new process takes seconds each time."""
        self.cleanup()
        self.setup(new_config)  # with what `trainable` has given
        return True

    def step(self) -> dict[str, Any]:
        """One iteration."""
        if not self._placed:  # nothing was restored: it begins
            self._place(self._training.counters, None)
        row = self._training.step()
        mean = row["episode_return"]["mean"]
        self._score = self._score if mean is None else mean
        return {
            "score": self._score, "iteration": row["iteration"], "steps": row["steps"],
            "line": json.dumps(self._line),
        }  # fmt: skip

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the state; the models beside it."""
        folder = Path(checkpoint_dir)
        self._training.algorithm.save_to_path(str(folder / "state"))
        told = {
            **asdict(self._training.counters), "score": self._score, "trial": self.trial_id,
            "parent": self._training.parent, "begun": self._training.begun,
            "point": self._point, "line": self._line,
        }  # fmt: skip
        (folder / OWN).write_text(json.dumps(told))
        shutil.copyfile(self._training.out / progress.FILE, folder / progress.FILE)
        self._training.export()

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Go on from a state: its own, or with PBT another trial's."""
        folder = Path(checkpoint_dir)
        told = json.loads((folder / OWN).read_text())
        check_versions(told.get("begun", {}), self._training.begun, folder)
        counters = Counters(**{f.name: told[f.name] for f in fields(Counters) if f.name in told})
        self._score, self._line = told["score"], list(told.get("line", []))
        self._training.parent = told.get("parent", "")
        if (whose := told.get("trial", self.trial_id)) != self.trial_id:
            self._training.parent = f"trial {whose}, iteration {counters.iteration}"
            self._line.append(
                {"trial": whose, "point": told.get("point"), "until": counters.iteration}
            )
            # its best is not this one's, and what was this one's is of another line
            counters = replace(counters, best=None, episodes=0)
            shutil.rmtree(self._training.out / BEST, ignore_errors=True)
        self._place(counters, folder)

    def _place(self, counters: Counters, kept: Path | None) -> None:
        """Build it where it begins or goes on; episodes that were seen are not drawn again."""
        if self._placed:
            self._training.close()
            self._placed = False
        if kept is not None and (kept / progress.FILE).exists():
            # told is how the state came about, which another may have done: no iteration lacks
            place = self._training.out / progress.FILE
            place.parent.mkdir(parents=True, exist_ok=True)
            draft = place.with_suffix(".new")
            shutil.copyfile(kept / progress.FILE, draft)
            draft.replace(place)
        self._training.start(resumed=counters.iteration)
        self._placed = True
        if kept is not None:
            self._training.restore(kept / "state")
        self._training.go_on(counters)

    def cleanup(self) -> None:
        """Give everything back."""
        if self._placed:
            self._training.close()
            self._placed = False


class Watch(library.Callback):
    """Tells the ledger what begins and ends.

    Tune writes its callbacks to disk and reads them back when a search goes on, so the ledger's
    connection is not in it: the process that searches sets `counted`.
    """

    counted: ClassVar[Any] = None

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Count it; one that goes on as another configuration may be told of here first."""
        Watch.counted.begin(
            trial.trial_id, dict(trial.config), trial.last_result, partial(_whose, trial)
        )

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """With PBT a trial goes on as another configuration: that is one more."""
        Watch.counted.begin(trial.trial_id, dict(trial.config), result, partial(_whose, trial))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say how it ended."""
        Watch.counted.end(
            trial.trial_id, dict(trial.config), RunStatus.DONE, dict(trial.last_result or {})
        )

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say that it failed."""
        Watch.counted.end(
            trial.trial_id, dict(trial.config), RunStatus.FAILED, dict(trial.last_result or {})
        )


def _whose(trial: Any) -> str:
    """The trial whose checkpoint a trial is to go on from; "": its own, or none."""
    if trial.checkpoint is None:
        return ""
    told = json.loads((Path(trial.checkpoint.path) / OWN).read_text())
    whose = told.get("trial", trial.trial_id)
    return "" if whose == trial.trial_id else f"trial {whose}, iteration {told['iteration']}"


def trainable(config: TuneConfig, market: Path, notes: dict[str, str]) -> Any:
    """What Tune runs, one CPU each; `notes` are for the cards of its models."""
    absolute = config.model_copy(update={"out": config.out.absolute()})
    made = library.with_parameters(
        Trial, settings=absolute.model_dump_json(), market=str(market), notes=notes
    )
    return library.with_resources(made, {"CPU": 1})


def scheduler(config: TuneConfig, space: dict[str, Any]) -> Any:
    """What steers the trials."""
    if config.search is Search.ASHA:
        return ASHAScheduler(
            max_t=config.iterations,
            grace_period=min(config.grace, config.iterations),
            reduction_factor=1.0 / config.keep_part,
        )
    return PopulationBasedTraining(
        time_attr="training_iteration",  # its own is seconds
        perturbation_interval=config.grace,
        hyperparam_mutations={  # of a list a neighbour is taken, of a range a multiple
            name: list(given.values) if given.values else space[name]
            for name, given in config.space.items()
        },
        custom_explore_fn=partial(within, config.space),
        quantile_fraction=min(1.0 - config.keep_part, 0.5),
    )
