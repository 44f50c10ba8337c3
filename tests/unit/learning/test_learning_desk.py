"""The desk's policy sees what its environment saw and does what it did, bit for bit."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from support.envs import market
from support.models import loud

from don.backtest.bars import run_market
from don.backtest.config import BacktestConfig, Detail
from don.backtest.panel import open_market
from don.engine import EngineConfig
from don.envs import BatchEnv, EnvConfig
from don.envs.layout import CLOSE, COST, LOTS
from don.envs.market import from_market
from don.errors import ConfigError
from don.features.sets import FeatureSet
from don.learning.config import NetConfig
from don.learning.model import Model
from don.learning.policy import LearnedPolicy
from don.model.instrument import Instrument
from don.paper.tape_data import make_instrument
from don.policies import (
    BarSeen,
    ModelRef,
    PoliciesConfig,
    PolicyInput,
    check_features,
    known,
    make_policy,
)

MARKET = market(120, 3, seed=9)
FEATURES = ("log_return_1", "rsi_14", "zscore_8")


def model_of(env: BatchEnv, net: dict[str, object], *, states: bool = False) -> Model:
    model = loud(Model.untrained(env, NetConfig.model_validate(net)), 3)
    return model if states else replace(model, states=())


def listed() -> list[Instrument]:
    names = [s.replace("-", "").removesuffix("PERP") for s in MARKET.symbols]
    return [make_instrument(n, Decimal("0.01"), Decimal("0.001")) for n in names]


def bar_of(env: BatchEnv, raw: np.ndarray, t: int, order: list[int]) -> BarSeen:
    """Bar t and the environment's account, as a desk with another order of symbols has them."""
    columns = MARKET.columns()
    book, money = env.dynamics.book[0], env.dynamics.money[0]
    return BarSeen(
        ts_event=int(MARKET.close_ns[t]),
        features={name: raw[t, order, f] for f, name in enumerate(FEATURES)},
        close=MARKET.bars[t, order, CLOSE] * 0.01,
        volume=columns["volume"][t, order],
        equity=float(money[1]),
        sizes=book[order, LOTS] * 0.001,
        costs=book[order, COST],
    )


@pytest.mark.parametrize(
    ("form", "kind", "net"),
    [
        ("own", "long_short", {"kind": "attention", "width": 8, "hidden": [8], "memory": 4}),
        ("own", "simplex", {"kind": "conv", "channels": [4], "hidden": [8]}),
        ("shared", "discrete", {"kind": "gru", "units": 4, "hidden": [8]}),
    ],
)
def test_the_desk_observes_and_acts_like_the_environment(
    form: str, kind: str, net: dict[str, object]
) -> None:
    seen = {"features": FEATURES, "parts": ["window", "book", "account"], "window": 5}
    config = EnvConfig.model_validate(
        {"form": form, "action": {"kind": kind}, "observation": seen,
         "episode": {"length": 40, "random_start": False}}
    )  # fmt: skip
    env = BatchEnv(MARKET, config, 1)
    model = model_of(env, net)
    policy = LearnedPolicy(model)
    order = [2, 0, 1]
    policy.begin([listed()[n] for n in order], MARKET.interval_ns)
    raw = FeatureSet(FEATURES).batch(MARKET.columns())
    told = env.reset(seed=4)
    start, state, acted = int(env.bar_of[0]), None, 0
    assert start > 10
    for t in range(start):
        policy.watch(bar_of(env, raw, t, order))
        assert policy.observed is None
    for t in range(start, start + 60):  # into the second episode
        policy.watch(bar_of(env, raw, t, order))
        said = policy.forecast(_asked(order))
        assert policy.observed.tobytes() == np.ascontiguousarray(told["agents"]).tobytes()
        actions, state = model.act(told, state)
        wanted = _weights(env, actions["agents"])
        assert said.desired.tobytes() == wanted[order].tobytes() and said.usable.all()
        acted += bool(np.abs(wanted).max() > 0)
        step = env.step(actions)
        told = step.observations
        if step.done[0]:
            # the next episode begins with what the account has; only the desk can go on with it
            break
    assert acted > 20 and t == start + 39 and policy._look.age == 0


def _asked(order: list[int]) -> PolicyInput:
    return PolicyInput(
        symbols=tuple(MARKET.symbols[n] for n in order), features={}, Sigma=np.eye(3),
        tradable=np.ones(3, bool),
    )  # fmt: skip


def _weights(env: BatchEnv, actions: np.ndarray) -> np.ndarray:
    asked = env._actions.weights(actions)[0]
    out = np.zeros(3)
    for a, places in enumerate(env.roles.seen):
        out[places] += asked[a]
    return out


def test_a_hole_in_the_bars_empties_the_window() -> None:
    config = EnvConfig.model_validate({"observation": {"features": FEATURES, "window": 3}})
    env = BatchEnv(MARKET, config, 1)
    policy = LearnedPolicy(model_of(env, {"hidden": [4]}))
    policy.begin(listed(), MARKET.interval_ns)
    raw = FeatureSet(FEATURES).batch(MARKET.columns())
    env.reset(seed=1)
    order = [0, 1, 2]
    names = {name: raw[20:23, :, f] for f, name in enumerate(FEATURES)}
    policy.recall(MARKET.close_ns[20:23], names)  # what was before the session
    policy.watch(bar_of(env, raw, 23, order))
    assert policy.forecast(_asked(order)).desired is not None
    policy.watch(bar_of(env, raw, 25, order))
    said = policy.forecast(_asked(order))
    assert not said.usable.any() and said.reason.startswith("warming up: 1 of 3")


def test_a_backtest_wants_what_the_environment_did(tmp_path: Path) -> None:
    symbols = ("BTC-USDT-PERP", "ETH-USDT-PERP")
    bars = BacktestConfig(detail=Detail.BARS, symbols=symbols)
    recorded = open_market(bars)
    whole = from_market(recorded)
    seen = {"features": ["log_return_1", "zscore_24"], "parts": ["window"], "window": 4,
            "scaling": "none"}  # fmt: skip
    config = EnvConfig.model_validate(
        {"action": {"kind": "long_short"}, "observation": seen, "episode": {"random_start": False}}
    )
    env = BatchEnv(whole, config, 1)
    model = model_of(env, {"hidden": [8]})
    folder = tmp_path / "model"
    model.save(folder)
    name = f"model:{folder}"
    first = 100
    pinned = PoliciesConfig(models={name: ModelRef(folder=str(folder), id=model.id)})
    result = run_market(
        bars.model_copy(update={
            "policy": name, "history_bars": first, "engine": EngineConfig(policies=pinned),
            "end": _iso(int(whole.close_ns[first + 60])),
        }),
        recorded,
    )  # fmt: skip
    told = env.reset(starts=np.array([first]))
    wanted = {}
    for t in range(first, first + 60):
        actions, _ = model.act(told)
        wanted[int(whole.close_ns[t])] = _plain(env, actions["agents"])
        told = env.step(actions).observations
    said = {d.ts_event: d.forecast for d in result.decisions if d.policy == name and d.snapshot}
    both = sorted(set(said) & set(wanted))
    assert len(both) >= 55
    assert all(said[ts].tobytes() == wanted[ts].tobytes() for ts in both)
    assert result.fills  # and it was traded


def _plain(env: BatchEnv, actions: np.ndarray) -> np.ndarray:
    return env._actions.weights(actions)[0, 0]


def _iso(ns: int) -> str:
    from don.clock import iso

    return iso(ns)


def test_what_a_desk_cannot_do_is_refused(tmp_path: Path) -> None:
    def model(**changes: object) -> Model:
        told = {"observation": {"features": FEATURES}} | changes
        return model_of(BatchEnv(MARKET, EnvConfig.model_validate(told), 1), {"hidden": [4]})

    with pytest.raises(ConfigError, match="rsi_14@4h"):
        framed = {"features": FEATURES, "parts": ["window", "frames"], "frames": [2]}
        LearnedPolicy(model(observation=framed))
    with pytest.raises(ConfigError, match="order tickets"):
        LearnedPolicy(model(action={"kind": "ticket"}))
    with pytest.raises(ConfigError, match="decides every 8 bars"):
        LearnedPolicy(model(action={"every": 8}))
    endless = [*FEATURES, "obv", "vwap_ratio", "obv@2h"]
    with pytest.raises(ConfigError, match=r"observes obv, vwap_ratio, obv@2h, summed since the s"):
        LearnedPolicy(model(observation={"features": endless}))
    told = [*FEATURES, "funding_mean_72", "hour_sin", "rsi_14@2h", "adosc_3_10"]
    assert LearnedPolicy(model(observation={"features": told})).features == tuple(told)
    with pytest.raises(ConfigError, match="choose one of the agents agent_0, agent_1"):
        LearnedPolicy(model(agents=2))
    assert LearnedPolicy(model(agents=2), agent="agent_1").rows == 1
    policy = LearnedPolicy(model())
    with pytest.raises(ConfigError, match="was trained on AAA-USDT-PERP"):
        policy.begin(listed()[:2], MARKET.interval_ns)
    with pytest.raises(ConfigError, match="bars of 60 s"):
        policy.begin(listed(), 60 * 10**9)
    with pytest.raises(ConfigError, match="needs the features rsi_14"):
        check_features(policy, ["log_return_1", "zscore_8"])
    assert known("model:x") and not known("model:") and not known("nope")
    with pytest.raises(ConfigError, match="no folder of a model"):
        make_policy("model:nowhere", PoliciesConfig())
    folder = tmp_path / "m"
    model().save(folder)
    moved = PoliciesConfig(models={"model:m@1": ModelRef(folder=str(folder), id="another")})
    with pytest.raises(ConfigError, match="means the model another"):
        make_policy("model:m@1", moved)
