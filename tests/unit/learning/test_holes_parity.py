"""A hole in the bars is the same for an environment, a backtest of bars and a desk in process."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.models import loud

from don.backtest import BacktestConfig, BacktestResult, run
from don.clock import iso
from don.engine import EngineConfig
from don.envs import BatchEnv, EnvConfig, EnvMarket, load_market
from don.envs.layout import CLOSE, COST, EQUITY, LOT, LOTS, TICK
from don.errors import DataError
from don.evaluation.agent import run_agent
from don.evaluation.baselines import BaselineConfig, run_baselines
from don.features.sets import FeatureSet
from don.learning.config import NetConfig
from don.learning.model import Model
from don.learning.policy import LearnedPolicy
from don.paper.events import BarClose
from don.paper.tape import open_tape
from don.paper.tape_data import make_instrument
from don.policies import BarSeen, ModelRef, PoliciesConfig

BARS, BEGIN, WINDOW, LENGTH = 152, 60, 4, 50
HOLES = (58, *range(80, 83), 101, 103, *range(120, 135))  # that no symbol has
LACKS = {"BTCUSDT": (), "ETHUSDT": (90, 91, 140)}  # that one lacks
FEATURES = ("log_return_1", "zscore_8")
SYMBOLS = ("BTC-USDT-PERP", "ETH-USDT-PERP")


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng, frames = np.random.default_rng(7), []
    for symbol, lacks in LACKS.items():
        close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.01, BARS))), 2)
        before = np.concatenate([close[:1], close[:-1]])
        frame = pd.DataFrame({
            "symbol": symbol,
            "timestamp": pd.date_range("2024-01-01", periods=BARS, freq="1h", tz="UTC"),
            "open": before, "high": np.round(np.maximum(before, close) * 1.002, 2),
            "low": np.round(np.minimum(before, close) * 0.998, 2), "close": close,
            "volume": np.round(rng.uniform(5e4, 5e5, BARS), 3),
        })  # fmt: skip
        frames.append(frame.drop(index=[*HOLES, *lacks]))
    path = tmp_path_factory.mktemp("holes") / "bars.parquet"
    pd.concat(frames).to_parquet(path)
    return path


def env_of(market: EnvMarket, parts: tuple[str, ...] = ("window",), **more: object) -> BatchEnv:
    seen = {"features": FEATURES, "parts": parts, "window": WINDOW, "scaling": "none"}
    told = {"action": {"kind": "long_short"}, "observation": seen, "form": "own"} | more
    return BatchEnv(market, EnvConfig.model_validate(told), 1)


def model_of(env: BatchEnv) -> Model:
    return loud(Model.untrained(env, NetConfig.model_validate({"hidden": [8], "memory": 4})), 3)


def acting(t: int) -> bool:
    """Whether a full window of bars that follow each other ends here."""
    return not set(range(t - WINDOW + 1, t + 1)) & set(HOLES)


def test_environment_backtest_and_desk_decide_the_same_over_holes(
    tape: Path, tmp_path: Path
) -> None:
    market = load_market(tape)
    env = env_of(market, episode={"random_start": False})
    model = model_of(env)
    model.save(tmp_path / "model")
    told, memory = env.reset(starts=np.array([BEGIN])), None
    wanted: dict[int, np.ndarray] = {}
    for t in range(BEGIN, BARS - 1):
        held, able = env.dynamics.book[0, :, LOTS].copy(), bool(env.acting[0])
        actions, after = model.act(told, memory)
        if able:
            memory = after
            wanted[int(market.close_ns[t])] = env._actions.weights(actions["agents"])[0, 0]
        told = env.step(actions).observations
        changed = env.dynamics.book[0, :, LOTS] != held
        assert able == acting(t) and not (changed & ~_present(market, t)).any()
        assert able or not changed.any()
    assert _changes(env) > 0 and 30 < len(wanted) < BARS - BEGIN - len(HOLES)

    details = ("bars", "exchange")  # the second is a whole desk, on the paper exchange's events
    bars, desk = (_backtest(tape, tmp_path / "model", model, detail) for detail in details)
    closes = {int(ts) for t, ts in enumerate(market.close_ns) if BEGIN <= t < BARS - 1}
    there = {int(market.close_ns[t]) for t in range(BEGIN, BARS - 1) if t not in HOLES}
    for result in (bars, desk):
        asked = {d.ts_event: d for d in result.decisions if d.snapshot and d.ts_event in closes}
        assert set(asked) == there  # a hole is no bar, and nothing is decided in it
        said = {ts: d.forecast for ts, d in asked.items() if ts in wanted}
        assert all(said[ts].tobytes() == wanted[ts].tobytes() for ts in wanted)
        for ts in there - set(wanted):
            assert asked[ts].status == "skipped" and "warming up" in asked[ts].reasons[0]
        for t in LACKS["ETHUSDT"]:  # what has no bar of its own is not traded
            assert "not tradable: ETH-USDT-PERP" in asked[int(market.close_ns[t])].reasons
        assert len(result.fills) > 20


def _present(market: EnvMarket, t: int) -> np.ndarray:
    return np.array([t not in HOLES and t not in lacks for lacks in LACKS.values()])


def _changes(env: BatchEnv) -> int:
    return int((env.dynamics.book[0, :, LOTS] != 0).sum())


def _backtest(tape: Path, folder: Path, model: Model, detail: str) -> BacktestResult:
    pinned = PoliciesConfig(models={f"model:{folder}": ModelRef(folder=str(folder), id=model.id)})
    start = pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta("1h") * BEGIN
    return run(
        BacktestConfig.model_validate({
            "tape": str(tape), "detail": detail, "policy": f"model:{folder}", "speed": None,
            "history_bars": BEGIN, "start": iso(start.value),
            "engine": EngineConfig(policies=pinned, covariance={"min_bars": 8}),
        })
    )  # fmt: skip


def test_a_desk_observes_behind_a_hole_what_the_environment_shows(tape: Path) -> None:
    """Account, time left and memory too, into the second episode."""
    market = load_market(tape)
    episode = {"random_start": False, "length": LENGTH}
    env = env_of(market, ("window", "account"), episode=episode)
    model = model_of(env)
    policy = LearnedPolicy(model)
    listed = [
        make_instrument(s.split("-")[0] + "USDT", *(_exact(market.spec[n, u]) for u in (TICK, LOT)))
        for n, s in enumerate(market.symbols)
    ]
    policy.begin(listed, market.interval_ns)
    values = _features(market)
    begin, seen = 75, 0
    for t in range(begin - WINDOW - 1, begin):
        policy.recall(market.close_ns[t : t + 1], {f: v[t : t + 1] for f, v in values.items()})
    told, memory = env.reset(starts=np.array([begin])), None
    while not env.done[0]:
        t, able = int(env.bar_of[0]), bool(env.acting[0])
        actions, after = model.act(told, memory)
        memory = after if able else memory
        if t not in HOLES:
            policy.watch(_bar(env, values, t))
        if able:
            assert policy.observed is not None
            assert policy.observed.tobytes() == np.ascontiguousarray(told["agents"]).tobytes()
            wanted = env._actions.weights(actions["agents"])[0, 0]
            assert policy._desired is not None and policy._desired.tobytes() == wanted.tobytes()
            seen += 1
        else:
            assert policy._desired is None or t in HOLES
        told = env.step(actions).observations
    assert seen == sum(acting(t) for t in range(begin, begin + LENGTH)) < LENGTH - 10


def _exact(value: float) -> Decimal:
    return Decimal(str(value))


def _features(market: EnvMarket) -> dict[str, np.ndarray]:
    own = np.flatnonzero(market.recorded)
    values = np.full((BARS, len(SYMBOLS), len(FEATURES)), np.nan)
    columns = {name: one[own] for name, one in market.columns().items()}
    values[own] = FeatureSet(FEATURES).batch(columns)
    return {name: values[:, :, f] for f, name in enumerate(FEATURES)}


def _bar(env: BatchEnv, values: dict[str, np.ndarray], t: int) -> BarSeen:
    market, book = env.market, env.dynamics.book[0]
    return BarSeen(
        ts_event=int(market.close_ns[t]),
        features={name: one[t] for name, one in values.items()},
        close=market.bars[t, :, CLOSE] * market.spec[:, TICK],
        volume=np.nan_to_num(market.columns()["volume"][t]),
        equity=float(env.dynamics.money[0, EQUITY]),
        sizes=book[:, LOTS] * market.spec[:, LOT],
        costs=book[:, COST],
    )


def test_what_an_evaluation_does_behind_a_hole_is_what_the_desk_does(tape: Path) -> None:
    market = load_market(tape)
    env = env_of(market, episode={"random_start": False})
    model = model_of(env)
    (course,) = run_agent(model, market, BEGIN, name="it")
    again, memory = env.reset(starts=np.array([BEGIN])), None
    curve = [float(env.equity.sum())]
    for _ in range(BEGIN, BARS - 1):
        actions, after = model.act(again, memory)
        memory = after if env.acting[0] else memory
        again = env.step(actions).observations
        curve.append(float(env.equity.sum()))
    assert np.allclose(course.equity / course.equity[0], np.array(curve) / curve[0], rtol=1e-9)


def test_rules_do_behind_a_hole_what_fell_due_in_it(tape: Path) -> None:
    market = load_market(tape)
    begin, behind = HOLES[2], HOLES[3] + 1  # due at the beginning, then at the end of a day
    courses = run_baselines(market, env_of(market).config, begin, BaselineConfig())
    for name in ("hold", "equal weight"):
        equity = courses[name].equity
        assert (equity[: behind - begin + 1] == equity[0]).all()
        assert (np.diff(equity[behind - begin :][:8]) != 0).all()


def test_holes_that_leave_no_window_full_are_refused(tape: Path) -> None:
    market = load_market(tape)
    short = market.part(int(market.close_ns[98]), int(market.close_ns[105]))
    with pytest.raises(DataError, match="a window of 3 bars is never full, bars that no symbol"):
        seen = {"features": ["hour_sin"], "window": 3, "scaling": "none"}
        BatchEnv(short, EnvConfig.model_validate({"observation": seen}), 1)


def test_the_paper_exchange_tells_no_bar_that_is_missing(tape: Path) -> None:
    opened = open_tape(tape, start_ns=int(pd.Timestamp("2024-01-01", tz="UTC").value))
    hour = 3_600 * 10**9
    told: dict[str, list[BarClose]] = {}
    for _, event in opened.events():
        if isinstance(event, BarClose):
            told.setdefault(event.symbol, []).append(event)
    for symbol, lacks in LACKS.items():
        own = [t for t in range(BARS) if t not in HOLES and t not in lacks]
        assert [bar.ts - opened.first_ns for bar in told[symbol]] == [(t + 1) * hour for t in own]
        assert opened.history(symbol, "1h", opened.end_ns, 150) == told[symbol][-150:]
        large = {bar.ts: bar for bar in opened.history(symbol, "4h", opened.end_ns, BARS)}
        parts = {ts: [b for b in told[symbol] if ts - 4 * hour < b.ts <= ts] for ts in large}
        assert len(large) == len({t // 4 for t in own}) and all(parts.values())
        for ts, bar in large.items():
            assert (bar.open, bar.close) == (parts[ts][0].open, parts[ts][-1].close)
            assert bar.high == max(b.high for b in parts[ts])
            assert bar.low == min(b.low for b in parts[ts])
            assert bar.volume == sum(b.volume for b in parts[ts])
