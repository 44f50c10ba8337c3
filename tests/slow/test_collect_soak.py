"""A soak: an hour of collecting at 5,000 messages a second, with cuts and a database that restarts.

`DON_SOAK_S` seconds instead of an hour; `DON_SOAK_RATE` messages a second that it must reach on
average (the exchange plays for more, and slows down where the machine gives it less);
`DON_SOAK_REPORT` a file for what was measured.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.collect_run import PAPER, CollectRun, holes
from support.cut_proxy import CutProxy
from support.soak import COLUMNS, ProcessWatch, stored_trades, tape_trades, write_tape

from actors.exchange_process import ExchangeProcess
from don.errors import DatabaseError
from don.market.coverage import State
from don.paper.server.config import PaperServerConfig
from don.storage.database import Database
from don.storage.embedded import EmbeddedPostgres
from don.storage.market.coverage import CoverageLedger

SECONDS = float(os.environ.get("DON_SOAK_S", 3_600))
SYMBOLS = 25  # more, and the repair of each cut would use up the exchange's request limit
RATE = float(os.environ.get("DON_SOAK_RATE", 5_000))  # messages a second that are taken in
PER_BAR = 69  # messages a bar of a symbol: 16 trades, what they change, and mark prices
BARS_PER_S = round(1.6 * RATE / (SYMBOLS * PER_BAR), 3)  # of each symbol
# what a process may gain between the third quarter of the run and the last; buffers take their
# full size in the first cuts, so a short run must allow for more
GROWTH_MIB, GROWTH = (24.0, 0.10) if SECONDS >= 1_800 else (64.0, 0.30)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(round(SECONDS * 2 + 900))]


class ProxiedRun(CollectRun):
    """A collection whose sources are in don.toml."""

    COMMAND = ("data", "collect")


@pytest.fixture
def home(don_home: Path) -> Iterator[Path]:
    yield don_home
    EmbeddedPostgres(don_home).stop()


def test_an_hour_of_cuts_and_restarts_loses_nothing(home: Path, tmp_path: Path) -> None:
    tape = tmp_path / "soak.parquet"
    symbols = write_tape(tape, SYMBOLS, bars=round(BARS_PER_S * SECONDS * 1.5) + 2_000)
    exchange = ExchangeProcess(
        PaperServerConfig(state_dir=tmp_path / "exchange", tape=tape, speed=f"{BARS_PER_S}bar"),
        tmp_path / "exchange.log",
    )
    ready, exchange_pid = exchange.start(), exchange.pid
    proxy = CutProxy(int(ready.stream_url.rsplit(":", 1)[1]))
    (home / "don.toml").write_text(
        f"""
[collect]
names = ["{PAPER}"]
repair_every_s = 10.0
[lake]
retention_days = {{quotes = 30, books = 30}}  # the tape plays more days than the default keeps
[[collect.feeds]]
exchange = "BINANCE_FUTURES"
symbols = {json.dumps(symbols)}
channels = ["trades", "quotes", "books", "bars", "funding"]
interval = "{ready.interval}"
rest_url = "{ready.rest_url}"
ws_url = "wss://localhost:{proxy.port}"
ca_file = "{ready.certificate}"
"""
    )
    run = ProxiedRun(home)
    try:
        run.wait_for("the first trades", lambda: run.stored() > 500, timeout=180)
        watch = ProcessWatch(
            lambda: (run.pid, exchange_pid, run.database_pid()), max(1.0, SECONDS / 240)
        )
        began = time.monotonic()
        restarts = [SECONDS / 3, SECONDS * 2 / 3]
        cuts = [at * 60.0 for at in range(1, int(SECONDS // 60))] or [SECONDS / 2]
        while (passed := time.monotonic() - began) < SECONDS:
            if cuts and passed >= cuts[0]:
                cuts.pop(0)
                assert proxy.cut() > 0, "the collector had no connection to cut"
            if restarts and passed >= restarts[0]:
                restart_database(run, home, hard=len(restarts) == 1)
                restarts.pop(0)
            due = began + min([*cuts[:1], *restarts[:1], SECONDS])
            run.wait_for("the next event", lambda at=due: time.monotonic() >= at, SECONDS + 60)
        watch.stop()
        run.wait_for("the repair of every gap", lambda: open_gaps(home) == 0, timeout=300)
        seconds = time.monotonic() - began
        summary = run.stop(timeout=300)
    finally:
        run.kill()
        proxy.close()
        exchange.stop()
    events = sum(row["events"] for rows in summary["streams"].values() for row in rows)
    rate = events / seconds
    report = {
        "seconds": seconds,
        "rate": rate,
        "events": events,
        "summary": summary,
        "memory": watch.growth(),
        "cpu_s": watch.cpu_s,
        "cuts": proxy.cuts,
        "samples": watch.samples,
    }
    keep(report)
    with Database(EmbeddedPostgres(home).start(), statement_timeout_s=300) as db:
        gaps = CoverageLedger(db).read(PAPER, "trades", states=[State.GAP])
        stored = dict(stored_trades(db, PAPER))
    found = {symbol: holes(trades["id"].tolist()) for symbol, trades in stored.items()}
    assert not any(found.values()), (found, gaps)
    wanted = {s: (int(trades["id"][0]), len(trades["id"])) for s, trades in stored.items()}
    for symbol, expected in tape_trades(tape, wanted).items():
        for column in COLUMNS:
            assert np.array_equal(stored[symbol][column], expected[column]), (symbol, column)
    kept = sum(count for _, count in wanted.values())
    keep({**report, "trades": kept})
    again = summary["rows"]["trades"] - kept  # told twice: by the stream and by a repair
    assert 0 <= again <= summary["duplicates"], "none of those acknowledged last is missing"
    assert len(stored) == SYMBOLS and gaps == []
    assert summary["exit_code"] == 0 and summary["problems"] == []
    assert summary["restarts_by_part"].keys() <= {"database"}, "nothing else may die"
    assert summary["refused"] == 0
    assert rate >= RATE
    grown = {
        name: (before, after)
        for name, (before, after) in watch.growth().items()
        if after > before * (1 + GROWTH) and after > before + GROWTH_MIB
    }
    assert grown == {}, "MiB of a process, in the third quarter and in the last"


def keep(report: dict[str, Any]) -> None:
    """Write what was measured, where a file for it is named."""
    if path := os.environ.get("DON_SOAK_REPORT"):
        Path(path).write_text(json.dumps(report))


def restart_database(run: CollectRun, home: Path, *, hard: bool) -> None:
    """Stop it, or kill it; the supervisor brings it back."""
    before = run.database_pid()
    if hard:
        os.kill(before, signal.SIGKILL)
    else:
        EmbeddedPostgres(home).stop()
    run.wait_for("the database again", lambda: run.database_pid() not in (0, before), timeout=120)


def open_gaps(home: Path) -> int:
    """Gaps in the trades, as the ledger has them; -1 while it cannot say."""
    try:
        with Database(EmbeddedPostgres(home).url) as db:
            return len(CoverageLedger(db).read(PAPER, "trades", states=[State.GAP]))
    except DatabaseError:
        return -1
