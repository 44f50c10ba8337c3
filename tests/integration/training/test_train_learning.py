"""Learning is proved on made-up markets: what can be known is found, noise is left alone."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import planted

from don.envs import BatchEnv
from don.envs.config import Scaling
from don.learning.model import Model
from experiments.choosing import candidates
from experiments.rllib.market_file import read_market

TrainFn = Callable[..., Any]
pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
CONTINUOUS = planted.config(action={"kind": "continuous"}).model_dump(mode="json")
MEMORY = {
    "warm_up": 1000, "gamma": 0.9, "lr": 3e-3, "tau": 0.05, "fragment": 8, "updates": 16,
}  # fmt: skip


def compare(outcome: Any, *, stay: float) -> tuple[float, float]:
    """What the model and the best policy earn on other bars of the same kind."""
    model = Model.load(outcome.model)
    env = BatchEnv(planted.market(2000, 2, seed=5, stay=stay), model.card.env, 64)
    best = planted.best if model.card.env.action.kind == "discrete" else planted.best_numbers
    return planted.earned(env, planted.greedy(model)), planted.earned(env, best)


def test_ppo_earns_what_the_best_policy_earns(train: TrainFn) -> None:
    outcome = train(planted.market(2000, 2))
    got, best = compare(outcome, stay=planted.STAY)
    assert best > 0.05
    assert got >= 0.9 * best
    rows = [json.loads(line) for line in (outcome.out / "progress.jsonl").open()]
    assert [row["iteration"] for row in rows] == list(range(1, 13))
    assert rows[-1]["steps"] == outcome.steps == 12 * 32 * 32 * 2
    assert rows[-1]["eta_s"] == 0.0 and rows[-1]["episode_bars"] == 64
    assert rows[-1]["episode_return"]["mean"] > rows[1]["episode_return"]["mean"]
    assert all("kl" not in told for row in rows for told in row["losses"].values())  # not measured
    # the best one says how far it was, not how far the training is; each copy had ended an episode
    copies, ended = 32, list(itertools.accumulate(row["episodes"] for row in rows))
    known = [row for row, total in zip(rows, ended, strict=True) if total >= copies]
    top = max(known, key=lambda row: row["episode_return"]["mean"])
    card = Model.load(outcome.best).card
    assert card.trained.steps == top["steps"] and len(known) > 1
    assert card.in_sample["episode_return"] == top["episode_return"]["mean"]
    assert card.in_sample["best_episode_return"] == top["episode_return"]["mean"]


def test_ppo_stays_out_of_noise(train: TrainFn) -> None:
    outcome = train(planted.market(8000, 2, stay=0.5))
    got, trading = compare(outcome, stay=0.5)
    assert trading < -0.01  # what following the last bar costs
    assert got >= 0.1 * trading


def test_the_stock_runner_learns_the_same(train: TrainFn) -> None:
    outcome = train(
        planted.market(2000, 2), runner="stock", workers={"copies": 8},
        stop={"iterations": 16, "steps": None},
    )  # fmt: skip
    got, best = compare(outcome, stay=planted.STAY)
    assert got >= 0.9 * best


def test_seeds_reproduce(train: TrainFn, tmp_path: Path) -> None:
    weights = []
    for n, seed in enumerate((4, 4, 5)):
        few = {"stop": {"iterations": 2, "steps": None}, "workers": {"copies": 8}}
        outcome = train(planted.market(300, 2), seed=seed, out=str(tmp_path / str(n)), **few)
        last = Model.load(outcome.model)
        weights.append(last.weights["agents"])
        kept = candidates(outcome.out, last)  # what a study chooses from
        assert list(kept) == ["iteration 2"] and kept["iteration 2"].id == last.id
    assert all((weights[0][k] == weights[1][k]).all() for k in weights[0])
    assert any((weights[0][k] != weights[2][k]).any() for k in weights[0])


@pytest.mark.parametrize(
    ("algorithm", "env"),
    [
        ({"name": "dqn", "explore_steps": 3000}, None),
        ({"name": "sac"}, None),
        ({"name": "sac"}, CONTINUOUS),
    ],
    ids=["dqn", "sac-discrete", "sac-continuous"],
)
@pytest.mark.slow
def test_memories_learn_it_too(
    train: TrainFn, algorithm: dict[str, Any], env: dict[str, Any] | None
) -> None:
    outcome = train(
        planted.market(2000, 2), algorithm={**MEMORY, **algorithm},
        stop={"iterations": 60, "steps": None}, **({"env": env} if env else {}),
    )  # fmt: skip
    got, best = compare(outcome, stay=planted.STAY)
    assert got >= 0.9 * best


@pytest.mark.parametrize("runners", [0, 2])
@pytest.mark.slow
def test_appo_learns_it_too_and_goes_on(train: TrainFn, runners: int) -> None:
    changes = {
        "algorithm": {
            "name": "appo", "lr": 5e-3, "gamma": 0.9, "fragment": 32, "minibatch": 512,
            "epochs": 4,
        },
        "workers": {"copies": 32 // max(runners, 1), "runners": runners},
        "policies": "separate",
    }  # fmt: skip
    train(planted.market(2000, 2), stop={"iterations": 2, "steps": None}, **changes)
    outcome = train(
        planted.market(2000, 2), stop={"iterations": 10, "steps": None}, resume=True, **changes
    )
    got, best = compare(outcome, stay=planted.STAY)
    assert got >= 0.9 * best
    rows = [json.loads(line) for line in (outcome.out / "progress.jsonl").open()]
    assert [row["iteration"] for row in rows] == list(range(1, 11))
    assert rows[-1]["steps"] == outcome.steps >= 10 * 32 * 32 * 2
    assert set(Model.load(outcome.model).card.policies) == {"S0-USDT-PERP", "S1-USDT-PERP"}


@pytest.mark.parametrize(
    ("net", "window"),
    [
        ({"kind": "gru", "units": 8}, 4),
        ({"kind": "conv", "channels": [8]}, 4),
        ({"kind": "attention", "width": 8}, 1),
        ({"kind": "mlp", "memory": 8}, 1),
    ],
    ids=["gru", "conv", "attention", "memory"],
)
@pytest.mark.slow
def test_other_networks_learn_it_too(train: TrainFn, net: dict[str, Any], window: int) -> None:
    env = planted.config(observation={"features": ["log_return_1"], "window": window})
    outcome = train(
        planted.market(2000, 2), net={"hidden": [16], **net}, env=env.model_dump(mode="json")
    )
    got, best = compare_with_memory(outcome)
    assert got >= 0.9 * best


def compare_with_memory(outcome: Any) -> tuple[float, float]:
    model = Model.load(outcome.model)
    env = BatchEnv(planted.market(2000, 2, seed=5), model.card.env, 64)
    state: dict[str, Any] = {}

    def act(seen: Any) -> Any:
        actions, after = model.act({"agents": seen}, state or None)
        state.update(after)
        return actions["agents"]

    got = planted.earned(env, act)
    return got, planted.earned(env, planted.follow(window=model.card.env.observation.window))


@pytest.mark.slow
def test_policies_of_their_own_learn_it_too(train: TrainFn) -> None:
    outcome = train(planted.market(2000, 2), policies="separate")
    assert set(Model.load(outcome.model).card.policies) == {"S0-USDT-PERP", "S1-USDT-PERP"}
    got, best = compare(outcome, stay=planted.STAY)
    assert got >= 0.9 * best


def test_training_takes_made_up_histories_and_a_scaling_fitted_to_the_real_one(
    train: TrainFn,
) -> None:
    market = planted.market(900, 2)
    seen = {"features": ["log_return_1"], "window": 2, "scaling": "fitted"}
    outcome = train(
        market, env=planted.config(observation=seen).model_dump(mode="json"),
        variants={"bootstraps": 2, "crashes": 0.05, "seed": 3},
        stop={"iterations": 2, "steps": None},
    )  # fmt: skip
    learnt_from = read_market(str(outcome.out / "market.npz"))
    assert len(learnt_from.segments) == 3
    assert np.array_equal(learnt_from.bars[:900], market.bars, equal_nan=True)
    model = Model.load(outcome.model)
    passing = planted.config(observation={**seen, "scaling": "expanding"})
    (real,), (kept,) = BatchEnv(market, passing, 1).states, model.states
    assert kept.scaling is Scaling.FITTED  # and knows nothing of crashes that never were
    assert np.array_equal(kept.var, real.var) and np.array_equal(kept.mean, real.mean)
    env = BatchEnv(market, model.card.env, 1, states=model.states)
    assert np.isfinite(env.reset(1)["agents"]).all()
