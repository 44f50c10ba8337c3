"""The API over a socket for tests, and a client of it."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import httpx
from support.world import World

from don.security.secrets import Secret
from serve.api import build_api
from serve.auth import Gate
from serve.local import running
from serve.policies import DeskPolicies
from serve.settings import ServeConfig

PATIENCE_S = 120.0  # for answers: a loaded machine may take far longer than httpx waits
TOKEN = "t0ken-of-the-test-which-is-long-enough"


@contextmanager
def serving(
    world: World, beside: Callable[[], Awaitable[None]] | None = None, **settings: float
) -> Iterator[str]:
    """Address of an API that reads and commands a world; `settings` are of `ServeConfig`."""
    bounds = {"rate_per_s": 1_000, "rate_burst": 1_000, **settings}
    config = ServeConfig.model_validate(bounds)
    app = build_api(world, world, DeskPolicies(), Gate(Secret(TOKEN)), config)
    with running(app, beside=beside) as address:
        yield address


@contextmanager
def opened(
    world: World, beside: Callable[[], Awaitable[None]] | None = None, **settings: float
) -> Iterator[httpx.Client]:
    """As `serving`; a client of it."""
    with (
        serving(world, beside, **settings) as url,
        httpx.Client(base_url=url, timeout=PATIENCE_S) as client,
    ):
        yield client


def bearer(token: str = TOKEN) -> dict[str, str]:
    """The header that allows commands."""
    return {"Authorization": f"Bearer {token}"}
