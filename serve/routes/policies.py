"""Policies: which there are, and what one makes of an observation. Nothing is traded."""

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from don.errors import UsageError
from serve.ports import Policies
from serve.problems import ApiError, not_one_of
from serve.responses import ActRequest, ActResponse, PolicyInfo


def build(asked: Policies) -> APIRouter:
    """The router."""
    router = APIRouter(prefix="/v1/policies", tags=["policies"])

    @router.get("")
    async def policies() -> list[PolicyInfo]:
        """The policies that can be asked, and the features that they look at."""
        return list(asked.list())

    @router.post("/{name}/act")
    async def act(name: str, observation: ActRequest) -> ActResponse:
        """What a policy makes of an observation: a pure function, the same that the desk calls."""
        known = [each.name for each in asked.list()]
        if name not in known:
            raise not_one_of("path.name", name, known)
        try:
            return await run_in_threadpool(asked.act, name, observation)
        except UsageError as error:
            raise ApiError(422, "invalid", "body.features", str(error)) from error

    return router
