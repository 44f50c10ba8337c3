"""Bench of served policies: how long an action takes in process, from an actor, over HTTP.

One observation of 32 numbers and a network of 64 x 64 in each case, p50. Starts a Ray cluster of
its own; beside HTTP through Ray Serve the same route on bare FastAPI runs in the same minute.
"""

import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np

from don.bench.env import made_up
from don.envs import BatchEnv, EnvConfig
from don.errors import DependencyError
from don.learning.config import NetConfig
from don.learning.model import Model

_FEATURES = ("log_return_1", "return_12", "rsi_14", "atr_14", "zscore_24")
_WAIT_S = 120.0
WARM = 20  # asks before those that are timed


def rows(full: bool) -> list[dict[str, Any]]:
    """`policy.in_process_us` (peer: the same network in torch), `policy.actor_ms` (peer: a Serve
    handle), `policy.http_ms` (peer: bare FastAPI), `policy.update_failed` (requests that failed
    while versions were exchanged).
    """
    count = 2_000 if full else 300
    folder = Path(tempfile.mkdtemp(prefix="don-bench-", dir="/tmp"))
    try:
        models = [_export(folder, version) for version in (1, 2)]
        seen = _seen(models[0], 1)
        found = [_in_process(models[0], seen, count * 10)]
        labels = {f"bench@{n + 1}": str(folder / str(n + 1)) for n in range(2)}
        with _bare(labels) as bare:
            beside = _http(bare, models[0], seen, count)
        with _cluster(folder):
            found += _remote(labels, models[0], seen, count, beside)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _row(
    name: str, values: list[float], unit: str, peer: str | None, peer_value: float | None
) -> dict[str, Any]:
    value = statistics.median(values)
    ordered = sorted(values)
    return {
        "area": "serve",
        "name": name,
        "value": value,
        "unit": unit,
        "n": len(values),
        "min": ordered[0],
        "max": ordered[int(0.99 * (len(ordered) - 1))],  # p99
        "peer": peer,
        "peer_value": peer_value,
        "ratio": peer_value / value if peer_value else None,
    }


def _export(folder: Path, version: int) -> Model:
    """A model of 32 numbers: 5 features x 5 bars and an account of 7."""
    config = EnvConfig.model_validate(
        {"observation": {"features": _FEATURES, "window": 5}, "action": {"kind": "long_short"}}
    )
    env = BatchEnv(made_up(400, 1), config, 1)
    model = Model.untrained(env, NetConfig(), name="bench", seed=version)
    model.save(folder / str(version))
    return model


def _seen(model: Model, rows: int) -> np.ndarray:
    size = model.card.policies["agents"].observation.size
    return np.random.default_rng(0).normal(size=(rows, 1, size)).astype(np.float32)


def _timed(work: Callable[[], object], count: int, scale: float) -> list[float]:
    for _ in range(WARM):
        work()
    found = []
    for _ in range(count):
        begin = time.perf_counter()
        work()
        found.append((time.perf_counter() - begin) * scale)
    return found


def _in_process(model: Model, seen: np.ndarray, count: int) -> dict[str, Any]:
    import torch

    asked = {"agents": seen}
    own = _timed(lambda: model.act(asked), count, 1e6)
    net = model.net("agents")
    row = torch.from_numpy(seen[:, 0])
    with torch.no_grad():
        peer = _timed(lambda: net(row)[0].numpy(), count, 1e6)
    return _row("policy.in_process_us", own, "us", "torch, the same network",
                statistics.median(peer))  # fmt: skip


# ---- HTTP ----------------------------------------------------------------------------------------


def _http(url: str, model: Model, seen: np.ndarray, count: int) -> list[float]:
    """Milliseconds of requests one after the other on one connection."""
    body = json.dumps({"observations": seen.tolist(), "feature_hash": model.card.feature_hash})
    address = urlparse(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)

    def ask() -> None:
        connection.request("POST", "/v1/policies/bench/act", body,
                           {"Content-Type": "application/json"})  # fmt: skip
        answer = connection.getresponse()
        told = answer.read()
        if answer.status != 200:
            raise DependencyError(f"the bench's request was answered {answer.status}: {told!r}")

    try:
        return _timed(ask, count, 1e3)
    finally:
        connection.close()


@contextmanager
def _bare(labels: dict[str, str]) -> Iterator[str]:
    """The same route on uvicorn, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "don.bench.serve_peer", json.dumps(labels)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise DependencyError("bare FastAPI did not start")
        yield url
    finally:
        process.terminate()
        process.wait(30)


# ---- Ray -----------------------------------------------------------------------------------------


@contextmanager
def _cluster(folder: Path) -> Iterator[None]:
    from actors.environment import prepare

    prepare(folder)
    # a busy machine is slow to start Serve's proxy: it must not be given up for that
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")
    import ray

    from actors.runtime import start_ray

    temp = Path(tempfile.mkdtemp(prefix=f"don-{os.getuid()}-", dir="/tmp"))
    try:
        start_ray(temp, cpus=8)
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(temp, ignore_errors=True)


class PolicyActor:
    """A model in an actor of its own."""

    def __init__(self, folder: str) -> None:
        self._model = Model.load(Path(folder))
        self._model.act({"agents": _seen(self._model, 1)})

    def act(self, seen: np.ndarray) -> np.ndarray:
        """What the model does."""
        return self._model.act({"agents": seen})[0]["agents"]


class Caller:
    """Asks from another actor."""

    async def actor(self, policy: Any, seen: np.ndarray, count: int) -> list[float]:
        """Milliseconds of calls of an actor."""
        return await self._timed(lambda: policy.act.remote(seen), count)

    async def handle(self, app: str, deployment: str, asked: Any, count: int) -> list[float]:
        """Milliseconds of calls through a handle of Ray Serve."""
        from ray import serve

        handle = serve.get_deployment_handle(deployment, app).options(_by_reference=False)
        return await self._timed(lambda: handle.act.remote(asked), count)

    async def _timed(self, ask: Callable[[], Any], count: int) -> list[float]:
        for _ in range(WARM):
            await ask()
        found = []
        for _ in range(count):
            begin = time.perf_counter()
            await ask()
            found.append((time.perf_counter() - begin) * 1e3)
        return found


def _remote(
    labels: dict[str, str], model: Model, seen: np.ndarray, count: int, bare: list[float]
) -> list[dict[str, Any]]:
    import ray
    from ray import serve

    from serve.benchapp import deploy
    from serve.policy import APP, DEPLOYMENT
    from serve.shelf import Asked

    url = deploy(labels)
    try:
        policy = ray.remote(PolicyActor).options(num_cpus=0.1).remote(labels["bench@1"])
        caller = ray.remote(Caller).options(num_cpus=0.1).remote()
        actor = ray.get(caller.actor.remote(policy, seen, count), timeout=_WAIT_S)
        asked = Asked(name="bench", feature_hash=model.card.feature_hash, observations=seen)
        handle = ray.get(caller.handle.remote(APP, DEPLOYMENT, asked, count), timeout=_WAIT_S)
        over = _http(url, model, seen, count)
        failed, asks = _while_exchanged(url, model, seen)
    finally:
        serve.shutdown()
    return [
        _row("policy.actor_ms", actor, "ms", "Ray Serve handle", statistics.median(handle)),
        _row("policy.http_ms", over, "ms", "bare FastAPI", statistics.median(bare)),
        {
            "area": "serve", "name": "policy.update_failed", "value": failed, "unit": "requests",
            "n": asks, "min": failed, "max": failed, "peer": None, "peer_value": None,
            "ratio": None,
        },
    ]  # fmt: skip


def _while_exchanged(url: str, model: Model, seen: np.ndarray) -> tuple[int, int]:
    """Requests that failed, of all, while a name came to mean another version ten times."""
    from ray import serve

    from serve.policy import APP, DEPLOYMENT

    handle = serve.get_deployment_handle(DEPLOYMENT, APP)
    over = threading.Event()
    counts = {"asked": 0, "failed": 0}

    def ask() -> None:
        while not over.is_set():
            try:
                _http(url, model, seen, 1)
            except (DependencyError, OSError, http.client.HTTPException):
                counts["failed"] += 1
            counts["asked"] += WARM + 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for turn in range(10):
            told = handle.broadcast("load", f"bench@{turn % 2 + 1}").results(timeout_s=_WAIT_S)
            assert told == [f"bench@{turn % 2 + 1}"]
            until, limit = counts["asked"] + 2 * (WARM + 1), time.monotonic() + _WAIT_S
            while counts["asked"] < until:  # requests that met both versions
                if time.monotonic() > limit:
                    raise DependencyError(f"no answer within {_WAIT_S} s while versions changed")
                time.sleep(0.02)
    finally:
        over.set()
        thread.join()
    return counts["failed"], counts["asked"]
