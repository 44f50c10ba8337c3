"""The HTTP side of a whole Don: real actors, real database, real exchange, Ray Serve in front."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import websockets
from support.desk_run import DeskRun

from don.storage.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.ray, pytest.mark.postgres, pytest.mark.timeout(600)]


@pytest.fixture
def run(don_home: Path) -> Iterator[DeskRun]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    started = DeskRun(don_home, "--speed", "2bar", "--port", str(port))
    yield started
    started.kill()
    EmbeddedPostgres(don_home).stop()


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
        asyncio.timeout(60),
        websockets.connect(url.replace("http", "ws") + "/v1/stream") as stream,
    ):
        snapshot = json.loads(await stream.recv())
        while True:
            told = json.loads(await stream.recv())
            if symbol in (told.get("market") or {}).get("bars", {}):
                return snapshot, told


def test_the_whole_over_http(run: DeskRun, don_home: Path) -> None:
    run.wait_for("the API", lambda: (don_home / "run.json").exists() and run.api != "", 180)
    with httpx.Client(base_url=run.api, timeout=30) as client:
        run.wait_for("fills", lambda: bool((answers(client, "/v1/fills") or {}).get("fills")), 180)

        assert answers(client, "/v1/health")["ok"]
        status = answers(client, "/v1/status")
        symbol = status["info"]["symbols"][0]
        assert status["session"] == run.session
        assert set(status["health"]) >= {"feed", "cache", "desk", "optimizer", "execution"}
        assert all(part["state"] == "live" for part in status["health"].values())
        bars = answers(client, f"/v1/market/bars?symbol={symbol}&limit=20")["bars"]
        assert len(bars) == 20
        decision = answers(client, "/v1/decisions?limit=1")["decisions"][0]
        assert decision["reasons"]

        snapshot, update = asyncio.run(hear(run.api, symbol))
        assert snapshot["session"]["session"] == run.session
        assert snapshot["fills"] and snapshot["equity"] and snapshot["missing"] == []
        assert update["market"]["bars"][symbol]["close"] > 0

        page = client.get("/console", follow_redirects=True)
        assert page.status_code == 200 and "don-ui.js" in page.text

        # a dead replica comes back by itself; nothing of the trading notices
        os.kill(replica(run.pid, "api"), signal.SIGKILL)
        run.wait_for("the API to be back", lambda: answers(client, "/v1/status") is not None)

        token = (don_home / "token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "whole-test-1"}
        for _ in range(2):
            answer = client.post("/v1/commands/halt", headers=headers, json={"reason": "test"})
            assert answer.status_code == 202
        run.wait_for("the halt", lambda: answers(client, "/v1/status")["state"] == "halted")
        run.wait_for("flat", lambda: answers(client, "/v1/positions") == {"positions": []})
        answer = client.post("/v1/commands/resume", headers=headers)
        assert answer.status_code == 202
        run.wait_for("resumed", lambda: not answers(client, "/v1/status")["desk"]["halted"])

    summary = run.stop()
    assert summary["exit_code"] == 0
    assert summary["ledger_equal"] is True


def replica(driver: int, application: str) -> int:
    """Process id of an application's replica."""
    for process in psutil.Process(driver).children(recursive=True):
        line = process.cmdline()
        if line and line[0].startswith(f"ray::ServeReplica:{application}:"):
            return process.pid
    raise AssertionError(f"no replica of {application}")
