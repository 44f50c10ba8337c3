"""Kernels over windows of volume, trades, quotes, funding and time. Pure; compiled with numba.

Each takes (window [input, n], params) and gives one number. Columns of micro-structure may be NaN
where nothing was seen: those bars are left out, and with none left the value is NaN.
"""

import numpy as np
from numba import njit

from don.features.columns import Floats, Ints
from don.features.stats import correlation

HOUR_S, DAY_S = 3_600.0, 86_400.0
THURSDAY = 3  # the epoch's weekday, Monday being 0


@njit(cache=True)
def seen_mean(x: Floats) -> float:
    """Mean of what is known; NaN if nothing is."""
    total, seen = 0.0, 0
    for i in range(len(x)):
        if x[i] == x[i]:
            total += x[i]
            seen += 1
    return total / seen if seen else np.nan


@njit(cache=True)
def mean(w: Floats, p: Ints) -> float:
    """Mean of what is known."""
    return seen_mean(w[0])


@njit(cache=True)
def zscore(w: Floats, p: Ints) -> float:
    """The last value less the mean of the known ones, in standard deviations; 0 if none varies."""
    x = w[0]
    if x[-1] != x[-1]:
        return np.nan
    centre = seen_mean(x)
    square, seen = 0.0, 0
    for i in range(len(x)):
        if x[i] == x[i]:
            square += (x[i] - centre) ** 2
            seen += 1
    deviation = np.sqrt(square / seen)
    return (x[-1] - centre) / deviation if deviation > 1e-12 * abs(centre) else 0.0


@njit(cache=True)
def last_ratio(w: Floats, p: Ints) -> float:
    """The last value over the mean of the known ones, less 1."""
    centre = seen_mean(w[0])
    return w[0, -1] / centre - 1.0 if centre != 0.0 else 0.0


@njit(cache=True)
def basis_zscore(w: Floats, p: Ints) -> float:
    """Z-score of the first column over the second."""
    ratio = np.empty((1, w.shape[1]))
    for i in range(w.shape[1]):
        ratio[0, i] = w[0, i] / w[1, i] - 1.0
    return zscore(ratio, p)


@njit(cache=True)
def basis_mean(w: Floats, p: Ints) -> float:
    """Mean of the first column over the second, less 1."""
    ratio = np.empty(w.shape[1])
    for i in range(w.shape[1]):
        ratio[i] = w[0, i] / w[1, i] - 1.0
    return seen_mean(ratio)


@njit(cache=True)
def carry(w: Floats, p: Ints) -> float:
    """Mean rate over the volatility of the close, both a bar of the window."""
    square = 0.0
    for i in range(1, w.shape[1]):
        r = np.log(w[1, i] / w[1, i - 1])
        square += r * r
    deviation = np.sqrt(square / (w.shape[1] - 1))
    return seen_mean(w[0]) / deviation if deviation > 1e-12 else 0.0


@njit(cache=True)
def amihud(w: Floats, p: Ints) -> float:
    """Mean of |log return| over million of quote traded; bars without volume left out."""
    total, seen = 0.0, 0
    for i in range(1, w.shape[1]):
        worth = w[0, i] * w[1, i] * 1e-6
        if worth > 0.0:
            total += abs(np.log(w[0, i] / w[0, i - 1])) / worth
            seen += 1
    return total / seen if seen else 0.0


@njit(cache=True)
def vwap_distance(w: Floats, p: Ints) -> float:
    """Close over the volume-weighted typical price, less 1; 0 without volume."""
    worth = volume = 0.0
    for i in range(w.shape[1]):
        worth += (w[0, i] + w[1, i] + w[2, i]) / 3.0 * w[3, i]
        volume += w[3, i]
    return w[2, -1] * volume / worth - 1.0 if volume > 0.0 else 0.0


@njit(cache=True)
def price_volume(w: Floats, p: Ints) -> float:
    """Correlation of |log return| with volume."""
    n = w.shape[1] - 1
    moves, volume = np.empty(n), np.empty(n)
    for i in range(n):
        moves[i] = abs(np.log(w[0, i + 1] / w[0, i]))
        volume[i] = w[1, i + 1]
    return correlation(moves, volume)


@njit(cache=True)
def force(w: Floats, p: Ints) -> float:
    """Sum of log return times volume over the volume."""
    above = below = 0.0
    for i in range(1, w.shape[1]):
        above += np.log(w[0, i] / w[0, i - 1]) * w[1, i]
        below += w[1, i]
    return above / below if below > 0.0 else 0.0


@njit(cache=True)
def _profile(w: Floats, bins: int) -> tuple[Floats, float, float]:
    """Volume by price: each bar's volume spread evenly from its low to its high."""
    low, high = w[1, 0], w[0, 0]
    for i in range(w.shape[1]):
        low, high = min(low, w[1, i]), max(high, w[0, i])
    width = (high - low) / bins
    held = np.zeros(bins)
    if width <= 0.0:
        return held, low, width
    for i in range(w.shape[1]):
        top, bottom = w[0, i], w[1, i]
        first = min(int((bottom - low) / width), bins - 1)
        last = min(int((top - low) / width), bins - 1)
        if first == last:
            held[first] += w[3, i]
            continue
        for k in range(first, last + 1):
            inside = min(top, low + (k + 1) * width) - max(bottom, low + k * width)
            held[k] += w[3, i] * max(inside, 0.0) / (top - bottom)
    return held, low, width


@njit(cache=True)
def profile_point(w: Floats, p: Ints) -> float:
    """Close over the middle of the price bin with most volume, less 1."""
    held, low, width = _profile(w, p[1])
    best = 0
    for k in range(1, len(held)):
        if held[k] > held[best]:
            best = k
    return w[2, -1] / (low + (best + 0.5) * width) - 1.0


@njit(cache=True)
def profile_below(w: Floats, p: Ints) -> float:
    """Share of the volume that was traded below the close; 0.5 without volume."""
    held, low, width = _profile(w, p[1])
    below = total = 0.0
    for k in range(len(held)):
        total += held[k]
        part = (w[2, -1] - (low + k * width)) / width if width > 0.0 else 0.5
        below += held[k] * min(max(part, 0.0), 1.0)
    return below / total if total > 0.0 else 0.5


@njit(cache=True)
def vpin(w: Floats, p: Ints) -> float:
    """Mean order imbalance of p[1] buckets of equal volume, bars being split where needed."""
    buckets, total = p[1], 0.0
    for i in range(w.shape[1]):
        if w[0, i] == w[0, i] and w[1, i] == w[1, i]:
            total += w[0, i] + w[1, i]
    if total <= 0.0:
        return np.nan
    size, filled, gap, imbalance, closed = total / buckets, 0.0, 0.0, 0.0, 0
    for i in range(w.shape[1]):
        if not (w[0, i] == w[0, i] and w[1, i] == w[1, i]):
            continue
        volume, signed = w[0, i] + w[1, i], w[0, i] - w[1, i]
        left = volume
        while left > 0.0 and closed < buckets - 1 and filled + left >= size:
            part = size - filled
            gap += signed * (part / volume)
            imbalance += abs(gap)
            left -= part
            filled, gap = 0.0, 0.0
            closed += 1
        if left > 0.0:
            gap += signed * (left / volume)
            filled += left
    return (imbalance + abs(gap)) / total


@njit(cache=True)
def root_mean(w: Floats, p: Ints) -> float:
    """Root of the mean of what is known."""
    return np.sqrt(seen_mean(w[0]))


@njit(cache=True)
def roll_spread(w: Floats, p: Ints) -> float:
    """Twice the root of the negative covariance of trade returns; 0 where it is positive."""
    covariance = count = 0.0
    for i in range(w.shape[1]):
        if w[0, i] == w[0, i] and w[1, i] > 2.0:
            covariance += w[0, i]
            count += w[1, i] - 2.0
    return 2.0 * np.sqrt(max(-covariance / count, 0.0)) if count > 0.0 else np.nan


@njit(cache=True)
def summed_ratio(w: Floats, p: Ints) -> float:
    """Sum of the first column over that of the second, where both are known."""
    above = below = 0.0
    for i in range(w.shape[1]):
        if w[0, i] == w[0, i] and w[1, i] == w[1, i]:
            above += w[0, i]
            below += w[1, i]
    return above / below if below > 0.0 else np.nan


@njit(cache=True)
def tick_signature(w: Floats, p: Ints) -> float:
    """Root of summed squared returns of bars over summed squared returns of their trades."""
    bars = ticks = 0.0
    for i in range(w.shape[1]):
        if w[2, i] == w[2, i]:
            r = np.log(w[1, i] / w[0, i])
            bars += r * r
            ticks += w[2, i]
    return np.sqrt(bars / ticks) if ticks > 0.0 else np.nan


@njit(cache=True)
def tick_jumps(w: Floats, p: Ints) -> float:
    """Part of the trades' realised variance above their bipower variation, at least 0."""
    variance = bipower = 0.0
    for i in range(w.shape[1]):
        if w[0, i] == w[0, i] and w[1, i] == w[1, i]:
            variance += w[0, i]
            bipower += w[1, i]
    return max(1.0 - 0.5 * np.pi * bipower / variance, 0.0) if variance > 0.0 else np.nan


@njit(cache=True)
def trade_size(w: Floats, p: Ints) -> float:
    """Volume a trade of the last bar over that of the window, less 1."""
    volume = count = 0.0
    for i in range(w.shape[1]):
        if w[1, i] > 0.0:
            volume += w[0, i]
            count += w[1, i]
    if volume <= 0.0 or not w[1, -1] > 0.0:
        return np.nan
    return (w[0, -1] / w[1, -1]) / (volume / count) - 1.0


@njit(cache=True)
def turn_sine(w: Floats, p: Ints) -> float:
    """Sine of the place in a turn of p[0] seconds that began p[1] seconds after the epoch."""
    return np.sin(2.0 * np.pi * (((w[0, -1] - p[1]) / p[0]) % 1.0))


@njit(cache=True)
def turn_cosine(w: Floats, p: Ints) -> float:
    """Cosine of the place in a turn of p[0] seconds that began p[1] seconds after the epoch."""
    return np.cos(2.0 * np.pi * (((w[0, -1] - p[1]) / p[0]) % 1.0))


@njit(cache=True)
def hours_place(w: Floats, p: Ints) -> float:
    """Share of the running period of p[0] hours that is over, 0 to below 1."""
    return (w[0, -1] / (p[0] * HOUR_S)) % 1.0


@njit(cache=True)
def weekend(w: Floats, p: Ints) -> float:
    """1 on Saturdays and Sundays, UTC, else 0; a close at midnight belongs to the day it ends."""
    if w[0, -1] != w[0, -1]:
        return np.nan
    day = int((np.ceil(w[0, -1] / DAY_S) - 1.0 + THURSDAY) % 7)
    return 1.0 if day >= 5 else 0.0


@njit(cache=True)
def between(w: Floats, p: Ints) -> float:
    """1 on weekdays while the second of the day is in (p[0], p[1]], else 0."""
    if w[0, -1] != w[0, -1]:
        return np.nan
    second = w[0, -1] - np.floor(w[0, -1] / DAY_S) * DAY_S
    return 1.0 if p[0] < second <= p[1] and weekend(w, p) == 0.0 else 0.0
