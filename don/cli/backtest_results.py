"""`don backtest report`, `compare` and `sweep`: what came of backtests, and many at once."""

from pathlib import Path
from typing import Any

import typer

from actors import environment
from don.cli.output import err, out, print_json, table
from don.errors import UsageError
from don.home import home_dir
from don.words import amount

SHOWN = ("sharpe", "annual_return", "max_drawdown", "turnover", "fees", "funding", "fills")


def register(group: typer.Typer) -> None:
    """Add the commands to `don backtest`."""
    group.command()(report)
    group.command()(compare)
    group.command()(sweep)


def report(
    result: Path = typer.Argument(..., help="A saved result: .json file, or its folder."),
    output: Path = typer.Option(None, "--output", "-o", help="Default: beside the result."),
    draws: int = typer.Option(1_000, min=1, help="Of the bootstrap."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Write a saved result's report: one HTML file that opens without a network."""
    from don.backtest.files import load
    from don.backtest.report import report as made

    path = output or _beside(result, "report.html")
    _write(path, made(load(result), draws=draws), as_json=as_json)


def compare(
    first: Path = typer.Argument(..., help="A saved result."),
    second: Path = typer.Argument(..., help="Another one."),
    output: Path = typer.Option(None, "--output", "-o", help="Default: compare.html here."),
    draws: int = typer.Option(1_000, min=1, help="Of the bootstrap."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Write two saved results side by side into one HTML file."""
    from don.backtest.files import load
    from don.backtest.report import compare as made

    path = output or Path("compare.html")
    _write(path, made(load(first), load(second), draws=draws), as_json=as_json)


def _beside(result: Path, name: str) -> Path:
    return result.with_suffix(".html") if result.suffix == ".json" else result / name


def write(path: Path, text: str) -> Path:
    """Write a report.

    Raises:
        UsageError: if it cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"report {path} cannot be written: {error}") from error
    return path


def _write(path: Path, text: str, *, as_json: bool) -> None:
    write(path, text)
    if as_json:
        print_json({"report": str(path), "bytes": len(text)})
    else:
        out.print(f"report written to {path}", soft_wrap=True)


def sweep(
    config: Path = typer.Argument(..., help="TOML of the sweep: base, grid, windows."),
    force: bool = typer.Option(False, help="Run although memory may not suffice."),
    top: int = typer.Option(20, min=1, help="Rows shown, best Sharpe ratio first."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Run many configurations over many windows; run it again to go on where it stopped."""
    from don.backtest.sweep import SweepConfig
    from don.config import read_section

    settings = read_section(SweepConfig, config)
    from don.performance import COMPOUNDED

    environment.prepare(home_dir())
    from experiments.sweep import run
    from experiments.swept import said as whole

    found = run(settings, lambda line: err.print(line, soft_wrap=True), force=force)
    if as_json:
        print_json(found)
    else:
        rows = sorted(found["rows"], key=lambda row: -_known(row["sharpe"]))[:top]
        names = [*settings.grid, "start", *SHOWN]
        brief = {row["key"]: _brief(row) for row in rows}
        cells = [
            [
                "–" if brief[row["key"]] and name in COMPOUNDED else _short(row[name])
                for name in names
            ]
            for row in rows
        ]
        out.print(table([n if n in settings.grid else f"{n}#" for n in names], cells))
        if said := next(filter(None, brief.values()), ""):
            out.print(f"– {said}")
        for line in whole(found["whole"]):
            out.print(line, soft_wrap=True)
        out.print(f"{amount(len(found['rows']), 'result')} in {found['table']}", soft_wrap=True)
    if found["failed"]:
        raise typer.Exit(1)


def _brief(row: dict[str, Any]) -> str:
    """Why a row's return is not told as a year's; "" if it may be."""
    from don.clock import parse_iso
    from don.performance import too_short

    return too_short(parse_iso(row["end"]) - parse_iso(row["start"]))


def _known(value: float) -> float:
    return value if value == value else float("-inf")


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 1_000 else f"{value:,.0f}"
    return str(value).removesuffix("T00:00:00.000Z")
