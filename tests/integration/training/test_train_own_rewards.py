"""A training on rewards of one's own: what it goes on with, and that a model needs none of them."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import planted
from support.own_rewards import MODULE, TERMS, Afresh, fresh

from don.errors import ConfigError, UsageError
from don.learning.model import Model

TrainFn = Callable[..., Any]
pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
own = pytest.fixture(fresh)


def test_a_training_goes_on_with_the_rewards_that_it_was_begun_with(
    train: TrainFn, own: Afresh
) -> None:
    market = planted.market(120)
    asked = {
        "env": {**planted.config(episode={"length": 8}).model_dump(mode="json"), "reward": TERMS},
        "net": {"hidden": [4]}, "workers": {"copies": 2},
        "algorithm": {"name": "ppo", "fragment": 16, "minibatch": 16},
        "keep": {"every": 1, "tensorboard": False},
    }  # fmt: skip
    own(None)
    with pytest.raises(ConfigError, match=rf"reward\.modules: '{MODULE}' .* on PYTHONPATH"):
        train(market, **asked, stop={"iterations": 1, "steps": None})
    own()
    done = train(market, **asked, stop={"iterations": 1, "steps": None})
    assert done.returns < -1.0  # of what is held: no growth is like that
    begun = json.loads(next((done.out / "checkpoints").glob("*/don.json")).read_text())["begun"]
    own("0.1")
    with pytest.raises(UsageError, match="begun with rewards whose code has the hash"):
        train(market, **asked, stop={"iterations": 2, "steps": None}, resume=True)

    own(None)  # a replica that serves
    model = Model.load(done.model)
    assert model.card.reward_code == begun["reward_code"] != ""
    acted, _ = model.act(
        {"agents": np.zeros((1, 1, model.card.policies["agents"].observation.size))}
    )
    assert acted["agents"].shape == (1, 1)
