"""Baselines: what they hold, what they pay, and that they do what they are said to do."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.envs import HOUR, SYMBOLS, columns, market
from support.evaluated import SETTINGS, SHORT

from don.envs import BatchEnv, EnvConfig, from_arrays
from don.envs.layout import CLOSE, EQUITY, LOT, LOTS, TAKER, TICK
from don.evaluation.baselines import (
    EQUAL,
    HOLD,
    MEAN_VARIANCE,
    MOMENTUM,
    NAMES,
    BaselineConfig,
    run_baselines,
    targets,
)
from don.evaluation.course import Course


def test_holding_is_holding() -> None:
    made = market(bars=300)
    env = EnvConfig.model_validate(SETTINGS)
    found = run_baselines(made, env, 60, SHORT)
    assert tuple(found) == NAMES
    hold, close = found[HOLD], made.close()
    assert hold.sums["turnover"] == pytest.approx(1e5, rel=0.01)  # bought once, that is all
    assert hold.sums["fills"] <= 6
    ideal = 1e5 * (close[61:] / close[60]).mean(axis=1)
    costs = 1e5 * (made.spec[0, TAKER] + 0.003)
    funding = np.abs(made.bars[60:, :, 6]).sum() / 3 * 2e5
    assert np.abs(hold.equity[1:] - ideal).max() < costs + funding
    assert found[EQUAL].sums["fills"] > 30
    assert all(abs(c.gross - 1.0) < 0.1 for name, c in found.items() if name in (HOLD, EQUAL))
    assert all(np.array_equal(c.ts, hold.ts) for c in found.values())
    assert made.bars[60, 0, CLOSE] > 0


def test_baselines_follow_their_definitions() -> None:
    rng = np.random.default_rng(0)
    r = rng.normal(0, [0.01, 0.02, 0.005], (200, 3)) + np.array([0.002, -0.002, 0])
    close = 100 * np.cumprod(1 + r, axis=0)
    at = np.array([100, 199])
    found = targets(close, at, HOUR, SHORT, short=True)
    assert np.allclose(found[EQUAL], 1 / 3)
    assert (np.sign(found[MOMENTUM][-1, :2]) == [1, -1]).all()
    past = np.diff(close, axis=0)[199 - 48 : 199] / close[199 - 48 : 199]
    from don.portfolio.estimators import ledoit_wolf_cov

    w = np.linalg.solve(ledoit_wolf_cov(past), past.mean(axis=0)) / 5.0
    assert np.allclose(found[MEAN_VARIANCE][-1], w / max(np.abs(w).sum(), 1.0))
    long_only = targets(close, at, HOUR, SHORT, short=False)
    assert all((w >= 0).all() for w in long_only.values())
    assert all((np.abs(w).sum(axis=1) <= 1 + 1e-12).all() for w in found.values())
    early = targets(close, np.array([3]), HOUR, SHORT, short=True)
    assert (early[MOMENTUM] == 0).all() and (early[MEAN_VARIANCE] == 0).all()


class Recorded(BatchEnv):
    """Notes what hold has after each bar."""

    def __init__(self, *told: Any, **more: Any) -> None:
        super().__init__(*told, **more)
        self.lots: list[np.ndarray] = []
        self.exposure: list[float] = []
        recorded.append(self)

    def step(self, *told: Any, **more: Any) -> Any:
        done = super().step(*told, **more)
        d, n, t = self.dynamics, NAMES.index(HOLD), int(self.bar_of.max())
        worth = d.bars[t, :, CLOSE] * d.spec[:, TICK] * d.spec[:, LOT]
        self.lots.append(d.book[n, :, LOTS].copy())
        self.exposure.append(float(self.lots[-1] @ worth / d.money[n, EQUITY]))
        return done


recorded: list[Recorded] = []


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Runs the baselines; the course of hold, lots [S, N] and exposures [S] that it had."""
    monkeypatch.setattr("don.evaluation.baselines.BatchEnv", Recorded)
    recorded.clear()

    def run(rate: float, base: BaselineConfig = SHORT, **env: Any) -> tuple[Course, Any, Any]:
        told = columns(bars=600, seed=3)
        told["rate"][:] = 0.0
        told["rate"][7::8] = rate
        for name in ("open", "high", "low", "close"):  # it falls by three quarters
            told[name] = told[name] * np.linspace(1.0, 0.25, 600)[:, None]
        made = from_arrays(told, SYMBOLS, interval_ns=HOUR)
        config = EnvConfig.model_validate({**SETTINGS, **env})
        course = run_baselines(made, config, 60, base)[HOLD]
        return course, np.array(recorded[-1].lots), np.array(recorded[-1].exposure)

    yield run
    recorded.clear()


def test_holding_pays_its_funding_out_of_what_it_holds(held: Any) -> None:
    paid, lots, exposure = held(0.01)  # two thirds of it in 67 payments
    assert paid.sums["funding"] > 0.3e5 and paid.liquidations == 0
    assert (np.diff(lots, axis=0) <= 0).all() and (lots[-1] < 0.6 * lots[0]).all()
    assert (lots[-1] > 0).all()
    # a payment of 1 % can come on top of the 1 % that it may owe, till the next bar
    assert exposure.max() < 1.022 and np.quantile(exposure, 0.8) < 1.0101
    parts = sum(paid.sums[k] for k in ("fees", "slippage", "funding"))
    assert paid.sums["turnover"] < 1e5 + parts + 0.02 * 1e5  # and sells no more than it owes
    small, lots, exposure = held(0.0001)
    assert (np.diff(lots, axis=0) <= 0).all() and exposure.max() < 1.0102
    got, lots, exposure = held(-0.01)
    assert got.sums["funding"] < -0.3e5 and got.sums["fills"] <= 6
    assert (lots == lots[0]).all() and exposure[-1] < 0.7  # what it is paid stays cash
    assert small.equity[-1] < got.equity[-1]


def test_holding_is_never_on_credit(held: Any) -> None:
    large = BaselineConfig(rebalance_hours=4, gross=3.0)
    _, lots, exposure = held(0.0, large, action={"kind": "long_short", "gross": 5.0})
    assert exposure[0] == pytest.approx(1.0, abs=0.01) and (lots == lots[0]).all()
    half, lots, exposure = held(0.001, action={"kind": "long_short", "gross": 0.5})
    assert exposure[0] == pytest.approx(0.5, abs=0.01) and half.sums["funding"] > 0
    assert (np.diff(lots, axis=0) <= 0).all() and exposure.max() < 0.52


def test_what_a_bar_does_not_fill_is_bought_in_the_next(held: Any) -> None:
    thin = {"fills": {"participation": 0.0001}}  # dearer than the default: it is kept
    for more in ({}, {"spot": True}):
        _, lots, exposure = held(0.0, costs={**thin, **more})
        assert exposure[0] < 0.5 and (np.diff(lots, axis=0) >= 0).all()
        ended = int(np.argmax((lots >= lots[-1]).all(axis=1)))
        assert 2 < ended < 400 and (lots[ended:] == lots[-1]).all()
        # the lots that were meant at the first decision: prices fell meanwhile
        whole = held(0.0, costs=more)[1][0]
        assert lots[-1] == pytest.approx(whole, rel=0.011)


def test_spot_baselines_owe_nothing(held: Any) -> None:
    hold, lots, exposure = held(0.01, costs={"spot": True})
    assert hold.sums["funding"] == 0 and hold.gross < 1.0001
    assert (lots == lots[0]).all() and (lots[0] > 0).all()  # one buy a symbol, nothing sold
    assert exposure.max() <= 1.0 and hold.sums["fills"] <= 6
