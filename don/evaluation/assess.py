"""What courses out of sample say: figures and how sure they are. Pure, seeded.

The strategy that is judged is what one would have run: one agent, or equal capital put into each of
its seeds once. It is judged against holding first, because holding needs no agent.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from don.clock import NS_PER_S
from don.errors import DataError
from don.evaluation.advantage import Advantage
from don.evaluation.baselines import HOLD
from don.evaluation.course import Course, mixed
from don.evaluation.daily import beside, daily, figures
from don.evaluation.daily import intervals as intervals_of
from don.evaluation.luck import luck_variance
from don.evaluation.overfitting import overfitting
from don.evaluation.reality import LEAST, Reality, reality_check
from don.evaluation.sharpe import (
    Moments,
    deflated,
    expected_best,
    minimum_record,
    probabilistic,
)
from don.performance import YEAR_NS
from don.storage.research_ratios import Ratio
from don.words import amount

Floats = NDArray[np.float64]
BLOCKS = 10  # of the test for overfitting
_DAY_NS = 86_400 * NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """How often luck was tried, from the research ledger."""

    trials: int  # >= 1
    ratios: tuple[Ratio, ...] = ()  # of those that told one, in the order in which they did
    looks: int = 0  # evaluations of the same data before
    studies: int = 0  # of the same data before
    backtests: int = 0  # of the same data before, sweeps as one
    outside: int = 0  # trials that the ledger misses
    ledger: Mapping[str, object] = field(default_factory=dict)  # which ledger, up to which entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Certainty:
    """How sure the Sharpe ratio is; of daily returns where bars are shorter than a day."""

    steps: int
    step_days: float
    sharpe: float  # annual
    skew: float
    kurtosis: float
    probabilistic: float  # probability that the true ratio is above 0
    trials: int
    best_of_luck: float  # annual ratio that the best of as many lucky trials is expected to have
    deflated: float  # probability that the true ratio is above 0, knowing of the trials
    minimum_days: float  # record needed to be above 0 with 95 %
    above_hold: float  # probability that the true ratio is above what holding had


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Whether choosing the best of several by the past helps: see `overfitting`."""

    of: tuple[str, ...]
    probability: float
    loss: float
    slope: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rivals:
    """What the judged one was chosen among, over the same bars."""

    name: str  # what they are together: "8 configurations of search x"
    courses: tuple[Course, ...]  # the one that was put first before the others


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """Everything that a result page tells."""

    strategy: str
    start_ns: int
    end_ns: int
    interval_ns: int
    figures: Mapping[str, Mapping[str, float]]  # course -> figure -> value
    intervals: Mapping[str, Mapping[str, tuple[float, float]]]  # 95 %, by course and figure
    against: Mapping[str, Advantage]  # the strategy beside each baseline
    seeds_above_hold: tuple[int, int]  # seeds that grew more than holding, of how many
    certainty: Certainty
    reality: Reality | None  # seeds, or rivals, against holding; None: too short
    choice: Choice | None
    cautions: tuple[str, ...]
    over: str = ""  # the rivals that reality and choice are over; "": the seeds
    rivals: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # as `figures`


def assess(
    strategy: str, seeds: Sequence[Course], baselines: Mapping[str, Course], counted: Counted, *,
    others: Sequence[Course] = (), cautions: Sequence[str] = (), draws: int = 1_000,
    seed: int = 0, rivals: Rivals | None = None,
) -> Assessment:  # fmt: skip
    """Judge a strategy.

    Args:
        strategy: its name.
        seeds: its course of each seed, over the same bars.
        baselines: courses of the same bars; `hold` is among them.
        counted: trials.
        others: courses that are shown beside.
        cautions: what else a reader must know.
        draws: of each bootstrap.
        seed: of the bootstraps.
        rivals: what was chosen among; None: nothing, so choice and reality check are over seeds.

    Raises:
        ValueError: if courses are not of the same bars, or there is none.
    """
    whole = mixed(seeds, strategy)
    courses = {strategy: whole}
    if len(seeds) > 1:
        courses |= {course.name: course for course in seeds}
    courses |= {course.name: course for course in others}
    courses |= baselines
    among = seeds if rivals is None else rivals.courses
    for course in (*courses.values(), *among):
        if not np.array_equal(course.ts, whole.ts):
            raise ValueError(f"courses must be of the same bars, {course.name} is of others")
    step = whole.interval_ns
    intervals = {
        name: intervals_of(course, draws=draws, seed=seed)
        for name, course in courses.items()
        if name == strategy or name in baselines
    }
    against = {
        name: beside(whole, base, draws=draws, seed=seed) for name, base in baselines.items()
    }
    hold = baselines[HOLD]
    ends = [_grown(course) for course in seeds]
    certain = certainty(whole, hold, counted)
    return Assessment(
        strategy=strategy,
        start_ns=int(whole.ts[0]),
        end_ns=int(whole.ts[-1]),
        interval_ns=step,
        figures={name: figures(course) for name, course in courses.items()},
        intervals=intervals,
        against=against,
        seeds_above_hold=(sum(end > _grown(hold) for end in ends), len(ends)),
        certainty=certain,
        reality=_reality(among, hold, draws, seed),
        choice=_choice(among),
        cautions=(*_cautions(whole, counted), *cautions),
        over="" if rivals is None else rivals.name,
        rivals={} if rivals is None else {c.name: figures(c) for c in rivals.courses},
    )


def certainty(course: Course, hold: Course, counted: Counted) -> Certainty:
    """How sure a course's Sharpe ratio is."""
    r, step_ns = daily(course)
    root = math.sqrt(YEAR_NS / step_ns)
    m, held = Moments.of(r), Moments.of(daily(hold)[0])
    days = step_ns / _DAY_NS
    variance = luck_variance(counted.ratios, counted.trials, m.count, days, YEAR_NS / step_ns)
    return Certainty(
        steps=m.count,
        step_days=days,
        sharpe=m.sharpe * root,
        skew=m.skew,
        kurtosis=m.kurtosis,
        probabilistic=probabilistic(m),
        trials=counted.trials,
        best_of_luck=expected_best(counted.trials, variance) * root,
        deflated=deflated(m, counted.trials, variance),
        minimum_days=minimum_record(m) * days,
        above_hold=probabilistic(m, held.sharpe) if math.isfinite(held.sharpe) else math.nan,
    )


def _grown(course: Course) -> float:
    """Of 1, whatever the capital."""
    return float(course.equity[-1] / course.equity[0])


def _reality(seeds: Sequence[Course], hold: Course, draws: int, seed: int) -> Reality | None:
    gains = np.column_stack([daily(course)[0] - daily(hold)[0] for course in seeds])
    if len(gains) < LEAST:
        return None
    return reality_check(gains, draws=draws, seed=seed)


def _choice(seeds: Sequence[Course]) -> Choice | None:
    if len(seeds) < 2:
        return None
    try:
        found = overfitting(np.column_stack([daily(course)[0] for course in seeds]), BLOCKS)
    except DataError:  # too short: nothing is told
        return None
    return Choice(
        of=tuple(course.name for course in seeds), probability=found.probability,
        loss=found.loss, slope=found.slope,
    )  # fmt: skip


def _cautions(course: Course, counted: Counted) -> list[str]:
    said = []
    if course.liquidations:
        said.append(f"The account was liquidated {amount(course.liquidations, 'time')}.")
    if course.breaks:
        said.append(
            f"{amount(course.breaks, 'gap')} in the data: positions were let go there without cost."
        )
    if counted.outside:
        said.append(
            f"The research ledger misses {amount(counted.outside, 'run')} of before, counted as "
            "trials of these data."
        )
    if seen := _seen(counted):
        said.append(
            f"These data were looked at before, {seen}: what was decided after a look is no longer "
            "out of sample."
        )
    return said


def _seen(counted: Counted) -> str:
    """Who told results of the same data before: evaluations, studies, backtests."""
    used = [
        amount(count, one, many)
        for count, one, many in (
            (counted.studies, "study", "studies"), (counted.backtests, "backtest", "backtests"),
        )
        if count
    ]  # fmt: skip
    told = [f"evaluated {amount(counted.looks, 'time')}"] if counted.looks else []
    return ", ".join([*told, *([f"used by {' and '.join(used)}"] if used else [])])
