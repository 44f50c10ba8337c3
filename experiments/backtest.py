"""One backtest as a Ray job: `python -m experiments.backtest CONFIG OUTPUT`.

The run is a task of the cluster that RAY_ADDRESS names, or of one started for it on this machine;
OUTPUT then holds the result, its tables and its report. The tape must be readable where it runs,
and here, where the run is counted.
"""

import sys
from pathlib import Path

import ray

from don.backtest import BacktestConfig, BacktestResult
from don.backtest import run as run_backtest
from don.backtest.counted import Counting, counted
from don.backtest.files import save
from don.backtest.report import report
from don.config import read_section
from don.errors import DonError
from don.home import home_dir
from experiments.cluster import local_cluster


def _work(config: BacktestConfig) -> tuple[BacktestResult | DonError, bool]:
    """The result, or why there is none, and whether anything was played."""
    counting = Counting()
    try:
        return run_backtest(config, counting.watched(lambda done: None)), True
    except DonError as error:  # Ray would wrap it and hide its kind
        return error, counting.played


_run = ray.remote(num_cpus=1, max_retries=2)(_work)


def main(path: str, output: str) -> int:
    """Run, save and report; exit code 3 if books and exchange disagreed."""
    config = read_section(BacktestConfig, Path(path))
    with counted(config, home_dir()) as counting:
        with local_cluster(home_dir()):
            result, counting.played = ray.get(_run.remote(config))
        if isinstance(result, DonError):
            raise result
        counting.done(result)
    folder = Path(output)
    save(result, folder, tables=True)
    (folder / "report.html").write_text(report(result), encoding="utf-8")
    print(f"{result.policy}: profit {result.books.pnl}, digest {result.digest}")
    return 3 if result.differences else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print("usage: python -m experiments.backtest CONFIG OUTPUT", file=sys.stderr)
        sys.exit(2)
    try:
        sys.exit(main(sys.argv[1], sys.argv[2]))
    except DonError as error:
        print(f"backtest: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
