"""Weights that a policy says itself, cut by the limits that any portfolio has. Pure."""

from dataclasses import replace

import numpy as np

from don.portfolio.limits import ROUNDING, Limits, pull_inside


def cut(
    wanted: np.ndarray, w_now: np.ndarray, tradable: np.ndarray, limits: Limits
) -> tuple[np.ndarray, str]:
    """([symbol] weights inside bounds, gross and turnover, which of those cut them or "").

    Bounds first, then gross (all in proportion), then turnover: nothing is held that is not wanted.

    Args:
        wanted: [symbol] finite.
        w_now: [symbol] current weights; kept where `tradable` is False.
        tradable: [symbol] bool.
        limits: from `don.portfolio.limits.limits_for`.
    """
    asked = np.where(tradable, wanted, w_now)
    inside = np.clip(asked, limits.lower, limits.upper)
    over = {
        "bounds": bool((np.abs(inside - asked) > ROUNDING).any()),
        "max_gross": float(np.abs(inside).sum()) > limits.gross + ROUNDING,
    }
    weights = pull_inside(asked, w_now, tradable, limits)
    unhurried = pull_inside(asked, w_now, tradable, replace(limits, turnover=np.inf))
    over["max_turnover"] = bool((np.abs(weights - unhurried) > ROUNDING).any())
    names = ", ".join(name for name, broken in over.items() if broken)
    return weights, names and f"weights wanted were cut: {names}"
