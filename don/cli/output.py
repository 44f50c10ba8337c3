"""What commands print: tables for people, one JSON document on stdout for scripts."""

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_CENT, _WIDE = Decimal("0.01"), Context(prec=100)
PIPED_WIDTH = 160  # of what goes to a file or another program, which have no width of their own


def _width() -> int | None:
    return None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH


def console(width: int | None = None, *, stderr: bool = False) -> Console:
    """A console that prints text as it is: what users wrote may have brackets and colons."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=width)


out = console(_width())
err = console(stderr=True)


def _plain(value: Any) -> Any:
    """As JSON has it, which knows no figures that are not finite."""
    match value:
        case Mapping():
            return {name: _plain(own) for name, own in value.items()}
        case list() | tuple():
            return [_plain(own) for own in value]
        case Decimal():
            return str(value) if value.is_finite() else None
        case float():
            return value if math.isfinite(value) else None
    return _plain(value.item()) if hasattr(value, "item") else value


def print_json(document: Any) -> None:
    """Exactly one JSON document and nothing else on stdout; null for what is not finite."""
    sys.stdout.write(json.dumps(_plain(document), allow_nan=False, indent=2) + "\n")
    sys.stdout.flush()


def money(value: Any) -> str:
    """An amount for people: to the cent, below one to four digits. JSON keeps all of them."""
    amount = _amount(value)
    if amount is None:
        return "" if value is None else str(value)
    if 0 < abs(amount) < 1:
        return _digits(amount, 4)
    # libraries may have changed how a thread rounds: this says it itself
    return f"{amount.quantize(_CENT, ROUND_HALF_EVEN, _WIDE):,}"


def price(value: Any) -> str:
    """A price for people: eight digits, without zeros at the end."""
    return plain(value, 8)


def plain(value: Any, digits: int = 28) -> str:
    """A number without zeros at the end; sizes with all of their digits."""
    amount = _amount(value)
    if amount is None:
        return "" if value is None else str(value)
    return _digits(amount, digits)


def _amount(value: Any) -> Decimal | None:
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found + 0 if found.is_finite() else None  # a zero has no sign


def _digits(amount: Decimal, count: int) -> str:
    text = format(Context(prec=count, rounding=ROUND_HALF_EVEN).plus(amount), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> Table:
    """A plain aligned table; columns whose name ends in `#` are numbers, right-aligned."""
    drawn = Table(
        title=Text(title, style="table.title") if title else None,
        box=None, pad_edge=False, header_style="bold",
    )  # fmt: skip
    for place, column in enumerate(columns):
        drawn.add_column(
            Text(column.rstrip("#")),
            justify="right" if column.endswith("#") else "left",
            no_wrap=place == 0 or column == "name",  # what a row is about stays readable
            overflow="fold",  # narrow screens get more lines, never a part of an id or a figure
        )
    for row in rows:
        drawn.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    return drawn


def print_pairs(pairs: Mapping[str, Any]) -> None:
    """Aligned name and value lines."""
    width = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        out.print(f"{name:<{width}}  {value}", soft_wrap=True)
