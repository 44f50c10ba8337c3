"""Features that compare the symbols with each other. Pure.

Those of one bar have no state; the others are a function of the last n bars of all symbols. What a
symbol lacks (NaN) counts for nothing, and it has no value itself.
"""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numba import njit

from don.features.base import CrossFeature, Spec
from don.features.columns import Floats


class Rank(CrossFeature):
    """Rank of a symbol's value among all symbols, from -0.5 (lowest) to 0.5; ties share theirs.

    With fewer than two known values there is nothing to rank: 0 for the one that is known.
    """

    def __init__(self, spec: Spec, of: str) -> None:
        self.spec, self.of = spec, of

    def across(self, values: Floats) -> Floats:
        """[..., symbol] from [..., symbol]."""
        known = np.isfinite(values)
        a, b = values[..., :, None], values[..., None, :]
        below = np.sum((b < a) & known[..., None, :], axis=-1)
        equal = np.sum((b == a) & known[..., None, :], axis=-1) - 1
        others = np.maximum(known.sum(axis=-1, keepdims=True) - 1, 1)
        alone = known.sum(axis=-1, keepdims=True) < 2
        rank = np.where(alone, 0.0, (below + 0.5 * equal) / others - 0.5)
        return np.where(known, rank, np.nan)


class Across(CrossFeature):
    """A compiled function of one bar: (values [symbol]) -> [symbol]."""

    def __init__(self, spec: Spec, of: str, function: Callable[[Floats], Floats]) -> None:
        self.spec, self.of, self._function = spec, of, function

    def across(self, values: Floats) -> Floats:
        """[..., symbol] from [..., symbol]."""
        flat = np.ascontiguousarray(values, np.float64).reshape(-1, values.shape[-1])
        out: Floats = each_bar(self._function, flat).reshape(values.shape)
        return out


class RollingCross(CrossFeature):
    """A compiled function of the last n bars: (values [n, symbol], bars seen) -> [symbol].

    Args:
        spec: name, kind, parameters, version.
        of: name of the feature that it compares.
        function: gets the window oldest bar first; bars before the first are NaN.
        window: n.
    """

    def __init__(self, spec: Spec, of: str, function: Any, window: int) -> None:
        self.spec, self.of, self.warm_up = spec, of, window - 1
        self._function, self._window = function, window
        self._room = np.empty((0, 0))
        self._end = 0

    def fresh(self) -> Self:
        """A stream that has seen nothing."""
        return type(self)(self.spec, self.of, self._function, self._window)

    def across(self, values: Floats) -> Floats:
        """A history [time, symbol]: values [time, symbol]."""
        out: Floats = each_window(
            self._function, np.ascontiguousarray(values, np.float64), self._window
        )
        return out

    def update(self, values: Floats) -> Floats:
        """Take in the values of one bar, [symbol]; what comes of them."""
        n = self._window
        if not len(self._room):
            self._room = np.empty((2 * n, len(values)))
        if self._end == 2 * n:
            self._room[:n] = self._room[n:]
            self._end = n
        self._room[self._end] = values
        self._end += 1
        if self._end < n:
            return np.full(len(values), np.nan)
        out: Floats = self._function(self._room[self._end - n : self._end])
        return out


def each_bar(function: Any, values: Floats) -> Floats:
    """A function of one bar over a history."""
    return np.array([function(row) for row in values]).reshape(values.shape)


def each_window(function: Any, values: Floats, n: int) -> Floats:
    """A function of n bars over a history; NaN before there are n."""
    out = np.full(values.shape, np.nan)
    for t in range(n - 1, len(values)):  # a call costs little beside n x symbols
        out[t] = function(values[t - n + 1 : t + 1])
    return out


@njit(cache=True)
def spread_of(values: Floats) -> tuple[float, float, int]:
    """Mean, population deviation and number of the known values."""
    total, square, seen = 0.0, 0.0, 0
    for x in values:
        if x == x:
            total += x
            seen += 1
    if not seen:
        return np.nan, np.nan, 0
    mean = total / seen
    for x in values:
        if x == x:
            square += (x - mean) ** 2
    return mean, np.sqrt(square / seen), seen


@njit(cache=True)
def score(values: Floats) -> Floats:
    """Value less the mean of all, in their standard deviations; 0 if they are alike."""
    mean, deviation, _ = spread_of(values)
    out = np.empty(len(values))
    for i in range(len(values)):
        varies = deviation > 1e-12 * abs(mean)
        out[i] = values[i] * 0.0 + ((values[i] - mean) / deviation if varies else 0.0)
    return out


@njit(cache=True)
def excess(values: Floats) -> Floats:
    """Value less the mean of all."""
    return values - spread_of(values)[0]


@njit(cache=True)
def dispersion(values: Floats) -> Floats:
    """Standard deviation of all, the same for each that is known."""
    return values * 0.0 + spread_of(values)[1]


@njit(cache=True)
def breadth(values: Floats) -> Floats:
    """Share of the known values above 0, the same for each that is known."""
    above, seen = 0, 0
    for x in values:
        above += x > 0.0
        seen += x == x
    return values * 0.0 + above / max(seen, 1)


@njit(cache=True)
def market(window: Floats) -> Floats:
    """Mean of the known values, [time]."""
    out = np.empty(len(window))
    for t in range(len(window)):
        out[t] = spread_of(window[t])[0]
    return out


@njit(cache=True)
def _co_moments(x: Floats, y: Floats) -> tuple[float, float, float, float, float, int]:
    """Means, variances and covariance where both are known, and how often they are."""
    mx = my = vx = vy = cov = 0.0
    seen = 0
    for t in range(len(x)):
        if x[t] == x[t] and y[t] == y[t]:
            mx, my, seen = mx + x[t], my + y[t], seen + 1
    if not seen:
        return np.nan, np.nan, np.nan, np.nan, np.nan, 0
    mx, my = mx / seen, my / seen
    for t in range(len(x)):
        if x[t] == x[t] and y[t] == y[t]:
            vx += (x[t] - mx) ** 2
            vy += (y[t] - my) ** 2
            cov += (x[t] - mx) * (y[t] - my)
    return mx, my, vx / seen, vy / seen, cov / seen, seen


@njit(cache=True)
def beta(window: Floats) -> Floats:
    """Slope of a symbol's returns on the equally weighted market's; 1 if that does not vary."""
    m = market(window)
    out = np.full(window.shape[1], np.nan)
    for i in range(window.shape[1]):
        _, _, _, vm, cov, seen = _co_moments(window[:, i], m)
        if seen >= 2 and window[-1, i] == window[-1, i]:
            out[i] = cov / vm if vm > 1e-24 else 1.0
    return out


@njit(cache=True)
def market_correlation(window: Floats) -> Floats:
    """Correlation of a symbol's returns with the market's; 0 if one does not vary."""
    m = market(window)
    out = np.full(window.shape[1], np.nan)
    for i in range(window.shape[1]):
        _, _, vx, vm, cov, seen = _co_moments(window[:, i], m)
        if seen >= 2 and window[-1, i] == window[-1, i]:
            out[i] = cov / np.sqrt(vx * vm) if vx > 1e-24 and vm > 1e-24 else 0.0
    return out


@njit(cache=True)
def residual_volatility(window: Floats) -> Floats:
    """Deviation of what the market does not explain of a symbol's returns."""
    m = market(window)
    out = np.full(window.shape[1], np.nan)
    for i in range(window.shape[1]):
        _, _, vx, vm, cov, seen = _co_moments(window[:, i], m)
        if seen >= 2 and window[-1, i] == window[-1, i]:
            explained = cov * cov / vm if vm > 1e-24 else 0.0
            out[i] = np.sqrt(max(vx - explained, 0.0))
    return out


@njit(cache=True)
def residual_momentum(window: Floats) -> Floats:
    """Sum of a symbol's returns less beta times the market's."""
    m, b = market(window), beta(window)
    out = np.full(window.shape[1], np.nan)
    for i in range(window.shape[1]):
        if b[i] == b[i]:
            total = 0.0
            for t in range(len(m)):
                if window[t, i] == window[t, i]:
                    total += window[t, i] - b[i] * m[t]
            out[i] = total
    return out


@njit(cache=True)
def market_spread(window: Floats) -> Floats:
    """Price spread to the market, less its mean over the window, in its deviations."""
    m = market(window)
    out = np.full(window.shape[1], np.nan)
    for i in range(window.shape[1]):
        if window[-1, i] != window[-1, i]:
            continue
        path, level = np.full(len(m), np.nan), 0.0
        for t in range(len(m)):
            if window[t, i] == window[t, i]:
                level += window[t, i] - m[t]
                path[t] = level
        mean, deviation, _ = spread_of(path)
        out[i] = (path[-1] - mean) / deviation if deviation > 1e-12 else 0.0
    return out


@njit(cache=True)
def mean_correlation(window: Floats) -> Floats:
    """Mean correlation with the other symbols; 0 alone."""
    N = window.shape[1]
    out = np.full(N, np.nan)
    for i in range(N):
        if window[-1, i] != window[-1, i]:
            continue
        total, pairs = 0.0, 0
        for j in range(N):
            if i != j:
                _, _, vx, vy, cov, seen = _co_moments(window[:, i], window[:, j])
                if seen >= 2 and vx > 1e-24 and vy > 1e-24:
                    total += cov / np.sqrt(vx * vy)
                    pairs += 1
        out[i] = total / pairs if pairs else 0.0
    return out
