"""Policies: which there are, and what one makes of an observation. Nothing is traded."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from don.errors import UsageError
from serve.asking import (
    ActRequest,
    ActResponse,
    AnyActRequest,
    LoadRequest,
    LoadResponse,
    ModelActRequest,
    ModelActResponse,
    PolicyInfo,
    UnloadResponse,
)
from serve.auth import Gate
from serve.ports import Models, Policies
from serve.problems import ApiError, not_one_of
from serve.responses import Problem

_CONFLICT = {
    "model": Problem,
    "description": "The observation is of other features or another schema.",
}


def build(asked: Policies, models: Models | None, gate: Gate) -> APIRouter:
    """The router.

    Args:
        asked: the policies that come with Don.
        models: trained ones; None: there are none here.
        gate: who may exchange a version.
    """
    router = APIRouter(prefix="/v1/policies", tags=["policies"])

    def built_in() -> Sequence[str]:
        return [each.name for each in asked.list()]

    async def served(name: str) -> Models:
        if models is None:
            raise not_one_of("path.name", name, built_in())
        known = await models.names()
        if name.partition("@")[0] not in known:
            raise not_one_of("path.name", name, [*built_in(), *known])
        return models

    async def at_once(models: Models, name: str, asked: ModelActRequest) -> ModelActResponse:
        """Without asking first what there is: that would be a second call of the deployment."""
        try:
            return await models.act(name, asked)
        except ApiError as error:
            if error.status == 404:
                await served(name)  # says what there is, policies too
            raise

    @router.get("")
    async def policies() -> list[PolicyInfo]:
        """The policies that can be asked, and the features that they look at."""
        found = list(asked.list())
        if models is None:
            return found
        for name, label in (await models.names()).items():
            try:
                told = await models.describe(label)
            except ApiError as error:
                if error.status == 404:  # deleted just now
                    continue
                raise
            found.append(
                PolicyInfo(name=name, summary=f"trained model {label}", features=told["features"])
            )
        return found

    @router.get("/{name}", responses={404: {"model": Problem}})
    async def describe(name: str) -> dict[str, Any]:
        """What a trained model reads and says: shapes, features and their hash; of a policy that
        comes with Don, what it is and the features that it looks at.
        """
        own = [one for one in asked.list() if one.name == name]
        if own:
            return own[0].model_dump(mode="json")
        return dict(await (await served(name)).describe(name))

    @router.post("/{name}/act", responses={404: {"model": Problem}, 409: _CONFLICT})
    async def act(name: str, observation: AnyActRequest) -> ActResponse | ModelActResponse:
        """What a policy makes of an observation: a pure function, the same that the desk calls.

        A policy that comes with Don takes features by symbol, a trained model (`NAME`, or
        `NAME@VERSION`) one or many observations as its environment makes them.
        """
        if name not in built_in():
            if models is not None and "@" not in name and isinstance(observation, ModelActRequest):
                return await at_once(models, name, observation)
            model = await served(name)
            if not isinstance(observation, ModelActRequest):
                detail = f"{name} is a trained model: it needs observations and feature_hash"
                raise ApiError(422, "invalid", "body", detail)
            return await model.act(name, observation)
        if not isinstance(observation, ActRequest):
            detail = f"{name} is no trained model: it needs features and volatility"
            raise ApiError(422, "invalid", "body", detail)
        try:
            return await run_in_threadpool(asked.act, name, observation)
        except UsageError as error:
            raise ApiError(422, "invalid", "body.features", str(error)) from error

    @router.post(
        "/{name}/load", dependencies=[gate.dependency()], responses={401: {"model": Problem}}
    )
    async def load(name: str, request: LoadRequest) -> LoadResponse:
        """Let a name mean another version from now on; requests meanwhile are answered."""
        if models is None:
            detail = "no models are served: this Don began without one; start it again"
            raise ApiError(404, "not_found", "path.name", detail)
        if name in built_in():
            raise ApiError(404, "not_found", "path.name", f"{name} is no trained model here")
        return LoadResponse(replicas=list(await models.load(f"{name}@{request.version}")))

    @router.post(
        "/{name}/unload", dependencies=[gate.dependency()], responses={401: {"model": Problem}}
    )
    async def unload(name: str, request: LoadRequest) -> UnloadResponse:
        """Forget a version that was deleted; requests meanwhile are answered. Where the name meant
        it, it means nothing until another is loaded.
        """
        if models is not None and name not in built_in():
            await models.unload(f"{name}@{request.version}")
        return UnloadResponse(model=f"{name}@{request.version}")

    return router
