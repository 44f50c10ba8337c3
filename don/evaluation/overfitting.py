"""Probability of backtest overfitting by combinatorially symmetric cross-validation. Pure.

Of many configurations the best one in one half of time is chosen; is it any good in the other
half? Tried for every way to make two halves of S blocks.
"""

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from don.errors import DataError, UsageError

Floats = NDArray[np.float64]
MOST_BLOCKS = 20  # C(20, 10) = 184,756 ways


@dataclass(frozen=True, slots=True, kw_only=True)
class Overfitting:
    """What choosing by the past did to the future."""

    probability: float  # PBO: chosen ones at or below the median out of sample
    logits: Floats  # [way] of the chosen one's relative rank out of sample
    chosen_in: Floats  # [way] Sharpe ratio per step in sample
    chosen_out: Floats  # [way] and out of sample
    loss: float  # part of the ways in which the chosen one lost money out of sample
    slope: float  # of out of sample on in sample: negative where choosing harder chose worse


def overfitting(returns: Floats, blocks: int = 16) -> Overfitting:
    """PBO of a choice among N configurations by Sharpe ratio.

    Args:
        returns: [T, N] returns of the configurations over the same steps, N >= 2.
        blocks: S, even; time is cut into as many blocks, bars that do not fit are left out at the
            beginning.

    Raises:
        UsageError: if blocks are odd or out of range, or there is no choice.
        DataError: if returns are too few or not finite.

    Source: Bailey, Borwein, López de Prado & Zhu, "The probability of backtest overfitting",
    Journal of Computational Finance 20(4), 2016, section 2.
    """
    values = np.asarray(returns, np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise UsageError(f"returns must be [T, N] of two configurations or more, were "
                         f"{values.shape}")  # fmt: skip
    if blocks % 2 or not 2 <= blocks <= MOST_BLOCKS:
        raise UsageError(f"blocks must be even, from 2 to {MOST_BLOCKS}, was {blocks}")
    size, N = len(values) // blocks, values.shape[1]
    if size < 2:
        raise DataError(f"{blocks} blocks need {2 * blocks} returns, were {len(values)}")
    if not np.isfinite(values).all():
        raise DataError("returns must be finite")
    cut = values[len(values) - size * blocks :].reshape(blocks, size, N)
    sums, squares = cut.sum(axis=1), (cut * cut).sum(axis=1)  # [S, N]
    half = blocks // 2
    ways = np.zeros((comb(blocks, half), blocks))
    for n, chosen in enumerate(combinations(range(blocks), half)):
        ways[n, list(chosen)] = 1.0
    count = half * size
    inside = _sharpe(ways @ sums, ways @ squares, count)
    outside = _sharpe((1 - ways) @ sums, (1 - ways) @ squares, count)
    best = inside.argmax(axis=1)
    rows = np.arange(len(ways))
    own = outside[rows, best]
    # mean rank of equals, from 1 for the worst to N for the best
    rank = (outside < own[:, None]).sum(axis=1) + (outside == own[:, None]).sum(axis=1) / 2 + 0.5
    share = rank / (N + 1)
    logits = np.log(share / (1 - share))
    chosen_in = inside[rows, best]
    spread = chosen_in.var()
    slope = float(((chosen_in - chosen_in.mean()) * (own - own.mean())).mean() / spread) \
        if spread > 0 else float("nan")  # fmt: skip
    return Overfitting(
        probability=float((logits <= 0).mean()),
        logits=logits,
        chosen_in=chosen_in,
        chosen_out=own,
        loss=float((own < 0).mean()),
        slope=slope,
    )


def _sharpe(total: Floats, square: Floats, count: int) -> Floats:
    """Ratios of sums; 0 where nothing moved: such a configuration stayed out."""
    mean = total / count
    variance = np.maximum(square / count - mean * mean, 0.0)
    moved = variance > 1e-30
    return np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=moved)
