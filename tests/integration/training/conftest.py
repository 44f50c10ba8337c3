"""One local Ray for all tests of training, and a way to train on a planted market."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import planted

from don.envs import EnvMarket
from don.model.section import parsed
from experiments.cluster import local_cluster
from experiments.training_config import TrainConfig

TrainFn = Callable[..., Any]


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    home = Path(tempfile.mkdtemp(prefix="don-", dir="/tmp"))
    with local_cluster(home, cpus=2):
        yield
    shutil.rmtree(home)


def settings(out: Path, **changes: Any) -> TrainConfig:
    return parsed(
        TrainConfig,
        {
            "out": str(out),
            "seed": 1,
            "env": planted.config().model_dump(mode="json"),
            "net": {"hidden": [16, 16]},
            "algorithm": {
                "name": "ppo", "lr": 5e-3, "gamma": 0.9, "fragment": 32, "minibatch": 512,
            },
            "workers": {"copies": 32},
            "stop": {"iterations": 12, "steps": None},
            "keep": {"every": 100, "tensorboard": False},
            **changes,
        },
        "test",
    )  # fmt: skip


@pytest.fixture
def train(cluster: None, tmp_path: Path) -> TrainFn:
    """Trains; gives the outcome. Not counted by a ledger: that is another test."""
    from experiments.rllib.loop import Training

    def run(market: EnvMarket, *, resume: bool = False, **changes: Any) -> Any:
        config = settings(**{"out": tmp_path / "run", **changes})
        return Training(config, market, lambda line: None, resume=resume).run()

    return run
