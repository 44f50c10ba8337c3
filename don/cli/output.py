"""What commands print: tables for people, one JSON document on stdout for scripts."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table

PIPED_WIDTH = 160  # of what goes to a file or another program, which have no width of their own


def _width() -> int | None:
    return None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH


out = Console(highlight=False, width=_width())
err = Console(stderr=True, highlight=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"cannot print {type(value).__name__} as JSON")


def print_json(document: Any) -> None:
    """Exactly one JSON document and nothing else on stdout."""
    sys.stdout.write(json.dumps(document, default=_plain, indent=2) + "\n")
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> Table:
    """A plain aligned table; columns whose name ends in `#` are numbers, right-aligned."""
    drawn = Table(title=title or None, box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        drawn.add_column(
            column.rstrip("#"),
            justify="right" if column.endswith("#") else "left",
            no_wrap=place == 0 or column == "name",  # what a row is about stays readable
        )
    for row in rows:
        drawn.add_row(*("" if cell is None else str(cell) for cell in row))
    return drawn


def print_pairs(pairs: Mapping[str, Any]) -> None:
    """Aligned name and value lines."""
    width = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        out.print(f"{name:<{width}}  {value}", soft_wrap=True)
