"""Runs of the research ledger, and how many trials a result is the best of. Pure.

A run that looked at data is a trial of everything that looked at the same data: runs are of one
family if a chain of shared data (hashes, symbols) joins them. Cutting the same bars elsewhere,
under another hash, does not begin to count from zero as long as the symbols are told.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from don.errors import UsageError
from don.sources import code_version
from don.storage.chain import Entry
from don.storage.research_ratios import Ratio, ratios_of


class RunKind(StrEnum):
    """What looks for, or at, a strategy."""

    TRAIN = "train"
    TUNE = "tune"  # the search; its trials are runs of their own
    TRIAL = "trial"  # of a search
    SWEEP = "sweep"  # of backtests: as many trials as it has configurations
    WALK_FORWARD = "walk_forward"  # a strategy trained anew on each window
    EVALUATE = "evaluate"  # a look at a strategy that was counted when it was trained
    BACKTEST = "backtest"


class RunStatus(StrEnum):
    """How a run stands."""

    OPEN = "open"  # it runs, or it was killed: it counts as well
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    REFUSED = "refused"  # before anything was looked at: it counts for nothing


COUNTED = {RunKind.TUNE: 0, RunKind.EVALUATE: 0}  # trials of a run, where they are not one


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as the ledger knows it."""

    run: int  # its number
    kind: RunKind
    status: RunStatus
    config: Mapping[str, Any]
    config_hash: str
    data_hash: str
    lineage: tuple[str, ...]  # further hashes and symbols that the data are known by
    seed: int
    trials: int  # that it counts for
    parent: int | None  # the run that it is a part of
    code: str  # version of Don
    ts_begin: int  # ns
    ts_end: int | None
    metrics: Mapping[str, Any]

    @property
    def labels(self) -> frozenset[str]:
        """What its data are known by."""
        return frozenset((self.data_hash, *self.lineage)) - {""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Runs that are not in this ledger, but were counted on this state folder."""

    ledger: str  # where they were
    runs: int
    why: str  # "cut": this ledger lost them; "other": another database has them


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """How often the data of a result were tried."""

    count: int  # at least 1
    runs: tuple[int, ...]  # of the family
    outside: int  # trials among `count` that are not in this ledger
    looks: int  # evaluations of the family
    ratios: tuple[Ratio, ...]  # of the family's trials that told one, as they became known
    studies: int = 0  # walk-forward studies of the family that are over: they told results as well
    backtests: int = 0  # and backtests and sweeps of them

    @property
    def sharpes(self) -> tuple[float, ...]:
        """The ratios alone, annual."""
        return tuple(one.sharpe for one in self.ratios)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be 1 or more, was {self.count}")


def begin_payload(
    kind: RunKind | str, config: Mapping[str, Any], data_hash: str, *, seed: int = 0,
    lineage: Sequence[str] = (), parent: int | None = None, trials: int | None = None,
    ts: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What the ledger enters of a run that begins; see `Research.begin`.

    Args:
        kind: of `RunKind`.
        config: all that shapes it, as JSON takes it.
        data_hash: of the data that it looks at.
        seed: of everything drawn.
        lineage: further names of the data.
        parent: the run that it is a part of.
        trials: that it counts for; None: as its kind says.
        ts: when it began, ns, if it is entered later.

    Raises:
        UsageError: if the kind is unknown or trials are negative.
    """
    if kind not in set(RunKind):
        raise UsageError(f"kind must be one of {', '.join(RunKind)}, was {kind!r}")
    if trials is None:
        trials = COUNTED.get(RunKind(kind), 1)
    if trials < 0:
        raise UsageError(f"trials must not be negative, was {trials}")
    text = as_json(config)
    return {
        "kind": str(kind),
        "config": json.loads(text),
        "config_hash": hashlib.sha256(text.encode()).hexdigest()[:16],
        "data_hash": data_hash,
        "lineage": sorted(set(lineage)),
        "seed": int(seed),
        "trials": trials,
        "parent": parent,
        "code": code_version(),
        **({} if ts is None else {"noted": ts}),
    }


def end_payload(
    status: RunStatus | str, metrics: Mapping[str, Any] | None, *, lineage: Sequence[str] = (),
    ts: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What the ledger enters of a run that ends; names of its data that were not known before.

    Raises:
        UsageError: if a run cannot end like that.
    """
    if status not in set(RunStatus) - {RunStatus.OPEN}:
        raise UsageError(f"status must be done, failed, stopped or refused, was {status!r}")
    told: dict[str, Any] = {"status": str(status), "metrics": json.loads(as_json(metrics or {}))}
    if lineage:
        told["lineage"] = sorted(set(lineage))
    return told if ts is None else {**told, "noted": ts}


def as_json(value: Any) -> str:
    """The text of it that is hashed."""
    return json.dumps(value, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return str(value)


def runs_of(entries: Iterable[Entry]) -> list[Run]:
    """Runs, oldest first, of the ledger's entries in order."""
    begun: dict[int, tuple[dict[str, Any], int]] = {}
    ended: dict[int, tuple[dict[str, Any], int]] = {}
    for entry in entries:
        if entry.kind in ("begin", "end"):
            place = begun if entry.kind == "begin" else ended
            place[int(entry.session)] = (json.loads(entry.payload), entry.ts_recv)
    found = []
    for number, (told, ts) in begun.items():
        end, ts_end = ended.get(number, ({}, None))
        status = RunStatus(end.get("status", RunStatus.OPEN))
        found.append(
            Run(
                run=number,
                kind=RunKind(told["kind"]),
                status=status,
                config=told["config"],
                config_hash=told["config_hash"],
                data_hash=told["data_hash"],
                lineage=tuple(sorted({*told["lineage"], *end.get("lineage", ())})),
                seed=told["seed"],
                trials=0 if status is RunStatus.REFUSED else told["trials"],
                parent=told["parent"],
                code=told["code"],
                ts_begin=told.get("noted", ts),
                ts_end=end.get("noted", ts_end),
                metrics=end.get("metrics", {}),
            )
        )
    return found


def outside_of(entries: Iterable[Entry]) -> list[Outside]:
    """What is known to be missing, the last word of each ledger and reason."""
    latest: dict[tuple[str, str], Outside] = {}
    for entry in entries:
        if entry.kind == "outside":
            told = Outside(**json.loads(entry.payload))
            latest[told.ledger, told.why] = told
    return list(latest.values())


def family(runs: Sequence[Run], labels: Iterable[str]) -> list[Run]:
    """The runs that shared data join to the labels, directly or through each other."""
    known = set(labels) - {""}
    left, found = list(runs), list[Run]()
    while True:
        near = [run for run in left if run.labels & known]
        if not near:
            return sorted(found, key=lambda run: run.run)
        found += near
        known = known.union(*(run.labels for run in near))
        taken = {run.run for run in near}
        left = [run for run in left if run.run not in taken]


def count_trials(entries: Sequence[Entry], labels: Sequence[str]) -> Trials:
    """How many trials a result on data with these labels is the best of, of the ledger's entries.

    Runs that are missing from the ledger may have been on these data: they all count.
    """
    own = family(runs_of(entries), labels)
    missing = sum(one.runs for one in outside_of(entries))
    return Trials(
        count=max(sum(run.trials for run in own) + missing, 1),
        runs=tuple(run.run for run in own),
        outside=missing,
        looks=sum(run.kind is RunKind.EVALUATE for run in own),
        ratios=ratios_of(entries, labels),
        studies=_over(own, RunKind.WALK_FORWARD),
        backtests=_over(own, RunKind.BACKTEST, RunKind.SWEEP),
    )


def _over(runs: Sequence[Run], *kinds: RunKind) -> int:
    """Runs of these kinds, parts of none, that ended with something to look at."""
    return sum(
        run.kind in kinds
        and run.parent is None
        and run.status not in (RunStatus.OPEN, RunStatus.REFUSED)
        for run in runs
    )
