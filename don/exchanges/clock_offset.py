"""How far our clock is ahead of an exchange's, how sure that is, and how it drifts. Pure.

As NTP does it: half of a round trip is the error bound of one comparison, so the shortest round
trips tell best. A measurement is a few comparisons; several measurements tell the drift.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from don.clock import NS_PER_MS, NS_PER_S
from don.errors import RateLimited

BEST = 3  # comparisons of a measurement that count, those with the shortest round trips
KEEP = 32  # measurements
MIN_SPAN_S = 30.0  # of the measurements, before a drift is told
RETRY_S = 5.0


class ClockUnsafe(RateLimited):
    """Our clock is too far from the exchange's to sign requests: nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One question for the exchange's time."""

    sent_ns: int  # our wall time just before
    round_trip_ns: int
    server_ns: int  # what it answered, at the middle of what its resolution leaves open

    @property
    def ahead_ns(self) -> int:
        """Ns by which our clock is ahead, give or take half the round trip."""
        return self.sent_ns + self.round_trip_ns // 2 - self.server_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is known about the clocks."""

    ahead_ns: int  # ours before the exchange's
    error_ns: int  # at most, at the time of the measurement
    drift_ppm: float  # of ours against the exchange's; 0 while too little is known
    measured_ns: int  # monotonic
    measurements: int

    def text(self) -> str:
        """For people."""
        sign = "ahead of" if self.ahead_ns >= 0 else "behind"
        return (
            f"{abs(self.ahead_ns) / NS_PER_MS:.1f} ms {sign} the exchange "
            f"(± {self.error_ns / NS_PER_MS:.1f} ms, drift {self.drift_ppm:+.1f} ppm)"
        )


class ClockOffset:
    """Measurements of one exchange's clock."""

    def __init__(self) -> None:
        self._history: deque[tuple[int, int]] = deque(maxlen=KEEP)  # (monotonic, ahead)
        self._reading: Reading | None = None

    @property
    def reading(self) -> Reading | None:
        """The latest; None before the first."""
        return self._reading

    def add(self, comparisons: Sequence[Comparison], now_ns: int) -> Reading:
        """Take a measurement in.

        Args:
            comparisons: at least one, made just now.
            now_ns: monotonic time.
        """
        best = sorted(comparisons, key=lambda c: c.round_trip_ns)[:BEST]
        ahead = round(median(c.ahead_ns for c in best))
        # the true offset lies within every comparison's bound, so the tightest bound holds, plus
        # how far the median is from that one
        error = best[0].round_trip_ns // 2 + abs(best[0].ahead_ns - ahead)
        self._history.append((now_ns, ahead))
        self._reading = Reading(
            ahead_ns=ahead,
            error_ns=error,
            drift_ppm=self._drift_ppm(),
            measured_ns=now_ns,
            measurements=(self._reading.measurements if self._reading else 0) + 1,
        )
        return self._reading

    def check(self, bound_s: float) -> None:
        """Refuse to sign when the clocks are certainly further apart than the bound.

        Raises:
            ClockUnsafe: saying by how much, and what to do.
        """
        reading = self._reading
        if reading is None or abs(reading.ahead_ns) - reading.error_ns <= bound_s * NS_PER_S:
            return
        raise ClockUnsafe(
            f"this machine's clock is {reading.text()}: requests are not signed beyond "
            f"{bound_s:g} s; synchronise the clock (chronyc makestep, or timedatectl set-ntp true)",
            RETRY_S,
        )

    def _drift_ppm(self) -> float:
        """Median of the slopes between all pairs of measurements: outliers do not count."""
        history = list(self._history)
        if len(history) < 3 or history[-1][0] - history[0][0] < MIN_SPAN_S * NS_PER_S:
            return 0.0
        slopes = [
            (b[1] - a[1]) / (b[0] - a[0])
            for i, a in enumerate(history)
            for b in history[i + 1 :]
            if b[0] > a[0]
        ]
        return median(slopes) * 1e6
