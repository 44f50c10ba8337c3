"""Our clock against each exchange's: told by parts on the board, and by what collects beside."""

from collections.abc import Iterable
from pathlib import Path

from don.clock import NS_PER_S
from don.observe import clocks
from don.observe.sample import Sample
from serve.schemas import ClockView

COLLECT = "data collect"
FORGOTTEN_S = 86_400.0  # of what collects no more, nothing is told after a day


def collected(home: Path, now_ns: int) -> list[ClockView]:
    """What `don data collect` measured last. Reads a file."""
    written, found = clocks.read(home)
    age = max(0.0, (now_ns - written) / NS_PER_S)
    return views(found, COLLECT, age) if age < FORGOTTEN_S else []


def of_part(part: str, samples: Iterable[Sample], age_s: float) -> list[ClockView]:
    """What a part of this Don says among its samples. Pure."""
    return views(clocks.readings(samples), part, age_s)


def views(found: Iterable[clocks.ClockReading], source: str, age_s: float) -> list[ClockView]:
    """Readings as they are shown. Pure."""
    return [
        ClockView(
            exchange=each.exchange,
            source=source,
            ahead_s=each.ahead_s,
            error_s=each.error_s,
            age_s=round(age_s, 1),
        )
        for each in found
    ]
