"""Mean-variance problems: plain, with market impact, robust, over several periods. Pure.

Sources: Markowitz (1952); Boyd et al., "Multi-period trading via convex optimization" (2017);
Goldfarb & Iyengar, "Robust portfolio selection problems" (2003); impact to the power 3/2: Almgren
et al., "Direct estimation of equity market impact" (2005).
"""

from dataclasses import dataclass

import numpy as np

from don.portfolio.problem import Placed, Problem, Risk, place
from don.portfolio.program import Patterns, Program
from don.portfolio.solvers import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """Weights of the free symbols, and the solver's answer if one was asked."""

    w: np.ndarray
    answer: Answer | None = None
    program: Program | None = None
    placed: Placed | None = None
    unit: float = 1.0  # a price of the program times this is a price in the objective's unit
    note: str = ""
    objective: float = float("nan")  # of the free symbols, where the solver's own is not it

    def value(self) -> float:
        """What was maximised, of the free symbols; NaN where nothing was."""
        if self.answer is None or not np.isnan(self.objective):
            return self.objective
        return -self.answer.objective * self.unit


def mean_variance(
    problem: Problem,
    patterns: Patterns,
    *,
    horizon: float,
    aversion: float,
    uncertainty: np.ndarray | None = None,
) -> Optimum:
    """Maximise  H (mu'w - |E w|) - H gamma/2 w'Sigma w - cost'|z| - impact'|z|^1.5.

    Args:
        problem: the decision; its `mu` may be zero, which asks for the least variance.
        patterns: kept sparsity.
        horizon: H, bars.
        aversion: gamma.
        uncertainty: (n,) diagonal of E, per bar; None: mu is taken as known.

    Raises:
        SolverError: if there is no optimum.
    """
    program = Program()
    placed = place(program, problem)
    gain = horizon * (problem.mu - aversion * problem.risk.pull)
    curvature = horizon * aversion
    scale = _scale(gain, curvature, problem.risk)
    program.linear(placed.w, -scale * gain)
    for part in placed.trade:
        program.linear(part, scale * problem.cost)
    _add_risk(program, placed.w, problem.risk, scale * curvature)
    if problem.impact is not None and problem.impact.any():
        _add_impact(program, placed.trade, scale * problem.impact)
    if uncertainty is not None and uncertainty.any():
        _add_norm(program, placed.w, uncertainty, scale * horizon)
    answer = program.solve(patterns, pattern_key("mv", problem, program))
    return Optimum(
        w=answer.x[placed.w], answer=answer, program=program, placed=placed, unit=1.0 / scale
    )


def multi_period(
    problem: Problem,
    patterns: Patterns,
    *,
    horizon: float,
    aversion: float,
    mu_path: np.ndarray,
    cost_path: np.ndarray,
) -> Optimum:
    """The first step of the best plan over P periods of H / P bars, each inside all limits.

    Args:
        problem: the decision now.
        patterns: kept sparsity.
        horizon: H, bars, of all periods together.
        aversion: gamma.
        mu_path: (P, n) expected return per bar in each period.
        cost_path: (P, n) cost per unit of turnover predicted for each period's trade.

    Raises:
        SolverError: if there is no optimum.
    """
    program = Program()
    length = horizon / len(mu_path)
    curvature = length * aversion
    gains = length * (mu_path - aversion * problem.risk.pull)
    scale = _scale(gains, curvature, problem.risk)
    first: Placed | None = None
    before: Placed | None = None
    for gain, cost in zip(gains, cost_path, strict=True):
        placed = place(program, problem, before.w if before else None)
        program.linear(placed.w, -scale * gain)
        for part in placed.trade:
            program.linear(part, scale * cost)
        _add_risk(program, placed.w, problem.risk, scale * curvature)
        if problem.impact is not None and problem.impact.any():
            _add_impact(program, placed.trade, scale * problem.impact)
        first, before = first or placed, placed
    if first is None:
        raise ValueError("mu_path must have at least one period")
    answer = program.solve(patterns, pattern_key(f"mp{len(mu_path)}", problem, program))
    return Optimum(
        w=answer.x[first.w], answer=answer, program=program, placed=first, unit=1.0 / scale
    )


def pattern_key(kind: str, problem: Problem, program: Program) -> object:
    """What all programs of the same sparsity share."""
    factors = 0 if problem.risk.F is None else len(problem.risk.F)
    shapes = tuple((row.on_w is None, row.on_size is None) for row in problem.rows)
    return kind, problem.n, problem.signed, factors, shapes, program.size, program.count


def _scale(gain: np.ndarray, curvature: float, risk: Risk) -> float:
    """Brings the goal's numbers near one, where solvers' tolerances mean what they say."""
    largest = max(float(np.abs(gain).max()), curvature * float(np.diag(risk.Sigma).max()))
    return 1.0 / largest if largest > 0 else 1.0


def _add_risk(program: Program, w: slice, risk: Risk, curvature: float) -> None:
    """Add curvature/2 w'Sigma w."""
    if risk.F is None or risk.rest is None:
        program.quadratic(w, curvature * risk.Sigma)
        return
    k = len(risk.F)
    root = np.sqrt(curvature)
    y = program.variable(k)
    program.rows("_factors", k, [(w, root * risk.F), (y, -1.0)], 0.0, 0.0)
    program.diagonal(y, np.ones(k))
    program.diagonal(w, curvature * risk.rest**2)


def _add_norm(program: Program, w: slice, E: np.ndarray, weight: float) -> None:
    """Add weight times the norm of E w, E a diagonal."""
    n = len(E)
    s = program.variable(1)
    program.linear(s, np.array([weight]))
    rows = np.arange(n + 1)
    columns = np.concatenate([[s.start], np.arange(w.start, w.stop)])
    program.cone("soc", (rows, columns, np.concatenate([[-1.0], -E])), np.zeros(n + 1))


def _add_impact(program: Program, trade: tuple[slice, ...], c: np.ndarray) -> None:
    """Add sum c |z|^1.5 by power cones: u^(2/3) 1^(1/3) >= |z|."""
    n = len(c)
    u = program.variable(n, 0.0)
    program.linear(u, c)
    i = np.arange(n)
    rows = np.concatenate([3 * i, *(3 * i + 2 for _ in trade)])
    columns = np.concatenate([u.start + i, *(part.start + i for part in trade)])
    h = np.tile([0.0, 1.0, 0.0], n)
    program.cone("pow", (rows, columns, np.full(len(rows), -1.0)), h)
