"""`don evaluate`, `don walk-forward`: what agents are worth on bars they have not seen."""

from pathlib import Path

import typer

from don.cli.output import err, out, print_json
from don.errors import UsageError
from don.home import home_dir
from don.model.section import parsed


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(evaluate)
    app.command(name="walk-forward")(walk_forward)


def evaluate(
    models: list[Path] = typer.Argument(
        ..., help="Folders of models; several are taken as seeds of one strategy."
    ),
    data: Path = typer.Option(None, help="Parquet of bars; default: what it was trained from."),
    funding: Path = typer.Option(None, help="Parquet of funding payments."),
    start: str = typer.Option(None, help="ISO-8601; default: the end of the training."),
    end: str = typer.Option(None, help="ISO-8601; default: the end of the data."),
    seeds: int = typer.Option(0, min=0, help="Further courses with actions drawn, a seed each."),
    draws: int = typer.Option(1_000, min=10, help="Of each bootstrap."),
    folder: Path = typer.Option(None, "--out", help="Folder for the result."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Say what models are worth out of sample, beside baselines, and how sure that is."""
    from don.storage.research import open_research
    from experiments.evaluate import evaluate as run
    from experiments.evaluation_config import EvaluateConfig

    settings = parsed(
        EvaluateConfig,
        {
            "data": {"tape": data, "funding": funding, "start": start, "end": end},
            "seeds": seeds, "draws": draws,
        },
        "command line",
    )  # fmt: skip
    for model in models:
        if not model.is_dir():
            raise UsageError(f"model must be a folder that a training exported, was {model}")
    place = folder or home_dir() / "evaluations" / "-".join(m.resolve().parent.name for m in models)

    def tell(line: str) -> None:
        err.print(f"  {line}")

    with open_research(warn=tell) as research:
        found = run(models, settings, place, research=research, tell=tell)
    if as_json:
        print_json(found.document)
        return
    print((found.folder / "result.txt").read_text())
    out.print(f"run {found.run} of the research ledger; page: {found.folder / 'result.html'}")


def walk_forward(
    config: Path = typer.Argument(..., help="TOML, see docs/evaluation.md."),
    folder: Path = typer.Option(None, "--out", help="Folder of the study; default: `out`."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document at the end."),
) -> None:
    """Train on a window, test on what comes after it, go on; again, only what is not done yet."""
    from experiments.program import become, options

    become("experiments.walk_forward", str(config), *options(folder, as_json=as_json))
