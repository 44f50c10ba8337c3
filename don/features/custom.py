"""Features of one's own: a decorated function of the last n bars. Pure.

    @feature("gap", inputs=("open", "close"), window=2, units="fraction")
    def gap(open, close):
        '''Open over the close before, less 1.'''
        return open[-1] / close[-2] - 1.0

The function gets one array a column, oldest bar first, then the parameters of its name as integers.
It is compiled where numba can, and runs as plain Python where it cannot; either way it is proven
before it is registered (see `don.features.proof`).
"""

import hashlib
import inspect
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

import numpy as np
from numba import njit

from don.errors import ConfigError
from don.features.base import Feature, Spec
from don.features.columns import COLUMNS
from don.features.kinds import OWN, register
from don.features.window import WindowFeature, compiled

Function = Callable[..., float]


def feature(
    kind: str,
    *,
    inputs: tuple[str, ...],
    window: int | None = None,
    defaults: tuple[int, ...] = (),
    smallest: int = 1,
    version: int | None = None,
    formula: str = "",
    source: str = "",
    units: str = "",
) -> Callable[[Function], Function]:
    """Register a function of the last bars as a kind of features.

    Args:
        kind: its name: lower-case letters and underscores, no number at the end.
        inputs: names of `don.features.columns.COLUMNS`.
        window: bars that the function sees; None: its first parameter.
        defaults: its parameters, if the name gives none.
        smallest: least value of a parameter.
        version: part of the content hash; None: follows from the source text of the function, of
            the functions of its package that it calls and of the constants that it names, so that
            a changed function makes another feature set.
        formula: for the catalogue; the first line of the docstring says what it is.
        source: for the catalogue.
        units: for the catalogue.

    Raises:
        ConfigError: for unknown columns, no window, or a function that fails its proof.
        ValueError: if the name cannot be had.
    """
    unknown = [name for name in inputs if name not in COLUMNS]
    if unknown or not inputs:
        raise ConfigError(
            f"inputs of feature {kind!r} must be one or more of {', '.join(COLUMNS)}, "
            f"were {', '.join(inputs) or 'none'}"
        )
    if window is None and not defaults:
        raise ConfigError(f"feature {kind!r} needs a window, or a first parameter to be it")
    if window is not None and window < 1:
        raise ConfigError(f"window of feature {kind!r} must be at least 1, was {window}")

    def add(function: Function) -> Function:
        plain = getattr(function, "py_func", function)  # it may be compiled already
        kernel = _kernel(plain, len(inputs), len(defaults))

        def make(spec: Spec) -> Feature:
            bars = spec.params[0] if window is None else window
            return WindowFeature(spec, kernel, inputs, window=bars, params=spec.params)

        make.__doc__ = plain.__doc__
        number = _fingerprint(plain) if version is None else version
        register(
            kind, defaults, number, smallest, family=OWN, formula=formula, source=source,
            units=units,
        )(make)  # fmt: skip
        return function

    return add


def _kernel(function: Function, inputs: int, params: int) -> Any:
    """The function in the form that `WindowFeature` calls, compiled if numba can."""

    def plain(w: Any, p: Any) -> float:
        return float(function(*w, *p[:params].tolist()))

    # Written out for this number of columns and parameters: compiled code takes no open lists.
    arguments = [f"w[{i}]" for i in range(inputs)] + [f"p[{i}]" for i in range(params)]
    # Bounds are checked: a window is part of a longer array, whose next value is the next bar.
    names: dict[str, Any] = {"function": njit(boundscheck=True)(function)}
    exec(f"def kernel(w, p):\n    return float(function({', '.join(arguments)}))", names)
    try:
        return compiled(njit(names["kernel"]))
    except Exception:  # numba fails in many ways at what it cannot compile
        return plain


def _fingerprint(function: Function) -> int:
    """Of a function's source text, and of what it uses: changed, it makes other numbers."""
    text = "\0".join(_texts(function, set()))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _texts(function: Any, seen: set[int]) -> list[str]:
    """Source of a function, then of the functions of its package and the constants it names."""
    seen.add(id(function))
    code = function.__code__
    try:
        found = [inspect.getsource(function)]
    except OSError:  # typed at a prompt
        found = [repr((code.co_code, code.co_consts))]
    for name, value in _used(function):
        used = getattr(value, "py_func", value)  # of a compiled one
        if inspect.isfunction(used):
            if id(used) not in seen and _package(used) == _package(function):
                found += _texts(used, seen)
        elif (told := _constant(value)) is not None:
            found.append(f"{name} = {told}")
    return found


def _used(function: Any) -> list[tuple[str, Any]]:
    """Names that a function takes from around it, and what they mean now."""
    around = dict(inspect.getclosurevars(function).nonlocals)
    around |= {name: function.__globals__[name] for name in _names(function.__code__)
               if name in function.__globals__}  # fmt: skip
    return sorted(around.items())


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _package(function: Any) -> str:
    return str(function.__module__).partition(".")[0]


def _constant(value: Any) -> str | None:
    """A value written out; None for what has no plain form."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
        return repr(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"{value.dtype} {value.shape} {value.tobytes().hex()}"
    if isinstance(value, tuple | list):
        told = [_constant(one) for one in value]
        return None if None in told else f"{type(value).__name__} {told}"
    return None
