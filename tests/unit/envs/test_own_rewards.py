"""Rewards of one's own: what is refused before it is registered, and what they are worth."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.envs import market
from support.own_rewards import MODULE, TERMS, fresh

from don.envs import BatchEnv, EnvConfig
from don.envs.config import RewardConfig
from don.envs.custom import reward
from don.envs.record import Recorder, load, replay, save
from don.envs.rewards import Reward, code_hash, forget, kinds
from don.errors import ConfigError, DataError, DonError, UsageError
from don.evaluation.course import out_of_sample
from don.model.section import parsed
from experiments.fitting import fitting
from experiments.training_config import TrainConfig

SEEN = {"features": ["log_return_1"]}
own = pytest.fixture(fresh)


def env(batch: int = 3, **changes: Any) -> BatchEnv:
    asked = {"reward": TERMS, "episode": {"length": 40}, "observation": SEEN, **changes}
    return BatchEnv(market(), EnvConfig.model_validate(asked), batch)


def act(made: BatchEnv, n: int) -> Any:
    return np.random.default_rng(n).uniform(-1, 1, (made.batch, 1, len(made.market.symbols)))


def test_terms_of_ones_own_are_rewards_like_others(own: Any) -> None:
    made = env()
    assert kinds()["test_idle"] == "Minus what is held beyond a limit."
    made.reset(0)
    wealth, peak, waited = (np.full(3, x) for x in (1.0, 1.0, 0.0))
    for n in range(60):
        if made.done.all():  # what was remembered is forgotten where an episode begins
            made.reset(which=made.done)
            wealth[:], peak[:], waited[:] = 1.0, 1.0, 0.0
        before = made.equity[:, 0]
        step = made.step(act(made, n))
        wealth *= made.equity[:, 0] / before
        waited = np.where(wealth >= peak, 0.0, waited + 1.0)
        peak = np.maximum(peak, wealth)
        held = np.maximum(made.view().exposure - 0.25, 0.0)
        assert np.allclose(step.rewards["agents"][:, 0], -2.0 * held - 0.001 * waited, atol=1e-12)


def test_an_episode_is_run_again_with_the_code_it_was_recorded_with(
    own: Any, tmp_path: Path
) -> None:
    recorder = Recorder(env(1))
    recorder.reset(3)
    for n in range(10):
        recorder.step(act(recorder._env, n))
    path = tmp_path / "episode.parquet"
    save(recorder.episode(), path)
    own()
    told = load(path)
    assert replay(told, market()).same
    own("0.1")  # of a function that a reward calls
    with pytest.raises(DataError, match=f"rewards whose code has the hash .*{MODULE} has changed"):
        replay(told, market())
    own(None)
    with pytest.raises(ConfigError, match=rf"reward\.modules: '{MODULE}' cannot be loaded"):
        replay(told, market())


def test_what_no_module_tells_is_not_recorded(own: Any) -> None:
    env()
    with pytest.raises(UsageError, match=r"register them in a module that reward\.modules names"):
        Recorder(env(1, reward={"terms": TERMS["terms"]}))


def test_a_test_out_of_sample_needs_no_module(own: Any) -> None:
    asked = env().config
    own(None)
    BatchEnv(market(), out_of_sample(asked, market()), 1)


def test_code_is_told_apart_and_configurations_are_as_they_were(own: Any) -> None:
    config = parsed(RewardConfig, TERMS, "test")
    first = code_hash(config)
    own()
    assert code_hash(config) == first
    own("0.1")
    assert code_hash(config) not in (first, "")
    assert code_hash(RewardConfig()) == ""
    told = EnvConfig().model_dump(mode="json")["reward"]
    assert set(told) == {"terms", "shared"} and "params" not in told["terms"][0]


def _mean(view: Any) -> Any:
    return np.full(view.before.shape, view.simple_return.mean())


def _drawn(view: Any) -> Any:
    return np.random.default_rng().normal(size=view.before.shape)


def _log(view: Any) -> Any:
    return np.log(view.after / view.before)


def _one(view: Any) -> Any:
    return 1.0


def _written(view: Any) -> Any:
    view.after[:] = 0.0
    return view.after


def _absent(view: Any) -> Any:
    return view.nothing


def _bare(view: Any, limit: float) -> Any:
    return view.exposure - limit


def _text(view: Any, *, limit: Any = "much") -> Any:
    return view.exposure


class _Remembers(Reward):
    def __init__(self, rows: int, term: Any) -> None:
        self.steps = np.zeros(rows)
        super().__init__(rows, term)

    def __call__(self, view: Any) -> Any:
        self.steps = self.steps + 1.0
        return self.steps


class _Other:
    pass


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (_mean, "a row's reward depends on the rows beside it"),
        (_drawn, "the same steps give other rewards"),
        (_log, "must give finite numbers, was -inf in row 2, with equity .* and 0 after it"),
        (_one, r"must give \[6\] numbers, one a row, was of shape \(\)"),
        (_written, "fails on made-up steps: ValueError: .* read-only"),
        (_absent, "fails on made-up steps: AttributeError"),
        (_bare, r"def test_bad\(view, \*, limit=0.5\); was of \(view: Any, limit: float\)"),
        (_text, "parameter limit of reward 'test_bad' must be a number, was 'much'"),
        (_Remembers, "a row that is reset remembers the episode before"),
        (_Other, "must be a function, or a class derived from"),
    ],
)
def test_what_breaks_a_rule_is_refused_when_it_is_registered(made: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=f"reward 'test_bad'.*{why}|{why}"):
        reward("test_bad")(made)
    assert "test_bad" not in kinds()


def test_names_and_parameters_are_checked(own: Any) -> None:
    env()
    for name, why in (
        ("pnl", "reward 'pnl' is Don's"), ("test_idle", "is registered already"),
        ("My reward", "lower-case letters"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=why):
            reward(name)(lambda view: view.exposure)
    with pytest.raises(ConfigError, match="Don's: it cannot be taken out"):
        forget("pnl")
    for term, why in (
        ({"name": "test_idle", "params": {"limt": 1}}, "limt is none of .*did you mean 'limit'"),
        ({"name": "test_idle", "scale": 2.0}, "scale of reward 'test_idle' must be left out"),
        ({"name": "pnl", "params": {"x": 1}}, "params of reward 'pnl' must be left out"),
        ({"name": "test_idel"}, "did you mean 'test_idle'.*name the module of one of your own"),
    ):
        with pytest.raises(ConfigError, match=why):
            env(reward={**TERMS, "terms": [term]})
    with pytest.raises(DonError, match=r"reward.modules must be different dotted names"):
        parsed(EnvConfig, {"reward": {"modules": ["../x"]}}, "test")


def test_a_reward_that_fails_in_an_episode_is_named() -> None:
    with pytest.raises(ConfigError, match=r"reward rewards\[0\] must give finite numbers, was nan"):
        made = BatchEnv(market(), EnvConfig(), 2, rewards=[(1.0, lambda view: view.after * np.nan)])
        made.reset(0)
        made.step(act(made, 0))


KEPT = _Other()


def test_code_that_cannot_be_told_apart_needs_a_version() -> None:
    def bad(view: Any) -> Any:
        return view.exposure * (KEPT is not None)

    with pytest.raises(ConfigError, match=r"reward 'test_bad' uses KEPT, a _Other, .*version="):
        reward("test_bad")(bad)
    try:
        reward("test_bad", version=1)(bad)
        first = code_hash(RewardConfig.model_validate({"terms": [{"name": "test_bad"}]}))
        forget("test_bad")
        reward("test_bad", version=2)(bad)
        assert code_hash(RewardConfig.model_validate({"terms": [{"name": "test_bad"}]})) != first
    finally:
        forget("test_bad")


def test_what_fails_only_in_a_trainings_own_episodes_is_refused_before_it() -> None:
    @reward("test_bad", version=1)
    def bad(view: Any) -> Any:
        return np.where(view.start == 100_000.0, view.log_return, np.nan)

    def asked(capital: float) -> TrainConfig:
        env = {"reward": {"terms": [{"name": "test_bad"}]}, "observation": SEEN,
               "episode": {"length": 20, "capital": capital}}  # fmt: skip
        return parsed(TrainConfig, {"env": env, "net": {"hidden": [4]}}, "test")

    try:
        fitting(asked(100_000.0), market())
        with pytest.raises(
            ConfigError, match="reward 'test_bad' must give finite numbers, was nan"
        ):
            fitting(asked(5_000.0), market())
    finally:
        forget("test_bad")
