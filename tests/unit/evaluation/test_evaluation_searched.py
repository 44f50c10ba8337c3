"""A model that was chosen in a search is judged with all that it was chosen among."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.envs import market
from typer.testing import CliRunner

from don.cli.main import app
from don.clock import NS_PER_S, iso
from don.envs import BatchEnv, EnvConfig
from don.errors import ConfigError, UsageError
from don.evaluation.assess import Counted, Rivals, assess
from don.evaluation.baselines import HOLD
from don.evaluation.course import SUMS, Course
from don.evaluation.verdict import words
from don.learning.config import NetConfig
from don.learning.model import Model
from don.storage.database import Database
from don.storage.research import Research
from experiments.evaluate import evaluate
from experiments.evaluation_config import EvaluateConfig
from experiments.searched import searched

DAY_NS = 86_400 * NS_PER_S
ENV: dict[str, Any] = {
    "form": "shared",
    "observation": {"features": ["log_return_1"], "window": 2},
    "episode": {"length": 20},
}


def course(name: str, r: np.ndarray) -> Course:
    return Course(
        name=name, ts=np.arange(len(r) + 1) * DAY_NS, interval_ns=DAY_NS,
        equity=1e5 * np.r_[1.0, np.cumprod(1.0 + r)], sums=dict.fromkeys(SUMS, 0.0), gross=1.0,
        liquidations=0, breaks=0,
    )  # fmt: skip


def test_the_best_of_many_lucky_ones_is_known_by_what_it_was_chosen_among() -> None:
    rng = np.random.default_rng(5)
    noise = rng.normal(0.0, 0.02, (40, 300))
    tried = tuple(course(f"trial {n}", r) for n, r in enumerate(noise))
    best = tried[int(noise.mean(axis=1).argmax())]
    base, counted = {HOLD: course(HOLD, np.zeros(300))}, Counted(trials=40)
    alone = assess("best", [best], base, counted, draws=100)
    assert alone.reality is not None and alone.reality.spa < 0.05 and alone.choice is None
    rivals = Rivals(name="40 configurations of search s", courses=tried)
    among = assess("best", [best], base, counted, draws=100, rivals=rivals)
    assert among.reality is not None and among.reality.spa > 0.05
    assert among.choice is not None and among.choice.of == tuple(one.name for one in tried)
    assert among.choice.probability > 0.25
    said = " ".join(words(among))
    assert "against holding, of the best of the 40 configurations of search s: p = 0." in said
    assert "Choosing the best of the 40 configurations of search s by the past" in said
    # what they did here, and whether putting one first was any good
    ends = [one.equity[-1] / one.equity[0] for one in tried]
    assert f"Of them {sum(end > 1 for end in ends)} earned money here" in said
    assert f"at place {1 + sum(end > ends[0] for end in ends)} of 40." in said
    assert f"and loses money with {among.choice.loss * 100:.1f} %." in said
    assert "put first" not in " ".join(words(alone))
    short = Rivals(name="x", courses=(best, course("y", noise[0][:200])))
    with pytest.raises(ValueError, match="y is of others"):
        assess("best", [best], base, counted, rivals=short)


def search_in(folder: Path, made: Any, trials: int) -> Path:
    """A folder as `don tune` leaves it, its last trial without a score."""
    env = BatchEnv(made, EnvConfig.model_validate(ENV), 1)
    rows = []
    for n in range(trials):
        model = Model.untrained(env, NetConfig(hidden=(8,)), name="m", seed=n)
        notes = {"data_end": iso(int(made.close_ns[-1]))}
        model = replace(model, card=model.card.model_copy(update={"notes": notes}))
        model.save(folder / "trials" / f"t{n}" / "model")
        score = None if n == trials - 1 else float(n)
        rows.append({"trial": f"t{n}", "score": score})
    (folder / "results.json").write_text(json.dumps(rows))
    return folder


@pytest.mark.postgres
def test_an_evaluation_in_a_search_is_over_its_configurations(
    tmp_path: Path, database: Database
) -> None:
    made, research = market(bars=260), Research(database)
    cut = made.part(None, int(made.close_ns[150]))
    search = searched(search_in(tmp_path / "momentum", cut, 5))
    assert search.folders[0].parent.name == "t3" and len(search.folders) == 4
    settings = EvaluateConfig.model_validate({"draws": 20})
    found = evaluate([search.folders[0]], settings, tmp_path / "out", research=research,
                     tell=lambda line: None, market=made, search=search)  # fmt: skip
    told = json.loads((tmp_path / "out" / "result.json").read_text())
    assert told["over"] == "4 configurations of search momentum"
    assert list(told["rivals"]) == ["t3", "t2", "t1", "t0"]
    assert all("sharpe" in figures for figures in told["rivals"].values())
    assert told["choice"]["of"] == ["t3", "t2", "t1", "t0"] and told["reality"]["spa"] is not None
    assert next(iter(told["figures"])) == "m" and told["seeds_above_hold"][1] == 1
    for form in ("result.txt", "result.html"):
        page = (tmp_path / "out" / form).read_text()
        assert "the best of the 4 configurations of search momentum" in " ".join(page.split())
    assert found.outside and len(research.run(found.run).config["among"]) == 4


def test_a_folder_that_is_no_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no search that is over"):
        searched(tmp_path)
    (tmp_path / "results.json").write_text('[{"trial": "a"}]')
    with pytest.raises(ConfigError, match="cannot be read as a search"):
        searched(tmp_path)
    (tmp_path / "results.json").write_text('[{"trial": "a", "score": 1.0}]')
    with pytest.raises(UsageError, match="at least 2 are needed to judge a choice"):
        searched(tmp_path)
    done = CliRunner().invoke(app, ["evaluate"])
    assert isinstance(done.exception, UsageError) and "--search" in str(done.exception)
