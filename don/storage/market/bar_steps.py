"""Whether the times of a file's bars fit the interval that they are said to have. Pure."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from don.clock import NS_PER_S, interval_text, iso

Times: TypeAlias = npt.NDArray[np.int64]
HOUR_NS = 3_600 * NS_PER_S
ENOUGH = 10  # bars of a series from which its interval shows


class BarSteps:
    """Follows the series of one file; bars that overlap, or lie between the marks, are wrong.

    Args:
        interval_ns: as the file is said to have.
    """

    def __init__(self, interval_ns: int) -> None:
        self._interval = interval_ns
        # longer bars begin where an exchange likes: days at 16:00, weeks on Mondays
        self._grid = min(interval_ns, HOUR_NS)
        self._series: dict[str, tuple[int, int, int]] = {}  # rows, last time, common step

    def add(self, series: str, times: Times) -> tuple[int, str] | None:
        """Take in the next bars of a series, in order of time.

        Args:
            series: its name.
            times: (T,) close times, ns.

        Returns:
            None, or the first bar that is wrong and what is wrong with it.
        """
        off = np.flatnonzero(times % self._grid)
        if len(off):
            at = int(off[0])
            return at, (
                f"a bar of {interval_text(self._interval)} that closes at {_exact(int(times[at]))} "
                f"is not on whole {interval_text(self._grid)}: other bars, or another time"
            )
        rows, last, common = self._series.get(series, (0, int(times[0]) if len(times) else 0, 0))
        steps = np.diff(times, prepend=last)
        short = np.flatnonzero(steps % self._interval)
        if len(short):
            at = int(short[0])
            return at, (
                f"follows the bar before it by {interval_text(abs(int(steps[at])))}, which bars of "
                f"{interval_text(self._interval)} cannot: give their true --interval"
            )
        common = int(np.gcd(common, np.gcd.reduce(steps))) if len(steps) else common
        end = int(times[-1]) if len(times) else last
        self._series[series] = rows + len(times), end, common
        return None

    def result(self) -> str:
        """What is wrong with the whole, if anything: every series has longer steps throughout."""
        known = [common for rows, _, common in self._series.values() if rows >= ENOUGH and common]
        if not known or min(known) == self._interval:
            return ""
        step = int(np.gcd.reduce(np.asarray(known)))
        if step == self._interval:
            return ""
        return (
            f"its bars follow each other by {interval_text(step)} everywhere, their interval was "
            f"said to be {interval_text(self._interval)}: give --interval {interval_text(step)}"
        )


def _exact(ts_ns: int) -> str:
    return iso(ts_ns) if ts_ns % 1_000_000 == 0 else f"{ts_ns} ns"
