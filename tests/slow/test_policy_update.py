"""Ray Serve as it is: versions and replicas are exchanged while requests flow, and none is lost."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from support.envs import market
from support.flow import Flow
from support.folders import short_folder
from support.models import loud

from don.envs import BatchEnv, EnvConfig
from don.learning.config import NetConfig
from don.learning.model import Model

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1_800)]
SIGN = {"Authorization": "Bearer bench"}


def exported(folder: Path, version: int) -> Model:
    config = EnvConfig.model_validate(
        {"observation": {"features": ["log_return_1"], "window": 3},
         "action": {"kind": "long_short"}}
    )  # fmt: skip
    env = BatchEnv(market(60, 2, seed=4), config, 1)
    made = loud(Model.untrained(env, NetConfig(hidden=(8,)), name="trend", seed=version), version)
    made.save(folder / str(version))
    return made


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from experiments.cluster import local_cluster

    # a busy machine is slow to start Serve's proxy: it must not be given up for that
    monkeypatch.setenv("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "120")
    home = short_folder()
    with local_cluster(home, cpus=8):
        yield
    shutil.rmtree(home)


def test_versions_and_replicas_are_exchanged_without_a_lost_request(
    cluster: None, tmp_path: Path
) -> None:
    from ray import serve

    from serve.benchapp import deploy
    from serve.policy import APP, PolicyDeployment, PolicySpec

    models = [exported(tmp_path, version) for version in (1, 2)]
    folders = {f"trend@{n + 1}": str(tmp_path / str(n + 1)) for n in range(2)}
    size = models[0].card.policies["agents"].observation.size
    rows = np.random.default_rng(0).normal(size=(2, 1, size)).astype(np.float32)
    body = {"observations": rows.tolist(), "feature_hash": models[0].card.feature_hash}
    url = deploy(folders)
    try:
        with httpx.Client(base_url=url, timeout=120) as client:
            acts = client.post("/v1/policies/trend/act", json=body).json()
            wanted = models[0].act({"agents": rows})[0]["agents"]
            assert np.array_equal(np.array(acts["actions"], np.float32), wanted)
            with Flow(url, "trend", body) as flow:
                flow.wait_for("trend@1")
                for version in (2, 1, 2):  # as `promote` and `rollback` have it
                    told = client.post("/v1/policies/trend/load", json={"version": version},
                                       headers=SIGN)  # fmt: skip
                    assert told.json() == {"replicas": [f"trend@{version}"]}
                    flow.wait_for(f"trend@{version}")
            assert flow.turns == [["trend@1", "trend@2", "trend@1", "trend@2"]] * 3

            with Flow(url, "trend", body) as flow:  # as `delete` has it
                flow.wait_for("trend@2")
                told = client.post("/v1/policies/trend/unload", json={"version": 2}, headers=SIGN)
                assert told.json() == {"model": "trend@2"}
                gone = client.post("/v1/policies/trend/act", json=body)
                assert gone.status_code == 404 and "'trend'" in gone.json()["detail"]
                flow.wait_for(gone.text)
            assert flow.turns == [["trend@2", gone.text]] * 3
            client.post("/v1/policies/trend/load", json={"version": 2}, headers=SIGN)

            # the deployment itself: other replicas, with another version that is meant
            spec = PolicySpec(home=Path("."), session="", database_url=None,
                              folders={"trend@1": folders["trend@1"]})  # fmt: skip
            with Flow(url, "trend", body) as flow:
                flow.wait_for("trend@2")
                renewed = PolicyDeployment.options(num_replicas=2).bind(spec)
                serve.run(renewed, name=APP, route_prefix=None)
                flow.wait_for("trend@1", 50)
            assert {who for turns in flow.turns for who in turns} == {"trend@1", "trend@2"}
            assert all(turns[0] == "trend@2" and turns[-1] == "trend@1" for turns in flow.turns)
    finally:
        serve.shutdown()
