"""Run a sweep of backtests as Ray tasks: data in the object store once, bounded in flight.

As a program it is a Ray job: `python -m experiments.sweep CONFIG`. It joins the cluster that
RAY_ADDRESS names, else starts one of its own on this machine for as long as it runs. What is tried
is counted in the research ledger.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.exceptions import RayError

from don.backtest import sweep as plan
from don.backtest.panel import Market, open_market
from don.backtest.run import data_hash
from don.backtest.vector import Prepared, prepare
from don.config import read_section
from don.errors import DependencyError, DonError, UsageError
from don.home import home_dir
from don.storage.research import open_research
from don.storage.research_runs import RunKind, RunStatus
from don.words import amount
from experiments.cluster import local_cluster
from experiments.durable import read_json, write_json
from experiments.swept import said, swept

Tell = Callable[[str], None]
STORE_LEAST = 128 * 2**20
WHOLE = "whole.json"
POLL_S = 5.0
TELL_EVERY_S = 1.0


def run(sweep: plan.SweepConfig, tell: Tell = print, *, force: bool = False) -> dict[str, Any]:
    """Run what is not done yet and gather everything.

    Args:
        sweep: what to run.
        tell: takes lines about progress.
        force: run although memory may not suffice.

    Returns:
        `rows` (one a job that is done), `failed` (key and error), `table` (its Parquet file),
        `whole` (what they came to together, see `swept`).

    Raises:
        UsageError: if memory does not suffice.
        DependencyError: if the cluster does not come up.
    """
    market = open_market(plan.base_config(sweep))
    jobs = plan.jobs(sweep, market)
    # what was done for a smaller grid does not say what the grid did not name
    rows = {j.key: {**row, **j.point} for j in jobs if (row := plan.stored(sweep, j)) is not None}
    left = [job for job in jobs if job.key not in rows]
    tell(f"{amount(len(jobs), 'job')}, {len(rows)} done already, {len(left)} to run")
    failed: dict[str, str] = {}
    whole = sweep.output / WHOLE
    before = read_json(whole, "sweep") if whole.exists() else {}
    trials = [int(before.get("trials", 0))]
    if left:
        _budget(sweep, market, len(left), tell, force=force)
        store_bytes = max(STORE_LEAST, 3 * plan.memory(sweep, market, 1)["data"])
        with (
            _counted(sweep, market, left, rows, trials, tell),
            local_cluster(home_dir(), cpus=sweep.at_once, store_bytes=store_bytes),
        ):
            for job, outcome in _outcomes(sweep, market, left, tell):
                if isinstance(outcome, DonError):
                    failed[job.key] = str(outcome)
                    tell(f"failed: {job.point} {job.start}: {outcome}")
                    continue
                plan.store(sweep, job, outcome)
                rows[job.key] = outcome
    table = sweep.output / "results.parquet"
    done = [rows[job.key] for job in jobs if job.key in rows]
    if done:
        texts = [{k: v if _plain(v) else str(v) for k, v in row.items()} for row in done]
        draft = table.with_suffix(".new")
        pq.write_table(pa.Table.from_pylist(texts), draft)
        draft.replace(table)
    told = swept(done, list(sweep.grid), trials[-1])
    if done:
        write_json(whole, told)
    return {"rows": done, "failed": failed, "table": str(table), "whole": told}


@contextmanager
def _counted(
    sweep: plan.SweepConfig, market: Market, left: list[plan.Job],
    rows: dict[str, dict[str, Any]], trials: list[int], tell: Tell,
) -> Iterator[None]:  # fmt: skip
    """Enter what is tried into the research ledger, and at the end what all of it came to.

    `trials` learns how many the ledger knows of these data.
    """
    base = plan.base_config(sweep)
    tried = len({json.dumps(job.point, sort_keys=True, default=str) for job in left})
    names = [i.symbol for i in market.panel.instruments] + [str(tape) for tape in base.tapes]
    data = data_hash(base)
    with open_research(warn=tell) as research:
        run = research.begin(
            RunKind.SWEEP, sweep.model_dump(mode="json"), data, seed=base.seed,
            lineage=names, trials=tried,
        )  # fmt: skip
        trials.append(max(research.trials(data, names).count, *trials))
        try:
            yield
        except BaseException as error:
            research.end(run, RunStatus.FAILED, {"error": str(error) or type(error).__name__})
            raise
        told = swept(list(rows.values()), list(sweep.grid), trials[-1])
        research.end(run, RunStatus.DONE, {"jobs": len(left), **told})


def _plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool)


def _budget(
    sweep: plan.SweepConfig, market: Market, count: int, tell: Tell, *, force: bool
) -> None:
    need, free = plan.memory(sweep, market, count), psutil.virtual_memory().available
    at_once = min(sweep.at_once, count)
    tell(
        f"memory: data {_mb(need['data'])} once, {at_once} at a time with {_mb(need['job'])} each, "
        f"{_mb(need['total'])} in all; {_mb(free)} free"
    )
    if need["total"] > free and not force:
        raise UsageError(
            f"the sweep needs about {_mb(need['total'])}, {_mb(free)} are free: lower at_once "
            f"(was {sweep.at_once}), or use --force"
        )


def _work(job: plan.Job, market: Market, data: Prepared | None) -> dict[str, Any] | DonError:
    try:
        return plan.run_job(job, market, data)
    except DonError as error:  # input that one job cannot run with: the others go on
        return error


_job = ray.remote(num_cpus=1, max_retries=2)(_work)


def _outcomes(
    sweep: plan.SweepConfig, market: Market, jobs: list[plan.Job], tell: Tell
) -> Iterator[tuple[plan.Job, dict[str, Any] | DonError]]:
    """Each job with what came of it, as they end; at most `at_once` are in flight."""
    shared = ray.put(market)
    data = ray.put(prepare(market)) if sweep.mode is plan.Mode.VECTOR else None
    waiting, flying = iter(jobs), {}
    begin, done, told = time.monotonic(), 0, 0.0

    def launch() -> None:
        job = next(waiting, None)
        if job is not None:
            flying[_job.remote(job, shared, data)] = job

    for _ in range(sweep.at_once):
        launch()
    while flying:
        ended, _ = ray.wait(list(flying), num_returns=1, timeout=POLL_S)
        for ref in ended:
            job = flying.pop(ref)
            try:
                outcome = ray.get(ref)
            except RayError as error:
                raise DependencyError(f"job {job.point} {job.start} died: {error}") from error
            launch()
            done += 1
            passed = time.monotonic() - begin
            left = passed / done * (len(jobs) - done)
            if passed - told >= TELL_EVERY_S or done == len(jobs):
                told = passed
                tell(f"{done}/{len(jobs)} done, {passed:.0f} s, about {left:.0f} s left")
            yield job, outcome


def _mb(count: int) -> str:
    return f"{count / 2**20:,.0f} MB"


def main(path: str) -> int:
    """The program: exit code 0 if every job ran."""
    found = run(read_section(plan.SweepConfig, Path(path)))
    for line in said(found["whole"]):
        print(line)
    print(
        f"{amount(len(found['rows']), 'result')} in {found['table']}, {len(found['failed'])} failed"
    )
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("usage: python -m experiments.sweep CONFIG", file=sys.stderr)
        sys.exit(2)
    try:
        sys.exit(main(sys.argv[1]))
    except DonError as error:
        print(f"sweep: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
