"""Kernels over windows of prices and returns. Pure; compiled with numba.

Each takes (window [input, n], params) and gives one number; sums run oldest first. What is
undefined because nothing varies is 0, so that a flat market makes no holes.
"""

import numpy as np
from numba import njit

from don.features.columns import Floats, Ints

FLAT = 1e-24  # a variance of returns below this is rounding


@njit(cache=True)
def moments(x: Floats) -> tuple[float, float]:
    """Mean and population variance."""
    mean = 0.0
    for i in range(len(x)):
        mean += x[i]
    mean /= len(x)
    square = 0.0
    for i in range(len(x)):
        square += (x[i] - mean) ** 2
    return mean, square / len(x)


@njit(cache=True)
def log_changes(x: Floats) -> Floats:
    """Log changes from each value to the next, one less."""
    out = np.empty(len(x) - 1)
    for i in range(len(out)):
        out[i] = np.log(x[i + 1] / x[i])
    return out


@njit(cache=True)
def correlation(x: Floats, y: Floats) -> float:
    """Pearson's correlation; 0 if one does not vary."""
    mx, vx = moments(x)
    my, vy = moments(y)
    if vx <= FLAT or vy <= FLAT:
        return 0.0
    total = 0.0
    for i in range(len(x)):
        total += (x[i] - mx) * (y[i] - my)
    return total / len(x) / np.sqrt(vx * vy)


@njit(cache=True)
def standard_moment(x: Floats, power: int) -> float:
    """Mean of ((x - mean) / deviation) ** power; 0 if nothing varies."""
    mean, variance = moments(x)
    if variance <= FLAT:
        return 0.0
    deviation = np.sqrt(variance)
    total = 0.0
    for i in range(len(x)):
        z = (x[i] - mean) / deviation
        term = 1.0
        for _ in range(power):
            term *= z
        total += term
    return total / len(x)


@njit(cache=True)
def skew(w: Floats, p: Ints) -> float:
    """Skewness of log returns."""
    return standard_moment(log_changes(w[0]), 3)


@njit(cache=True)
def kurtosis(w: Floats, p: Ints) -> float:
    """Excess kurtosis of log returns."""
    x = log_changes(w[0])
    return standard_moment(x, 4) - 3.0 if moments(x)[1] > FLAT else 0.0


@njit(cache=True)
def autocorrelation(w: Floats, p: Ints) -> float:
    """Correlation of log returns with those p[1] bars before."""
    x = log_changes(w[0])
    lag = p[1]
    return correlation(x[lag:], x[: len(x) - lag])


@njit(cache=True)
def return_zscore(w: Floats, p: Ints) -> float:
    """The last log return less the mean, in standard deviations."""
    x = log_changes(w[0])
    mean, variance = moments(x)
    return (x[-1] - mean) / np.sqrt(variance) if variance > FLAT else 0.0


@njit(cache=True)
def variance_ratio(w: Floats, p: Ints) -> float:
    """Variance of overlapping p[1]-bar log returns over p[1] times that of single ones, less 1."""
    x, q = log_changes(w[0]), p[1]
    mean, variance = moments(x)
    if variance <= FLAT:
        return 0.0
    total, count = 0.0, 0
    for i in range(q - 1, len(x)):
        long = 0.0
        for k in range(i - q + 1, i + 1):
            long += x[k]
        total += (long - q * mean) ** 2
        count += 1
    return total / count / (q * variance) - 1.0


@njit(cache=True)
def slope(x: Floats, y: Floats) -> float:
    """Least-squares slope of y on x; 0 if x does not vary."""
    mx, vx = moments(x)
    my, _ = moments(y)
    if vx <= 0.0:
        return 0.0
    total = 0.0
    for i in range(len(x)):
        total += (x[i] - mx) * (y[i] - my)
    return total / len(x) / vx


@njit(cache=True)
def hurst(w: Floats, p: Ints) -> float:
    """Slope of log standard deviation of log-price differences over the log of their lag."""
    price = np.log(w[0])
    lags, spreads = np.empty(32), np.empty(32)
    count, lag = 0, 1
    while lag <= len(price) // 4:
        x = np.empty(len(price) - lag)
        for i in range(len(x)):
            x[i] = price[i + lag] - price[i]
        variance = moments(x)[1]
        if variance > FLAT:
            lags[count], spreads[count] = np.log(float(lag)), 0.5 * np.log(variance)
            count += 1
        lag *= 2
    return slope(lags[:count], spreads[:count]) if count >= 2 else 0.5


@njit(cache=True)
def entropy(w: Floats, p: Ints) -> float:
    """Shannon entropy of up, flat and down bars over its maximum."""
    up = down = 0
    for i in range(1, w.shape[1]):
        up += w[0, i] > w[0, i - 1]
        down += w[0, i] < w[0, i - 1]
    n = w.shape[1] - 1
    total = 0.0
    for count in (up, down, n - up - down):
        if count > 0:
            share = count / n
            total -= share * np.log(share)
    return total / np.log(3.0)


@njit(cache=True)
def median_distance(w: Floats, p: Ints) -> float:
    """Close over the median close, less 1."""
    return w[0, -1] / np.median(w[0].copy()) - 1.0


@njit(cache=True)
def trend_t(w: Floats, p: Ints) -> float:
    """T statistic of the slope of log close over time; 0 if the price does not vary."""
    y = np.log(w[0])
    n = len(y)
    x = np.arange(n).astype(np.float64)
    b = slope(x, y)
    mx, vx = moments(x)
    my, vy = moments(y)
    if vy <= FLAT:
        return 0.0
    residual = 0.0
    for i in range(n):
        residual += (y[i] - my - b * (x[i] - mx)) ** 2
    error = np.sqrt(max(residual, FLAT) / (n - 2) / (n * vx))
    return b / error


@njit(cache=True)
def trend_fit(w: Floats, p: Ints) -> float:
    """Share of the variance of log close that a straight line over time explains."""
    x = np.arange(w.shape[1]).astype(np.float64)
    return correlation(x, np.log(w[0])) ** 2


@njit(cache=True)
def drawdown(w: Floats, p: Ints) -> float:
    """Close over the highest close, less 1."""
    top = w[0, 0]
    for i in range(w.shape[1]):
        top = max(top, w[0, i])
    return w[0, -1] / top - 1.0


@njit(cache=True)
def run_up(w: Floats, p: Ints) -> float:
    """Close over the lowest close, less 1."""
    low = w[0, 0]
    for i in range(w.shape[1]):
        low = min(low, w[0, i])
    return w[0, -1] / low - 1.0


@njit(cache=True)
def up_share(w: Floats, p: Ints) -> float:
    """Share of bars that closed above the close before."""
    up = 0
    for i in range(1, w.shape[1]):
        up += w[0, i] > w[0, i - 1]
    return up / (w.shape[1] - 1)


@njit(cache=True)
def return_quality(w: Floats, p: Ints) -> float:
    """Mean over standard deviation of log returns."""
    mean, variance = moments(log_changes(w[0]))
    return mean / np.sqrt(variance) if variance > FLAT else 0.0


@njit(cache=True)
def acceleration(w: Floats, p: Ints) -> float:
    """Log return of the newer half less that of the older half."""
    n = p[0]
    return np.log(w[0, 2 * n] / w[0, n]) - np.log(w[0, n] / w[0, 0])


@njit(cache=True)
def rogers_satchell(w: Floats, p: Ints) -> float:
    """Volatility a bar from open, high, low, close, free of drift."""
    total = 0.0
    for i in range(w.shape[1]):
        o, h, lo, c = w[0, i], w[1, i], w[2, i], w[3, i]
        total += np.log(h / c) * np.log(h / o) + np.log(lo / c) * np.log(lo / o)
    return np.sqrt(max(total, 0.0) / w.shape[1])


@njit(cache=True)
def yang_zhang(w: Floats, p: Ints) -> float:
    """Volatility a bar from open, high, low, close, with the jumps between bars."""
    n = w.shape[1] - 1
    gaps, moves = np.empty(n), np.empty(n)
    inside = 0.0
    for i in range(1, n + 1):
        o, h, lo, c = w[0, i], w[1, i], w[2, i], w[3, i]
        gaps[i - 1], moves[i - 1] = np.log(o / w[3, i - 1]), np.log(c / o)
        inside += np.log(h / c) * np.log(h / o) + np.log(lo / c) * np.log(lo / o)
    k = 0.34 / (1.34 + (n + 1.0) / (n - 1.0))
    scale = n / (n - 1.0)
    total = moments(gaps)[1] * scale + k * moments(moves)[1] * scale + (1.0 - k) * inside / n
    return np.sqrt(max(total, 0.0))


@njit(cache=True)
def downside(w: Floats, p: Ints) -> float:
    """Root mean square of the falling log returns, the others counted as 0."""
    total = 0.0
    for i in range(1, w.shape[1]):
        r = min(np.log(w[0, i] / w[0, i - 1]), 0.0)
        total += r * r
    return np.sqrt(total / (w.shape[1] - 1))


@njit(cache=True)
def volatility_ratio(w: Floats, p: Ints) -> float:
    """Root mean square of the last p[0] log returns over that of the last p[1]."""
    x = log_changes(w[0])
    short = long = 0.0
    for i in range(len(x)):
        long += x[i] * x[i]
        if i >= len(x) - p[0]:
            short += x[i] * x[i]
    return np.sqrt(short / p[0] / (long / len(x))) if long > FLAT else 1.0


@njit(cache=True)
def jump_share(w: Floats, p: Ints) -> float:
    """Part of the realised variance that is above its bipower variation, at least 0."""
    x = log_changes(w[0])
    n = len(x)
    variance = bipower = 0.0
    for i in range(n):
        variance += x[i] * x[i]
        if i:
            bipower += abs(x[i]) * abs(x[i - 1])
    bipower *= 0.5 * np.pi * n / (n - 1)
    return max(1.0 - bipower / variance, 0.0) if variance > FLAT else 0.0


@njit(cache=True)
def largest_move(w: Floats, p: Ints) -> float:
    """Greatest log return by size, with its sign."""
    best = 0.0
    for i in range(1, w.shape[1]):
        r = np.log(w[0, i] / w[0, i - 1])
        if abs(r) > abs(best):
            best = r
    return best


@njit(cache=True)
def choppiness(w: Floats, p: Ints) -> float:
    """Log of the summed true ranges over the whole range, by the log of n: 0 trend to 1 chop."""
    top, bottom, total = -np.inf, np.inf, 0.0
    n = w.shape[1] - 1
    for i in range(1, n + 1):
        high, low = max(w[0, i], w[2, i - 1]), min(w[1, i], w[2, i - 1])
        total += high - low
        top, bottom = max(top, high), min(bottom, low)
    if top <= bottom:
        return 1.0
    return np.log(total / (top - bottom)) / np.log(float(n))


@njit(cache=True)
def volatility_signature(w: Floats, p: Ints) -> float:
    """Root of realised variance at p[1] bars over that at one bar, from overlapping returns."""
    x, q = np.log(w[0]), p[1]
    fine = coarse = 0.0
    for i in range(1, len(x)):
        fine += (x[i] - x[i - 1]) ** 2
    count = 0
    for i in range(q, len(x)):
        coarse += (x[i] - x[i - q]) ** 2
        count += 1
    fine /= len(x) - 1
    return np.sqrt(coarse / count / q / fine) if fine > FLAT else 1.0
