"""Train policies: `python -m experiments.train CONFIG [--out FOLDER] [--resume]`. A Ray job.

It joins the cluster that RAY_ADDRESS names, as a job does, else starts one on this machine. Every
run is counted in the research ledger before it begins; one that cannot begin is refused uncounted.
"""

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from don.envs import EnvMarket
from don.envs.completeness import told_in_words
from don.errors import Interrupted
from don.home import home_dir
from don.learning.trainings import announced
from don.storage.research import Research, open_research
from don.storage.research_runs import RunStatus
from experiments.begun import alone
from experiments.cluster import local_cluster
from experiments.program import asked, run_as_program
from experiments.rllib.market_file import open_data
from experiments.training_config import DataConfig, TrainConfig
from experiments.training_record import Record, free

if TYPE_CHECKING:
    from experiments.rllib.loop import Outcome, Training

Tell = Callable[[str], None]


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
        UsageError: if the folder holds another training, or another process trains in it, or data
            or configuration do not fit.
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
        free(config.out, resume=resume)
        found = open_data(config.data, home) if market is None else market
        from experiments.rllib.loop import Training  # torch and Ray, which take their time

        training = Training(config, found, tell, resume=resume)
        until.enter_context(alone(config.out))
        record = Record.of(config, found.hash, training.begun, resume=resume)
        training.find()
        until.enter_context(shown)
        names = (*found.symbols, *([config.data.source] if market is None else []))
        # bars that are given are of the data that are named beside them, if any are
        known = market is None or config.data != DataConfig()
        noted = config.data.noted if known else {}
        return _counted(training, record, research, names, home or home_dir(), tell, noted)


def _counted(
    training: "Training", record: Record, research: Research, names: tuple[str, ...], home: Path,
    tell: Tell, noted: Mapping[str, str],
) -> "Outcome":  # fmt: skip
    """Run a training that fits, entered in the ledger before it begins."""
    data = training.market.hash
    run = record.enter(research, names)
    try:
        stamp = research.stamp(run, data, names)
        with local_cluster(home, cpus=max(1, training.config.workers.runners + 1)):
            for change in record.from_iteration(training.begin() + 1):
                tell(change)
            training.notes = {**stamp, **record.notes, **noted}
            outcome = training.go()
    except (Interrupted, KeyboardInterrupt) as error:
        # the run stays open: what goes on is the same one
        if isinstance(error, Interrupted):
            raise
        raise Interrupted("stopped; --resume goes on") from None
    except BaseException as error:
        research.end(run, RunStatus.FAILED, {"error": str(error) or type(error).__name__})
        raise
    research.end(run, RunStatus.DONE, {**summary(outcome), **record.notes})
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
