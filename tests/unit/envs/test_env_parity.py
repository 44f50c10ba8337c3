"""The compiled dynamics against the paper exchange with exact decimals, on the same events."""

from decimal import Decimal

import numpy as np
import pytest
from support.env_exchange import Twin
from support.envs import market

from don.envs import BatchEnv, EnvConfig, EnvMarket
from don.envs.dynamics import step_accounts
from don.envs.layout import (
    ABSENT,
    CLOSE,
    DENIED,
    EQUITY,
    GROSS,
    HIGH,
    KIND,
    LIQUIDATED,
    LOT,
    LOTS,
    LOW,
    OPEN,
    ORDER,
    PRICE,
    SIZE,
    STATE,
    TARGET,
    TICK,
    VOLUME,
)  # fmt: skip


def batch(made: EnvMarket, gross: float = 15.0, **more: object) -> BatchEnv:
    env = BatchEnv(
        made,
        EnvConfig.model_validate(
            {
                "action": {"gross": gross, "band": 0.0},
                "observation": {"features": ["log_return_1"], "parts": ["window", "account"]},
                "episode": {"random_start": False, "ruin": 0.0, "end_on_liquidation": False},
                **more,
            }
        ),
        1,
    )
    env.reset(0)
    return env


def run(env: BatchEnv, twin: Twin, orders: np.ndarray) -> None:
    """One step of both; positions equal, equity to 1e-9 of it."""
    t = env.bar_of.copy()
    d = env.dynamics
    real = orders.copy()
    for n in range(orders.shape[1]):
        if orders[0, n, KIND] == TARGET:  # what the planner would make of the weight
            total = np.abs(orders[0, :, SIZE]).sum()
            scale = min(1.0, d.rules[0, GROSS] / total) if total else 1.0
            worth = d.bars[t[0], n, CLOSE] * d.spec[n, TICK] * d.spec[n, LOT]
            lots = orders[0, n, SIZE] * scale * d.money[0, EQUITY] / worth
            real[0, n, SIZE] = np.trunc(lots + np.sign(lots) * 1e-9) - d.book[0, n, LOTS]
        if d.bars[t[0], n, STATE] == ABSENT:  # what has no bar of its own is not decided on
            real[0, n, SIZE] = 0
    scratch = np.zeros((6, orders.shape[1]))
    step_accounts(d, t, np.ones(1, bool), orders, np.zeros(1), scratch, False)
    twin.step(int(t[0]), real[0])
    env.bar_of += 1
    assert d.book[0, :, LOTS].tolist() == twin.lots
    assert abs(Decimal(float(d.money[0, EQUITY])) - twin.equity) <= Decimal("1e-6")
    assert bool(d.flow[0, LIQUIDATED]) == twin.dead
    twin.dead = False


def target(rng: np.random.Generator, n: int, gross: float) -> np.ndarray:
    out = np.zeros((1, n, ORDER))
    out[0, :, SIZE] = rng.uniform(-gross, gross, n) * (rng.uniform(size=n) < 0.7)
    return out


def ticket(rng: np.random.Generator, env: BatchEnv, n: int) -> np.ndarray:
    out = np.zeros((1, n, ORDER))
    close = env.market.bars[env.bar_of[0], :, CLOSE]
    out[0, :, SIZE] = np.rint(rng.uniform(-400_000, 400_000, n)) * (rng.uniform(size=n) < 0.8)
    out[0, :, KIND] = rng.integers(1, 4, n)
    away = rng.choice([-0.06, -0.002, 0.0, 0.001, 0.004], n)
    out[0, :, PRICE] = np.rint(close * (1 - np.sign(out[0, :, SIZE]) * away))
    return out


@pytest.mark.warm
@pytest.mark.parametrize("symbols", [1, 3])
@pytest.mark.parametrize("kind", ["target", "ticket"])
def test_environment_equals_the_exchange(symbols: int, kind: str) -> None:
    made = market(bars=160, symbols=symbols, seed=symbols)
    env, twin, rng = batch(made, 4.0), Twin(made), np.random.default_rng(3)
    denied = 0.0
    for _ in range(150):
        orders = target(rng, symbols, 3.0) if kind == "target" else ticket(rng, env, symbols)
        run(env, twin, orders)
        denied += env.dynamics.flow[0, DENIED]
    assert denied == twin.denied
    assert len(twin.exchange.trades(twin.names[0], limit=1000)) > 50


@pytest.mark.parametrize("symbols", [1, 3])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_liquidation_equals_the_exchange(symbols: int, seed: int) -> None:
    made = market(bars=160, symbols=symbols, seed=seed, vol=0.06, depth=100.0)
    env, twin, rng = batch(made), Twin(made), np.random.default_rng(seed)
    times = 0
    for _ in range(150):
        orders = target(rng, symbols, 15.0)
        run(env, twin, orders)
        times += int(env.dynamics.flow[0, LIQUIDATED])
        if env.dynamics.money[0, EQUITY] < 100:
            break
    assert times > 0


def test_absent_bars_and_thin_books_equal_the_exchange() -> None:
    made = market(bars=160, seed=9)
    bars = made.bars.copy()
    gone = np.random.default_rng(0).uniform(size=bars.shape[:2]) < 0.2
    gone[:10] = False
    for t, n in np.argwhere(gone):
        flat = bars[t - 1, n, CLOSE]
        bars[t, n, [OPEN, HIGH, LOW, CLOSE]] = flat
        bars[t, n, VOLUME], bars[t, n, STATE] = 0, ABSENT
        if not gone[min(t + 1, 159), n]:
            nxt = bars[min(t + 1, 159), n]
            nxt[HIGH], nxt[LOW] = max(nxt[HIGH], nxt[OPEN]), min(nxt[LOW], nxt[OPEN])
    thin = np.random.default_rng(1).uniform(size=bars.shape[:2]) < 0.3
    bars[thin & ~gone, VOLUME] = np.random.default_rng(2).integers(0, 90, (thin & ~gone).sum())
    holed = EnvMarket(
        symbols=made.symbols, interval_ns=made.interval_ns, close_ns=made.close_ns, bars=bars,
        spec=made.spec, segments=made.segments,
    )  # fmt: skip
    env, twin, rng = batch(holed, 4.0), Twin(holed), np.random.default_rng(3)
    for step in range(150):
        run(env, twin, ticket(rng, env, 3) if step % 2 else target(rng, 3, 3.0))


@pytest.mark.warm
def test_short_cut_equals_the_general_step_to_the_bit() -> None:
    made = market(bars=500, symbols=1, vol=0.02)
    rng = np.random.default_rng(0)
    one, other = (batch(made, 10.0).dynamics for _ in range(2))
    for t in range(60, 460):
        orders = target(rng, 1, 10.0)
        for d, general in ((one, False), (other, True)):
            step_accounts(
                d, np.array([t]), np.ones(1, bool), orders, np.zeros(1), np.zeros((6, 1)), general
            )
        for a, b in ((one.money, other.money), (one.book, other.book), (one.flow, other.flow)):
            assert np.array_equal(a, b)
        assert np.allclose(one.share, other.share, rtol=0, atol=1e-6)
        if one.money[0, EQUITY] < 100:
            one.money[0], other.money[0] = 1e5, 1e5
