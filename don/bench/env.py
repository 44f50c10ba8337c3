"""Bench of the environments: steps per second, whole observations, indices alone, one by one.

Made-up hourly bars, because benches run where no recordings are. An agent-step is one agent's
decision carried out on one bar. Reads only a timer; the peers run in the same process, if they are
installed (extra `peers`).
"""

import importlib
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from don.envs import BatchEnv, EnvConfig, EnvMarket, from_arrays
from don.envs.gym_env import BatchVectorEnv, SingleEnv

_RUNS = 5
_HOUR = 3_600 * 10**9
_FEATURES = ("log_return_1", "return_12", "rsi_14", "atr_14")


def rows(full: bool) -> list[dict[str, Any]]:
    """`env.steps_index`, `env.steps_windows`, `env.gym_api` (Gymnasium's vector interface) and
    `env.gym_single` (its plain one): agent-steps per second of one core's own time.
    """
    market = made_up(20_000, 4)
    batch, steps = 512, 1_600 if full else 200  # of the copies that a training steps at once
    count = 20_000 if full else 4_000
    bare = _batch(market, batch, steps, 1, observe=False)
    windows = _batch(market, batch, steps, 16, observe=True)
    vector = _vector(market, 512, steps)
    single = _single(market, count)
    peers = {name: rate for name, run in _PEERS.items() if (rate := run(market, count)) is not None}
    fastest = max(peers, key=lambda name: peers[name], default=None)
    found = [
        _row("env.steps_index", bare, batch * 4 * steps, None, None),
        _row("env.steps_windows", windows, batch * 4 * steps, None, None),
        _row("env.gym_api", vector, 512 * steps, fastest, peers.get(fastest or "")),
        _row("env.gym_single", single, count, fastest, peers.get(fastest or "")),
    ]
    for name, rate in peers.items():
        if name != fastest:
            found.append(_row("env.gym_api", vector, 512 * steps, name, rate))
    return found


def _row(
    name: str, rates: list[float], n: int, peer: str | None, peer_value: float | None
) -> dict[str, Any]:
    value = statistics.median(rates)
    return {
        "area": "env",
        "name": name,
        "value": value,
        "unit": "agent-steps/s",
        "n": n,
        "min": min(rates),
        "max": max(rates),
        "peer": peer,
        "peer_value": peer_value,
        "ratio": value / peer_value if peer_value else None,
    }


def made_up(bars: int, symbols: int) -> EnvMarket:
    """A market of hourly bars."""
    rng = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.004, (bars, symbols)), axis=0))
    opened = np.vstack([close[:1], close[:-1]])
    rate = np.zeros((bars, symbols))
    rate[7::8] = 1e-4
    return from_arrays(
        {
            "open": opened,
            "high": np.maximum(opened, close) * 1.002,
            "low": np.minimum(opened, close) / 1.002,
            "close": close,
            "volume": rng.uniform(2e4, 4e4, (bars, symbols)),
            "rate": rate,
        },
        [f"S{n}-USDT-PERP" for n in range(symbols)],
        interval_ns=_HOUR,
    )


def _batch(market: EnvMarket, batch: int, steps: int, window: int, *, observe: bool) -> list[float]:
    config = EnvConfig.model_validate(
        {
            "form": "single",
            "action": {"band": 0.0},  # every change is an order: the most work a step can be
            "observation": {"features": _FEATURES, "window": window},
            "episode": {"length": steps, "ruin": 0.0},
        }
    )
    env = BatchEnv(market, config, batch)
    rng = np.random.default_rng(1)
    actions = [rng.uniform(-1, 1, (batch, 4, 1)) for _ in range(8)]
    rates = []
    for run in range(_RUNS + 1):
        env.reset(run)
        start = time.process_time()
        for i in range(steps):
            env.step(actions[i % 8], observe=observe)
        spent = time.process_time() - start
        if run:  # the first compiles
            rates.append(batch * 4 * steps / spent)
    return rates


def _one(market: EnvMarket, length: int) -> tuple[EnvMarket, EnvConfig]:
    config = EnvConfig.model_validate(
        {
            "form": "single",
            "action": {"kind": "discrete"},
            "observation": {"features": _FEATURES, "window": 8},
            "episode": {"length": length, "ruin": 0.0},
        }
    )
    one = EnvMarket(
        symbols=market.symbols[:1], interval_ns=market.interval_ns, close_ns=market.close_ns,
        bars=market.bars[:, :1], spec=market.spec[:1], segments=market.segments,
    )  # fmt: skip
    return one, config


def _vector(market: EnvMarket, count: int, steps: int) -> list[float]:
    env = BatchVectorEnv(*_one(market, steps), count)
    actions = np.random.default_rng(0).integers(0, 3, (8, count))
    rates = []
    for run in range(_RUNS + 1):
        env.reset(seed=run)
        start = time.process_time()
        for i in range(steps):
            env.step(actions[i % 8])
        if run:  # the first compiles
            rates.append(count * steps / (time.process_time() - start))
    return rates


def _single(market: EnvMarket, count: int) -> list[float]:
    long = min(count, len(market.close_ns) - 200)
    env = SingleEnv(*_one(market, long))
    return [_timed(env, long) for _ in range(_RUNS)]


def _timed(env: Any, count: int) -> float:
    choices = np.random.default_rng(0).integers(0, env.action_space.n, count).tolist()
    env.reset(seed=0)
    env.step(choices[0])
    env.reset(seed=0)
    start = time.process_time()
    for n, action in enumerate(choices):
        if any(env.step(action)[2:4]):
            count = n + 1
            break
    return count / (time.process_time() - start)


def _frame(market: EnvMarket, count: int) -> Any:
    pd = importlib.import_module("pandas")
    held = market.columns()
    names = ("open", "high", "low", "close", "volume")
    frame = pd.DataFrame({name: held[name][: count + 60, 0] for name in names})
    frame.index = pd.to_datetime(market.close_ns[: count + 60], utc=True).tz_localize(None)
    return frame


def _anytrading(market: EnvMarket, count: int) -> float | None:
    try:
        made = importlib.import_module("gym_anytrading.envs").StocksEnv
    except ImportError:
        return None
    frame = _frame(market, count).rename(columns=str.capitalize)
    env = made(df=frame, window_size=8, frame_bound=(8, count + 40))
    return statistics.median(_timed(env, count) for _ in range(_RUNS))


def _trading_env(market: EnvMarket, count: int) -> float | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = importlib.import_module("gym_trading_env.environments").TradingEnv
    except ImportError:
        return None
    frame = _frame(market, count)
    frame["feature_close"] = frame["close"].pct_change().fillna(0.0)
    frame["feature_volume"] = frame["volume"] / frame["volume"].max()
    env = made(
        df=frame, positions=[-1, 0, 1], windows=8, trading_fees=0.0005,
        borrow_interest_rate=0.0, verbose=0,
    )  # fmt: skip
    return statistics.median(_timed(env, count) for _ in range(2))


_PEERS: dict[str, Callable[[EnvMarket, int], float | None]] = {
    "gym-anytrading": _anytrading,
    "gym-trading-env": _trading_env,
}
