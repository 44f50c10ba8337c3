"""Standard indicators by TA-Lib: its functions in batch, its stateful streams bar by bar. Pure.

TA-Lib's streams equal its functions bit for bit. Indicators that come in percent are given as
fractions, and those in units of price relative to the close, so that they compare across symbols.
What is computed on top of TA-Lib is one function, compiled in batch and plain in the stream: it
may add, multiply, divide and compare, where both agree to the bit, and nothing else. TA-Lib's
global settings (unstable periods, compatibility) are process-wide and must be left alone.
"""

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import talib
from numba import njit
from talib import abstract, stream

from don.features.base import Feature, Spec
from don.features.columns import PLACE, Floats

Finish = Callable[..., float]
_CLOSE = PLACE["close"]
_abstract: Any = abstract  # its functions are made at import


@njit(cache=True)
def ratio(value: float, close: float) -> float:
    """How far the close is above an average, relative."""
    return close / value - 1.0


@njit(cache=True)
def part_of_close(value: float, close: float) -> float:
    """An amount in units of price, relative to the close."""
    return value / close


@njit(cache=True)
def percent(value: float, close: float) -> float:
    """A percentage as a fraction."""
    return value / 100.0


@njit(cache=True)
def plain(value: float, close: float) -> float:
    """The value itself."""
    return value


@njit(cache=True)
def band_place(upper: float, middle: float, lower: float, close: float) -> float:
    """Place of the close in the bands: 0 at the lower, 1 at the upper, 0.5 if they coincide."""
    return 0.5 if upper <= lower else (close - lower) / (upper - lower)


@njit(cache=True)
def _each_one(finish: Any, a: Floats, close: Floats) -> Floats:
    out = np.empty(len(close))
    for i in range(len(close)):
        out[i] = finish(a[i], close[i]) if a[i] == a[i] else np.nan
    return out


@njit(cache=True)
def _each_three(finish: Any, a: Floats, b: Floats, c: Floats, close: Floats) -> Floats:
    out = np.empty(len(close))
    for i in range(len(close)):
        out[i] = finish(a[i], b[i], c[i], close[i]) if a[i] == a[i] else np.nan
    return out


class TalibFeature(Feature):
    """One TA-Lib function, its parameters, and what is made of its outputs.

    Args:
        spec: name, kind, parameters, version.
        function: TA-Lib's name of it.
        inputs: columns in the order of the function's arguments.
        arguments: the function's parameters.
        outputs: which of its outputs go into `finish`; one or three.
        finish: outputs and close -> value; compiled, of plain arithmetic.
    """

    def __init__(
        self,
        spec: Spec,
        function: str,
        inputs: tuple[str, ...],
        arguments: tuple[float, ...],
        finish: Finish = plain,
        outputs: tuple[int, ...] = (0,),
    ) -> None:
        self.spec = spec
        self.inputs = inputs if "close" in inputs else (*inputs, "close")
        self._function, self._columns, self._arguments = function, inputs, arguments
        self._finish, self._outputs = finish, outputs
        self._places = tuple(PLACE[name] for name in inputs)
        self._scalar: Finish = finish.py_func  # type: ignore[attr-defined]
        about = _abstract.Function(function)
        about.set_parameters(dict(zip(about.parameters, arguments, strict=True)))
        self.warm_up = int(about.lookback)
        self._single = len(about.output_names) == 1
        self._history: list[list[float]] = [[] for _ in inputs]
        self._live: Callable[[Floats], float] = self._collect

    def fresh(self) -> Self:
        """A stream that has seen nothing."""
        return type(self)(
            self.spec,
            self._function,
            self._columns,
            self._arguments,
            self._finish,
            self._outputs,
        )

    def batch(self, columns: Mapping[str, Floats]) -> Floats:
        """Values [time]; NaN during warm-up."""
        close = np.ascontiguousarray(columns["close"], np.float64)
        if len(close) <= self.warm_up:
            return np.full(len(close), np.nan)
        arrays = [np.ascontiguousarray(columns[name], np.float64) for name in self._columns]
        found = getattr(talib, self._function)(*arrays, *self._arguments)
        parts = found if isinstance(found, list | tuple) else (found,)
        chosen = [parts[i] for i in self._outputs]
        each = _each_one if len(chosen) == 1 else _each_three
        values: Floats = each(self._finish, *chosen, close)
        return values

    def update(self, bar: Floats) -> float:
        """Take in a closed bar; its value, NaN during warm-up."""
        return self._live(bar)

    def _collect(self, bar: Floats) -> float:
        """Keep bars until TA-Lib can open a stream on them; then its value at this bar."""
        for values, place in zip(self._history, self._places, strict=True):
            values.append(bar.item(place))
        if len(self._history[0]) <= self.warm_up:
            return float("nan")
        arrays = [np.array(values) for values in self._history]
        try:
            handle = getattr(stream, self._function)(*arrays, *self._arguments)
        except talib.InsufficientHistory:
            return float("nan")
        self._history = []
        self._live = self._connect(handle.update)
        found = handle.value
        parts = found if isinstance(found, tuple) else (found,)
        return self._scalar(*(parts[i] for i in self._outputs), bar.item(_CLOSE))

    def _connect(self, update: Callable[..., Any]) -> Callable[[Floats], float]:
        """The shortest way from a bar through an open stream to the value."""
        finish, places, outputs = self._scalar, self._places, self._outputs
        if self._single and len(places) == 1:
            (place,) = places
            return lambda bar: finish(update(bar.item(place)), bar.item(_CLOSE))
        if self._single:
            return lambda bar: finish(update(*map(bar.item, places)), bar.item(_CLOSE))
        if len(outputs) == 1:
            (output,) = outputs
            return lambda bar: finish(update(*map(bar.item, places))[output], bar.item(_CLOSE))

        def chosen(bar: Floats) -> float:
            found = update(*map(bar.item, places))
            return finish(*(found[i] for i in outputs), bar.item(_CLOSE))

        return chosen
