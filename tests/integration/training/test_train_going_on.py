"""A training that goes on is the one that was begun: one run, whole checkpoints, one process."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import planted

from don.errors import DataError, Interrupted, UsageError
from don.features import sets
from don.learning.model import Model
from don.model.section import parsed
from don.storage.database import Database
from don.storage.research import Research
from don.storage.research_runs import RunStatus
from experiments.rllib import checkpoints, progress
from experiments.rllib.errors import TrainingDiverged
from experiments.train import train as counted_train
from experiments.training_config import TrainConfig

pytestmark = [pytest.mark.ray, pytest.mark.postgres, pytest.mark.timeout(900)]
STATE = "learner_group/learner/rl_module/agents/module_state.pkl"
Run = Callable[..., Any]


@pytest.fixture
def research(database: Database) -> Research:
    return Research(database)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def run(cluster: None, tmp_path: Path, research: Research, said: list[str]) -> Run:
    """The command, on a small market."""
    market = planted.market(300)

    def call(iterations: int = 3, *, resume: bool = False, every: int = 1, **changes: Any) -> Any:
        values = {
            "out": str(tmp_path / "run"), "env": planted.config().model_dump(mode="json"),
            "net": {"hidden": [4]}, "workers": {"copies": 4},
            "stop": {"iterations": iterations, "steps": None},
            "keep": {"every": every, "tensorboard": False}, **changes,
        }  # fmt: skip
        config = parsed(TrainConfig, values, "test")
        return counted_train(
            config, said.append, resume=resume, market=market, research=research, home=tmp_path
        )

    return call


def told(out: Path) -> list[int]:
    return [row["iteration"] for row in progress.read(out / "progress.jsonl")]


def kept(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "checkpoints").iterdir())


def signals_inside(monkeypatch: pytest.MonkeyPatch, iteration: int, count: int) -> None:
    """Ctrl-C so often, when the learner has updated its weights in an iteration."""
    from ray.rllib.core.learner.learner_group import LearnerGroup

    update, seen = LearnerGroup.update, []

    def watched(self: Any, *given: Any, **named: Any) -> Any:
        found = update(self, *given, **named)
        seen.append(None)
        if len(seen) == iteration:
            for _ in range(count):
                signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(LearnerGroup, "update", watched)


def test_one_that_is_stopped_and_goes_on_is_one_run(
    run: Run, research: Research, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        signals_inside(patch, 2, 1)
        with pytest.raises(Interrupted, match="stopped after iteration 2; --resume goes on"):
            run(every=100)
    # what is kept is a whole iteration, told and looked at
    assert kept(out) == ["00000002"] and told(out) == [1, 2]
    assert checkpoints.read(out / "checkpoints" / "00000002").steps == 2 * 4 * 64
    assert [r.status for r in research.runs()] == [RunStatus.OPEN]
    first = run(4, resume=True, every=100)
    assert [(r.status, r.trials) for r in research.runs()] == [(RunStatus.DONE, 1)]
    assert first.returns is not None
    card = Model.load(first.model).card
    assert card.in_sample["episode_return"] == first.returns
    # one that is over has nothing to do, forgets nothing and is no further trial
    again = run(4, resume=True, every=100)
    assert (again.iterations, again.returns) == (4, first.returns)
    assert Model.load(again.model).card.in_sample == card.in_sample
    assert [r.trials for r in research.runs()] == [1, 0] and research.runs()[1].parent == 1
    assert run(5, resume=True).iterations == 5  # but one that is to go on for longer is
    assert [r.trials for r in research.runs()] == [1, 0, 1]
    assert told(out) == [1, 2, 3, 4, 5]


def test_an_iteration_that_is_broken_off_is_not_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    signals_inside(monkeypatch, 2, 2)
    with pytest.raises(Interrupted, match=r"inside iteration 2, of which nothing is kept.*anew"):
        run(every=100)
    assert told(tmp_path / "run") == [1] and not (tmp_path / "run" / "checkpoints").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_torn_checkpoint_is_told_and_the_one_before_is_taken(
    run: Run, research: Research, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, flushed, fsync = tmp_path / "run", set[int](), os.fsync

    def watched(number: int) -> None:
        fsync(number)
        flushed.add(os.fstat(number).st_ino)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", watched)
        run(3)
    for path in (out / "checkpoints", *(out / "checkpoints" / "00000003").rglob("*")):
        assert path.stat().st_ino in flushed, path  # before it was one
    newest = out / "checkpoints" / "00000003"
    for folder in (newest, out / "checkpoints" / "00000001"):
        os.truncate(folder / STATE, 100)
    assert run(4, resume=True).iterations == 4
    assert f"checkpoint {newest} is not whole: {STATE} is not as it was written" in said
    assert "goes on after iteration 2" in said
    assert kept(out) == ["00000002", "00000003", "00000004", "torn-00000001", "torn-00000003"]
    assert told(out) == [1, 2, 3, 4]
    # a part that is gone, which RLlib would go on without
    shutil.rmtree(out / "checkpoints" / "00000004" / "learner_group")
    # and one of an older Don, which does not say what its files were
    newest = out / "checkpoints" / "00000003"
    about = json.loads((newest / "don.json").read_text())
    (newest / "don.json").write_text(
        json.dumps({k: v for k, v in about.items() if k not in ("begun", "files", "returns")})
    )
    os.truncate(newest / STATE, 100)
    said.clear()
    assert run(3, resume=True).iterations == 3
    assert any("00000004 is not whole: " in line and "is missing" in line for line in said)
    assert any(f"checkpoint {newest} cannot be read: UnpicklingError" in line for line in said)
    assert "goes on after iteration 2" in said and told(out) == [1, 2, 3]
    for folder in checkpoints.all_of(out):
        (folder / "don.json").unlink()
    before, runs = kept(out), research.runs()
    with pytest.raises(DataError, match=r"no checkpoint in .*checkpoints can be read: begin anew"):
        run(5, resume=True)
    assert kept(out) == before and told(out) == [1, 2, 3] and research.runs() == runs


def test_after_divergence_it_goes_on_with_what_is_advised(
    run: Run, research: Research, tmp_path: Path, said: list[str]
) -> None:
    algorithm = {"name": "ppo", "lr": 1e-3}
    net = {"hidden": [64] * 32, "activation": "relu"}  # what it says grows with each layer
    run(2, algorithm=algorithm, net=net)
    wild = {**algorithm, "lr": 0.99, "grad_clip": None}
    with pytest.raises(TrainingDiverged, match=r"lower algorithm.lr \(was 0.99\)") as error:
        run(40, resume=True, algorithm=wild, net=net)
    last = checkpoints.all_of(tmp_path / "run")[-1]
    assert f"last good checkpoint: {last}" in str(error.value)
    done = int(last.name)
    with pytest.raises(UsageError, match=r"another algorithm\.gamma, algorithm\.epochs:"):
        run(40, resume=True, algorithm={**wild, "epochs": 1, "gamma": 0.5}, net=net)
    said.clear()
    calm = {**algorithm, "lr": 1e-4}
    outcome = run(done + 1, resume=True, algorithm=calm, net=net)
    changed = [
        f"algorithm.lr 0.99 → 0.0001 from iteration {done + 1} on",
        f"algorithm.grad_clip None → 0.5 from iteration {done + 1} on",
    ]
    assert [line for line in said if line in changed] == changed
    notes = Model.load(outcome.model).card.notes["changed"]
    assert notes == "; ".join(
        [
            "algorithm.lr 0.001 → 0.99 from iteration 3 on",
            "algorithm.grad_clip 0.5 → None from iteration 3 on", *changed,
        ]
    )  # fmt: skip
    runs = research.runs()
    assert [r.status for r in runs] == [RunStatus.DONE, RunStatus.FAILED, RunStatus.DONE]
    assert [r.trials for r in runs] == [1, 1, 1]  # what learns otherwise is one more
    assert [r.parent for r in runs] == [None, 1, 2] and runs[-1].metrics["changed"] == notes
    assert runs[-1].config["algorithm"]["lr"] == 1e-4


def test_other_features_and_versions_are_refused(
    run: Run, research: Research, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    run(1)
    place = out / "config.json"
    text = place.read_text()
    was = json.loads(text)
    with monkeypatch.context() as patch:
        patch.setattr(sets.talib, "__version__", "0.0.1")
        now = planted.config().observation.feature_set().hash
        with pytest.raises(
            UsageError, match=f"features of hash {was['feature_hash']}; here it is {now}"
        ):
            run(2, resume=True)
        place.write_text(json.dumps({k: was[k] for k in ("config", "data_hash")}))
        with pytest.raises(UsageError, match=f"00000001 was begun with features of hash .*{now}"):
            run(2, resume=True)
    place.write_text(json.dumps({**was, "ray": "2.0.0"}))
    with pytest.raises(UsageError, match=rf"Ray 2\.0\.0, .*; here it is {was['ray']}"):
        run(2, resume=True)
    place.write_text(json.dumps({**was, "format": 0}))
    with pytest.raises(UsageError, match="format 0 of checkpoints; here it is 1"):
        run(2, resume=True)
    unlike = json.loads(text)
    del unlike["config"]["algorithm"]["lr"]
    place.write_text(json.dumps(unlike))
    with pytest.raises(DataError, match=r"config\.json is none of Don's: KeyError\('lr'\)"):
        run(2, resume=True)
    place.write_text(text[:100])
    with pytest.raises(DataError, match=r"run: config\.json cannot be read"):
        run(2, resume=True)
    place.write_text(json.dumps({k: was[k] for k in ("config", "data_hash")}))
    assert run(2, resume=True).iterations == 2  # begun before these were kept
    assert json.loads(place.read_text())["feature_hash"] == was["feature_hash"]


def test_a_folder_is_trained_in_by_one_process(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    program = (
        "import sys, pathlib; from experiments.begun import alone\n"
        "with alone(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        before = sorted(out.iterdir())
        for resume in (False, True):
            with pytest.raises(UsageError, match=f"is being trained by process {process.pid}:"):
                run(1, resume=resume)
        assert sorted(out.iterdir()) == before
    finally:
        process.kill()
        process.communicate()
    assert run(1).iterations == 1  # it is gone with its process
