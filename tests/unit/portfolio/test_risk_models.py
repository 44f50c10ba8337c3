"""Covariance estimates: one row at a time equals the batch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from don.model import codec
from don.portfolio.risk_models import (
    CovarianceState,
    EwmaCovariance,
    ewma_cov,
    shrink_to_constant_correlation,
)


def prices(T: int, N: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(100 * np.exp(np.cumsum(rng.normal(size=(T, N)) * 0.01, axis=0)))


def fed(close: np.ndarray, half_life: float = 20.0) -> EwmaCovariance:
    model = EwmaCovariance([f"S{i}" for i in range(close.shape[1])], half_life)
    for t, row in enumerate(close):
        model.update(t, row)
    return model


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 200), st.integers(1, 6), st.floats(1, 500), st.integers(0, 99))
def test_incremental_equals_batch(T: int, N: int, half_life: float, seed: int) -> None:
    close = prices(T, N, seed)
    returns = close[1:] / close[:-1] - 1
    model = fed(close, half_life)
    np.testing.assert_allclose(model.Sigma(), ewma_cov(returns, half_life), rtol=1e-9, atol=1e-18)
    assert model.count == T - 1


def test_equal_weights_are_the_sample_second_moment() -> None:
    r = np.array([[0.01, 0.02], [0.03, -0.01]])
    np.testing.assert_allclose(ewma_cov(r, 1e12), r.T @ r / 2, rtol=1e-9)


def test_price_that_is_missing_shows_its_return_when_it_is_back() -> None:
    close = prices(30, 2)
    holed = close.copy()
    holed[20, 1] = np.nan
    model = fed(holed)
    filled = holed.copy()
    filled[20, 1] = filled[19, 1]
    np.testing.assert_array_equal(model.Sigma(), fed(filled).Sigma())


def test_rows_that_are_not_newer_are_passed_over() -> None:
    close = prices(30, 2)
    model = fed(close)
    before = model.Sigma()
    model.update(29, close[0])
    model.update(3, close[0])
    np.testing.assert_array_equal(model.Sigma(), before)


def test_saved_and_loaded_goes_on_bit_for_bit() -> None:
    close = prices(60, 3)
    whole, part = fed(close[:1]), fed(close[:1])
    for t in range(1, 60):
        whole.update(t, close[t])
        saved = codec.decode_as(CovarianceState, codec.encode(part.dump()))
        part = EwmaCovariance(part.symbols, part.half_life, saved)
        part.update(t, close[t])
    assert whole.Sigma().tobytes() == part.Sigma().tobytes()


def test_state_of_other_symbols_is_not_taken() -> None:
    saved = fed(prices(20, 2)).dump()
    assert EwmaCovariance(["A", "B"], 20.0, saved).count == 0
    assert EwmaCovariance(["S0", "S1"], 30.0, saved).count == 0


def test_updating_does_not_touch_what_was_given() -> None:
    close = prices(5, 2)
    close.setflags(write=False)
    fed(close)


@settings(deadline=None)
@given(st.integers(2, 6), st.floats(0, 1), st.integers(0, 20))
def test_shrinking_keeps_variances_and_positive_semidefiniteness(
    N: int, weight: float, seed: int
) -> None:
    Sigma = ewma_cov(np.random.default_rng(seed).normal(size=(N + 3, N)) * 0.01, 50.0)
    shrunk = shrink_to_constant_correlation(Sigma, weight)
    np.testing.assert_allclose(np.diag(shrunk), np.diag(Sigma), rtol=1e-12)
    np.testing.assert_array_equal(shrunk, shrunk.T)
    assert np.linalg.eigvalsh(shrunk).min() > -1e-12


def test_shrinking_a_name_without_variance_keeps_it_out() -> None:
    Sigma = np.diag([1e-4, 0.0, 2e-4])
    Sigma[0, 2] = Sigma[2, 0] = 5e-5
    shrunk = shrink_to_constant_correlation(Sigma, 0.5)
    assert np.isfinite(shrunk).all() and not shrunk[1].any()


@pytest.mark.parametrize(("T", "half_life"), [(0, 5.0), (3, 0.0)])
def test_impossible_arguments_are_errors(T: int, half_life: float) -> None:
    with pytest.raises(ValueError, match="need T >= 1 and half_life > 0"):
        ewma_cov(np.zeros((T, 2)), half_life)
