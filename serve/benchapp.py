"""The policies' route alone behind Ray Serve, for the bench: no database, no board."""

import socket
from collections.abc import Mapping
from pathlib import Path

from fastapi import FastAPI
from ray import serve
from ray.serve.config import HTTPOptions, ProxyLocation

from don.security.secrets import Secret
from serve.auth import Gate
from serve.policies import DeskPolicies
from serve.policy import APP, PolicyDeployment, PolicySpec, ServedModels
from serve.problems import install
from serve.routes import policies

_QUIET = {"log_level": "WARNING", "enable_access_log": False}


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 0.2})
@serve.ingress()
class Front:
    """Replica of the route."""

    def __serve_build_asgi_app__(self) -> FastAPI:
        app = FastAPI(openapi_url=None)
        install(app)
        gate = Gate(Secret("bench"))
        app.include_router(policies.build(DeskPolicies(), ServedModels(), gate))
        return app


def deploy(folders: Mapping[str, str]) -> str:
    """Start route and policies on a running Ray; the address when they answer.

    Args:
        folders: NAME@VERSION -> folder.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    serve.start(
        proxy_location=ProxyLocation.HeadOnly,
        http_options=HTTPOptions(host="127.0.0.1", port=port, request_timeout_s=None),
        logging_config=_QUIET,
    )
    spec = PolicySpec(home=Path("."), session="", database_url=None, folders=dict(folders))
    built = PolicyDeployment.bind(spec)  # type: ignore[attr-defined]
    serve.run_many(
        [
            serve.RunTarget(built, name=APP, route_prefix=None, logging_config=_QUIET),
            serve.RunTarget(
                Front.bind(),  # type: ignore[attr-defined]
                name="front", route_prefix="/", logging_config=_QUIET,
            ),
        ]
    )  # fmt: skip
    return f"http://127.0.0.1:{port}"
