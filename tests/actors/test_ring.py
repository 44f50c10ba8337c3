"""The main job, as a user runs it: real sockets, real database, real actors, Ray Serve in front.

To start Don takes most of the time of such a test, so one state folder lives through three sessions
and each of them shows all that it can.
"""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import websockets
from support.books import assert_books_equal
from support.desk_run import PATIENCE_S, DeskRun, don
from support.ports import free_port

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


def test_three_sessions(home: Path) -> None:
    first = trades_and_answers_over_http(home)
    replays_as_it_was(home, first)
    second = goes_on_and_is_halted_without_http(home)
    third = stays_halted_until_resumed(home)
    with Database(EmbeddedPostgres(home).start()) as db:
        assert_books_equal(home, db)
    listed = json.loads(don(home, "sessions", "--json").stdout)
    assert [row["session"] for row in listed] == [
        summary["session"] for summary in (third, second, first)
    ]
    assert {row["status"] for row in listed} == {"ended"}
    a_tampered_decision_is_found(home, first["session"])


# ---- the first session: HTTP ---------------------------------------------------------------------


def trades_and_answers_over_http(home: Path) -> dict[str, Any]:
    run = DeskRun(home, "--speed", "2bar", "--port", str(free_port()))
    try:
        run.wait_for("the API", lambda: (home / "run.json").exists() and run.api != "")
        with httpx.Client(base_url=run.api, timeout=PATIENCE_S) as client:
            run.wait_for("20 fills", lambda: run.fills() >= 20)
            reads(run, client)
            # a dead replica comes back by itself; nothing of the trading notices
            os.kill(replica(run.pid, "api"), signal.SIGKILL)
            run.wait_for("the API to be back", lambda: answers(client, "/v1/status") is not None)
            commands(run, client, (home / "token").read_text().strip())
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
    return summary


def answers(client: httpx.Client, path: str) -> Any:
    """The answer to a read, None while there is none."""
    try:
        answer = client.get(path)
    except httpx.TransportError:
        return None
    return answer.json() if answer.status_code == 200 else None


async def hear(url: str, symbol: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The stream's snapshot, and the first update after it with a forming bar of the symbol.

    Between a bar's close and the next trade nothing is forming.
    """
    async with (
        asyncio.timeout(120),
        websockets.connect(
            url.replace("http", "ws") + "/v1/stream", open_timeout=PATIENCE_S
        ) as stream,
    ):
        snapshot = json.loads(await stream.recv())
        while True:
            told = json.loads(await stream.recv())
            if symbol in (told.get("market") or {}).get("bars", {}):
                return snapshot, told


def reads(run: DeskRun, client: httpx.Client) -> None:
    wait_for_answer(run, client, "/v1/health", lambda found: found["ok"])
    status = wait_for_answer(
        run,
        client,
        "/v1/status",
        lambda found: all(part["state"] == "live" for part in found["health"].values()),
    )
    symbol = status["info"]["symbols"][0]
    assert status["session"] == run.session
    assert set(status["health"]) >= {"feed", "cache", "desk", "optimizer", "execution"}
    assert answers(client, "/v1/fills")["fills"]
    assert len(answers(client, f"/v1/market/bars?symbol={symbol}&limit=20")["bars"]) == 20
    assert answers(client, "/v1/decisions?limit=1")["decisions"][0]["reasons"]

    snapshot, update = asyncio.run(hear(run.api, symbol))
    assert snapshot["session"]["session"] == run.session
    assert snapshot["fills"] and snapshot["equity"] and snapshot["missing"] == []
    assert update["market"]["bars"][symbol]["close"] > 0

    page = client.get("/console", follow_redirects=True)
    assert page.status_code == 200 and "don-ui.js" in page.text


def wait_for_answer(
    run: DeskRun, client: httpx.Client, path: str, right: Callable[[Any], bool]
) -> Any:
    """The first answer that is right: on a busy machine a part may be late with a sign of life."""
    found: list[Any] = []

    def asked() -> bool:
        found[:] = [answers(client, path)]
        return found[0] is not None and right(found[0])

    run.wait_for(f"{path} to be right", asked)
    return found[0]


def commands(run: DeskRun, client: httpx.Client, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "whole-test-1"}
    for _ in range(2):
        answer = client.post("/v1/commands/halt", headers=headers, json={"reason": "test"})
        assert answer.status_code == 202
    wait_for_answer(run, client, "/v1/status", lambda found: found["state"] == "halted")
    wait_for_answer(run, client, "/v1/positions", lambda found: found == {"positions": []})
    assert client.post("/v1/commands/resume", headers=headers).status_code == 202
    wait_for_answer(run, client, "/v1/status", lambda found: not found["desk"]["halted"])


def replica(driver: int, application: str) -> int:
    """Process id of an application's replica."""
    for process in psutil.Process(driver).children(recursive=True):
        try:
            line = process.cmdline()
        except psutil.NoSuchProcess:
            continue
        if line and line[0].startswith(f"ray::ServeReplica:{application}:"):
            return process.pid
    raise AssertionError(f"no replica of {application}")


# ---- replay, and the sessions after the first ----------------------------------------------------


def replays_as_it_was(home: Path, summary: dict[str, Any]) -> None:
    replayed = don(home, "session", "replay", summary["session"], "--json")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    found = json.loads(replayed.stdout)
    assert found["identical"] is True
    assert found["decisions"] == summary["decisions"]
    assert found["snapshots"] > 0
    assert found["targets"] > 0


def goes_on_and_is_halted_without_http(home: Path) -> dict[str, Any]:
    run = DeskRun(home, "--no-console", "--speed", "2bar")
    try:
        run.wait_for("positions", lambda: run.fills() >= 5)
        halted = don(home, "halt", "--reason", "enough", "--json")
        assert halted.returncode == 0, halted.stderr
        assert json.loads(halted.stdout)["accepted"] is True
        summary = run.stop()
    finally:
        run.kill()
    assert summary["exit_code"] == 0
    assert summary["halted"] is True
    assert summary["positions"] == {}
    assert summary["ledger_equal"] is True
    return summary


def stays_halted_until_resumed(home: Path) -> dict[str, Any]:
    run = DeskRun(home, "--no-console", "--speed", "4bar")
    try:
        run.wait_for(
            "skipped decisions",
            lambda: (c := run.counts()) and c.decisions >= 5,
        )
        assert run.fills() == 0, "a halt must hold until a person resumes"
        assert don(home, "resume").returncode == 0
        run.wait_for_fills(1)
        summary = run.stop()
    finally:
        run.kill()
    assert summary["exit_code"] == 0
    assert summary["halted"] is False
    assert summary["ledger_equal"] is True
    return summary


def a_tampered_decision_is_found(home: Path, session: str) -> None:
    with Database(EmbeddedPostgres(home).start()) as db, db.connection() as connection:
        connection.execute("ALTER TABLE journal DISABLE TRIGGER ALL")
        seq = connection.execute(
            "SELECT min(seq) FROM journal WHERE kind = 'SubmitOrder' AND session = %s", (session,)
        ).fetchone()[0]
        connection.execute(
            "UPDATE journal SET payload = replace(payload, %s, %s) WHERE session = %s AND seq = %s",
            ('"reduce_only":false', '"reduce_only":true', session, seq),
        )
        connection.commit()
    replayed = don(home, "session", "replay", session, "--json")
    assert replayed.returncode == 3, replayed.stdout + replayed.stderr
    found = json.loads(replayed.stdout)
    assert found["identical"] is False
    assert found["difference"]["seq"] == seq
    assert str(seq) in found["chain"]


# ---- a start that is stopped ---------------------------------------------------------------------


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
