"""Features of one's own: a decorated function of the last n bars. Pure.

    @feature("gap", inputs=("open", "close"), window=2, units="fraction")
    def gap(open, close):
        '''Open over the close before, less 1.'''
        return open[-1] / close[-2] - 1.0

The function gets one array a column, oldest bar first, then the parameters of its name as integers.
It is compiled where numba can, and runs as plain Python where it cannot; either way it is proven
before it is registered (see `don.features.proof`).
"""

from collections.abc import Callable
from typing import Any

from numba import njit

from don.errors import ConfigError
from don.features.base import Feature, Spec
from don.features.columns import COLUMNS
from don.features.fingerprint import fingerprint
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
        version: part of the content hash; None: follows from the function's source text and from
            what it uses (see `don.features.fingerprint`), so that a changed function makes another
            feature set.
        formula: for the catalogue; the first line of the docstring says what it is.
        source: for the catalogue.
        units: for the catalogue.

    Raises:
        ConfigError: for unknown columns, no window, a function that fails its proof, or one that
            uses what cannot be told to have changed.
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
        number = fingerprint(kind, plain) if version is None else version
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
