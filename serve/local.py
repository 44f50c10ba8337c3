"""API and console on plain uvicorn, without Ray: for tests and work on the page. Opens a socket.

The same factories as in `serve.app`; only what is behind the protocols differs.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator

import uvicorn
from fastapi import FastAPI

from don.errors import DependencyError
from don.security.secrets import Secret
from serve.api import build_api
from serve.auth import Gate
from serve.console import mount_console
from serve.ports import Commander, Policies, Reader
from serve.settings import ServeConfig

START_S = 30.0


def build_all(
    reader: Reader,
    commander: Commander,
    asked: Policies,
    token: Secret,
    config: ServeConfig | None = None,
) -> FastAPI:
    """API and console as one application."""
    app = build_api(reader, commander, asked, Gate(token), config)
    return mount_console(app, "/console")


@contextlib.contextmanager
def running(
    app: FastAPI,
    host: str = "127.0.0.1",
    port: int = 0,
    beside: Callable[[], Awaitable[None]] | None = None,
) -> Iterator[str]:
    """The application's address for as long as the block lasts.

    Args:
        app: what to serve.
        host: where to listen.
        port: 0 takes a free one.
        beside: a coroutine to run in the server's event loop, ended with it.

    Raises:
        DependencyError: if it does not come up.
    """
    listener = socket.create_server((host, port))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="websockets-sansio"))
    failed: list[BaseException] = []

    async def serve() -> None:
        extra = asyncio.ensure_future(beside()) if beside else None
        try:
            await server.serve(sockets=[listener])
        finally:
            if extra:
                extra.cancel()
                await asyncio.gather(extra, return_exceptions=True)

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="uvicorn", daemon=True)
    thread.start()
    try:
        waited = 0.0
        while not server.started:
            thread.join(0.02)
            waited += 0.02
            if not thread.is_alive() or waited > START_S:
                raise DependencyError(f"the server did not start: {failed}")
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(START_S)
        listener.close()
