"""Weight limits as arrays: bounds, gross, turnover, and pulling a portfolio inside them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from don.portfolio.config import PortfolioConfig

ROUNDING = 1e-12  # of a weight, what float sums may be off by: inside up to that is inside
TOLERANCE = 1e-6  # of a weight, what a solver may be off by before its answer is refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The feasible set of one decision. Never empty: `pull_inside` always finds a member."""

    lower: np.ndarray  # [symbol]
    upper: np.ndarray  # [symbol]
    gross: float  # sum of |w|
    turnover: float  # sum of |w - w_now|


def limits_for(
    config: PortfolioConfig,
    w_now: np.ndarray,
    tradable: np.ndarray,
    symbols: Sequence[str] = (),
) -> Limits:
    """The limits around the current portfolio.

    Symbols that cannot be traded are pinned where they are. If the market has carried the portfolio
    outside the limits, gross and turnover open just as far as it takes to come back inside.

    Args:
        config: the limits wanted.
        w_now: [symbol] current weights, finite.
        tradable: [symbol] bool.
        symbols: their names, for the bounds of single ones.
    """
    least = np.full(len(w_now), -config.max_weight if config.allow_short else 0.0)
    most = np.full(len(w_now), config.max_weight)
    for bound in config.bounds:
        if bound.symbol in symbols:
            i = symbols.index(bound.symbol)
            least[i], most[i] = max(least[i], bound.lower), min(most[i], bound.upper)
    lower = np.where(tradable, least, w_now)
    upper = np.where(tradable, most, w_now)
    pinned = float(np.abs(w_now[~tradable]).sum())
    gross = max(config.max_gross, pinned)
    nearest = _shrink(np.clip(w_now, lower, upper), tradable, gross, pinned)
    needed = float(np.abs(nearest - w_now).sum())
    return Limits(lower=lower, upper=upper, gross=gross, turnover=max(config.max_turnover, needed))


def pull_inside(
    w: np.ndarray, w_now: np.ndarray, tradable: np.ndarray, limits: Limits
) -> np.ndarray:
    """The weights, clipped to the bounds, scaled to the gross limit, then held to the turnover
    limit.

    Args:
        w: [symbol] weights wanted, finite.
        w_now: [symbol] current weights.
        tradable: [symbol] bool.
        limits: from `limits_for`.

    Returns:
        [symbol] weights inside the limits; equal to `w` if that was inside.
    """
    pinned = float(np.abs(w_now[~tradable]).sum())
    inside = _shrink(np.clip(w, limits.lower, limits.upper), tradable, limits.gross, pinned)
    turnover = float(np.abs(inside - w_now).sum())
    if turnover <= limits.turnover + ROUNDING:
        return inside
    # walk from the nearest feasible portfolio toward the one wanted as far as turnover reaches;
    # bounds and gross are convex, so every point on the way keeps them
    start = _shrink(np.clip(w_now, limits.lower, limits.upper), tradable, limits.gross, pinned)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        traded = float(np.abs(start + middle * (inside - start) - w_now).sum())
        if traded <= limits.turnover + ROUNDING:
            low = middle
        else:
            high = middle
    return np.where(tradable, start + low * (inside - start), w_now)


def violation(w: np.ndarray, w_now: np.ndarray, limits: Limits) -> float:
    """By how much weights break the limits at worst; 0 or less when they keep all of them."""
    return max(
        float((limits.lower - w).max()),
        float((w - limits.upper).max()),
        float(np.abs(w).sum()) - limits.gross,
        float(np.abs(w - w_now).sum()) - limits.turnover,
    )


def _shrink(w: np.ndarray, tradable: np.ndarray, gross: float, pinned: float) -> np.ndarray:
    """Scale the tradable weights so that the sum of all |w| is at most `gross`."""
    free = float(np.abs(w[tradable]).sum())
    room = max(gross - pinned, 0.0)
    if free <= room + ROUNDING:
        return w
    return np.where(tradable, w * (room / free), w)
