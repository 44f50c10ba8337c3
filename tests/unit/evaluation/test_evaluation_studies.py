"""Evaluations and walk-forward studies: windows, what is counted, what goes on after a stop."""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from support.envs import HOUR, market

from don.clock import iso
from don.envs import BatchEnv, EnvConfig, EnvMarket
from don.envs.layout import CLOSE, HIGH, LOW, OPEN
from don.errors import ConfigError, DataError, DonError, UsageError
from don.evaluation.agent import decidable, run_agent, window
from don.evaluation.course import idle, out_of_sample
from don.features import sets
from don.learning.config import NetConfig
from don.learning.model import Model
from don.model.section import parsed
from don.storage.database import Database
from don.storage.research import Research
from experiments import walk_forward
from experiments.begun import alone
from experiments.choosing import OUT, Choice, choose
from experiments.evaluate import evaluate, measures
from experiments.evaluation_config import EvaluateConfig, Scheme, WalkForwardConfig
from experiments.rllib.market_file import write_market

ENV: dict[str, Any] = {
    "form": "shared",
    "observation": {"features": ["log_return_1"], "window": 2},
    "episode": {"length": 20},
}


def config(folder: Path, **windows: Any) -> WalkForwardConfig:
    told = {"scheme": "anchored", "train_days": 5, "test_days": 3, "embargo_bars": 4, **windows}
    return parsed(
        WalkForwardConfig,
        {"name": "Study", "out": str(folder), "seeds": [1, 2], "windows": told, "draws": 20,
         "train": {"env": ENV}},
        "test",
    )  # fmt: skip


def model_in(folder: Path, made: EnvMarket, seed: int = 0, **more: Any) -> Path:
    """A folder as a training leaves it."""
    folder.mkdir(parents=True)
    env = BatchEnv(made, EnvConfig.model_validate({**ENV, **more}), 1)
    Model.untrained(env, NetConfig(hidden=(8,)), name="m", seed=seed).save(folder / "model")
    write_market(made, folder / "market.npz")
    return folder / "model"


@pytest.mark.parametrize("scheme", list(Scheme))
def test_parts_train_on_nothing_near_their_tests(tmp_path: Path, scheme: Scheme) -> None:
    made = market(bars=400)
    study = config(tmp_path, scheme=scheme, groups=5, tests=2, purge_bars=3)
    found = walk_forward.parts(study, made)
    assert len({part.key for part in found}) == len(found)
    tested: list[int] = []
    for part in found:
        trained = np.concatenate(
            [part.market.close_ns[s.start : s.stop] for s in part.market.segments]
        )
        rows = np.searchsorted(made.close_ns, trained)
        for start, stop in part.tests:
            test = np.arange(start, stop)
            apart = rows[:, None] - test[None, :]
            assert not ((-3 <= apart) & (apart <= 3 + 4)).any()
            if part.seed == 1:
                tested += test.tolist()
    if scheme is Scheme.COMBINATORIAL:
        assert len(found) == 2 * 10 and sorted(set(tested)) == list(range(400))
        places = [(part.seed, *place) for part in found for place in part.places]
        assert len(set(places)) == len(places) == 2 * 4 * 5  # four whole paths a seed
    else:
        assert tested == list(range(5 * 24 + 7, 400)) and len(found) == 2 * 4
        first = [part.market.close_ns[0] for part in found[:4]]
        assert (len(set(first)) == 1) == (scheme is Scheme.ANCHORED)


def test_what_is_traded_is_chosen_between_training_and_test(tmp_path: Path) -> None:
    made = market(bars=400)
    plain = walk_forward.parts(config(tmp_path, purge_bars=3), made)
    found = walk_forward.parts(config(tmp_path, purge_bars=3, validate_days=2), made)
    assert [part.tests for part in found] == [part.tests for part in plain]
    for part, whole in zip(found, plain, strict=True):
        assert part.validated is not None and whole.validated is None
        start, stop = part.validated
        assert stop - start == 48 and int(made.close_ns[stop - 1]) == whole.market.close_ns[-1]
        assert start - len(part.market.close_ns) == part.tests[0][0] - stop == 3 + 4
        assert part.market.close_ns[0] == whole.market.close_ns[0]
    eager = {**ENV, "action": {"band": 0.0}}  # so that some of the untrained lose
    env = BatchEnv(found[0].market, EnvConfig.model_validate(eager), 1)
    models = {f"iteration {n}": Model.untrained(env, NetConfig(hidden=(8,)), seed=n)
              for n in range(4)}  # fmt: skip
    bars = found[0].validated
    assert bars is not None
    best = choose(models, made, bars, stay_out=False)
    assert best.grown[best.name] == max(best.grown.values()) and set(best.grown) == set(models)
    later = made.bars.copy()
    prices = [OPEN, HIGH, LOW, CLOSE]
    later[bars[1] :, :, prices] *= 2  # what comes after is not known when it is chosen
    assert choose(models, replace(made, bars=later), bars, stay_out=False) == best
    losing = {name: model for name, model in models.items() if best.grown[name] < 0}
    assert choose(losing, made, bars, stay_out=True).name == OUT
    best.write(tmp_path)
    assert Choice.read(tmp_path) == best and Choice.read(tmp_path / "none") is None
    with pytest.raises(DataError, match="nothing is left to train on"):
        walk_forward.parts(config(tmp_path, purge_bars=3, validate_days=4.8), made)
    with pytest.raises(ConfigError, match="validate_days must be below train_days"):
        config(tmp_path, validate_days=5)
    with pytest.raises(ConfigError, match="validate_days must be 0 with scheme combinatorial"):
        config(tmp_path, validate_days=2, scheme="combinatorial")


def test_who_decides_seldom_is_followed_bar_by_bar() -> None:
    made = market(bars=200)
    seldom = {**ENV, "action": {"every": 4}, "episode": {"length": 20}}
    env = BatchEnv(made, EnvConfig.model_validate(seldom), 1)
    model = Model.untrained(env, NetConfig(hidden=(8,)))
    (course,) = run_agent(model, made, 20, name="m")
    steps = BatchEnv(made, out_of_sample(model.card.env, made), 1, states=model.states)
    seen, equity = steps.reset(starts=np.array([20])), []
    while not steps.done.all():
        seen = steps.step(model.act(seen)[0]).observations
        equity.append(float(steps.equity.sum()))
    assert len(course.equity) == 180 and course.equity[4::4].tolist() == equity[:44]
    assert course.equity[-1] == equity[-1]
    out = idle("nobody", made, 20, 10.0)
    assert (out.ts == course.ts).all() and out.figures()["total_return"] == 0.0


def test_too_little_history_says_how_much_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"120 bars to train, 5 between and 72 to test need 161 "):
        walk_forward.parts(config(tmp_path), market(bars=100))
    with pytest.raises(ConfigError, match="tests must be below groups"):
        config(tmp_path, groups=3, tests=3)
    with pytest.raises(ConfigError, match="seeds must be different"):
        parsed(WalkForwardConfig, {"seeds": [1, 1]}, "test")


@pytest.mark.postgres
def test_a_study_goes_on_and_is_counted_once(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, research = market(bars=330), Research(database)
    study = config(tmp_path / "study")
    todo = walk_forward.parts(study, made)
    assert len(todo) == 2 * 3
    env = BatchEnv(made.part(None, int(made.close_ns[120])), study.train.env, 1)
    for part in todo:  # as trainings leave them, but untrained
        acting = Model.untrained(env, NetConfig(hidden=(8,)), seed=part.seed)
        ((start, stop),) = part.tests
        own, begin = window(
            made, acting.card, int(made.close_ns[start - 1]), int(made.close_ns[stop - 1])
        )
        (tmp_path / "study" / part.key).mkdir(parents=True)
        done = run_agent(acting, own, begin, name="x")
        walk_forward._store(tmp_path / "study" / part.key / "courses.npz", done)
    for change, told_ in (
        ({"observation": {"features": ["no_feature"]}}, "no_feature"),
        ({"episode": {"length": 1_000}}, r"episode\.length is 1000"),
    ):
        wrong = study.train.model_copy(
            update={"env": EnvConfig.model_validate({**ENV, **change})}
        )  # fmt: skip
        other = study.model_copy(update={"train": wrong, "out": tmp_path / "other"})
        with pytest.raises(DonError, match=told_):
            walk_forward.run(other, print, research=research, market=made)
    assert not research.runs()
    said: list[str] = []
    found = walk_forward.run(study, said.append, research=research, market=made)
    assert said[0] == "6 trainings, 6 done already, 0 to run"
    told = found.document
    assert list(told["figures"])[:3] == ["Study", "seed 1", "seed 2"]
    assert told["certainty"]["trials"] == 2 and told["seeds_above_hold"][1] == 2
    assert len(told["windows"]) == 6 and told["about"]["ledger"]["runs"] == 1
    assert told["start"] == iso(int(made.close_ns[124])) and told["end"] == iso(
        int(made.close_ns[-1])
    )
    files = {path.name for path in (tmp_path / "study").glob("result.*")}
    assert files == {"result.json", "result.txt", "result.html", "result.svg"}
    drawn = ElementTree.parse(tmp_path / "study" / "result.svg").getroot()
    lines = [each for each in drawn.iter() if each.tag.endswith("polyline")]
    assert len(lines) == 1 + 2 + 5  # the study, its seeds, the baselines
    assert any("Study " in (each.text or "") for each in drawn.iter())
    assert '"name": "Study"' in (tmp_path / "study" / "result.html").read_text()
    plan = tmp_path / "study" / "plan.json"
    begun = json.loads(plan.read_text())
    # a study of an older Don, which kept no versions, goes on as it is
    plan.write_text(json.dumps({k: begun[k] for k in ("config", "data_hash", "run", "ledger")}))
    again = walk_forward.run(study, said.append, research=research, market=made)
    assert again.run == found.run and len(research.runs()) == 1
    assert research.run(1).status == "done" and "answer" in research.run(1).metrics
    with pytest.raises(UsageError, match="holds another study"):
        other = study.model_copy(update={"seeds": (1, 2, 3)})
        walk_forward.run(other, said.append, research=research, market=made)
    # what is left must be trained on the features that the rest was; what cannot be read is left
    plan.write_text(json.dumps(begun))
    (tmp_path / "study" / todo[0].key / "courses.npz").write_bytes(b"")
    with monkeypatch.context() as patch:
        patch.setattr(sets.talib, "__version__", "0.0.1")
        now = study.train.env.observation.feature_set().hash
        was = f"study was begun with features of hash {begun['feature_hash']}; here it is {now}"
        with pytest.raises(UsageError, match=was):
            walk_forward.run(study, said.append, research=research, market=made)
    with (
        alone(tmp_path / "study", "studied"),
        pytest.raises(UsageError, match=f"study is being studied by process {os.getpid()}:"),
    ):
        walk_forward.run(study, said.append, research=research, market=made)
    plan.write_text("{")
    with pytest.raises(DataError, match=r"study: plan\.json cannot be read"):
        walk_forward.run(study, said.append, research=research, market=made)
    assert len(research.runs()) == 1


@pytest.mark.postgres
def test_a_test_begins_where_all_can_act(tmp_path: Path, database: Database) -> None:
    """Who must wait for history in a falling market would seem skilled beside who need not."""
    made, research = market(bars=200), Research(database)
    seen = {"features": ["zscore_24"], "window": 4}
    cut = int(made.close_ns[100])
    one = model_in(tmp_path / "one", made.part(None, cut), observation=seen)
    quick = model_in(tmp_path / "two", made.part(None, cut))
    late = made.part(int(made.close_ns[95]) - 1)  # five bars of history, it needs thirty

    def run(*models: Path, **data: str) -> Any:
        settings = parsed(EvaluateConfig, {"draws": 20, "data": data}, "test")
        return evaluate(models, settings, tmp_path / "out", research=research, tell=str,
                        market=late)  # fmt: skip

    found = run(one, quick)
    first = found.assessment.start_ns
    assert cut + 20 * HOUR < first < cut + 30 * HOUR  # for both, and for the baselines
    said = (
        f"The test begins at {iso(first)}: too little history before {iso(cut)}: agents look back"
    )
    assert any(each.startswith(said) for each in found.assessment.cautions)
    told = rf"over about \d+ bars .* there are 5; the earliest possible start is {iso(first)}$"
    with pytest.raises(DataError, match=told):
        run(one, start=iso(cut))
    named = run(one, start=iso(first))
    assert named.assessment.start_ns == first
    assert not any("too little history" in each for each in named.assessment.cautions)
    assert named.assessment.figures["hold"] == pytest.approx(found.assessment.figures["hold"])
    assert len(research.runs()) == 2


@pytest.mark.postgres
def test_a_study_begins_where_all_can_act(tmp_path: Path, database: Database) -> None:
    made, research = market(bars=200), Research(database)
    windows = {"scheme": "combinatorial", "groups": 4, "tests": 1}
    study = config(tmp_path / "study", **windows).model_copy(update={"seeds": (1,)})
    seen = {"features": ["zscore_24"], "window": 4}
    env = EnvConfig.model_validate({**ENV, "observation": seen})
    study = study.model_copy(update={"train": study.train.model_copy(update={"env": env})})
    acting = Model.untrained(BatchEnv(made, env, 1), NetConfig(hidden=(8,)))
    for part in walk_forward.parts(study, made):
        ((start, stop),) = part.tests
        own, begin = window(
            made, acting.card, int(made.close_ns[max(start - 1, 0)]), int(made.close_ns[stop - 1])
        )
        (tmp_path / "study" / part.key).mkdir(parents=True)
        done = run_agent(acting, own, begin, name="x", wait=True)
        walk_forward._store(tmp_path / "study" / part.key / "courses.npz", done)
    found = walk_forward.run(study, str, research=research, market=made)
    first = int(np.flatnonzero(decidable(env, made))[0])
    assert first > 20 and found.assessment.start_ns == made.close_ns[first]
    far = {**ENV, "observation": {**seen, "window": 40}}  # longer than the first test
    train = study.train.model_copy(update={"env": EnvConfig.model_validate(far)})
    other = study.model_copy(update={"train": train, "out": tmp_path / "other"})
    with pytest.raises(DataError, match=r"in the test of s1-c000, .* no bar can be observed"):
        walk_forward.run(other, str, research=research, market=made)
    assert len(research.runs()) == 1


@pytest.mark.postgres
def test_the_order_of_models_changes_nothing(tmp_path: Path, database: Database) -> None:
    made, research = market(bars=160), Research(database)
    cut = made.part(None, int(made.close_ns[100]))
    models = [
        model_in(tmp_path / "free", cut, costs={"taker": 0.0, "fills": {"price": "open"}}),
        model_in(tmp_path / "dear", cut, seed=1, costs={"taker": 4.0}),
    ]
    settings = EvaluateConfig(draws=20)
    one, two = (
        evaluate(order, settings, tmp_path / "out", research=research, tell=str, market=made)
        for order in (models, models[::-1])
    )
    figures, others = dict(one.assessment.figures), dict(two.assessment.figures)
    assert figures.pop("m #1") == others.pop("m #2") and figures.pop("m #2") == others.pop("m #1")
    for name, told in figures.items():
        assert told == pytest.approx(others[name], rel=1e-9, abs=1e-12), name
    said = one.assessment.cautions
    assert any("fills.price open in training, pessimistic here" in line for line in said)
    assert any("taker 0.0 in training, 4.0 here" in line for line in said)
    assert any("differ in taker: all of them, and the baselines" in line for line in said)
    assert [c for c in said if "looked at" not in c] == [
        c for c in two.assessment.cautions if "looked at" not in c
    ]
    for folder, tape in zip(models, ("a.parquet", "b.parquet"), strict=True):
        told = {"config": {"data": {"tape": tape}}}
        (folder.parent / "config.json").write_text(json.dumps(told))
    with pytest.raises(UsageError, match="data that differ in tape: give --data"):
        evaluate(models, settings, tmp_path / "out", research=research, tell=str)
    assert len(research.runs()) == 2


@pytest.mark.postgres
def test_an_evaluation_knows_what_was_trained_on(tmp_path: Path, database: Database) -> None:
    made, research = market(bars=300), Research(database)
    cut = int(made.close_ns[150])
    one = model_in(tmp_path / "one", made.part(None, cut))
    two = model_in(tmp_path / "two", made.part(None, cut), seed=1)
    quiet: list[str] = []

    def run(models: list[Path], **told: Any) -> Any:
        settings = parsed(EvaluateConfig, {"draws": 20, **told}, "test")
        return evaluate(models, settings, tmp_path / "out", research=research, tell=quiet.append,
                        market=made)  # fmt: skip

    research.begin("train", {}, made.hash, trials=5)
    found = run([one], seeds=2)
    assert found.document["start"] == iso(cut)  # it begins where the training ended
    # what was chosen on bars behind its training has seen them too
    late = int(made.close_ns[200])
    part = SimpleNamespace(validated=(155, 201))
    walk_forward._dated(Model.load(one), made, part).save(tmp_path / "chosen")  # type: ignore[arg-type]
    chosen = run([tmp_path / "chosen"])
    assert chosen.document["start"] == iso(late) and chosen.outside
    early = run([tmp_path / "chosen"], data={"start": iso(int(made.close_ns[198]))})
    assert any("In sample" in c for c in early.assessment.cautions) and not early.outside
    assert found.document["certainty"]["trials"] == 5
    assert [n for n in found.document["figures"]][:3] == ["m", "m, drawn 1", "m, drawn 2"]
    assert not any("In sample" in c for c in found.assessment.cautions)
    (noted,) = measures(found)  # for the registry
    assert noted["run"] == found.run and "max_drawdown" in noted
    # trained under another ledger, which this one knows nothing of
    stamp = {"ledger": "feed", "ledger_run": "3", "ledger_trials": "40"}
    for stamped, count in ((stamp, 40), (research.stamp(1, made.hash), 5)):
        own = Model.load(one)
        notes = {**own.card.notes, **stamped, "data_end": iso(cut)}
        foreign = replace(own, card=own.card.model_copy(update={"notes": notes}))
        foreign.save(tmp_path / f"of{count}")
        told = run([tmp_path / f"of{count}"])
        assert told.document["certainty"]["trials"] == count
        assert any("another research ledger (feed, run 3)" in c
                   for c in told.assessment.cautions) == (count == 40)  # fmt: skip
    early = run([one, two], data={"start": iso(int(made.close_ns[100]))})
    assert any("In sample: the model was trained on bars up to" in c
               for c in early.assessment.cautions)  # fmt: skip
    assert any("looked at before, evaluated 5 times" in c for c in early.assessment.cautions)
    assert measures(early) == [{}, {}]
    assert early.document["seeds_above_hold"][1] == 2 and early.assessment.choice is not None
    kinds = [(run.kind, run.trials, run.status) for run in research.runs()]
    assert kinds[1:] == [("evaluate", 0, "done")] * 6
    assert json.loads((tmp_path / "out" / "result.json").read_text())["grade"]
    (tmp_path / "one" / "market.npz").unlink()
    with pytest.raises(UsageError, match="give --start"):
        run([one])
    unsure = run([one], data={"start": iso(cut)})
    assert any("not known on which bars" in c for c in unsure.assessment.cautions)
    with pytest.raises(UsageError, match="nothing out of sample"):
        run([model_in(tmp_path / "all", made)])
    with pytest.raises(ConfigError, match="the data have"):
        settings = EvaluateConfig.model_validate({"data": {"start": iso(cut)}})
        other = replace(made, symbols=("X-USDT", "Y-USDT", "Z-USDT"))
        evaluate([two], settings, tmp_path / "out", research=research, market=other)
    with pytest.raises(DataError, match="closes between"):
        run([two], data={"start": "2100-01-01"})
    assert len(research.runs()) == 8  # none of these looked at anything
