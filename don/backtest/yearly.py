"""What a report tells a year, and what of runs that are too short for that. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from don.backtest.metrics import Metrics
from don.backtest.result import BacktestResult
from don.performance import COMPOUNDED, YEAR_NS, days_of, too_short


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Figures as they are told, side by side in the same unit."""

    found: list[Metrics]  # in the order of the runs
    per: str  # what turnover and costs are for: "a year", or the run
    notes: list[str]  # why something is left out
    instead: str  # beside a figure that is left out; "" where none is


def as_told(results: Sequence[BacktestResult], found: Sequence[Metrics]) -> Told:
    """Leave out returns raised to a year, and tell costs of the run, if any run is too short."""
    spans = [one.end_ns - one.start_ns for one in results]
    note = too_short(min(spans))
    if not note:
        return Told(found=list(found), per="a year", notes=[], instead="")
    return Told(
        found=[_of_run(one, span / YEAR_NS) for one, span in zip(found, spans, strict=True)],
        per="in the run" if len(spans) > 1 else f"in {days_of(spans[0])}",
        notes=[note],
        instead=f"not told of {days_of(min(spans))}",
    )


def _of_run(found: Metrics, years: float) -> Metrics:
    nan = float("nan")
    costs = found.costs
    return replace(
        found,
        columns={
            name: {**own, **dict.fromkeys(COMPOUNDED, nan)} for name, own in found.columns.items()
        },
        intervals={name: b for name, b in found.intervals.items() if name not in COMPOUNDED},
        turnover=found.turnover * years,
        costs=replace(
            costs, fee_drag=costs.fee_drag * years, funding_drag=costs.funding_drag * years
        ),
    )
