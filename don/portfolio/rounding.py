"""Weights as whole lots. Pure.

`toward_zero`: each position is cut to whole lots, so no limit on size can break; turnover may
exceed its limit by less than a lot a symbol, and sums that must be met exactly (invested, neutral)
may miss by as much. `greedy`: then lots are given back, the one that brings the portfolio closest
(in tracking error) to the unrounded one first, as long as no limit is broken further.
"""

from collections.abc import Callable

import numpy as np

ALMOST = 1e-9  # of a lot: a position that float sums left this far below a whole lot is whole


def toward_zero(
    w: np.ndarray, w_now: np.ndarray, lot: np.ndarray, least: np.ndarray, tradable: np.ndarray
) -> np.ndarray:
    """Positions cut to whole lots; trades below the least notional are left out.

    Reductions are exempt from the least notional, as reduce-only orders are on the exchange.

    Args:
        w: [symbol] weights wanted.
        w_now: [symbol] weights held.
        lot: [symbol] weight of a lot, > 0.
        least: [symbol] weight of the least notional of an order, >= 0.
        tradable: [symbol] bool; others stay.

    Returns:
        [symbol] weights; |w| of a tradable symbol is nowhere more than wanted.
    """
    cut = np.sign(w) * np.floor(np.abs(w) / lot + ALMOST) * lot
    # a cut may not carry a position past what is held into the other direction of trading
    backwards = (cut - w_now) * (w - w_now) < 0
    cut = np.where(backwards & (np.abs(w_now) <= np.abs(w)), w_now, cut)
    enlarges = (np.abs(cut) > np.abs(w_now)) & (cut * w_now >= 0)
    small = enlarges & (np.abs(cut - w_now) < least * (1.0 - ALMOST))
    return np.where(tradable & ~small, cut, w_now)


def greedy(
    wanted: np.ndarray,
    rounded: np.ndarray,
    w_now: np.ndarray,
    lot: np.ndarray,
    least: np.ndarray,
    tradable: np.ndarray,
    Sigma: np.ndarray,
    excess: Callable[[np.ndarray], float],
) -> np.ndarray:
    """Lots given back one by one while that lessens the tracking error to what was wanted.

    Args:
        wanted: [symbol] unrounded weights.
        rounded: [symbol] of `toward_zero`.
        w_now: [symbol] weights held.
        lot: [symbol] weight of a lot.
        least: [symbol] weight of the least notional.
        tradable: [symbol] bool.
        Sigma: (N, N) covariance.
        excess: by how much weights break a limit at worst.

    Returns:
        [symbol] weights, each less than a lot from `rounded`'s side of `wanted`.
    """
    w = rounded.copy()
    allowed = max(excess(w), 0.0) + 1e-12
    open_ = tradable & (np.abs(wanted) - np.abs(rounded) > ALMOST * lot)
    step = np.sign(wanted) * lot
    while open_.any():
        gap = w - wanted
        pull = Sigma @ gap
        change = 2.0 * step * pull + step * step * np.diag(Sigma)
        change = np.where(open_, change, np.inf)
        i = int(np.argmin(change))
        if change[i] >= 0:
            break
        open_[i] = False
        tried = w.copy()
        tried[i] += step[i]
        if abs(tried[i] - w_now[i]) < least[i] * (1.0 - ALMOST) or excess(tried) > allowed:
            continue
        w = tried
    return w
