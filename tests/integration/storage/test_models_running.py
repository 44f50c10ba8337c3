"""What `don models` says of a session that runs, when versions move that it began with."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from support.registered import Session, exported, pinned_slots

from don.cli import models as commands
from don.cli import research as ledger
from don.cli.client import run_file
from don.cli.output import out
from don.clock import iso
from don.errors import UsageError
from don.home import TRADE_LOCK, hold
from don.learning.registry import Registry
from don.learning.stages import Stage
from don.storage.database import Database
from don.storage.research import Research
from serve.local import running

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


def test_a_slot_that_is_halted_is_told_so_and_is_of_the_version_that_was_pinned(
    database: Database, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = Registry(database, home / "models")
    for seed in (1, 2):
        registry.add(exported(home, seed))
    registry.promote("trend@1", to=Stage.LIVE, force=True, why="test")
    registry.promote("trend@2", to=Stage.CANARY, force=True, why="test")
    Session(database, "s1", pinned_slots(registry, home))
    registry.demote("trend@2", why="it lost")
    registry.delete("trend@2", why="of no use", used=True)
    assert registry.add(exported(home, 2)).label == "trend@3"  # the content of trend@2
    states = {"policy:trend.v1": {"state": "halted", "actor": "ann", "reason": "it lost"}}
    app = FastAPI()
    app.get("/v1/risk")(lambda: {"states": states})
    with running(app) as url:
        runs(home, url)
        promote("trend@3")
        told = said(capsys)
        assert (
            "trend@1 is retired now; the running session has it as live (slot trend.v1), which is "
            "halted: it trades nothing"
        ) in told
        assert "TRADING" not in told and "slot trend.v2" not in told
        assert "trend@3 is live in the registry; session s1 does not have it" in told
        commands.rollback("trend", why="back", who="", as_json=False)
        assert "trend.v2" not in said(capsys)
        states.clear()
        promote("trend@3")
        assert "trend@1 is retired now, but GOES ON TRADING as live" in said(capsys)


def test_a_promotion_says_what_is_known_out_of_sample(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("DON_HOME", str(tmp_path))
    monkeypatch.setenv("DON_DATABASE_URL", database_url)
    monkeypatch.setattr(out, "_width", 120)  # undone, `width` would be what it was by now
    registry = Registry(database, tmp_path / "models")
    for seed in (1, 2, 3):
        registry.add(exported(tmp_path, seed))
    commands.compare(["trend@1", "trend@2"], as_json=False)
    commands.show("trend@1", as_json=False)
    assert capsys.readouterr().out.count("out of sample: not evaluated") == 2
    promote("trend@1")
    told = said(capsys)
    assert (
        "trend@1 is live, but never evaluated out of sample: `don evaluate trend@1` first" in told
    )
    research = Research(database)
    figures = {"max_drawdown": 0.2, "deflated_sharpe": 0.25, "sharpe": 0.5, "total_return": -0.125}
    for label, grade in (("trend@2", "no better"), ("trend@3", "better")):
        run = research.begin("evaluate", {}, "abc", lineage=["BTC-USDT-PERP"])
        research.end(run, "done", {"grade": grade, "answer": f"{grade.title()} than holding."})
        registry.measure(label, {**figures, "run": float(run)})
    commands.show_all("", deleted=False, as_json=False)
    listed = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in listed.splitlines() if "@" in line}
    assert rows["trend@2"][-4:] == ["-12.5%", "0.50", "0.25", "20.0%"]
    assert rows["trend@1"][-1] == "1"  # its seed: never evaluated
    assert rows["trend@3"][2:4] == [
        f"{iso(registry.find('trend@3').since)[:16]}Z",
        registry.find("trend@3").id,
    ]
    commands.promote("trend@2", why="look", to="shadow", force=False, who="", as_json=False)
    assert "out of sample" not in said(capsys)
    promote("trend@2")
    assert (
        "trend@2 is live, but not shown to be better out of sample: No Better than holding "
        "(return -0.125, deflated Sharpe ratio 0.25)"
    ) in said(capsys)
    promote("trend@3")
    assert "out of sample" not in said(capsys)
    ledger.trials("BTC-USDT-PERP", as_json=False)
    assert "runs" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"'BTCUSDT'; did you mean BTC-USDT-PERP\?"):
        ledger.trials("BTCUSDT", as_json=False)
    with pytest.raises(UsageError, match=r"'BTCUSDT'; did you mean BTC-USDT-PERP\?"):
        ledger.runs(kind="", data="BTCUSDT", limit=20, as_json=True)
    with pytest.raises(UsageError, match=r"'zzz', which has BTC-USDT-PERP"):
        ledger.trials("zzz", as_json=False)


def test_figures_out_of_sample_are_those_of_one_evaluation(
    database: Database, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry, research = Registry(database, home / "models"), Research(database)
    registry.add(exported(home))
    told = [
        {"sharpe": 2.0, "total_return": 0.3, "max_drawdown": 0.1, "deflated_sharpe": 0.97},
        {"sharpe": -1.0, "total_return": -0.2, "max_drawdown": 0.4},  # one of several: no deflated
    ]
    for figures in told:
        run = research.begin("evaluate", {}, "abc", lineage=["BTC-USDT-PERP"])
        research.end(run, "done", {"grade": "better", "answer": "Better than holding."})
        registry.measure("trend@1", {**figures, "run": float(run)})
    assert registry.find("trend@1").outside == {**told[1], "run": float(run)}
    promote("trend@1")
    assert (
        f"not shown to be better out of sample: never judged by itself; of all of run {run} "
        "together: Better than holding (return -0.2)"
    ) in said(capsys)
