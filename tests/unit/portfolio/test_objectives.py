"""Each objective against a closed form or the same problem written in cvxpy."""

import warnings
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from support.asking import FULL, WIDE, N, asked, returns, solved

from don.model.messages import TargetStatus
from don.portfolio.config import Objective, PortfolioConfig
from don.portfolio.optimizer import PortfolioOptimizer
from don.portfolio.parity import hrp, risk_parity
from don.portfolio.tail import cdar_of, cvar_of

SIGMA = asked().Sigma
MU = asked().mu


def best(goal: Any, w: Any, *limits: Any) -> np.ndarray:
    """The reference: cvxpy with a tight tolerance."""
    problem = cp.Problem(cp.Minimize(goal), list(limits))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a solution may be inaccurate, at this tolerance
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    assert problem.status in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE)
    return np.asarray(w.value)


def close(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("short", [True, False])
def test_every_objective_answers_inside_its_limits(objective: Objective, short: bool) -> None:
    w_now = np.array([0.2, -0.1, 0.0, 0.3, 0.0, 0.05]) if short else np.full(N, 0.05)
    tradable = np.array([True, True, True, True, True, objective is Objective.MAX_SHARPE])
    if objective in (Objective.MAX_SHARPE, Objective.MAX_DIVERSIFICATION):
        tradable[:] = True  # no ratio is defined beside a position that cannot move
    config = {"objective": objective, "allow_short": short, "max_weight": 0.4, "max_turnover": 1.5}
    got = solved(config, w_now=w_now, tradable=tradable, scenarios=returns(), cost=np.full(N, 1e-4))
    assert got.status is TargetStatus.OPTIMAL, got.detail
    w = got.weights
    np.testing.assert_array_equal(w[~tradable], w_now[~tradable])
    assert np.abs(w).max() <= 0.4 + 1e-9 and np.abs(w).sum() <= 1 + 1e-9
    assert np.abs(w - w_now).sum() <= 1.5 + 1e-9
    if not short:
        assert w.min() >= -1e-9
    if PortfolioConfig(objective=objective).budget:
        assert w.sum() == pytest.approx(1.0, abs=1e-5)


def test_everything_at_once_is_what_cvxpy_says() -> None:
    """Mean-variance with costs, carry, impact, groups, margin, net and neutrality."""
    n, symbols = N, asked().symbols
    rng = np.random.default_rng(3)
    w_now, cost, carry = rng.normal(0, 0.1, n), np.full(n, 4e-4), rng.normal(0, 1e-5, n)
    impact, margin = np.full(n, 2e-3), rng.uniform(0.02, 0.2, n)
    config = {
        "max_turnover": 0.8,
        "max_weight": 0.35,
        "min_net": -0.1,
        "max_net": 0.2,
        "max_margin": 0.08,
        "neutral_to": (symbols[0],),
        "neutral_tolerance": 0.02,
        "groups": ({"name": "g", "symbols": symbols[2:5], "max_gross": 0.5, "max_net": 0.1},),
        "bounds": ({"symbol": symbols[1], "lower": -0.05, "upper": 0.3},),
    }
    mu = MU * 3
    got = solved(config, mu=mu, w_now=w_now, cost=cost, carry=carry, impact=impact, margin=margin)
    w = cp.Variable(n)
    z, H, gamma = w - w_now, 24.0, 6.0
    goal = (
        -H * (mu - carry) @ w
        + 0.5 * H * gamma * cp.quad_form(w, cp.psd_wrap(SIGMA))
        + cost @ cp.abs(z)
        + impact @ cp.power(cp.abs(z), 1.5)
    )
    beta = SIGMA[0] / SIGMA[0, 0]
    reference = best(
        goal, w,
        cp.norm1(z) <= 0.8, cp.abs(w) <= 0.35, cp.norm1(w) <= 1.0, cp.sum(w) >= -0.1,
        cp.sum(w) <= 0.2, margin @ cp.abs(w) <= 0.08, cp.abs(beta @ w) <= 0.02,
        cp.norm1(w[2:5]) <= 0.5, cp.sum(w[2:5]) <= 0.1, w[1] >= -0.05, w[1] <= 0.3,
    )  # fmt: skip
    assert got.status is TargetStatus.OPTIMAL and got.solver == "clarabel", got
    close(got.weights, reference)
    plain = solved(config, mu=mu, w_now=w_now, cost=cost, carry=carry, margin=margin)
    assert plain.solver == "piqp"


def test_a_price_lies_between_what_a_little_more_room_earns_and_less_room_costs() -> None:
    """The objective is concave in each limit; at a kink its slopes differ, elsewhere they meet."""
    config = {"max_turnover": 0.6, "max_weight": 0.3, "max_gross": 0.6}
    kwargs: dict[str, Any] = {"mu": MU * 4, "cost": np.full(N, 2e-4), "w_now": np.full(N, 0.02)}
    base = solved(config, **kwargs)
    assert {b.name for b in base.binding} >= {"max_turnover"}
    for binding in base.binding:
        if binding.name in config:
            assert binding.limit == pytest.approx(config[binding.name])
            more = solved({**config, binding.name: binding.limit + 1e-3}, **kwargs)
            less = solved({**config, binding.name: binding.limit - 1e-3}, **kwargs)
            earned = (more.objective - base.objective) / 1e-3
            lost = (base.objective - less.objective) / 1e-3
            assert earned * 0.99 - 1e-6 <= binding.price <= lost * 1.01 + 1e-6, binding


def test_least_variance_is_the_closed_form() -> None:
    """w = Sigma^-1 1 / (1'Sigma^-1 1) where no bound binds (Markowitz 1952)."""
    inverse = np.linalg.solve(SIGMA, np.ones(N))
    got = solved({**WIDE, "objective": "min_variance", "invested": 1.0})
    close(got.weights, inverse / inverse.sum())


def test_greatest_sharpe_is_the_closed_form() -> None:
    """The tangency portfolio, Sigma^-1 mu / (1'Sigma^-1 mu) (Tobin 1958)."""
    mix = np.array([0.5, -0.2, 0.4, 0.3, -0.1, 0.1])
    mu = 6.0 * SIGMA @ mix
    got = solved({**WIDE, "objective": "max_sharpe", "invested": 1.0}, mu=mu)
    close(got.weights, mix)
    assert got.objective == pytest.approx(np.sqrt(6.0 * mu @ mix), rel=1e-4)


def test_greatest_sharpe_without_a_budget_is_as_large_as_limits_allow() -> None:
    mix = np.linalg.solve(SIGMA, MU)
    got = solved({"objective": "max_sharpe", "max_weight": 0.3, "max_turnover": 3.0}).weights
    close(got / np.abs(got).sum(), mix / np.abs(mix).sum())
    assert max(np.abs(got).max() / 0.3, np.abs(got).sum()) == pytest.approx(1.0, abs=1e-4)


def test_no_positive_reward_is_said() -> None:
    got = solved({**FULL, "objective": "max_sharpe"}, mu=np.full(N, -1e-4))
    assert got.status is TargetStatus.FALLBACK and "no portfolio inside the limits" in got.detail


def test_greatest_diversification_of_independent_assets_is_inverse_volatility() -> None:
    sigma = np.linspace(0.01, 0.03, N)
    got = solved({**FULL, "objective": "max_diversification"}, Sigma=np.diag(sigma**2))
    close(got.weights, 1 / sigma / (1 / sigma).sum())


def test_risk_parity_shares_risk_as_budgeted() -> None:
    budgets = np.array([1.0, 2.0, 3.0, 1.0, 1.0, 0.5])
    w = risk_parity(SIGMA, budgets, 2.0)
    share = w * (SIGMA @ w)
    np.testing.assert_allclose(share / share.sum(), budgets / budgets.sum(), rtol=1e-8)
    assert w.sum() == pytest.approx(2.0) and (w > 0).all()


@pytest.mark.parametrize("n", [1, 2, 60])
def test_risk_parity_and_hrp_of_few_and_many(n: int) -> None:
    Sigma = asked(n).Sigma
    for w in (risk_parity(Sigma, np.ones(n), 1.0), hrp(Sigma, 1.0)):
        assert w.sum() == pytest.approx(1.0) and (w > 0).all()


def test_hrp_of_two_is_inverse_variance() -> None:
    Sigma = np.array([[4e-4, 1e-4], [1e-4, 1e-4]])
    close(hrp(Sigma, 1.0), np.array([0.2, 0.8]))


def test_parity_outside_the_limits_is_moved_inside_them() -> None:
    got = solved({"objective": "risk_parity", "max_weight": 0.18, "max_turnover": 2.0})
    assert got.status is TargetStatus.OPTIMAL and "moved inside the limits" in got.detail
    assert got.weights.max() == pytest.approx(0.18, abs=1e-6)
    assert any(b.name.startswith("max_weight:") for b in got.binding)


@pytest.mark.parametrize("measure", ["cvar", "cdar"])
def test_tail_risk_is_what_cvxpy_says(measure: str) -> None:
    R = returns(T=120)
    config = {**FULL, "objective": measure, "tail": 0.9, "tail_aversion": 0.4}
    got = solved(config, scenarios=R, cost=np.full(N, 1e-4))
    w, T, H = cp.Variable(N), len(R), 24.0
    losses = -R @ w
    weight = 0.4 * np.sqrt(H)
    if measure == "cdar":
        path = cp.hstack([0, cp.cumsum(R @ w)])
        losses, weight = (cp.cummax(path) - path)[1:], 0.4
    level = cp.Variable()
    tail = level + cp.sum(cp.pos(losses - level)) / (0.1 * T)
    goal = -H * MU @ w + weight * tail + 1e-4 * cp.norm1(w)
    reference = best(goal, w, w >= 0, cp.sum(w) <= 1.0)
    of = cvar_of if measure == "cvar" else cdar_of

    def value(v: np.ndarray) -> float:
        return float(H * MU @ v - weight * of(R @ v, 0.9) - 1e-4 * np.abs(v).sum())

    assert value(got.weights) == pytest.approx(value(reference), abs=1e-6)
    assert got.objective == pytest.approx(value(got.weights), abs=1e-6)


def test_tail_risk_without_scenarios_keeps_the_last_target() -> None:
    last = np.full(N, 0.1)
    got = solved({**FULL, "objective": "cvar"}, w_last=last)
    assert got.status is TargetStatus.FALLBACK and "needs scenarios" in got.detail
    close(got.weights, last)


def test_robust_is_what_cvxpy_says_and_holds_less_than_plain() -> None:
    error = np.full(N, 1.5e-4)
    got = solved({**WIDE, "objective": "robust", "uncertainty": 0.8}, mu_error=error)
    w = cp.Variable(N)
    goal = (
        -24 * MU @ w
        + 24 * 0.8 * cp.norm(cp.multiply(error, w))
        + 72 * cp.quad_form(w, cp.psd_wrap(SIGMA))
    )
    reference = best(goal, w)
    close(got.weights, reference)
    assert np.abs(got.weights).sum() < np.abs(solved(WIDE).weights).sum()


def test_views_without_doubt_are_believed_and_without_content_change_nothing() -> None:
    reference = np.full(N, 1 / N)
    view = np.eye(N)[:1]
    config = {**WIDE, "objective": "black_litterman", "tau": 0.05}
    balance = 6.0 * SIGMA @ reference
    same = {"views": view, "view_mu": balance[:1], "reference": reference}
    calm = solved(config, **same, view_error=np.array([10.0]))
    close(calm.weights, reference / 1.05)  # the balance, at its own uncertainty's larger risk
    sure = solved(config, **{**same, "view_mu": balance[:1] + 1e-3}, view_error=np.array([1e-9]))
    assert sure.weights[0] > calm.weights[0] + 0.1


def test_a_plan_of_one_period_is_mean_variance() -> None:
    kwargs: dict[str, Any] = {"cost": np.full(N, 5e-4), "w_now": np.full(N, 0.05)}
    plan = solved({"objective": "multi_period", "periods": 1}, **kwargs)
    close(plan.weights, solved({}, **kwargs).weights)


def test_a_plan_is_what_cvxpy_says() -> None:
    P, H, gamma = 3, 24.0, 6.0
    rng = np.random.default_rng(0)
    mu_path, cost_path = MU + rng.normal(0, 2e-4, (P, N)), rng.uniform(1e-4, 6e-4, (P, N))
    w_now = rng.normal(0, 0.1, N)
    got = solved(
        {"objective": "multi_period", "max_turnover": 0.5},
        w_now=w_now, mu_path=mu_path, cost_path=cost_path,
    )  # fmt: skip
    W = cp.Variable((P, N))
    goal, limits, before = 0, [], w_now
    for p in range(P):
        goal += -H / P * mu_path[p] @ W[p] + cost_path[p] @ cp.abs(W[p] - before)
        goal += H / P * gamma / 2 * cp.quad_form(W[p], cp.psd_wrap(SIGMA))
        limits += [cp.norm1(W[p] - before) <= 0.5, cp.abs(W[p]) <= 0.3, cp.norm1(W[p]) <= 1]
        before = W[p]
    close(got.weights, best(goal, W, *limits)[0])


@pytest.mark.parametrize("objective", list(Objective))
def test_same_request_same_bits_whatever_was_solved_before(objective: Objective) -> None:
    config = PortfolioConfig(objective=objective, allow_short=False, max_factors=4)
    request = asked(scenarios=returns(), cost=np.full(N, 1e-4))
    used = PortfolioOptimizer(config)
    for seed in range(3):
        other = asked(mu=np.random.default_rng(seed).normal(0, 1e-3, N), scenarios=returns(seed=9))
        used.solve(other)
    again, fresh = used.solve(request), PortfolioOptimizer(config).solve(request)
    assert again.weights.tobytes() == fresh.weights.tobytes()
    assert again.detail == fresh.detail and again.binding == fresh.binding
