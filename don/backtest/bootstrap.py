"""Confidence intervals of performance figures by the stationary block bootstrap. Pure, seeded.

Returns of a strategy depend on each other, in level and more so in size; drawing them one by one
would say that the future is surer than it is. Blocks of random, geometrically distributed length
keep what hangs together in a row (Politis & Romano, "The stationary bootstrap", JASA 89, 1994).
"""

import math

import numpy as np
from numba import njit
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


def blocks(
    n: int, mean_block: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the blocks of one draw begin, and their lengths: after each step a block ends with
    probability 1 / mean_block. Together they are at least `n` long.
    """
    begins, lengths, total = [], [], 0
    count = int(n / mean_block + 6.0 * math.sqrt(n / mean_block)) + 8
    while total < n:
        lengths.append(rng.geometric(1.0 / mean_block, count))
        begins.append(rng.integers(0, n, count))
        total += int(lengths[-1].sum())
    return np.concatenate(begins), np.concatenate(lengths)


def resampled(n: int, mean_block: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """[n] indices of one draw: blocks begin anywhere and go round at the end."""
    begins, lengths = blocks(n, mean_block, rng)
    ends = np.cumsum(lengths)
    within = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    return np.asarray((np.repeat(begins, lengths) + within)[:n] % n)


@njit(cache=True)
def _sums(
    r: Floats, logs: Floats, mean: float, begins: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[float, float, float, float, float]:
    """Of returns drawn by blocks: sum of logs, their deepest fall from a peak, sums of what they
    are off `mean`, of its square, and of the squares of losses. One pass.
    """
    n = len(r)
    total = peak = deepest = off = square = losses = 0.0
    left = n
    for b in range(len(begins)):
        i = begins[b]
        count = min(lengths[b], left)
        for _ in range(count):
            total += logs[i]
            peak = max(peak, total)
            deepest = min(deepest, total - peak)
            d = r[i] - mean
            off += d
            square += d * d
            if r[i] < 0.0:
                losses += r[i] * r[i]
            i += 1
            if i == n:
                i = 0
        left -= count
        if left == 0:
            break
    return total, deepest, off, square, losses


def statistics(
    r: Floats,
    interval_ns: int,
    begins: NDArray[np.int64] | None = None,
    lengths: NDArray[np.int64] | None = None,
    logs: Floats | None = None,
) -> Floats:
    """The figures in `NAMES` of returns, drawn by blocks or as they are, as
    `don.performance.measure` gives them of the series; NaN where it cannot say.

    Args:
        r: [step] simple returns.
        interval_ns: length of a step.
        begins: [block] first step of each block.
        lengths: [block]; what is beyond `len(r)` in all is left out.
        logs: [step] of 1 + r, where they are known already, all finite.
    """
    n, nan = len(r), math.nan
    if n < 2 or (logs is None and (r <= -1.0).any()):
        return np.full(len(NAMES), nan)
    years = n * interval_ns / YEAR_NS
    root = math.sqrt(YEAR_NS / interval_ns)
    middle = float(r.mean())
    known = np.log1p(r) if logs is None else logs
    if begins is None or lengths is None:
        begins, lengths = np.zeros(1, np.int64), np.array([n])
    total, deepest, off, square, losses = _sums(r, known, middle, begins, lengths)
    with np.errstate(over="ignore"):
        annual = float(np.expm1(total / years))
    fall = -math.expm1(deepest)
    mean = middle + off / n
    deviation = math.sqrt(max(square - off * off / n, 0.0) / (n - 1))
    downside = math.sqrt(losses / n)
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
        Bounds by name, NaN where fewer than eight returns, or a total loss, say nothing; the block
        length is the longer of those that returns and their sizes ask for, because volatility
        clusters.

    Raises:
        ValueError: if draws or level are out of range.
    """
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"need draws >= 1 and 0 < level < 1, were {draws} and {level}")
    if len(r) < 8 or (r <= -1.0).any():
        return dict.fromkeys(NAMES, (math.nan, math.nan)), math.nan
    block = max(block_length(r), block_length(np.abs(r)))
    rng = np.random.default_rng(seed)
    logs = np.log1p(r)
    found = np.array(
        [statistics(r, interval_ns, *blocks(len(r), block, rng), logs=logs) for _ in range(draws)]
    )
    tail = 100.0 * (1.0 - level) / 2.0
    out: dict[str, tuple[float, float]] = {}
    for n, name in enumerate(NAMES):
        known = found[np.isfinite(found[:, n]), n]
        low, high = np.percentile(known, [tail, 100.0 - tail]) if len(known) else (math.nan,) * 2
        out[name] = (float(low), float(high))
    return out, block
