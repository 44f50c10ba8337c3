"""Is the best of several strategies better than a benchmark, or the luckiest? Pure, seeded.

White's reality check asks whether the greatest of k mean advantages could be luck, given how they
move together; Hansen's SPA test is the same with advantages measured in their deviations, and with
strategies that are clearly bad not counted against the good ones. Both draw series anew with the
stationary bootstrap, all strategies at the same times.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from don.backtest.bootstrap import block_length, resampled
from don.errors import DataError, UsageError

Floats = NDArray[np.float64]
LEAST = 30  # steps below which the bootstrap says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Reality:
    """p-values: small ones say that the best strategy is better than the benchmark."""

    white: float  # reality check
    spa: float  # superior predictive ability, consistent
    spa_lower: float  # its bounds: every bad strategy left out,
    spa_upper: float  # and none
    best: int  # strategy with the greatest mean advantage
    advantage: float  # its, per step
    block: float  # mean block length, steps


def reality_check(
    advantages: Floats, *, draws: int = 1_000, seed: int = 0, block: float | None = None
) -> Reality:
    """Test that no strategy is better than the benchmark.

    Args:
        advantages: [T, k] return of each strategy less that of the benchmark, T >= 30.
        draws: of the bootstrap.
        seed: of the draws.
        block: mean block length; None: the longest that a column asks for.

    Raises:
        UsageError: if draws or block are out of range.
        DataError: if there are too few steps, or one is not finite.

    Sources: White, "A reality check for data snooping", Econometrica 68(5), 2000; Hansen, "A test
    for superior predictive ability", JBES 23(4), 2005, sections 2 and 3; the variance is that of
    the stationary bootstrap, Politis & Romano (1994), lemma 1.
    """
    d = np.asarray(advantages, np.float64)
    if d.ndim != 2 or d.shape[1] < 1:
        raise UsageError(f"advantages must be [T, k], were {d.shape}")
    n, k = d.shape
    if n < LEAST:
        raise DataError(f"the test needs {LEAST} steps, were {n}")
    if not np.isfinite(d).all():
        raise DataError("advantages must be finite")
    if draws < 1:
        raise UsageError(f"draws must be 1 or more, was {draws}")
    length = max(block_length(d[:, j]) for j in range(k)) if block is None else block
    if not length >= 1:
        raise UsageError(f"block must be 1 or more, was {length}")
    mean = d.mean(axis=0)
    omega = np.sqrt(np.maximum(_variance(d - mean, 1.0 / length), 1e-300))
    flat = omega < 1e-14  # as the benchmark: neither better nor worse
    root = math.sqrt(n)
    bad = mean <= -omega / root * math.sqrt(2.0 * math.log(math.log(n)))
    centres = np.stack([np.maximum(mean, 0.0), np.where(bad, 0.0, mean), mean])  # [3, k]
    rng = np.random.default_rng(seed)
    drawn = np.stack([d[resampled(n, length, rng)].mean(axis=0) for _ in range(draws)])
    white = (root * (drawn - mean)).max(axis=1) >= root * mean.max()
    scaled = np.where(flat, 0.0, root * mean / np.where(flat, 1.0, omega))
    best = max(float(scaled.max()), 0.0)
    p = []
    for centre in centres:
        z = np.where(flat, 0.0, root * (drawn - centre) / np.where(flat, 1.0, omega))
        p.append(float((np.maximum(z.max(axis=1), 0.0) >= best).mean()) if best > 0 else 1.0)
    top = int(mean.argmax())
    return Reality(
        white=float(white.mean()), spa=p[1], spa_lower=p[0], spa_upper=p[2], best=top,
        advantage=float(mean[top]), block=float(length),
    )  # fmt: skip


def _variance(centred: Floats, q: float) -> Floats:
    """[k] variance of sqrt(T) times the mean under the stationary bootstrap with restart
    probability q: gamma_0 + 2 sum kappa(i) gamma_i.
    """
    n = len(centred)
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, size, axis=0)
    gamma = np.fft.irfft(spectrum * spectrum.conj(), size, axis=0)[:n] / n
    i = np.arange(1, n)[:, None]
    kappa = (n - i) / n * (1.0 - q) ** i + i / n * (1.0 - q) ** (n - i)
    return np.asarray(gamma[0] + 2.0 * (kappa * gamma[1:]).sum(axis=0))
