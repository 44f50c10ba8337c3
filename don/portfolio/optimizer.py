"""Mean-variance portfolio choice with transaction costs, by cvxpy. Pure: request in, weights out.

The problem is compiled once per universe size and re-solved with parameters. The covariance enters
as a factor, ||F w||^2 with F a parameter, because w'Sigma w with Sigma a parameter is not DPP.
Every solve is cold, single-threaded and without a time limit, so the answer depends on the request
alone. This is the only module that imports cvxpy, which costs a second and 115 MiB.
"""

from dataclasses import dataclass

import cvxpy as cp
import numpy as np

from don.model.messages import OptimizeRequest, Target, TargetStatus
from don.portfolio.config import PortfolioConfig
from don.portfolio.limits import TOLERANCE, Limits, limits_for, pull_inside, violation

SOLVER_OPTIONS = {"max_threads": 1, "direct_solve_method": "qdldl", "warm_start": False}
ACCEPTED = (cp.OPTIMAL, cp.OPTIMAL_INACCURATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """An answer: always inside the limits, whatever happened to the solver."""

    weights: np.ndarray  # [symbol] fraction of equity, signed
    status: TargetStatus
    detail: str  # why it is a fallback, or how the solver ended


@dataclass(frozen=True, slots=True)
class _Problem:
    """One compiled problem and the parameters to fill in."""

    problem: cp.Problem
    w: cp.Variable
    gain: cp.Parameter  # [symbol] H mu
    factor: cp.Parameter  # [factor, symbol] sqrt(H gamma / 2) F
    rest: cp.Parameter  # [symbol] sqrt(H gamma / 2) of the diagonal rest, >= 0
    cost: cp.Parameter  # [symbol] >= 0
    w_now: cp.Parameter  # [symbol]
    lower: cp.Parameter
    upper: cp.Parameter
    gross: cp.Parameter
    turnover: cp.Parameter


class PortfolioOptimizer:
    """Solves requests; keeps compiled problems by size, at most `KEPT` of them."""

    KEPT = 4

    def __init__(self, config: PortfolioConfig) -> None:
        self._config = config
        self._problems: dict[int, _Problem] = {}

    def warm(self, n: int) -> None:
        """Compile the problem of `n` symbols ahead of the first request."""
        problem = self._problem(n)
        zeros = np.zeros(n)
        everything = np.ones(n, dtype=bool)
        limits = limits_for(self._config, zeros, everything)
        self._fill(problem, zeros, np.eye(n) * 1e-4, zeros, zeros + 1e-3, limits)
        problem.problem.solve(solver=cp.CLARABEL, **SOLVER_OPTIONS)

    def solve(self, request: OptimizeRequest) -> Solution:
        """The best weights inside the limits, or the last target pulled inside them.

        A non-finite current portfolio is an error of the caller; everything else that goes wrong
        ends in a fallback that says why.

        Raises:
            ValueError: if `w_now` is not finite or arrays do not fit the symbols.
        """
        n = len(request.symbols)
        w_now = np.asarray(request.w_now, dtype=float)
        tradable = np.asarray(request.tradable, dtype=bool)
        shapes = dict.fromkeys(("mu", "w_now", "w_last", "cost", "tradable"), (n,))
        for name, shape in {**shapes, "desired": (n,), "Sigma": (n, n)}.items():
            value = getattr(request, name)
            if value is not None and np.shape(value) != shape:
                raise ValueError(f"{name} must have shape {shape}, was {np.shape(value)}")
        if not np.isfinite(w_now).all():
            raise ValueError(f"w_now must be finite, was {w_now.tolist()}")
        limits = limits_for(self._config, w_now, tradable)
        try:
            w, detail = self._optimum(request, w_now, limits)
        except (_Unsolved, cp.error.SolverError, np.linalg.LinAlgError) as error:
            return self._fallback(request, w_now, tradable, limits, str(error))
        return Solution(
            weights=pull_inside(w, w_now, tradable, limits),
            status=TargetStatus.OPTIMAL,
            detail=detail,
        )

    def _optimum(
        self, request: OptimizeRequest, w_now: np.ndarray, limits: Limits
    ) -> tuple[np.ndarray, str]:
        Sigma = np.asarray(request.Sigma, dtype=float)
        # tracking d is (w - d)'Sigma(w - d): the same problem with mu = gamma Sigma d
        mu = (
            np.asarray(request.mu, dtype=float)
            if request.desired is None
            else self._config.risk_aversion * (Sigma @ request.desired)
        )
        for name, value in (("mu", mu), ("Sigma", Sigma), ("cost", request.cost)):
            if not np.isfinite(value).all():
                raise _Unsolved(f"{name} is not finite")
        if not (np.diag(Sigma)[request.tradable] > 0).all():
            raise _Unsolved("a tradable symbol has no variance")
        problem = self._problem(len(w_now))
        self._fill(problem, mu, Sigma, w_now, np.maximum(request.cost, 0.0), limits)
        problem.problem.solve(solver=cp.CLARABEL, **SOLVER_OPTIONS)
        status, w = problem.problem.status, problem.w.value
        if status not in ACCEPTED or w is None or not np.isfinite(w).all():
            raise _Unsolved(f"solver ended with {status}")
        excess = violation(w, w_now, limits)
        if excess > TOLERANCE:
            raise _Unsolved(f"solver broke a limit by {excess:.2e}")
        return w, str(status)

    def _fallback(
        self,
        request: OptimizeRequest,
        w_now: np.ndarray,
        tradable: np.ndarray,
        limits: Limits,
        why: str,
    ) -> Solution:
        w_last = np.where(np.isfinite(request.w_last), request.w_last, w_now)
        return Solution(
            weights=pull_inside(w_last, w_now, tradable, limits),
            status=TargetStatus.FALLBACK,
            detail=f"last target kept: {why}",
        )

    def _fill(
        self,
        problem: _Problem,
        mu: np.ndarray,
        Sigma: np.ndarray,
        w_now: np.ndarray,
        cost: np.ndarray,
        limits: Limits,
    ) -> None:
        H, gamma = self._config.horizon_bars, self._config.risk_aversion
        factor, rest = factorise(Sigma, problem.factor.shape[0])
        scale = np.sqrt(0.5 * H * gamma)
        problem.gain.value = H * mu
        problem.factor.value = scale * factor
        problem.rest.value = scale * rest
        problem.cost.value = cost
        problem.w_now.value = w_now
        problem.lower.value, problem.upper.value = limits.lower, limits.upper
        problem.gross.value, problem.turnover.value = limits.gross, limits.turnover

    def _problem(self, n: int) -> _Problem:
        if n not in self._problems:
            while len(self._problems) >= self.KEPT:
                del self._problems[next(iter(self._problems))]
            self._problems[n] = _compile(n, min(n, self._config.max_factors))
        return self._problems[n]


class _Unsolved(Exception):
    """No usable optimum; the text says why."""


def factorise(Sigma: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """A covariance as `F'F + diag(rest^2)` of its k leading eigenvectors; exact when k = N.

    Negative eigenvalues (a matrix that is not quite positive semidefinite) are cut to zero.

    Args:
        Sigma: (N, N), made symmetric here.
        k: number of factors, 1 to N.

    Returns:
        F (k, N), and rest (N,) standard deviations that keep the variances right.
    """
    values, vectors = np.linalg.eigh(0.5 * (Sigma + Sigma.T))
    values, vectors = np.maximum(values[-k:], 0.0), vectors[:, -k:]
    F = (vectors * np.sqrt(values)).T
    if k == Sigma.shape[0]:
        return F, np.zeros(k)
    rest = np.sqrt(np.maximum(np.diag(Sigma) - (F * F).sum(axis=0), 0.0))
    return F, rest


def target_of(
    request: OptimizeRequest, solution: Solution, *, session: str, solve_ms: float, ts_recv: int
) -> Target:
    """The message that answers a request."""
    return Target(
        key=f"target:{session}:{request.decision}",
        decision=request.decision,
        symbols=request.symbols,
        weights=solution.weights,
        status=solution.status,
        detail=solution.detail,
        solve_ms=solve_ms,
        ts_recv=ts_recv,
    )


def _compile(n: int, k: int) -> _Problem:
    w = cp.Variable(n)
    gain = cp.Parameter(n)
    factor = cp.Parameter((k, n))
    rest = cp.Parameter(n, nonneg=True)
    cost = cp.Parameter(n, nonneg=True)
    w_now = cp.Parameter(n)
    lower, upper = cp.Parameter(n), cp.Parameter(n)
    gross, turnover = cp.Parameter(nonneg=True), cp.Parameter(nonneg=True)
    z = cp.Variable(n)  # trades: a variable, because cost * |w - w_now| multiplies two parameters
    traded = cp.abs(z)
    risk = cp.sum_squares(factor @ w)
    if k < n:
        risk += cp.sum_squares(cp.multiply(rest, w))
    problem = cp.Problem(
        cp.Minimize(risk - gain @ w + cost @ traded),
        [z == w - w_now, w >= lower, w <= upper, cp.norm1(w) <= gross, cp.sum(traded) <= turnover],
    )
    if not problem.is_dcp(dpp=True):
        raise AssertionError("the portfolio problem must be DPP, or every solve compiles it anew")
    return _Problem(problem, w, gain, factor, rest, cost, w_now, lower, upper, gross, turnover)
