"""Confidence intervals of performance figures by the stationary block bootstrap. Pure, seeded.

Returns of a strategy depend on each other, in level and more so in size; drawing them one by one
would say that the future is surer than it is. Blocks of random, geometrically distributed length
keep what hangs together in a row (Politis & Romano, "The stationary bootstrap", JASA 89, 1994).
"""

import math

import numpy as np
from numpy.typing import NDArray

from don.performance import YEAR_NS

Floats = NDArray[np.float64]
NAMES = ("annual_return", "annual_volatility", "sharpe", "sortino", "max_drawdown", "calmar")
_CONFIDENT = 2.0  # standard errors beyond which an autocorrelation counts, of Politis & White


def block_length(r: Floats) -> float:
    """Mean length of blocks that suits a series, from its autocorrelation; at least 1.

    Args:
        r: [step] values.

    Source: Politis & White, "Automatic block-length selection for the dependent bootstrap",
    Econometric Reviews 23(1), 2004, with the correction of Patton, Politis & White, 28(4), 2009.
    """
    n = len(r)
    if n < 8 or not r.std() > 0:
        return 1.0
    run = max(5, math.ceil(math.sqrt(math.log10(n))))
    most = min(math.ceil(math.sqrt(n)) + run, n - 1)
    centred = r - r.mean()
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    covariance = np.fft.irfft(spectrum * spectrum.conj(), size)[: most + 1] / n
    rho = covariance / covariance[0]
    bound = _CONFIDENT * math.sqrt(math.log10(n) / n)
    small = np.abs(rho[1:]) < bound
    m = next((k for k in range(len(small) - run + 1) if small[k : k + run].all()), None)
    if m is None:  # never quiet: up to the last lag that counts
        loud = np.flatnonzero(~small)
        m = int(loud[-1]) + 1 if len(loud) else 1
    M = min(2 * max(m, 1), most)
    lags = np.arange(-M, M + 1)
    x = np.abs(lags) / M
    window = np.where(x <= 0.5, 1.0, 2.0 * (1.0 - x))
    around = covariance[np.abs(lags)]
    G = float((window * np.abs(lags) * around).sum())
    D = 2.0 * float((window * around).sum()) ** 2
    if D <= 0:
        return 1.0
    best = (2.0 * G * G / D) ** (1 / 3) * n ** (1 / 3)
    return float(min(max(best, 1.0), math.ceil(min(3 * math.sqrt(n), n / 3))))


def resampled(n: int, mean_block: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """[n] indices of one draw: blocks begin anywhere, go round at the end, and end with
    probability 1 / mean_block after each step.
    """
    steps = np.arange(n)
    begins = rng.random(n) < 1.0 / mean_block
    begins[0] = True
    last = np.maximum.accumulate(np.where(begins, steps, 0))
    return np.asarray((rng.integers(0, n, n)[last] + steps - last) % n)


def statistics(r: Floats, interval_ns: int) -> Floats:
    """The figures in `NAMES` of returns, as `don.performance.measure` gives them; NaN where it
    cannot say.
    """
    years = len(r) * interval_ns / YEAR_NS
    root = math.sqrt(YEAR_NS / interval_ns)
    nan = math.nan
    if len(r) < 2 or (r <= -1.0).any():
        return np.full(len(NAMES), nan)
    logs = np.cumsum(np.log1p(r))
    with np.errstate(over="ignore"):
        annual = float(np.expm1(logs[-1] / years))
    peak = np.maximum(np.maximum.accumulate(logs), 0.0)
    fall = float(-np.expm1((logs - peak).min()))
    mean, deviation = float(r.mean()), float(r.std(ddof=1))
    downside = float(np.sqrt(np.mean(np.minimum(r, 0.0) ** 2)))
    return np.array(
        [
            annual,
            deviation * root,
            mean / deviation * root if deviation > 1e-15 else nan,
            mean / downside * root if downside > 1e-15 else nan,
            fall,
            annual / fall if fall > 1e-15 else nan,
        ]
    )


def intervals(
    r: Floats, interval_ns: int, *, draws: int = 1_000, level: float = 0.95, seed: int = 0
) -> tuple[dict[str, tuple[float, float]], float]:
    """Percentile intervals of the figures in `NAMES`, and the mean block length used.

    Args:
        r: [step] simple returns.
        interval_ns: length of a step.
        draws: how often the series is drawn anew.
        level: of confidence, in (0, 1).
        seed: of the draws.

    Returns:
        Bounds by name, NaN where fewer than eight returns say nothing; the block length is the
        longer of those that returns and their sizes ask for, because volatility clusters.

    Raises:
        ValueError: if draws or level are out of range.
    """
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"need draws >= 1 and 0 < level < 1, were {draws} and {level}")
    if len(r) < 8:
        return dict.fromkeys(NAMES, (math.nan, math.nan)), math.nan
    block = max(block_length(r), block_length(np.abs(r)))
    rng = np.random.default_rng(seed)
    found = np.array(
        [statistics(r[resampled(len(r), block, rng)], interval_ns) for _ in range(draws)]
    )
    tail = 100.0 * (1.0 - level) / 2.0
    out: dict[str, tuple[float, float]] = {}
    for n, name in enumerate(NAMES):
        known = found[np.isfinite(found[:, n]), n]
        low, high = np.percentile(known, [tail, 100.0 - tail]) if len(known) else (math.nan,) * 2
        out[name] = (float(low), float(high))
    return out, block
