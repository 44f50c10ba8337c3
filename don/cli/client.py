"""A small client of Don's own HTTP interface, for commands that speak to a running Don."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from don.clock import NS_PER_S, SystemClock
from don.errors import ConfigError, DependencyError, DonError, UsageError
from don.home import TRADE_LOCK, held
from don.model import codec
from don.model.messages import Command, CommandKind
from don.security.secrets import read_secret

TIMEOUT_S = 15
COMMAND_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What `don up` wrote about itself into the state folder."""

    pid: int
    session: str
    url: str  # of the API, "http://127.0.0.1:8800"; empty while it is not up


def run_file(home: Path) -> Path:
    """Where a running Don says who it is."""
    return home / "run.json"


def running(home: Path) -> Running | None:
    """The Don that runs on this state folder, starting or trading; None if there is none."""
    try:
        told = json.loads(run_file(home).read_text())
        found = Running(pid=int(told["pid"]), session=told["session"], url=told["url"])
    except (FileNotFoundError, ValueError, KeyError):
        return None
    # The lock tells, not the process id: ids are reused, the lock goes with its process.
    return found if held(home, TRADE_LOCK) else None


def need_running(home: Path) -> Running:
    """As `running`, but there must be one.

    Raises:
        DependencyError: if no Don runs on this state folder, or its interface is not up yet.
    """
    found = running(home)
    if found is None:
        raise DependencyError(f"no Don runs on {home}: start it with `don up`")
    if not found.url:
        raise DependencyError(
            f"the Don on {home} (process {found.pid}) has no API: it is still starting, or was "
            "started with --no-console"
        )
    return found


def get(home: Path, path: str) -> Any:
    """The JSON answer to a read."""
    return _call(urllib.request.Request(need_running(home).url + path))


def post(home: Path, path: str, body: dict[str, Any]) -> Any:
    """The JSON answer to a command; signed with the token of the state folder.

    Raises:
        ConfigError: if the token cannot be read.
    """
    request = urllib.request.Request(
        need_running(home).url + path, data=json.dumps(body).encode(), method="POST"
    )
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Bearer {read_secret(home / 'token').reveal()}")
    return _call(request)


def command(
    home: Path, kind: CommandKind, reason: str, more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Tell the desk; over HTTP, or by a file where there is no API.

    Args:
        home: the state folder.
        kind: which command.
        reason: why, for the journal.
        more: further fields of the request, its `key` among them, and `payload`, the same as the
            journal keeps it.

    Raises:
        DependencyError: if nobody runs, or it was not taken in time.
    """
    found = running(home)
    if found is None:
        need_running(home)
    elif found.url:
        try:
            body = {k: v for k, v in (more or {}).items() if k != "payload"}
            told = {"reason": reason, "client": "cli", **body}
            answer = post(home, f"/v1/commands/{kind}", told)
            return dict(answer)
        except DependencyError:
            pass  # the HTTP side is away: the file reaches the desk all the same
    clock = SystemClock()
    now = clock.now_ns()
    written = Command(
        key=f"command:{kind}:{(more or {}).get('key') or f'{now}-{os.getpid()}'}",
        kind=kind,
        actor="cli",
        reason=reason,
        ts_recv=now,
        payload=str((more or {}).get("payload", "")),
    )
    folder = home / "commands"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{now}.json"
    draft = path.with_suffix(".new")
    draft.write_bytes(codec.encode(written))
    draft.replace(path)
    end = clock.monotonic_ns() + COMMAND_S * NS_PER_S
    while path.exists():
        if clock.monotonic_ns() > end:
            raise DependencyError(
                f"the {kind} was not taken within {COMMAND_S} s; it will be when the desk is "
                f"there: see {path}"
            )
        time.sleep(0.05)
    return {"key": written.key, "kind": str(kind), "accepted": True}


def _call(request: urllib.request.Request) -> Any:
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        detail = _detail(error)
        if error.code in (401, 403):
            raise ConfigError(f"Don refused the token: {detail}") from error
        if error.code < 500:
            raise UsageError(f"Don refused the request: {detail}") from error
        raise DonError(f"Don failed ({error.code}): {detail}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise DependencyError(f"Don does not answer at {request.full_url}: {error}") from error


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        body = json.loads(error.read())
        return str(body.get("detail") or body)
    except ValueError:
        return error.reason
