"""What `don models` says of a session that runs, when versions move that it began with."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.registered import Session, exported, pinned_slots

from don.cli import models as commands
from don.cli.client import run_file
from don.home import TRADE_LOCK, hold
from don.learning.registry import Registry
from don.learning.stages import Stage
from don.storage.database import Database

pytestmark = pytest.mark.postgres


@pytest.fixture
def home(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder on which session `s1` runs."""
    monkeypatch.setenv("DON_HOME", str(tmp_path))
    monkeypatch.setenv("DON_DATABASE_URL", database_url)
    runs(tmp_path)
    with hold(tmp_path, TRADE_LOCK, "busy"):
        yield tmp_path


def runs(home: Path, url: str = "") -> None:
    run_file(home).write_text(json.dumps({"pid": os.getpid(), "session": "s1", "url": url}))


def promote(label: str) -> None:
    commands.promote(label, why="better", to="live", force=True, who="", as_json=False)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """Warnings, without line ends."""
    return " ".join(capsys.readouterr().err.split())


def test_who_rises_or_falls_from_shadow_is_told_what_the_session_goes_on_with(
    database: Database, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = Registry(database, home / "models")
    for seed in (1, 2):
        registry.add(exported(home, seed))
    registry.promote("trend@1", why="test")
    registry.promote("trend@2", to=Stage.LIVE, force=True, why="test")
    Session(database, "s1", pinned_slots(registry, home))
    promote("trend@1")
    told = said(capsys)
    assert "trend@2 is retired now, but GOES ON TRADING as live (slot trend.v2)" in told
    assert (
        "trend@1 is live in the registry; session s1 goes on with it as shadow (slot trend.v1) "
        "until the next `don up`"
    ) in told
    promote("trend@2")
    told = said(capsys)
    assert (
        "trend@1 is retired now; it goes on deciding as shadow (slot trend.v1), orders nothing, "
        "until the session ends"
    ) in told
    assert "TRADING" not in told and "trend@2 is live in the registry" not in told  # as it began
