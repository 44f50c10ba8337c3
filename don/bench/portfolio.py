"""Bench of portfolio choice beside PyPortfolioOpt, skfolio and the bare solver. Reads only a timer.

One problem for all: mean-variance with a cost per unit of turnover, a turnover limit, a leverage
limit and bounds, long and short, free to hold cash. Every solve sees new means and positions, at 50
assets a new covariance too, as a desk does at every bar. At 200 assets the covariance is a factor
model that stays until it is estimated again, so Don re-solves with factors it has; the peers get
the whole matrix, which is what they take. All answers must reach the same objective. Riskfolio-Lib
cannot state this problem (its turnover limit is per asset, its weights sum to a budget). CPU time.
"""

import importlib
import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import piqp
from scipy import sparse

from don.model.messages import OptimizeRequest, TargetStatus
from don.portfolio.config import PortfolioConfig
from don.portfolio.limits import limits_for, violation
from don.portfolio.linalg import factorise
from don.portfolio.optimizer import PortfolioOptimizer

FACTORS = 10
SAMPLES = 8
SAME = 2e-3  # of the objective: what an answer may fall short by
Solve = Callable[[OptimizeRequest], np.ndarray]


def rows(full: bool) -> list[dict[str, Any]]:
    """`portfolio.mv_turnover_50_ms`, `portfolio.mv_turnover_200_ms`, `portfolio.bare_ratio_50`.

    The peer of the first two is the fastest of those installed; that of the last is PIQP alone,
    given matrices that are already built, in the faster of two ways to write the problem.
    """
    made = []
    for n, exact in ((50, True), (200, False)):
        config = PortfolioConfig(
            max_weight=0.1, max_turnover=0.5, max_factors=n if exact else FACTORS
        )
        requests = list(_requests(n, same=not exact))
        optimizer = PortfolioOptimizer(config)
        optimizer.warm(n)
        repeats = 25 if full else 10
        solvers = {"don": _ours(optimizer)}
        if exact:
            solvers["bare"] = _bare(_absolute, config, requests)
            solvers["bare, split"] = _bare(_split, config, requests)
        quick, answers = _measure(solvers, requests, repeats)
        peers = dict(_peers(config))
        slow, others = _measure(peers, requests, max(repeats // 5, 1))
        for name, theirs in [*answers.items(), *others.items()]:
            _check(config, requests, answers["don"], theirs, name)
        times = quick.pop("don")
        best = min(slow.items(), key=lambda item: statistics.median(item[1]))
        made.append(_row(f"portfolio.mv_turnover_{n}_ms", f"ms at {n} assets", times, best))
        if exact:
            bare = min(statistics.median(spent) for spent in quick.values())
            peer = (f"PIQP {piqp.__version__} alone", [1.0])
            ratios = [t / bare for t in times]
            made.append(_row("portfolio.bare_ratio_50", "times the bare solver", ratios, peer))
    return made


def _row(name: str, unit: str, ours: list[float], peer: tuple[str, list[float]]) -> dict[str, Any]:
    value, other = statistics.median(ours), statistics.median(peer[1])
    return {
        "area": "portfolio",
        "name": name,
        "value": value,
        "unit": unit,
        "n": len(ours),
        "min": min(ours),
        "max": max(ours),
        "peer": peer[0],
        "peer_value": other,
        "ratio": other / value,
    }


def _requests(n: int, same: bool) -> list[OptimizeRequest]:
    """Bootstrap samples of one factor model's history; `same`: one covariance for all."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(0, 0.01, (5, n))
    X = rng.normal(3e-4, 2e-4, n) + rng.normal(size=(1000, 5)) @ loadings
    X = X + rng.normal(0, 0.012, (1000, n))
    whole = np.cov(X.T)
    F, rest = factorise(whole, min(FACTORS, n))
    shared = F.T @ F + np.diag(rest**2)
    made = []
    for seed in range(SAMPLES):
        rng = np.random.default_rng(seed)
        R = X[rng.integers(0, 1000, 1000)]
        w = rng.normal(0, 1, n)
        w *= 0.9 / np.abs(w).sum()
        made.append(
            OptimizeRequest(
                decision=seed,
                ts_event=0,
                symbols=tuple(f"C{i}-USDT-PERP" for i in range(n)),
                mu=R.mean(axis=0),
                Sigma=shared if same else np.cov(R.T),
                w_now=w,
                w_last=w,
                cost=np.full(n, 5e-4),
                tradable=np.ones(n, dtype=bool),
            )
        )
    return made


def _measure(
    solvers: dict[str, Solve], requests: list[OptimizeRequest], repeats: int
) -> tuple[dict[str, list[float]], dict[str, list[np.ndarray]]]:
    """(ms of each solve, answers) by solver, after one round that loads and compiles.

    The solvers take turns at each request, so whatever else the machine does meets all of them.
    """
    answers = {name: [solve(r) for r in requests] for name, solve in solvers.items()}
    spent: dict[str, list[float]] = {name: [] for name in solvers}
    for _ in range(repeats):
        for request in requests:
            for name, solve in solvers.items():
                start = time.process_time_ns()
                solve(request)
                spent[name].append((time.process_time_ns() - start) / 1e6)
    return spent, answers


def _check(
    config: PortfolioConfig,
    requests: list[OptimizeRequest],
    ours: list[np.ndarray],
    theirs: list[np.ndarray],
    name: str,
) -> None:
    for request, a, b in zip(requests, ours, theirs, strict=True):
        limits = limits_for(config, request.w_now, request.tradable)
        if violation(b, request.w_now, limits) > 1e-3:
            raise AssertionError(f"{name} broke a limit")
        mine, other = (_utility(config, request, w) for w in (a, b))
        if abs(mine - other) > SAME * abs(other) + 1e-7:
            raise AssertionError(f"{name} must reach the same objective, were {mine} and {other}")


def _utility(config: PortfolioConfig, request: OptimizeRequest, w: np.ndarray) -> float:
    H, gamma = config.horizon_bars, config.risk_aversion
    risk = 0.5 * H * gamma * float(w @ request.Sigma @ w)
    return H * float(request.mu @ w) - risk - float(request.cost @ np.abs(w - request.w_now))


def _ours(optimizer: PortfolioOptimizer) -> Solve:
    def solve(request: OptimizeRequest) -> np.ndarray:
        solution = optimizer.solve(request)
        if solution.status is not TargetStatus.OPTIMAL:
            raise AssertionError(solution.detail)
        return solution.weights

    return solve


def _bare(
    build: Callable[[PortfolioConfig, OptimizeRequest], tuple[Any, ...]],
    config: PortfolioConfig,
    requests: list[OptimizeRequest],
) -> Solve:
    """PIQP and nothing around it: only its set-up and solve are in the time."""
    built = {request.decision: build(config, request) for request in requests}

    def solve(request: OptimizeRequest) -> np.ndarray:
        solver = piqp.SparseSolver()
        solver.settings.num_threads = 1
        solver.setup(*built[request.decision])
        if solver.solve().name != "PIQP_SOLVED":
            raise AssertionError("the bare solver must solve")
        return np.array(solver.result.x[: len(request.symbols)])

    return solve


def _split(config: PortfolioConfig, request: OptimizeRequest) -> tuple[Any, ...]:
    """With trades away from, toward and beyond zero as variables, as Don writes it."""
    n, H, gamma, w_now = (
        len(request.symbols), config.horizon_bars, config.risk_aversion, request.w_now,
    )  # fmt: skip
    Q, gain = H * gamma * request.Sigma, H * request.mu
    scale = 1.0 / max(float(np.abs(gain).max()), float(np.diag(Q).max()))
    P = sparse.block_diag([np.triu(scale * Q), sparse.csc_matrix((3 * n, 3 * n))]).tocsc()
    q = np.concatenate([-scale * gain, np.tile(scale * request.cost, 3)])
    side = sparse.diags(np.where(w_now < 0, -1.0, 1.0))
    A = sparse.hstack([sparse.identity(n), -side, side, side]).tocsc()
    one, nil = np.ones(n), np.zeros(n)
    G = sparse.csc_matrix([[*nil, *one, *one, *one], [*nil, *one, *-one, *one]])
    held, free, cap = np.abs(w_now), np.full(n, np.inf), np.full(n, config.max_weight)
    high = np.array([config.max_turnover, config.max_gross - held.sum()])
    lower, upper = np.concatenate([-cap, nil, nil, nil]), np.concatenate([cap, free, held, free])
    return P, q, A, w_now, G, np.full(2, -np.inf), high, lower, upper


def _absolute(config: PortfolioConfig, request: OptimizeRequest) -> tuple[Any, ...]:
    """With t >= |w - w_now| and s >= |w|, as it is usually written."""
    n, H, gamma, w_now = (
        len(request.symbols), config.horizon_bars, config.risk_aversion, request.w_now,
    )  # fmt: skip
    Q, gain = H * gamma * request.Sigma, H * request.mu
    scale = 1.0 / max(float(np.abs(gain).max()), float(np.diag(Q).max()))
    eye, none = sparse.identity(n), sparse.csc_matrix((n, n))
    ones, zeros = np.ones((1, n)), np.zeros((1, n))
    P = sparse.block_diag([np.triu(scale * Q), sparse.csc_matrix((2 * n, 2 * n))]).tocsc()
    q = np.concatenate([-scale * gain, scale * request.cost, np.zeros(n)])
    G = sparse.vstack(
        [
            sparse.hstack([eye, -eye, none]),
            sparse.hstack([eye, eye, none]),
            sparse.hstack([eye, none, -eye]),
            sparse.hstack([eye, none, eye]),
            sparse.csc_matrix(np.hstack([zeros, ones, zeros])),
            sparse.csc_matrix(np.hstack([zeros, zeros, ones])),
        ]
    ).tocsc()
    free, nil = np.full(n, np.inf), np.zeros(n)
    low = np.concatenate([-free, w_now, -free, nil, [-np.inf, -np.inf]])
    high = np.concatenate([w_now, free, nil, free, [config.max_turnover, config.max_gross]])
    cap = np.full(n, config.max_weight)
    lower, upper = np.concatenate([-cap, nil, nil]), np.concatenate([cap, free, free])
    return P, q, None, None, G, low, high, lower, upper


# ---- peers --------------------------------------------------------------------------------------


def _peers(config: PortfolioConfig) -> list[tuple[str, Solve]]:
    """Those installed; without any, cvxpy with the problem built anew, as most of them do."""
    made = []
    for module, build in (
        ("pypfopt", _pypfopt),
        ("skfolio", _skfolio),
    ):
        if importlib.util.find_spec(module) is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made.append(build(config))
    return made or [("cvxpy, built anew", built_anew(config))]


def built_anew(config: PortfolioConfig) -> Solve:
    """The problem written in cvxpy and compiled on every call."""
    cp: Any = importlib.import_module("cvxpy")

    def solve(request: OptimizeRequest) -> np.ndarray:
        w = cp.Variable(len(request.symbols))
        H, z = config.horizon_bars, w - request.w_now
        risk = cp.quad_form(w, cp.psd_wrap(0.5 * H * config.risk_aversion * request.Sigma))
        goal = cp.Maximize(H * request.mu @ w - risk - request.cost @ cp.abs(z))
        limits = [
            cp.abs(w) <= config.max_weight,
            cp.norm1(w) <= config.max_gross,
            cp.norm1(z) <= config.max_turnover,
        ]
        cp.Problem(goal, limits).solve(solver=cp.CLARABEL)
        return np.asarray(w.value)

    return solve


def _pypfopt(config: PortfolioConfig) -> tuple[str, Solve]:
    package: Any = importlib.import_module("pypfopt")
    cp: Any = importlib.import_module("cvxpy")

    def solve(request: OptimizeRequest) -> np.ndarray:
        H, w_now, cap = config.horizon_bars, request.w_now, config.max_weight
        frontier = package.EfficientFrontier(
            H * request.mu, H * request.Sigma, weight_bounds=(-cap, cap), solver="CLARABEL"
        )
        frontier.add_objective(lambda w: float(request.cost[0]) * cp.norm1(w - w_now))
        frontier.add_constraint(lambda w: cp.norm1(w) <= config.max_gross)
        frontier.add_constraint(lambda w: cp.norm1(w - w_now) <= config.max_turnover)
        # its sum of weights is 1, or 0 when market neutral: taken away, for ours is free
        frontier._make_weight_sum_constraint = lambda is_market_neutral: None
        frontier.max_quadratic_utility(risk_aversion=config.risk_aversion)
        return np.asarray(frontier.weights)

    return f"PyPortfolioOpt {package.__version__}", solve


def _skfolio(config: PortfolioConfig) -> tuple[str, Solve]:
    package: Any = importlib.import_module("skfolio")
    optimization: Any = importlib.import_module("skfolio.optimization")
    prior: Any = importlib.import_module("skfolio.prior")
    cp: Any = importlib.import_module("cvxpy")

    class Given(prior.BasePrior):
        """Moments as they are: estimating them is not what is measured."""

        def __init__(self, mu: Any = None, Sigma: Any = None) -> None:
            self.mu, self.Sigma = mu, Sigma

        def fit(self, X: Any, y: Any = None, **_: Any) -> "Given":
            self.return_distribution_ = prior.ReturnDistribution(
                mu=self.mu, covariance=self.Sigma, returns=X
            )
            return self

    def solve(request: OptimizeRequest) -> np.ndarray:
        H, n, w_now = config.horizon_bars, len(request.symbols), request.w_now
        model = optimization.MeanRisk(
            objective_function=optimization.ObjectiveFunction.MAXIMIZE_UTILITY,
            prior_estimator=Given(H * request.mu, H * request.Sigma),
            risk_aversion=config.risk_aversion / 2,
            min_weights=-config.max_weight,
            max_weights=config.max_weight,
            budget=None,
            transaction_costs=float(request.cost[0]),
            previous_weights=w_now,
            add_constraints=lambda w: [
                cp.norm1(w) <= config.max_gross,
                cp.norm1(w - w_now) <= config.max_turnover,
            ],
        )
        return np.asarray(model.fit(np.zeros((2, n))).weights_)

    return f"skfolio {package.__version__}", solve
