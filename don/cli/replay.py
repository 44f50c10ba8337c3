"""`don record MODEL`, `don replay EPISODE`: episodes of environments, kept and run again."""

from pathlib import Path

import typer

from don.cli.output import print_json, print_pairs

DIFFERENT = 3


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(record)
    app.command()(replay)


def record(
    model: str = typer.Argument(help="Folder of a model, or NAME of the registry."),
    data: Path = typer.Option(None, help="Parquet of bars; default: what it was trained from."),
    funding: Path = typer.Option(None, help="Parquet of funding payments."),
    start: str = typer.Option(None, help="ISO-8601, close of the first bar decided on."),
    bars: int = typer.Option(None, min=1, help="That it lasts; default: 500, in whole steps."),
    seed: int = typer.Option(0, min=0, max=2**31 - 1, help="Of a start that is drawn."),
    episode: Path = typer.Option(
        None, "--out", help="File; default: a new one in `episodes/` of the state folder."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Let a model act for an episode and keep it; the console shows it, `don replay` checks it."""
    from contextlib import ExitStack

    from don.cli.evaluate import chosen_models
    from don.home import home_dir
    from don.model.section import parsed
    from experiments.episode import record as run
    from experiments.training_config import DataConfig

    given = parsed(DataConfig, {"tape": data, "funding": funding}, "command line")
    with ExitStack() as until:
        (chosen,) = chosen_models([model], until)
        made = run(
            chosen.folder, chosen.trained, given,
            episode or home_dir() / "episodes" / f"{chosen.name}.parquet",
            anew=episode is None, start=start, bars=bars, seed=seed,
        )  # fmt: skip
    held = made.episode
    told = {
        "episode": str(made.path),
        "symbols": list(made.symbols),
        "start": made.start,
        "end": made.end,
        "steps": len(held.seen),
        "capital": held.config.episode.capital,
        "final_equity": [float(x) for x in held.equity[-1]],
    }
    print_json(told) if as_json else print_pairs(told)


def replay(
    episode: Path = typer.Argument(help="Parquet file of a recorded episode."),
    tape: Path = typer.Option(None, help="Its bars, if they are not where they were."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Run a recorded episode of an environment again; exit code 3 if a step differs."""
    from don.envs import record

    held = record.load(episode)
    source = held.source or record.Source()
    if tape is not None:
        source = source.model_copy(update={"tape": str(tape)})
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
