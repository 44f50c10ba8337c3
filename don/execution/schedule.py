"""How much of an order is due when: the curves of the scheduled algorithms. Pure; float64.

Every curve says which part of the size should be done by the end of each of n equal slices; it
rises and ends at 1. What is due is rounded down to lots by whoever trades it.
"""

import math
from collections.abc import Sequence

from don.clock import NS_PER_S

DAY_S = 86_400

# Mean share of a day's quote volume by hour of the day (UTC): 24 Binance USDT perpetuals, all whole
# days from 2023-01-01 to 2025-12-31, each symbol and day weighted alike.
HOURLY_VOLUME = (
    0.0440, 0.0397, 0.0363, 0.0327, 0.0317, 0.0314, 0.0339, 0.0369,
    0.0404, 0.0386, 0.0371, 0.0366, 0.0460, 0.0564, 0.0671, 0.0622,
    0.0576, 0.0489, 0.0430, 0.0400, 0.0393, 0.0334, 0.0342, 0.0326,
)  # fmt: skip


def twap(slices: int) -> tuple[float, ...]:
    """Evenly over time."""
    return tuple((i + 1) / slices for i in range(slices))


def vwap(
    start_ns: int, duration_s: float, slices: int, profile: Sequence[float] = HOURLY_VOLUME
) -> tuple[float, ...]:
    """As the market's usual volume: `profile` holds the shares of equal parts of a UTC day.

    Within a part the volume counts as even.
    """
    begin = start_ns / NS_PER_S % DAY_S
    done = [_volume(begin, duration_s * (i + 1) / slices, profile) for i in range(slices)]
    return tuple(part / done[-1] for part in done)


def _volume(begin: float, length: float, profile: Sequence[float]) -> float:
    """Share of a day's volume in [begin, begin + length) seconds of the day, days repeating."""
    return _since_midnight(begin + length, profile) - _since_midnight(begin, profile)


def _since_midnight(second: float, profile: Sequence[float]) -> float:
    days, rest = divmod(second, DAY_S)
    width = DAY_S / len(profile)
    part, into = divmod(rest, width)
    whole = math.fsum(profile)
    before = math.fsum(profile[: int(part)])
    return days * whole + before + profile[int(part) % len(profile)] * into / width


def shortfall(slices: int, urgency: float) -> tuple[float, ...]:
    """Least cost for a given aversion to risk, after Almgren and Chriss.

    With a temporary impact linear in the trading rate, a random walk and the aversion lambda, the
    holdings that minimise E + lambda V are x(t) = X sinh(kappa (T - t)) / sinh(kappa T), with
    kappa = sqrt(lambda sigma^2 / eta) in continuous time. `urgency` is kappa T: 0 is TWAP, 2 trades
    68 % in the first half. Source: R. Almgren and N. Chriss, "Optimal execution of portfolio
    transactions", Journal of Risk 3 (2001), equations 17 and 18.
    """
    if urgency < 1e-6:
        return twap(slices)
    whole = math.sinh(urgency)
    left = [math.sinh(urgency * (1 - (i + 1) / slices)) / whole for i in range(slices)]
    return tuple(1.0 - part for part in left)


def urgency_of(risk_aversion: float, sigma: float, impact: float, duration: float) -> float:
    """Kappa T of Almgren and Chriss.

    Args:
        risk_aversion: lambda, per unit of quote.
        sigma: standard deviation of the price over one unit of time, quote per base.
        impact: eta, quote per base for each base traded in one unit of time.
        duration: T, in units of time.
    """
    return math.sqrt(max(risk_aversion, 0.0) * sigma * sigma / impact) * duration


def due(curve: Sequence[float], passed: float) -> float:
    """Part of the size due once a part `passed` of the duration is over.

    A slice's part is due at its beginning, so that the first child leaves at once and the last
    one with a slice to spare.
    """
    if passed >= 1 or not curve:
        return 1.0
    return curve[min(int(max(passed, 0.0) * len(curve)), len(curve) - 1)]
