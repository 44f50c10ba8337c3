"""Covariance estimators and costs: laws, closed forms, bar by bar equal to the batch."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.asking import returns

from don.errors import ConfigError, DataError, UsageError
from don.portfolio.costs import (
    FeeTier,
    funding_carry,
    impact_coefficient,
    tier_of,
    turnover_cost,
)
from don.portfolio.estimators import (
    denoised_cov,
    factor_cov,
    ledoit_wolf,
    ledoit_wolf_cov,
    oas,
    oas_cov,
    sample_cov,
)
from don.portfolio.offline import skfolio_cov
from don.portfolio.risk_models import (
    CovarianceConfig,
    EwmaCovariance,
    RiskModelKind,
    half_life_of,
)


def online(R: np.ndarray, config: CovarianceConfig) -> EwmaCovariance:
    model = EwmaCovariance([f"S{i}" for i in range(R.shape[1])], half_life_of(config))
    close = np.cumprod(1 + np.vstack([np.zeros(R.shape[1]), R]), axis=0)
    for t, row in enumerate(close):
        model.update(t, row)
    return model


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 8), st.integers(10, 80), st.integers(0, 9), st.sampled_from(RiskModelKind))
def test_every_model_is_positive_semidefinite_and_sees_the_same_bar_by_bar(
    n: int, T: int, seed: int, kind: RiskModelKind
) -> None:
    R = returns(n, T, seed)
    config = CovarianceConfig(model=kind, half_life=30.0, factors=1)
    model = online(R, config)
    Sigma = model.estimate(config)
    np.testing.assert_array_equal(Sigma, Sigma.T)
    assert np.linalg.eigvalsh(Sigma).min() > -1e-15
    decay = 0.5 ** (np.arange(T - 1, -1, -1) / half_life_of(config))
    p = decay / decay.sum()
    S = (R.T * p) @ R
    fourth, count = float(p @ (R * R).sum(axis=1) ** 2), float(1 / (p * p).sum())
    assert model.effective == pytest.approx(count, rel=1e-9)
    batch = {
        RiskModelKind.LEDOIT_WOLF: lambda: ledoit_wolf(S, fourth, count),
        RiskModelKind.OAS: lambda: oas(S, count),
        RiskModelKind.FACTOR: lambda: factor_cov(S, 1),
        RiskModelKind.DENOISED: lambda: denoised_cov(S, count),
    }.get(kind)
    if batch is not None:
        np.testing.assert_allclose(Sigma, batch(), rtol=1e-6, atol=1e-14)


def test_shrinkage_lessens_the_error_when_there_is_little_data() -> None:
    rng = np.random.default_rng(0)
    n, T = 30, 40
    truth = np.diag(np.linspace(5e-5, 2e-4, n))
    root = np.linalg.cholesky(truth)
    error = {"sample": 0.0, "lw": 0.0, "oas": 0.0}
    for _ in range(10):
        R = rng.normal(size=(T, n)) @ root.T
        for name, f in (("sample", sample_cov), ("lw", ledoit_wolf_cov), ("oas", oas_cov)):
            error[name] += float(np.linalg.norm(f(R) - truth))
    assert error["lw"] < 0.7 * error["sample"] and error["oas"] < 0.7 * error["sample"]


def test_denoising_keeps_planted_factors_and_levels_the_rest() -> None:
    rng = np.random.default_rng(1)
    n, T = 40, 400
    loadings = rng.choice([-1.0, 1.0], (2, n))
    R = rng.normal(size=(T, 2)) @ loadings + rng.normal(size=(T, n))
    S = sample_cov(R)
    made = denoised_cov(S, T)
    np.testing.assert_allclose(np.diag(made), np.diag(S), rtol=1e-9)
    sigma = np.sqrt(np.diag(S))
    before, after = (np.linalg.eigvalsh(m / np.outer(sigma, sigma)) for m in (S, made))
    np.testing.assert_allclose(after[-2:], before[-2:], rtol=0.1)
    assert np.std(after[:-2]) < 0.7 * np.std(before[:-2])
    assert after.min() > 1.5 * before.min()


def test_denoising_leaves_symbols_without_variance_out() -> None:
    S = np.diag([1e-4, 0.0, 2e-4])
    assert not denoised_cov(S, 100)[1].any()


def test_a_factor_model_keeps_variances_and_all_factors_keep_everything() -> None:
    S = sample_cov(returns())
    np.testing.assert_allclose(np.diag(factor_cov(S, 2)), np.diag(S), rtol=1e-9)
    np.testing.assert_array_equal(factor_cov(S, 6), S)


def test_impossible_returns_are_errors() -> None:
    with pytest.raises(DataError, match="T >= 2"):
        sample_cov(np.zeros((1, 3)))
    bad = np.zeros((5, 3))
    bad[2, 1] = np.nan
    with pytest.raises(DataError, match="row 2, column 1"):
        ledoit_wolf_cov(bad)
    with pytest.raises(UsageError, match="estimator must be one of"):
        skfolio_cov(np.zeros((5, 3)), "Best")


def test_a_state_saved_before_the_newer_sums_still_estimates() -> None:
    config = CovarianceConfig(model=RiskModelKind.OAS, half_life=30.0)
    model = online(returns(), config)
    model._squares = model._fourth = 0.0  # what such a state decodes to
    assert model.effective == pytest.approx(2 / np.log(2) * 30, rel=0.01)
    assert np.linalg.eigvalsh(model.estimate(config)).min() > 0


def test_fees_by_tier_and_by_who_makes() -> None:
    tiers = [
        FeeTier(volume=Decimal(0), maker=Decimal("0.0002"), taker=Decimal("0.0005")),
        FeeTier(volume=Decimal(1000), maker=Decimal("0.0001"), taker=Decimal("0.0004")),
    ]
    assert tier_of(tiers, Decimal(999)) is tiers[0] and tier_of(tiers, Decimal(1000)) is tiers[1]
    with pytest.raises(ConfigError, match="begin at volume 0"):
        tier_of(tiers[1:], Decimal(5))
    maker, taker, half = np.array([2e-4, -1e-3]), np.array([5e-4, 5e-4]), np.array([1e-4, 1e-4])
    np.testing.assert_allclose(turnover_cost(maker, taker, half, 0.0), [6e-4, 6e-4])
    np.testing.assert_allclose(turnover_cost(maker, taker, half, 0.5), [4e-4, 0.0])
    with pytest.raises(ValueError, match="maker_share"):
        turnover_cost(maker, taker, half, 1.5)


def test_impact_is_volatility_times_the_root_of_the_share_of_volume() -> None:
    c = impact_coefficient(np.array([0.02, 0.02]), np.array([1e8, 0.0]), 1e6)
    cost = c[0] * 0.5**1.5  # of equity, for trading half of it
    assert cost * 1e6 == pytest.approx(5e5 * 0.02 * np.sqrt(5e5 / 1e8))
    assert c[1] == pytest.approx(0.02)
    with pytest.raises(ValueError, match="equity"):
        impact_coefficient(np.ones(1), np.ones(1), 0.0)


def test_funding_is_carry_by_the_bar() -> None:
    got = funding_carry(np.array([8e-4, np.nan]), np.full(2, 8 * 3600.0), 3600.0)
    np.testing.assert_allclose(got, [1e-4, 0.0])
