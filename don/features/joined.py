"""The open streams of one symbol as a single Python function. Pure.

Called bar by bar, a set of features spends more time on calling functions that call functions than
on its arithmetic. What is made of TA-Lib's outputs (`finish`) is one expression each: here all of
them are written into one function, which is the same expressions on the same numbers.
"""

import ast
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from don.features.columns import PRICE, Floats

Joined = Callable[[Floats, float, float, float, float, float], list[float]]
_NAMES = ("o", "h", "l", "c", "v")  # of PRICE in the function
_CLOSE = _NAMES[PRICE.index("close")]


class Stream:
    """An open stream: what to call with which prices, and what to make of what it gives.

    Args:
        update: of TA-Lib's stream.
        places: of its arguments in `PRICE`.
        outputs: of its outputs, which are wanted; none: it gives a number.
        finish: outputs and close -> value.
    """

    __slots__ = ("finish", "outputs", "places", "update")

    def __init__(
        self,
        update: Callable[..., Any],
        places: Sequence[int],
        outputs: Sequence[int],
        finish: Callable[..., float],
    ) -> None:
        self.update, self.places, self.outputs, self.finish = update, places, outputs, finish


def join(
    size: int,
    streams: Sequence[tuple[int, Stream]],
    others: Sequence[tuple[int, Callable[..., Any]]],
) -> Joined:
    """One function (row, open, high, low, close, volume) -> values, NaN where none is computed.

    Args:
        size: of the set.
        streams: place in the set and stream.
        others: place in the set and a function of the row.
    """
    names: dict[str, Any] = {"nan": float("nan")}
    lines, values = [], ["nan"] * size
    for i, (place, stream) in enumerate(streams):
        names[f"update{i}"] = stream.update
        call = f"update{i}({', '.join(_NAMES[p] for p in stream.places)})"
        lines.append(f"x{i} = {call}")
        given = [f"x{i}[{k}]" for k in stream.outputs] or [f"x{i}"]
        values[place] = _written(stream.finish, [*given, _CLOSE])
        if not values[place]:
            names[f"finish{i}"] = stream.finish
            values[place] = f"finish{i}({', '.join([*given, _CLOSE])})"
    for i, (place, update) in enumerate(others):
        names[f"other{i}"] = update
        values[place] = f"other{i}(row)"
    body = "".join(f"    {line}\n" for line in lines)
    text = f"def joined(row, {', '.join(_NAMES)}):\n{body}    return [{', '.join(values)}]\n"
    exec(compile(text, "<joined features>", "exec"), names)
    made: Joined = names["joined"]
    return made


def _written(finish: Callable[..., float], given: Sequence[str]) -> str:
    """The expression that a function returns, of what it is given; "" if it is not just that."""
    try:
        parsed = ast.parse(inspect.getsource(finish)).body[0]
    except (OSError, TypeError, SyntaxError):
        return ""  # made where no source is kept: it is called
    if not isinstance(parsed, ast.FunctionDef):
        return ""
    last = parsed.body[-1]
    before = [one for one in parsed.body[:-1] if not _is_text(one)]
    if before or not isinstance(last, ast.Return) or last.value is None:
        return ""
    meant = dict(zip([one.arg for one in parsed.args.args], given, strict=True))
    meant["nan"] = "nan"
    if any(isinstance(n, ast.Name) and n.id not in meant for n in ast.walk(last.value)):
        return ""  # reads something else
    return f"({ast.unparse(_Renamed(meant).visit(last.value))})"


def _is_text(one: ast.stmt) -> bool:
    return isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)


class _Renamed(ast.NodeTransformer):
    """Parameters become what is handed over for them."""

    def __init__(self, meant: dict[str, str]) -> None:
        self._meant = meant

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """A parameter."""
        return ast.parse(self._meant[node.id], mode="eval").body


__all__ = ["Joined", "Stream", "join"]
