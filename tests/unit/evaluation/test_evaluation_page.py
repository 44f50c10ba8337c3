"""What a result says first, and how its figures are told: in words, as JSON, on the page."""

import math

import numpy as np
import pytest
from support.evaluated import course

from don.evaluation.assess import Assessment, Counted, assess
from don.evaluation.baselines import EQUAL, HOLD
from don.evaluation.page import document, page, text
from don.evaluation.verdict import Grade, grade, words

DAYS = 400


def path(total: float, noise: float = 0.01, seed: int = 0, days: int = DAYS) -> np.ndarray:
    """Daily returns that come to `total`."""
    drawn = np.random.default_rng(seed).normal(0, noise, days) if noise else np.zeros(days)
    logs = drawn - drawn.mean() + math.log1p(total) / days
    return np.expm1(logs)


def judged(own: np.ndarray, hold: np.ndarray, trials: int = 5) -> Assessment:
    base = {HOLD: course(HOLD, hold), EQUAL: course(EQUAL, hold)}
    return assess("agent", [course("agent", own)], base, Counted(trials=trials), draws=60)


@pytest.mark.parametrize(
    ("own", "hold", "given", "said"),
    [
        (
            path(-0.063), path(-0.269, seed=1), Grade.UNPROVEN,
            "It lost money (-6.3 %), less than holding (-26.9 %): not shown to be better.",
        ),
        (
            path(-0.093), path(0.327, 0.02, 1), Grade.NO_BETTER,
            "It lost money (-9.3 %), while holding earned 32.7 %: no better than holding.",
        ),
        (
            path(-0.093), path(-0.05, 0.02, 1), Grade.NO_BETTER,
            "It lost money (-9.3 %), more than holding (-5.0 %): no better than holding.",
        ),
        (
            path(-0.5, 0.001), path(-0.05, 0.001, 1), Grade.WORSE,
            "It lost money (-50.0 %), more than holding (-5.0 %): worse than holding.",
        ),
        (
            path(-0.999, 0.001), path(0.2, 0.001, 1), Grade.WORSE,
            "It lost all its capital, or nearly all (-99.9 %), while holding earned 20.0 %: worse "
            "than holding.",
        ),
        (
            path(-0.0002, 0.001, days=5), path(-0.3, 0.001, 1, days=5), Grade.UNKNOWN,
            "It lost money (-0.020 %), less than holding (-30.0 %): too short to say more.",
        ),
        (
            path(0.0, 0.0), path(-0.3, seed=1), Grade.UNPROVEN,
            "It earned nothing, while holding lost money (-30.0 %): not shown to be better.",
        ),
        (
            path(0.05), path(-0.1, seed=1), Grade.UNPROVEN,
            "Not shown to be better than holding: it grew more, but luck and the number of trials "
            "explain that.",
        ),
        (path(0.05), path(0.1, seed=1), Grade.NO_BETTER, "No better than holding."),
    ],
)  # fmt: skip
def test_who_lost_money_is_told_so_first(
    own: np.ndarray, hold: np.ndarray, given: Grade, said: str
) -> None:
    found = judged(own, hold)
    assert grade(found) is given
    assert words(found)[0] == said
    lost = float(np.prod(1 + own)) < 1 - 1e-6
    assert ("Doing nothing would have been better." in words(found)) is lost
    assert said in text(found) and document(found, {})["verdict"][0] == said


def test_growth_is_told_as_wealth_that_nobody_can_lose_twice() -> None:
    """A difference of logs below -100 % was told as a loss."""
    rng = np.random.default_rng(3)
    found = judged(rng.normal(-0.006, 0.03, DAYS), rng.normal(0.001, 0.03, DAYS))
    beside = found.against[HOLD]
    assert beside.growth < -1 and beside.growth_interval[0] < -2
    told = document(found, {})["against"][HOLD]
    years = DAYS / 365
    own, hold = (1 + found.figures[name]["total_return"] for name in ("agent", HOLD))
    assert told["relative_growth"] == pytest.approx((own / hold) ** (1 / years) - 1, rel=1e-6)
    low, high = told["relative_growth_interval"]
    assert -1 < low < told["relative_growth"] < high
    line = (
        f"growth relative to holding {told['relative_growth'] * 100:,.1f} % a year, 95 % interval "
        f"{low * 100:,.1f} % to {high * 100:,.1f} %."
    )
    assert line in words(found)[1] and line in text(found)
    html = page(found, [course("agent", np.zeros(DAYS))], {})
    assert "growth relative to it a year" in html
    assert f"{told['relative_growth'] * 100:,.1f} %</td>" in html
