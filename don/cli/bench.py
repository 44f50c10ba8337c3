"""`don bench`: measures Don beside a named peer, in one run on the same data."""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from don.cli.output import err, out, print_json, table
from don.errors import UsageError

# area -> module with `rows(full) -> list[dict]`; imported when asked for: each pulls its peer in
AREAS = {
    "features": "don.bench.features",
    "env": "don.bench.env",
    "matching": "don.bench.matching",
    "paper": "don.bench.paper",
    "feed": "don.bench.feed",
    "desk": "don.bench.desk",
    "ring": "don.bench.ring",
    "backtest": "don.bench.backtest",
    "portfolio": "don.bench.portfolio",
    "storage": "don.bench.storage",
    "train": "don.bench.train",
    "serve": "don.bench.serve",
}
COLUMNS = ("name", "value#", "unit", "n#", "min#", "max#", "peer", "peer_value#", "ratio#")
NARROW = ("name", "value#", "unit", "ratio#", "peer")  # on a terminal that cannot hold them all
NARROW_WIDTH = 120


def register(app: typer.Typer) -> None:
    """Add this group's command."""
    app.command()(bench)


def bench(
    areas: list[str] = typer.Argument(None, help=f"Which: {', '.join(AREAS)}. Default: all."),
    full: bool = typer.Option(False, "--full", help="The large sizes; takes longer."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document, nothing else."),
) -> None:
    """Measure, beside a peer in the same run. A ratio above 1 means that Don is better."""
    chosen = areas or list(AREAS)
    for area in chosen:
        if area not in AREAS:
            raise UsageError(f"area must be one of {', '.join(AREAS)}, was {area!r}")
    rows: list[dict[str, Any]] = []
    with _others_aside():
        for area in chosen:
            err.print(f"measuring {area} ...")
            rows += importlib.import_module(AREAS[area]).rows(full)
    if as_json:
        print_json(rows)
    else:
        shown = COLUMNS if out.width >= NARROW_WIDTH else NARROW
        out.print(table(shown, [[_short(row[c.rstrip("#")]) for c in shown] for row in rows]))


@contextmanager
def _others_aside() -> Iterator[None]:
    """What Ray's processes and peers print goes to stderr: stdout is for the rows alone."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _short(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)
