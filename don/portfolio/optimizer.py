"""Portfolio choice under limits and costs. Pure: request in, weights out.

The answer is a function of the request alone: every solve is cold and single-threaded, and what is
kept between requests (sparsity of programs, factors of the last covariance) changes no answer.
Plain quadratic programs go to PIQP, cones to Clarabel; see `don.portfolio.solvers`.
"""

from dataclasses import dataclass, replace

import numpy as np

from don.errors import SolverError
from don.model.messages import OptimizeRequest, PortfolioInputs, Target, TargetStatus
from don.portfolio.checks import check_symbols, checked, given
from don.portfolio.config import Objective, PortfolioConfig, Rounding
from don.portfolio.following import cut
from don.portfolio.limits import TOLERANCE, Limits, limits_for, pull_inside, violation
from don.portfolio.linalg import factorise
from don.portfolio.objectives import Chooser
from don.portfolio.problem import Problem, RiskModel, Row, reduce
from don.portfolio.quadratic import Optimum
from don.portfolio.report import Binding, bindings, conflict, nearest
from don.portfolio.rounding import greedy, toward_zero
from don.portfolio.rows import rows_for
from don.portfolio.solvers import Infeasible
from don.portfolio.views import Posterior, blend

__all__ = ["Binding", "PortfolioOptimizer", "Solution", "factorise", "target_of"]

ROW_TOLERANCE = 1e-5  # of a weight, what a solver may break a row by before it is refused
HELD = 1e-6  # of a weight: less is no position


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """An answer: always inside bounds, gross and turnover, whatever happened to the solver."""

    weights: np.ndarray  # [symbol] fraction of equity, signed
    status: TargetStatus
    detail: str  # why it is a fallback, or how the solver ended
    binding: tuple[Binding, ...] = ()  # limits that bound, dearest first
    objective: float = float("nan")  # what was maximised, where a solver was asked
    iterations: int = 0
    solver: str = ""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request, its limits, and the problem made of it."""

    request: OptimizeRequest
    inputs: PortfolioInputs
    limits: Limits
    rows: list[Row]
    Sigma: np.ndarray
    problem: Problem
    free: np.ndarray
    repaired: bool


class PortfolioOptimizer:
    """Solves requests under one configuration."""

    def __init__(self, config: PortfolioConfig) -> None:
        self._config = config
        self._chooser = Chooser(config)
        self._risk = RiskModel(config.max_factors)
        self._posterior = RiskModel(config.max_factors)

    def warm(self, n: int) -> None:
        """Load solvers and work out the sparsity of `n` symbols ahead of the first request."""
        if n < 1:
            raise ValueError(f"n must be positive, was {n}")
        quiet = PortfolioConfig(
            max_gross=self._config.max_gross,
            max_weight=self._config.max_weight,
            max_turnover=self._config.max_turnover,
            allow_short=self._config.allow_short,
            max_factors=self._config.max_factors,
        )
        blank = OptimizeRequest(
            decision=0,
            ts_event=0,
            symbols=tuple(str(i) for i in range(n)),
            mu=np.full(n, 1e-4),
            Sigma=np.eye(n) * 1e-4,
            w_now=np.zeros(n),
            w_last=np.zeros(n),
            cost=np.full(n, 1e-3),
            tradable=np.ones(n, dtype=bool),
        )
        other = PortfolioOptimizer(quiet)
        other._chooser.patterns = self._chooser.patterns
        other.solve(blank)

    def solve(self, request: OptimizeRequest) -> Solution:
        """The best weights inside the limits, or a fallback that says why.

        Without an answer the last target is kept, pulled inside bounds, gross and turnover. Where
        limits contradict each other, they are named, and the weights that break them least are
        taken.

        Raises:
            ValueError: if `w_now` is not finite or arrays do not fit the symbols.
            ConfigError: if limits name a symbol that the request does not have.
        """
        w_now, tradable = checked(request)
        check_symbols(self._config, request.symbols)
        limits = limits_for(self._config, w_now, tradable, request.symbols)
        tilted = request.inputs is not None and request.inputs.exposures is not None
        if self._follows(request) and self._config.only_sizes and not tilted:
            return self._followed(request, limits, w_now, tradable)
        try:
            asked = self._asked(request, limits, tradable)
        except (SolverError, np.linalg.LinAlgError) as error:
            return self._fallback(request, limits, f"last target kept: {error}")
        try:
            return self._best(asked, w_now, tradable)
        except Infeasible:
            return self._conflicting(asked, w_now)
        except (SolverError, np.linalg.LinAlgError) as error:
            return self._fallback(request, limits, f"last target kept: {error}")

    def _follows(self, request: OptimizeRequest) -> bool:
        return request.desired is not None and self._config.objective.has_views

    def _followed(
        self, request: OptimizeRequest, limits: Limits, w_now: np.ndarray, tradable: np.ndarray
    ) -> Solution:
        """The weights that the policy says: without a solver, whatever the covariance is like."""
        desired = np.asarray(request.desired, dtype=float)
        if not np.isfinite(desired[tradable]).all():
            return self._fallback(request, limits, "last target kept: desired is not finite")
        w, note = cut(desired, w_now, tradable, limits)
        status = TargetStatus.OPTIMAL
        return Solution(
            weights=w, status=status, detail=f"{status}; {note}" if note else str(status)
        )

    def _asked(self, request: OptimizeRequest, limits: Limits, tradable: np.ndarray) -> _Asked:
        config = self._config
        inputs = request.inputs or PortfolioInputs()
        Sigma = np.asarray(request.Sigma, dtype=float)
        if not np.isfinite(Sigma).all():
            raise SolverError("Sigma is not finite")
        mu = np.asarray(request.mu, dtype=float)
        desired = () if request.desired is None else (("desired", request.desired),)
        for name, value in (("mu", mu), ("cost", request.cost), *desired, *given(inputs)):
            if not np.isfinite(value).all():
                raise SolverError(f"{name} is not finite")
        if not (np.diag(Sigma)[tradable] > 0).all():
            raise SolverError("a tradable symbol has no variance")
        prepared = self._risk.prepare(Sigma)
        repaired = prepared[3]
        if config.objective is Objective.BLACK_LITTERMAN:
            posterior = _posterior(config, inputs, mu, prepared[0])
            mu, prepared = posterior.mu, self._posterior.prepare(posterior.Sigma)
        if inputs.carry is not None:
            mu = mu - inputs.carry
        rows = rows_for(config, request, prepared[0])
        free = tradable & (limits.lower < limits.upper)
        problem = reduce(
            request=request, mu=mu, prepared=prepared, limits=limits, rows=rows, free=free
        )
        return _Asked(request, inputs, limits, rows, prepared[0], problem, free, repaired)

    def _best(self, asked: _Asked, w_now: np.ndarray, tradable: np.ndarray) -> Solution:
        limits, free, problem = asked.limits, asked.free, asked.problem
        held = np.where(limits.lower == limits.upper, limits.lower, w_now)
        notes = ["Sigma made positive semidefinite"] if asked.repaired else []
        optimum = Optimum(w=np.zeros(0))
        if free.any():
            optimum = self._chosen(asked)
            w = _whole(held, free, optimum.w)
            most = self._config.max_positions
            if most is not None and int((np.abs(w) > HELD).sum()) > most:
                asked = self._fewer(asked, w, most)
                problem, free = asked.problem, asked.free
                held = np.where(free, held, np.where(tradable, 0.0, held))
                optimum = self._chosen(asked)
                notes.append(f"max_positions {most}: the others were closed")
        w = _whole(held, free, optimum.w)
        excess = max(violation(w, w_now, limits) - TOLERANCE, 0.0)
        if free.any():
            excess = max(excess, problem.excess(optimum.w) - ROW_TOLERANCE)
        if not np.isfinite(w).all() or excess > 0:
            raise SolverError(f"solver broke a limit by {excess:.2e}")
        w = pull_inside(w, w_now, tradable, limits)
        if optimum.note:
            notes.append(optimum.note)
        if self._config.rounding is not Rounding.NONE:
            w, note = self._rounded(asked, w, w_now, tradable)
            notes += note
        answer = optimum.answer
        return Solution(
            weights=w,
            status=TargetStatus.OPTIMAL,
            detail="; ".join([str(TargetStatus.OPTIMAL), *notes]),
            binding=bindings(optimum, problem),
            objective=optimum.value(),
            iterations=answer.iterations if answer else 0,
            solver=answer.solver if answer else "",
        )

    def _chosen(self, asked: _Asked) -> Optimum:
        """What the policy says it wants, or else what is best by its views."""
        if not self._follows(asked.request):
            return self._chooser.choose(asked.problem, asked.inputs, asked.free)
        desired = np.asarray(asked.request.desired, dtype=float)
        return self._chooser.follow(asked.problem, desired[asked.free])

    def _fewer(self, asked: _Asked, w: np.ndarray, most: int) -> _Asked:
        """The problem in which only the positions that carry most risk on their own stay free."""
        score = np.abs(w) * np.sqrt(np.diag(asked.Sigma))
        score = np.where(asked.free, score, np.where(np.abs(w) > HELD, np.inf, -1.0))
        # stable: equal scores are kept in the order of symbols
        kept = np.zeros(len(w), dtype=bool)
        kept[np.argsort(-score, kind="stable")[:most]] = True
        free, limits = asked.free & kept, asked.limits
        closed = asked.free & ~kept
        shut = replace(
            limits,
            lower=np.where(closed, 0.0, limits.lower),
            upper=np.where(closed, 0.0, limits.upper),
        )
        if closed.any() and not free.any():
            raise SolverError(f"max_positions {most}: positions that cannot be traded are as many")
        problem = reduce(
            request=asked.request,
            mu=_spread(asked.problem.mu, asked.free),
            prepared=self._prepared(asked),
            limits=shut,
            rows=asked.rows,
            free=free,
        )
        return replace(asked, problem=problem, free=free)

    def _prepared(
        self, asked: _Asked
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, bool]:
        blended = self._config.objective is Objective.BLACK_LITTERMAN
        model = self._posterior if blended else self._risk
        return model.prepare(asked.Sigma if blended else np.asarray(asked.request.Sigma, float))

    def _rounded(
        self, asked: _Asked, w: np.ndarray, w_now: np.ndarray, tradable: np.ndarray
    ) -> tuple[np.ndarray, list[str]]:
        inputs = asked.inputs
        if inputs.lot is None or not (inputs.lot > 0).all():
            return w, ["not rounded: the request has no lot sizes"]
        least = np.zeros(len(w)) if inputs.least is None else inputs.least
        cut = toward_zero(w, w_now, inputs.lot, least, tradable)
        if self._config.rounding is Rounding.GREEDY:
            held = np.where(asked.free, 0.0, w)

            def excess(tried: np.ndarray) -> float:
                if not np.array_equal(tried[~asked.free], held[~asked.free]):
                    return float("inf")
                return asked.problem.excess(tried[asked.free])

            cut = greedy(w, cut, w_now, inputs.lot, least, asked.free, asked.Sigma, excess)
        return cut, []

    def _conflicting(self, asked: _Asked, w_now: np.ndarray) -> Solution:
        """The weights that break the contradicting limits least, and the names of those limits."""
        request, limits = asked.request, asked.limits
        try:
            names = conflict(asked.problem)
            if not names:
                return self._fallback(request, limits, "last target kept: solver found no weights")
            w_last = np.where(np.isfinite(request.w_last), request.w_last, w_now)
            free = nearest(asked.problem, w_last[asked.free])
        except SolverError as error:
            return self._fallback(request, limits, f"last target kept: {error}")
        held = np.where(limits.lower == limits.upper, limits.lower, w_now)
        tradable = np.asarray(request.tradable, dtype=bool)
        return Solution(
            weights=pull_inside(_whole(held, asked.free, free), w_now, tradable, limits),
            status=TargetStatus.FALLBACK,
            detail=f"limits contradict each other: {', '.join(names)}; nearest weights taken",
        )

    def _fallback(self, request: OptimizeRequest, limits: Limits, why: str) -> Solution:
        w_now = np.asarray(request.w_now, dtype=float)
        w_last = np.where(np.isfinite(request.w_last), request.w_last, w_now)
        tradable = np.asarray(request.tradable, dtype=bool)
        return Solution(
            weights=pull_inside(w_last, w_now, tradable, limits),
            status=TargetStatus.FALLBACK,
            detail=why,
        )


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


def _posterior(
    config: PortfolioConfig, inputs: PortfolioInputs, mu: np.ndarray, Sigma: np.ndarray
) -> Posterior:
    """Black-Litterman with the policy's `mu` as one view a symbol, unless views are given."""
    reference = inputs.reference
    if reference is None:
        sigma = np.sqrt(np.maximum(np.diag(Sigma), 0.0))
        inverse = np.divide(1.0, sigma, out=np.zeros_like(sigma), where=sigma > 0)
        reference = inverse * (config.max_gross / max(float(inverse.sum()), 1e-300))
    views, view_mu, error = inputs.views, inputs.view_mu, inputs.view_error
    if (views is None) != (view_mu is None):
        raise SolverError("views and view_mu must be given together")
    if views is None or view_mu is None:
        views, view_mu, error = np.eye(len(mu)), mu, inputs.mu_error
    return blend(
        Sigma=Sigma,
        reference=reference,
        aversion=config.risk_aversion,
        tau=config.tau,
        views=views,
        view_mu=view_mu,
        view_error=error,
        confidence=config.view_confidence,
    )


def _whole(held: np.ndarray, free: np.ndarray, w: np.ndarray) -> np.ndarray:
    made = held.copy()
    made[free] = w
    return made


def _spread(values: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Values of the free symbols among all, zero elsewhere."""
    made = np.zeros(len(free))
    made[free] = values
    return made
