"""Trained models as the API asks them: requests to questions, replies to responses. Pure.

`LocalModels` asks a shelf in this process, `serve.policy.ServedModels` a deployment.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serve.asking import ModelActRequest, ModelActResponse
from serve.problems import ApiError
from serve.shelf import Answered, Asked, Refused, Reply, Shelf


class LocalModels:
    """A shelf in this process: for tests, and for comparison. Fulfils `serve.ports.Models`."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def names(self) -> Mapping[str, str]:
        """What each name means."""
        return self._shelf.current

    async def describe(self, name: str) -> Mapping[str, Any]:
        """What a model reads and says."""
        found: Mapping[str, Any] = told(self._shelf.describe(name))
        return found

    async def act(self, name: str, request: ModelActRequest) -> ModelActResponse:
        """What a model does."""
        return response(self._shelf.act([question(name, request)])[0])

    async def load(self, name: str) -> Sequence[str]:
        """Exchange a version."""
        return [await asyncio.to_thread(self._shelf.load, name)]

    async def unload(self, name: str) -> None:
        """Forget a version."""
        self._shelf.unload(name)


def question(name: str, request: ModelActRequest) -> Asked:
    """A request as a question."""
    with np.errstate(over="ignore"):  # too large becomes infinite, and is refused as such
        observations = np.array(request.observations, np.float32)
    return Asked(
        name=name,
        feature_hash=request.feature_hash,
        schema_hash=request.schema_hash or "",
        observations=observations,
        group=request.group,
        state=None if request.state is None else np.array(request.state, np.float64),
    )


def response(reply: Reply) -> ModelActResponse:
    """A reply as a response.

    Raises:
        ApiError: if it is a refusal.
    """
    answer = told(reply)
    assert isinstance(answer, Answered)
    return ModelActResponse(
        model=answer.model,
        id=answer.id,
        actions=answer.actions.tolist(),
        weights=None if answer.weights is None else answer.weights.tolist(),
        state=None if answer.state is None else answer.state.tolist(),
    )


def told(reply: Any) -> Any:
    """What is no refusal.

    Raises:
        ApiError: of a refusal.
    """
    if isinstance(reply, Refused):
        raise ApiError(reply.status, reply.error, reply.field, reply.detail)
    return reply
