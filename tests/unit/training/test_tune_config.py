"""Searches: what they may be told, and the trainings that their points stand for."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import planted

from don.config import read_section
from don.errors import ConfigError, DataError, UsageError
from don.storage.database import Database
from don.storage.research import Research
from don.storage.research_runs import RunStatus
from experiments.begun import alone
from experiments.fitting import check_search
from experiments.rllib.market_file import open_data
from experiments.searched import listed, searched
from experiments.tune import NAME, RUNS, Counted, _told, best_of, tune
from experiments.tune_config import NOTHING, Range, TuneConfig, cautions, training, within

SPACE = {"algorithm.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "net.hidden": {"values": [[8]]}}


@given(st.floats(0, 1, exclude_max=True), st.booleans())
def test_draws_lie_in_their_range(u: float, log: bool) -> None:
    assert 0.1 <= Range(low=0.1, high=10.0, log=log).draw(u) <= 10.0 * (1 + 1e-12)
    assert Range(values=(1, 2, 3)).draw(u) in (1, 2, 3)


def test_what_pbt_multiplies_stays_in_its_range() -> None:
    space = {"a": Range(low=0.9, high=1.0), "b": Range(values=("x", "y"))}
    for value, kept in ((1.14, 1.0), (0.5, 0.9), (0.95, 0.95)):
        found = within(space, {"a": value, "b": "y"})
        assert found["a"] == pytest.approx(kept) and found["a"] < 1.0 and found["b"] == "y"


def test_a_point_is_a_training() -> None:
    config = TuneConfig.model_validate({"space": SPACE, "iterations": 7, "train": {"seed": 3}})
    made = training(config, {"algorithm.lr": 0.01, "net.hidden": [8]})
    assert (made.algorithm.name, made.algorithm.lr, made.net.hidden) == ("ppo", 0.01, (8,))
    assert (made.seed, made.stop.iterations, made.stop.steps) == (3, 7, None)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ("[space]", "space"),
        ('[space]\n"algorithm.lr" = { low = 1.0 }', "give values, or low and high"),
        ('[space]\n"algorithm.lr" = { low = 0.0, high = 1.0, log = true }', "low must be above 0"),
        ('[space]\n"algorithm.rate" = { values = [1.0] }', "rate"),
        ('search = "pbt"\n[space]\n"net.hidden" = { values = [[8]] }', "algorithm.*, not net"),
        ('[space]\n"algorithm.clip" = { low = 0.1, high = 1.5 }', "algorithm.clip"),
        ('[space]\n"net.hidden" = { values = [[8], [0]] }', "hidden and channels"),
        ('[space]\n"data.end" = { values = ["2018-12-01"] }', "data is the same in all trials"),
        ('[space]\n"env.reward.kind" = { values = ["log_return"] }', "not be of the same thing"),
        ('[space]\n"env.costs.taker" = { values = [1.0] }', "not be of the same thing"),
        (
            "[space]\nenv = { values = [{ costs = { taker = 1 } }, { costs = { taker = 2 } }] }",
            "not be of the same thing",
        ),
        (
            'search = "pbt"\n[space]\n"algorithm.reward_scale" = { low = 1.0, high = 9.0 }',
            "with what another has learnt",
        ),
        ('[train]\nout = "x"\n[space]\n"algorithm.lr" = { values = [1e-3] }', "train.out"),
    ],
)
def test_bad_searches_are_named(tmp_path: Path, values: str, told: Any) -> None:
    path = tmp_path / "t.toml"
    path.write_text(values)
    with pytest.raises(ConfigError) as error:
        read_section(TuneConfig, path)
    assert told in str(error.value)


def test_each_value_of_a_space_must_fit_the_data() -> None:
    made = {"space": {"env.episode.length": {"values": [16, 5_000]}},
            "train": {"env": planted.config().model_dump(mode="json")}}  # fmt: skip
    with pytest.raises(DataError, match=r"episode\.length is 5000"):
        check_search(TuneConfig.model_validate(made), planted.market(300))
    made["space"] = {"env.episode.length": {"values": [16, 32]}, **SPACE}
    check_search(TuneConfig.model_validate(made), planted.market(300))


@pytest.mark.postgres
def test_trials_are_counted_once_whenever_a_search_is_killed(
    tmp_path: Path, database: Database
) -> None:
    config = TuneConfig.model_validate({"space": SPACE, "iterations": 7, "out": str(tmp_path)})
    research, said = Research(database), list[str]()
    search = research.begin("tune", {}, "abc")
    assert research.stamp(search, "abc", planned=2)["ledger_trials"] == "2"

    def counted() -> Counted:
        return Counted(research, search, config, "abc", ("BTC",), said.append)

    one, two = ({"algorithm.lr": rate, "net.hidden": [8]} for rate in (1e-3, 2e-3))
    first = counted()
    first.begin("a", one)
    first.begin("a", one)  # each result tells the point again
    # PBT goes on with what another had found: what came before is told of what was before
    weak = {"score": -0.5, "iteration": 4, "steps": 40, "line": "[]"}
    first.begin("a", two, weak, lambda: "trial b, iteration 4")
    assert said[-1] == "trial a goes on from trial b, iteration 4 as lr 0.002, hidden [8]"
    line = json.dumps([{"trial": "b", "point": one, "until": 4}])
    first.end("a", two, RunStatus.DONE, {"score": 0.5, "iteration": 7, "line": line})
    assert said[-1] == "trial a done: return +0.5000 after 7 (1 of 8 over)"
    kept = json.loads((tmp_path / RUNS).read_text())
    # killed after the ledger knew of the end, before its file did: the trial ends again, elsewhere
    (tmp_path / RUNS).write_text(json.dumps({**kept, "ended": {}}))
    again = counted()
    assert again.begun == 1
    again.end("a", two, RunStatus.DONE, {"score": 0.4, "iteration": 7})
    runs = research.runs()
    assert [(run.kind, run.parent) for run in runs[1:]] == [("trial", 1), ("trial", 2)]
    assert [run.config["algorithm"]["lr"] for run in runs[1:]] == [1e-3, 2e-3]
    assert [run.metrics["score"] for run in runs[1:]] == [-0.5, 0.5]
    assert [run.metrics["iteration"] for run in runs[1:]] == [4, 7]
    assert [run.metrics.get("from") for run in runs[1:]] == [None, "trial b, iteration 4"]
    assert research.trials("abc").count == 2
    # another ledger lacks them: they count there too
    (tmp_path / RUNS).write_text(json.dumps({**kept, "ledger": "other"}))
    moved = counted()
    moved.end("a", two, RunStatus.DONE, {"score": 0.5, "iteration": 7})
    assert [run.status for run in research.runs()[3:]] == ["done", "done"]
    assert [run.metrics["score"] for run in research.runs()[3:]] == [-0.5, 0.5]
    assert research.trials("abc").count == 4
    assert counted().begun == 1 and len(research.runs()) == 5
    # as what it was once: no further trial, and the end is of what it is last
    moved.begin("c", one)
    moved.begin("c", two, {"score": 0.1, "iteration": 2})
    moved.begin("c", one, {"score": 0.2, "iteration": 4})
    moved.end("c", one, RunStatus.DONE, {"score": NOTHING, "iteration": 6})  # no episode ended
    assert [run.metrics["score"] for run in research.runs()[5:]] == [None, 0.2]
    assert said[-1] == "trial c stopped early: return none after 6 (2 of 8 over)"


@pytest.mark.postgres
def test_a_search_goes_on_as_it_was_begun_and_alone(tmp_path: Path, database: Database) -> None:
    out, research = tmp_path / "search", Research(database)
    asked = {"out": out, "train": {"data": {"end": "2018-12-01"}}, "space": SPACE}
    config = TuneConfig.model_validate(asked)

    told = _told(config, open_data(training(config, {}).data).hash)

    def go_on(**changes: Any) -> None:
        (out / "config.json").write_text(json.dumps({**told, **changes}))
        with pytest.raises(UsageError) as refused:
            tune(config, str, resume=True, research=research)
        said.append(str(refused.value))

    said: list[str] = []
    (out / "ray" / NAME).mkdir(parents=True)
    go_on(feature_hash="0123")
    assert "was begun with features of hash 0123; here it is" in said.pop()
    go_on(config={**told["config"], "trials": 9}, data_hash="other")
    assert "was begun with another trials, the data" in said.pop()
    with alone(out, "searched"):
        go_on()
    assert f"is being searched by process {os.getpid()}" in said.pop()
    assert not research.runs()


def test_a_folder_holds_runs_of_one_kind(tmp_path: Path) -> None:
    for name, what in (("plan.json", "study"), ("runs.json", "search"), ("progress.jsonl", "trai")):
        out = tmp_path / what
        out.mkdir()
        (out / name).write_text("{}")
        refused = 0
        for doing in ("trained", "studied", "searched"):
            try:
                with alone(out, doing):
                    pass
            except UsageError as error:
                assert f"holds a {what}" in str(error)
                refused += 1
        assert refused == 2


def test_the_best_trial_is_one_that_went_all_the_way() -> None:
    def row(trial: str, score: float | None, iterations: int | None) -> dict[str, object]:
        return {"trial": trial, "score": score, "iterations": iterations}

    stopped, going, worse = row("a", 0.9, 2), row("b", -0.1, 8), row("c", -0.2, 8)
    failed = row("d", None, 9)
    assert best_of([stopped, worse, going, failed]) == going
    assert best_of([stopped, failed]) == stopped and best_of([failed]) is None


def test_what_a_search_cannot_tell_is_said_before_it_is_paid_for() -> None:
    made = {"grace": 2, "iterations": 9, "space": {"algorithm.lr": {"values": [1e-3]}}}
    told = cautions(TuneConfig.model_validate(made), bars=600)
    assert "none of them is left to judge the choice on" in told[0] and len(told) == 2
    data, algorithm = {"end": "2019-01-01"}, {"name": "ppo", "fragment": 32}
    env = {"episode": {"length": 64}}
    made["train"] = {"data": data, "algorithm": algorithm, "env": env}
    (told,) = cautions(TuneConfig.model_validate(made), bars=600)
    assert "after 2 iterations, 64 bars" in told and "a grace of 4 lets" in told
    assert not cautions(TuneConfig.model_validate({**made, "grace": 4}), bars=600)


def test_the_best_of_a_search_is_the_same_for_all_who_ask(tmp_path: Path) -> None:
    names = ("lucky", "last", "best", "failed")
    scores, done = (0.9, -0.2, -0.1, None), (2, 8, 8, 8)
    rows = [
        {"trial": name, "score": score, "iterations": n, "point": {"algorithm.lr": 0.002},
         "error": None if score is not None else "DataError: bars"}
        for name, score, n in zip(names, scores, done, strict=True)
    ]  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(rows))
    for name in names:
        (tmp_path / "trials" / name / "model").mkdir(parents=True)
    best = best_of(rows)
    assert best is not None and best["trial"] == "best"
    order = [folder.parent.name for folder in searched(tmp_path).folders]
    assert order == ["best", "last", "lucky"]
    lines = [line.split() for line in listed(rows, 8)]
    assert lines[0] == ["trial", "return", "iterations", "lr"]
    assert [line[0] for line in lines[1:]] == [*order, "failed"]
    assert lines[3] == ["lucky", "+0.9000", "2", "early", "0.002"] and lines[4][1] == "none"
