"""Chooses what of a training is traded: a checkpoint, or nothing. Reads and writes folders.

The choice is made on bars between training and test: bars that were trained on flatter every
checkpoint, and bars of the test are not known yet when one has to choose. The late ones of a
training have learnt its noise best, so the last is not always the one to take.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from don.envs import EnvMarket
from don.evaluation.agent import run_agent, window
from don.learning.model import Model, plain
from experiments.durable import write_json
from experiments.rllib.checkpoints import all_of

FILE = "choice.json"
LAST, OUT = "last", "stay out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was chosen, and what there was to choose from."""

    name: str  # of a candidate, or `OUT`
    grown: Mapping[str, float]  # candidate -> log growth over the validation window, costs paid

    @property
    def words(self) -> str:
        """For a table."""
        if self.name == LAST and not self.grown:
            return LAST
        best = max(self.grown.values())
        return f"{self.name} (validation: {math.expm1(best):+.1%}, best of {len(self.grown)})"

    def write(self, folder: Path) -> None:
        """Keep it beside what it was chosen for."""
        write_json(folder / FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Choice | None":
        """What `write` wrote; None: nothing was chosen here."""
        try:
            told = json.loads((folder / FILE).read_text())
        except FileNotFoundError:
            return None
        return cls(name=told["name"], grown=told["grown"])


def candidates(training: Path, last: Model) -> dict[str, Model]:
    """Models of all checkpoints that a training kept, by the iteration they are of.

    Args:
        training: its folder.
        last: its model: the card, and the normalisers where training ended, are those of all.
    """
    from ray.rllib.core.rl_module.rl_module import RLModule

    found: dict[str, Model] = {}
    for folder in all_of(training):
        modules = folder / "learner_group" / "learner" / "rl_module"
        weights = {
            policy: plain(RLModule.from_checkpoint(str((modules / policy).absolute())).net)
            for policy in last.card.policies
        }
        found[f"iteration {int(folder.name)}"] = Model(
            card=last.card, weights=weights, states=last.states
        )
    return found


def choose(
    models: Mapping[str, Model], whole: EnvMarket, bars: tuple[int, int], *, stay_out: bool
) -> Choice:
    """The model that grew most over bars that none was trained on; the earlier one of equals.

    Args:
        models: candidates, by name.
        whole: the market that `bars` are of.
        bars: [start, stop), behind the training and before the test.
        stay_out: whether it is better to do nothing than what lost money here.
    """
    start, stop = bars
    grown: dict[str, float] = {}
    for name, model in models.items():
        part, begin = window(
            whole, model.card, int(whole.close_ns[max(start - 1, 0)]), int(whole.close_ns[stop - 1])
        )
        (course,) = run_agent(model, part, begin, name=name, wait=True)
        # who lost everything grew by less than anybody who did not, and JSON knows no infinity
        worth = max(float(course.equity[-1] / course.equity[0]), 1e-9)
        grown[name] = round(math.log(worth), 12)
    best = max(grown, key=lambda name: grown[name])
    return Choice(name=OUT if stay_out and grown[best] <= 0.0 else best, grown=grown)
