"""`don sessions` and `don session replay ID`: what ran, and whether it can be re-run exactly."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from don.cli.output import money, out, print_json, print_pairs, table
from don.clock import iso
from don.errors import UsageError
from don.home import home_dir

if TYPE_CHECKING:
    from don.storage.database import Database

DIFFERENT = 3


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command()(sessions)
    group = typer.Typer(help="One session.", no_args_is_help=True)
    group.command()(replay)
    group.command()(parity)
    group.command()(tca)
    app.add_typer(group, name="session")


@contextmanager
def database() -> "Iterator[Database]":
    """The state folder's database, where there is one."""
    from don.storage.database import external_url
    from don.storage.opened import open_database

    home = home_dir()
    if external_url(os.environ) is None and not (home / "postgres").exists():
        raise UsageError(f"no sessions in {home}: run `don up` first, or set DON_HOME")
    with open_database() as db:
        yield db


def sessions(
    limit: int = typer.Option(20, min=1, help="Most sessions shown, newest first."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """List the sessions of the state folder."""
    from don.storage.queries import Queries

    with database() as db:
        rows = Queries(db).sessions(limit)
    if as_json:
        print_json(
            [
                {
                    "session": row.session, "account": row.account, "policy": row.policy,
                    "symbols": row.symbols, "status": row.status, "start": iso(row.ts_start),
                    "end": iso(row.ts_end) if row.ts_end else None, "summary": row.summary,
                }
                for row in rows
            ]
        )  # fmt: skip
        return
    columns = ("session", "account", "policy", "start", "status", "decisions#", "fills#", "pnl#")
    lines = []
    for row in rows:
        told = row.summary or {}
        figures = [told.get("decisions"), told.get("fills"), money(told.get("pnl"))]
        lines.append(
            [row.session, row.account, row.policy, iso(row.ts_start), row.status, *figures]
        )
    out.print(table(columns, lines))


def replay(
    session: str = typer.Argument(..., help="Its id, see `don sessions`."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Re-run a session on its recorded inputs and report the first difference, if there is one.

    Checked: the journal's hash chain; every decision and order of the engine, byte for byte; every
    target of the optimizer; every feature snapshot from the recorded market data, bit for bit.
    """
    from don.replay import replay_session
    from don.storage.queries import Queries

    with database() as db:
        found = Queries(db).session(session)
        if found is None:
            raise UsageError(f"session {session!r} is not known: see `don sessions`")
        result = replay_session(db, found)
    if as_json:
        print_json({**asdict(result), "identical": result.identical})
    else:
        print_pairs({**asdict(result), "identical": result.identical})
    if not result.identical:
        raise typer.Exit(DIFFERENT)


def tca(
    session: str = typer.Argument(..., help="Its id, see `don sessions`."),
    every: bool = typer.Option(False, "--all", help="Also orders that did not fill."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """What each order cost against arrival, VWAP and close, in basis points; positive is a cost."""
    from don.execution.tca import total
    from don.storage.costs import session_costs

    with database() as db:
        rows = session_costs(db, session)
    whole = asdict(total(rows))
    if as_json:
        print_json({"session": session, "total": whole, "orders": [asdict(row) for row in rows]})
        return
    columns = (
        "order", "kind", "symbol", "side", "filled#", "average#", "arrival_bps#", "vwap_bps#",
        "close_bps#", "fee_bps#", "by",
    )  # fmt: skip
    lines = []
    for row in rows if every else [row for row in rows if row.fills]:
        told = asdict(row)
        cells = [told[name.rstrip("#")] for name in columns[:-1]]
        rounded = [f"{c:.2f}" if isinstance(c, float) else c for c in cells]
        average = rounded[5]
        rounded[5] = None if average is None else f"{average:.8g}"
        lines.append([*rounded, row.actor or "policy"])
    out.print(table(columns, lines, "orders"))
    print_pairs({k: f"{v:.2f}" if isinstance(v, float) else v for k, v in whole.items()})


def parity(
    session: str = typer.Argument(..., help="Its id, see `don sessions`."),
    tape: list[Path] = typer.Option(
        None, help="What it was played from, for sessions that do not say so themselves."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Run a session's market through the backtest and compare: decisions, orders, fills, profit.

    Where they differ, the difference in profit is split by cause; the parts add up to it.
    """
    from don.backtest.session import session_parity, told
    from don.config import load_config
    from don.storage.queries import Queries

    market = None
    if tape:
        paper = load_config(home_dir()).paper
        market = paper.model_copy(update={"tape": tuple(tape)})
    with database() as db:
        found = Queries(db).session(session)
        if found is None:
            raise UsageError(f"session {session!r} is not known: see `don sessions`")
        result = session_parity(db, found, market)
    document = told(result)
    if as_json:
        print_json(document)
    else:
        print_pairs(document)
    if not result.equal:
        raise typer.Exit(DIFFERENT)
