"""`don train`: train policies on recorded markets, resumable, counted in the research ledger."""

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add this group's command."""
    app.command()(train)


def train(
    config: Path = typer.Argument(..., help="TOML, see docs/training.md."),
    out: Path = typer.Option(None, help="Folder of the training; default: `out` of the file."),
    resume: bool = typer.Option(False, "--resume", help="Go on from the last checkpoint."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document at the end."),
) -> None:
    """Train policies on recorded markets; the model is in OUT/model, the best one in OUT/best."""
    from experiments.program import become, options

    become("experiments.train", str(config), *options(out, resume=resume, as_json=as_json))
