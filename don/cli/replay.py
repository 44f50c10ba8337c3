"""`don replay EPISODE`: runs a recorded episode again and compares each step."""

from pathlib import Path

import typer

from don.cli.output import print_json, print_pairs

DIFFERENT = 3


def register(app: typer.Typer) -> None:
    """Add this group's command."""
    app.command()(replay)


def replay(
    episode: Path = typer.Argument(help="Parquet file of a recorded episode."),
    tape: Path = typer.Option(None, help="Its bars, if they are not where they were."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Run a recorded episode of an environment again; exit code 3 if a step differs."""
    from dataclasses import replace

    from don.envs import record

    held = record.load(episode)
    source = held.source or record.Source()
    if tape is not None:
        source = replace(source, tape=str(tape))
    result = record.replay(held, source.load() if held.source or tape else None)
    told = {
        "episode": str(episode),
        "market": held.market_hash,
        "seed": held.seed,
        "start": held.start,
        "steps": result.steps,
        "equal": result.equal,
        "first_difference": result.first_difference,
        "what": result.what,
        "final_equity": [float(x) for x in held.equity[-1]],
    }
    if as_json:
        print_json(told)
    else:
        print_pairs(told)
    if not result.same:
        raise typer.Exit(DIFFERENT)
