"""What must hold of every environment, and the mistakes that others made."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.envs import HOUR, SYMBOLS, columns, market

from don.envs import BatchEnv, EnvConfig, EnvMarket, from_arrays
from don.envs.layout import (
    AFTER_EQUITY,
    BEFORE,
    CLOSE,
    COST,
    DEPOSIT,
    EQUITY,
    FEES,
    FILLS,
    FUNDING,
    LIQUIDATED,
    LIQUIDATION,
    LOT,
    LOTS,
    LOW,
    PNL,
    RATE,
    SLIPPAGE,
    TAKER,
    TICK,
    WALLET,
)  # fmt: skip
from don.envs.market import Segment
from don.errors import DataError

ACTIONS = ("continuous", "simplex", "long_short", "multi_discrete", "ticket")


def setting(form: str = "own", kind: str = "continuous", **more: object) -> EnvConfig:
    base: dict = {
        "form": form, "agents": 2, "action": {"kind": kind, "gross": 2.0},
        "observation": {"window": 4, "features": ["log_return_1", "rsi_14", "zscore_24"]},
        "episode": {"length": 40},
    }  # fmt: skip
    return EnvConfig.model_validate({**base, **more})


def act(env: BatchEnv, rng: np.random.Generator) -> dict[str, np.ndarray]:
    found = {}
    for name, group in env.groups.items():
        group.action_space.seed(int(rng.integers(1 << 30)))
        found[name] = np.stack(
            [[group.action_space.sample() for _ in group.agents] for _ in range(env.batch)]
        )
    return found


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000), form=st.sampled_from(["own", "shared", "allocated", "single"]),
    kind=st.sampled_from(ACTIONS), gross=st.sampled_from([1.0, 4.0, 18.0]), spot=st.booleans(),
)  # fmt: skip
def test_money_is_conserved(seed: int, form: str, kind: str, gross: float, spot: bool) -> None:
    if (form == "shared" and kind in ("simplex", "long_short")) or (spot and gross > 1):
        return
    made = market(bars=150, seed=seed % 7, vol=0.04, depth=50.0)
    more = {"costs": {"spot": spot}, "action": {"kind": kind, "gross": gross}}
    env = BatchEnv(made, setting(form, kind, **more), 3)
    env.reset(seed)
    rng = np.random.default_rng(seed)
    flow, d = env.dynamics.flow, env.dynamics
    for _ in range(40):
        wallets = env.dynamics.money[:, EQUITY].copy()
        done = env.done.copy()
        env.step(act(env, rng))
        change = flow[:, AFTER_EQUITY] - flow[:, BEFORE]
        parts = flow[:, PNL] - flow[:, FEES] - flow[:, SLIPPAGE] - flow[:, FUNDING]
        parts = parts - flow[:, LIQUIDATION]
        live = np.repeat(~done, len(env.roles.columns))
        assert np.all(np.abs(change - parts)[live] <= 1e-9 * np.maximum(1e5, wallets)[live])
        assert np.allclose(flow[live, BEFORE], wallets[live] + flow[live, DEPOSIT], atol=1e-9)
        moved = flow[:, DEPOSIT].reshape(3, -1).sum(axis=1)
        assert np.all(np.abs(moved) <= 1e-6)
        if spot:  # no debt, fees included, and no shorts
            assert (d.money[:, WALLET] - d.book[:, :, COST].sum(axis=1)).min() >= -1e-6
            assert d.book[:, :, LOTS].min() >= 0
        if env.done.all():
            break


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.floats(1.0, 20.0))
def test_a_higher_fee_never_raises_equity(seed: int, factor: float) -> None:
    from don.envs.dynamics import step_accounts
    from don.envs.layout import KIND, MARKET, ORDER, SIZE

    made = market(bars=120, seed=seed % 5)
    cheap, dear = (
        BatchEnv(made, setting(agents=1, costs={"taker": x, "maker": x}), 1) for x in (1.0, factor)
    )
    rng = np.random.default_rng(seed)
    for env in (cheap, dear):
        env.reset(0, starts=np.array([40]))
    for t in range(40, 80):
        orders = np.zeros((1, 3, ORDER))
        orders[0, :, SIZE] = np.rint(rng.uniform(-20_000, 20_000, 3))
        orders[0, :, KIND] = MARKET
        for env in (cheap, dear):
            step_accounts(
                env.dynamics, np.array([t]), np.ones(1, bool), orders, np.zeros(1),
                np.zeros((6, 3)), False,
            )  # fmt: skip
        assert np.array_equal(cheap.dynamics.book[:, :, LOTS], dear.dynamics.book[:, :, LOTS])
        assert dear.equity[0, 0] <= cheap.equity[0, 0] + 1e-9


@pytest.mark.parametrize("scaling", ["none", "expanding", "ewma"])
@pytest.mark.parametrize("form", ["own", "shared", "allocated"])
def test_the_future_changes_nothing(form: str, scaling: str) -> None:
    past = columns(bars=300)
    other = {name: values.copy() for name, values in columns(bars=300, seed=99).items()}
    cut = 200
    for name in past:
        other[name][:cut] = past[name][:cut]
    other["open"][cut] = past["open"][cut]
    other["high"][cut:] = np.maximum.reduce([other["high"], other["open"], other["close"]])[cut:]
    other["low"][cut:] = np.minimum.reduce([other["low"], other["open"], other["close"]])[cut:]
    courses = []
    for made in (past, other):
        env = BatchEnv(
            from_arrays(made, SYMBOLS, interval_ns=HOUR),
            setting(
                form, episode={"length": 100},
                observation={
                    "window": 4, "features": ["log_return_1", "rsi_14"], "scaling": scaling,
                    "parts": ["window", "frames", "book", "account"], "frames": [4, 6],
                    "frame_window": 3,
                },
                reward={"terms": [{"name": "differential_sharpe"}, {"name": "cvar"}]},
            ),
            1,
        )  # fmt: skip
        rng = np.random.default_rng(1)
        seen = [env.reset(0, starts=np.array([120]))]
        while env.bar_of[0] < cut - 1:
            step = env.step(act(env, rng))
            seen += [step.observations, step.rewards]
        courses.append(seen)
    for one, two in zip(*courses, strict=True):
        for name in one:
            assert np.array_equal(one[name], two[name])


def test_callers_arrays_are_untouched() -> None:
    given_ = columns(bars=150)
    kept = {name: values.copy() for name, values in given_.items()}
    made = from_arrays(given_, SYMBOLS, interval_ns=HOUR)
    env = BatchEnv(made, setting(agents=1), 2)
    env.reset(0)
    actions = np.random.default_rng(0).uniform(-3, 3, (2, 1, 3))
    action_copy = actions.copy()
    first = env.step(actions)
    told = first.observations["agents"].copy()
    env.step(actions)
    assert np.array_equal(actions, action_copy)
    assert all(np.array_equal(given_[name], kept[name]) for name in kept)
    assert np.array_equal(first.observations["agents"], told)  # a later step does not change it
    with pytest.raises(ValueError, match="read-only"):
        made.bars[0, 0, 0] = 1.0


# ---- mistakes found in peers' environments -------------------------------------------------------


def flat(bars: int = 120, rate: float = 0.0) -> EnvMarket:
    still = np.full((bars, 1), 100.0)
    return from_arrays(
        {
            "open": still, "high": still, "low": still, "close": still,
            "volume": np.full((bars, 1), 1e6), "rate": np.full((bars, 1), rate),
        },
        SYMBOLS[:1], interval_ns=HOUR,
    )  # fmt: skip


def still_env(made: EnvMarket, **more: object) -> BatchEnv:
    base = {
        "agents": 1, "observation": {"features": ["log_return_1"]}, "episode": {"length": 50},
        "action": {"gross": 1.0},
    }  # fmt: skip
    env = BatchEnv(made, EnvConfig.model_validate({**base, **more}), 1)
    env.reset(0)
    return env


def test_funding_accrues() -> None:
    env = still_env(flat(rate=1e-4))
    paid = 0.0
    for _ in range(20):
        env.step(np.ones((1, 1, 1)))
        worth = env.dynamics.book[0, 0, LOTS] * 0.001 * 100.0
        paid += worth * 1e-4
        assert env.dynamics.flow[0, FUNDING] == pytest.approx(worth * 1e-4)
    spent = env.dynamics.money[0, WALLET]
    assert paid > 15 * 9.5
    assert spent < 1e5 - paid


def test_fees_are_in_the_reward_and_holding_is_rewarded() -> None:
    made = market(bars=150, symbols=1)
    env = BatchEnv(made, setting(agents=1, action={"gross": 1.0}), 1)
    env.reset(0)
    for _ in range(20):
        before = env.equity[0, 0]
        step = env.step(np.full((1, 1, 1), 0.7))
        assert step.rewards["agents"][0, 0] == pytest.approx(np.log(env.equity[0, 0] / before))
        assert step.rewards["agents"][0, 0] != 0.0  # a position is held: its profit counts now
    quiet = still_env(flat())
    step = quiet.step(np.ones((1, 1, 1)))
    flow = quiet.dynamics.flow[0]
    assert flow[FILLS] > 0 and flow[FEES] > 0 and flow[PNL] == 0
    cost = (flow[FEES] + flow[SLIPPAGE]) / 1e5
    assert step.rewards["agents"][0, 0] == pytest.approx(np.log(1 - cost))


def test_windows_never_show_another_segment() -> None:
    one, two = columns(bars=120, seed=1), columns(bars=120, seed=2)
    whole = from_arrays(
        {name: np.concatenate([one[name], two[name]]) for name in one}, SYMBOLS, interval_ns=HOUR
    )
    joined = EnvMarket(
        symbols=whole.symbols, interval_ns=HOUR, close_ns=whole.close_ns, bars=whole.bars,
        spec=whole.spec, segments=(Segment(start=0, stop=120), Segment(start=120, stop=240)),
    )  # fmt: skip
    more = {
        "episode": {"length": 10},
        "observation": {
            "window": 16, "features": ["log_return_1", "rsi_14"], "parts": ["window", "frames"],
            "frames": [4], "frame_window": 2,
        },
    }  # fmt: skip
    env = BatchEnv(joined, setting(agents=1, **more), 1)
    alone = BatchEnv(
        EnvMarket(
            symbols=whole.symbols, interval_ns=HOUR, close_ns=whole.close_ns[120:],
            bars=whole.bars[120:], spec=whole.spec, segments=(Segment(start=0, stop=120),),
        ),
        setting(agents=1, **more), 1,
    )  # fmt: skip
    begins = env._starts[env._starts >= 120]
    assert np.array_equal(begins - 120, alone._starts)
    assert begins.min() >= 120 + 14 + 15 and env._starts[env._starts < 120].max() <= 119 - 10
    for start in begins[[0, 5, -1]]:
        seen = env.reset(starts=np.array([start]))["agents"]
        other = alone.reset(starts=np.array([start - 120]))["agents"]
        assert np.array_equal(seen, other)


def test_liquidation_is_tested_inside_the_bar_and_booked_where_the_book_is() -> None:
    made = market(bars=120, symbols=1, depth=1000.0)
    bars = made.bars.copy()
    at = 60
    bars[at, 0, LOW] = np.rint(bars[at, 0, LOW] * 0.85)  # a wick: the close tells nothing of it
    wick = EnvMarket(
        symbols=made.symbols, interval_ns=HOUR, close_ns=made.close_ns, bars=bars, spec=made.spec,
        segments=made.segments,
    )  # fmt: skip
    env = BatchEnv(wick, setting(agents=1, action={"gross": 10.0}), 1)
    env.reset(0, starts=np.array([at - 3]))
    for _ in range(3):
        step = env.step(np.ones((1, 1, 1)))
    flow = env.dynamics.flow[0]
    assert flow[LIQUIDATED] == 1 and step.terminated["agents"][0, 0]
    assert env.dynamics.book[0, 0, LOTS] == 0
    assert env.equity[0, 0] == 0  # bankrupt at the mark of the wick; the fund pays what is missing
    assert flow[PNL] < -1e5 and flow[LIQUIDATION] < 0


def test_longer_bars_are_known_at_their_close_only() -> None:
    made = market(bars=200, symbols=1)
    env = BatchEnv(
        made,
        setting(
            agents=1, episode={"length": 30},
            observation={
                "features": ["log_return_1"], "parts": ["frames"], "frames": [4], "frame_window": 1,
                "scaling": "none",
            },
        ), 1,
    )  # fmt: skip
    closes = made.close()[:, 0]
    number = made.close_ns // HOUR
    for start in env._starts[:12]:
        seen = env.reset(starts=np.array([start]))["agents"][0, 0, 0]
        end = int(start) - int(number[start] % 4)  # the last multiple of four at or before it
        assert seen == pytest.approx(np.log(closes[end] / closes[end - 4]), rel=1e-5)


def test_features_are_those_of_the_stream_that_trades() -> None:
    from don.features.columns import rows
    from don.features.sets import FeatureEngine, FeatureSet

    made = market(bars=120, symbols=2)
    names = ("log_return_1", "rsi_14", "zscore_24")
    env = BatchEnv(
        made, setting(agents=1, observation={"features": names, "scaling": "none", "window": 1}), 1
    )
    engine = FeatureEngine(FeatureSet(names), 2)
    held = made.columns()
    for t in range(110):
        bars = np.stack([rows({k: v[t : t + 1, n] for k, v in held.items()})[0] for n in range(2)])
        live = engine.update(bars)
        if t in env._starts:
            seen = env.reset(starts=np.array([t]))["agents"][0, 0, :6].reshape(2, 3)
            assert np.array_equal(seen, live.astype(np.float32))


def test_equity_identity_from_positions_alone() -> None:
    env = BatchEnv(market(), setting(agents=1), 2)
    env.reset(3)
    rng = np.random.default_rng(3)
    for _ in range(30):
        env.step(act(env, rng))
        d = env.dynamics
        close = d.bars[env.bar_of][:, :, CLOSE] * d.spec[:, TICK] * d.spec[:, LOT]
        worth = (d.book[:, :, LOTS] * close - d.book[:, :, COST]).sum(axis=1)
        assert np.allclose(d.money[:, WALLET] + worth, d.money[:, EQUITY], rtol=1e-12)
    assert d.spec[0, TAKER] == 0.0005 and RATE == 6


def test_too_little_history_and_dead_features_are_named() -> None:
    with pytest.raises(DataError, match=r"too little history.*about 2\d bars"):
        BatchEnv(market(bars=20), setting(), 1)
    with pytest.raises(DataError, match=r"episode.length is 500"):
        BatchEnv(market(bars=100), setting(episode={"length": 500}), 1)
    with pytest.raises(DataError, match="features ofi have no value"):
        BatchEnv(market(), setting(observation={"features": ["log_return_1", "ofi"]}), 1)
    bad = columns()
    bad["close"][5, 1] = np.nan
    with pytest.raises(DataError, match=r"bar 5 of BBB.*close"):
        from_arrays(bad, SYMBOLS, interval_ns=HOUR)


@pytest.mark.parametrize("form", ["single", "shared", "own"])
def test_steps_of_several_bars_are_those_bars(form: str) -> None:
    more = {"action": {"kind": "multi_discrete", "gross": 9.0, "band": 0.05}}
    terms = {"terms": [{"name": "log_return"}, {"name": "differential_sharpe"}], "shared": False}
    made = market(bars=300, vol=0.06)  # wild: some are liquidated inside a step
    one = BatchEnv(made, setting(form, reward=terms, **more), 16)
    more["action"]["every"] = 4
    four = BatchEnv(made, setting(form, reward=terms, **more), 16)
    one.reset(seed=1)
    four.reset(seed=1)
    rng = np.random.default_rng(0)
    for _ in range(10):
        actions = act(four, rng)
        told = four.step(actions)
        flow, rewards = np.zeros_like(one.dynamics.flow), 0.0
        for _ in range(4):
            active = ~one.done
            if active.any():
                single = one.step(actions)
                rewards = rewards + single.rewards["agents"]
                flow += np.where(np.repeat(active, len(flow) // 16)[:, None], one.dynamics.flow, 0)
        assert (one.equity == four.equity).all() and (one.bar_of == four.bar_of).all()
        assert (rewards == told.rewards["agents"]).all()
        assert (single.terminated["agents"] == told.terminated["agents"]).all()
        assert (single.observations["agents"] == told.observations["agents"]).all()
        assert (one.done == four.done).all() and (told.done == four.done).all()
        rows = np.repeat(~four.done, len(flow) // 16)
        np.testing.assert_allclose(four.dynamics.flow[rows, PNL:], flow[rows, PNL:], atol=1e-9)
        if four.done.all():
            break
    assert (four.dynamics.flow[:, LIQUIDATED] > 0).any() or one.done.all()
    with pytest.raises(ValueError, match=r"multiple of action\.every, which is 7, was 40"):
        setting(action={"every": 7})
    with pytest.raises(ValueError, match="every must be 1 with tickets"):
        setting(action={"kind": "ticket", "every": 2})
