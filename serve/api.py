"""The API: a factory over three protocols; no actor handles, so the same app runs under uvicorn.

Parse, ask, answer. The routes are in `serve.routes`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, WebSocket
from fastapi.responses import FileResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from starlette.types import Scope

import don
from don.clock import Clock, SystemClock
from serve.auth import Gate
from serve.hub import Hub
from serve.middleware import BodyLimit, HostGuard, RateLimit, TextGuard
from serve.ports import Commander, Models, Policies, Reader
from serve.problems import RESPONSES, install
from serve.routes import (
    commands,
    coverage,
    data,
    episodes,
    market,
    metrics,
    policies,
    registry,
    trading,
    training,
)
from serve.settings import ServeConfig

STATIC = Path(__file__).parent / "static"

_ABOUT = """
Reads are open to this machine. Commands need the token from the file `token` of Don's state folder,
as `Authorization: Bearer TOKEN`, and take an idempotency key.

Times are ISO-8601 UTC; market times are the exchange's. Money and order prices are text, exact;
bars and quotes are numbers. Errors are `{error, field, detail}`.

Live updates: WebSocket `/v1/stream`. The first message is a snapshot (`type` = `snapshot`), then
come updates with whatever changed (`update`), or `away` while the board does not answer.
"""


class _Static(StaticFiles):
    """Files that a browser asks again for after each upgrade (answered 304 while unchanged)."""

    async def get_response(self, path: str, scope: Scope) -> Any:
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-cache"
        return response


def build_api(
    reader: Reader,
    commander: Commander,
    asked: Policies,
    gate: Gate,
    config: ServeConfig | None = None,
    clock: Clock | None = None,
    models: Models | None = None,
) -> FastAPI:
    """The ASGI application: `/v1/...`, `/v1/stream`, `/docs`, `/static`.

    Args:
        reader: where views and rows come from.
        commander: where commands go.
        asked: the policies that `act` asks.
        gate: who may command.
        config: bounds; the defaults if None.
        clock: for ages; the system's if None.
        models: trained models that `act` asks besides.
    """
    config = config or ServeConfig()
    clock = clock or SystemClock()
    hub = Hub(reader, config, clock)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        polling = asyncio.create_task(hub.run(), name="stream hub")
        try:
            app.state.polling = polling  # whoever checks health sees if it died
            yield
        finally:
            polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await polling

    app: FastAPI = FastAPIOffline(
        title="Don",
        version=don.__version__,
        description=_ABOUT,
        lifespan=lifespan,
        responses=RESPONSES,
        swagger_ui_parameters={"defaultModelsExpandDepth": 0, "displayRequestDuration": True},
    )
    install(app)
    app.include_router(trading.build(reader, config, clock))
    app.include_router(market.build(reader, config, clock))
    app.include_router(coverage.build(reader))
    app.include_router(data.build(reader))
    app.include_router(metrics.build(reader, config, clock))
    app.include_router(training.build(reader, clock))
    app.include_router(episodes.build(reader))
    app.include_router(registry.build(reader, config, clock))
    app.include_router(policies.build(asked, models, gate))
    app.include_router(commands.build(commander, gate, config))

    @app.websocket("/v1/stream")
    async def stream(ws: WebSocket) -> None:
        await hub.serve(ws)

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("console/")

    @app.get("/favicon.ico", include_in_schema=False)
    async def favicon() -> FileResponse:
        return FileResponse(STATIC / "favicon.svg")

    app.mount("/static", _Static(directory=STATIC), name="static")
    guard(app, config)
    return app


def guard(app: FastAPI, config: ServeConfig) -> None:
    """Put the guards in front of an application; the host is checked first."""
    app.add_middleware(BodyLimit, max_bytes=config.max_body_bytes)
    app.add_middleware(TextGuard)
    app.add_middleware(RateLimit, rate_per_s=config.rate_per_s, burst=config.rate_burst)
    app.add_middleware(HostGuard, hosts=config.hosts)
