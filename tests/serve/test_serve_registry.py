"""The registry of models over HTTP: how versions stand, where they trade, what they were worth."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from support.registered import Session, exported, pinned_slots
from support.serving import opened
from support.world import World
from support.world_views import SESSION

from don.books.config import Mode, SlotConfig
from don.clock import ReplayClock
from don.learning.registry import Registry
from don.learning.stages import Stage
from don.storage.database import Database
from don.storage.research import Research
from don.storage.research_runs import RunKind
from serve.registered import RegistryReads

pytestmark = pytest.mark.postgres

SLOTS = (
    SlotConfig(name="trend.v1", policy="model:trend@1", mode=Mode.CANARY),
    SlotConfig(name="own", policy="model:trend@3", mode=Mode.SHADOW),  # of a candidate
)
FIGURES = {"total_return": -0.12, "sharpe": -1.5, "deflated_sharpe": 0.03, "max_drawdown": 0.2}


def evaluated(database: Database, *ids: str) -> int:
    """A look at models that is over, in the research ledger."""
    research = Research(database)
    run = research.begin(RunKind.EVALUATE, {"models": ids}, "data")
    research.end(run, metrics={"grade": "worse", "answer": "No: it lost money."})
    return run


def rows(client: httpx.Client, **query: Any) -> dict[str, dict[str, Any]]:
    found = client.get("/v1/models", params=query).json()["models"]
    return {row["model"]: row for row in found}


def test_versions_are_told_as_they_stand_trade_and_were_worth(
    database: Database, tmp_path: Path
) -> None:
    clock = ReplayClock(1)  # when the session begins
    registry = Registry(database, tmp_path / "models", clock=clock)
    world = World(history=20, length=40)
    world.registry = RegistryReads(database, tmp_path)
    with opened(world, world.start) as client:
        assert client.get("/v1/models").json() == {"session": SESSION, "count": 0, "models": []}
        missing = client.get("/v1/models/trend")
        assert missing.status_code == 404 and missing.json()["field"] == "path.model"

        for seed in (1, 2, 3):
            registry.add(exported(tmp_path, seed), who="ann", why=f"seed {seed}")
        registry.promote("trend@1", why="first", who="ann", to=Stage.CANARY, force=True)
        Session(database, SESSION, pinned_slots(registry, tmp_path, *SLOTS))
        run = evaluated(database, registry.find("trend@1").id)
        registry.measure("trend@1", {**FIGURES, "run": float(run)})
        registry.measure("trend@2", {"sharpe": 0.5, "run": float(run)})  # another ledger's number

        told = rows(client)
        assert list(told) == ["trend@3", "trend@2", "trend@1"]
        first = told["trend@1"]
        assert {name: first[name] for name in FIGURES} == FIGURES and first["grade"] == "worse"
        assert (first["stage"], first["next_stage"], first["seed"]) == ("canary", "live", 1)
        assert first["places"] == [{"slot": "trend.v1", "mode": "canary", "held": True}]
        assert told["trend@3"]["places"] == [{"slot": "own", "mode": "shadow", "held": True}]
        assert not told["trend@3"]["evaluated"] and told["trend@3"]["sharpe"] is None
        assert told["trend@2"]["places"] == [] and told["trend@2"]["grade"] == ""
        few = client.get("/v1/models", params={"limit": 2}).json()
        assert few["count"] == 3  # and what trades is among the few
        assert [row["model"] for row in few["models"]] == ["trend@3", "trend@1"]

        clock.advance_to(2)
        registry.demote("trend@1", why="it lost", who="don", rule="drawdown", key="k")
        registry.promote("trend@3", why="beside it", who="bob", to=Stage.CANARY, force=True)
        registry.delete("trend@2", why="of no use", who="bob")
        assert rows(client)["trend@3"]["places"][0]["held"] is False
        shown = client.get("/v1/models/trend@1").json()
        assert shown["row"]["places"] == [{"slot": "trend.v1", "mode": "canary", "held": False}]
        assert shown["evaluation"]["answer"] == "No: it lost money."
        assert (shown["evaluation_run"], shown["out_of_sample"]) == (run, FIGURES)
        moves = [(m["before"], m["after"], m["who"], m["rule"]) for m in shown["moves"]]
        assert moves == [
            ("candidate", "canary", "ann", ""),
            ("canary", "candidate", "don", "drawdown"),
        ]
        assert (shown["imported"]["who"], shown["imported"]["why"]) == ("ann", "seed 1")
        one = registry.find("trend@1")
        assert shown["schema_hash"] == registry.model(one).schema_hash
        assert shown["card"] == one.card.model_dump(mode="json")
        for text in (one.id, "trend@candidate", "trend@canary"):
            assert client.get(f"/v1/models/{text}").status_code == 200, text
        unclear = client.get("/v1/models/trend")
        assert unclear.status_code == 404 and "may be 2 versions" in unclear.json()["detail"]

        assert list(rows(client)) == ["trend@3", "trend@1"]
        assert rows(client, deleted=True)["trend@2"]["deleted"]
        gone = client.get("/v1/models/trend@2").json()
        assert (gone["deletion"]["who"], gone["deletion"]["why"]) == ("bob", "of no use")
        assert gone["evaluation"] is None and gone["evaluation_run"] == run
        assert gone["schema_hash"] == ""  # its files went with it

        for wrong in ("?limit=0", "?limit=1001", "?name=a%00", "/a%00"):
            assert client.get(f"/v1/models{wrong}").status_code == 422, wrong
        world.away = "the board does not answer"
        assert client.get("/v1/models").json()["session"] is None
        world.database_away = "database don at localhost: away"
        for path in ("/v1/models", "/v1/models/trend@1"):
            assert client.get(path).status_code == 503
