"""Bare FastAPI for the bench: the policies' route on uvicorn, without Ray. Prints its address."""

import json
import signal
import sys
import threading

from fastapi import FastAPI

from don.security.secrets import Secret
from serve.auth import Gate
from serve.local import running
from serve.models import LocalModels
from serve.policies import DeskPolicies
from serve.problems import install
from serve.routes import policies
from serve.shelf import Shelf, listed


def app_of(shelf: Shelf) -> FastAPI:
    """The route alone."""
    app = FastAPI(openapi_url=None)
    install(app)
    app.include_router(policies.build(DeskPolicies(), LocalModels(shelf), Gate(Secret("bench"))))
    return app


def main() -> None:
    """Serve until terminated."""
    folders = json.loads(sys.argv[1])
    shelf = Shelf(listed(folders))
    for label in sorted(folders, reverse=True):
        shelf.load(label)
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    with running(app_of(shelf)) as url:
        print(url, flush=True)
        over.wait()


if __name__ == "__main__":
    main()
