"""Backtests are counted: a run is noted in the state folder before it begins. Does I/O.

Who tries a hundred settings by hand and shows the best one shows luck, as a search does.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from don.backtest.config import BacktestConfig
from don.backtest.result import BacktestResult
from don.backtest.run import Progress, data_hash
from don.backtest.summary import summary
from don.clock import SystemClock
from don.errors import DonError
from don.performance import DAY_NS
from don.storage.research_notes import Notes
from don.storage.research_runs import RunKind, RunStatus, begin_payload, end_payload

FIGURES = ("total_return", "sharpe", "max_drawdown")


class Counting:
    """A backtest that is counted."""

    def __init__(self) -> None:
        self.told: dict[str, Any] | None = None
        self.record: dict[str, float] = {}  # what its ratios are of
        self.played = False  # whether it has begun to look at the market

    def watched(self, progress: Progress) -> Progress:
        """What to tell progress to, so that it is known whether anything was played."""

        def told(done: float) -> None:
            self.played = True
            progress(done)

        return told

    def done(self, result: BacktestResult) -> dict[str, Any]:
        """It came to a result.

        Returns:
            Its summary.
        """
        self.told = summary(result)
        returns = max(len(result.closes_ts) - 1, 0)
        self.record = {"returns": returns, "days": returns * result.interval_ns / DAY_NS}
        return self.told


@contextmanager
def counted(config: BacktestConfig, home: Path) -> Iterator[Counting]:
    """Run one backtest inside this block, with its progress `watched`, and say `done`.

    The ledger takes the note in when it is opened next; see `don.storage.research_notes`. What is
    refused before the first bar is played has looked at nothing, and counts for nothing.

    Args:
        config: what is run.
        home: the state folder.

    Raises:
        UsageError: if the state folder cannot be written.
    """
    counting, clock = Counting(), SystemClock()
    try:
        known = data_hash(config)
    except OSError:  # files that cannot be read: the run says so itself, and comes to nothing
        yield counting
        return
    notes = Notes(home)
    names = (*config.symbols, *map(str, config.tapes or (None,)))
    told = config.model_dump(mode="json")
    key = notes.begin(
        begin_payload(
            RunKind.BACKTEST, told, known, seed=config.seed, lineage=names, ts=clock.now_ns()
        )
    )
    try:
        yield counting
    except BaseException as error:
        status = RunStatus.STOPPED if isinstance(error, KeyboardInterrupt) else RunStatus.FAILED
        if isinstance(error, DonError) and not counting.played:
            status = RunStatus.REFUSED
        why = {"error": str(error) or type(error).__name__}
        notes.end(key, end_payload(status, why, ts=clock.now_ns()))
        raise
    found = counting.told
    if found is None:
        notes.end(key, end_payload(RunStatus.FAILED, {}, ts=clock.now_ns()))
        return
    figures = found["performance"][found["policy"]]
    metrics = {name: figures[name] for name in FIGURES if math.isfinite(figures[name])}
    metrics |= counting.record
    metrics["digest"] = found["digest"]
    symbols = tuple(found["symbols"])
    notes.end(key, end_payload(RunStatus.DONE, metrics, lineage=symbols, ts=clock.now_ns()))
