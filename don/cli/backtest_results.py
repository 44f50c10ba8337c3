"""`don backtest report`, `compare` and `sweep`: what came of backtests, and many at once."""

from pathlib import Path

import typer

from don.cli.output import out, print_json
from don.errors import UsageError


def register(group: typer.Typer) -> None:
    """Add the commands to `don backtest`."""
    group.command()(report)
    group.command()(compare)


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


def _write(path: Path, text: str, *, as_json: bool) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"report {path} cannot be written: {error}") from error
    if as_json:
        print_json({"report": str(path), "bytes": len(text)})
    else:
        out.print(f"report written to {path}", soft_wrap=True)
