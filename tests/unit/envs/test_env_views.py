"""Views of the batch: Gymnasium and PettingZoo tests, seeds, scalar equals vector."""

import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from pettingzoo.test import parallel_api_test, parallel_seed_test
from support.envs import market

from don.envs import BatchEnv, EnvConfig
from don.envs.gym_env import FIGURES, BatchVectorEnv, SingleEnv
from don.envs.parallel import ParallelTrading
from don.envs.rewards import StepView
from don.errors import UsageError

FORMS = ("own", "single", "shared", "allocated")


def config(form: str = "own", kind: str = "continuous", **more: object) -> EnvConfig:
    base: dict = {
        "form": form,
        "agents": 1 if form == "own" else 2,
        "action": {"kind": kind},
        "episode": {"length": 30},
        "observation": {
            "window": 3,
            "features": ["log_return_1", "rsi_14"],
            "parts": ["window", "account"],
        },
    }
    return EnvConfig.model_validate({**base, **more})


@pytest.mark.parametrize(
    "kind", ["continuous", "simplex", "long_short", "multi_discrete", "ticket"]
)
def test_gymnasium_accepts_the_environment(kind: str) -> None:
    env = SingleEnv(market(), config(kind=kind))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*infinity.*|.*env.spec.*|.*normalized.*")
        warnings.filterwarnings("ignore", message=".*symmetric.*|.*render.*")
        check_env(env, skip_render_check=True, skip_close_check=True)


@pytest.mark.parametrize("form", FORMS)
def test_pettingzoo_accepts_the_environment(form: str) -> None:
    made = market()
    parallel_api_test(ParallelTrading(made, config(form)), num_cycles=80)
    parallel_seed_test(lambda: ParallelTrading(made, config(form)), num_cycles=40)


ALL = {"parts": ["window", "frames", "book", "account"], "frames": [4]}
COMMON = {"parts": ["account", "window"], "window": 3}  # one compiled call a step


@pytest.mark.parametrize("kind", ["continuous", "multi_discrete", "ticket"])
@pytest.mark.parametrize("layout", ["flat", "dict"])
@pytest.mark.parametrize("parts", [ALL, COMMON])
def test_scalar_is_vector_to_the_bit(kind: str, layout: str, parts: dict) -> None:
    made = market()
    setting = config(
        kind=kind, random={"taker": [0.5, 2.0], "latency": [0.0, 0.5]},
        observation={"layout": layout, "features": ["log_return_1", "rsi_14"], **parts},
    )  # fmt: skip
    vector = BatchVectorEnv(made, setting, 5)
    seen, _ = vector.reset(seed=7)
    singles = [SingleEnv(made, setting) for _ in range(5)]
    one = [env.reset(seed=7 + b)[0] for b, env in enumerate(singles)]
    vector.action_space.seed(1)
    for step in range(31):
        for b in range(5):
            for name, values in _parts(seen):
                assert np.array_equal(values[b], dict(_parts(one[b]))[name])
        if step == 30:
            break
        actions = vector.action_space.sample()
        seen, rewards, _, ends, _ = vector.step(actions)
        for b, env in enumerate(singles):
            one[b], reward, _, end, info = env.step(actions[b])
            assert list(info) == [*FIGURES, "bar"]
            assert reward == rewards[b] and end == ends[b]


def _parts(told: object) -> list:
    return list(told.items()) if isinstance(told, dict) else [("all", told)]


def test_vector_autoreset_modes() -> None:
    made = market()
    later = BatchVectorEnv(made, config(), 3)
    same = BatchVectorEnv(made, config(), 3, autoreset=AutoresetMode.SAME_STEP)
    for env in (later, same):
        env.reset(seed=3)
        env.action_space.seed(0)
    for _ in range(29):
        for env in (later, same):
            env.step(env.action_space.sample())
    last = later.step(later.action_space.sample())
    final = same.step(same.action_space.sample())
    assert last[3].all() and final[3].all()
    assert np.array_equal(final[4]["final_obs"], last[0])
    begun = later.step(later.action_space.sample())
    assert np.array_equal(begun[0], final[0])  # the second episodes begin alike
    assert not begun[1].any() and not begun[2].any() and not begun[3].any()


def test_vector_slots_end_at_different_times() -> None:
    wild = config(action={"kind": "continuous", "gross": 15.0}, episode={"length": 60})
    env = BatchVectorEnv(market(vol=0.03), wild, 16)
    env.reset(seed=0)
    ended = 0
    for _ in range(100):
        before = env.batch.done.copy()
        _, rewards, terminated, truncated, _ = env.step(np.ones((16, 3), np.float32))
        ended += int((terminated | truncated).sum())
        assert not (before & (terminated | truncated)).any()
        assert not rewards[before].any()
    assert ended > 16


class Momentum:
    """A reward of the user's own: moving average of the log return; counts what it sees."""

    def __init__(self, rows: int) -> None:
        self.mean, self.seen = np.zeros(rows), np.zeros(rows)

    def reset(self, which: np.ndarray) -> None:
        self.mean[which] = 0.0

    def __call__(self, view: StepView) -> np.ndarray:
        self.seen += view.active
        self.mean = 0.8 * self.mean + 0.2 * view.log_return
        return self.mean


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_rewards_with_a_state_see_only_steps_of_their_episode(mode: AutoresetMode) -> None:
    made = market(vol=0.03)
    names = ("differential_sharpe", "differential_sortino", "cvar")
    setting = config(
        action={"kind": "continuous", "gross": 15.0}, episode={"length": 30},
        reward={"terms": [{"name": name} for name in names]},
    )  # fmt: skip
    own = Momentum(3)
    vector = BatchVectorEnv(made, setting, 3, rewards=[(1.0, own)], autoreset=mode)
    vector.reset(seed=4)
    singles = [SingleEnv(made, setting, rewards=[(1.0, Momentum(1))]) for _ in range(3)]
    for b, env in enumerate(singles):
        env.reset(seed=4 + b)
    begins, steps, apart = np.zeros(3, np.bool_), np.zeros(3), 0
    for _ in range(100):
        actions = np.ones((3, 3), np.float32)
        _, rewards, terminated, truncated, _ = vector.step(actions)
        for b, env in enumerate(singles):
            if begins[b] and mode is AutoresetMode.NEXT_STEP:
                begins[b] = False  # this call began the episode, and took no step
                assert rewards[b] == 0 and not terminated[b] and not truncated[b]
                continue
            _, reward, end, cut, _ = env.step(actions[b])
            assert (reward, end, cut) == (rewards[b], terminated[b], truncated[b])
            steps[b] += 1
            begins[b] = end or cut
            if begins[b]:
                env.reset()
        apart += begins.any() and not begins.all()
    assert apart > 1 and np.array_equal(own.seen, steps)


def test_seeds_reproduce_and_differ() -> None:
    made, setting = market(), config(random={"taker": [0.5, 2.0]})

    def course(seed: int) -> list:
        env = BatchEnv(made, setting, 4)
        told = [env.reset(seed)["agents"]]
        rng = np.random.default_rng(0)
        for _ in range(10):
            step = env.step(rng.uniform(-1, 1, (4, 1, 3)))
            told += [step.observations["agents"], step.rewards["agents"]]
        return told

    one, again, other = course(5), course(5), course(6)
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[0], other[0])
    env = BatchEnv(made, setting, 4)
    env.reset(5)
    env.reset()  # goes on drawing
    assert np.array_equal(env.reset(5)["agents"], one[0])


def test_bad_actions_are_refused() -> None:
    env = SingleEnv(market(), config())
    env.reset(seed=0)
    with pytest.raises(UsageError, match="finite"):
        env.step(np.array([np.nan, 0, 0]))
    with pytest.raises(UsageError, match="must be"):
        env.step(np.zeros(2))
    picky = SingleEnv(market(), config(kind="multi_discrete"))
    picky.reset(seed=0)
    with pytest.raises(UsageError, match="0 to 2"):
        picky.step(np.array([0, 3, 0]))
    with pytest.raises(UsageError, match="one agent"):
        SingleEnv(market(), config("single"))
