"""A search with PBT survives Ctrl-C and kill -9: the same command with --resume ends it, counting
all once; its models know what they went on from and which data they saw.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.folders import short_folder

from don.learning.model import Model
from don.storage.embedded import EmbeddedPostgres
from don.storage.research import open_research
from don.storage.research_runs import RunKind, RunStatus
from experiments.evaluate import evaluate
from experiments.evaluation_config import EvaluateConfig
from experiments.rllib import progress

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1_800)]
ROOT = Path(__file__).resolve().parents[2]
ITERATIONS, GRACE = 40, 2
SEARCH = f"""
search = "pbt"
trials = 2
at_once = 2
iterations = {ITERATIONS}
grace = {GRACE}
[train.data]
end = "2018-12-01T00:00:00Z"
[train.env.episode]
length = 32
[train.env.observation]
features = ["log_return_1"]
window = 1
[train.net]
hidden = [8]
[train.algorithm]
name = "ppo"
fragment = 32
[train.workers]
copies = 8
[space]
"algorithm.lr" = {{ low = 1e-4, high = 1e-2, log = true }}
"algorithm.entropy" = {{ low = 0.0, high = 0.1 }}
"""


@pytest.fixture
def home() -> Iterator[Path]:
    folder = short_folder()
    yield folder
    EmbeddedPostgres(folder).stop()
    shutil.rmtree(folder)


def start(home: Path, config: Path, out: Path, *words: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, "DON_HOME": str(home)}
    env.pop("RAY_ADDRESS", None)
    with (out.parent / "log.txt").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "experiments.tune", str(config), "--out", str(out), *words],
            cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip


def reached(out: Path) -> list[int]:
    """The last iteration of each trial."""
    rows = [progress.read(path) for path in out.glob("trials/*/progress.jsonl")]
    return [told[-1]["iteration"] if told else 0 for told in rows]


def wait_for(process: subprocess.Popen[bytes], out: Path, iteration: int) -> None:
    log = out.parent / "log.txt"
    deadline = time.monotonic() + 900
    while len(reached(out)) < 2 or min(reached(out)) < iteration:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)


def test_a_population_goes_on_after_ctrl_c_and_a_kill(home: Path, tmp_path: Path) -> None:
    config, out = tmp_path / "c.toml", tmp_path / "search"
    config.write_text(SEARCH)
    first = start(home, config, out)
    wait_for(first, out, 1)
    held = psutil.Process(first.pid)
    held.suspend()  # or it may be over by the time that the other one asks
    other = start(home, config, out, "--resume")
    assert other.wait(timeout=600) == 2
    held.resume()
    assert f"is being searched by process {first.pid}" in (tmp_path / "log.txt").read_text()
    started = held.children(recursive=True)
    first.send_signal(signal.SIGINT)
    assert first.wait(timeout=300) == 130
    _, left = psutil.wait_procs(started, timeout=120)
    assert not left
    log = (tmp_path / "log.txt").read_text()
    assert "tune: stopped; --resume goes on" in log and "best: trial" not in log
    with open_research(home) as research:
        (search,) = [run for run in research.runs() if run.kind is RunKind.TUNE]
    assert search.status is RunStatus.STOPPED

    second = start(home, config, out, "--resume")
    wait_for(second, out, GRACE + 1)
    started = psutil.Process(second.pid).children(recursive=True)
    second.kill()
    second.wait()
    _, left = psutil.wait_procs(started, timeout=120)  # Ray ends what its driver started
    assert not left
    assert not (out / "results.json").exists()
    assert start(home, config, out, "--resume").wait(timeout=1_200) == 0, (
        tmp_path / "log.txt"
    ).read_text()

    rows = json.loads((out / "results.json").read_text())
    assert [row["error"] for row in rows] == [None, None]
    assert [row["iterations"] for row in rows] == [ITERATIONS] * 2
    for row in rows:
        told = progress.read(Path(row["model"]).parent / "progress.jsonl")
        assert [line["iteration"] for line in told] == list(range(1, ITERATIONS + 1))
        assert Model.load(Path(row["model"])).card.trained.steps == told[-1]["steps"]
    # a weak one went on from a strong one, with other settings
    assert (out / "ray" / "search" / "pbt_global.txt").read_text()
    cards = {row["trial"]: Model.load(Path(row["model"])).card for row in rows}
    parents = {trial: card.parent for trial, card in cards.items() if card.parent}
    assert parents  # and says so; an own checkpoint is no parent
    for trial, parent in parents.items():
        (whose,) = cards.keys() - {trial}
        assert re.fullmatch(rf"trial {whose}, iteration \d+", parent)
    # a model knows its data: an evaluation begins where they ended, on the same tape
    model = tmp_path / "elsewhere"
    shutil.copytree(rows[0]["model"], model)
    settings = EvaluateConfig(draws=20)
    with open_research(home) as research:
        found = evaluate([model], settings, tmp_path / "eval", research=research, tell=str)
    assert found.outside and found.document["start"] == "2018-12-01T00:00:00.000Z"
    with open_research(home) as research:
        runs = research.runs()
    trials = [run for run in runs if run.kind is RunKind.TRIAL]
    begun = {run.run for run in runs if run.kind is RunKind.TUNE}
    first = [run for run in trials if run.parent in begun]
    for run in trials:  # where settings are changed, they stay in their ranges
        assert 1e-4 <= run.config["algorithm"]["lr"] <= 1e-2
        assert 0.0 <= run.config["algorithm"]["entropy"] <= 0.1
    assert len(first) == 2  # and each configuration that they went on as is one more
    own = [(run.run if run in first else run.parent, run.config_hash) for run in trials]
    assert len(set(own)) == len(trials) > 2
    assert {run.status for run in trials} == {RunStatus.DONE}
