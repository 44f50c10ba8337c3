"""Walk-forward studies: train on a window, test on what comes after it, go on; several seeds.

`python -m experiments.walk_forward CONFIG [--out FOLDER]`, also as a Ray job. Each part, a window
and a seed, is a folder that is finished at once: a study that was killed goes on where it was.
With validation what is tested is a checkpoint that was chosen on bars between the two, or nothing.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from don.clock import iso
from don.envs import EnvMarket
from don.envs.completeness import completeness
from don.errors import DataError, DonError, Interrupted, UsageError
from don.evaluation.agent import decidable, run_agent, window
from don.evaluation.assess import assess
from don.evaluation.baselines import run_baselines
from don.evaluation.costs import told_of
from don.evaluation.course import SUMS, Course, first_bar, idle, joined, since
from don.evaluation.page import document
from don.home import home_dir
from don.learning.model import Model
from don.learning.trainings import announced
from don.sources import code_version
from don.storage.research import Research, counted_by, open_research
from don.storage.research_runs import RunKind, RunStatus
from don.words import amount
from experiments.begun import alone, check_versions, versions_of
from experiments.choosing import LAST, OUT, Choice, candidates, choose
from experiments.cluster import local_cluster
from experiments.durable import put, read_json, write_json
from experiments.evaluate import Result, caution, counted, lineage, metrics, write
from experiments.evaluation_config import Scheme, WalkForwardConfig, WindowConfig
from experiments.fitting import fitting
from experiments.program import asked, run_as_program
from experiments.rllib.errors import TrainingDiverged
from experiments.rllib.market_file import open_data
from experiments.study_parts import Part, check_tests, parts

Tell = Callable[[str], None]
PLAN = "plan.json"


def run(
    config: WalkForwardConfig, tell: Tell = print, *, research: Research | None = None,
    market: EnvMarket | None = None, home: Path | None = None,
) -> Result:  # fmt: skip
    """Run what of a study is not done yet, and judge the whole.

    Args:
        config: of the study.
        tell: takes lines about progress.
        research: the ledger; None: that of the state folder.
        market: bars, in place of `config.train.data`.
        home: the state folder; None: as `DON_HOME` says.

    Raises:
        UsageError: if the folder holds another study, or data and windows do not fit.
        Interrupted: if it was stopped: the same command goes on.
    """
    with ExitStack() as until:
        shown: AbstractContextManager[None] = nullcontext()
        if research is None:
            home = home or home_dir()
            research = until.enter_context(open_research(home, warn=tell))
            shown = announced(home, config.out, kind="study", name=config.name, warn=tell)
        # what is refused here has looked at nothing: it is neither counted nor shown
        whole = open_data(config.train.data, home) if market is None else market
        todo = parts(config, whole)
        if _before(config) is None:
            for part in todo:
                if part.seed == config.seeds[0]:  # windows of all seeds are the same
                    fitting(config.train, part.market)
            check_tests(todo, decidable(config.train.env, whole), whole)
        until.enter_context(alone(config.out, "studied"))
        if (before := _before(config)) is not None:
            _check(config, whole, before, tell, over=all(_done(config, part) for part in todo))
        until.enter_context(shown)
        return _counted(config, tell, research, whole, todo, home or home_dir())


def _counted(
    config: WalkForwardConfig, tell: Tell, research: Research, whole: EnvMarket,
    todo: Sequence[Part], home: Path,
) -> Result:  # fmt: skip
    """Run a study that fits, entered in the ledger before it begins."""
    number = _begun(config, whole, research)
    left = [part for part in todo if not _done(config, part)]
    tell(
        f"{amount(len(todo), 'training')}, {len(todo) - len(left)} done already, {len(left)} to run"
    )
    try:
        if left:
            with local_cluster(home, cpus=max(1, config.train.workers.runners + 1)):
                _train(config, whole, left, number, research, tell)
        found = _judge(config, whole, todo, number, research, tell)
    except KeyboardInterrupt:
        raise Interrupted("stopped; the same command goes on") from None
    except DonError:
        raise  # the run stays open: the same command goes on
    if research.run(number).status is RunStatus.OPEN:
        research.end(number, RunStatus.DONE, metrics(found.assessment))
    return found


def _train(
    config: WalkForwardConfig, whole: EnvMarket, left: Sequence[Part], number: int,
    research: Research, tell: Tell,
) -> None:  # fmt: skip
    from experiments.train import train

    begin = time.monotonic()
    for n, part in enumerate(left):
        folder = config.out / part.key
        settings = config.train.model_copy(
            update={"seed": part.seed, "out": folder / "training",
                    "name": f"{config.name}-{part.key}".lower()[:64]}
        )  # fmt: skip
        head = f"[{n + 1}/{len(left)}] {part.key}, {part.trained}"
        tell(head)
        try:
            with counted_by(number):
                outcome = train(settings, lambda line, h=head: tell(f"{h}: {line}"),  # type: ignore[misc]
                                resume=True, market=part.market, research=research)  # fmt: skip
        except TrainingDiverged as error:
            raise TrainingDiverged(
                f"{part.key}: {error.what}",
                "windows are trained alike: lower train.algorithm.lr, grad_clip or reward_scale, "
                "in another --out",
            ) from error
        model, chosen = _chosen(outcome.out, Model.load(outcome.model), whole, part, config.windows)
        tell(f"{head}: traded is {chosen.words}")
        chosen.write(folder)
        if chosen.name != OUT:
            _dated(model, whole, part).save(folder / "model")
        found = []
        for start, stop in part.tests:
            at, begin_bar = window(
                whole, model.card, int(whole.close_ns[max(start - 1, 0)]),
                int(whole.close_ns[stop - 1]),
            )  # fmt: skip
            if chosen.name == OUT:
                capital = model.card.env.episode.capital  # growth alone counts
                found.append(idle(f"seed {part.seed}", at, begin_bar, capital))
            else:
                found += run_agent(model, at, begin_bar, name=f"seed {part.seed}", wait=True)
        _store(folder / "courses.npz", found)
        passed = time.monotonic() - begin
        tell(f"{head}: tested; {passed / (n + 1) * (len(left) - n - 1):,.0f} s left of the study")


def _chosen(
    training: Path, last: Model, whole: EnvMarket, part: Part, windows: WindowConfig
) -> tuple[Model, Choice]:
    """What is traded of a training; of one that stays out, its last model."""
    if part.validated is None:
        return last, Choice(name=LAST, grown={})
    models = candidates(training, last)
    chosen = choose(models, whole, part.validated, stay_out=windows.stay_out)
    return models.get(chosen.name, last), chosen


def _dated(model: Model, whole: EnvMarket, part: Part) -> Model:
    """The same; one that was chosen on bars has seen them: out of sample begins behind them."""
    if part.validated is None:
        return model
    start, stop = (int(whole.close_ns[n]) for n in (part.validated[0], part.validated[1] - 1))
    notes = {**model.card.notes, "chosen_on": f"{iso(start)} to {iso(stop)}", "data_end": iso(stop)}
    return replace(model, card=model.card.model_copy(update={"notes": notes}))


def _judge(
    config: WalkForwardConfig, whole: EnvMarket, todo: Sequence[Part], number: int,
    research: Research, tell: Tell,
) -> Result:  # fmt: skip
    tell("baselines and statistics")
    tested: dict[tuple[int, int], dict[int, Course]] = {}  # (seed, path) -> stretch -> course
    rows = []
    for part in todo:
        chosen = Choice.read(config.out / part.key)
        for course, place, (start, stop) in zip(
            _load(config.out / part.key / "courses.npz", f"seed {part.seed}", whole.interval_ns),
            part.places, part.tests, strict=True,
        ):  # fmt: skip
            tested.setdefault((part.seed, place[0]), {})[place[1]] = course
            told = course.figures()
            rows.append(
                {
                    "part": part.key, "trained": part.trained,
                    "tested": f"{iso(int(whole.close_ns[start]))[:10]} to "
                    f"{iso(int(whole.close_ns[stop - 1]))[:10]}",
                    "return": f"{told['total_return']:.2%}", "Sharpe": f"{told['sharpe']:.2f}",
                    "drawdown": f"{told['max_drawdown']:.2%}",
                    **({} if chosen is None else {"traded": chosen.words}),
                }
            )  # fmt: skip
    many = len({path for _, path in tested}) > 1
    seeds = [
        replace(
            joined([one for _, one in sorted(own.items())]),
            name=f"seed {seed}" + (f", path {path + 1}" if many else ""),
        )
        for (seed, path), own in sorted(tested.items())
    ]
    # all begin where the agents can act first: who waits for history in a falling market seems
    # skilled; and where they cannot later, behind a gap, the baselines wait with them
    able = decidable(config.train.env, whole)
    at = first_bar(able, whole, int(np.searchsorted(whole.close_ns, seeds[0].ts[0])))
    seeds = [since(course, int(whole.close_ns[at])) for course in seeds]
    span = whole.part(int(whole.close_ns[at]) - 1, int(seeds[0].ts[-1]))
    baselines = run_baselines(
        span, config.train.env, 0, config.baselines, history=whole,
        able=able[at : at + len(span.close_ns)],
    )  # fmt: skip
    names, shares = lineage(whole, config.train.data), completeness(whole)
    found = assess(
        config.name, seeds, baselines, counted(research.trials(whole.hash, names), research),
        draws=config.draws,
        cautions=[*_said(config), *told_of([config.train.env.costs], whole), *caution(shares)],
    )  # fmt: skip
    about = {
        "run": number, "version": code_version(), "data": whole.hash,
        "data_shares": shares, "ledger": research.reference(),
        "config": config.model_dump(mode="json"),
    }  # fmt: skip
    write(config.out, found, [*seeds, *baselines.values()], about, rows)
    return Result(
        run=number, assessment=found, document=document(found, about, rows), folder=config.out
    )


def _said(config: WalkForwardConfig) -> list[str]:
    said = ["Each window begins with cash: positions of the window before are let go at the mark."]
    if config.windows.scheme is Scheme.COMBINATORIAL:
        said.append(
            "Combinatorial: some tests lie before what was trained on. Paths share trainings, so "
            "they are not independent."
        )
    return said


# ---- what is kept --------------------------------------------------------------------------------


def _plan(config: WalkForwardConfig, market: EnvMarket) -> dict[str, Any]:
    """What makes a study the same one."""
    told = config.model_dump(mode="json", exclude={"out", "draws", "baselines"})
    # checkpoints that are kept are what a validation chooses from
    free = ("out", "workers") if config.windows.validate_days else ("out", "workers", "keep")
    for name in free:
        told["train"].pop(name)
    return {"config": told, "data_hash": market.hash}


def _check(
    config: WalkForwardConfig, market: EnvMarket, before: dict[str, Any], tell: Tell, *, over: bool
) -> None:
    """What goes on must be what began. What is over is only judged: no model is read any more.

    Raises:
        UsageError: if the folder's study is another one, or features mean something else by now.
    """
    if {k: before.get(k) for k in ("config", "data_hash")} != _plan(config, market):
        raise UsageError(f"{config.out} holds another study: use another --out")
    if over:
        return
    now = versions_of(config.train.env)
    if (was := before.get("ray", now["ray"])) != now["ray"]:
        # each training is of one Ray: one that is not over refuses to go on by itself
        tell(f"begun with Ray {was}, goes on with Ray {now['ray']}")
    check_versions({k: v for k, v in before.items() if k != "ray"}, now, config.out)


def _before(config: WalkForwardConfig) -> dict[str, Any] | None:
    """The plan that the folder was begun with, with `run` and `ledger`."""
    path = config.out / PLAN
    if not path.exists():
        return None
    return read_json(path, "study")


def _begun(config: WalkForwardConfig, market: EnvMarket, research: Research) -> int:
    """The study's number in the ledger; a folder that was begun keeps its own."""
    before = _before(config)
    if before is not None and before["ledger"] == research.reference()["ledger"]:
        return int(before["run"])
    number = research.begin(
        RunKind.WALK_FORWARD, config.model_dump(mode="json"), market.hash,
        lineage=lineage(market, config.train.data), trials=len(config.seeds),
    )  # fmt: skip
    config.out.mkdir(parents=True, exist_ok=True)
    ledger = research.reference()["ledger"]
    begun = versions_of(config.train.env)
    kept = {**begun, **(before or {}), **_plan(config, market), "run": number, "ledger": ledger}
    write_json(config.out / PLAN, kept)
    return number


def _done(config: WalkForwardConfig, part: Part) -> bool:
    """Whether a part's test can be read: what cannot is run again."""
    try:
        return bool(_load(config.out / part.key / "courses.npz", "", 1))
    except DataError:
        return False


def _store(path: Path, courses: Sequence[Course]) -> None:
    arrays: dict[str, Any] = {}
    for n, course in enumerate(courses):
        arrays |= {f"ts{n}": course.ts, f"equity{n}": course.equity}
        arrays[f"sums{n}"] = np.array([course.sums[name] for name in SUMS])
        arrays[f"told{n}"] = np.array([course.gross, course.liquidations, course.breaks])
    with put(path) as file:
        np.savez(file, **arrays)


def _load(path: Path, name: str, interval_ns: int) -> list[Course]:
    try:
        with np.load(path) as told:
            return [
                Course(
                    name=name, interval_ns=interval_ns,
                    ts=told[f"ts{n}"], equity=told[f"equity{n}"],
                    sums=dict(zip(SUMS, told[f"sums{n}"].tolist(), strict=True)),
                    gross=float(told[f"told{n}"][0]), liquidations=int(told[f"told{n}"][1]),
                    breaks=int(told[f"told{n}"][2]),
                )
                for n in range(len(told.files) // 4)
            ]  # fmt: skip
    except (OSError, EOFError, LookupError, ValueError, BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def main(words: list[str]) -> int:
    """The program."""
    config, given = asked(
        WalkForwardConfig, "experiments.walk_forward", __doc__, words, resume=False
    )

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    found = run(config, tell)
    if given.json:
        print(json.dumps(found.document, indent=1))
    else:
        print((found.folder / "result.txt").read_text())
        print(f"{found.folder / 'result.html'}")
    return 0


if __name__ == "__main__":
    run_as_program("experiments.walk_forward", main)
