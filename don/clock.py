"""The only source of time: `SystemClock` reads the wall clock, `ReplayClock` is set by its owner.

Times are int64 nanoseconds since the Unix epoch, UTC. ISO-8601 is for the edges.
"""

import time
from datetime import UTC, datetime
from typing import Protocol

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """Wall time for stamps, monotonic time for durations; both in ns."""

    def now_ns(self) -> int:
        """Nanoseconds since the epoch, UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds on a clock that never goes back; only differences mean anything."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ns(self) -> int:
        """Nanoseconds since the epoch, UTC."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Monotonic nanoseconds."""
        return time.monotonic_ns()


class ReplayClock:
    """A clock that stands still until it is moved; it refuses to go back."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now = start_ns

    def now_ns(self) -> int:
        """The time last set."""
        return self._now

    def monotonic_ns(self) -> int:
        """The time last set."""
        return self._now

    def advance_to(self, now_ns: int) -> None:
        """Move to `now_ns`; raises ValueError if that is in the past."""
        if now_ns < self._now:
            raise ValueError(f"clock cannot go back to {now_ns}, was at {self._now}")
        self._now = now_ns


def iso(ts_ns: int) -> str:
    """ISO-8601 UTC with milliseconds, e.g. `2025-05-04T15:33:00.000Z`."""
    whole, frac = divmod(ts_ns, NS_PER_S)
    text = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{frac // NS_PER_MS:03d}Z"


def between(start_ns: int | None, end_ns: int | None) -> str:
    """A window for people: `between 2025-05-04T15:33:00.000Z and the end`."""
    start = "the beginning" if start_ns is None else iso(start_ns)
    return f"between {start} and {'the end' if end_ns is None else iso(end_ns)}"


def parse_iso(text: str) -> int:
    """Nanoseconds since the epoch of an ISO-8601 time; without an offset it is taken as UTC.

    Raises:
        ValueError: if the text is not a time, or none that int64 holds.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"time must be an ISO-8601 time such as 2025-05-04T15:33, was {text!r}"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    ts = (delta.days * 86_400 + delta.seconds) * NS_PER_S + delta.microseconds * 1_000
    if not -(2**63) <= ts < 2**63:
        raise ValueError(
            f"time must be an ISO-8601 time from 1677-09-22 to 2262-04-11, was {text!r}"
        )
    return ts


_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def interval_ns(interval: str) -> int:
    """Length of a bar interval such as `1m`, `30m`, `1h`, in ns.

    Raises:
        ValueError: if the text is not a positive number and one of s, m, h, d.
    """
    number, unit = interval[:-1], interval[-1:]
    if unit not in _UNITS_S or not number.isdigit() or int(number) == 0:
        raise ValueError(f"interval must be like 1m, 30m, 1h or 1d, was {interval!r}")
    return int(number) * _UNITS_S[unit] * NS_PER_S


def interval_text(interval_ns: int) -> str:
    """An interval of whole seconds in its largest whole unit, `1m`."""
    seconds = interval_ns // NS_PER_S
    unit, size = next((u, s) for u, s in reversed(_UNITS_S.items()) if seconds % s == 0)
    return f"{seconds // size}{unit}"
