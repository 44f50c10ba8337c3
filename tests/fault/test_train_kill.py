"""A training that is killed goes on from its last checkpoint: no iteration is told twice."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from don.learning.model import Model
from don.storage.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
CONFIG = """
seed = 1
[data]
symbols = ["BTC-USDT-PERP"]
end = "2018-12-01T00:00:00Z"
[env]
form = "single"
[env.action]
kind = "discrete"
[env.episode]
length = 64
[net]
hidden = [8]
[algorithm]
name = "{algorithm}"
fragment = 16
[workers]
copies = 8
[stop]
iterations = {iterations}
[keep]
every = 1
"""


@pytest.fixture
def home(don_home: Path) -> Iterator[Path]:
    yield don_home
    EmbeddedPostgres(don_home).stop()


def command(config: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "don.cli.main", "train", str(config), "--out", str(out), *more]


def of_ray(process: psutil.Process) -> bool:
    try:
        return "ray" in " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return False


@pytest.mark.parametrize(
    "algorithm",
    [pytest.param("ppo", marks=pytest.mark.fault), pytest.param("appo", marks=pytest.mark.slow)],
)
def test_training_goes_on_after_kill_nine(home: Path, tmp_path: Path, algorithm: str) -> None:
    config, out = tmp_path / "c.toml", tmp_path / "run"
    config.write_text(CONFIG.format(iterations=100_000, algorithm=algorithm))
    environ = {**os.environ, "DON_HOME": str(home)}
    first = subprocess.Popen(command(config, out), env=environ, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 240
    while len(list((out / "checkpoints").glob("0*/don.json"))) < 2:
        assert first.poll() is None, "it ended by itself"
        assert time.monotonic() < end, "no checkpoints in time"
        time.sleep(0.1)
    below = [p for p in psutil.Process(first.pid).children(recursive=True) if of_ray(p)]
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    for process in below:  # a killed driver may leave them; the database stays as it is
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    done = len((out / "progress.jsonl").read_text().splitlines())
    config.write_text(CONFIG.format(iterations=done + 3, algorithm=algorithm))
    second = subprocess.run(
        command(config, out, "--resume", "--json"), env=environ, capture_output=True, text=True,
        timeout=280, check=False,
    )  # fmt: skip
    assert second.returncode == 0, second.stderr
    assert "goes on after iteration" in second.stderr
    told = json.loads(second.stdout)
    assert told["iterations"] == done + 3
    rows = [json.loads(line) for line in (out / "progress.jsonl").open()]
    assert [row["iteration"] for row in rows] == list(range(1, done + 4))
    taken = np.diff([0, *(row["steps"] for row in rows)])
    # PPO learns from one fragment an iteration; APPO from what its learner took meanwhile
    assert (taken == 8 * 16).all() if algorithm == "ppo" else (taken > 0).all()
    assert Model.load(out / "model").card.trained.steps == told["steps"]
    runs = subprocess.run(
        [sys.executable, "-m", "don.cli.main", "research", "list", "--json"], env=environ,
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert [run["status"] for run in json.loads(runs.stdout)] == ["done"]  # it is one training
