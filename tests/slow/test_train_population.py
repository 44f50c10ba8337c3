"""PBT: a trial that cannot learn goes on from one that can, as another, and all records say so."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from support import planted
from support.folders import short_folder

from don.envs import BatchEnv
from don.learning.model import Model
from don.storage.embedded import EmbeddedPostgres
from don.storage.research import open_research
from don.storage.research_runs import RunKind
from experiments.cluster import local_cluster
from experiments.rllib import progress
from experiments.rllib.market_file import write_market
from experiments.tune_config import TuneConfig

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1_800)]
ROOT = Path(__file__).resolve().parents[2]
ITERATIONS, GRACE = 24, 2
LOW, HIGH = 1e-10, 5e-2  # rates that learn nothing, and rates that learn
TRAIN = """
[train.env]
form = "single"
action = { kind = "discrete" }
observation = { features = ["log_return_1"], window = 1, scaling = "expanding" }
episode = { length = 64 }
[train.net]
hidden = [16]
[train.algorithm]
name = "ppo"
fragment = 64
[train.workers]
copies = 32
"""
SEARCH = f"""
search = "pbt"
seed = 9
trials = 2
at_once = 2
iterations = {ITERATIONS}
grace = {GRACE}
{TRAIN}
[train.data]
tape = "TAPE"
symbols = ["S0USDT"]
[space]
"algorithm.lr" = {{ low = {LOW}, high = {HIGH}, log = true }}
"algorithm.gamma" = {{ low = 0.5, high = 0.99 }}
"""


@pytest.fixture
def home() -> Iterator[Path]:
    folder = short_folder()
    yield folder
    EmbeddedPostgres(folder).stop()
    shutil.rmtree(folder)


def tape(path: Path, close: NDArray[np.float64]) -> None:
    """A made-up market as a file of hourly bars."""
    opened = np.r_[close[:1], close[:-1]]
    opened_ms = 1_577_836_800_000 + 3_600_000 * np.arange(len(close))
    pq.write_table(
        pa.table(
            {
                "symbol": ["S0USDT"] * len(close),
                "timestamp": pa.array(opened_ms, pa.timestamp("ms", tz="UTC")),
                "open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close),
                "close": close, "volume": np.full(len(close), 1e6),
            }
        ),
        path,
    )  # fmt: skip


def test_one_that_cannot_learn_goes_on_from_one_that_can(home: Path, tmp_path: Path) -> None:
    tape(tmp_path / "bars.parquet", planted.closes(3_000)[:, 0])
    out, config = tmp_path / "search", tmp_path / "search.toml"
    config.write_text(SEARCH.replace("TAPE", str(tmp_path / "bars.parquet")))
    env = {**os.environ, "DON_HOME": str(home)}
    env.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        [sys.executable, "-m", "experiments.tune", str(config), "--out", str(out), "--json"],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=1_200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {row["trial"]: row for row in json.loads(done.stdout)["rows"]}
    with open_research(home) as research:
        runs = [run for run in research.runs() if run.kind is RunKind.TRIAL]
    search = min(run.parent for run in runs if run.parent is not None)
    roots = {run.run: run for run in runs if run.parent == search}
    rates = {number: run.config["algorithm"]["lr"] for number, run in roots.items()}
    weak, strong = sorted(rates, key=lambda number: rates[number])
    assert rates[weak] < 1e-4 and rates[strong] > 1e-3  # the seed draws one of each
    known = json.loads((out / "runs.json").read_text())["trials"]
    (poor,) = [trial for trial, points in known.items() if weak in points.values()]
    (rich,) = rows.keys() - {poor}

    # where it went on from, as what: in the results, the ledger, the model, and what was said
    line = rows[poor]["line"]
    assert line and line[0]["trial"] == rich
    assert line[0]["point"]["algorithm.lr"] == rates[strong]
    last = line[-1]
    said = f"trial {last['trial']}, iteration {last['until']}"
    models = {trial: Model.load(Path(row["model"])) for trial, row in rows.items()}
    assert models[poor].card.parent == said
    assert f"trial {poor} goes on from trial {rich}, iteration {line[0]['until']} as" in done.stderr
    own = [run for run in runs if run.run in known[poor].values()]
    assert "from" not in own[0].metrics and own[-1].metrics["from"].startswith(f"trial {rich},")
    # what each came to itself: a rate that learns nothing came to nothing
    assert own[0].metrics["score"] < 0 < own[-1].metrics["score"] == rows[poor]["score"]
    assert own[0].metrics["iteration"] < own[-1].metrics["iteration"] == ITERATIONS
    for run in runs:
        assert LOW <= run.config["algorithm"]["lr"] <= HIGH
        assert 0.5 <= run.config["algorithm"]["gamma"] <= 0.99

    # the optimizer had the rate of each point while the model's line was trained as that one
    told = progress.read(Path(rows[poor]["model"]).parent / "progress.jsonl")
    assert [row["iteration"] for row in told] == list(range(1, ITERATIONS + 1))
    used = [row["losses"]["agents"]["lr"] for row in told]
    assert used[0] == pytest.approx(rates[strong], rel=1e-6)  # its line began with the other
    assert used[-1] == pytest.approx(rows[poor]["point"]["algorithm.lr"], rel=1e-6)
    parts = [part["point"] for part in line] + [rows[poor]["point"]]
    starts = [0, *(part["until"] for part in line), ITERATIONS]
    for point, start, stop in zip(parts, starts[:-1], starts[1:], strict=True):
        expected = pytest.approx(point["algorithm.lr"], rel=1e-6)
        assert all(rate == expected for rate in used[start:stop])

    # it does what the other had learnt, seeing the same: normalisers are those of the data
    tested = BatchEnv(planted.market(3_000, seed=5), planted.config(), 32)
    for name, model in models.items():
        assert model.states == models[rich].states and model.states
        tried = BatchEnv(tested.market, model.card.env, 32, states=model.states)
        assert planted.earned(tried, planted.greedy(model)) > 0.5 * planted.earned(
            tested, planted.best
        ), name


def test_a_trial_that_goes_on_sees_other_episodes(home: Path, tmp_path: Path) -> None:
    """At a rate that learns nothing only the episodes differ: the same ones would be gained by."""
    path = tmp_path / "market.npz"
    write_market(planted.market(3_000), path)
    point = {"algorithm.lr": 1e-12}
    asked = {"search": "pbt", "space": {"algorithm.lr": {"values": [1e-12]}},
             "out": str(tmp_path / "search"), **tomllib.loads(TRAIN)}  # fmt: skip
    with local_cluster(home, cpus=1):
        from experiments.rllib.trials import trainable

        made = trainable(TuneConfig.model_validate(asked), path, {})
        first, again = made(config=dict(point)), made(config=dict(point))
        begun = [first.step() for _ in range(2)]
        kept = tmp_path / "kept"
        kept.mkdir()
        first.save_checkpoint(str(kept))
        again.load_checkpoint(str(kept))
        gone = [again.step() for _ in range(2)]
        # a process that is used again is as good as a new one
        first.reset_config(dict(point))
        first.load_checkpoint(str(kept))
        assert [first.step() for _ in range(2)] == gone
        for trial in (first, again):
            trial.cleanup()
    assert [row["iteration"] for row in (*begun, *gone)] == [1, 2, 3, 4]
    assert not np.isclose([row["score"] for row in gone], [row["score"] for row in begun]).any()
