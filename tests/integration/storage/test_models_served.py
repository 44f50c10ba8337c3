"""What `don models` changes in the registry, a running Don answers over HTTP."""

import json
import os
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from support.registered import exported

from don.cli import models as commands
from don.cli.client import run_file
from don.home import TRADE_LOCK, hold
from don.learning.registry import Registry
from don.security.secrets import Secret
from don.storage.database import Database
from serve.auth import Gate
from serve.local import running
from serve.models import LocalModels
from serve.policies import DeskPolicies
from serve.policy import PolicySpec, shelf_of
from serve.problems import install
from serve.routes import policies

pytestmark = pytest.mark.postgres
TOKEN = "test-token"


def test_a_version_that_is_deleted_is_not_answered_any_more(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(database, tmp_path / "models")
    for seed in (1, 2):
        registry.add(exported(tmp_path, seed))
    monkeypatch.setenv("DON_HOME", str(tmp_path))
    monkeypatch.setenv("DON_DATABASE_URL", database_url)
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    spec = PolicySpec(home=tmp_path, session="", database_url=Secret(database_url))
    app = FastAPI()
    install(app)
    served = LocalModels(shelf_of(spec))
    app.include_router(policies.build(DeskPolicies(), served, Gate(Secret(TOKEN))))
    with running(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        told = {"pid": os.getpid(), "session": "s1", "url": url}
        run_file(tmp_path).write_text(json.dumps(told))
        with hold(tmp_path, TRADE_LOCK, "busy"):
            assert client.get("/v1/policies/trend").json()["model"] == "trend@2"
            commands.delete("trend@2", why="of no use", who="", as_json=True)
            assert client.get("/v1/policies/trend").json()["model"] == "trend@1"
            commands.delete("trend@1", why="of no use", who="", as_json=True)
        for name in ("trend", "trend@1", "trend@2"):
            gone = client.get(f"/v1/policies/{name}")
            assert gone.status_code == 404 and f"'{name}'" in gone.json()["detail"]
        assert "trend" not in {one["name"] for one in client.get("/v1/policies").json()}
