"""Limits that contradict each other, cannot be, or leave few positions and whole lots."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.asking import FULL, N, asked, names, returns, solved

from don.errors import ConfigError
from don.model.messages import TargetStatus
from don.portfolio.config import PortfolioConfig
from don.portfolio.rounding import greedy, toward_zero

S = names()


@pytest.mark.parametrize(
    ("config", "changes", "named"),
    [
        ({**FULL, "invested": 1.0, "max_weight": 0.1}, {}, {"invested", "max_weight"}),
        ({**FULL, "invested": 0.8, "max_turnover": 0.5}, {}, {"invested", "max_turnover"}),
        (
            {"min_net": 0.4, "groups": ({"name": "all", "symbols": S, "max_net": 0.2},)},
            {},
            {"net", "group:all:net"},
        ),
        ({"min_net": 0.5, "max_margin": 0.01}, {}, {"net", "max_margin"}),
        (
            {"max_turnover": 0.1, "max_net": 0.0},
            {"w_now": np.full(N, 0.1)},
            {"net", "max_turnover"},
        ),
        (
            {"max_net": 0.0},
            {"w_now": np.array([0.9, 0, 0, 0, 0, 0]), "tradable": np.arange(N) > 0},
            {"net", "max_gross"},
        ),
    ],
)
def test_limits_that_contradict_each_other_are_named(
    config: dict[str, Any], changes: dict[str, Any], named: set[str]
) -> None:
    got = solved(config, **changes)
    assert got.status is TargetStatus.FALLBACK
    said = got.detail.removeprefix("limits contradict each other: ").split("; ")[0]
    assert set(said.split(", ")) == named, got.detail


def test_without_a_way_to_keep_all_limits_the_nearest_weights_are_taken() -> None:
    """Net must fall from 0.6 to 0; turnover allows a part of the way, and that is gone."""
    w_now = np.full(N, 0.1)
    got = solved({"max_turnover": 0.1, "max_net": 0.0}, w_now=w_now, w_last=w_now)
    assert got.weights.sum() == pytest.approx(0.5, abs=1e-5)
    assert np.abs(got.weights - w_now).sum() <= 0.1 + 1e-9


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_net": 0.5, "max_net": 0.2}, "min_net must be at most max_net"),
        ({"invested": 2.0}, "invested must be at most max_gross"),
        ({"objective": "best"}, "objective"),
        ({"bounds": ({"symbol": "A", "lower": 0.5, "upper": 0.6},)}, "bounds of A must meet"),
        (
            {
                "max_gross": 0.4,
                "bounds": tuple({"symbol": s, "lower": 0.2, "upper": 0.3} for s in "ABC"),
            },
            "bounds force a gross",
        ),
        ({"groups": ({"name": "g", "symbols": ("A",)},) * 2}, "groups must name each once"),
        ({"risk_budgets": ({"symbol": "A", "budget": 0},)}, "greater than 0"),
    ],
)
def test_limits_that_cannot_be_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PortfolioConfig(**fields)


def test_limits_on_symbols_that_are_not_there_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"portfolio.neutral_to names DOGE-USDT-PERP"):
        solved({"neutral_to": ("DOGE-USDT-PERP",)})
    with pytest.raises(ConfigError, match=r"portfolio.groups.memes names DOGE-USDT-PERP"):
        solved({"groups": ({"name": "memes", "symbols": ("DOGE-USDT-PERP", S[0])},)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"carry": np.full(N, np.nan)}, "carry is not finite"),
        ({"scenarios": np.full((30, N), np.inf)}, "scenarios is not finite"),
        ({"Sigma": np.full((N, N), np.nan)}, "Sigma is not finite"),
        ({"Sigma": np.zeros((N, N))}, "no variance"),
    ],
)
def test_numbers_that_are_none_end_in_a_fallback_that_says_so(
    changes: dict[str, Any], message: str
) -> None:
    last = np.full(N, 0.05)
    got = solved({}, w_last=last, **changes)
    assert got.status is TargetStatus.FALLBACK and message in got.detail
    np.testing.assert_allclose(got.weights, last)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"carry": np.zeros(2)}, r"inputs.carry must have shape \(6,\)"),
        ({"scenarios": np.zeros(N)}, "inputs.scenarios must have shape"),
        ({"views": np.zeros((1, 2))}, "inputs.views must have shape"),
    ],
)
def test_inputs_that_do_not_fit_are_errors(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solved({}, **changes)


def test_singular_covariance_is_solved() -> None:
    twin = returns()
    twin[:, 1] = twin[:, 0]
    got = solved({**FULL, "objective": "min_variance"}, Sigma=np.cov(twin.T))
    assert got.status is TargetStatus.OPTIMAL
    assert got.weights.sum() == pytest.approx(1.0, abs=1e-6)


def test_covariance_that_had_to_be_repaired_is_mentioned() -> None:
    Sigma = asked().Sigma.copy()
    Sigma[0, 1] = Sigma[1, 0] = 2 * np.sqrt(Sigma[0, 0] * Sigma[1, 1])
    assert "Sigma made positive semidefinite" in solved({}, Sigma=Sigma).detail


@pytest.mark.parametrize("most", [1, 3])
def test_at_most_so_many_positions(most: int) -> None:
    w_now = np.array([0.0, 0.1, 0.0, 0.0, 0.05, 0.0])
    got = solved({"max_positions": most, "max_turnover": 2.0}, w_now=w_now)
    assert got.status is TargetStatus.OPTIMAL
    assert (np.abs(got.weights) > 1e-6).sum() <= most and np.abs(got.weights).sum() > 0.1


def test_neutral_to_principal_factors() -> None:
    got = solved({"neutral_factors": 2, "max_turnover": 2.0})
    _, vectors = np.linalg.eigh(asked().Sigma)
    assert np.abs(vectors[:, -2:].T @ got.weights).max() < 1e-6
    assert np.abs(got.weights).sum() > 0.05


lots = st.lists(st.floats(0.001, 0.2), min_size=4, max_size=4).map(np.array)
weights = st.lists(st.floats(-1, 1), min_size=4, max_size=4).map(np.array)


@settings(deadline=None, max_examples=200)
@given(weights, weights, lots, lots, st.booleans())
def test_rounding_never_enlarges_a_position(
    w: np.ndarray, w_now: np.ndarray, lot: np.ndarray, least: np.ndarray, whole: bool
) -> None:
    tradable = np.array([True, True, True, False])
    if whole:
        w_now = np.round(w_now / lot) * lot
    made = toward_zero(w, w_now, lot, least, tradable)
    assert (np.abs(made[:3]) <= np.abs(w[:3]) + 1e-8 * lot[:3]).all()
    assert made[3] == w_now[3]
    steps = (made - np.where(made == w_now, w_now, 0.0)) / lot
    np.testing.assert_allclose(steps[:3], np.round(steps[:3]), atol=1e-6)


@settings(deadline=None, max_examples=100)
@given(weights, lots, st.integers(0, 20))
def test_greedy_rounding_comes_nearer_and_stays_inside(
    w: np.ndarray, lot: np.ndarray, seed: int
) -> None:
    Sigma = asked(4, Sigma=np.cov(returns(4, seed=seed).T)).Sigma
    zeros, all_of = np.zeros(4), np.ones(4, dtype=bool)
    gross = float(np.abs(w).sum())

    def excess(v: np.ndarray) -> float:
        return float(np.abs(v).sum()) - gross

    cut = toward_zero(w, zeros, lot, zeros, all_of)
    made = greedy(w, cut, zeros, lot, zeros, all_of, Sigma, excess)
    assert excess(made) <= 1e-9
    before, after = (float((v - w) @ Sigma @ (v - w)) for v in (cut, made))
    assert after <= before


def test_rounding_in_the_optimizer_gives_whole_lots_and_says_when_it_cannot() -> None:
    lot = np.full(N, 0.013)
    for method in ("toward_zero", "greedy"):
        w = solved({"rounding": method}, lot=lot, least=np.full(N, 0.005)).weights
        np.testing.assert_allclose(w / lot, np.round(w / lot), atol=1e-9)
        assert np.abs(w).sum() <= 1.0
    assert "no lot sizes" in solved({"rounding": "greedy"}).detail
