"""The registry says how models stand, and keeps who changed it and why."""

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import psycopg
import pytest
from support.envs import market

from don.books.config import Mode, SlotConfig
from don.books.rules import DemotionConfig
from don.clock import ReplayClock
from don.engine import EngineConfig
from don.envs import BatchEnv, EnvConfig
from don.errors import ConfigError, DataError, UsageError
from don.learning.config import NetConfig
from don.learning.demotion import demote, judged
from don.learning.model import Model
from don.learning.registry import Registry
from don.learning.resolve import pinned, slots_of, version_of
from don.learning.stages import Stage
from don.model.messages import Command
from don.policies import make_policy
from don.storage.database import Database

pytestmark = pytest.mark.postgres


def exported(folder: Path, seed: int = 0, name: str = "trend") -> Path:
    config = EnvConfig.model_validate({"observation": {"features": ["log_return_1"]}})
    env = BatchEnv(market(30, 1), config, 1)
    model = Model.untrained(env, NetConfig(hidden=(4,)), name=name, seed=seed)
    model.save(folder / f"{name}-{seed}")
    return folder / f"{name}-{seed}"


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
    with pytest.raises(UsageError, match=r"means 2 versions; there are trend@1 \(candidate\)"):
        registry.find("trend")
    with pytest.raises(UsageError, match="after @ a version or one of candidate"):
        registry.find("trend@best")
    with pytest.raises(UsageError, match="'carry' is not in the registry, which has trend"):
        registry.find("carry@1")
    with pytest.raises(UsageError, match="must be a-z"):
        registry.add(exported(tmp_path, 1), name="Trend!")
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
    assert version_of("trend.v1.paper", registry.versions()).label == "trend@1"
    policy, engine = pin("models")
    assert [s.policy for s in engine.slots] == ["model:trend@1", "model:trend@1", "model:trend@2"]
    assert set(engine.policies.models) == {"model:trend@1", "model:trend@2"}
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
    with database.connection() as connection:
        for seq, equity in enumerate((1000, 990, 700), start=1):
            connection.execute(
                "INSERT INTO book_points (account, session, seq, book, mode, equity, pnl, capital, "
                "share, ts_event) VALUES ('a', 's1', %s, 'trend.v1', 'live', %s, %s, 1000, 1, %s)",
                (seq, equity, equity - 1000, seq),
            )
    found = judged(database, registry, "s1", DemotionConfig())
    assert [(b.rule, v.label) for b, v in found] == [("drawdown", "trend@1")]
    sent: list[Command] = []
    assert len(demote(registry, found, 7, sent.append)) == 1
    assert json.loads(sent[0].payload) == {"scope": "policy:trend.v1", "state": "halted"}
    last = registry.find("trend@1").moves[-1]
    assert (last.who, last.rule, last.after) == ("don", "drawdown", "candidate")
    assert judged(database, registry, "s1", DemotionConfig()) == []  # it has no slot any more
