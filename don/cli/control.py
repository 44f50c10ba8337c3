"""`don down|status|halt|resume|adopt`: commands to a Don that runs."""

import os
import signal
import time
from typing import Any

import typer

from don.cli import client
from don.cli.output import money, out, plain, price, print_json, print_pairs, table
from don.errors import DependencyError
from don.home import home_dir
from don.model.messages import CommandKind

JSON = typer.Option(False, "--json", help="Print one JSON document and nothing else.")
REASON = typer.Option("", "--reason", help="Why; kept in the journal.")


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command()(down)
    app.command()(status)
    app.command()(halt)
    app.command()(resume)
    app.command()(adopt)


def down(
    timeout: float = typer.Option(60.0, help="Seconds to wait for the clean stop."),
    as_json: bool = JSON,
) -> None:
    """Stop a running Don cleanly: open orders are cancelled, positions stay, books are closed."""
    home = home_dir()
    found = client.running(home)
    if found is None:
        from don.storage.embedded import EmbeddedPostgres

        leftover = EmbeddedPostgres(home)
        was = leftover.alive() if home.exists() else False
        if was:
            leftover.stop()
        report = {"stopped": False, "database_stopped": was}
        print_json(report) if as_json else out.print(
            "no Don runs; stopped its leftover database" if was else "no Don runs"
        )
        return
    os.kill(found.pid, signal.SIGTERM)
    end = time.monotonic() + timeout
    while client.running(home) is not None:
        if time.monotonic() > end:
            raise DependencyError(f"process {found.pid} did not stop within {timeout:g} s")
        time.sleep(0.2)
    if as_json:
        print_json({"stopped": True, "session": found.session})
    else:
        out.print(f"stopped session {found.session}")


def status(as_json: bool = JSON) -> None:
    """Show session, equity, positions and the health of every part."""
    view = client.get(home_dir(), "/v1/status")
    if as_json:
        print_json(view)
        return
    _print_status(view)


def halt(reason: str = REASON, as_json: bool = JSON) -> None:
    """Kill switch: cancel every order, flatten every position, refuse orders until `don resume`."""
    _command("halt", reason, as_json)


def resume(reason: str = REASON, as_json: bool = JSON) -> None:
    """Trade again after a halt."""
    _command("resume", reason, as_json)


def adopt(
    reason: str = typer.Option(..., "--reason", help="What was found out; kept in the journal."),
    as_json: bool = JSON,
) -> None:
    """Take the exchange's account as the truth after a difference that you have understood."""
    _command("adopt", reason, as_json)


def _command(kind: str, reason: str, as_json: bool) -> None:
    answer = client.command(home_dir(), CommandKind(kind), reason)
    if as_json:
        print_json(answer)
    else:
        out.print(f"{kind}: taken into the journal")


def _print_status(view: dict[str, Any]) -> None:
    desk = view.get("desk") or {}
    print_pairs({key: view[key] for key in ("session", "policy", "state") if key in view})
    amounts = ("equity", "balance", "unrealized", "pnl", "fees", "funding")
    print_pairs({key: money(desk[key]) for key in amounts if key in desk})
    print_pairs({key: desk[key] for key in ("halted", "reconciled") if key in desk})
    if books := desk.get("slots"):
        named = ("book", "mode", "policy", "state", "share#", "equity#", "pnl#", "crossed#")
        told = [
            one
            | {"share": f"{one['share'] or 0.0:.1%}"}
            | {name: money(one.get(name)) for name in ("equity", "pnl", "crossed")}
            for one in books
        ]
        rows = [[one.get(column.rstrip("#")) for column in named] for one in told]
        out.print(table(named, rows, "books"))
    positions = desk.get("positions") or []
    columns = ("symbol", "size#", "entry_price#", "mark#", "unrealized#", "weight#")
    forms = {"size": plain, "entry_price": price, "mark": price, "unrealized": money}
    rows = []
    for row in positions:
        cells = {name: form(row.get(name)) for name, form in forms.items()}
        weight = row.get("weight")
        cells["weight"] = "" if weight is None else f"{weight:.1%}"
        rows.append([(row | cells).get(column.rstrip("#")) for column in columns])
    out.print(table(columns, rows, "positions"))
    parts = view.get("health") or {}
    rows = [[name, part.get("state"), part.get("detail", "")] for name, part in parts.items()]
    out.print(table(("part", "state", "detail"), rows, "health"))
