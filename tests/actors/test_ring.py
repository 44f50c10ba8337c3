"""The main job, as a user runs it: real sockets, real database, real actors."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.books import assert_books_equal
from support.desk_run import PATIENCE_S, DeskRun, don

from don.storage.database import Database
from don.storage.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.ray, pytest.mark.postgres, pytest.mark.timeout(1_800)]
KEYS = {
    "session", "symbols", "orders", "fills", "denials", "equity", "pnl", "fees", "funding",
    "ledger_equal", "ledger_differences", "gaps", "restarts", "decisions", "decision_ms",
    "tick_to_order_ms",
}  # fmt: skip


@pytest.fixture
def home(don_home: Path) -> Iterator[Path]:
    yield don_home
    EmbeddedPostgres(don_home).stop()


def test_trades_replays_and_goes_on(home: Path) -> None:
    run = DeskRun(home, "--no-console", "--speed", "2bar")
    try:
        run.wait_for("the first decisions", lambda: run.fills() >= 20)
        summary = run.stop()
    finally:
        run.kill()
    assert summary["exit_code"] == 0
    assert set(summary) >= KEYS
    assert len(summary["symbols"]) >= 5
    assert summary["fills"] >= 20
    assert summary["ledger_equal"] is True
    assert summary["ledger_differences"] == []
    assert summary["restarts"] == 0
    assert summary["problems"] == []

    replayed = don(home, "session", "replay", summary["session"], "--json")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    found = json.loads(replayed.stdout)
    assert found["identical"] is True
    assert found["decisions"] == summary["decisions"]
    assert found["snapshots"] > 0
    assert found["targets"] > 0

    again = DeskRun(home, "--no-console", "--speed", "2bar")
    try:
        again.wait_for_fills(1)
        second = again.stop()
    finally:
        again.kill()
    assert second["exit_code"] == 0
    assert second["ledger_equal"] is True
    assert second["session"] > summary["session"]
    server = EmbeddedPostgres(home)
    with Database(server.start()) as db:
        assert_books_equal(home, db)
    listed = json.loads(don(home, "sessions", "--json").stdout)
    assert [row["session"] for row in listed] == [second["session"], summary["session"]]
    assert {row["status"] for row in listed} == {"ended"}


def test_kill_switch_without_http_and_across_sessions(home: Path) -> None:
    run = DeskRun(home, "--no-console", "--speed", "2bar")
    try:
        run.wait_for("positions", lambda: run.fills() >= 5)
        halted = don(home, "halt", "--reason", "enough", "--json")
        assert halted.returncode == 0, halted.stderr
        assert json.loads(halted.stdout)["accepted"] is True
        summary = run.stop()
    finally:
        run.kill()
    assert summary["halted"] is True
    assert summary["positions"] == {}
    assert summary["ledger_equal"] is True

    again = DeskRun(home, "--no-console", "--speed", "4bar")
    try:
        again.wait_for(
            "skipped decisions", lambda: (c := again.counts()) and c.decisions >= 5, timeout=180
        )
        assert again.fills() == 0, "a halt must hold until a person resumes"
        assert don(home, "resume").returncode == 0
        again.wait_for_fills(1)
        second = again.stop()
    finally:
        again.kill()
    assert second["halted"] is False
    assert second["ledger_equal"] is True


def begun(run: DeskRun, moment: str) -> bool:
    if moment == "exchange":
        return run.exchange_pid() != 0
    if moment == "actors":
        return run.role_pid("board") != 0
    return any(
        process.info == {"ppid": run.pid, "name": "gcs_server"}
        for process in psutil.process_iter(["ppid", "name"])
    )


@pytest.mark.parametrize(
    "moment", ["exchange", "ray", pytest.param("actors", marks=pytest.mark.slow)]
)
def test_stopping_while_starting_leaves_nothing_behind(home: Path, moment: str) -> None:
    """While the exchange starts, before Ray; while Ray does, which wants SIGTERM for itself."""
    run = DeskRun(home, "--no-console")
    try:
        run.wait_for(moment, lambda: begun(run, moment))
        run.process.send_signal(signal.SIGTERM)
        code = run.process.wait(PATIENCE_S)
        error = run.process.stderr.read() if run.process.stderr else ""
    finally:
        run.kill()
    assert code in (0, 130), error  # 0: it was trading already
    assert "Traceback" not in error
    assert not (home / "run.json").exists()
    left = [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if any(str(home) in part for part in process.info["cmdline"] or ())
    ]
    assert left == []


def test_a_tampered_decision_is_found(home: Path) -> None:
    run = DeskRun(home, "--no-console", "--speed", "4bar")
    try:
        run.wait_for("fills", lambda: run.fills() >= 1)
        session = run.stop()["session"]
    finally:
        run.kill()
    with Database(EmbeddedPostgres(home).start()) as db, db.connection() as connection:
        connection.execute("ALTER TABLE journal DISABLE TRIGGER ALL")
        seq = connection.execute(
            "SELECT min(seq) FROM journal WHERE kind = 'SubmitOrder'"
        ).fetchone()[0]
        connection.execute(
            "UPDATE journal SET payload = replace(payload, %s, %s) WHERE seq = %s",
            ('"reduce_only":false', '"reduce_only":true', seq),
        )
        connection.commit()
    replayed = don(home, "session", "replay", session, "--json")
    assert replayed.returncode == 3, replayed.stdout + replayed.stderr
    found = json.loads(replayed.stdout)
    assert found["identical"] is False
    assert found["difference"]["seq"] == seq
    assert str(seq) in found["chain"]
