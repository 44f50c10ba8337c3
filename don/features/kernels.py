"""Step functions of features that TA-Lib lacks. Pure; compiled with numba.

A step takes (state, row, at): its float64 state, a bar's row, and the places in it of the columns
that the feature reads; it changes the state and returns the value. A stream calls it once a bar, a
batch loops it, so both agree to the bit. `state[0]` counts bars, `state[1]` is the window n, rings
follow from `state[HEAD]` on. Windows are summed anew each bar, oldest first: no rounding builds
up, and a value does not depend on how long the stream has run.
"""

from typing import Any

import numpy as np
from numba import float64, int64, njit, types

from don.features.columns import Floats, Ints

HEAD = 4  # count, window, two values of the step's own


def _scan(step: Any, state: Floats, columns: Floats, at: Ints) -> Floats:
    """A step over all bars of columns [column, time]: values [time]."""
    wide, count = columns.shape
    out, row = np.empty(count), np.empty(wide)
    for t in range(count):
        for i in range(wide):  # one row for all bars: a view of each would cost more than a step
            row[i] = columns[i, t]
        out[t] = step(state, row, at)
    return out


# One signature for all steps, so that the loop over them is compiled once, and so that no cache of
# compiled code refers to the steps of users.
_LINE, _PLACES = types.Array(float64, 1, "A"), types.Array(int64, 1, "C")
STEP = float64(types.Array(float64, 1, "C"), _LINE, _PLACES)
_SCAN = types.Array(float64, 1, "C")(
    types.FunctionType(STEP),
    types.Array(float64, 1, "C"),
    types.Array(float64, 2, "C"),
    _PLACES,
)
scan: Any = njit(cache=True)(_scan)


def ready(step: Any) -> Any:
    """A step, compiled for the one signature, and the loop over steps with it."""
    if STEP.args not in step.signatures:
        step.compile(STEP)
        step.disable_compile()
    if not scan.signatures:
        scan.compile(_SCAN)
        scan.disable_compile()
    return step


@njit(cache=True)
def log_return(state: Floats, row: Floats, at: Ints) -> float:
    """Log return over n bars."""
    i, n = int(state[0]), int(state[1])
    slot = HEAD + i % n
    before, state[slot] = state[slot], row[at[0]]
    state[0] += 1.0
    return np.log(row[at[0]] / before) if i >= n else np.nan


@njit(cache=True)
def volatility(state: Floats, row: Floats, at: Ints) -> float:
    """Realised volatility a bar: root mean square of the last n log returns."""
    i, n = int(state[0]), int(state[1])
    last, state[2] = state[2], row[at[0]]
    state[0] += 1.0
    if i == 0:
        return np.nan
    r = np.log(row[at[0]] / last)
    state[HEAD + i % n] = r * r
    if i < n:
        return np.nan
    total = 0.0
    for k in range(i + 1, i + 1 + n):
        total += state[HEAD + k % n]
    return np.sqrt(total / n)


@njit(cache=True)
def ewma_volatility(state: Floats, row: Floats, at: Ints) -> float:
    """Root of the exponentially weighted mean square of log returns, half-life n bars.

    Weights add up to one from the first n returns on, whose plain mean it begins with.
    """
    i, n = int(state[0]), int(state[1])
    last, state[2] = state[2], row[at[0]]
    state[0] += 1.0
    if i == 0:
        return np.nan
    r = np.log(row[at[0]] / last)
    if i <= n:
        state[3] += r * r / n
        return np.sqrt(state[3]) if i == n else np.nan
    decay = 0.5 ** (1.0 / n)
    state[3] = decay * state[3] + (1.0 - decay) * r * r
    return np.sqrt(state[3])


@njit(cache=True)
def zscore(state: Floats, row: Floats, at: Ints) -> float:
    """Distance from the mean of the last n values in standard deviations; 0 if none varies."""
    i, n = int(state[0]), int(state[1])
    x = row[at[0]]
    state[HEAD + i % n] = x
    state[0] += 1.0
    if i + 1 < n:
        return np.nan
    mean = 0.0
    for k in range(i + 1, i + 1 + n):
        mean += state[HEAD + k % n]
    mean /= n
    square = 0.0
    for k in range(i + 1, i + 1 + n):
        d = state[HEAD + k % n] - mean
        square += d * d
    deviation = np.sqrt(square / n)
    # rounding of the mean is not variation
    return (x - mean) / deviation if deviation > 1e-12 * abs(mean) else 0.0


@njit(cache=True)
def _window_mean(state: Floats, value: float) -> float:
    i, n = int(state[0]), int(state[1])
    state[HEAD + i % n] = value
    state[0] += 1.0
    if i + 1 < n:
        return np.nan
    total, seen = 0.0, 0
    for k in range(i + 1, i + 1 + n):
        v = state[HEAD + k % n]
        if v == v:
            total += v
            seen += 1
    return total / seen if seen else np.nan


@njit(cache=True)
def parkinson(state: Floats, row: Floats, at: Ints) -> float:
    """Volatility a bar from high and low over n bars (Parkinson 1980)."""
    r = np.log(row[at[0]] / row[at[1]])
    return np.sqrt(_window_mean(state, r * r / (4.0 * np.log(2.0))))


@njit(cache=True)
def garman_klass(state: Floats, row: Floats, at: Ints) -> float:
    """Volatility a bar from open, high, low and close over n bars (Garman, Klass 1980)."""
    hl, co = np.log(row[at[1]] / row[at[2]]), np.log(row[at[3]] / row[at[0]])
    value = _window_mean(state, 0.5 * hl * hl - (2.0 * np.log(2.0) - 1.0) * co * co)
    return np.sqrt(max(value, 0.0)) if value == value else np.nan


@njit(cache=True)
def mean(state: Floats, row: Floats, at: Ints) -> float:
    """Mean of a column over the last n bars, those without an observation left out."""
    return _window_mean(state, row[at[0]])


@njit(cache=True)
def last(state: Floats, row: Floats, at: Ints) -> float:
    """The column itself."""
    return row[at[0]]


@njit(cache=True)
def basis(state: Floats, row: Floats, at: Ints) -> float:
    """How far the first column is above the second, relative."""
    return row[at[0]] / row[at[1]] - 1.0


@njit(cache=True)
def _window_ratio(state: Floats, above: float, below: float) -> float:
    i, n = int(state[0]), int(state[1])
    state[HEAD + i % n] = above
    state[HEAD + n + i % n] = below
    state[0] += 1.0
    if i + 1 < n:
        return np.nan
    a = b = 0.0
    for k in range(i + 1, i + 1 + n):
        x, y = state[HEAD + k % n], state[HEAD + n + k % n]
        if x == x and y == y:
            a += x
            b += y
    return a / b if b > 0.0 else np.nan


@njit(cache=True)
def imbalance(state: Floats, row: Floats, at: Ints) -> float:
    """(a - b) / (a + b) of two columns summed over the last n bars."""
    a, b = row[at[0]], row[at[1]]
    return _window_ratio(state, a - b, a + b)


@njit(cache=True)
def quotient(state: Floats, row: Floats, at: Ints) -> float:
    """Sum of the first column over sum of the second, over the last n bars."""
    return _window_ratio(state, row[at[0]], row[at[1]])


@njit(cache=True)
def volume_flow(state: Floats, row: Floats, at: Ints) -> float:
    """Volume of rising bars less that of falling ones, over all volume, in n bars."""
    close, volume = row[at[0]], row[at[1]]
    before, state[2] = state[2], close
    if state[3] == 0.0:
        state[3] = 1.0  # the first bar has nothing before it
        return np.nan
    sign = 1.0 if close > before else -1.0 if close < before else 0.0
    return _window_ratio(state, sign * volume, volume)
