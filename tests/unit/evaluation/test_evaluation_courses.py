"""Agents and baselines over the same bars: courses, assessment, verdict, the result's forms."""

import json
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.envs import HOUR, SYMBOLS, columns, market
from support.evaluated import SETTINGS, SHORT, course, fixed

from don.clock import iso
from don.envs import BatchEnv, EnvConfig, EnvMarket, from_arrays
from don.envs.market import Segment
from don.errors import ConfigError, DataError
from don.evaluation.agent import decidable, run_agent, window
from don.evaluation.assess import Counted, assess
from don.evaluation.baselines import (
    EQUAL,
    HOLD,
    run_baselines,
)
from don.evaluation.course import joined, mixed, out_of_sample, play
from don.evaluation.page import document, page, text
from don.evaluation.verdict import Grade, grade, words
from don.storage.research_ratios import Ratio

# ---- courses -------------------------------------------------------------------------------------


def test_a_course_adds_up_and_trades_the_whole_window() -> None:
    made = market(bars=200)
    model = fixed(made, np.random.default_rng(0).uniform(-1, 1, (40, 3)))
    start, end = int(made.close_ns[99]), int(made.close_ns[159])
    part, begin = window(made, model.card, start, end)
    found = run_agent(model, part, begin, name="a", drawn=[1, 2])
    one = found[0]
    assert [c.name for c in found] == ["a", "a, drawn 1", "a, drawn 2"]
    assert (one.ts[0], one.ts[-1], len(one.returns)) == (start, end, 60)
    s = one.sums
    parts = s["price profit"] - s["fees"] - s["slippage"] - s["funding"] - s["liquidation"]
    assert one.equity[-1] - one.equity[0] == pytest.approx(parts, abs=1e-6)
    assert s["fees"] > 0 and s["slippage"] > 0 and 0 < one.gross <= 1.05
    assert not np.array_equal(found[1].equity, found[2].equity)
    model.steps = 0
    again = run_agent(model, part, begin, name="a")[0]
    assert np.array_equal(again.equity, one.equity)


def test_bars_after_the_window_change_nothing() -> None:
    past = columns(bars=200)
    other = {name: np.vstack([v[:160], columns(bars=40, seed=9)[name]]) for name, v in past.items()}
    courses = []
    for told in (past, other):
        made = from_arrays(told, SYMBOLS, interval_ns=HOUR)
        model = fixed(made.part(None, int(made.close_ns[99])), np.full((1, 3), 0.3))
        part, begin = window(made, model.card, int(made.close_ns[99]), int(made.close_ns[159]))
        own = run_agent(model, part, begin, name="a")
        base = run_baselines(part, model.card.env, begin, SHORT, history=made.part(None, int(
            made.close_ns[159])))  # fmt: skip
        courses.append([*own, *base.values()])
    for one, two in zip(*courses, strict=True):
        assert np.array_equal(one.equity, two.equity)


def test_another_market_is_refused() -> None:
    made = market(bars=120)
    model = fixed(made, np.zeros((1, 3)))
    with pytest.raises(ConfigError, match=r"trades AAA.*the data have BBB"):
        other = replace(made, symbols=(SYMBOLS[1], SYMBOLS[0], SYMBOLS[2]))
        run_agent(model, other, 40, name="a")
    with pytest.raises(ConfigError, match=r"bars of 3600 s; the data have 60 s"):
        run_agent(model, replace(made, interval_ns=60 * 10**9), 40, name="a")
    first, last = iso(int(made.close_ns[0])), iso(int(made.close_ns[-1]))
    said = f"no bar closes between {last} and the end: they close from {first} to {last}"
    with pytest.raises(DataError, match=f"^{re.escape(said)}$"):
        window(made, model.card, int(made.close_ns[-1]), None)
    with pytest.raises(DataError, match=r"no bar closes between the beginning and 1970-01-01T"):
        made.part(None, 0)


def test_a_gap_is_crossed_with_the_money_that_was_there() -> None:
    whole = market(bars=160)
    made = replace(
        whole, segments=(Segment(start=0, stop=80), Segment(start=90, stop=160))
    )  # a hole of ten bars; after it features warm up anew
    model = fixed(made, np.full((1, 3), 0.3))
    found = run_agent(model, made, 40, name="a")[0]
    flat = found.returns == 0
    assert found.breaks == 1 and len(found.returns) == 160 - 41
    quiet = np.flatnonzero(flat)
    assert quiet.min() == 39 and (np.diff(quiet) == 1).all() and len(quiet) > 30
    parts = sum(
        found.sums[k] * s for k, s in
        (("price profit", 1), ("fees", -1), ("slippage", -1), ("funding", -1), ("liquidation", -1))
    )  # fmt: skip
    assert found.equity[-1] - found.equity[0] == pytest.approx(parts, rel=1e-6)


def split_market(after: np.ndarray) -> EnvMarket:
    """The first symbol triples in 40 bars; behind a hole of ten bars it goes as told."""
    told = columns(bars=160)
    up = np.concatenate([np.ones(50), np.geomspace(1, 3, 41)[1:], np.full(70, 3.0)])
    up[100:] *= after
    for name in ("open", "high", "low", "close"):
        told[name] = np.full((160, 3), 100.0)
        told[name][:, 0] *= up
    told["rate"][:] = 0.0
    told["open"][1:] = told["close"][:-1]
    told["high"] = np.maximum(told["open"], told["close"])
    told["low"] = np.minimum(told["open"], told["close"])
    made = from_arrays(told, SYMBOLS, interval_ns=HOUR, taker=0.0, leverage=20)
    return replace(made, segments=(Segment(start=0, stop=90), Segment(start=100, stop=160)))


def test_a_gap_leaves_each_account_its_own_money() -> None:
    made = split_market(np.concatenate([np.ones(30), np.geomspace(1, 2, 31)[1:]]))
    form: dict[str, Any] = {"form": "single", "action": {"kind": "continuous"}}
    model = fixed(made, np.array([1.0, 0.0, 0.0])[None, :, None], **form)
    (found,) = run_agent(model, made, 40, name="a")
    total = found.equity[-1] / 3e5
    assert found.breaks == 1 and total == pytest.approx((3 * 2 + 1 + 1) / 3, rel=0.08)
    # one that was lost before the gap stays lost, the others go on
    wild = {**form, "action": {"kind": "continuous", "gross": 18.0}}
    model = fixed(made, np.array([-1.0, 0.0, 0.0])[None, :, None], **wild)
    (found,) = run_agent(model, made, 40, name="a")
    assert found.liquidations == 1 and found.breaks == 1
    assert found.equity[-1] == found.equity[50] < 2.3e5  # nothing is traded with what is left


def test_baselines_wait_where_agents_cannot_act() -> None:
    made = split_market(np.geomspace(1, 0.5, 60))
    model = fixed(made, np.full((1, 3), 0.3))
    able = decidable(model.card.env, made)
    (own,) = run_agent(model, made, 40, name="a")
    told = run_baselines(made, model.card.env, 40, SHORT, able=able)
    still = np.flatnonzero(np.diff(own.equity) == 0)
    waiting = np.arange(89 - 40, int(np.flatnonzero(able[100:])[0]) + 100 - 40)
    assert len(waiting) > 30 and set(waiting) <= set(still)
    for base in told.values():
        assert (np.diff(base.equity)[waiting] == 0).all() and base.breaks == 1
    alone = run_baselines(made, model.card.env, 40, SHORT)[HOLD]
    assert alone.equity[-1] < told[HOLD].equity[-1]  # it fell while the agent could do nothing


def test_who_is_liquidated_stays_out() -> None:
    told = columns(bars=150)
    told["close"][100:] *= 0.5
    told["open"][101:] *= 0.5
    told["low"] = np.minimum.reduce([told["low"], told["open"], told["close"]])
    told["high"] = np.maximum.reduce([told["high"], told["open"], told["close"]])
    made = from_arrays(told, SYMBOLS, interval_ns=HOUR)
    model = fixed(made, np.full((1, 3), 1.0), action={"kind": "long_short", "gross": 10.0})
    found = run_agent(model, made, 60, name="a")[0]
    assert found.liquidations == 1 and found.equity[-1] < 0.2 * found.equity[0]
    assert (found.returns[-40:] == 0).all()
    assert math.isfinite(found.figures()["total_return"])


def test_courses_join_and_mix() -> None:
    r = np.random.default_rng(0).normal(0, 0.01, 60)
    whole = course("a", r)
    first, second = course("a", r[:25]), course("a", r[25:])
    second = replace(second, ts=second.ts + first.ts[-1])
    assert np.allclose(joined([first, second]).equity, whole.equity, rtol=1e-12)
    assert np.array_equal(joined([first, second]).ts, whole.ts)
    with pytest.raises(ValueError, match="begins too early"):
        joined([second, first])
    other = course("b", -r)
    both = mixed([whole, other], "both")
    assert np.allclose(both.equity, (whole.equity + other.equity) / 2, rtol=1e-12)
    paid = replace(whole, sums={**whole.sums, "fees": 8.0})
    tenth = replace(paid, equity=paid.equity / 10, sums={**paid.sums, "fees": 0.8})
    assert mixed([paid, tenth], "both").sums["fees"] == pytest.approx(8.0)
    with pytest.raises(ValueError, match="of the same bars"):
        mixed([whole, first], "both")


def test_capital_of_seeds_is_never_evened_out() -> None:
    """Three seeds that end where they began are worth no more together, whatever they did."""
    rng = np.random.default_rng(4)
    there = rng.normal(0, 0.05, (3, 200))
    r = np.hstack([there, 1 / (1 + there[:, ::-1]) - 1])  # and back again
    seeds = [course(f"seed {n}", r[n]) for n in range(3)]
    assert np.prod(1 + r.mean(axis=0)) > 1.3  # what evening out at every bar would show
    base = {HOLD: course(HOLD, np.zeros(400))}
    found = assess("study", seeds, base, Counted(trials=3), draws=30)
    assert found.figures["study"]["total_return"] == pytest.approx(0.0, abs=1e-9)
    ruined = course("seed 3", np.r_[-1.0, np.zeros(399)])
    grown = course("seed 4", np.r_[np.zeros(399), 1.0])
    paid = {**ruined.sums, "fees": 10.0, "turnover": 1e5}
    both = mixed([replace(ruined, gross=3.0, sums=paid), grown], "both")
    assert both.equity[[0, 1, 399, 400]].tolist() == [1e5, 5e4, 5e4, 1e5]
    assert (both.sums["fees"], both.sums["turnover"]) == (5.0, 5e4)
    assert 1.0 <= both.gross < 1.01  # lost capital has no exposure


# ---- assessment and verdict ----------------------------------------------------------------------


def judged(own: np.ndarray, hold: np.ndarray, trials: int = 1, **more: Any) -> Any:
    base = {HOLD: course(HOLD, hold), EQUAL: course(EQUAL, hold * 0.9)}
    return assess("agent", [course("agent", own)], base, Counted(trials=trials), draws=40, **more)


def test_verdicts() -> None:
    rng = np.random.default_rng(1)
    hold = rng.normal(0.0, 0.02, 700)
    skilled = 0.2 * hold + rng.normal(0.004, 0.01, 700)
    found = judged(skilled, hold)
    assert grade(found) is Grade.BETTER and words(found)[0].startswith("Better than holding")
    assert found.certainty.deflated > 0.99 and found.reality.spa < 0.01
    many = judged(rng.normal(0.0012, 0.01, 700), rng.normal(-0.001, 0.01, 700), trials=100_000)
    assert grade(many) is Grade.UNPROVEN and many.certainty.probabilistic > 0.9
    assert many.certainty.deflated < 0.9 and many.certainty.best_of_luck > 2
    assert "trials explain that" in words(many)[0]
    same = judged(hold, hold)
    assert grade(same) is Grade.NO_BETTER
    assert words(same)[0].endswith(", about as much as holding: no better than holding.")
    costly = judged(hold - 0.001, hold)
    assert grade(costly) is Grade.WORSE and words(costly)[0].endswith(": worse than holding.")
    assert "Simpler rules grew more: equal weight" not in words(found)[4:]
    idle = judged(np.zeros(700), hold)
    assert any("never traded" in line for line in words(idle))
    assert grade(judged(hold[:5], hold[:5])) is Grade.UNKNOWN
    ruined = np.zeros(700)
    ruined[10] = -1.0
    assert grade(judged(ruined, hold)) is Grade.WORSE


def test_seeds_are_told_and_results_are_whole() -> None:
    rng = np.random.default_rng(2)
    hold = rng.normal(0.001, 0.02, 400)
    seeds = [course(f"seed {n}", hold + rng.normal(0.0005, 0.01, 400)) for n in range(3)]
    base = {HOLD: course(HOLD, hold)}
    ratios = (Ratio(sharpe=0.1),) * 3
    counted = Counted(trials=7, ratios=ratios, looks=2, outside=4, ledger={"runs": 9})
    found = assess("study", seeds, base, counted, cautions=["mind the gap"], draws=30)
    ends = sum(s.equity[-1] > base[HOLD].equity[-1] for s in seeds)
    assert found.seeds_above_hold == (ends, 3) and found.choice is not None
    small = [replace(seeds[0], equity=seeds[0].equity / 24), *seeds[1:]]  # whatever the capital
    again = assess("study", small, base, counted, draws=30)
    assert again.seeds_above_hold == (ends, 3)
    assert again.figures["study"] == pytest.approx(found.figures["study"], rel=1e-9)
    assert list(found.figures) == ["study", "seed 0", "seed 1", "seed 2", HOLD]
    assert any("4 runs" in c for c in found.cautions) and "mind the gap" in found.cautions
    assert any("looked at before, evaluated 2 times:" in c for c in found.cautions)
    told = document(found, {"run": 3}, [{"part": "w0"}])
    text_ = json.dumps(told, allow_nan=False)
    assert told["verdict"] == list(words(found)) and told["certainty"]["trials"] == 7
    assert json.loads(text_)["about"] == {"run": 3}
    plain = text(found)
    assert words(found)[0] in plain and "max drawdown" in plain and "! mind the gap" in plain
    html = page(found, [*seeds, *base.values()], {"run": 3}, [{"part": "w0"}])
    assert words(found)[0] in html and "<script>" in html and "mind the gap" in html
    assert "src=" not in html.split("<script>")[0]  # it loads nothing
    assert "CAGR" in plain and "turnover a year" in plain and "! The run lasts" not in plain
    with pytest.raises(ValueError, match="of others"):
        assess("x", seeds, {HOLD: course(HOLD, hold[:-1])}, counted)


def test_a_short_test_is_not_told_as_a_year() -> None:
    rng = np.random.default_rng(3)
    hold = rng.normal(0.001, 0.02, 20)
    own = course("mine", hold + 0.01)
    found = assess("mine", [own], {HOLD: course(HOLD, hold)}, Counted(trials=1), draws=30)
    plain = text(found)
    assert "! The run lasts 20 days" in plain and "turnover in the run" in plain
    row = next(line for line in plain.splitlines() if line.startswith("CAGR"))
    assert row.split() == ["CAGR", "–", "–"]
    grown = own.equity[-1] / own.equity[0] / (1 + found.figures[HOLD]["total_return"]) - 1
    assert f"relative to holding {grown * 100:,.1f} % in the run" in words(found)[1]
    html = page(found, [own], {})
    assert "The run lasts 20 days" in html and "relative to it in the run" in html


def test_play_takes_as_many_courses_as_slots() -> None:
    made = market(bars=120)
    env = BatchEnv(made, out_of_sample(EnvConfig.model_validate(SETTINGS), made), 2)
    weights = np.array([[[0.5, 0, 0]], [[0, -0.5, 0]]])
    who: Any = lambda seen, env, fresh: {"agents": weights}  # noqa: E731
    with pytest.raises(DataError, match="too little history: nothing can be decided at 1970-01-01"):
        play(env, who, ["x", "y"], 0)
    one, two = play(env, who, ["x", "y"], 0, wait=True)
    assert (one.ts[0], one.ts[-1]) == (made.close_ns[0], made.close_ns[-1])
    early = one.equity[:20]
    assert (early == early[0]).all()  # nothing is done before features are known
    assert one.equity[-1] != two.equity[-1]
