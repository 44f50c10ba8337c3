"""Baseline policies: direction, scale, what they cannot judge, what they need."""

import numpy as np
import pytest

from don.errors import ConfigError
from don.features.sets import FeatureSet
from don.policies import (
    POLICIES,
    MomentumConfig,
    PoliciesConfig,
    PolicyInput,
    check_features,
    make_policy,
)

SIGMA = np.array([0.01, 0.02, 0.005])


def seen(**features: list[float]) -> PolicyInput:
    return PolicyInput(
        symbols=("A-USDT-PERP", "B-USDT-PERP", "C-USDT-PERP"),
        features={name: np.array(values) for name, values in features.items()},
        Sigma=np.outer(SIGMA, SIGMA) * (0.5 + 0.5 * np.eye(3)),
        tradable=np.ones(3, dtype=bool),
    )


def momentum(short: list[float], long: list[float]):
    policy = make_policy("momentum", PoliciesConfig())
    return policy.forecast(seen(return_48=short, return_192=long))


def test_momentum_expects_the_trend_to_go_on_in_units_of_risk() -> None:
    same = (SIGMA * np.sqrt(48)).tolist(), (SIGMA * np.sqrt(192)).tolist()
    mu = momentum(*same).mu
    information = PoliciesConfig().momentum.information
    np.testing.assert_allclose(mu, information * SIGMA * np.tanh(1.0))
    np.testing.assert_allclose(momentum(*(np.negative(x).tolist() for x in same)).mu, -mu)


def test_momentum_is_bounded_by_its_information() -> None:
    mu = momentum([9.0, -9.0, 0.0], [9.0, -9.0, 0.0]).mu
    information = PoliciesConfig().momentum.information
    np.testing.assert_allclose(mu, information * SIGMA * np.array([1.0, -1.0, 0.0]))


def test_momentum_says_nothing_about_what_is_warming_up() -> None:
    said = momentum([0.1, np.nan, 0.1], [0.1, 0.1, np.nan])
    np.testing.assert_array_equal(said.usable, [True, False, False])
    np.testing.assert_array_equal(said.mu[1:], 0.0)


def test_mean_reversion_leans_against_distance_beyond_the_entry() -> None:
    policy = make_policy("mean_reversion", PoliciesConfig())
    said = policy.forecast(seen(zscore_24=[2.0, -0.5, -9.0]))
    information = PoliciesConfig().mean_reversion.information
    np.testing.assert_allclose(said.mu, information * SIGMA * np.array([-0.5, 0.0, 1.0]))
    said = policy.forecast(seen(zscore_24=[np.nan, 0.0, 0.0]))
    np.testing.assert_array_equal(said.usable, [False, True, True])


def test_inverse_volatility_gives_equal_risk_weights_that_sum_to_gross() -> None:
    said = make_policy("inverse_volatility", PoliciesConfig()).forecast(seen())
    assert said.desired is not None and said.desired.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(said.desired * SIGMA, (said.desired * SIGMA)[0])


def test_hold_is_equal_weights() -> None:
    said = make_policy("hold", PoliciesConfig()).forecast(seen())
    np.testing.assert_allclose(said.desired, 1 / 3)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_features_that_policies_need_exist(name: str) -> None:
    """Every needed name is one that the feature registry can make."""
    policy = make_policy(name, PoliciesConfig())
    assert policy.name == name
    if policy.features:
        check_features(policy, FeatureSet(policy.features).names)


def test_wrong_policies_and_sets_are_clear_errors() -> None:
    with pytest.raises(ConfigError, match=r"policy must be one of hold, .* was 'nope'"):
        make_policy("nope", PoliciesConfig())
    with pytest.raises(ConfigError, match="needs the features return_192; the feature set has"):
        check_features(make_policy("momentum", PoliciesConfig()), ["return_48"])
    uneven = PoliciesConfig(momentum=MomentumConfig(lookbacks=(48,)))
    with pytest.raises(ConfigError, match="lookbacks must have one entry per feature"):
        make_policy("momentum", uneven)
    zero = PoliciesConfig(momentum=MomentumConfig(features=("return_48",), lookbacks=(0,)))
    with pytest.raises(ConfigError, match="lookbacks must be at least 1"):
        make_policy("momentum", zero)
