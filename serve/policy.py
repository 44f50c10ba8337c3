"""Trained models on Ray Serve: batched, several versions, exchanged without a dropped request.

Nothing here is on the trading path: the desk acts with the same `don.learning.model.Model` in its
own process. A new version is loaded beside the old one in each replica (`broadcast("load", ...)`)
and takes over between two batches; requests never wait for it.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from don.errors import DependencyError, DonError
from don.security.secrets import Secret
from serve.asking import ModelActRequest, ModelActResponse
from serve.models import question, response, told
from serve.problems import ApiError
from serve.shelf import Asked, Found, Refused, Reply, Shelf, listed

APP, DEPLOYMENT = "policies", "PolicyDeployment"
ANSWER_S = 10.0
LOAD_S = 60.0
AWAY = (RayActorError, RayTaskError, RayServeException, BackPressureError, TimeoutError)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """What a replica is built from."""

    home: Path
    session: str  # for the log; "": logs nothing of its own
    database_url: Secret | None  # of the registry
    folders: Mapping[str, str] | None = None  # NAME@VERSION -> folder: instead of a registry


def shelf_of(spec: PolicySpec) -> Shelf:
    """A shelf with what the registry says is live now."""
    if spec.folders is not None:
        shelf = Shelf(listed(spec.folders))
        for label in sorted(spec.folders, reverse=True):
            shelf.load(label)
        return shelf
    from don.learning.registry import Registry, store_of
    from don.learning.stages import nearest
    from don.storage.database import Database

    assert spec.database_url is not None
    url = spec.database_url

    def lookup(text: str) -> tuple[str, str, Path]:
        with Database(url, name="don-policies", pool_size=1) as db:
            registry = Registry(db, store_of(spec.home))
            one = registry.find(text)
            return one.name, str(one.version), registry.folder(one)

    shelf = Shelf(lookup)
    with Database(url, name="don-policies", pool_size=1) as db:
        versions = Registry(db, store_of(spec.home)).versions()
    for one in nearest(versions).values():
        label = one.label
        try:
            shelf.load(label)
        except DonError as error:  # one model that is torn must not take the others away
            logging.getLogger("don.policies").error("model %s cannot be served: %s", label, error)
    return shelf


@serve.deployment(
    name=DEPLOYMENT,
    num_replicas=1,
    max_ongoing_requests=256,
    max_queued_requests=1024,
    health_check_period_s=2,
    health_check_timeout_s=10,
    graceful_shutdown_timeout_s=5,
    ray_actor_options={"num_cpus": 0.2},
)
class PolicyDeployment:
    """Replica that acts."""

    def __init__(self, spec: PolicySpec) -> None:
        if spec.session:
            from don.log import configure_actor

            configure_actor(spec.home, actor="policies", session=spec.session)
        self._shelf = shelf_of(spec)
        self.batches = 0

    async def act(self, asked: Asked) -> Reply:
        """One question; answered together with those that come at the same time."""
        found = await self._need(asked.name)
        if isinstance(found, Refused):
            return found
        reply: Reply = await self._together((asked, found))
        return reply

    # No wait for more: whatever has come while the last batch was computed is the next one.
    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]
    async def _together(self, asked: list[tuple[Asked, Found]]) -> list[Reply]:
        self.batches += 1
        return self._shelf.answer(asked)

    async def _need(self, text: str) -> Found | Refused:
        """In memory, or read in a thread: nobody else waits for the database."""
        found = self._shelf.find(text)
        return await asyncio.to_thread(self._shelf.need, text) if found is None else found

    async def load(self, text: str) -> str:
        """Have a version ready, then let its name mean it; for `handle.broadcast`.

        Raises:
            DonError: if it is not there or cannot be read: what was served goes on being served.
        """
        return await asyncio.to_thread(self._shelf.load, text)

    async def unload(self, label: str) -> None:
        """Forget a version that is no more; for `handle.broadcast`."""
        self._shelf.unload(label)

    async def describe(self, text: str) -> dict[str, Any] | Refused:
        """What a model reads and says."""
        if self._shelf.find(text):
            return self._shelf.describe(text)
        return await asyncio.to_thread(self._shelf.describe, text)

    async def current(self) -> dict[str, str]:
        """What each name means."""
        return self._shelf.current


class ServedModels:
    """The deployment behind a handle. Fulfils `serve.ports.Models`.

    Args:
        handle: of `PolicyDeployment`; None: found when first asked, if it runs.
    """

    def __init__(self, handle: DeploymentHandle | None = None) -> None:
        self._handle = None if handle is None else handle.options(_by_reference=False)

    async def names(self) -> Mapping[str, str]:
        """What each name means; nothing where no models are served."""
        handle = await self._found()
        return {} if handle is None else await _answer(handle.current.remote())

    async def describe(self, name: str) -> Mapping[str, Any]:
        """What a model reads and says."""
        found: Mapping[str, Any] = told(
            await _answer((await self._need(name)).describe.remote(name))
        )
        return found

    async def act(self, name: str, request: ModelActRequest) -> ModelActResponse:
        """What a model does."""
        handle = await self._need(name)
        return response(await _answer(handle.act.remote(question(name, request))))

    async def load(self, name: str) -> Sequence[str]:
        """Exchange a version in every replica."""
        handle = await self._need(name)
        loading = handle.broadcast("load", name)
        try:
            return list(await asyncio.wait_for(loading.results_async(), LOAD_S))
        except RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, DonError) else error from None

    async def unload(self, name: str) -> None:
        """Forget a version in every replica."""
        handle = await self._found()
        if handle is not None:  # else none is served
            forgetting = handle.broadcast("unload", name)
            await asyncio.wait_for(forgetting.results_async(), LOAD_S)

    async def _need(self, name: str) -> DeploymentHandle:
        handle = await self._found()
        if handle is None:
            raise ApiError(
                404, "not_found", "path.name",
                f"was {name!r}, and no models are served: import one, and start Don again",
            )  # fmt: skip
        return handle

    async def _found(self) -> DeploymentHandle | None:
        if self._handle is None:
            running = await asyncio.to_thread(serve.status)
            if APP not in running.applications:
                return None
            found = await asyncio.to_thread(serve.get_deployment_handle, DEPLOYMENT, APP)
            self._handle = found.options(_by_reference=False)
        return self._handle


async def _answer(pending: Any) -> Any:
    """Wait for a replica.

    Raises:
        DependencyError: if it dies, is overloaded or does not answer in time.
    """
    try:
        async with asyncio.timeout(ANSWER_S):
            return await pending
    except AWAY as error:
        raise DependencyError(f"the policies do not answer ({type(error).__name__})") from error
