"""Many updates of an exponentially weighted second moment at once. Pure; compiled with numba.

The same operations in the same order as one update after the other, so the same bits.
"""

import numpy as np
from numba import njit


@njit(cache=True)
def changes(close: np.ndarray, last: np.ndarray, r: np.ndarray, counted: np.ndarray) -> None:
    """Simple returns of rows of closes [T, N] into `r`, zero where a close or the one before is not
    known; `last` [N] moves on to the last known closes, `counted` [T] tells rows with a return.
    """
    T, N = close.shape
    for t in range(T):
        for i in range(N):
            price = close[t, i]
            r[t, i] = 0.0
            if np.isfinite(price) and price > 0:
                if np.isfinite(last[i]):
                    r[t, i] = price / last[i] - 1.0
                    counted[t] = True
                last[i] = price


@njit(cache=True)
def roll(total: np.ndarray, r: np.ndarray, counted: np.ndarray, decay: float) -> None:
    """Take rows of returns [T, N] into `total` [N, N], in place; rows not counted change nothing.

    Multiplication and addition stay apart: a fused step would round once instead of twice.
    """
    T, N = r.shape
    for t in range(T):
        if not counted[t]:
            continue
        for i in range(N):
            for j in range(N):
                total[i, j] = decay * total[i, j] + r[t, i] * r[t, j]
