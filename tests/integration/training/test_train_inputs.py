"""Bad input is refused before anything starts; training that diverges stops and says where."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest
from support import planted

from don.config import read_section
from don.errors import ConfigError, DataError, Interrupted, UsageError
from don.learning.model import Model
from don.learning.trainings import TrainingState, entries
from don.model.section import parsed
from don.storage.database import Database
from don.storage.research import Research
from don.storage.research_runs import RunStatus
from experiments.rllib.errors import TrainingDiverged
from experiments.train import train as counted_train
from experiments.training_config import TrainConfig

TrainFn = Callable[..., Any]
pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
SHORT = {"stop": {"iterations": 2, "steps": None}, "workers": {"copies": 4}}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            {"algorithm": {"name": "ppo", "clip": 2.0}},
            "algorithm.clip was 2.0: must be less than 1",
        ),
        ({"algorithm": {"name": "a2c"}}, "'ppo', 'appo', 'sac', 'dqn'"),
        ({"algorithm": {"name": "appo"}}, "env.action.kind was 'continuous': use ppo"),
        (
            {
                "algorithm": {"name": "appo"},
                "env": {"action": {"kind": "discrete"}},
                "runner": "stock",
            },
            "runner 'stock' trains ppo, algorithm.name was 'appo': use 'fast'",
        ),
        ({"data": {"store": True, "interval": "1h"}}, "store needs symbols, start, end"),
        ({"data": {"store": True, "tape": "x.parquet"}}, "leave tape and funding out"),
        ({"data": {"exchange": "BINANCE"}}, "exchange is for store = true"),
        ({"stop": {"steps": None}}, "one of steps, seconds and iterations"),
        ({"algorithm": {"name": "dqn"}}, "dqn needs env.action.kind 'discrete', was 'continuous'"),
        ({"net": {"memory": 8}, "runner": "stock"}, "net.memory needs algorithm.name ppo"),
        ({"data": {"start": "2025-01-02", "end": "2025-01-01"}}, "start must be before end"),
        ({"sed": 1}, "did you mean 'seed'?"),
    ],
)
def test_bad_configurations_are_named(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=r"t\.toml") as error:
        parsed(TrainConfig, values, "t.toml")
    assert told in str(error.value)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("x = ")
    with pytest.raises(ConfigError, match=r"c\.toml is not TOML"):
        read_section(TrainConfig, path)
    with pytest.raises(ConfigError, match=r"other\.toml does not exist"):
        read_section(TrainConfig, tmp_path / "other.toml")


def test_too_little_history_says_how_much_is_needed(train: TrainFn) -> None:
    with pytest.raises(DataError, match=r"too little history.*episode.length is 64"):
        train(planted.market(40))
    env = planted.config(observation={"features": ["return_48"], "window": 4})
    with pytest.raises(DataError, match=r"need about \d+ bars"):
        train(planted.market(30), env=env.model_dump(mode="json"))


def test_features_without_a_value_are_named(train: TrainFn) -> None:
    env = planted.config(observation={"features": ["log_return_1", "kyle_lambda_12"], "window": 1})
    market = planted.market(200)
    broken = market.bars.copy()
    with pytest.raises(DataError, match="kyle_lambda_12"):
        train(market, env=env.model_dump(mode="json"))
    broken[50, 0, 0] = float("nan")
    with pytest.raises(DataError, match=r"bar 50 of S0-USDT-PERP: open must be finite"):
        type(market)(
            symbols=market.symbols, interval_ns=market.interval_ns, close_ns=market.close_ns,
            bars=broken, spec=market.spec, segments=market.segments,
        )  # fmt: skip


def test_policies_must_cover_the_agents(train: TrainFn) -> None:
    with pytest.raises(ConfigError, match=r"missing: S1-USDT-PERP; not there: BTC"):
        train(planted.market(300, 2), policies={"S0-USDT-PERP": "a", "BTC": "a"})


def test_training_that_diverges_stops_and_keeps_the_last_good_checkpoint(train: TrainFn) -> None:
    changes = {**SHORT, "keep": {"every": 1, "tensorboard": False}}
    good = train(planted.market(300), **changes)
    kept = good.out / "checkpoints" / "00000002"
    algorithm = {"name": "ppo", "reward_scale": 1e30, "fragment": 32}
    with pytest.raises(TrainingDiverged) as error:
        train(
            planted.market(300), resume=True, algorithm=algorithm,
            **{**changes, "stop": {"iterations": 9, "steps": None}},
        )  # fmt: skip
    told = str(error.value)
    assert "diverged in iteration 3" in told
    assert "loss of policy agents was" in told
    assert str(kept) in told
    assert kept.exists()
    assert Model.load(good.model).card.trained.steps == good.steps


def test_every_run_is_counted_and_a_folder_holds_one_training(
    cluster: None, tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    research, home = Research(database), tmp_path / "home"
    monkeypatch.setattr("experiments.train.open_research", lambda *_, **__: nullcontext(research))
    market, out = planted.market(300), tmp_path / "run"
    values = {
        "out": str(out), "env": planted.config().model_dump(mode="json"),
        "net": {"hidden": [4]}, **SHORT,
    }  # fmt: skip

    def run(**changes: Any) -> Any:
        resume = changes.pop("resume", False)
        config = parsed(TrainConfig, {**values, **changes}, "test")
        return counted_train(config, lambda line: None, resume=resume, market=market, home=home)

    # what is refused is neither counted nor shown, and changes nothing of what is there
    env = values["env"]
    with pytest.raises(ConfigError, match="no_feature"):
        run(env={**env, "observation": {"features": ["no_feature"]}})
    with pytest.raises(DataError, match=r"episode\.length is 1000"):
        run(env={**env, "episode": {"length": 1_000}})
    with pytest.raises(DataError, match="no bar closes"):
        run_ = parsed(TrainConfig, {**values, "data": {"start": "2100-01-01"}}, "test")
        counted_train(run_, print, home=home)
    assert not research.runs() and not entries(home) and not out.exists()
    run()
    (kept,) = entries(home)
    assert kept.state is TrainingState.DONE
    config_file = (out / "config.json").read_bytes()
    with pytest.raises(UsageError, match="holds a training already"):
        run()
    with pytest.raises(UsageError, match="begun with another seed"):
        run(seed=3, resume=True)
    assert entries(home) == [kept] and (out / "config.json").read_bytes() == config_file
    longer = parsed(TrainConfig, {**values, "stop": {"iterations": 4, "steps": None}}, "test")
    outcome = counted_train(longer, lambda s: None, resume=True, market=market, research=research)
    assert entries(home) == [kept]  # a part of something shows as that
    assert outcome.iterations == 4
    rows = [json.loads(line) for line in (out / "progress.jsonl").open()]
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4]
    assert [row["steps"] for row in rows] == [(i + 1) * 4 * 64 for i in range(4)]
    assert list((out / "tensorboard").iterdir())
    runs = research.runs()
    assert [r.status for r in runs] == [RunStatus.DONE, RunStatus.DONE]
    assert {r.data_hash for r in runs} == {market.hash}
    assert runs[-1].metrics["iterations"] == 4
    assert runs[-1].metrics["data"] == {"source": "file", "missing": 0.0}
    card = Model.load(outcome.model).card
    assert (card.data_source, card.data_shares) == ("file", {"missing": 0.0})


@pytest.mark.parametrize("algorithm", ["ppo", "appo"])
@pytest.mark.slow
def test_a_runner_that_dies_is_replaced(
    train: TrainFn, cluster: None, tmp_path: Path, algorithm: str
) -> None:
    from experiments.rllib import checkpoints, progress

    killed: list[int] = []
    healthy: list[int] = []  # runners, of each iteration after the kill
    write = progress.Progress.write

    def watched(self: Any, row: dict[str, Any]) -> None:
        write(self, row)
        if killed:
            healthy.append(row["runners"])
            if 1 in healthy and healthy[-3:] == [2, 2, 2]:
                raise KeyboardInterrupt  # as Ctrl-C: a checkpoint is written
        elif row["iteration"] == 2:
            for process in psutil.Process().children(recursive=True):
                if not killed and "BatchRunner" in " ".join(process.cmdline()):
                    process.kill()
                    killed.append(process.pid)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress.Progress, "write", watched)
        with pytest.raises(Interrupted, match="--resume goes on"):
            train(
                planted.market(300), workers={"copies": 4, "runners": 2},
                stop={"iterations": 1_000_000, "steps": None},
                algorithm={"name": algorithm, "fragment": 32},
            )  # fmt: skip
    assert killed
    assert checkpoints.last_of(tmp_path / "run") is not None
    rows = progress.read(tmp_path / "run" / "progress.jsonl")
    assert [row["iteration"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1]["steps"] > rows[1]["steps"]
