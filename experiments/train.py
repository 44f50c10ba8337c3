"""Train policies: `python -m experiments.train CONFIG [--out FOLDER] [--resume]`. A Ray job.

It joins the cluster that RAY_ADDRESS names, as a job does, else starts one on this machine. Every
run is counted in the research ledger before it begins; one that cannot begin is refused uncounted.
"""

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from don.envs import EnvMarket
from don.envs.completeness import told_in_words
from don.errors import Interrupted, UsageError
from don.home import home_dir
from don.learning.trainings import announced
from don.storage.research import Research, open_research
from don.storage.research_runs import RunKind, RunStatus
from experiments.cluster import local_cluster
from experiments.program import asked, run_as_program
from experiments.training_config import TrainConfig

if TYPE_CHECKING:
    from experiments.rllib.loop import Outcome, Training

Tell = Callable[[str], None]
CONFIG = "config.json"
# what may differ when a training goes on: it changes how long and by whom, not what is learned
FREE = ("stop", "workers", "keep", "out")


def train(
    config: TrainConfig,
    tell: Tell = print,
    *,
    resume: bool = False,
    market: EnvMarket | None = None,
    research: Research | None = None,
    home: Path | None = None,
) -> "Outcome":
    """Train, counted in the research ledger.

    Args:
        config: what to train.
        tell: takes lines about progress.
        resume: go on from the last checkpoint of `config.out`; from the start if there is none.
        market: bars to train on, in place of `config.data`.
        research: the ledger; None: that of the state folder.
        home: the state folder; None: as `DON_HOME` says.

    Returns:
        Where the model is, and how it went.

    Raises:
        UsageError: if the folder holds another training, or data or configuration do not fit.
        TrainingDiverged: if a loss is no number any more; the last good checkpoint is kept.
        Interrupted: if it was stopped; it can be resumed.
    """
    with ExitStack() as until:
        shown: AbstractContextManager[None] = nullcontext()
        if research is None:
            home = home or home_dir()
            research = until.enter_context(open_research(home, warn=tell))
            shown = announced(home, config.out, name=config.name, warn=tell)
        # what is refused here has looked at nothing: it is neither counted nor shown
        from experiments.rllib.loop import Training
        from experiments.rllib.market_file import open_data

        found = open_data(config.data, home) if market is None else market
        _same(config, found, resume=resume)
        training = Training(config, found, tell, resume=resume)
        _remember(config, found)
        until.enter_context(shown)
        names = (*found.symbols, *([config.data.source] if market is None else []))
        return _counted(training, research, names, home or home_dir())


def _counted(
    training: "Training", research: Research, names: tuple[str, ...], home: Path
) -> "Outcome":
    """Run a training that fits, entered in the ledger before it begins."""
    config, data = training.config, training.market.hash
    told = config.model_dump(mode="json")
    run = research.begin(RunKind.TRAIN, told, data, seed=config.seed, lineage=names)
    try:
        training.notes = research.stamp(run, data, names)
        with local_cluster(home, cpus=max(1, config.workers.runners + 1)):
            outcome = training.run()
    except BaseException as error:
        stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        status = RunStatus.STOPPED if stopped else RunStatus.FAILED
        research.end(run, status, {"error": str(error) or type(error).__name__})
        raise
    research.end(run, RunStatus.DONE, summary(outcome))
    return outcome


def summary(outcome: "Outcome") -> dict[str, Any]:
    """What is told of a training that is over."""
    return {
        "model": str(outcome.model),
        "best": str(outcome.best) if outcome.best else None,
        "iterations": outcome.iterations,
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 1),
        "episode_return": outcome.returns,
        "reason": outcome.reason,
        "data": outcome.data,
    }


def _told(config: TrainConfig, market: EnvMarket) -> dict[str, Any]:
    return {"config": config.model_dump(mode="json"), "data_hash": market.hash}


def _same(config: TrainConfig, market: EnvMarket, *, resume: bool) -> None:
    """What goes on must be what began.

    Raises:
        UsageError: if the folder's training is another one.
    """
    told = _told(config, market)
    path, begun = config.out / CONFIG, (config.out / "progress.jsonl").exists()
    if begun and not resume:
        raise UsageError(f"{config.out} holds a training already: use --resume, or another --out")
    if begun and path.exists():
        before = json.loads(path.read_text())
        was, now = before["config"], told["config"]
        other = [k for k in now if k not in FREE and was.get(k) != now[k]]
        if before["data_hash"] != told["data_hash"]:
            other.append("the data")
        if other:
            raise UsageError(
                f"{config.out} was begun with another {', '.join(other)}: resume with what it was "
                "begun with, or use another --out"
            )


def _remember(config: TrainConfig, market: EnvMarket) -> None:
    """Write the configuration into the folder."""
    config.out.mkdir(parents=True, exist_ok=True)
    path = config.out / CONFIG
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(_told(config, market), indent=1))
    draft.replace(path)


def main(words: list[str]) -> int:
    """The program."""
    config, given = asked(TrainConfig, "experiments.train", __doc__, words)

    def tell(line: str) -> None:
        print(line, file=sys.stderr if given.json else sys.stdout, flush=True)

    told = summary(train(config, tell, resume=given.resume))
    if given.json:
        print(json.dumps(told))
    else:
        source = told["data"].pop("source")
        told["data"] = told_in_words(source, told["data"])
        for name, value in told.items():
            print(f"{name:<15} {value}")
    return 0


if __name__ == "__main__":
    run_as_program("experiments.train", main)
