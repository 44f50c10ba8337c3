"""Kill -9 of every part during trading: no order lost, none doubled, positions equal."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.books import assert_books_equal
from support.desk_run import ROLES, DeskRun, don

from don.storage.database import Database
from don.storage.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1_800)]


@pytest.fixture
def home(don_home: Path) -> Iterator[Path]:
    yield don_home
    EmbeddedPostgres(don_home).stop()


def kill(pid: int) -> None:
    assert pid, "nothing to kill"
    os.kill(pid, signal.SIGKILL)


def check_books(home: Path, sessions: list[str]) -> None:
    server = EmbeddedPostgres(home)
    with Database(server.start()) as db:
        assert_books_equal(home, db)
    for session in sessions:
        replayed = don(home, "session", "replay", session, "--json")
        assert replayed.returncode == 0, replayed.stdout + replayed.stderr


def test_every_part_dies_once(home: Path) -> None:
    run = DeskRun(home, "--no-console", "--speed", "2bar")
    try:
        run.wait_for("trading", lambda: run.fills() >= 5, timeout=300)
        for role in ROLES:
            before = run.role_pid(role)
            kill(before)
            run.wait_for(
                f"a new {role}", lambda r=role, b=before: run.role_pid(r) not in (0, b), timeout=300
            )
            run.wait_for_fills(2, timeout=300)
        for find in (run.exchange_pid, run.database_pid):
            before = find()
            kill(before)
            run.wait_for("its successor", lambda f=find, b=before: f() not in (0, b), timeout=300)
            run.wait_for_fills(2, timeout=300)
        # The database goes first, so that desk and cache are rebuilt while it is away.
        before = {role: run.role_pid(role) for role in ("desk", "cache")}
        kill(run.database_pid())
        for pid in before.values():
            kill(pid)
        run.wait_for(
            "both to be back",
            lambda: all(run.role_pid(role) not in (0, pid) for role, pid in before.items()),
            timeout=300,
        )
        run.wait_for_fills(2, timeout=300)
        summary = run.stop()
    finally:
        run.kill()
    assert summary["exit_code"] == 0, summary
    assert summary["ledger_equal"] is True, summary
    assert set(summary["restarts_by_part"]) >= set(ROLES) | {"exchange", "database"}
    check_books(home, [summary["session"]])


def test_the_driver_dies(home: Path) -> None:
    run = DeskRun(home, "--no-console", "--speed", "2bar")
    try:
        run.wait_for("trading", lambda: run.fills() >= 5, timeout=300)
        first = run.session
        kill(run.pid)
        run.process.wait(300)
        again = DeskRun(home, "--no-console", "--speed", "2bar")
        try:
            again.wait_for_fills(3, timeout=300)
            summary = again.stop()
        finally:
            again.kill()
    finally:
        run.kill()
    assert summary["exit_code"] == 0, summary
    assert summary["ledger_equal"] is True, summary
    check_books(home, [first, summary["session"]])
