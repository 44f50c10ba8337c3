"""Clock comparisons in the state folder, for readers in other clusters. Reads and writes a file.

`don data collect` has no part in the board of `don up`: what it measures lies in `clocks.json`.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from don.observe.sample import Sample

FILE = "clocks.json"
MOST_BYTES = 64 << 10
AHEAD, ERROR = "exchange_clock_ahead_seconds", "exchange_clock_error_seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """How far our clock is ahead of an exchange's."""

    exchange: str
    ahead_s: float
    error_s: float | None  # at most so far from that


def readings(samples: Iterable[Sample]) -> list[ClockReading]:
    """Of a part's samples, by exchange; pure."""
    told: dict[str, dict[str, float]] = {}
    for each in samples:
        if each.name in (AHEAD, ERROR) and math.isfinite(each.value):
            told.setdefault(dict(each.labels).get("exchange", ""), {})[each.name] = each.value
    return [
        ClockReading(exchange=name, ahead_s=found[AHEAD], error_s=found.get(ERROR))
        for name, found in sorted(told.items())
        if AHEAD in found
    ]


def write(home: Path, found: Iterable[ClockReading], now_ns: int) -> None:
    """Put what was measured where others find it.

    Raises:
        OSError: if the state folder cannot be written.
    """
    path = home / FILE
    rows = [{"exchange": r.exchange, "ahead_s": r.ahead_s, "error_s": r.error_s} for r in found]
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({"ts": now_ns, "clocks": rows}))
    draft.replace(path)


def read(home: Path) -> tuple[int, list[ClockReading]]:
    """When it was written (ns), and what; 0 and nothing if nobody has, or it cannot be read."""
    try:
        with (home / FILE).open("rb") as file:
            told = json.loads(file.read(MOST_BYTES))
        found = [
            ClockReading(
                exchange=str(row["exchange"]),
                ahead_s=float(row["ahead_s"]),
                error_s=None if row["error_s"] is None else float(row["error_s"]),
            )
            for row in told["clocks"]
        ]
        return int(told["ts"]), found
    except (OSError, ValueError, TypeError, KeyError):
        return 0, []
