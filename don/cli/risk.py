"""`don risk show|set|state`: limits and trading states of a Don that runs."""

import json
from decimal import Decimal, InvalidOperation
from typing import Any

import typer

from don.cli import client
from don.cli.control import JSON
from don.cli.output import out, print_json, print_pairs, table
from don.errors import UsageError
from don.home import home_dir
from don.model.messages import CommandKind
from don.risk.change import DEFAULT, parse_limits
from don.risk.config import RiskConfig
from don.risk.states import TradingState

WHY = typer.Option(..., "--reason", help="Why; kept in the journal.")
_BOUND = {  # figure -> the limits on it
    "gross_leverage": ("max_gross_leverage",),
    "net_leverage": ("max_net_leverage",),
    "concentration": ("max_concentration",),
    "margin": ("max_margin",),
    "liquidation_distance": ("min_liquidation_distance",),
    "daily_loss": ("reduce_at_daily_loss", "max_daily_loss"),
    "drawdown": ("reduce_at_drawdown", "max_drawdown"),
    "loss_streak": ("max_loss_streak",),
    "open_orders": ("max_open_orders",),
    "var": ("max_var",),
    "cvar": ("max_cvar",),
    "stress_loss": ("max_stress_loss",),
    "correlation_break": ("max_correlation_break",),
}


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    group = typer.Typer(help="Risk limits and trading states.", no_args_is_help=True)
    group.command()(show)
    group.command(name="set")(set_limits)
    group.command()(state)
    app.add_typer(group, name="risk")


def show(as_json: bool = JSON) -> None:
    """Show states, limits, and how the account stands against them."""
    report = client.get(home_dir(), "/v1/risk")
    if as_json:
        print_json(report)
        return
    print_pairs({"state": report["state"]})
    for scope, standing in report["states"].items():
        out.print(f"{scope} is {standing['state']} by {standing['actor']}: {standing['reason']}")
    limits, figures, changed = report["limits"], report["figures"], report["changed"]
    rows = []
    for figure, names in _BOUND.items():
        held = [f"{limits.get(name)}" for name in names if limits.get(name) is not None]
        note = "changed" if any(name in changed for name in names) else ""
        rows.append([figure, _short(figures.get(figure)), " / ".join(held) or "off", note])
    out.print(table(("figure", "now#", "limit#", ""), rows, "against limits"))
    shown = {name for names in _BOUND.values() for name in names}
    rest = [
        [name, _plain(value), "changed" if name in changed else ""]
        for name, value in limits.items()
        if name not in shown
    ]
    out.print(table(("limit", "value", ""), rest, "other limits"))
    if name := figures.get("stress_scenario"):
        out.print(f"worst scenario: {name}")
    bare = report["unprotected"]
    out.print(
        f"without a stop at the exchange: {_short(float(bare['now']))} now; "
        f"{_short(float(bare['notional_s']))} notional-seconds while Don was off"
    )


def set_limits(
    changes: list[str] = typer.Argument(
        ..., metavar="NAME=VALUE...", help='VALUE "off" switches off, "default" goes back.'
    ),
    reason: str = WHY,
    as_json: bool = JSON,
) -> None:
    """Change limits now; they hold over restarts until set to `default`."""
    limits = dict(_change(change) for change in changes)
    payload = json.dumps(limits, sort_keys=True)
    parse_limits(payload)
    more = {"limits": limits, "payload": payload}
    answer = client.command(home_dir(), CommandKind.LIMITS, reason, more)
    print_json(answer) if as_json else out.print("limits: taken into the journal")


def state(
    scope: str = typer.Argument(..., help="system, account, policy or policy:NAME."),
    to: TradingState = typer.Argument(..., help="active, reducing or halted."),
    reason: str = WHY,
    as_json: bool = JSON,
) -> None:
    """Let a scope trade freely, only reduce, or not trade at all (which flattens)."""
    told = {"scope": scope, "state": str(to)}
    more = {**told, "payload": json.dumps(told)}
    answer = client.command(home_dir(), CommandKind.STATE, reason, more)
    print_json(answer) if as_json else out.print(f"{scope} {to}: taken into the journal")


def _change(text: str) -> tuple[str, Any]:
    """(name, JSON value) of NAME=VALUE.

    Raises:
        UsageError: if it is not of that form, or no such limit.
    """
    name, equals, value = text.partition("=")
    if not equals or name not in RiskConfig.model_fields:
        raise UsageError(
            f"a change must be NAME=VALUE with NAME of {', '.join(RiskConfig.model_fields)}, "
            f"was {text!r}"
        )
    if value in ("off", "none", "null"):
        return name, None
    if value == DEFAULT:
        return name, DEFAULT
    try:
        Decimal(value)
        return name, value
    except InvalidOperation:
        pass
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "none"
    return "off" if value is None else str(value)
