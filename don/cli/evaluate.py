"""`don evaluate`, `don walk-forward`: what agents are worth on bars they have not seen."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from don.cli.output import err, out, print_json
from don.errors import UsageError
from don.home import home_dir
from don.model.section import parsed

if TYPE_CHECKING:
    from don.learning.registry import Registry

PLAIN = ("model", "best")  # what a training calls its models' folders
NAME_LENGTH = 100


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(evaluate)
    app.command(name="walk-forward")(walk_forward)


def evaluate(
    models: list[str] = typer.Argument(
        None,
        help="Folders of models, or names of the registry as NAME or model:NAME; several are taken "
        "as seeds of one strategy. With --search: default the best of it.",
    ),
    search: Path = typer.Option(
        None, help="Folder of a `don tune` that the model was chosen in: judges the choice too."
    ),
    data: Path = typer.Option(None, help="Parquet of bars; default: what it was trained from."),
    funding: Path = typer.Option(None, help="Parquet of funding payments."),
    store: bool = typer.Option(False, "--store", help="Bars of the market database and its lake."),
    exchange: str = typer.Option(None, help="With --store: whose bars; default: the only one."),
    start: str = typer.Option(None, help="ISO-8601; default: the end of the training."),
    end: str = typer.Option(None, help="ISO-8601; default: the end of the data."),
    seeds: int = typer.Option(0, min=0, help="Further courses with actions drawn, a seed each."),
    draws: int = typer.Option(1_000, min=10, help="Of each bootstrap."),
    folder: Path = typer.Option(
        None, "--out", help="Folder for the result; default: a new one of the state folder."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Say what models are worth out of sample, beside baselines, and how sure that is."""
    from experiments.evaluation_config import EvaluateConfig

    settings = parsed(
        EvaluateConfig,
        {
            "data": {"tape": data, "funding": funding, "start": start, "end": end},
            "store": store, "exchange": exchange, "seeds": seeds, "draws": draws,
        },
        "command line",
    )  # fmt: skip
    if not models and search is None:
        raise UsageError("give at least one model, or --search with the folder of a search")
    _there(data, funding)
    check_names(models or [])

    def tell(line: str) -> None:
        err.print(f"  {line}")

    named = ", ".join(models) if models else f"the best of {search}"
    tell(f"evaluates {named}; writes {folder or 'to the state folder'}")
    # what is refused is told before these, which take their time
    from don.storage.research import open_research
    from experiments.evaluate import evaluate as run
    from experiments.evaluate import measures
    from experiments.searched import searched

    among = searched(search) if search is not None else None
    models = models or [str(among.folders[0])]

    with ExitStack() as until:
        chosen = chosen_models(models, until)
        place = folder or until.enter_context(_fresh([each.name for each in chosen]))
        research = until.enter_context(open_research(warn=tell))
        found = run(
            [each.folder for each in chosen], settings, place, research=research, tell=tell,
            trained=[each.trained for each in chosen], search=among,
        )  # fmt: skip
        noted = _note(chosen, measures(found))
    if as_json:
        print_json(found.document)
        tell(f"page: {found.folder / 'result.html'}")
        return
    print((found.folder / "result.txt").read_text())
    out.print(f"run {found.run} of the research ledger; page: {found.folder / 'result.html'}")
    for label in noted:
        out.print(f"noted with {label}: see `don models show {label}`")


@contextmanager
def _fresh(models: list[str]) -> Iterator[Path]:
    """A folder of the state folder that no other evaluation has; gone again if none came of it."""
    above, name = home_dir() / "evaluations", "-".join(models)[:NAME_LENGTH]
    above.mkdir(parents=True, exist_ok=True, mode=0o700)
    for n in count(1):
        place = above / (name if n == 1 else f"{name}-{n}")
        try:
            place.mkdir()
            break
        except FileExistsError:
            continue
    try:
        yield place
    finally:
        if not any(place.iterdir()):
            place.rmdir()


def _name(folder: Path) -> str:
    """What a model's folder is known by: `ppo-model`, `ppo-best` of a training in `ppo`."""
    whole = folder.resolve()
    return f"{whole.parent.name}-{whole.name}" if whole.name in PLAIN else whole.name


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """A model as the command line names it."""

    name: str  # for the result's folder
    folder: Path
    trained: Path  # as its training exported it
    label: str = ""  # in the registry; "": it is a folder
    registry: "Registry | None" = None


def _there(*files: Path | None) -> None:
    for option, path in zip(("--data", "--funding"), files, strict=True):
        if path is not None and not path.exists():
            raise UsageError(f"{option} was {str(path)!r}: must be a file that is there")


def check_names(models: list[str]) -> None:
    """Make sure that each model is a folder, or may be a name of the registry.

    Raises:
        UsageError: if one cannot be either.
    """
    for text in models:
        if not Path(text).is_dir() and "/" in text.removeprefix("model:"):
            raise UsageError(
                f"model must be a folder that a training exported, or a name of the registry, was "
                f"{text}"
            )


def chosen_models(models: list[str], until: ExitStack) -> list[_Chosen]:
    """The models; the registry, where one is named, stays open `until`.

    Raises:
        UsageError: if one is neither a folder nor in the registry.
    """
    check_names(models)
    from don.cli.models import opened

    found: list[_Chosen] = []
    registry: Registry | None = None
    for text in models:
        path = Path(text)
        if path.is_dir():
            found.append(_Chosen(name=_name(path), folder=path, trained=path))
            continue
        registry = registry or until.enter_context(opened())
        one = registry.find(text.removeprefix("model:"))
        found.append(
            _Chosen(
                name=one.label, folder=registry.folder(one), trained=Path(one.source),
                label=one.label, registry=registry,
            )
        )  # fmt: skip
    return found


def _note(chosen: "list[_Chosen]", told: list[dict[str, float]]) -> list[str]:
    """Write what registered models were worth out of sample beside their cards."""
    noted = []
    for each, figures in zip(chosen, told, strict=True):
        if each.registry is not None and figures:
            each.registry.measure(each.label, figures)
            noted.append(each.label)
    return noted


def walk_forward(
    config: Path = typer.Argument(..., help="TOML, see docs/evaluation.md."),
    folder: Path = typer.Option(None, "--out", help="Folder of the study; default: `out`."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document at the end."),
) -> None:
    """Train on a window, test on what comes after it, go on; again, only what is not done yet."""
    from experiments.program import become, options

    become("experiments.walk_forward", str(config), *options(folder, as_json=as_json))
