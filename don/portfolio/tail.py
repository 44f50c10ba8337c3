"""Mean against tail risk over scenarios: CVaR and CDaR as linear programs. Pure.

Sources: Rockafellar & Uryasev, "Optimization of conditional value-at-risk" (2000); Chekhlov,
Uryasev & Zabarankin, "Drawdown measure in portfolio optimization" (2005).
"""

import numpy as np

from don.errors import SolverError
from don.portfolio.problem import Problem, place
from don.portfolio.program import Patterns, Program
from don.portfolio.quadratic import Optimum, pattern_key

LEAST_SCENARIOS = 20


def cvar(
    problem: Problem, patterns: Patterns, *, horizon: float, aversion: float, tail: float
) -> Optimum:
    """Maximise  H mu'w - a sqrt(H) CVaR(w) - cost'|z|,  CVaR of the losses of one bar.

    sqrt(H) carries the loss of one bar to H bars as if bars were independent.

    Args:
        problem: with `scenarios`.
        patterns: kept sparsity.
        horizon: H, bars.
        aversion: a.
        tail: confidence, such as 0.95: the mean of the worst 5 % of losses counts.

    Raises:
        SolverError: if there is no optimum.
    """
    R, pinned = _scenarios(problem)
    T = len(R)
    weight = aversion * np.sqrt(horizon)
    program = Program()
    placed = place(program, problem)
    level = program.variable(1)
    beyond = program.variable(T, 0.0)
    ones = np.ones((T, 1))
    program.rows("_tail", T, [(placed.w, R), (level, ones), (beyond, 1.0)], -pinned, np.inf)
    scale = 1.0 / max(weight * float(np.abs(R).mean()), float(np.abs(horizon * problem.mu).max()))
    program.linear(placed.w, -scale * horizon * problem.mu)
    for part in placed.trade:
        program.linear(part, scale * problem.cost)
    program.linear(level, np.array([scale * weight]))
    program.linear(beyond, np.full(T, scale * weight / ((1.0 - tail) * T)))
    answer = program.solve(patterns, pattern_key(f"cvar{T}", problem, program))
    return Optimum(
        w=answer.x[placed.w], answer=answer, program=program, placed=placed, unit=1.0 / scale
    )


def cdar(
    problem: Problem, patterns: Patterns, *, horizon: float, aversion: float, tail: float
) -> Optimum:
    """Maximise  H mu'w - a CDaR(w) - cost'|z|,  CDaR of the uncompounded path over the scenarios.

    Arguments and errors as in `cvar`.
    """
    R, pinned = _scenarios(problem)
    T = len(R)
    program = Program()
    placed = place(program, problem)
    level = program.variable(1)
    depth = program.variable(T, 0.0)  # drawdown: what the path is below its highest point so far
    beyond = program.variable(T, 0.0)
    at, start = depth.start, slice(depth.start, depth.start + 1)
    program.rows("_path", 1, [(placed.w, R[:1]), (start, 1.0)], -pinned[:1], np.inf)
    now, before = slice(at + 1, at + T), slice(at, at + T - 1)
    steps: list[tuple[slice, np.ndarray | float]] = [(now, 1.0), (before, -1.0)]
    program.rows("_path", T - 1, [(placed.w, R[1:]), *steps], -pinned[1:], np.inf)
    ones = np.ones((T, 1))
    program.rows("_tail", T, [(depth, -1.0), (level, ones), (beyond, 1.0)], 0.0, np.inf)
    scale = 1.0 / max(
        aversion * float(np.abs(R.sum(axis=0)).max()), float(np.abs(horizon * problem.mu).max())
    )
    program.linear(placed.w, -scale * horizon * problem.mu)
    for part in placed.trade:
        program.linear(part, scale * problem.cost)
    program.linear(level, np.array([scale * aversion]))
    program.linear(beyond, np.full(T, scale * aversion / ((1.0 - tail) * T)))
    answer = program.solve(patterns, pattern_key(f"cdar{T}", problem, program))
    return Optimum(
        w=answer.x[placed.w], answer=answer, program=program, placed=placed, unit=1.0 / scale
    )


def cvar_of(returns: np.ndarray, tail: float) -> float:
    """CVaR of a path of returns: the mean loss in the worst 1 - tail, fractions included."""
    return _mean_of_worst(-returns, tail)


def cdar_of(returns: np.ndarray, tail: float) -> float:
    """CDaR of a path of returns: the mean of the worst 1 - tail of its uncompounded drawdowns."""
    path = np.concatenate([[0.0], np.cumsum(returns)])
    return _mean_of_worst((np.maximum.accumulate(path) - path)[1:], tail)


def _mean_of_worst(losses: np.ndarray, tail: float) -> float:
    ordered = np.sort(losses)[::-1]
    wanted = (1.0 - tail) * len(ordered)
    whole = int(np.floor(wanted))
    total = float(ordered[:whole].sum())
    if whole < len(ordered):
        total += (wanted - whole) * float(ordered[whole])
    return total / wanted


def _scenarios(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    if problem.scenarios is None or problem.pinned_path is None:
        raise SolverError("this objective needs scenarios, the request has none")
    if len(problem.scenarios) < LEAST_SCENARIOS:
        raise SolverError(
            f"this objective needs {LEAST_SCENARIOS} scenarios, was {len(problem.scenarios)}"
        )
    return problem.scenarios, problem.pinned_path
