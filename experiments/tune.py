"""Search over trainings: `python -m experiments.tune CONFIG [--resume]`. A Ray job.

Ray Tune runs the trials, one a core, and stops or changes the weak ones. Each trial is a training
in a folder of its own under OUT/trials, and is counted in the research ledger before it begins.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

from don.envs import EnvMarket
from don.envs.completeness import completeness
from don.errors import DonError, Interrupted, UsageError
from don.home import home_dir
from don.learning.trainings import announced
from don.storage.research import Research, open_research
from don.storage.research_runs import RunKind, RunStatus, as_json
from experiments.begun import alone, check_versions, versions_of
from experiments.cluster import local_cluster
from experiments.durable import read_json, write_json
from experiments.fitting import check_search
from experiments.program import asked, run_as_program
from experiments.searched import listed, shown
from experiments.tune_config import NOTHING, Range, Search, TuneConfig, cautions, corners, training

Tell = Callable[[str], None]
NAME, RESULTS, RUNS, CONFIG = "search", "results.json", "runs.json", "config.json"
MARKET, MODEL = "market.npz", "model"
FREE = ("at_once",)  # what may differ when a search goes on


def tune(
    config: TuneConfig, tell: Tell = print, *, resume: bool = False,
    research: Research | None = None, home: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Search.

    Args:
        config: what to search.
        tell: takes lines about progress.
        resume: go on with a search that was killed; from the start if it had not begun.
        research: the ledger; None: that of the state folder.
        home: the state folder; None: as `DON_HOME` says.

    Returns:
        `best` (its row and its model's folder), `rows` (one a trial), `table` (their file).

    Raises:
        UsageError: if the folder holds another search, or another process searches in it.
        Interrupted: if it was stopped; it can be resumed.
    """
    with ExitStack() as until:
        shown: AbstractContextManager[None] = nullcontext()
        if research is None:
            home = home or home_dir()
            research = until.enter_context(open_research(home, warn=tell))
            shown = announced(home, config.out, kind="tune", name=config.out.name, warn=tell)
        # what is refused here has looked at nothing: it is neither counted nor shown
        from experiments.rllib.market_file import open_data, write_market

        base = training(config, corners(config)[0])
        market = open_data(base.data, home)
        check_search(config, market)
        until.enter_context(alone(config.out, "searched"))
        going = _same(config, market.hash, resume=resume)
        write_json(config.out / CONFIG, _told(config, market.hash))
        until.enter_context(shown)
        write_market(market, config.out.absolute() / MARKET)
        for line in cautions(config, len(market.close_ns)):
            tell(line)
        names = (*market.symbols, base.data.source)
        return _counted(config, market, names, tell, research, home or home_dir(), going=going)


def _counted(
    config: TuneConfig, market: EnvMarket, names: tuple[str, ...], tell: Tell, research: Research,
    home: Path, *, going: bool,
) -> dict[str, Any]:  # fmt: skip
    """Search what fits, entered in the ledger before it begins."""
    told = config.model_dump(mode="json")
    run = research.begin(RunKind.TUNE, told, market.hash, seed=config.seed, lineage=names)
    counted = Counted(research, run, config, market.hash, names, tell)
    left = max(config.trials - counted.begun, 0)
    notes = training(config, corners(config)[0]).data.noted
    notes |= research.stamp(run, market.hash, names, planned=left)
    try:
        with local_cluster(home, cpus=config.at_once):
            rows = _search(config, config.out.absolute() / MARKET, counted, notes, going=going)
    except BaseException as error:
        stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        status = RunStatus.STOPPED if stopped else RunStatus.FAILED
        research.end(run, status, {"error": str(error) or type(error).__name__})
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted("stopped; --resume goes on") from None
        raise
    table = config.out / RESULTS
    draft = table.with_suffix(".new")
    draft.write_text(json.dumps(rows, indent=1))
    draft.replace(table)
    best = best_of(rows)
    research.end(
        run, RunStatus.DONE if best else RunStatus.FAILED,
        {"best": best, "trials": len(rows), "data": completeness(market)},
    )  # fmt: skip
    if best is None:
        failed = sum(row["error"] is not None for row in rows)
        raise DonError(
            f"no trial came to a score; errors are in {table}" if failed else
            f"no trial came to a score: no episode ended within {config.iterations} iterations; "
            "raise iterations or train.algorithm.fragment, or lower train.env.episode.length"
        )  # fmt: skip
    return {"best": best, "rows": rows, "table": str(table)}


def best_of(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The trial with the greatest score of those that went furthest; None if none has a score.

    A score after few iterations is noise, and one that was stopped early was stopped for being
    worse than those that went on.
    """
    done = [row for row in rows if row["score"] is not None]
    furthest = max((row["iterations"] or 0 for row in done), default=0)
    able = [row for row in done if (row["iterations"] or 0) == furthest]
    return max(able, key=lambda row: row["score"], default=None)


class Counted:
    """Counts each configuration of each trial once, also over a restart, and ends it in the ledger.

    RUNS remembers what was counted, and in which ledger. A crash between the ledger and this file
    leaves a run that is counted twice or ends twice: never one that is not counted.
    """

    def __init__(
        self, research: Research, run: int, config: TuneConfig, data_hash: str,
        lineage: tuple[str, ...], tell: Tell,
    ) -> None:  # fmt: skip
        self._research, self._run, self._config = research, run, config
        self._data_hash, self._lineage, self._tell = data_hash, lineage, tell
        self._file = config.out / RUNS
        self._ledger = research.reference()["ledger"]
        self._known: dict[str, dict[str, int]] = {}  # trial -> point -> run
        self._past: dict[str, dict[str, Any]] = {}  # trial -> point it was before -> figures
        self._ended: dict[str, list[Any]] = {}  # trial -> status, figures
        if self._file.exists():
            self._recall(json.loads(self._file.read_text()))

    @property
    def begun(self) -> int:
        """Trials that are counted already."""
        return len(self._known)

    def begin(
        self, trial: str, point: dict[str, Any], told: Mapping[str, Any] | None = None,
        whose: Callable[[], str] = str,
    ) -> None:  # fmt: skip
        """Before a trial runs, or goes on as another point.

        Args:
            trial: its name.
            point: what it runs as from now on.
            told: its last result as what it was before.
            whose: says from where it goes on; "": from its own state.
        """
        points = self._known.get(trial, {})
        key, before = as_json(point), next(reversed(points), None)
        if key == before:
            return
        if before is not None and told:
            self._past.setdefault(trial, {})[before] = _figures(told)
        if key in points:  # it is what it was once: the last one is what it is now
            points[key] = points.pop(key)
        else:
            self._count(trial, key, min(points.values(), default=self._run))
        self._write()
        source = whose() if before is not None else ""
        how = f"goes on {f'from {source} ' if source else ''}as" if before else "begins:"
        self._tell(f"trial {trial} {how} {_short(point)}")

    def end(
        self, trial: str, point: dict[str, Any], status: RunStatus, told: dict[str, Any]
    ) -> None:
        """After it; one that could not be built has not begun."""
        self.begin(trial, point)
        figures = _figures(told)
        if trial not in self._ended:
            self._end(trial, status, figures)
            self._ended[trial] = [str(status), figures]
            self._write()
        score = figures["score"]
        gained = "none" if score is None else f"{score:+.4f}"
        early = status is RunStatus.DONE and (figures["iteration"] or 0) < self._config.iterations
        how = "stopped early" if early else status.value
        self._tell(
            f"trial {trial} {how}: return {gained} after {figures['iteration']} "
            f"({len(self._ended)} of {self._config.trials} over)"
        )

    # ---- inside ----------------------------------------------------------------------------------

    def _count(self, trial: str, key: str, parent: int) -> None:
        told = training(self._config, json.loads(key)).model_dump(mode="json")
        self._known.setdefault(trial, {})[key] = self._research.begin(
            RunKind.TRIAL, told, self._data_hash, seed=told["seed"], lineage=self._lineage,
            parent=parent,
        )  # fmt: skip

    def _end(self, trial: str, status: RunStatus, figures: dict[str, Any]) -> None:
        """Each point with what it came to itself."""
        past, last = self._past.get(trial, {}), next(reversed(self._known[trial]))
        for key, run in self._known[trial].items():
            if self._research.run(run).status is RunStatus.OPEN:  # else it ended, then died
                own = figures if key == last else past.get(key, _figures({}))
                self._research.end(run, status if key == last else RunStatus.DONE, own)

    def _recall(self, kept: dict[str, Any]) -> None:
        """What was counted before; anew if that was in another ledger, which this one lacks."""
        if "trials" not in kept:
            raise UsageError(f"{self._file} is of an older Don: use another --out")
        trials, self._ended, self._past = kept["trials"], kept["ended"], kept.get("past", {})
        if kept["ledger"] == self._ledger:
            self._known = trials
            return
        self._tell(f"{self._file} was counted in ledger {kept['ledger']}: counted here as well")
        for trial, points in trials.items():
            for key in points:
                own = self._known.get(trial, {})
                self._count(trial, key, min(own.values(), default=self._run))
            if trial in self._ended:
                status, figures = self._ended[trial]
                self._end(trial, RunStatus(status), figures)
        self._write()

    def _write(self) -> None:
        draft = self._file.with_suffix(".new")
        kept = {"ledger": self._ledger, "trials": self._known, "past": self._past,
                "ended": self._ended}  # fmt: skip
        draft.write_text(json.dumps(kept))
        draft.replace(self._file)


def _search(
    config: TuneConfig, market: Path, counted: Counted, notes: dict[str, str], *, going: bool
) -> list[dict[str, Any]]:
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its tables come even if asked for silence
    # its own would end the search as one that is done
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    # see `reuse_actors` below
    warnings.filterwarnings("ignore", message="Consider boosting PBT performance")
    from ray import tune as library

    from experiments.rllib.trials import Watch, scheduler, trainable

    Watch.counted = counted
    able = trainable(config, market, notes)
    space = {name: _domain(given, library) for name, given in config.space.items()}
    storage = config.out.absolute() / "ray"
    if going and (storage / NAME).exists():
        tuner = library.Tuner.restore(
            str(storage / NAME),
            able,
            param_space=space,
            resume_unfinished=True,
        )
    else:
        tuner = library.Tuner(
            able,
            param_space=space,
            tune_config=library.TuneConfig(
                metric="score", mode="max", num_samples=config.trials,
                scheduler=scheduler(config, space),
                search_alg=library.search.BasicVariantGenerator(
                    random_state=config.seed,
                    # Ray's own bound is none for it; a population has to be there together
                    max_concurrent=0 if config.search is Search.PBT else config.at_once,
                ),
                # a population's would go on at once, before the one that it is compared with
                reuse_actors=config.search is Search.ASHA,
            ),
            run_config=library.RunConfig(
                name=NAME, storage_path=str(storage), verbose=0,
                stop={"training_iteration": config.iterations},
                checkpoint_config=library.CheckpointConfig(
                    checkpoint_frequency=config.grace, checkpoint_at_end=True,
                    # a donor's checkpoint must not be gone when another goes on from it
                    num_to_keep=None if config.search is Search.PBT else 2,
                ),
                callbacks=[Watch()],
            ),
        )  # fmt: skip
    rows = []
    for result in tuner.fit():
        told = result.metrics or {}
        trial = str(told.get("trial_id", Path(result.path).name))
        score = _figures(told)["score"]
        model = config.out / "trials" / trial / MODEL
        rows.append(
            {
                "trial": trial,
                "point": dict(result.config or {}),
                "score": None if score is None or result.error else float(score),
                "iterations": told.get("iteration"),
                "stopped_early": (told.get("iteration") or 0) < config.iterations,
                "steps": told.get("steps"),
                "model": str(model) if model.exists() else None,
                "line": json.loads(told.get("line") or "[]"),
                "error": None if result.error is None else str(result.error).splitlines()[-1],
            }
        )
    return rows


def _figures(told: Mapping[str, Any]) -> dict[str, Any]:
    """What the ledger keeps of a result."""
    found = {name: told.get(name) for name in ("score", "iteration", "steps")}
    if found["score"] == NOTHING:
        found["score"] = None
    if line := json.loads(told.get("line") or "[]"):
        found["from"] = f"trial {line[-1]['trial']}, iteration {line[-1]['until']}"
    return found


def _domain(given: Range, library: Any) -> Any:
    if given.values:
        return library.choice(list(given.values))
    draw = library.loguniform if given.log else library.uniform
    return draw(given.low, given.high)


def _told(config: TuneConfig, data_hash: str) -> dict[str, Any]:
    now = versions_of(training(config, corners(config)[0]).env)
    return {"config": config.model_dump(mode="json"), "data_hash": data_hash, **now}


def _same(config: TuneConfig, data_hash: str, *, resume: bool) -> bool:
    """Whether a search goes on in the folder.

    Raises:
        UsageError: if the folder's search is another one, or one that is not to go on.
        DataError: if its file cannot be read.
    """
    path, begun = config.out / CONFIG, (config.out / "ray" / NAME).exists()
    if begun and not resume:
        raise UsageError(f"{config.out} holds a search already: use --resume, or another --out")
    if begun:
        before, told = read_json(path, "search"), _told(config, data_hash)
        was, now = before.get("config") or {}, told["config"]
        other = [k for k in now if k not in FREE and was.get(k) != now[k]]
        other += ["the data"] if before.get("data_hash") != data_hash else []
        if other:
            raise UsageError(f"{config.out} was begun with another {', '.join(other)}")
        check_versions(before, told, config.out)
    return begun


def _short(point: dict[str, Any]) -> str:
    return ", ".join(f"{name.split('.')[-1]} {shown(value)}" for name, value in point.items())


def main(words: list[str]) -> int:
    """The program."""
    config, given = asked(TuneConfig, "experiments.tune", __doc__, words)

    def tell(line: str) -> None:
        print(line, file=sys.stderr if given.json else sys.stdout, flush=True)

    told = tune(config, tell, resume=given.resume)
    if given.json:
        print(json.dumps(told))
        return 0
    best = told["best"]
    print("\n".join(listed(told["rows"], config.iterations)))
    print(f"best: trial {best['trial']}, return {best['score']:+.4f}: {_short(best['point'])}")
    print(f"model {best['model'] or 'none: it wrote none'}\nall trials in {told['table']}")
    print(f"chosen, not judged: don evaluate --search {config.out}")
    return 0


if __name__ == "__main__":
    run_as_program("experiments.tune", main)
