"""Figures of a backtest against plain definitions, and sums that must be exact."""

import math
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from don.backtest import BacktestConfig, BacktestResult, run
from don.backtest.bootstrap import NAMES, block_length, intervals, resampled, statistics
from don.backtest.charts import thin
from don.backtest.metrics import drawdowns, metrics, months, positions
from don.backtest.summary import benchmarks, equity_at_bars
from don.backtest.trips import attribution, round_trips
from don.model.order import Fill, Side
from don.performance import YEAR_NS, measure

HOUR_NS = 3_600 * 10**9


def made(path: Path, bars: int = 800) -> Path:
    rng = np.random.default_rng(11)
    frames = []
    for n, symbol in enumerate(("BTCUSDT", "ETHUSDT", "XRPUSDT")):
        close = np.round(100 * np.exp(np.cumsum(rng.normal(0.0003, 0.006, bars))), 2)
        before = np.concatenate([close[:1], close[:-1]])
        frame = pd.DataFrame(
            {
                "symbol": symbol,
                "timestamp": pd.date_range("2024-01-01", periods=bars, freq="1h", tz="UTC"),
                "open": before,
                "high": np.round(np.maximum(before, close) * 1.001, 2),
                "low": np.round(np.minimum(before, close) * 0.999, 2),
                "close": close,
                "volume": np.round(rng.uniform(500, 5000, bars), 3),
            }
        )
        frames.append(frame.iloc[300:].drop(index=[500]) if n == 2 else frame)
    pd.concat(frames).to_parquet(path)
    return path


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> BacktestResult:
    tape = made(tmp_path_factory.mktemp("tape") / "bars.parquet")
    engine = {"decide_every": 4, "planner": {"band": "0.001"}}
    return run(
        BacktestConfig.model_validate(
            {"tape": str(tape), "detail": "bars", "policy": "momentum", "history_bars": 240,
             "engine": engine}
        )
    )  # fmt: skip


def test_parts_sum_to_the_books(result: BacktestResult) -> None:
    parts, books = attribution(result), result.books
    assert result.fills and result.funding
    assert sum(part.pnl for part in parts) == books.pnl
    assert sum(part.realized for part in parts) == books.realized
    assert sum(part.fees for part in parts) == books.fees
    assert sum(part.funding for part in parts) == books.funding
    trips = round_trips(result)
    assert sum(trip.realized for trip in trips) == books.realized
    assert sum(trip.fees for trip in trips) == books.fees
    assert sum(trip.funding for trip in trips) == books.funding
    assert sum(trip.fills for trip in trips) >= len(result.fills)


def test_held_positions_are_those_of_the_fills(result: BacktestResult) -> None:
    held = positions(result)
    for n, symbol in enumerate(result.symbols):
        for bar in (0, 100, len(held) - 1):
            until = result.closes_ts[bar]
            exact = sum(
                (f.size * f.side.sign for f in result.fills
                 if f.symbol == symbol and f.ts_event <= until), start=Decimal(0)
            )  # fmt: skip
            assert_allclose(held[bar, n], float(exact), atol=1e-9)


def test_what_is_recorded_is_told(result: BacktestResult) -> None:
    late = {one.symbol: one for one in result.recorded}["XRP-USDT-PERP"]
    assert late.missing == 1
    assert late.bars == (late.last_ns - late.first_ns) // HOUR_NS - 1


def test_figures_are_those_of_pandas(result: BacktestResult) -> None:
    found = metrics(result, draws=20)
    curve = pd.Series(
        equity_at_bars(result), pd.to_datetime(result.closes_ts - 1, unit="ns", utc=True)
    )
    own, r = found.columns["momentum"], curve.pct_change().dropna()
    years = len(r) / (24 * 365)
    assert_allclose(own["annual_return"], (curve.iloc[-1] / curve.iloc[0]) ** (1 / years) - 1)
    assert_allclose(own["annual_volatility"], r.std() * math.sqrt(24 * 365))
    assert_allclose(own["sharpe"], r.mean() / r.std() * math.sqrt(24 * 365))
    downside = math.sqrt((r.clip(upper=0) ** 2).mean())
    assert_allclose(own["sortino"], r.mean() / downside * math.sqrt(24 * 365))
    depth = 1 - curve / curve.cummax()
    assert_allclose(found.drawdowns[0].depth, depth.max())
    assert found.drawdowns[0].trough_ns == depth.idxmax().value + 1
    assert found.drawdowns[0].peak_ns == curve[: depth.idxmax()].idxmax().value + 1
    ends = curve.resample("ME").last()
    by_month = ends / ends.shift().fillna(curve.iloc[0]) - 1
    flat = [v for row in found.months.values() for v in row if not np.isnan(v)]
    assert_allclose(flat, by_month.to_numpy())
    traded = sum(float(f.price * f.size) for f in result.fills)
    assert_allclose(found.turnover * (result.end_ns - result.start_ns) / YEAR_NS,
                    traded / curve.mean())  # fmt: skip
    assert found.trips.count == sum(t.closed_ns is not None for t in found.round_trips)


def test_a_flip_ends_one_trip_and_begins_another(result: BacktestResult) -> None:
    def fill(side: Side, size: str, price: str, n: int) -> Fill:
        return replace(
            result.fills[0], trade_id=str(n), symbol="BTC-USDT-PERP", side=side, size=Decimal(size),
            price=Decimal(price), fee=Decimal("0.3"), ts_event=n,
        )  # fmt: skip

    fills = (fill(Side.BUY, "1", "100", 1), fill(Side.SELL, "3", "110", 2),
             fill(Side.BUY, "2", "100", 3))  # fmt: skip
    trips = round_trips(replace(result, fills=fills, funding=()))
    assert [(t.side, t.size, t.realized) for t in trips] == [
        (Side.BUY, Decimal(1), Decimal(10)),
        (Side.SELL, Decimal(2), Decimal(20)),
    ]
    assert [t.fees for t in trips] == [Decimal("0.4"), Decimal("0.5")]
    assert (trips[1].entry, trips[1].exit) == (Decimal(110), Decimal(100))


def test_benchmarks_are_what_a_plain_loop_gives(result: BacktestResult) -> None:
    found, closes = benchmarks(result), result.closes
    known = np.isfinite(closes)
    r = np.zeros_like(closes)
    r[1:] = np.where(known[1:] & known[:-1], closes[1:] / closes[:-1] - 1, 0)
    w, worth, course = np.zeros(3), 1.0, []
    for t in range(len(closes)):
        gain = float(w @ r[t])
        worth *= 1 + gain
        drifted = w * (1 + r[t]) / (1 + gain)
        sigma = r[t - 95 : t + 1].std(axis=0) if t >= 95 else np.zeros(3)
        inverse = np.where(known[t] & (sigma > 1e-12), 1 / np.maximum(sigma, 1e-300), 0)
        w = inverse / inverse.sum() if inverse.sum() else known[t] / known[t].sum()
        worth *= 1 - 0.0006 * np.abs(w - drifted).sum()
        course.append(worth)
    assert_allclose(found["inverse_volatility"], course)


@given(st.integers(0, 2**31), st.integers(30, 300))
@settings(max_examples=25, deadline=None)
def test_resampled_figures_are_those_of_the_whole_curve(seed: int, n: int) -> None:
    """The bootstrap's own formulas, on the series as it is, are `measure`'s."""
    r = np.random.default_rng(seed).normal(0.0002, 0.01, n)
    curve = np.concatenate([[1.0], np.cumprod(1 + r)])
    known = measure(curve, HOUR_NS)
    own = dict(zip(NAMES, statistics(r, HOUR_NS), strict=True))
    for name, value in own.items():
        assert_allclose(value, getattr(known, name), rtol=1e-9, err_msg=name)


def test_intervals_cover_and_are_seeded() -> None:
    r = np.random.default_rng(3).normal(0.0005, 0.01, 2_000)
    one, block = intervals(r, HOUR_NS, draws=200, seed=4)
    assert one == intervals(r, HOUR_NS, draws=200, seed=4)[0]
    assert one != intervals(r, HOUR_NS, draws=200, seed=5)[0]
    assert block < 40
    known = dict(zip(NAMES, statistics(r, HOUR_NS), strict=True))
    for name in ("annual_volatility", "sharpe", "sortino"):
        assert one[name][0] < known[name] < one[name][1]
    # independent returns: the interval of a Sharpe ratio is known (Lo, 2002)
    per_bar = r.mean() / r.std(ddof=1)
    error = math.sqrt((1 + per_bar**2 / 2) / len(r)) * math.sqrt(YEAR_NS / HOUR_NS)
    assert_allclose(one["sharpe"][1] - one["sharpe"][0], 2 * 1.96 * error, rtol=0.25)


def test_dependent_returns_ask_for_longer_blocks() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=4_000)
    follows = np.zeros(4_000)
    for t in range(1, 4_000):
        follows[t] = 0.8 * follows[t - 1] + noise[t]
    assert block_length(noise) < 5 < block_length(follows)
    assert block_length(np.zeros(100)) == 1.0


def test_blocks_are_runs_of_the_mean_length() -> None:
    at = resampled(50_000, 20.0, np.random.default_rng(0))
    breaks = np.count_nonzero(np.diff(at) % 50_000 != 1) + 1
    assert 18 < 50_000 / breaks < 22
    assert at.min() >= 0 and at.max() < 50_000


def test_short_and_ruined_curves_say_nan() -> None:
    assert all(math.isnan(v) for v in statistics(np.array([-1.0, 0.1]), HOUR_NS))
    assert all(math.isnan(v) for pair in intervals(np.zeros(3), HOUR_NS)[0].values() for v in pair)
    assert (
        drawdowns(np.empty(0, np.int64), np.empty(0)) == ()
        and months(np.empty(0, np.int64), np.empty(0)) == {}
    )
    with pytest.raises(ValueError, match="level"):
        intervals(np.zeros(9), HOUR_NS, level=2.0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=500), st.integers(4, 60))
@settings(max_examples=50, deadline=None)
def test_thinning_keeps_extremes_and_ends(values: list[float], most: int) -> None:
    series = np.array(values)
    at = thin(series, most)
    assert at[0] == 0 and at[-1] == len(series) - 1 and (np.diff(at) > 0).all()
    assert series[at].min() == series.min() and series[at].max() == series.max()
    assert len(at) <= max(most + 4, 6)
