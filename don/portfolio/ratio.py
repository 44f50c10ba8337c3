"""Reward per risk: greatest Sharpe ratio and greatest diversification, inside all limits. Pure.

A ratio of a concave reward and a norm is made convex by homogenising (Schaible 1976): with x = k w,
minimise x'Sigma x where the reward of (x, k) is at least one and every limit is scaled by k.
"""

from dataclasses import replace

import numpy as np

from don.errors import SolverError
from don.portfolio.problem import Problem, place
from don.portfolio.program import Program
from don.portfolio.quadratic import Optimum
from don.portfolio.solvers import Answer

SLACK = 1e-9  # of a weight
SAME = 1e-9  # of a ratio: what counts as no loss


def best_ratio(problem: Problem, *, reward: np.ndarray, horizon: float, what: str) -> Optimum:
    """Maximise  (reward'w - cost'|z| / H) / sqrt(w'Sigma w).

    If several sizes of the same mix have that ratio, the largest inside the limits.

    Args:
        problem: the decision.
        reward: (n,) per bar: mu for the Sharpe ratio, volatilities for diversification.
        horizon: H, bars over which the cost of a trade is spread; inf: no cost counts.
        what: the reward's name, for errors.

    Raises:
        SolverError: if nothing inside the limits has a positive reward.
    """
    if problem.risk.fixed > 0:
        raise SolverError(f"{what}: symbols that cannot be traded are held, so no ratio is defined")
    plain = Program()
    placed = place(plain, problem)
    program, k = plain.homogeneous()
    unit = max(float(np.abs(reward).max()), 1e-300)
    cost = problem.cost / horizon / unit
    program.rows(
        "_reward",
        1,
        [(placed.w, (reward / unit)[None, :]), *((part, -cost[None, :]) for part in placed.trade)],
        1.0,
        np.inf,
    )
    variance = max(float(np.diag(problem.risk.Sigma).max()), 1e-300)
    at = placed.w  # the variables of the plain program come first in the other, too
    program.quadratic(at, problem.risk.Sigma / variance)
    try:
        answer = program.solve()
    except SolverError as error:
        raise SolverError(f"{what}: no portfolio inside the limits has a positive one") from error
    scale = float(answer.x[k][0])
    if scale < 1e-9:
        raise SolverError(f"{what}: the best mix has no size inside the limits")
    w = answer.x[at] / scale
    ratio = float(1.0 / np.sqrt(2.0 * answer.objective))  # in units of reward and variance
    w = _largest(w, problem, reward, horizon)
    return Optimum(
        w=w,
        answer=_prices(answer, plain),
        program=plain,
        placed=placed,
        unit=scale * ratio**3 * unit / float(np.sqrt(variance)),
        objective=ratio * unit / float(np.sqrt(variance)),
    )


def _prices(answer: Answer, plain: Program) -> Answer:
    """The answer of the homogeneous program, its prices back in the rows of the plain one."""
    low, high, lower, upper = plain.limits()
    fixed = low == high
    made = [np.zeros(len(side)) for side in (high, low, upper, lower)]
    at = 0
    for price, side, real in zip(
        made, (high, low, upper, lower), (~fixed, ~fixed, True, True), strict=True
    ):
        there = np.isfinite(side) & real
        n = int(there.sum())
        price[there] = answer.upper_price[at : at + n]
        at += n
    n = int(fixed.sum())
    made[0][fixed] = answer.upper_price[at : at + n]
    made[1][fixed] = answer.lower_price[at : at + n]
    return replace(
        answer,
        upper_price=made[0],
        lower_price=made[1],
        high_bound_price=made[2],
        low_bound_price=made[3],
    )


def _largest(w: np.ndarray, problem: Problem, reward: np.ndarray, horizon: float) -> np.ndarray:
    """The largest multiple of w, at least 1, inside the limits and of the same ratio."""

    def ratio(v: np.ndarray) -> float:
        paid = float(problem.cost @ np.abs(v - problem.w_now)) / horizon
        return (float(reward @ v) - paid) / float(np.sqrt(problem.risk.variance(v)))

    least = ratio(w) - SAME * abs(ratio(w))

    def allowed(size: float) -> bool:
        return problem.excess(size * w) <= SLACK and ratio(size * w) >= least

    low, high = 1.0, 2.0
    while allowed(high) and high < 1e6:
        low, high = high, 2.0 * high
    for _ in range(50):
        middle = 0.5 * (low + high)
        if allowed(middle):
            low = middle
        else:
            high = middle
    return low * w
