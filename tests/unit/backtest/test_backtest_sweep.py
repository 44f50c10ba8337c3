"""Rules against plain definitions; sweeps: which jobs there are, and that none is run twice."""

import json
import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from don.backtest import sweep as plan
from don.backtest.panel import Market, open_market
from don.backtest.rules import RuleConfig, weights
from don.backtest.vector import prepare
from don.errors import ConfigError, UsageError
from don.model.section import parsed
from don.storage.database import Database
from don.storage.research import Research


def settings(folder: Path, **changes: Any) -> plan.SweepConfig:
    base = {
        "mode": "vector",
        "output": str(folder),
        "base": {"engine": {"decide_every": 12}},
        "grid": {"rule.lookback": [48, 96], "engine.planner.band": ["0.005", "0.02"]},
        "windows": {"start": "2019-03-01", "end": "2019-06-01", "length_days": 30},
    }
    return parsed(plan.SweepConfig, {**base, **changes}, "test")


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return open_market(plan.base_config(settings(tmp_path_factory.mktemp("none"))))


def test_trend_weights_are_the_formula() -> None:
    rng = np.random.default_rng(5)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (400, 3)), axis=0))
    close[:250, 2] = np.nan
    rule = RuleConfig(lookback=48, volatility_bars=100, gross=1.0, max_weight=0.45)
    at = np.array([200, 399])
    found = weights(rule, close, at)
    assert np.isnan(found[0, 2])
    for row, t, names in ((0, 200, [0, 1]), (1, 399, [0, 1, 2])):
        sigma = [np.diff(np.log(close[t - 100 : t + 1, n])).std() for n in names]
        inverse = np.array([1 / s for s in sigma])
        trend = [math.tanh(math.log(close[t, n] / close[t - 48, n]) / (s * math.sqrt(48)))
                 for n, s in zip(names, sigma, strict=True)]  # fmt: skip
        expected = np.clip(inverse / inverse.sum() * trend, -0.45, 0.45)
        assert_allclose(found[row, names], expected, rtol=1e-9)
    assert_allclose(
        weights(RuleConfig.model_validate({"kind": "equal", "max_weight": 1}), close, at)[1], 1 / 3
    )
    later = close.copy()
    later[300:] *= 2  # nothing may be known before it happened
    assert_allclose(weights(rule, later, at)[0], found[0])


def test_jobs_are_grid_times_windows(tmp_path: Path, market: Market) -> None:
    jobs = plan.jobs(settings(tmp_path), market)
    assert len(jobs) == 2 * 2 * 3 and len({job.key for job in jobs}) == len(jobs)
    assert {job.start[:10] for job in jobs} == {"2019-03-01", "2019-03-31", "2019-04-30"}
    assert [job.key for job in plan.jobs(settings(tmp_path), market)] == [j.key for j in jobs]
    other = plan.jobs(settings(tmp_path, base={"engine": {"decide_every": 6}}), market)
    assert not {job.key for job in other} & {job.key for job in jobs}


@pytest.mark.warm
def test_a_job_is_a_function_of_its_arguments_and_kept_whole(
    tmp_path: Path, market: Market
) -> None:
    sweep = settings(tmp_path)
    job = plan.jobs(sweep, market)[0]
    assert plan.stored(sweep, job) is None
    row = plan.run_job(job, market, prepare(market))
    assert row == plan.run_job(job, market, prepare(market)) and row["fills"] > 0
    plan.store(sweep, job, row)
    assert plan.stored(sweep, job) == row
    assert [path.suffix for path in plan.result_path(sweep, job).parent.iterdir()] == [".json"]
    plan.result_path(sweep, job).write_bytes(b"")  # as a power failure leaves it
    assert plan.stored(sweep, job) is None


def test_both_modes_say_the_same_figures(tmp_path: Path, market: Market) -> None:
    sweep = settings(tmp_path, mode="engine", grid={"policy": ["hold"]})
    rows = [plan.run_job(job, market, None) for job in plan.jobs(sweep, market)[:1]]
    vector = plan.jobs(settings(tmp_path, grid={"rule.kind": ["equal"]}), market)[:1]
    others = [plan.run_job(job, market, prepare(market)) for job in vector]
    assert {"sharpe", "annual_return", "max_drawdown", "pnl", "fees", "funding", "turnover"} <= (
        set(rows[0]) & set(others[0])
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"grid": {"engine.decide_evry": [1]}}, "decide_every"),
        ({"grid": {"policy": []}}, "at least one"),
        ({"grid": {"tape": ["x"]}}, "share the data"),
        ({"mode": "engine"}, "mode vector"),
        ({"windows": {"length_days": 4000}}, "length_days"),
        ({"grid": {"seed": [1, 1]}}, "twice"),
        ({"outptu": "x"}, "output"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, market: Market, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises((ConfigError, UsageError), match=says):
        plan.jobs(settings(tmp_path, **changes), market)


@pytest.mark.ray
@pytest.mark.postgres
def test_a_sweep_goes_on_where_it_stopped(
    tmp_path: Path, market: Market, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    import ray

    from experiments.cluster import local_cluster
    from experiments.sweep import run

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("DON_HOME", str(tmp_path))
    monkeypatch.setenv("DON_DATABASE_URL", database_url)
    sweep = settings(tmp_path / "sweep", grid={"rule.lookback": [48]}, at_once=1)
    jobs = plan.jobs(sweep, market)
    known = plan.run_job(jobs[0], market, prepare(market))
    plan.store(sweep, jobs[0], {**known, "sharpe": 123.0})  # as if it had been found before
    said: list[str] = []
    before = ray.is_initialized()  # other tests may have one that lives on
    own = signal.signal(signal.SIGTERM, lambda *_: said.append("stopped"))
    try:
        with local_cluster(tmp_path, cpus=1):  # Ray is imported already: it learns the token yet
            found = run(sweep, said.append)
            assert ray.is_initialized(), "a run within uses what is there and leaves it"
            signal.raise_signal(signal.SIGTERM)  # Ray would end the process
    finally:
        signal.signal(signal.SIGTERM, own)
    assert said.pop() == "stopped"
    assert ray.is_initialized() == before
    assert said[0] == "3 jobs, 1 done already, 2 to run"
    assert any(line.startswith("memory: data") for line in said)
    assert found["rows"][0]["sharpe"] == 123.0 and found["failed"] == {}
    assert found["rows"][1] == plan.run_job(jobs[1], market, prepare(market))
    again = run(sweep, said.append)
    assert again["rows"] == found["rows"] and said[-1] == "3 jobs, 3 done already, 0 to run"
    with Database(database_url) as db:
        (counted,) = Research(db).runs()
    assert (counted.kind, counted.trials, counted.status) == ("sweep", 1, "done")  # one lookback
    assert counted.metrics["jobs"] == 2 and "BTC-USDT-PERP" in counted.labels
    whole = found["whole"]  # 123 among others is of one window: the configuration has their mean
    assert (whole["configurations"], whole["windows"], whole["trials"]) == (1, 3, 1)
    assert whole["best_sharpe"] == counted.metrics["best_sharpe"] < 123.0
    assert again["whole"] == whole == json.loads((tmp_path / "sweep" / "whole.json").read_text())
