"""`don tune`: search over trainings, resumable; every trial is counted in the research ledger."""

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add this group's command."""
    app.command()(tune)


def tune(
    config: Path = typer.Argument(..., help="TOML, see docs/training.md."),
    out: Path = typer.Option(None, help="Folder of the search; default: `out` of the file."),
    resume: bool = typer.Option(False, "--resume", help="Go on with a search that was killed."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document at the end."),
) -> None:
    """Search over trainings with ASHA or PBT; the best model is named at the end."""
    from experiments.program import become, options

    become("experiments.tune", str(config), *options(out, resume=resume, as_json=as_json))
