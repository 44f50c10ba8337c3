"""The configurations of a search, beside the one of them that is evaluated. Reads its folder.

Seeds of one strategy are alike before they are run: that choosing among them does not help is no
news. Whoever takes the best trial of a search has chosen, so it is over the trials that the
probability of overfitting and the reality check mean something.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from don.errors import ConfigError, UsageError
from don.evaluation.agent import run_agent
from don.evaluation.assess import Rivals
from don.evaluation.costs import together
from don.learning.model import Model
from don.words import amount
from experiments.tested import Tested


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What a search came to."""

    name: str
    folders: tuple[Path, ...]  # a model of each configuration that came to a score, the best first


def searched(folder: Path) -> Searched:
    """What `don tune` left in a folder.

    Raises:
        UsageError: if there is no search that is over, or fewer than two configurations of it.
        ConfigError: if its files cannot be read.
    """
    results = folder / "results.json"
    if not results.exists():
        raise UsageError(f"{folder} holds no search that is over: give the --out of a `don tune`")
    try:
        rows = [row for row in json.loads(results.read_text()) if row["score"] is not None]
        rows.sort(key=_rank)
        places = [folder / "trials" / row["trial"] / "model" for row in rows]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{folder} cannot be read as a search: {error}") from error
    found = tuple(place for place in places if place.is_dir())
    if len(found) < 2:
        raise UsageError(
            f"{folder} has {amount(len(found), 'model')} of configurations that came to a score: "
            "at least 2 are needed to judge a choice"
        )
    return Searched(name=folder.resolve().name, folders=found)


def rivals(search: Searched, models: Sequence[Model], test: Tested) -> Rivals:
    """The courses of a search's models over a test, at the same costs."""
    costs = together([model.card.env for model in models], test.part).costs
    courses = [
        run_agent(model, test.part, test.begin, name=folder.parent.name, costs=costs,
                  able=test.able)[0]
        for folder, model in zip(search.folders, models, strict=True)
    ]  # fmt: skip
    return Rivals(
        name=f"{amount(len(courses), 'configuration')} of search {search.name}",
        courses=tuple(courses),
    )


def listed(rows: Sequence[Mapping[str, Any]], iterations: int) -> list[str]:
    """A search's trials as lines of text, the one to take first: who went further, then the score.

    Args:
        rows: of its results.
        iterations: of a trial that went all the way.
    """
    names = sorted({name for row in rows for name in row["point"]})
    lines = [["trial", "return", "iterations", *(name.split(".", 1)[-1] for name in names)]]
    for row in sorted(rows, key=_rank):
        done = row["iterations"] or 0
        far = str(done) if done >= iterations else f"{done} {'failed' if row['error'] else 'early'}"
        score = "none" if row["score"] is None else f"{row['score']:+.4f}"
        point = row["point"]
        lines.append([row["trial"], score, far, *(shown(point.get(name)) for name in names)])
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    return [
        "  ".join(
            text.rjust(width) if n else text.ljust(width)
            for n, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]


def shown(value: Any) -> str:
    """A value of a setting for people."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _rank(row: Mapping[str, Any]) -> tuple[bool, int, float]:
    score = row["score"]
    return score is None, -(row.get("iterations") or 0), -(score or 0.0)
