"""What `don data backfill` does: history of an exchange into the database."""

import asyncio
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.live import Live

from don.cli.data.opened import market_database, open_store
from don.cli.output import err, out, table
from don.clock import NS_PER_S, SystemClock, iso
from don.errors import DependencyError, Interrupted, UsageError
from don.exchanges.ccxt_history import CcxtHistory, HistoryConfig
from don.exchanges.ccxt_names import exchange_name
from don.exchanges.history import CHANNELS, TIMED, History, Series
from don.market.coverage import ceil_minute, floor_minute
from don.storage.database import Database
from don.storage.market.audit import PROVEN
from don.storage.market.backfill import Backfill, BackfillConfig, Progress, State
from don.storage.market.coverage import CoverageLedger
from don.storage.market.history_claims import claim_history

JSON_EVERY_S = 1.0


def run_backfill(
    exchange: str,
    channels: Sequence[str],
    symbols: str,
    interval_ns: int,
    span: tuple[int, int],
    *,
    parallel: int,
    config: HistoryConfig,
    as_json: bool,
) -> None:
    """Fetch and store, showing how it goes.

    Raises:
        UsageError: a channel that has no history.
        DependencyError: if a series failed; what was fetched is stored.
    """
    if unknown := [name for name in channels if name not in CHANNELS]:
        raise UsageError(f"channel must be one of {', '.join(CHANNELS)}, was {unknown[0]!r}")
    with market_database() as db:
        ended = asyncio.run(
            _run(exchange, channels, symbols, interval_ns, span, parallel, config, db, as_json)
        )
        _claim(db, exchange, ended)
    failed = [progress for progress in ended if progress.state is State.FAILED]
    if as_json:
        _line({"summary": [_row(progress) for progress in ended], "failed": len(failed)})
    else:
        out.print(_table(ended))
        for progress in ended:
            for note in progress.notes:
                err.print(f"{progress.series.channel} {progress.series.symbol}: {note}")
    if failed:
        raise DependencyError(
            f"{len(failed)} of {len(ended)} series failed, e.g. {failed[0].series.symbol}: "
            f"{failed[0].detail}; run it again to go on"
        )


def _claim(db: Database, exchange: str, ended: Sequence[Progress]) -> None:
    """Tell the completeness ledger what the series that ended well now hold."""
    store, ledger = open_store(db), CoverageLedger(db)
    for progress in ended:
        channel = progress.series.channel
        for start, end in progress.proven if progress.state is State.DONE else ():
            if channel not in PROVEN:  # nothing else shows that a minute was asked for in part only
                start, end = ceil_minute(start), floor_minute(end)
            claim_history(
                store,
                ledger,
                exchange=exchange_name(exchange),
                channel=channel,
                symbols=[progress.series.symbol],
                start=start,
                end=end,
                source="backfill",
            )


async def _run(
    exchange: str,
    channels: Sequence[str],
    symbols: str,
    step_ns: int,
    span: tuple[int, int],
    parallel: int,
    config: HistoryConfig,
    db: Database,
    as_json: bool,
) -> list[Progress]:
    clock = SystemClock()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    connection = CcxtHistory(exchange, config, clock)
    try:
        history = History(connection)
        listed = await connection.symbols()
        reading = await connection.compare_clocks()
        if reading is not None and not as_json:
            err.print(f"our clock is {reading.text()}")
        chosen = listed if symbols == "all" else [s for s in symbols.split(",") if s]
        wanted = [
            Series(
                channel=channel,
                symbol=symbol,
                interval_ns=step_ns if channel in TIMED else 0,
            )
            for channel in dict.fromkeys(channels)
            for symbol in dict.fromkeys(chosen)
        ]
        with _shown(wanted, as_json) as report:
            work = Backfill(
                history,
                db,
                BackfillConfig(parallel=parallel),
                clock,
                report,
                store=open_store(db),
            )
            return await work.run(wanted, *span)
    except asyncio.CancelledError as error:
        raise Interrupted("stopped; what was fetched is stored, run it again to go on") from error
    finally:
        await connection.close()


@contextmanager
def _shown(wanted: list[Any], as_json: bool) -> Iterator[Any]:
    """Gives the function that shows a change."""
    latest: dict[Any, Progress] = {}
    if as_json:
        told: dict[Any, int] = {}
        clock = SystemClock()

        def tell(progress: Progress) -> None:
            now = clock.monotonic_ns()
            final = progress.state in (State.DONE, State.FAILED)
            if final or now - told.get(progress.series, 0) >= JSON_EVERY_S * NS_PER_S:
                told[progress.series] = now
                _line(_row(progress))

        yield tell
        return
    with Live(console=err, refresh_per_second=4, transient=True) as live:

        def draw(progress: Progress) -> None:
            latest[progress.series] = progress
            running = [p for p in latest.values() if p.state is not State.DONE]
            live.update(_table([*running, *latest.values()][: max(1, err.height - 4)]))

        yield draw


def _row(progress: Progress) -> dict[str, Any]:
    row = asdict(progress)
    row |= row.pop("series")
    row["proven"] = [[iso(low), iso(high)] for low, high in progress.proven]
    return {
        **row,
        "state": progress.state.value,
        "fraction": round(progress.fraction, 4),
        "cursor": iso(progress.cursor_ns),
        "eta_s": None if progress.eta_s is None else round(progress.eta_s, 1),
    }


def _table(rows: list[Progress]) -> Any:
    seen = list({(p.series.channel, p.series.symbol): p for p in rows}.values())
    return table(
        ("channel", "symbol", "state", "until", "done#", "rows#", "new#", "left#", ""),
        [
            (
                p.series.channel,
                p.series.symbol,
                p.state.value,
                iso(p.cursor_ns)[:16],
                f"{p.fraction:.0%}",
                p.rows,
                p.inserted,
                "" if p.eta_s is None else _duration(p.eta_s),
                p.detail,
            )
            for p in seen
        ],
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _line(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
