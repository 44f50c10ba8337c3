"""How sure a Sharpe ratio is: probabilistic, deflated, and how long a record must be. Pure.

Ratios here are per step (a bar, a day), not annual: `annual / sqrt(steps a year)`. The formulas
take returns as independent; where they hang together, confidence intervals by block bootstrap
(`don.backtest.bootstrap`) say more, and Don always tells both.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]
EULER_GAMMA = 0.5772156649015329


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """What the formulas need of a series of returns."""

    count: int  # T
    sharpe: float  # per step, sample deviation
    skew: float
    kurtosis: float  # 3 for a normal distribution

    @classmethod
    def of(cls, r: Floats) -> "Moments":
        """Of [T] returns; NaN below three of them or without deviation."""
        values = np.asarray(r, np.float64)
        n = len(values)
        deviation = float(values.std(ddof=1)) if n > 2 else 0.0
        if not deviation > 1e-15:
            return cls(count=n, sharpe=math.nan, skew=math.nan, kurtosis=math.nan)
        z = (values - values.mean()) / values.std()
        return cls(
            count=n,
            sharpe=float(values.mean()) / deviation,
            skew=float((z**3).mean()),
            kurtosis=float((z**4).mean()),
        )

    @property
    def variance(self) -> float:
        """Of the estimated ratio times T - 1: 1 - skew SR + (kurtosis - 1) / 4 SR^2.

        Source: Mertens, "Comments on variance of the IID estimator in Lo" (2002); Lo (2002) for
        normal returns.
        """
        sr = self.sharpe
        return 1.0 - self.skew * sr + (self.kurtosis - 1.0) / 4.0 * sr * sr


def probabilistic(m: Moments, benchmark: float = 0.0) -> float:
    """Probability that the true ratio is above a benchmark, PSR(SR*).

    Args:
        m: of the returns.
        benchmark: SR*, per step.

    Returns:
        Phi((SR - SR*) sqrt(T - 1) / sqrt(variance)); NaN where the returns cannot say.

    Source: Bailey & López de Prado, "The Sharpe ratio efficient frontier", Journal of Risk 15(2),
    2012, eq. 9.
    """
    if not (m.count > 2 and m.variance > 0):
        return math.nan
    return float(ndtr((m.sharpe - benchmark) * math.sqrt(m.count - 1) / math.sqrt(m.variance)))


def expected_best(trials: int, variance: float) -> float:
    """Expected greatest of N estimated ratios whose true value is zero.

    Args:
        trials: N >= 1; with one there is no choice: 0.
        variance: of the ratios over the trials, per step.

    Returns:
        sqrt(V) ((1 - gamma) z(1 - 1/N) + gamma z(1 - 1/(N e))), z the normal quantile.

    Raises:
        ValueError: if trials or variance are out of range.

    Source: Bailey & López de Prado, "The deflated Sharpe ratio", Journal of Portfolio Management
    40(5), 2014, eq. 1, after the extreme value theory of Gumbel.
    """
    if trials < 1 or not variance >= 0:
        raise ValueError(f"need trials >= 1 and variance >= 0, were {trials} and {variance}")
    if trials == 1:
        return 0.0
    first, second = ndtri(1.0 - 1.0 / trials), ndtri(1.0 - 1.0 / (trials * math.e))
    return float(math.sqrt(variance) * ((1.0 - EULER_GAMMA) * first + EULER_GAMMA * second))


def deflated(m: Moments, trials: int, variance: float) -> float:
    """Probability that the true ratio is above zero, knowing that this is the best of N: the
    probabilistic ratio with `expected_best` as benchmark.

    Source: Bailey & López de Prado (2014), eq. 2.
    """
    return probabilistic(m, expected_best(trials, variance))


def trial_variance(sharpes: Floats, count: int, *, least: int = 10) -> float:
    """Variance over trials to deflate with, per step.

    With `least` trials that told their ratio: their variance, but never below what ratios of
    luck alone would have. With fewer: that, 1 / (T - 1).

    Args:
        sharpes: [trial] per step, of those that are known.
        count: T, steps behind each.
        least: trials needed to believe their variance.
    """
    luck = 1.0 / max(count - 1, 1)
    known = np.asarray(sharpes, np.float64)
    known = known[np.isfinite(known)]
    return max(float(known.var(ddof=1)), luck) if len(known) >= max(least, 2) else luck


def minimum_record(m: Moments, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Steps that a record with these moments must have to be above a benchmark with confidence.

    Returns:
        1 + variance (z / (SR - SR*))^2; infinite if SR is not above SR*; NaN where it cannot say.

    Raises:
        ValueError: if confidence is not between 0.5 and 1.

    Source: Bailey & López de Prado (2012), eq. 11.
    """
    if not 0.5 < confidence < 1:
        raise ValueError(f"confidence must be between 0.5 and 1, was {confidence}")
    if not m.variance > 0:
        return math.nan
    if m.sharpe <= benchmark:
        return math.inf
    return float(1.0 + m.variance * (ndtri(confidence) / (m.sharpe - benchmark)) ** 2)
