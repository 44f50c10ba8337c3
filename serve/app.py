"""The HTTP side on Ray Serve: two applications on one port, API at `/`, console at `/console`.

Nothing is pickled but a specification; each replica builds its ASGI application from the same plain
factory that the tests run under uvicorn. Nothing here is on the trading path.
"""

import errno
import logging
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from ray.serve.config import HTTPOptions, ProxyLocation

from don.errors import ConfigError, DependencyError
from don.policies import PoliciesConfig
from don.security.secrets import Secret
from serve.auth import TOKEN_FILE
from serve.settings import ServeConfig

API, CONSOLE, APP = "api", "console", "policies"

# One replica each: the console's sessions live in one, and the API's rate limits count in one.
_OPTIONS: dict[str, Any] = {
    "num_replicas": 1,
    "max_ongoing_requests": 256,  # a stream client counts as one for as long as it is connected
    "max_queued_requests": 256,
    "health_check_period_s": 2,
    "health_check_timeout_s": 10,
    "graceful_shutdown_timeout_s": 5,
    "graceful_shutdown_wait_loop_s": 0.5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSpec:
    """What a replica is built from."""

    home: Path
    session: str  # for the log
    database_url: Secret
    config: ServeConfig
    policies: PoliciesConfig
    models: bool = False  # whether trained ones are served as well


@serve.deployment(**_OPTIONS, ray_actor_options={"num_cpus": 0.2})
@serve.ingress()
class Api:
    """Replica of the API."""

    def __init__(self, spec: ServeSpec) -> None:
        from don.log import configure_actor

        configure_actor(spec.home, actor="api", session=spec.session)
        self._spec = spec
        self._app: FastAPI | None = None

    def __serve_build_asgi_app__(self) -> FastAPI:
        from don.security.secrets import read_secret
        from serve.api import build_api
        from serve.auth import Gate
        from serve.gateway import ActorCommander, ActorReader
        from serve.policies import DeskPolicies
        from serve.policy import ServedModels

        spec = self._spec
        self._app = build_api(
            ActorReader(spec.database_url, spec.home, spec.config.lake or str(spec.home / "lake")),
            ActorCommander(),
            DeskPolicies(spec.policies),
            Gate(read_secret(spec.home / TOKEN_FILE)),
            spec.config,
            models=ServedModels() if spec.models else None,
        )
        return self._app

    def check_health(self) -> None:
        """Serve starts a new replica if the stream's poll has died."""
        polling = getattr(self._app.state, "polling", None) if self._app else None
        if polling is not None and polling.done():
            raise RuntimeError("the stream hub has ended")


@serve.deployment(**_OPTIONS, ray_actor_options={"num_cpus": 0.1})
@serve.ingress()
class Console:
    """Replica of the console."""

    def __init__(self, spec: ServeSpec) -> None:
        from don.log import configure_actor

        configure_actor(spec.home, actor="console", session=spec.session)
        self._spec = spec

    def __serve_build_asgi_app__(self) -> FastAPI:
        from serve.console import console_app

        return console_app(self._spec.config)


def deploy(spec: ServeSpec) -> str:
    """Start both applications on a running Ray; returns when they answer.

    Args:
        spec: the command token must already lie in `<home>/token` (`serve.auth.command_token`).

    Returns:
        The API's address, `http://127.0.0.1:8800`; the console is at `/console/` below it.

    Raises:
        ConfigError: if the port is taken; names it.
        DependencyError: if an application does not come up.
    """
    config = spec.config
    _need_free_port(config.host, config.port)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # its progress is not ours to print
    log = {
        "encoding": "JSON",
        "log_level": "WARNING",
        "enable_access_log": False,
        "logs_dir": str(spec.home / "logs" / "serve"),
    }
    try:
        serve.start(
            proxy_location=ProxyLocation.HeadOnly,
            http_options=HTTPOptions(
                host=config.host,
                port=config.port,
                request_timeout_s=None,  # it would cut the stream; handlers bound their own waits
            ),
            logging_config=log,
        )
        trained = [_policies(spec, log)] if spec.models else []
        serve.run_many(
            [
                *trained,
                serve.RunTarget(_bound(Api, spec), name=API, route_prefix="/", logging_config=log),
                serve.RunTarget(
                    _bound(Console, spec),
                    name=CONSOLE,
                    route_prefix="/console",
                    logging_config=log,
                ),
            ]
        )
    except (RuntimeError, TimeoutError, OSError) as error:
        raise DependencyError(f"the HTTP side did not start: {error}") from error
    return f"http://{config.host}:{config.port}"


def stop() -> None:
    """Drain and remove both applications; what is left of Serve ends with Ray. May be repeated."""
    running = serve.status().applications
    for name in (CONSOLE, API, APP):
        if name in running:
            serve.delete(name)


def _policies(spec: ServeSpec, log: dict[str, Any]) -> Any:
    """Trained models, without a route of their own: the API asks them."""
    from serve.policy import PolicyDeployment, PolicySpec

    built = PolicySpec(home=spec.home, session=spec.session, database_url=spec.database_url)
    return serve.RunTarget(
        _bound(PolicyDeployment, built), name=APP, route_prefix=None, logging_config=log
    )


def _bound(deployment: Any, spec: Any) -> Application:
    """The decorators turned the class into a deployment, which its type does not show."""
    bound: Application = deployment.bind(spec)
    return bound


def _need_free_port(host: str, port: int) -> None:
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        why = (
            "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        )
        raise ConfigError(
            f"serve.port {port} on {host} {why}; choose another with --port"
        ) from error
