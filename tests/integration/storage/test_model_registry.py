"""The registry says how models stand, and keeps who changed it and why."""

import json
import os
import threading
from contextlib import nullcontext
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import psycopg
import pytest
from ray.exceptions import RayActorError
from support.envs import market
from support.registered import Session, exported, pinned_slots

from actors.commands import waiting_commands
from actors.modelwatch import ModelWatch
from don.books.book import BookState
from don.books.books import BooksState
from don.books.config import Mode, SlotConfig
from don.books.rules import DemotionConfig
from don.cli import models as commands
from don.cli.client import run_file
from don.cli.models_shown import versions
from don.clock import NS_PER_S, ReplayClock
from don.config import DonConfig
from don.engine import EngineConfig
from don.engine.state import EngineState
from don.envs import BatchEnv
from don.errors import ConfigError, DataError, UsageError
from don.home import TRADE_LOCK, hold
from don.learning import demotion
from don.learning.demotion import Judge, slots_trading
from don.learning.registry import Registry
from don.learning.resolve import pinned, slots_of, traded
from don.learning.stages import Stage
from don.learning.takedown import Takedown
from don.model.messages import Command
from don.policies import make_policy
from don.risk.states import Standing, TradingState
from don.security.secrets import Secret
from don.storage.database import Database

pytestmark = pytest.mark.postgres


@pytest.fixture
def registry(database: Database, tmp_path: Path) -> Registry:
    return Registry(database, tmp_path / "models", clock=ReplayClock(7))


def stages(registry: Registry) -> dict[str, str]:
    return {one.label: str(one.stage) for one in registry.versions()}


def test_a_model_rises_and_falls(registry: Registry, database: Database, tmp_path: Path) -> None:
    one = registry.add(exported(tmp_path, 1), who="ann", why="first")
    assert (one.label, one.stage, one.who, one.ts) == ("trend@1", Stage.CANDIDATE, "ann", 7)
    assert registry.add(exported(tmp_path, 1)).version == 1  # the same content is the same version
    two = registry.add(exported(tmp_path, 2))
    with pytest.raises(UsageError, match="would leave out shadow, canary: say --force"):
        registry.promote("trend@1", to=Stage.LIVE, why="hurry")
    with pytest.raises(UsageError, match="say why"):
        registry.promote("trend@1", why=" ")
    for stage in ("shadow", "canary", "live"):
        (moved,) = registry.promote("trend@1", who="ann", why=f"good enough for {stage}")
        assert moved.stage == stage
    assert registry.find("trend").version == 1  # the live one
    registry.promote("trend@2", why="shadow")
    registry.promote("trend@2", why="canary")
    moved = registry.promote("trend@2", who="bob", why="better")
    assert [(m.label, str(m.stage)) for m in moved] == [("trend@1", "retired"), ("trend@2", "live")]
    assert registry.find("trend").id == two.id
    with pytest.raises(UsageError, match="is live: demote it before it is deleted"):
        registry.delete("trend@2", why="no")
    registry.rollback("trend", who="bob", why="it lost")
    assert stages(registry) == {"trend@1": "live", "trend@2": "candidate"}
    with pytest.raises(UsageError, match="no version of trend was live before"):
        registry.rollback("trend", why="again")
    registry.demote("trend@live", to=Stage.SHADOW, who="don", why="fell by 20 %", rule="drawdown")
    last = registry.find("trend@1").moves[-1]
    assert (last.who, last.rule, last.before, last.after) == ("don", "drawdown", "live", "shadow")
    with pytest.raises(UsageError, match="cannot be demoted to canary"):
        registry.demote("trend@1", to=Stage.CANARY, why="up")
    registry.measure("trend@2", {"sharpe": 1.5})
    assert registry.find("trend@2").measures == {"sharpe": 1.5}
    assert registry.model(registry.find("trend@2")).id == two.id
    registry.delete("trend@2", who="bob", why="of no use")
    assert not registry.folder(two).exists() and registry.folder(one).exists()
    assert stages(registry) == {"trend@1": "shadow"}
    assert registry.add(exported(tmp_path, 2)).version == 3  # numbers are not given twice
    assert registry.verify().ok
    with pytest.raises(psycopg.Error, match="append-only"), database.connection() as connection:
        connection.execute("UPDATE model_entry SET payload = '{}'")


def test_names_that_mean_nothing_are_refused(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="which has none"):
        registry.find("trend")
    registry.add(exported(tmp_path, 1))
    registry.add(exported(tmp_path, 2))
    with pytest.raises(UsageError, match=r"say which, such as trend@2, of trend@1 \(candidate\)"):
        registry.find("trend")
    with pytest.raises(UsageError, match=r"model 'trend@9' is not in the registry, which has tre"):
        registry.find("trend@9")
    with pytest.raises(UsageError, match=r"model 'trent' .* has trend; did you mean trend\?"):
        registry.find("trent")
    with pytest.raises(UsageError, match="after @ a version or one of candidate"):
        registry.find("trend@best")
    with pytest.raises(UsageError, match="'carry' is not in the registry, which has trend"):
        registry.find("carry@1")
    with pytest.raises(UsageError, match="must be a-z"):
        registry.add(exported(tmp_path, 1), name="Trend!")
    with pytest.raises(UsageError, match=r"must not be that of a policy .* was 'momentum'"):
        registry.add(exported(tmp_path, 1), name="momentum")
    with pytest.raises(UsageError, match="'carry' is not in the registry, which has trend"):
        versions(registry, "carry", deleted=False)
    assert [one.label for one in versions(registry, "trend", deleted=False)] == [
        "trend@1",
        "trend@2",
    ]
    assert registry.add(exported(tmp_path, 1), name="carry").label == "carry@1"
    torn = exported(tmp_path, 3)
    (torn / "weights.npz").write_bytes(b"")
    with pytest.raises(DataError, match="torn"):
        registry.add(torn)


def test_sessions_pin_what_a_name_means(registry: Registry, tmp_path: Path) -> None:
    folder = exported(tmp_path, 1)
    one = registry.add(folder)
    plain = EngineConfig()

    def pin(policy: str, engine: EngineConfig = plain) -> tuple[str, EngineConfig]:
        return pinned(policy, engine, lambda: nullcontext(registry), tmp_path / "models")

    assert pin("momentum") == ("momentum", plain)
    policy, engine = pin("model:trend")
    assert policy == "model:trend@1" and engine.policies.models[policy].id == one.id
    assert make_policy(policy, engine.policies).features == ("log_return_1",)
    policy, engine = pin(f"model:{folder}")
    kept = Path(engine.policies.models[policy].folder)
    assert kept == tmp_path / "models" / one.id  # the journal needs it when the folder is gone
    with pytest.raises(ConfigError, match=r"no model of the registry is live or canary"):
        pin("models")
    registry.add(exported(tmp_path, 2))
    registry.promote("trend@1", to=Stage.LIVE, force=True, why="test")
    registry.promote("trend@2", why="test")
    slots = slots_of(registry.versions())
    assert [(s.name, s.mode) for s in slots] == [
        ("trend.v1", Mode.LIVE), ("trend.v1.paper", Mode.SHADOW), ("trend.v2", Mode.SHADOW),
    ]  # fmt: skip
    policy, engine = pin("models")
    assert [s.policy for s in engine.slots] == ["model:trend@1", "model:trend@1", "model:trend@2"]
    assert set(engine.policies.models) == {"model:trend@1", "model:trend@2"}
    places = [one.known(registry.versions()) for one in traded(policy, engine.model_dump())]
    assert [(p.name, p.label) for p in places] == [("trend.v1", "trend@1"), ("trend.v2", "trend@2")]
    own = EngineConfig(slots=(SlotConfig(name="m", policy="model:trend@shadow"),))
    _, engine = pin("momentum", own)
    assert engine.slots[0].policy == "model:trend@2"
    seen = BatchEnv(market(30, 1), registry.model(one).card.env, 1).reset(seed=1)
    assert np.isfinite(registry.model(one).act(seen)[0]["agents"]).all()


def test_a_model_that_loses_is_demoted_and_the_desk_told(
    registry: Registry, database: Database, tmp_path: Path
) -> None:
    registry.add(exported(tmp_path, 1))
    registry.promote("trend@1", to=Stage.LIVE, force=True, why="test")
    session = Session(database, "s1", pinned_slots(registry, tmp_path))
    judge = Judge("s1", DemotionConfig())
    for equity in (1000.0, 990.0):
        session.worth("trend.v1", equity)
    assert judge.look(registry) == []
    session.worth("trend.v1", 700.0)
    found = judge.look(registry)
    assert [(b.breach.rule, b.label) for b in found] == [("drawdown", "trend@1")]
    sent: list[Command] = []
    assert len(Takedown(sent.append).act(registry, found, 7)) == 1
    assert json.loads(sent[0].payload) == {"scope": "policy:trend.v1", "state": "halted"}
    last = registry.find("trend@1").moves[-1]
    assert (last.who, last.rule, last.after) == ("don", "drawdown", "candidate")
    assert [b.key for b in judge.look(registry)] == [sent[0].key]  # the desk has not heard yet
    session.put(sent[0])
    assert judge.look(registry) == []
    assert Judge("s1", DemotionConfig()).look(registry) == []
    session.put(replace(sent[0], key="command:state:again",
                        payload=sent[0].payload.replace("halted", "active")))  # fmt: skip
    for equity in (690.0, 500.0):
        session.worth("trend.v1", equity)
    (again,) = judge.look(registry)
    assert again.key != sent[0].key  # a person set it going, and it lost again


def test_what_trades_is_watched_whatever_the_registry_says_since(
    registry: Registry, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demotion, "_CHUNK", 1)  # however many rows are read at once
    for seed in (1, 2):
        registry.add(exported(tmp_path, seed))
    registry.promote("trend@1", to=Stage.LIVE, force=True, why="test")
    own = SlotConfig(name="mine", policy="model:trend")
    carried = EngineState(
        books=BooksState(
            books=(BookState(name="mine", capital=Decimal(1000), since=Decimal(1000), peak=1.1),)
        )
    )
    session = Session(database, "s1", pinned_slots(registry, tmp_path, own), carried)
    registry.promote("trend@2", to=Stage.LIVE, force=True, why="better")
    session.worth("mine", 1000.0)
    session.worth("mine", 900.0)  # 10 % in this session, more from the peak of those before
    (one,) = Judge("s1", DemotionConfig()).look(registry)
    assert (one.label, one.slot.name, one.breach.rule) == ("trend@1", "mine", "drawdown")
    assert one.breach.value == pytest.approx(1 - 0.9 / 1.1)
    sent: list[Command] = []
    assert len(Takedown(sent.append).act(registry, [one], 7)) == 1 and len(sent) == 1
    assert stages(registry) == {"trend@1": "retired", "trend@2": "live"}  # it stood no higher
    (place,) = slots_trading(registry, "s1", [registry.find("trend@1")])
    assert place.name == "mine" and place.version.label == "trend@1"
    assert slots_trading(registry, "s1", [registry.find("trend@2")]) == []


def test_the_watch_goes_on_when_the_desk_is_away(
    registry: Registry, database: Database, database_url: str, tmp_path: Path
) -> None:
    registry.add(exported(tmp_path, 1))
    registry.promote("trend@1", to=Stage.LIVE, force=True, why="test")
    engine = pinned_slots(registry, tmp_path)
    session = Session(database, "s1", engine)
    for equity in (1000.0, 700.0):
        session.worth("trend.v1", equity)
    sent: list[Command] = []

    def send(command: Command) -> None:
        sent.append(command)
        if len(sent) == 1:
            raise RayActorError

    clock = ReplayClock(7)
    watch = ModelWatch(
        tmp_path, Secret(database_url), "s1", DonConfig(engine=engine), clock, send
    )  # fmt: skip
    for _ in range(3):
        watch.look()
        clock.advance_to(clock.now_ns() + 60 * NS_PER_S)
    assert [one.key for one in sent] == [sent[0].key] * 2  # once more, then it was taken
    assert stages(registry) == {"trend@1": "candidate"}


def test_a_canary_that_loses_too_much_is_demoted_once(
    registry: Registry, database: Database, database_url: str, tmp_path: Path
) -> None:
    """Whoever dies in between: the driver before the desk has heard, and the session after it."""
    for seed in (1, 2):
        registry.add(exported(tmp_path, seed))
    registry.promote("trend@1", to=Stage.LIVE, force=True, why="test")
    registry.promote("trend@2", to=Stage.CANARY, force=True, why="test")
    sent: list[Command] = []

    def looked(session: str, engine: EngineConfig) -> int:
        config, before = DonConfig(engine=engine), len(sent)
        ModelWatch(
            tmp_path, Secret(database_url), session, config, ReplayClock(9), sent.append
        ).look()
        return len(sent) - before

    own = SlotConfig(name="mine", policy="model:trend@2", mode=Mode.CANARY)
    engine = pinned_slots(registry, tmp_path, own, SlotConfig(name="l", policy="model:trend@1"))
    first = Session(database, "s1", engine)
    for equity in (1000.0, 1100.0, 936.0):  # 14.9 % from the peak
        first.worth("mine", equity, "canary")
        first.worth("l", 1000.0)
    assert looked("s1", engine) == 0
    first.worth("mine", 934.0, "canary")
    first.worth("mine", 1100.0, "canary")  # that it came back does not help
    assert looked("s1", engine) == 1
    assert looked("s1", engine) == 1  # the driver died; the desk takes a key once
    assert sent[0].key == sent[1].key and sent[0].actor == "don"
    assert sent[0].reason == "trend@2 is demoted: drawdown 0.1509 is beyond 0.15"
    first.put(sent[0])
    assert looked("s1", engine) == 0
    halted = Standing(state=TradingState.HALTED, reason=sent[0].reason, actor="don")
    book = BookState(name="mine", capital=Decimal(1000), growth=0.934, peak=1.1)
    carried = EngineState(states={"policy:mine": halted}, books=BooksState(books=(book,)))
    first.journal.close()
    second = Session(database, "s2", engine, carried)
    second.worth("mine", 900.0, "canary")
    assert looked("s2", engine) == 0
    _, demoted = registry.find("trend@2").moves
    assert (demoted.who, demoted.rule, demoted.why) == (
        "don", "drawdown", "drawdown 0.1509 is beyond 0.15",
    )  # fmt: skip
    assert (demoted.before, demoted.after, demoted.ts) == (Stage.CANARY, Stage.CANDIDATE, 9)
    assert stages(registry) == {"trend@1": "live", "trend@2": "candidate"}
    assert registry.verify().ok


def test_a_demotion_halts_the_running_slot(
    registry: Registry, database: Database, database_url: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for seed in (1, 2):
        registry.add(exported(tmp_path, seed))
    registry.promote("trend@1", to=Stage.LIVE, force=True, why="test")
    Session(database, "s1", pinned_slots(registry, tmp_path))
    monkeypatch.setenv("DON_HOME", str(tmp_path))
    monkeypatch.setenv("DON_DATABASE_URL", database_url)
    run_file(tmp_path).write_text(json.dumps({"pid": os.getpid(), "session": "s1", "url": ""}))
    over, told = threading.Event(), []

    def desk() -> None:  # as the driver does: commands come as files, until one was taken
        while not over.wait(0.01):
            for path, command in waiting_commands(tmp_path):
                told.append(command)
                path.unlink()

    taking = threading.Thread(target=desk)
    taking.start()
    try:
        with hold(tmp_path, TRADE_LOCK, "busy"):
            commands.promote("trend@2", why="better", to="live", force=True, who="", as_json=False)
            said = " ".join(capsys.readouterr().err.split())
            assert "trend@1 is retired now, but GOES ON TRADING as live (slot trend.v1)" in said
            assert "trend@2 is live in the registry; session s1 does not have it" in said
            registry.rollback("trend", why="back")
            commands.demote("trend@1", why="it lost", to="candidate", who="", as_json=False)
    finally:
        over.set()
        taking.join()
    assert [json.loads(one.payload) for one in told] == [
        {"scope": "policy:trend.v1", "state": "halted"}
    ]
    assert "slot trend.v1 is halted" in capsys.readouterr().out


def test_an_end_that_is_cut_off_is_noticed(
    registry: Registry, database: Database, tmp_path: Path
) -> None:
    registry.add(exported(tmp_path, 1))
    registry.promote("trend@1", why="test")
    with database.connection() as connection:
        connection.execute("ALTER TABLE model_entry DISABLE TRIGGER USER")
        connection.execute("DELETE FROM model_entry WHERE seq = 2")
        connection.execute("ALTER TABLE model_entry ENABLE TRIGGER USER")
    found = registry.verify()
    assert (found.broken_seq, found.problem) == (2, "the end is missing")
    registry.promote("trend@1", why="as if nothing had been")
    assert registry.verify().problem == "its hash is not the one that was acknowledged"
