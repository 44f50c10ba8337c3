"""The verdict: is an agent better than holding, beyond luck and the number of trials? Pure."""

import math
from enum import StrEnum

from don.evaluation.advantage import Advantage
from don.evaluation.assess import Assessment
from don.evaluation.baselines import HOLD
from don.performance import YEAR_NS, too_short
from don.words import amount

CONFIDENCE = 0.95
NOTHING = 5e-6  # a return that is told as 0.000 %


class Grade(StrEnum):
    """The verdict in one word."""

    BETTER = "better"  # than holding, beyond luck and the number of trials
    UNPROVEN = "unproven"  # earned more than holding, but luck explains it
    NO_BETTER = "no better"
    WORSE = "worse"  # beyond luck
    UNKNOWN = "unknown"  # too short to say anything


def grade(a: Assessment) -> Grade:
    """One word.

    *Better* needs all of: the 95 % interval of the yearly growth beyond holding lies above zero;
    the deflated Sharpe ratio is at least 95 %; most seeds beat holding. *Worse*: that interval lies
    below zero. *Unproven*: it grew more, but not beyond luck. Else *no better*.
    """
    beside = a.against[HOLD]
    low, high = beside.growth_interval
    if not math.isfinite(beside.growth):
        ruined = a.figures[a.strategy]["total_return"] <= -0.99
        return Grade.WORSE if ruined else Grade.UNKNOWN
    if high < 0:
        return Grade.WORSE
    if beside.growth <= 1e-9:  # a year: rounding
        return Grade.NO_BETTER
    above, of = a.seeds_above_hold
    sure = a.certainty.deflated >= CONFIDENCE
    if low > 0 and sure and 2 * above > of:
        return Grade.BETTER
    return Grade.UNPROVEN


def words(a: Assessment) -> tuple[str, ...]:
    """The verdict in plain sentences, the answer first."""
    beside, own = a.against[HOLD], a.figures[a.strategy]
    hold = a.figures[HOLD]
    per = years_told(a)[1]
    grown, (low, high) = relative(a, beside)
    said = [_answer(a)]
    said.append(
        f"It returned {_rate(own['total_return'])}, holding {_rate(hold['total_return'])}; growth "
        f"relative to holding {_rate(grown)} {per}, 95 % interval {_rate(low)} to {_rate(high)}."
    )
    if own["total_return"] < -NOTHING:
        said.append("Doing nothing would have been better.")
    c = a.certainty
    if math.isfinite(c.sharpe):
        said.append(
            f"Sharpe ratio {c.sharpe:.2f} a year, {ratios_of(a)}. The best of "
            f"{amount(c.trials, 'lucky trial')} would be expected at "
            f"{c.best_of_luck:.2f}; probability that the true ratio is above zero, knowing of the "
            f"trials: {_rate(c.deflated)} (deflated), {_rate(c.probabilistic)} if this had been "
            "the only one."
        )
        said.append(_record(a))
    else:
        said.append("It never traded: there is no Sharpe ratio.")
    beaten = [
        name for name, b in a.against.items() if name != HOLD and b.growth < 0
    ]  # baselines that grew more
    if beaten:
        said.append(f"Simpler rules grew more: {', '.join(beaten)}.")
    above, of = a.seeds_above_hold
    if of > 1:
        said.append(f"{above} of {of} courses (seeds, paths) ended above holding.")
    if a.reality is not None:
        said.append(
            f"Superior predictive ability against holding{_of(a)}: p = {a.reality.spa:.3f} "
            f"(reality check {a.reality.white:.3f}); below 0.05 luck is unlikely."
        )
    if a.choice is not None:
        said.append(
            f"Choosing the best of the {a.over or len(a.choice.of)} by the past: it lies in the "
            f"lower half afterwards with probability {_rate(a.choice.probability)}"
            + (f", and loses money with {_rate(a.choice.loss)}." if a.over else ".")
        )
    if a.rivals:
        said.append(_rivals(a))
    return tuple(said)


def years_told(a: Assessment) -> tuple[float, str]:
    """What rates a year are told times, and of what they are then: of a short run, the run."""
    span = a.end_ns - a.start_ns
    return (span / YEAR_NS, "in the run") if too_short(span) else (1.0, "a year")


def relative(a: Assessment, beside: Advantage) -> tuple[float, tuple[float, float]]:
    """How much more one's wealth grew than the other's, as a fraction of the other's, with its
    interval: a year's or the run's, as `years_told` says. At least -1, unlike a difference of logs.
    """
    years = years_told(a)[0]
    low, high = beside.growth_interval
    return wealth(beside.growth * years), (wealth(low * years), wealth(high * years))


def wealth(logs: float) -> float:
    """What a difference of log growth does to one's wealth as a fraction of the other's."""
    try:
        return math.expm1(logs)
    except OverflowError:  # of a few lucky bars that are taken as a year
        return math.inf


def _answer(a: Assessment) -> str:
    """The verdict with the first thing that a reader asks: whether money was lost."""
    own, hold = (a.figures[name]["total_return"] for name in (a.strategy, HOLD))
    found = grade(a)
    if own < -NOTHING:
        lost = "It lost money" if own > -0.99 else "It lost all its capital, or nearly all"
        return f"{lost} ({_rate(own)}), {_than(own, hold)}: {_LOST[found]}."
    if own <= NOTHING and found is Grade.UNPROVEN:
        return f"It earned nothing, {_than(own, hold)}: {_LOST[found]}."
    return _SAID[found]


_SAID = {
    Grade.BETTER: "Better than holding, beyond luck and the number of trials.",
    Grade.UNPROVEN: "Not shown to be better than holding: it grew more, but luck and the number of "
    "trials explain that.",
    Grade.NO_BETTER: "No better than holding.",
    Grade.WORSE: "Worse than holding.",
    Grade.UNKNOWN: "Too short to say anything.",
}
_LOST = {
    Grade.BETTER: "better than holding, beyond luck and the number of trials",
    Grade.UNPROVEN: "not shown to be better",
    Grade.NO_BETTER: "no better than holding",
    Grade.WORSE: "worse than holding",
    Grade.UNKNOWN: "too short to say more",
}


def _than(own: float, hold: float) -> str:
    """What holding did beside a loss, or beside nothing."""
    if hold > NOTHING:
        return f"while holding earned {_rate(hold)}"
    if hold >= -NOTHING:
        return "while holding lost nothing"
    if own >= -NOTHING:
        return f"while holding lost money ({_rate(hold)})"
    if _rate(own) == _rate(hold):
        return "about as much as holding"
    return f"{'less' if own > hold else 'more'} than holding ({_rate(hold)})"


def _rivals(a: Assessment) -> str:
    """What those that were chosen among did here, and whether choosing as one did was any good."""
    grown = [figures["total_return"] for figures in a.rivals.values()]
    hold, first = a.figures[HOLD]["total_return"], grown[0]
    place = 1 + sum(other > first for other in grown)
    return (
        f"Of them {sum(own > NOTHING for own in grown)} earned money here and "
        f"{sum(own > hold for own in grown)} ended above holding, from {_rate(min(grown))} to "
        f"{_rate(max(grown))}; the one that was put first came in at place {place} of {len(grown)}."
    )


def _of(a: Assessment) -> str:
    return f", of the best of the {a.over}" if a.over else ""


def _record(a: Assessment) -> str:
    c = a.certainty
    have = c.steps * c.step_days
    if math.isinf(c.minimum_days):
        return (
            "No record, however long, would show that it earns anything: the ratio is not above 0."
        )
    if not math.isfinite(c.minimum_days):
        return f"The record is {have:,.0f} days long."
    enough = "long enough" if have >= c.minimum_days else "too short"
    return (
        f"The record of {have:,.0f} days is {enough}: {c.minimum_days:,.0f} days are needed to be "
        "above zero with 95 %, if this were the only trial."
    )


def ratios_of(a: Assessment) -> str:
    """Of which returns volatility, Sharpe and Sortino ratios are."""
    days = a.certainty.step_days
    return f"of returns by {'day' if days == 1 else f'{days:g} days' if days > 1 else 'bar'}"


def _rate(value: float) -> str:
    if not math.isfinite(value):
        return "unknown"
    if abs(value) <= NOTHING:
        return "0.0 %"
    return f"{value * 100:,.{1 if abs(value) >= 1e-3 else 3}f} %"
