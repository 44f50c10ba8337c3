"""A demotion is on record once, whatever fails in between, and no slot waits for another's."""

from pathlib import Path

import pytest
import typer
from ray.exceptions import RayActorError
from support.registered import Session, exported, pinned_slots

from actors.modelwatch import ModelWatch, finish
from don.cli.models import check
from don.clock import NS_PER_S, ReplayClock
from don.config import DonConfig
from don.engine import EngineConfig
from don.learning.registry import Registry
from don.learning.stages import Stage, Version
from don.learning.takedown import owed
from don.model.messages import Command, CommandKind
from don.security.secrets import Secret
from don.storage.database import Database

pytestmark = pytest.mark.postgres
NAMES = ("alpha", "beta")


class World:
    """Two live models that trade in a session, and lose."""

    def __init__(self, database: Database, url: str, home: Path) -> None:
        self.db, self.url, self.home = database, Secret(url), home
        self.clock = ReplayClock(7)
        self.registry = Registry(database, home / "models", clock=self.clock)
        for name in NAMES:
            self.registry.add(exported(home, 1, name))
            self.registry.promote(f"{name}@1", to=Stage.LIVE, force=True, why="test")
        self.engine = pinned_slots(self.registry, home)
        self.session = Session(database, "s1", self.engine)
        self.lose(self.session)
        self.sent: list[Command] = []
        self.heard = True  # whether what is sent is journalled, as a desk does

    def lose(self, session: Session) -> None:
        for equity in (1000.0, 700.0):
            for name in NAMES:
                session.worth(f"{name}.v1", equity)

    def watch(self, session: str = "s1", engine: EngineConfig | None = None) -> ModelWatch:
        config = DonConfig(engine=engine or self.engine)
        return ModelWatch(self.home, self.url, session, config, self.clock, self.take)

    def take(self, command: Command) -> None:
        self.sent.append(command)
        self.session.put(command)

    def look(self, watch: ModelWatch) -> None:
        self.clock.advance_to(self.clock.now_ns() + 60 * NS_PER_S)
        watch.look()

    def away(self, name: str) -> None:
        """From now on nothing of a model can be written."""
        with self.db.connection() as connection:
            connection.execute(
                "CREATE FUNCTION away() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE 'the server goes down' USING ERRCODE = '57P01'; END $$"
            )
            connection.execute(
                "CREATE TRIGGER away BEFORE INSERT ON model_entry FOR EACH ROW "
                f"WHEN (NEW.model = '{name}') EXECUTE FUNCTION away()"
            )

    def back(self) -> None:
        with self.db.connection() as connection:
            connection.execute("DROP FUNCTION away CASCADE")

    def one(self, name: str) -> Version:
        return self.registry.find(f"{name}@1")

    def slots(self) -> list[str]:
        """Told to halt, in order."""
        return [command.key.split(":")[4] for command in self.sent]


@pytest.fixture
def world(database: Database, database_url: str, tmp_path: Path) -> World:
    return World(database, database_url, tmp_path)


def test_a_demotion_that_cannot_be_written_is_written_later(world: World) -> None:
    watch = world.watch()
    world.away("alpha")
    world.look(watch)
    assert world.slots() == ["alpha.v1", "beta.v1"]  # both, though the first fails
    assert (world.one("alpha").stage, world.one("beta").stage) == (Stage.LIVE, Stage.CANDIDATE)
    told = watch.probe()
    assert told.state == "stale"
    assert told.detail.startswith("alpha@1 (alpha.v1) is not demoted yet: ")
    world.back()
    for _ in range(2):
        world.look(watch)
    assert watch.probe().state == "live"
    assert world.slots() == ["alpha.v1", "beta.v1"]
    for name in NAMES:
        _, demoted = world.one(name).moves
        assert (demoted.who, demoted.rule, demoted.after) == ("don", "drawdown", "candidate")
        assert demoted.why == "drawdown 0.3000 is beyond 0.15"


def test_a_desk_that_does_not_take_one_is_told_of_the_others(world: World) -> None:
    refused: list[str] = []

    def send(command: Command) -> None:
        if "alpha" in command.key and not refused:
            refused.append(command.key)
            raise RayActorError
        world.take(command)

    watch = ModelWatch(
        world.home, world.url, "s1", DonConfig(engine=world.engine), world.clock, send
    )
    world.look(watch)
    assert world.slots() == ["beta.v1"]
    assert "alpha@1 (alpha.v1) is not halted yet: the desk did not" in watch.probe().detail
    assert {world.one(name).stage for name in NAMES} == {Stage.CANDIDATE}  # the next `don up` knows
    world.look(watch)
    assert world.slots() == ["beta.v1", "alpha.v1"] and watch.probe().state == "live"
    assert [len(world.one(name).moves) for name in NAMES] == [2, 2]


@pytest.mark.parametrize("by", ["launch", "judge", "hand"])
def test_what_a_killed_driver_left_half_done_is_finished(
    world: World, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.away("alpha")
    world.look(world.watch())  # and that was the last of it
    world.back()
    assert world.one("alpha").stage is Stage.LIVE
    (left,) = owed(world.registry)
    assert (left.label, left.breach.why) == ("alpha@1", "drawdown 0.3000 is beyond 0.15")
    assert left.key == world.sent[0].key
    if by == "launch":
        finish(world.home, world.db)
    elif by == "hand":
        monkeypatch.setenv("DON_HOME", str(world.home))
        monkeypatch.setenv("DON_DATABASE_URL", world.url.reveal())
        with pytest.raises(typer.Exit):
            check(session="s1", apply=True, as_json=False)
    else:
        world.session.journal.close()
        world.session = Session(world.db, "s2", world.engine)
        world.look(world.watch("s2"))
    _, demoted = world.one("alpha").moves
    assert (demoted.who, demoted.rule, demoted.why) == ("don", "drawdown", left.breach.why)
    assert demoted.key == left.key and len(world.sent) == 2
    assert owed(world.registry) == []
    world.registry.promote("alpha@1", to=Stage.LIVE, force=True, why="I have seen it")
    finish(world.home, world.db)
    assert world.one("alpha").stage is Stage.LIVE  # once
    assert world.registry.verify().ok


def test_who_was_taken_down_by_hand_owes_nothing(world: World) -> None:
    world.away("alpha")
    world.look(world.watch())
    world.back()
    world.clock.advance_to(world.clock.now_ns() + 1)
    world.registry.demote("alpha@1", why="I saw it")
    world.registry.promote("alpha@1", why="it was the data")
    assert owed(world.registry) == []
    finish(world.home, world.db)
    assert world.one("alpha").stage is Stage.SHADOW


def test_a_key_or_reason_of_somebodys_own_is_no_demotion(world: World) -> None:
    first = "command:state:demoted:s1:alpha.v1:drawdown"
    for key, reason in (
        ("command:state:demoted:mine", "alpha@1 is demoted: drawdown 0.2 is beyond 0.15"),
        (f"{first}:0/1", "alpha@1 is demoted: drawdown 0.2 is beyond 0.15"),
        (f"{first}:1", "alpha@1 is demoted: it is beyond me"),
        (f"{first}:2", "drawdown 1.2.3 is beyond 0.15"),
        (f"{first.replace('alpha', 'gamma')}:0", "x is demoted: drawdown 0.2 is beyond 0.15"),
        (f"{first.replace('s1', 's9')}:0", "x is demoted: drawdown 0.2 is beyond 0.15"),
    ):
        world.session.put(
            Command(
                key=key, kind=CommandKind.STATE, actor="api", reason=reason,
                ts_recv=world.clock.now_ns() + 1,
                payload='{"scope": "policy:alpha.v1", "state": "reducing"}',
            )
        )  # fmt: skip
    assert owed(world.registry) == []
