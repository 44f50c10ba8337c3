"""The verdict: is an agent better than holding, beyond luck and the number of trials? Pure."""

import math
from enum import StrEnum

from don.evaluation.assess import Assessment
from don.evaluation.baselines import HOLD
from don.performance import YEAR_NS, too_short
from don.words import amount

CONFIDENCE = 0.95


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
    years, per = years_told(a)
    low, high = (bound * years for bound in beside.growth_interval)
    said = [_answer(a)]
    said.append(
        f"It returned {_rate(own['total_return'])}, holding {_rate(hold['total_return'])}; growth "
        f"beyond holding {_rate(beside.growth * years)} {per}, 95 % interval {_rate(low)} to "
        f"{_rate(high)}."
    )
    if own["total_return"] < 0:
        said.append("It lost money: doing nothing would have been better.")
    c = a.certainty
    if math.isfinite(c.sharpe):
        said.append(
            f"Sharpe ratio {c.sharpe:.2f} a year, of returns by {_step(c.step_days)}. The best of "
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
            f"Superior predictive ability against holding: p = {a.reality.spa:.3f} (reality check "
            f"{a.reality.white:.3f}); below 0.05 luck is unlikely."
        )
    if a.choice is not None:
        said.append(
            f"Choosing the best of the {len(a.choice.of)} by the past: it lies in the lower half "
            f"afterwards with probability {_rate(a.choice.probability)}."
        )
    return tuple(said)


def years_told(a: Assessment) -> tuple[float, str]:
    """What rates a year are told times, and of what they are then: of a short run, the run."""
    span = a.end_ns - a.start_ns
    return (span / YEAR_NS, "in the run") if too_short(span) else (1.0, "a year")


def _answer(a: Assessment) -> str:
    match grade(a):
        case Grade.BETTER:
            return "Better than holding, beyond luck and the number of trials."
        case Grade.UNPROVEN:
            return (
                "Not shown to be better than holding: it grew more, but luck and the number of "
                "trials explain that."
            )
        case Grade.NO_BETTER:
            return "No better than holding."
        case Grade.WORSE:
            return "Worse than holding."
        case Grade.UNKNOWN:
            return "Too short to say anything."


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


def _step(days: float) -> str:
    return "day" if days == 1 else f"{days:g} days" if days > 1 else "bar"


def _rate(value: float) -> str:
    return "unknown" if not math.isfinite(value) else f"{value * 100:,.1f} %"
