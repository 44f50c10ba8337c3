"""Intervals of what one course earned beyond another, on the same bars. Pure, seeded."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from don.backtest.bootstrap import block_length, resampled
from don.performance import YEAR_NS

Floats = NDArray[np.float64]
LEAST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Advantage:
    """One course beside another; intervals are percentiles of a paired block bootstrap."""

    growth: float  # annual log growth of the first less that of the second
    growth_interval: tuple[float, float]
    sharpe: float  # annual ratio of the first less that of the second
    sharpe_interval: tuple[float, float]
    better: float  # part of the draws in which the first grew more


def advantage(
    one: Floats, other: Floats, interval_ns: int, *, draws: int = 1_000, level: float = 0.95,
    seed: int = 0,
) -> Advantage:  # fmt: skip
    """What the first earned beyond the second.

    Both are drawn anew at the same times in blocks, so what moves both cancels.

    Args:
        one: [T] simple returns, above -1.
        other: [T] of the same steps.
        interval_ns: length of a step.
        draws: of the bootstrap.
        level: of confidence.
        seed: of the draws.

    Raises:
        ValueError: if the lengths differ or draws or level are out of range.

    Source: the stationary bootstrap, Politis & Romano (1994); paired for differences of Sharpe
    ratios as in Ledoit & Wolf, "Robust performance hypothesis testing with the Sharpe ratio",
    Journal of Empirical Finance 15(5), 2008 (there with studentised circular blocks).
    """
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(f"returns must be of the same steps, were {one.shape} and {other.shape}")
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"need draws >= 1 and 0 < level < 1, were {draws} and {level}")
    nan = (math.nan, math.nan)
    n = len(one)
    if n < LEAST or (one <= -1).any() or (other <= -1).any():
        return Advantage(growth=math.nan, growth_interval=nan, sharpe=math.nan,
                         sharpe_interval=nan, better=math.nan)  # fmt: skip
    year = YEAR_NS / interval_ns
    logs = np.log1p(one) - np.log1p(other)
    block = max(block_length(logs), block_length(np.abs(logs)))
    rng = np.random.default_rng(seed)
    growth, ratio = np.empty(draws), np.empty(draws)
    for k in range(draws):
        at = resampled(n, block, rng)
        growth[k] = logs[at].mean() * year
        ratio[k] = _sharpe(one[at], year) - _sharpe(other[at], year)
    tail = 100.0 * (1.0 - level) / 2.0
    return Advantage(
        growth=float(logs.mean() * year),
        growth_interval=_bounds(growth, tail),
        sharpe=_sharpe(one, year) - _sharpe(other, year),
        sharpe_interval=_bounds(ratio, tail),
        better=float((growth > 0).mean()),
    )


def _sharpe(r: Floats, year: float) -> float:
    """Annual; 0 for who stayed out: that is what staying out is worth."""
    deviation = float(r.std(ddof=1))
    return float(r.mean()) / deviation * math.sqrt(year) if deviation > 1e-15 else 0.0


def _bounds(values: Floats, tail: float) -> tuple[float, float]:
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return float(low), float(high)
