"""What a result says first, and how its figures are told: in words, as JSON, on the page."""

import math
from dataclasses import replace

import numpy as np
import pytest
from support.envs import HOUR
from support.evaluated import course

from don.evaluation.assess import Assessment, Counted, assess
from don.evaluation.baselines import EQUAL, HOLD
from don.evaluation.page import document, page, text
from don.evaluation.verdict import Grade, grade, words
from experiments.evaluate import metrics

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
    assert f"<td>{told['relative_growth'] * 100:,.1f} %<small>[{low * 100:,.1f} %" in html


def test_a_result_has_one_sharpe_ratio() -> None:
    """By day where the record is long enough for it: in words, tiles, tables and JSON alike."""
    rng = np.random.default_rng(4)
    hours = 24 * 90
    pull = rng.normal(0, 0.004, hours)
    own = pull - 0.5 * np.roll(pull, 1)  # by bar it has another ratio than by day
    made = {
        name: course(name, r, HOUR)
        for name, r in (("agent", own + 2e-4), (HOLD, pull), (EQUAL, pull * 0.5))
    }
    base = {name: made[name] for name in (HOLD, EQUAL)}
    found = assess("agent", [made["agent"]], base, Counted(trials=2), draws=60)
    bar = made["agent"].figures()["sharpe"]
    ratio = found.certainty.sharpe
    assert abs(ratio - bar) > 0.5
    told = document(found, {})
    assert told["figures"]["agent"]["sharpe"] == pytest.approx(ratio, rel=1e-9)
    assert told["ratios"] == "of returns by day"
    low, high = told["intervals"]["agent"]["sharpe"]
    assert low < ratio < high
    apart = ratio - told["figures"][HOLD]["sharpe"]
    assert told["against"][HOLD]["sharpe"] == pytest.approx(apart, rel=1e-9)
    plain, html = text(found), page(found, list(made.values()), {})
    assert f"Sharpe ratio {ratio:.2f} a year, of returns by day" in plain
    row = next(line for line in plain.splitlines() if line.startswith("Sharpe  "))
    assert row.split()[1] == f"{ratio:.2f}"
    assert f"<b>{ratio:.2f}</b>" in html and f"<td>{ratio:.2f}" in html
    assert f"{bar:.2f}" not in plain + html.split("<script>")[0]
    # growth and drawdown are of every bar
    assert told["figures"]["agent"]["max_drawdown"] == made["agent"].figures()["max_drawdown"]
    # too few days: by bar, and it says so
    short = {name: course(name, one.returns[:240], HOUR) for name, one in made.items()}
    base = {name: short[name] for name in (HOLD, EQUAL)}
    brief = assess("agent", [short["agent"]], base, Counted(trials=2), draws=60)
    assert brief.figures["agent"]["sharpe"] == pytest.approx(brief.certainty.sharpe, rel=1e-9)
    assert "Sortino are of returns by bar." in text(brief)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, ""),
        ({"looks": 1}, "before, evaluated 1 time: what"),
        ({"studies": 2}, "before, used by 2 studies: what"),
        ({"looks": 3, "studies": 1, "backtests": 2}, "before, evaluated 3 times, used by 1 study "
         "and 2 backtests: what"),
    ],
)  # fmt: skip
def test_every_look_at_the_data_is_told(told: dict[str, int], said: str) -> None:
    one = course("agent", path(0.1))
    found = assess("agent", [one], {HOLD: one}, Counted(trials=9, **told), draws=5)
    seen = [line for line in found.cautions if "looked at" in line]
    assert bool(seen) is bool(said)
    assert all(said in line and line in text(found) for line in seen)


def test_the_ledger_keeps_finite_figures_only() -> None:
    found = judged(path(0.2, days=40), path(0.1, seed=1, days=40))
    own = {**found.figures[found.strategy], "sharpe": float("nan")}
    certainty = replace(found.certainty, deflated=float("nan"))
    figures = {**found.figures, found.strategy: own}
    kept = metrics(replace(found, figures=figures, certainty=certainty))
    assert not kept.keys() & {"sharpe", "deflated"} and kept["returns"] == 40
