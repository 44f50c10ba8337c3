"""What an equity curve says: return, volatility, Sharpe ratio, drawdown. Pure.

Annual figures multiply by the number of intervals in a year of 365 days: crypto never closes.
"""

from dataclasses import dataclass

import numpy as np

from don.clock import NS_PER_S

DAY_NS = 86_400 * NS_PER_S
YEAR_NS = 365 * DAY_NS
YEARLY_FROM_NS = 30 * DAY_NS  # shorter runs are not told as a year
COMPOUNDED = ("annual_return", "calmar")  # figures that raise a run's return to a year
SCALED = ("annual_volatility", "sharpe", "sortino")  # those that the root of time scales to one


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Figures of one equity curve. Rates are fractions; NaN where the curve is too short to say."""

    intervals: int
    total_return: float
    annual_return: float  # geometric
    annual_volatility: float
    sharpe: float  # annual, risk-free rate zero
    sortino: float  # annual, target zero
    max_drawdown: float  # positive fraction of the peak
    calmar: float  # annual_return / max_drawdown


def too_short(span_ns: int) -> str:
    """Why a run's return is not told as a year's, with what is told instead; "" if it is long
    enough.

    A return that is raised to a year says what as many equal runs in a row would bring: of two days
    it takes 182 of them. The Global Investment Performance Standards (2020) raise no return of less
    than a year to one; here a month is the least.
    """
    if span_ns >= YEARLY_FROM_NS:
        return ""
    return (
        f"The run lasts {days_of(span_ns)}, too short to be raised to a year: CAGR and Calmar are "
        f"left out under {YEARLY_FROM_NS // DAY_NS} days, turnover and costs are the run's own. "
        "Volatility, Sharpe and Sortino are scaled to a year from these few returns."
    )


def days_of(span_ns: int) -> str:
    """A span in words."""
    days = span_ns / DAY_NS
    return f"{days:.3g} {'day' if days == 1 else 'days'}"


def resample(ts: np.ndarray, equity: np.ndarray, interval_ns: int) -> np.ndarray:
    """The last equity at or before each multiple of an interval: a curve with even steps.

    Points of an equity curve come at bar closes and at fills; ratios need one step length.

    Args:
        ts: [point] exchange times, ns, not decreasing.
        equity: [point] quote.
        interval_ns: step, > 0.

    Returns:
        [step] equity, from the first multiple at or after the first point to the last one before
        or at the last point; empty if there is none.
    """
    if interval_ns <= 0:
        raise ValueError(f"interval_ns must be positive, was {interval_ns}")
    if not len(ts):
        return np.empty(0)
    first = -(-int(ts[0]) // interval_ns)
    last = int(ts[-1]) // interval_ns
    grid = np.arange(first, last + 1, dtype=np.int64) * interval_ns
    return np.asarray(equity, dtype=float)[np.searchsorted(ts, grid, side="right") - 1]


def returns(equity: np.ndarray) -> np.ndarray:
    """Simple returns [step - 1] of an equity curve that stays positive.

    Raises:
        ValueError: if an equity is not finite and positive.
    """
    curve = np.asarray(equity, dtype=float)
    if not (np.isfinite(curve).all() and (curve > 0).all()):
        raise ValueError("equity must be finite and positive at every step")
    return np.asarray(curve[1:] / curve[:-1] - 1.0)


def max_drawdown(equity: np.ndarray) -> float:
    """Largest fall from a running peak, as a positive fraction of the peak; 0 for no fall.

    Source: Magdon-Ismail & Atiya, "Maximum drawdown", Risk 17(10), 2004.
    """
    curve = np.asarray(equity, dtype=float)
    if not len(curve):
        return 0.0
    peak = np.maximum.accumulate(curve)
    return float(((peak - curve) / peak).max())


def sharpe(r: np.ndarray, interval_ns: int) -> float:
    """Annual Sharpe ratio of returns against a rate of zero: mean / deviation * sqrt(steps a year).

    The deviation is the sample's (n - 1). NaN below two returns or without deviation.

    Source: Sharpe, "The Sharpe Ratio", Journal of Portfolio Management 21(1), 1994; annual by the
    square root of time, which holds for independent returns only (Lo, "The Statistics of Sharpe
    Ratios", 2002).
    """
    if len(r) < 2:
        return float("nan")
    deviation = float(r.std(ddof=1))
    return _ratio(float(r.mean()), deviation) * _steps_root(interval_ns)


def sortino(r: np.ndarray, interval_ns: int) -> float:
    """Annual Sortino ratio with target zero: mean / downside deviation * sqrt(steps a year).

    The downside deviation is the root of the mean squared loss over all returns, gains as zero.

    Source: Sortino & Price, "Performance Measurement in a Downside Risk Framework", 1994.
    """
    if len(r) < 2:
        return float("nan")
    downside = float(np.sqrt(np.mean(np.minimum(r, 0.0) ** 2)))
    return _ratio(float(r.mean()), downside) * _steps_root(interval_ns)


def measure(equity: np.ndarray, interval_ns: int) -> Performance:
    """All figures of a curve with even steps (see `resample`).

    Args:
        equity: [step] quote, positive.
        interval_ns: length of a step, > 0.

    Raises:
        ValueError: if an equity is not finite and positive, or the interval is not positive.
    """
    if interval_ns <= 0:
        raise ValueError(f"interval_ns must be positive, was {interval_ns}")
    r = returns(equity)
    nan = float("nan")
    n = len(r)
    total = float(equity[-1] / equity[0] - 1.0) if n else nan
    # a short lucky run can pass the range of floats when raised to a year: that is infinity
    with np.errstate(over="ignore"):
        annual = float(np.power(1.0 + total, YEAR_NS / (n * interval_ns)) - 1.0) if n else nan
    fall = max_drawdown(equity)
    return Performance(
        intervals=n,
        total_return=total,
        annual_return=annual,
        annual_volatility=float(r.std(ddof=1)) * _steps_root(interval_ns) if n > 1 else nan,
        sharpe=sharpe(r, interval_ns),
        sortino=sortino(r, interval_ns),
        max_drawdown=fall,
        calmar=_ratio(annual, fall),
    )


def _steps_root(interval_ns: int) -> float:
    return float(np.sqrt(YEAR_NS / interval_ns))


def _ratio(over: float, under: float) -> float:
    """A quotient, NaN where the divisor is zero or vanishes beside rounding."""
    return over / under if under > 1e-15 else float("nan")
