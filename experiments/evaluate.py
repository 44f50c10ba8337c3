"""Evaluate trained models out of sample, beside baselines, counted in the research ledger.

Needs no Ray. Reads models and bars, writes a result in three forms: JSON, text, one HTML file.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from don.clock import interval_text, iso, parse_iso
from don.envs import EnvMarket
from don.envs.completeness import completeness, weak
from don.errors import ConfigError, UsageError
from don.evaluation.agent import history_needed, run_agent
from don.evaluation.assess import Assessment, Counted, assess
from don.evaluation.baselines import run_baselines
from don.evaluation.costs import together, told_of
from don.evaluation.course import Course, mixed
from don.evaluation.figure import growth_svg
from don.evaluation.page import document, page, text
from don.evaluation.verdict import grade, words
from don.learning.card import ModelCard
from don.learning.model import Model
from don.sources import code_version
from don.storage.research import Research
from don.storage.research_runs import RunKind, RunStatus, Trials
from don.words import amount
from experiments.durable import make_folder
from experiments.evaluation_config import EvaluateConfig
from experiments.rllib.market_file import open_data, read_market
from experiments.searched import Searched, rivals
from experiments.tested import Tested, greediest, tested
from experiments.training_config import DataConfig

Tell = Callable[[str], None]
DAY_NS = 86_400 * 10**9
RESULT = "result"  # .json, .txt, .html, .svg


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An evaluation that is over."""

    run: int  # its number in the ledger
    assessment: Assessment
    document: dict[str, Any]
    folder: Path
    own: tuple[str, ...] = ()  # the course of each model, as `assessment.figures` names it
    outside: bool = False  # whether it is known that the models had seen none of the bars


def evaluate(
    folders: Sequence[Path], config: EvaluateConfig, out: Path, *, research: Research,
    tell: Tell = print, market: EnvMarket | None = None, trained: Sequence[Path] = (),
    home: Path | None = None, search: Searched | None = None,
) -> Result:  # fmt: skip
    """Evaluate models over one window; several are taken as seeds of one strategy.

    Counted before any of them acts; what cannot be evaluated is refused uncounted.

    Args:
        folders: of exported models.
        config: data, window, statistics.
        out: folder for the result.
        research: the ledger.
        tell: takes lines about progress.
        market: all bars, in place of `config.data`.
        trained: folders that trainings exported the models to, if they are not `folders`: those
            of trainings know where their data are.
        home: the state folder whose store is read; None: as `DON_HOME` says.
        search: that the model was chosen in: what its configurations did is shown and judged too.

    Raises:
        UsageError, DataError, ConfigError: if models, data or window do not fit together.
    """
    if not folders:
        raise UsageError("give at least one model")
    models = [Model.load(folder) for folder in folders]
    ends = [_trained_until(*each) for each in zip(trained or folders, models, strict=True)]
    among = [] if search is None else [Model.load(folder) for folder in search.folders]
    if search is not None:
        ends += [_trained_until(*each) for each in zip(search.folders, among, strict=True)]
    if market is not None:
        data, whole = config.data, market
    else:
        data = _data(config, trained or folders, models, ends)
        whole = open_data(data, home)
    start, end, cautions = _window(ends, config.data, whole)
    told = {
        "models": [m.id for m in models], "among": [m.id for m in among],
        "start": start and iso(start), "end": end and iso(end),
        "config": config.model_dump(mode="json"),
    }  # fmt: skip
    cards = [m.card for m in (*models, *among)]
    test = tested(cards, whole, start, end, config.data.start is not None)
    names = lineage(whole, data)
    before, elsewhere = _tried(research.trials(whole.hash, names), models, research)
    make_folder(out)
    run = research.begin(RunKind.EVALUATE, told, whole.hash, seed=config.seed, lineage=names)
    try:
        shares = completeness(whole.part(start, end))
        paid = told_of([model.card.env.costs for model in models], test.part)
        own, courses, others, baselines = _courses(models, whole, test, config, tell)
        found = assess(
            own, courses, baselines, counted(before, research), others=others,
            cautions=[*cautions, *test.said, *elsewhere, *paid, *caution(shares)],
            draws=config.draws, seed=config.seed,
            rivals=None if search is None else rivals(search, among, test),
        )  # fmt: skip
        about = {
            "run": run, "version": code_version(), "models": [_about(m.card, m.id) for m in models],
            "data": whole.hash, "data_shares": shares,
            "ledger": research.reference(), "config": config.model_dump(mode="json"),
        }  # fmt: skip
        made = document(found, about)
        write(out, found, [*courses, *others, *baselines.values()], about)
    except BaseException as error:
        status = RunStatus.STOPPED if isinstance(error, KeyboardInterrupt) else RunStatus.FAILED
        research.end(run, status, {"error": str(error) or type(error).__name__})
        raise
    research.end(run, RunStatus.DONE, metrics(found))
    known = [e for e in ends if e is not None]
    outside = len(known) == len(ends) and start is not None and start >= max(known)
    return Result(
        run=run, assessment=found, document=made, folder=out, outside=outside,
        own=tuple(course.name for course in courses),
    )  # fmt: skip


def measures(result: Result) -> list[dict[str, float]]:
    """What the registry notes of each model; nothing of bars that a model may have seen."""
    a = result.assessment
    if not result.outside:
        return [{} for _ in result.own]
    alone = {"deflated_sharpe": a.certainty.deflated} if len(result.own) == 1 else {}
    found = []
    for name in result.own:
        figures = a.figures[name]
        told = {n: figures[n] for n in ("sharpe", "total_return", "max_drawdown")} | alone
        kept = {n: value for n, value in told.items() if math.isfinite(value)}
        found.append({**kept, "run": float(result.run)})
    return found


def counted(trials: Trials, research: Research) -> Counted:
    """What the ledger says of data, as the statistics take it."""
    return Counted(
        trials=trials.count, ratios=trials.ratios, looks=trials.looks, outside=trials.outside,
        studies=trials.studies, backtests=trials.backtests,
        ledger=research.reference(),
    )  # fmt: skip


def _tried(trials: Trials, models: Sequence[Model], research: Research) -> tuple[Trials, list[str]]:
    """At least the trials that a model was the best of where it was trained, and what to say."""
    stamps = [m.card.notes for m in models if "ledger_run" in m.card.notes]
    lacking = [stamp for stamp in stamps if not research.has(stamp)]
    if not lacking:
        return trials, []
    most = max(lacking, key=lambda stamp: int(stamp["ledger_trials"]))
    count = max(trials.count, int(most["ledger_trials"]))
    found = replace(trials, count=count, outside=trials.outside + count - trials.count)
    return found, [
        f"It was trained under another research ledger ({most['ledger']}, run "
        f"{most['ledger_run']}), which knew of {amount(int(most['ledger_trials']), 'trial')} by "
        "then: this one does not have them. At least as many are counted; what was tried there "
        "since is not."
    ]


def lineage(market: EnvMarket, data: DataConfig) -> list[str]:
    """What the ledger knows data by, beside their hash."""
    known = data.store or data.tape is not None
    return [*market.symbols, *([data.source] if known else [])]


def metrics(a: Assessment) -> dict[str, Any]:
    """What the ledger keeps of a result; figures that are not finite are left out."""
    own, c = a.figures[a.strategy], a.certainty
    told = {
        "sharpe": own["sharpe"], "returns": c.steps, "days": c.steps * c.step_days,
        "total_return": own["total_return"],
        "max_drawdown": own["max_drawdown"], "deflated": c.deflated,
        "grade": str(grade(a)), "answer": words(a)[0],
    }  # fmt: skip
    return {n: v for n, v in told.items() if not isinstance(v, float) or math.isfinite(v)}


def write(
    out: Path, a: Assessment, courses: Sequence[Course], about: Mapping[str, Any],
    windows: Sequence[Mapping[str, Any]] = (),
) -> None:  # fmt: skip
    """Write a result in its forms: JSON, text, a page, and the page's picture for other pages.

    Args:
        out: folder.
        a: what is told.
        courses: the strategy's seeds first, as many as it has, then all others.
        about: what it rests on.
        windows: rows of a table.
    """
    out.mkdir(parents=True, exist_ok=True)
    seeds = a.seeds_above_hold[1]
    if seeds > 1:  # what is judged is drawn too
        courses = [mixed(courses[:seeds], a.strategy), *courses]
    for suffix, content in (
        ("json", json.dumps(document(a, about, windows), indent=1)),
        ("txt", text(a)),
        ("html", page(a, courses, about, windows)),
        ("svg", growth_svg(courses, a.strategy, tuple(a.against))),
    ):
        draft = out / f"{RESULT}.{suffix}.new"
        draft.write_text(content, encoding="utf-8")
        draft.replace(out / f"{RESULT}.{suffix}")


def _courses(
    models: Sequence[Model], whole: EnvMarket, test: Tested, config: EvaluateConfig, tell: Tell,
) -> tuple[str, list[Course], list[Course], dict[str, Course]]:  # fmt: skip
    part, begin, able = test.part, test.begin, test.able
    cards = [model.card for model in models]
    own = cards[0].name if len(models) == 1 else f"{len(models)} models"
    courses: list[Course] = []
    others: list[Course] = []
    env = together([card.env for card in cards], part)
    for n, model in enumerate(models):
        name = own if len(models) == 1 else f"{model.card.name} #{n + 1}"
        tell(f"{name}: {amount(len(part.close_ns) - begin - 1, 'bar')}")
        seeds = range(config.seed + 1, config.seed + 1 + config.seeds)
        first, *drawn = run_agent(
            model, part, begin, name=name, drawn=seeds, costs=env.costs, able=able
        )
        courses.append(first)
        others += drawn
    tell("baselines")
    baselines = run_baselines(part, env, begin, config.baselines, history=whole, able=able)
    tell("statistics")
    return own, courses, others, baselines


def _window(
    ends: Sequence[int | None], data: DataConfig, whole: EnvMarket
) -> tuple[int | None, int | None, list[str]]:
    """Begin and end of the test, and what must be said of it."""
    start = _begin(ends, data)
    end = None if data.end is None else parse_iso(data.end)
    known = [e for e in ends if e is not None]
    if data.start is None and start >= int(whole.close_ns[-1]):
        raise UsageError(
            f"the model was trained up to the end of the data, {iso(start)}: there is nothing "
            "out of sample; train on less, or give other data"
        )
    if len(known) < len(ends):
        return start, end, ["It is not known on which bars the model was trained: these may be "
                            "among them."]  # fmt: skip
    if start < max(known):
        return (
            start,
            end,
            [
                f"In sample: the model was trained on bars up to {iso(max(known))}, the test "
                f"begins at {iso(start)}. Nothing here says what it would earn on new bars."
            ],
        )
    return start, end, []


def _trained_until(folder: Path, model: Model) -> int | None:
    """Close of the last bar that a model was trained or chosen on, ns; None: not known."""
    noted = model.card.notes.get("data_end")
    if noted:
        return parse_iso(noted)
    file = folder.parent / "market.npz"  # as a training leaves it
    if file.exists():
        trained = read_market(str(file))
        if trained.hash == model.card.data_hash:
            return int(trained.close_ns[-1])
    return None


def _begin(ends: Sequence[int | None], data: DataConfig) -> int:
    """Where the test begins: where it is told to, else where the last training ended."""
    if data.start is not None:
        return parse_iso(data.start)
    known = [e for e in ends if e is not None]
    if len(known) < len(ends):
        raise UsageError(
            "it is not known on which bars the model was trained: give --start, the end of its "
            "training"
        )
    return max(known)


def _data(
    config: EvaluateConfig, folders: Sequence[Path], models: Sequence[Model],
    ends: Sequence[int | None],
) -> DataConfig:  # fmt: skip
    """The bars to open: the test's, and what lies before them."""
    card, data = models[0].card, config.data
    if not config.store:
        data = data_of(folders, [m.card for m in models], data)
        if not data.store:
            names = data.symbols or card.symbols
            return data.model_copy(update={"start": None, "end": None, "symbols": names})
    base = config.baselines
    days = max(base.volatility_days, base.momentum_days, base.moments_days)
    history = max(
        history_needed(greediest([m.card for m in models])) * card.interval_ns,
        round(days * DAY_NS),
    )
    start = _begin(ends, config.data)
    end = time.time_ns() if config.data.end is None else parse_iso(config.data.end)
    if start >= end:
        raise UsageError(f"--end must be after the start of the test, {iso(start)}, was {iso(end)}")
    told = {
        "store": True, "exchange": config.exchange if config.store else data.exchange,
        "interval": interval_text(card.interval_ns), "symbols": card.symbols,
        "start": iso(start - history - card.interval_ns), "end": iso(end),
        "leverage": data.leverage,
    }  # fmt: skip
    return DataConfig.model_validate(told)


def data_of(folders: Sequence[Path], cards: Sequence[ModelCard], given: DataConfig) -> DataConfig:
    """The bars that are asked for; where none are named, those that models were trained on, with
    what is asked for beside them.

    A card knows them, or of older models the folder of the training.

    Raises:
        UsageError: if they come from different ones, it is not known where from, or what is asked
            for does not go with them.
    """
    if given.tape is not None or given.store:
        return given
    asked = {name: getattr(given, name) for name in given.model_dump(exclude_defaults=True)}
    found: list[DataConfig] = []
    for folder, card in zip(folders, cards, strict=True):
        one = _trained_on(folder, card)
        if one.store and given.funding is not None:
            raise UsageError(
                f"--funding was {str(given.funding)!r}: must be left out, as model {card.name} was "
                "trained on bars of the store, which has payments of its own; or give --data too"
            )
        found.append(one.model_copy(update=asked))
    # symbols and interval are those of the cards, which are compared with the bars; the window is
    # that of the test
    named = DataConfig.model_fields.keys() - {"symbols", "interval", "start", "end"}
    odd = sorted(n for n in named if any(getattr(one, n) != getattr(found[0], n) for one in found))
    if odd:
        raise UsageError(
            f"the models were trained on data that differ in {', '.join(odd)}: give --data, or "
            "--store, for all of them"
        )
    return found[0]


def _trained_on(folder: Path, card: ModelCard) -> DataConfig:
    try:
        one = DataConfig.noted_in(card.notes)
        if one is None:
            told = json.loads((folder.parent / "config.json").read_text())["config"]["data"]
            one = DataConfig.model_validate(told)
    except FileNotFoundError:
        raise UsageError(
            f"it is not known which data model {card.name} was trained on: give --data, or --store"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{folder.parent / 'config.json'} is no training's: {error}; give --data"
        ) from error
    return one


def caution(shares: Mapping[str, Any]) -> list[str]:
    """What a reader must know of the bars that were used."""
    short = weak(shares)
    return [f"The data are not all complete: {short}."] if short else []


def _about(card: ModelCard, model_id: str) -> dict[str, Any]:
    return {
        "name": card.name, "id": model_id, "algorithm": card.algorithm, "seed": card.seed,
        "symbols": card.symbols, "features": card.features, "feature_hash": card.feature_hash,
        "data_hash": card.data_hash, "code_version": card.code_version,
        "steps": card.trained.steps,
    }  # fmt: skip
