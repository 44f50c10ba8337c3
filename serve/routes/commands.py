"""Commands: halt, resume, adopt, limits, states and orders, with a token and an idempotency key."""

import asyncio
import json
import uuid
from typing import Annotated

from fastapi import APIRouter, Header

from don.errors import DependencyError
from don.execution.requests import manual_id
from don.model.messages import CommandKind
from don.risk.change import parse_limits
from serve.auth import Gate
from serve.orderbody import OrderBody, OrderResponse
from serve.ports import Commander
from serve.problems import ApiError
from serve.responses import CommandRequest, CommandResponse, LimitsRequest, Problem, StateRequest
from serve.settings import ServeConfig

KEY = r"^[A-Za-z0-9_.:-]{8,64}$"


def build(commander: Commander, gate: Gate, config: ServeConfig) -> APIRouter:
    """The router."""
    router = APIRouter(
        prefix="/v1/commands",
        tags=["commands"],
        dependencies=[gate.dependency()],
        responses={401: {"model": Problem, "description": "No token, or a wrong one."}},
    )

    async def send(
        kind: CommandKind, request: CommandRequest | None, header: str | None, payload: str = ""
    ) -> CommandResponse:
        request = request or CommandRequest()
        if header and request.key and header != request.key:
            detail = f"was {request.key!r}, but the header Idempotency-Key was {header!r}"
            raise ApiError(422, "invalid", "body.key", detail)
        key = header or request.key or uuid.uuid4().hex
        try:
            async with asyncio.timeout(config.command_timeout_s):
                # the kind is part of the key: a halt must never pass for a repeated resume
                await commander.command(
                    kind,
                    actor=request.client,
                    reason=request.reason,
                    key=f"command:{kind}:{key}",
                    payload=payload,
                )
        except (DependencyError, TimeoutError) as error:
            why = str(error) or f"no answer within {config.command_timeout_s:g} s"
            raise DependencyError(
                f"whether the {kind} was taken is not known ({why}); repeat it with key {key!r}"
            ) from error
        return CommandResponse(key=key, kind=kind, accepted=True)

    @router.post("/halt", status_code=202)
    async def halt(
        request: CommandRequest | None = None,
        idempotency_key: Annotated[str | None, Header(pattern=KEY)] = None,
    ) -> CommandResponse:
        """Cancel every order, flatten every position, refuse new ones until resumed."""
        return await send(CommandKind.HALT, request, idempotency_key)

    @router.post("/resume", status_code=202)
    async def resume(
        request: CommandRequest | None = None,
        idempotency_key: Annotated[str | None, Header(pattern=KEY)] = None,
    ) -> CommandResponse:
        """Trade again after a halt."""
        return await send(CommandKind.RESUME, request, idempotency_key)

    @router.post("/adopt", status_code=202)
    async def adopt(
        request: CommandRequest | None = None,
        idempotency_key: Annotated[str | None, Header(pattern=KEY)] = None,
    ) -> CommandResponse:
        """Take the exchange's next account report as the truth, on record: the way back to trading
        after a difference that a person has understood.
        """
        return await send(CommandKind.ADOPT, request, idempotency_key)

    @router.post("/limits", status_code=202)
    async def limits(
        request: LimitsRequest,
        idempotency_key: Annotated[str | None, Header(pattern=KEY)] = None,
    ) -> CommandResponse:
        """Hold to other risk limits from now on, also after a restart: on record with who and why.

        Limits that do not fit, or contradict each other, are refused whole.
        """
        payload = json.dumps(request.limits, sort_keys=True)
        parse_limits(payload)
        return await send(CommandKind.LIMITS, request, idempotency_key, payload)

    @router.post("/state", status_code=202)
    async def state(
        request: StateRequest,
        idempotency_key: Annotated[str | None, Header(pattern=KEY)] = None,
    ) -> CommandResponse:
        """Set system, account or policy active, reducing (only reductions pass) or halted."""
        payload = json.dumps({"scope": request.scope, "state": str(request.state)})
        return await send(CommandKind.STATE, request, idempotency_key, payload)

    @router.post("/order", status_code=202)
    async def order(
        request: OrderBody,
        idempotency_key: Annotated[str | None, Header(pattern=KEY)] = None,
    ) -> OrderResponse:
        """Place, amend or cancel an order of any type by hand, through the same risk checks.

        What the risk checks refuse is in the decision that the order ends in.
        """
        told = request.command()
        done = await send(CommandKind.ORDER, request, idempotency_key, told.payload())
        name = told.parent or manual_id(f"command:{CommandKind.ORDER}:{done.key}")
        return OrderResponse(**done.model_dump(), order=name)

    return router
