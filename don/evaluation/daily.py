"""Returns by day: what volatility, Sharpe and Sortino ratios of a result are of, all of them. Pure.

The same course has another Sharpe ratio by hour than by day. A result that told the one in its
figures and the other in its tests of significance would tell two answers to one question.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from don.backtest import bootstrap
from don.clock import NS_PER_S
from don.evaluation.advantage import Advantage, advantage
from don.evaluation.course import Course
from don.performance import SCALED

Floats = NDArray[np.float64]
Bounds = dict[str, tuple[float, float]]
_DAY_NS = 86_400 * NS_PER_S


def daily(course: Course) -> tuple[Floats, int]:
    """[D] returns by day, or by bar where bars are longer, and the length of a step, ns.

    Sharpe formulas take returns as independent: days are more so than minutes, and costs of a
    position that is opened in one bar and earns in the next fall together.
    """
    per = max(_DAY_NS // course.interval_ns, 1)
    if len(course.equity) < 30 * per + 1:  # too few days to say anything of days
        return course.returns, course.interval_ns
    points = course.equity[(len(course.equity) - 1) % per :: per]
    before = points[:-1]
    safe = np.where(before > 0, before, 1.0)
    return np.where(before > 0, points[1:] / safe - 1.0, 0.0), per * course.interval_ns


def figures(course: Course) -> dict[str, float]:
    """Those of the course, `SCALED` ones of returns by day."""
    told = course.figures()
    r, step = daily(course)
    if step == course.interval_ns or not np.any(course.returns):  # it stayed out: nothing moves
        return told
    by_day = dict(zip(bootstrap.NAMES, bootstrap.statistics(r, step).tolist(), strict=True))
    return told | {name: by_day[name] for name in SCALED}


def intervals(course: Course, *, draws: int, seed: int) -> Bounds:
    """95 % intervals of the figures: see `don.backtest.bootstrap.intervals`."""
    found = bootstrap.intervals(course.returns, course.interval_ns, draws=draws, seed=seed)[0]
    r, step = daily(course)
    if step == course.interval_ns:
        return found
    by_day = bootstrap.intervals(r, step, draws=draws, seed=seed)[0]
    return found | {name: by_day[name] for name in SCALED}


def beside(one: Course, other: Course, *, draws: int, seed: int) -> Advantage:
    """What one earned beyond the other: growth of all bars, Sharpe ratios of returns by day."""
    step = one.interval_ns
    found = advantage(one.returns, other.returns, step, draws=draws, seed=seed)
    (own, day), theirs = daily(one), daily(other)[0]
    if day == step:
        return found
    by_day = advantage(own, theirs, day, draws=draws, seed=seed)
    return replace(found, sharpe=by_day.sharpe, sharpe_interval=by_day.sharpe_interval)
