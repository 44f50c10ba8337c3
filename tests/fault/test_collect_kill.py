"""Kill -9 of every part while collecting: no trade lost, none doubled, none changed.

The short version, for every change, of what `tests/slow/test_collect_soak.py` does for an hour: the
database is restarted, the connection to the exchange lost, and the stored trades are compared with
the tape by id and by value. What needs an hour (flat memory, the rate) is the soak's alone.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.collect_run import PAPER, CollectRun, holes, trades_by_symbol
from support.desk_run import COLLECT_ROLES

from don.market.coverage import State
from don.paper.events import TradePrint
from don.paper.tape import open_tape
from don.storage.database import Database
from don.storage.embedded import EmbeddedPostgres
from don.storage.market.coverage import CoverageLedger

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1_800)]

Row = tuple[int, int, float, float, bool]


@pytest.fixture
def home(don_home: Path) -> Iterator[Path]:
    yield don_home
    EmbeddedPostgres(don_home).stop()


def kill(pid: int) -> None:
    assert pid, "nothing to kill"
    os.kill(pid, signal.SIGKILL)


def on_tape(until: dict[str, int]) -> dict[str, list[Row]]:
    """The trades that the exchange replayed, up to the last stored one of each symbol."""
    tape = open_tape()
    instruments = {i.exchange_symbol: i for i in tape.instruments()}
    found: dict[str, list[Row]] = {i.symbol: [] for i in instruments.values()}
    left = set(until)
    for _, event in tape.events(tape.start):
        if not isinstance(event, TradePrint):
            continue
        i = instruments[event.symbol]
        if event.id <= until.get(i.symbol, -1):
            price, size = event.price * i.tick_size, event.size * i.lot_size
            row = (event.id, event.ts, float(price), float(size), event.buy)
            found[i.symbol].append(row)
            if event.id == until[i.symbol]:
                left.discard(i.symbol)
                if not left:
                    return found
    raise AssertionError(f"trades beyond the tape: {left}")


def test_nothing_is_lost_or_doubled(home: Path) -> None:
    run = CollectRun(home, "--speed", "2bar")
    try:
        run.wait_for("the first trades", lambda: run.stored() > 500, timeout=300)
        for role in COLLECT_ROLES:
            before = run.role_pid(role)
            kill(before)
            run.wait_for(
                f"a new {role}", lambda r=role, b=before: run.role_pid(r) not in (0, b), timeout=300
            )
            run.wait_for_trades(500)
        for find in (run.database_pid, run.exchange_pid):
            before = find()
            kill(before)
            run.wait_for("its successor", lambda f=find, b=before: f() not in (0, b), timeout=300)
            run.wait_for_trades(500)
        summary = run.stop()
    finally:
        run.kill()
    assert summary["exit_code"] == 0, summary
    assert summary["problems"] == []
    with Database(EmbeddedPostgres(home).start()) as db:
        stored = trades_by_symbol(db)
        ledger = CoverageLedger(db)
        gaps = [
            gap
            for channel in ("trades", "bars")  # books and quotes are gone for good: still gaps
            for gap in ledger.read(PAPER, channel, states=[State.GAP])
        ]
    assert stored
    for symbol, rows in stored.items():
        assert holes([row[0] for row in rows]) == [], symbol
    expected = on_tape({symbol: rows[-1][0] for symbol, rows in stored.items()})
    for symbol, rows in stored.items():
        assert rows == expected[symbol][-len(rows) :], symbol
    assert gaps == [], "every hole was repaired"
