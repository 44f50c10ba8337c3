"""The heat map of completeness: streams down, time across, the worst state of each cell. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from don.clock import iso
from don.market.coverage import (
    MINUTE_NS,
    WORST,
    Range,
    Shares,
    State,
    StreamKey,
    ceil_minute,
    floor_minute,
    shares_of,
)

# Minutes a column may stand for: steps that people count in.
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1_440, 2_880, 10_080, 20_160, 40_320, 80_640)
MAX_COLUMNS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Neighbouring cells that say the same."""

    first: int  # column
    last: int  # column, inclusive
    state: State  # the worst that occurs in each
    minutes: Mapping[State, int]  # in each cell; the rest is unknown
    reason: str  # of the worst state, "" if it has none


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRow:
    """One stream."""

    exchange: str
    channel: str
    symbol: str
    shares: Shares  # over the whole time asked for
    gaps: int  # ranges that are gaps
    runs: tuple[Run, ...]  # ascending; cells of which nothing is known are in none


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Streams by time."""

    start: int  # ns
    end: int
    step_ns: int  # width of a column
    columns: int
    rows: tuple[GridRow, ...]


def step_of(start: int, end: int, columns: int) -> int:
    """Width of a column in ns: the smallest round step with at most so many columns."""
    minutes = max(1, -(-(end - start) // MINUTE_NS))
    for step in STEPS:
        if -(-minutes // step) < columns or (step == 1 and minutes <= columns):
            return step * MINUTE_NS
    return -(-minutes // max(1, columns - 1)) * MINUTE_NS


def grid(
    streams: Sequence[StreamKey],
    ranges: Mapping[StreamKey, Sequence[Range]],
    start: int,
    end: int,
    columns: int = 120,
) -> Grid:
    """The heat map of some streams.

    Args:
        streams: a row each, in this order.
        ranges: what is known of each, ascending, without overlap.
        start: ns; rounded down to a whole column.
        end: ns, exclusive; rounded up to a whole minute.
        columns: at most so many, 2 to `MAX_COLUMNS`.

    Raises:
        ValueError: if start >= end or columns are out of bounds.
    """
    if start >= end or not 2 <= columns <= MAX_COLUMNS:
        raise ValueError(
            f"need start < end and 2 <= columns <= {MAX_COLUMNS}, were {iso(start)}, {iso(end)}, "
            f"{columns}"
        )
    step = step_of(start, end, columns)
    start = floor_minute(start) // step * step
    end = ceil_minute(end)
    count = -(-(end - start) // step)
    rows = []
    for stream in streams:
        known = ranges.get(stream, ())
        rows.append(
            GridRow(
                exchange=stream.exchange,
                channel=stream.channel,
                symbol=stream.symbol,
                shares=shares_of(known, start, end),
                gaps=sum(each.state is State.GAP for each in known),
                runs=tuple(_runs(known, start, end, step)),
            )
        )
    return Grid(start=start, end=end, step_ns=step, columns=count, rows=tuple(rows))


def _runs(known: Iterable[Range], start: int, end: int, step: int) -> list[Run]:
    """Cells that lie inside one range are one run; mixed ones are counted minute by minute."""
    runs: list[Run] = []
    mixed: dict[int, tuple[Counter[State], dict[State, str]]] = {}
    whole: list[Run] = []
    for each in known:
        low, high = max(each.start, start), min(each.end, end)
        if low >= high:
            continue
        first, last = (low - start) // step, (high - 1 - start) // step
        inner_first = first + (1 if low > start + first * step else 0)
        inner_last = last - (1 if high < min(end, start + (last + 1) * step) else 0)
        if inner_first <= inner_last:
            whole.append(
                Run(
                    first=inner_first,
                    last=inner_last,
                    state=each.state,
                    minutes={each.state: step // MINUTE_NS},
                    reason=each.reason,
                )
            )
        for at in {first, last} - set(range(inner_first, inner_last + 1)):
            inside = min(high, start + (at + 1) * step) - max(low, start + at * step)
            counts, reasons = mixed.setdefault(at, (Counter(), {}))
            counts[each.state] += inside // MINUTE_NS
            if each.reason:
                reasons[each.state] = each.reason
    for at, (counts, reasons) in mixed.items():
        worst = next(state for state in WORST if counts[state])
        reason = reasons.get(worst, "")
        runs.append(Run(first=at, last=at, state=worst, minutes=dict(counts), reason=reason))
    return _joined(sorted([*whole, *runs], key=lambda run: run.first))


def _joined(runs: list[Run]) -> list[Run]:
    joined: list[Run] = []
    for run in runs:
        last = joined[-1] if joined else None
        if last is not None and last.last + 1 == run.first and _same(last, run):
            joined[-1] = Run(
                first=last.first,
                last=run.last,
                state=run.state,
                minutes=run.minutes,
                reason=run.reason,
            )
        else:
            joined.append(run)
    return joined


def _same(one: Run, two: Run) -> bool:
    return (one.state, one.minutes, one.reason) == (two.state, two.minutes, two.reason)
