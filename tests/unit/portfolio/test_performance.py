"""Figures of equity curves against values worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from don.performance import YEAR_NS, max_drawdown, measure, resample, returns, sharpe, sortino

DAY = YEAR_NS // 365
curves = st.lists(st.floats(1.0, 1e6), min_size=2, max_size=50).map(np.array)


def test_a_known_curve() -> None:
    made = measure(np.array([100.0, 110.0, 99.0, 118.8]), DAY)
    r = np.array([0.1, -0.1, 0.2])
    assert made.intervals == 3
    assert made.total_return == pytest.approx(0.188)
    assert made.annual_return == pytest.approx(1.188 ** (365 / 3) - 1)
    assert made.annual_volatility == pytest.approx(r.std(ddof=1) * math.sqrt(365))
    assert made.sharpe == pytest.approx(r.mean() / r.std(ddof=1) * math.sqrt(365))
    assert made.sortino == pytest.approx(r.mean() / math.sqrt(0.01 / 3) * math.sqrt(365))
    assert made.max_drawdown == pytest.approx(0.1)
    assert made.calmar == pytest.approx(made.annual_return / 0.1)


@settings(deadline=None)
@given(curves)
def test_drawdown_is_the_worst_fall_between_any_two_points(equity: np.ndarray) -> None:
    n = len(equity)
    worst = max(1 - equity[j] / equity[i] for i in range(n) for j in range(i, n))
    assert max_drawdown(equity) == pytest.approx(worst)


@settings(deadline=None)
@given(curves, st.floats(0.1, 10))
def test_figures_do_not_depend_on_the_unit_of_money(equity: np.ndarray, unit: float) -> None:
    a, b = measure(equity, DAY), measure(equity * unit, DAY)
    assert a.total_return == pytest.approx(b.total_return, abs=1e-9)
    assert a.max_drawdown == pytest.approx(b.max_drawdown, abs=1e-9)


def test_sharpe_grows_with_the_root_of_the_steps_in_a_year() -> None:
    r = np.array([0.01, -0.005, 0.02])
    assert sharpe(r, DAY) == pytest.approx(2 * sharpe(r, 4 * DAY))


def test_too_little_says_nothing() -> None:
    made = measure(np.array([100.0]), DAY)
    assert made.intervals == 0 and math.isnan(made.total_return) and made.max_drawdown == 0.0
    flat = measure(np.full(5, 100.0), DAY)
    assert flat.total_return == 0.0 and math.isnan(flat.sharpe) and math.isnan(flat.calmar)
    assert math.isnan(sortino(np.array([0.1]), DAY))


def test_resampling_takes_the_last_value_known_at_each_step() -> None:
    ts = np.array([5, 10, 12, 19, 31])
    equity = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    np.testing.assert_array_equal(resample(ts, equity, 10), [2.0, 4.0, 4.0])
    assert len(resample(np.array([]), np.array([]), 10)) == 0
    with pytest.raises(ValueError, match="interval_ns must be positive"):
        resample(ts, equity, 0)


def test_equity_must_be_positive() -> None:
    for bad in ([100.0, 0.0], [100.0, math.nan]):
        with pytest.raises(ValueError, match="finite and positive"):
            returns(np.array(bad))
    with pytest.raises(ValueError, match="interval_ns must be positive"):
        measure(np.array([1.0, 2.0]), 0)
