"""Sweeps: configurations times windows as jobs, one file a result. Reads and writes files.

A job is known by the hash of its configuration and of its data, so a sweep that was killed goes on
where it stopped, and one whose configuration changed runs what is new. Ray is not known here:
`experiments.sweep` runs the jobs.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from don.backtest.bars import run_market
from don.backtest.config import BacktestConfig, Detail
from don.backtest.panel import Market, span
from don.backtest.rules import RuleConfig, weights
from don.backtest.run import data_hash, moment
from don.backtest.summary import figures, summary
from don.backtest.vector import Prepared, simulate
from don.clock import NS_PER_S, iso, parse_iso
from don.errors import ConfigError
from don.model.section import Section, parsed

DAY_NS = 86_400 * NS_PER_S
PROCESS_BYTES = 300 * 2**20  # a worker with its libraries
ENGINE_BYTES_A_BAR = 400  # of one symbol: features, curve, closes, records
VECTOR_BYTES_A_BAR = 60


class Mode(StrEnum):
    """What runs a job."""

    ENGINE = "engine"  # the desk's engine over closed bars
    VECTOR = "vector"  # a weight rule, compiled


class WindowConfig(Section):
    """Windows of a fixed length, one beginning after the other."""

    start: str | None = None  # ISO-8601; None: as the backtest begins
    end: str | None = None
    length_days: float | None = Field(default=None, gt=0)  # None: one window
    step_days: float | None = Field(default=None, gt=0)  # None: `length_days`


class SweepConfig(Section):
    """A sweep. Paths are relative to the working folder."""

    mode: Mode = Mode.ENGINE
    output: Path = Path("sweep")
    at_once: int = Field(default=2, ge=1, le=1_024)  # jobs in flight, a CPU each
    base: dict[str, Any] = Field(default_factory=dict)  # of `BacktestConfig`
    rule: RuleConfig = RuleConfig()  # vector mode
    # dotted name, such as "engine.decide_every" or "rule.lookback" -> values
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    windows: WindowConfig = WindowConfig()

    @model_validator(mode="after")
    def _known(self) -> Self:
        for name, values in self.grid.items():
            if not values:
                raise ValueError(f"grid.{name} must have at least one value")
            if name.split(".")[0] == "rule" and self.mode is not Mode.VECTOR:
                raise ValueError(f"grid.{name} needs mode vector")
            if name in ("tape", "funding", "interval", "symbols", "start", "end", "detail"):
                raise ValueError(f"grid.{name}: all jobs share the data, set it in base")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a sweep."""

    key: str  # names its file
    config: BacktestConfig
    rule: RuleConfig
    mode: Mode
    point: dict[str, Any]  # what of the grid it stands for
    start: str
    end: str


def base_config(sweep: SweepConfig) -> BacktestConfig:
    """The configuration that all jobs begin with.

    Raises:
        ConfigError: naming the key.
    """
    return parsed(BacktestConfig, {**sweep.base, "detail": str(Detail.BARS)}, "sweep")


def jobs(sweep: SweepConfig, market: Market) -> list[Job]:
    """Every job, windows innermost.

    Raises:
        ConfigError: if a point of the grid is no configuration.
        DataError: if a window has no bars.
    """
    data = data_hash(base_config(sweep))
    found = []
    for values in itertools.product(*sweep.grid.values()):
        point = dict(zip(sweep.grid, values, strict=True))
        settings: dict[str, Any] = json.loads(json.dumps(sweep.base, default=str))
        rule = sweep.rule.model_dump(mode="json")
        for name, value in point.items():
            head, _, rest = name.partition(".")
            _put(rule if head == "rule" else settings, rest if head == "rule" else name, value)
        made = parsed(RuleConfig, rule, "sweep: rule")
        for start, end in windows(sweep, market):
            config = parsed(
                BacktestConfig,
                {**settings, "detail": str(Detail.BARS), "start": start, "end": end},
                "sweep",
            )
            text = config.model_dump_json(exclude={"tape", "funding"})
            mark = made.model_dump_json() if sweep.mode is Mode.VECTOR else ""
            key = hashlib.sha256(f"{sweep.mode}\n{text}\n{mark}\n{data}".encode()).hexdigest()[:20]
            found.append(
                Job(key=key, config=config, rule=made, mode=sweep.mode, point=point, start=start,
                    end=end)
            )  # fmt: skip
    if len({job.key for job in found}) < len(found):
        raise ConfigError("sweep: the grid names the same configuration twice")
    return found


def windows(sweep: SweepConfig, market: Market) -> Iterator[tuple[str, str]]:
    """Begin and end of each window; the last one may not be longer than the data."""
    wanted, base = sweep.windows, base_config(sweep)
    first, last = wanted.start or base.start, wanted.end or base.end
    begin, stop = span(base, market, moment(first, "start"), moment(last, "end"))
    panel = market.panel
    low, high = panel.open_ns(begin), panel.open_ns(stop)
    if wanted.length_days is None:
        yield iso(low), iso(high)
        return
    length = int(wanted.length_days * DAY_NS)
    step = int((wanted.step_days or wanted.length_days) * DAY_NS)
    if low + length > high:
        raise ConfigError(
            f"windows.length_days must fit between {iso(low)} and {iso(high)}, "
            f"was {wanted.length_days}"
        )
    while low + length <= high:
        yield iso(low), iso(low + length)
        low += step


def run_job(job: Job, market: Market, data: Prepared | None) -> dict[str, Any]:
    """A job's figures, JSON-able; a pure function of its arguments."""
    about = {"key": job.key, "mode": str(job.mode), **job.point, "start": job.start,
             "end": job.end}  # fmt: skip
    if job.mode is Mode.ENGINE:
        told = summary(run_market(job.config, market))
        own = told["performance"][job.config.policy]
        names = ("pnl", "fees", "funding", "turnover", "fills", "hit_rate", "digest")
        return about | own | {name: told[name] for name in names}
    if data is None:
        raise ValueError("a vector job needs the prepared market")
    begin, stop = span(job.config, market, parse_iso(job.start), parse_iso(job.end))
    every = job.config.engine.decide_every * market.panel.interval_ns
    slots = np.arange(begin, stop)
    at = slots[market.close_ns[begin:stop] % every == 0]
    found = simulate(data, job.config, begin, stop, at, weights(job.rule, market.close, at))
    deposit = float(job.config.exchange.deposit)
    return (
        about
        | figures(found.curve, market.panel.interval_ns)
        | {
            "pnl": found.equity - deposit,
            "fees": found.fees,
            "funding": found.funding,
            "turnover": found.traded / float(found.curve.mean()),
            "fills": len(found.fills),
            "liquidations": found.liquidations,
            "halted": bool(found.halted >= 0),
        }
    )


def memory(sweep: SweepConfig, market: Market, count: int) -> dict[str, int]:
    """Bytes that a sweep needs: the data once, and each job in flight."""
    panel = market.panel
    bars = panel.close.size
    own = (panel.open, panel.high, panel.low, panel.close, panel.volume, panel.present,
           market.close, market.high, market.low, market.present)  # fmt: skip
    shared = sum(array.nbytes for array in own) * (2 if sweep.mode is Mode.VECTOR else 1)
    a_bar = ENGINE_BYTES_A_BAR if sweep.mode is Mode.ENGINE else VECTOR_BYTES_A_BAR
    job = PROCESS_BYTES + bars * a_bar
    return {"data": shared, "job": job, "total": shared + min(sweep.at_once, count) * job}


def result_path(sweep: SweepConfig, job: Job) -> Path:
    """Where a job's figures lie."""
    return sweep.output / "jobs" / f"{job.key}.json"


def store(sweep: SweepConfig, job: Job, row: dict[str, Any]) -> None:
    """Write a job's figures in one step: a file that is there is whole."""
    path = result_path(sweep, job)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(row))
    draft.replace(path)


def stored(sweep: SweepConfig, job: Job) -> dict[str, Any] | None:
    """A job's figures, if it was done; what a power failure left is done again."""
    try:
        found: dict[str, Any] = json.loads(result_path(sweep, job).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    *above, last = name.split(".")
    for part in above:
        tree = tree.setdefault(part, {})
    tree[last] = value
