"""`don train`: train policies on recorded markets, resumable, counted in the research ledger."""

import os
import sys
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
    become("experiments.train", config, out, resume=resume, as_json=as_json)


def become(module: str, config: Path, out: Path | None, *, resume: bool, as_json: bool) -> None:
    """Go on as the program of a module: what a seed depends on is read when Python begins."""
    command = [sys.executable, "-m", module, str(config)]
    if out is not None:
        command += ["--out", str(out)]
    command += ["--resume"] * resume + ["--json"] * as_json
    given = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    sys.stdout.flush()
    os.execve(sys.executable, command, {**given, **os.environ})
