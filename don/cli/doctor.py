"""`don doctor`: is this machine able to run Don, and if not, what to do about it."""

import importlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from don.cli import client
from don.cli.output import out, print_json, table
from don.errors import ConfigError, DependencyError, DonError
from don.home import home_dir
from don.words import amount

MODULES = ("ray", "cryptofeed", "ccxt", "talib", "numba", "cvxpy", "psycopg", "gradio", "fastapi")
MIN_DISK = 1 << 30
MIN_MEMORY = 4 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check's outcome."""

    check: str
    ok: bool
    detail: str


def register(app: typer.Typer) -> None:
    """Add this group's command."""
    app.command()(doctor)


def doctor(as_json: bool = typer.Option(False, "--json", help="Print one JSON document.")) -> None:
    """Check Python, libraries, state folder, disk, memory, configuration, port and database."""
    home = home_dir()
    findings = [_guarded(name, check) for name, check in _checks(home)]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        rows = [("ok" if f.ok else "FAIL", f.check, f.detail) for f in findings]
        out.print(table(("", "check", "detail"), rows))
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _guarded(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(check=name, ok=True, detail=check())
    except (DonError, OSError, ImportError) as error:
        return Finding(check=name, ok=False, detail=str(error))


def _checks(home: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    yield "python", _python
    for module in MODULES:
        yield f"library {module}", lambda module=module: _library(module)  # type: ignore[misc]
    yield "state folder", lambda: _folder(home)
    yield "disk", lambda: _disk(home)
    yield "memory", _memory
    yield "configuration", lambda: _configuration(home)
    yield "port", lambda: _port(home)
    yield "database", lambda: _database(home)
    yield "exchange clock", lambda: _clock(home)


def _python() -> str:
    if sys.version_info[:2] != (3, 11):
        raise ConfigError(f"Don needs Python 3.11, this is {sys.version.split()[0]}")
    return sys.version.split()[0]


def _library(name: str) -> str:
    return str(getattr(importlib.import_module(name), "__version__", "present"))


def _folder(home: Path) -> str:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not os.access(home, os.W_OK):
        raise ConfigError(f"{home} cannot be written: set DON_HOME to a folder that can")
    return str(home)


def _disk(home: Path) -> str:
    free = shutil.disk_usage(home).free
    if free < MIN_DISK:
        raise ConfigError(f"{free >> 20} MiB free on {home}, want {MIN_DISK >> 20}: free some")
    return f"{free >> 30} GiB free"


def _memory() -> str:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if total < MIN_MEMORY:
        raise ConfigError(f"{total >> 20} MiB of memory, want {MIN_MEMORY >> 20}")
    return f"{total >> 30} GiB, {os.cpu_count()} cores"


def _configuration(home: Path) -> str:
    from don.config import load_config

    config = load_config(home)
    return f"{amount(len(config.symbols), 'symbol')}, policy {config.policy}"


def _port(home: Path) -> str:
    from don.config import load_config

    config = load_config(home)
    if client.running(home) is not None:
        return f"{config.web.port}: Don is running"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", config.web.port))
        except OSError as error:
            raise DependencyError(
                f"port {config.web.port} is in use: choose another with --port"
            ) from error
    return f"{config.web.port} is free"


def _database(home: Path) -> str:
    from don.storage.database import Database, external_url
    from don.storage.embedded import EmbeddedPostgres

    if os.environ.get("DON_DATABASE_URL"):
        with Database(external_url(os.environ) or "") as database:
            database.wait(5.0)
        return "external, answers"
    server = EmbeddedPostgres(home)
    return f"embedded, {'runs as process ' + str(server.pid) if server.alive() else 'not running'}"


def _clock(home: Path) -> str:
    """Our clock against that of the exchange which runs on this state folder."""
    from don.exchanges.clock_probe import probe
    from don.exchanges.config import GatewayConfig
    from don.paper.server.config import Ready

    path = home / "exchange" / "exchange.json"
    if not path.is_file():
        return "no exchange yet"
    ready = Ready(**json.loads(path.read_text()))
    try:
        offset = probe(f"{ready.rest_url}/fapi/v1/time")
    except DependencyError:
        return "the exchange does not run"
    offset.check(GatewayConfig().max_clock_offset_s)
    assert offset.reading is not None
    return offset.reading.text()
