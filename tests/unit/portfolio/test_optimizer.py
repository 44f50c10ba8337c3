"""The optimizer against closed forms, its limits as laws, its falls back."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from don.model import codec
from don.model.messages import OptimizeRequest, TargetStatus
from don.portfolio import solvers as module
from don.portfolio.config import Objective, PortfolioConfig
from don.portfolio.limits import limits_for, pull_inside, violation
from don.portfolio.optimizer import PortfolioOptimizer, factorise, target_of

FREE = PortfolioConfig(max_gross=1e3, max_weight=1e3, max_turnover=1e3, risk_aversion=4.0)


def spread(n: int, seed: int = 0) -> np.ndarray:
    """A covariance of plausible size: a market factor and own noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(4 * n + 20, n)) * 0.006 + rng.normal(size=(4 * n + 20, 1)) * 0.006
    return np.asarray(X.T @ X / len(X))


def request(n: int = 3, **changes: object) -> OptimizeRequest:
    fields: dict = {
        "decision": 7,
        "ts_event": 0,
        "symbols": tuple(f"S{i}-USDT-PERP" for i in range(n)),
        "mu": np.zeros(n),
        "Sigma": spread(n),
        "w_now": np.zeros(n),
        "w_last": np.zeros(n),
        "cost": np.zeros(n),
        "tradable": np.ones(n, dtype=bool),
    }
    return OptimizeRequest(**{**fields, **changes})


@pytest.fixture(scope="module")
def free() -> PortfolioOptimizer:
    return PortfolioOptimizer(FREE)


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_without_costs_and_limits_it_is_the_closed_form(free: PortfolioOptimizer, n: int) -> None:
    """w = Sigma^-1 mu / gamma (Merton 1969; Markowitz 1952)."""
    mu = np.random.default_rng(n).normal(size=n) * 3e-4
    solution = free.solve(request(n, mu=mu))
    np.testing.assert_allclose(
        solution.weights, np.linalg.solve(spread(n), mu) / FREE.risk_aversion, rtol=1e-4, atol=1e-5
    )
    assert solution.status is TargetStatus.OPTIMAL


def test_two_assets_at_minimum_variance() -> None:
    """Fully invested at least risk: w1 = (s2^2 - s12) / (s1^2 + s2^2 - 2 s12).

    Where both expect the same, gross is what binds, and the rest of the problem is least variance.
    """
    Sigma = np.array([[4e-4, 1e-4], [1e-4, 2e-4]])
    config = PortfolioConfig(max_gross=1.0, max_weight=1.0, max_turnover=2.0)
    solution = PortfolioOptimizer(config).solve(request(2, mu=np.full(2, 0.1), Sigma=Sigma))
    w1 = (2e-4 - 1e-4) / (4e-4 + 2e-4 - 2e-4)
    np.testing.assert_allclose(solution.weights, [w1, 1 - w1], atol=1e-4)


def test_trades_stop_where_the_gain_stops_paying_the_cost(free: PortfolioOptimizer) -> None:
    """One asset: with gain H mu and cost c, w = (mu - c / H) / (gamma sigma^2), or no trade."""
    H, gamma, var = FREE.horizon_bars, FREE.risk_aversion, 1e-4
    Sigma = np.array([[var]])
    for mu, c in ((5e-4, 1e-3), (5e-5, 1e-3), (-5e-4, 1e-3)):
        expected = np.sign(mu) * max(abs(mu) - c / H, 0.0) / (gamma * var)
        got = free.solve(request(1, mu=np.array([mu]), Sigma=Sigma, cost=np.array([c])))
        assert got.weights[0] == pytest.approx(expected, abs=1e-4)


def test_desired_weights_are_followed_whatever_they_cost(free: PortfolioOptimizer) -> None:
    """A policy of a minute's bars wants what no optimizer would trade for one bar's variance."""
    desired = np.array([0.2, -0.1, 0.3])
    for w_now in (np.zeros(3), desired + 0.002, np.array([-0.5, 0.4, 0.0])):
        made = free.solve(
            request(desired=desired, w_now=w_now, cost=np.full(3, 1.0), Sigma=np.eye(3) * 1e-8)
        )
        np.testing.assert_array_equal(made.weights, desired)
        assert (made.status, made.detail) == (TargetStatus.OPTIMAL, "optimal")


def test_desired_weights_are_cut_by_limits_in_a_fixed_order() -> None:
    desired = np.array([0.8, -0.4, 0.0])
    Sigma = np.array([[4e-4, 1e-4, 3e-4], [1e-4, 2e-4, 0.0], [3e-4, 0.0, 4e-4]])
    cases: tuple[tuple[dict[str, float], list[float], str], ...] = (
        ({"max_weight": 0.5}, [0.5, -0.4, 0.0], "bounds"),
        ({"max_gross": 0.6}, [0.4, -0.2, 0.0], "max_gross"),
        ({"max_turnover": 0.6}, [0.4, -0.2, 0.0], "max_turnover"),
        ({"max_weight": 0.5, "max_gross": 0.45}, [0.25, -0.2, 0.0], "bounds, max_gross"),
    )
    wide = {"max_gross": 2.0, "max_weight": 1.0, "max_turnover": 4.0}
    for limits, expected, names in cases:
        solver = PortfolioOptimizer(PortfolioConfig(**{**wide, **limits}))
        made = solver.solve(request(desired=desired, Sigma=Sigma))
        np.testing.assert_allclose(made.weights, expected, atol=1e-9)
        assert made.detail.endswith(f"weights wanted were cut: {names}")


def test_desired_weights_that_break_a_row_are_moved_at_the_least_tracking_error() -> None:
    config = PortfolioConfig(max_gross=2.0, max_weight=1.0, max_turnover=4.0, max_net=0.0)
    Sigma = np.diag([1e-4, 1e-4])
    made = PortfolioOptimizer(config).solve(
        request(2, desired=np.array([0.5, -0.1]), Sigma=Sigma, cost=np.full(2, 1.0))
    )
    np.testing.assert_allclose(made.weights, [0.3, -0.3], atol=1e-5)
    assert "moved inside the limits" in made.detail


def test_objectives_without_views_do_not_ask_the_policy() -> None:
    config = PortfolioConfig(objective=Objective.HRP, max_gross=1.0, max_weight=1.0)
    solver = PortfolioOptimizer(config)
    asked = request(2, Sigma=np.diag([1e-4, 4e-4]))
    wanted = replace(asked, desired=np.array([0.1, 0.1]))
    np.testing.assert_array_equal(solver.solve(wanted).weights, solver.solve(asked).weights)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(solver.solve(wanted).weights, [0.1, 0.1], atol=1e-3)


numbers = st.floats(-2, 2, allow_nan=False)
vectors = st.tuples(*[numbers] * 4).map(np.array)
masks = st.tuples(*[st.booleans()] * 4).map(np.array)
TIGHT = PortfolioConfig(max_gross=1.0, max_weight=0.4, max_turnover=0.5)
LONG = PortfolioConfig(max_gross=1.0, max_weight=0.4, max_turnover=0.5, allow_short=False)
SOLVERS = {config: PortfolioOptimizer(config) for config in (TIGHT, LONG)}


ROWED = {
    config: PortfolioOptimizer(config.model_copy(update={"max_net": 1e9}))
    for config in (TIGHT, LONG)
}


@settings(max_examples=60, deadline=None)
@given(vectors, vectors, masks, st.sampled_from([TIGHT, LONG]))
def test_following_with_and_without_a_solver_agree(
    desired: np.ndarray, w_now: np.ndarray, tradable: np.ndarray, config: PortfolioConfig
) -> None:
    """A limit that cannot bind takes the other way to the same weights, inside all limits."""
    asked = request(4, desired=desired, w_now=w_now, tradable=tradable)
    plain, rowed = SOLVERS[config].solve(asked), ROWED[config].solve(asked)
    np.testing.assert_allclose(plain.weights, rowed.weights, atol=1e-6)
    limits = limits_for(config, w_now, tradable, asked.symbols)
    assert violation(plain.weights, w_now, limits) <= 1e-9


@settings(max_examples=120, deadline=None)
@given(vectors, vectors, masks, st.sampled_from([TIGHT, LONG]), st.integers(0, 5))
def test_limits_hold_for_any_request(
    mu: np.ndarray, w_now: np.ndarray, tradable: np.ndarray, config: PortfolioConfig, seed: int
) -> None:
    asked = request(
        4,
        mu=mu * 1e-3,
        w_now=w_now,
        w_last=mu,
        tradable=tradable,
        Sigma=spread(4, seed),
        cost=np.full(4, 5e-4),
    )
    solution = SOLVERS[config].solve(asked)
    limits = limits_for(config, w_now, tradable)
    assert violation(solution.weights, w_now, limits) <= 1e-9
    np.testing.assert_array_equal(solution.weights[~tradable], w_now[~tradable])
    assert solution.status is TargetStatus.OPTIMAL


@settings(max_examples=300, deadline=None)
@example(
    np.array([0.0, -1.0, 0.0, -1.0]),
    np.array([1.0, -1.0, 0.25, -0.046875]),
    np.array([True, True, False, True]),
    TIGHT,
)
@given(vectors, vectors, masks, st.sampled_from([TIGHT, LONG]))
def test_pulling_inside_always_ends_inside_and_leaves_members_alone(
    w: np.ndarray, w_now: np.ndarray, tradable: np.ndarray, config: PortfolioConfig
) -> None:
    limits = limits_for(config, w_now, tradable)
    inside = pull_inside(w, w_now, tradable, limits)
    assert violation(inside, w_now, limits) <= 1e-9
    np.testing.assert_allclose(pull_inside(inside, w_now, tradable, limits), inside, atol=1e-9)
    if config.max_gross >= np.abs(w_now[~tradable]).sum():
        assert np.abs(inside).sum() <= config.max_gross + 1e-9


def test_same_request_same_bits_whatever_was_solved_before() -> None:
    """The answer is a pure function of the request: no warm start, no memory."""
    first, other = request(5, mu=np.full(5, 2e-4)), request(5, mu=np.full(5, -3e-4))
    a, b = PortfolioOptimizer(TIGHT), PortfolioOptimizer(TIGHT)
    b.warm(5)
    b.solve(other)
    b.solve(request(3))
    again = codec.decode("OptimizeRequest", codec.encode(first))
    assert a.solve(first).weights.tobytes() == b.solve(again).weights.tobytes()


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"mu": np.array([np.nan, 0, 0])}, "mu is not finite"),
        ({"Sigma": np.full((3, 3), np.inf)}, "Sigma is not finite"),
        ({"cost": np.array([np.nan, 0, 0])}, "cost is not finite"),
        ({"Sigma": np.zeros((3, 3))}, "no variance"),
    ],
)
def test_without_an_answer_the_last_target_is_kept_inside_the_limits(
    broken: dict, why: str
) -> None:
    last = np.array([0.9, -0.3, 0.1])
    solution = PortfolioOptimizer(TIGHT).solve(request(w_last=last, **broken))
    assert solution.status is TargetStatus.FALLBACK and why in solution.detail
    limits = limits_for(TIGHT, np.zeros(3), np.ones(3, dtype=bool))
    assert violation(solution.weights, np.zeros(3), limits) <= 1e-9
    assert (np.sign(solution.weights) == np.sign(last)).all()


def test_solver_that_gives_up_is_a_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real solver, stopped after one iteration."""
    monkeypatch.setitem(module.PIQP_OPTIONS, "max_iter", 1)
    last = np.array([0.1, 0.1, 0.0])
    solution = PortfolioOptimizer(TIGHT).solve(request(mu=np.full(3, 1e-3), w_last=last))
    assert solution.status is TargetStatus.FALLBACK
    assert solution.weights == pytest.approx(last)


def test_covariance_that_is_not_positive_semidefinite_is_solved_on_its_positive_part() -> None:
    Sigma = spread(3)
    Sigma[0, 1] = Sigma[1, 0] = 1.5 * np.sqrt(Sigma[0, 0] * Sigma[1, 1])
    assert np.linalg.eigvalsh(Sigma).min() < 0
    solution = PortfolioOptimizer(TIGHT).solve(request(mu=np.full(3, 1e-4), Sigma=Sigma))
    assert solution.status is TargetStatus.OPTIMAL


def test_factors_keep_the_variances_and_are_exact_when_full() -> None:
    Sigma = spread(12)
    F, rest = factorise(Sigma, 12)
    np.testing.assert_allclose(F.T @ F, Sigma, rtol=1e-9, atol=1e-15)
    assert not rest.any()
    F, rest = factorise(Sigma, 3)
    np.testing.assert_allclose(np.diag(F.T @ F) + rest**2, np.diag(Sigma), rtol=1e-9)


def test_large_universe_uses_leading_factors_and_stays_near_the_exact_answer() -> None:
    n, mu = 40, np.random.default_rng(1).normal(size=40) * 3e-4
    exact = PortfolioOptimizer(PortfolioConfig(max_factors=40)).solve(request(n, mu=mu))
    reduced = PortfolioOptimizer(PortfolioConfig(max_factors=10)).solve(request(n, mu=mu))
    assert reduced.status is TargetStatus.OPTIMAL
    agree = np.corrcoef(exact.weights, reduced.weights)[0, 1]
    assert agree > 0.9


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"w_now": np.array([np.nan, 0, 0])}, "w_now must be finite"),
        ({"mu": np.zeros(2)}, r"mu must have shape \(3,\)"),
        ({"Sigma": np.zeros((2, 2))}, r"Sigma must have shape \(3, 3\)"),
        ({"desired": np.zeros(2)}, r"desired must have shape \(3,\)"),
    ],
)
def test_requests_that_make_no_sense_are_errors(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PortfolioOptimizer(TIGHT).solve(request(**wrong))


def test_target_carries_the_answer() -> None:
    asked = request(mu=np.full(3, 1e-4))
    solution = PortfolioOptimizer(TIGHT).solve(asked)
    target = target_of(asked, solution, session="s1", solve_ms=1.5, ts_recv=9)
    assert target.key == "target:s1:7" and target.decision == 7
    assert target.symbols == asked.symbols and target.status is TargetStatus.OPTIMAL
