"""What limits bound and what they cost, and which limits contradict each other. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from don.errors import SolverError
from don.portfolio.problem import Problem, Row
from don.portfolio.program import Program
from don.portfolio.quadratic import Optimum

PRICED = 1e-6  # of the goal's scale: a smaller price is the solver's rounding
FEASIBLE = 1e-6  # of a weight: less excess is none
BOUNDS, GROSS, TURNOVER = "max_weight", "max_gross", "max_turnover"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A limit that bound, and what it cost."""

    name: str  # "max_gross", "max_weight:BTC-USDT-PERP", "group:majors:net"
    side: str  # "upper" or "lower"
    limit: float
    price: float  # what the objective would gain per unit that the limit gives way


def bindings(optimum: Optimum, problem: Problem) -> tuple[Binding, ...]:
    """The limits with a price, dearest first.

    Args:
        optimum: with a solver's answer; without one nothing is said.
        problem: of it.
    """
    answer, program, placed = optimum.answer, optimum.program, optimum.placed
    if answer is None or program is None or placed is None:
        return ()
    found: list[Binding] = []
    _, _, lower, upper = program.limits()
    at = 0
    seen: set[str] = set()
    for name, n in program.names:
        # rows of later periods of a plan carry the same names; only the first period's is traded
        if not name.startswith("_") and name not in seen:
            seen.add(name)
            for side, limit, price in (
                ("upper", problem.shown[name][1], answer.upper_price[at]),
                ("lower", problem.shown[name][0], answer.lower_price[at]),
            ):
                if price > PRICED:
                    found.append(_binding(name, side, limit, price * optimum.unit))
        at += n
    for i in range(problem.n):
        j, symbol = placed.w.start + i, problem.symbols[i]
        if answer.high_bound_price[j] > PRICED:
            price = answer.high_bound_price[j] * optimum.unit
            found.append(_binding(f"max_weight:{symbol}", "upper", upper[j], price))
        if answer.low_bound_price[j] > PRICED:
            price = answer.low_bound_price[j] * optimum.unit
            found.append(_binding(f"min_weight:{symbol}", "lower", lower[j], price))
    return tuple(sorted(found, key=lambda b: (-b.price, b.name)))


def _binding(name: str, side: str, limit: float, price: float) -> Binding:
    return Binding(name=name, side=side, limit=float(limit), price=float(price))


def conflict(problem: Problem) -> tuple[str, ...]:
    """Names of limits that cannot be kept together, none of which could be left out of the list.

    Found by leaving out one limit after another (a deletion filter): what stays infeasible without
    it does not need it. Empty if all limits can be kept.
    """
    names = [row.name for row in problem.rows] + [TURNOVER, GROSS, BOUNDS]
    if _excess(problem, names)[0] <= FEASIBLE:
        return ()
    for name in list(names):
        fewer = [other for other in names if other != name]
        if _excess(problem, fewer)[0] > FEASIBLE:
            names = fewer
    return tuple(names)


def nearest(problem: Problem, w_last: np.ndarray) -> np.ndarray:
    """Weights inside bounds, gross and turnover that break the other limits least.

    Among those, near the last target.

    Args:
        problem: whose limits contradict each other.
        w_last: (n,) last target of the free symbols.

    Raises:
        SolverError: if bounds, gross and turnover contradict each other.
    """
    return _excess(problem, [row.name for row in problem.rows], w_last)[1]


def _excess(
    problem: Problem, names: Sequence[str], near: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """The least sum of excesses over the named limits, and weights that have it.

    With `near`, bounds, gross and turnover are hard.
    """
    n, hard = problem.n, near is not None
    program = Program()
    lower = problem.lower if hard else np.full(n, -np.inf)
    upper = problem.upper if hard else np.full(n, np.inf)
    w, trade, size = program.variable(n, lower, upper), program.variable(n), program.variable(n)
    slacks: list[slice] = []

    def limit(name: str, on: list[tuple[slice, np.ndarray]], low: float, high: float) -> None:
        if np.isfinite(high):
            slacks.append(program.variable(1, 0.0))
            program.rows(name, 1, [*on, (slacks[-1], -1.0)], -np.inf, high)
        if np.isfinite(low):
            slacks.append(program.variable(1, 0.0))
            program.rows(name, 1, [*on, (slacks[-1], 1.0)], low, np.inf)

    program.rows("_buy", n, [(w, 1.0), (trade, -1.0)], -np.inf, problem.w_now)
    program.rows("_sell", n, [(w, 1.0), (trade, 1.0)], problem.w_now, np.inf)
    program.rows("_long", n, [(w, 1.0), (size, -1.0)], -np.inf, 0.0)
    program.rows("_short", n, [(w, 1.0), (size, 1.0)], 0.0, np.inf)
    ones = np.ones((1, n))
    if hard:
        program.rows(TURNOVER, 1, [(trade, ones)], -np.inf, problem.turnover)
        program.rows(GROSS, 1, [(size, ones)], -np.inf, problem.gross)
    else:
        if TURNOVER in names:
            limit(TURNOVER, [(trade, ones)], -np.inf, problem.turnover)
        if GROSS in names:
            limit(GROSS, [(size, ones)], -np.inf, problem.gross)
        if BOUNDS in names:
            slacks.append(program.variable(n, 0.0))
            over = slacks[-1]
            program.rows("_upper", n, [(w, 1.0), (over, -1.0)], -np.inf, problem.upper)
            program.rows("_lower", n, [(w, 1.0), (over, 1.0)], problem.lower, np.inf)
    for row in problem.rows:
        if row.name in names:
            limit(row.name, _parts(row, w, size), row.low, row.high)
    for slack in slacks:
        program.linear(slack, np.ones(slack.stop - slack.start))
    if near is not None:
        program.diagonal(w, np.full(n, NEAR))
        program.linear(w, -NEAR * near)
    answer = program.solve()
    total = sum(float(np.maximum(answer.x[slack], 0.0).sum()) for slack in slacks)
    if not np.isfinite(total):
        raise SolverError("the search for conflicting limits did not end")
    return total, answer.x[w]


NEAR = 1e-4  # weight of nearness to the last target, against a unit of excess


def _parts(row: Row, w: slice, size: slice) -> list[tuple[slice, np.ndarray]]:
    parts: list[tuple[slice, np.ndarray]] = []
    if row.on_w is not None:
        parts.append((w, row.on_w[None, :]))
    if row.on_size is not None:
        parts.append((size, row.on_size[None, :]))
    return parts
