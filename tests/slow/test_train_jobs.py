"""Programs of experiments as Ray jobs, with the commands of docs/training.md and no network.

One head for all, ended as Ctrl-C ends it.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.folders import short_folder

from don.learning.model import Model
from don.storage.embedded import EmbeddedPostgres
from experiments.rllib import checkpoints, progress

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1_800)]
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TRAIN = """
[{0}data]
end = "2018-12-01T00:00:00Z"
[{0}env.episode]
length = 32
[{0}env.observation]
features = ["log_return_1"]
window = 1
[{0}net]
hidden = [8]
[{0}algorithm]
name = "ppo"
fragment = 32
[{0}workers]
copies = 4
"""
STOP = "[{0}stop]\niterations = 2\nsteps = 1000000\n"


@dataclass(frozen=True)
class Head:
    """A Ray head that takes jobs."""

    env: dict[str, str]

    def job(self, *words: str) -> str:
        """What `ray job` says."""
        done = subprocess.run(
            [BIN / "ray", "job", *words],
            cwd=ROOT, env=self.env, text=True, capture_output=True, timeout=900,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        return said

    def submit(self, *words: str) -> str:
        """Run a program as a job, following it to its end; what it said."""
        said = self.job("submit", "--working-dir", ".", "--", "python", "-m", *words)
        assert "succeeded" in said
        return said


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    folder, port = short_folder(), free_port()
    home = folder / "home"
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    log = folder / "head.log"
    with log.open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "experiments.head", "--port", str(port), "--cpus", "3"],
            cwd=ROOT, env={**env, "DON_HOME": str(home)}, stdout=said, stderr=subprocess.STDOUT,
        )  # fmt: skip
    found = Head(
        {
            **env, "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{port}", "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(home / "ray-token"),
        }
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 600
        while "takes jobs" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=120)
        EmbeddedPostgres(home).stop()
    assert code == 0, log.read_text()
    shutil.rmtree(folder)


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_training_is_a_job(head: Head, tmp_path: Path) -> None:
    config = write(tmp_path / "c.toml", 'name = "job"\n' + TRAIN.format("") + STOP.format(""))
    said = head.submit("experiments.train", config, "--out", str(tmp_path / "run"))
    assert "iteration     2" in said
    assert Model.load(tmp_path / "run" / "model").card.name == "job"
    again = head.submit("experiments.train", config, "--out", str(tmp_path / "run"), "--resume")
    assert "goes on after iteration 2" in again


def test_a_training_that_is_stopped_writes_a_checkpoint(head: Head, tmp_path: Path) -> None:
    text = 'name = "job"\n' + TRAIN.format("") + "[stop]\niterations = 100000\nsteps = 100000000\n"
    config, out = write(tmp_path / "c.toml", text), tmp_path / "run"
    program = ("python", "-m", "experiments.train", config, "--out", str(out))
    head.job("submit", "--submission-id", "stopped", "--no-wait", "--working-dir", ".", "--",
             *program)  # fmt: skip
    deadline = time.monotonic() + 600
    while not progress.read(out / "progress.jsonl"):
        assert time.monotonic() < deadline, head.job("logs", "stopped")
        time.sleep(0.5)
    assert "RUNNING" in head.job("status", "stopped")
    listed = head.job("list")
    assert "submission_id='stopped'" in listed and "experiments.train" in listed
    head.job("stop", "stopped")
    kept = checkpoints.last_of(out)
    last = progress.read(out / "progress.jsonl")[-1]["iteration"]
    assert kept is not None and kept[1].iteration in (last, last + 1)
    assert "Job 'stopped' was stopped" in head.job("status", "stopped")
    said = head.job("logs", "stopped")
    assert "iteration     1" in said and "--resume goes on" in said


def test_a_job_that_is_refused_fails_with_the_reason(head: Head, tmp_path: Path) -> None:
    config = write(tmp_path / "c.toml", "sed = 1\n")
    with pytest.raises(AssertionError, match="did you mean 'seed'") as error:
        head.submit("experiments.train", config)
    assert "' failed" in str(error.value)


def test_a_search_is_a_job(head: Head, tmp_path: Path) -> None:
    space = '[space]\n"algorithm.lr" = { values = [1e-3, 1e-4] }\n'
    text = "trials = 2\niterations = 2\ngrace = 1\n" + TRAIN.format("train.") + space
    said = head.submit(
        "experiments.tune", write(tmp_path / "c.toml", text), "--out", str(tmp_path / "s")
    )
    assert "best: trial" in said
    rows = json.loads((tmp_path / "s" / "results.json").read_text())
    assert [row["error"] for row in rows] == [None, None]
    assert all(Model.load(Path(row["model"])) for row in rows)


def test_a_study_is_a_job(head: Head, tmp_path: Path) -> None:
    windows = "[windows]\ntrain_days = 30\ntest_days = 15\nembargo_bars = 2\n"
    text = "seeds = [1]\ndraws = 10\n" + windows + TRAIN.format("train.") + STOP.format("train.")
    head.submit(
        "experiments.walk_forward", write(tmp_path / "c.toml", text), "--out", str(tmp_path / "w")
    )
    told = json.loads((tmp_path / "w" / "result.json").read_text())
    assert len(told["windows"]) >= 2
    assert told["about"]["data_shares"]["source"] == "file"


def test_backtests_are_jobs(head: Head, tmp_path: Path) -> None:
    text = 'detail = "bars"\npolicy = "hold"\nstart = "2019-03-01"\nend = "2019-03-10"\n'
    config = write(tmp_path / "b.toml", text)
    said = head.submit("experiments.backtest", config, str(tmp_path / "b"))
    assert "profit" in said
    assert (tmp_path / "b" / "report.html").exists()
    text = (
        f'mode = "vector"\noutput = "{tmp_path / "sweep"}"\n'
        '[grid]\n"rule.lookback" = [48, 96]\n'
        '[windows]\nstart = "2019-03-01"\nend = "2019-04-30"\nlength_days = 30\n'
    )
    said = head.submit("experiments.sweep", write(tmp_path / "s.toml", text))
    assert "4 results in" in said or "2 results in" in said
