"""Standard indicators by TA-Lib: its functions in batch, its stateful streams bar by bar. Pure.

TA-Lib's streams equal its functions bit for bit. Indicators that come in percent are given as
fractions, and those in units of price relative to the close, so that they compare across symbols.
What is computed on top of TA-Lib is one function, compiled in batch and plain in the stream: it
may add, multiply, divide and compare, where both agree to the bit, and nothing else. It divides by
what it has seen to be other than zero: divisions that could raise are not done in lanes.
TA-Lib's global settings (unstable periods, compatibility) are process-wide and must be left alone.
"""

from collections.abc import Callable, Mapping, Sequence
from math import nan
from typing import Any, Self

import numpy as np
import talib
from numba import njit
from talib import abstract, stream

from don.features.base import Feature, Spec
from don.features.columns import PRICE, Floats
from don.features.joined import Stream

Finish = Callable[..., float]
Live = Callable[..., float]  # open, high, low, close, volume -> value
_CLOSE = PRICE.index("close")
_abstract: Any = abstract  # its functions are made at import


@njit(cache=True)
def ratio(value: float, close: float) -> float:
    """How far the close is above an average, relative."""
    return close / value - 1.0 if value else nan


@njit(cache=True)
def ratio_or_none(value: float, close: float) -> float:
    """How far the close is above an average, relative; 0 as long as there is no average."""
    return close / value - 1.0 if value else 0.0


@njit(cache=True)
def part_of_close(value: float, close: float) -> float:
    """An amount in units of price, relative to the close."""
    return value / close if close else nan


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
    return 0.5 if upper - lower <= 0.0 else (close - lower) / (upper - lower)


@njit(cache=True)
def band_width(upper: float, middle: float, lower: float, close: float) -> float:
    """How far the bands are apart, relative to the middle."""
    return (upper - lower) / middle if middle else nan


@njit(cache=True)
def difference(first: float, second: float, close: float) -> float:
    """The first output less the second."""
    return first - second


@njit(cache=True)
def from_bottom(value: float, close: float) -> float:
    """A percentage from -100 to 0 as a fraction from 0 to 1."""
    return 1.0 + value / 100.0


@njit(cache=True)
def _each_one(finish: Any, a: Floats, close: Floats) -> Floats:
    for i in range(len(close)):
        a[i] = finish(a[i], close[i]) if a[i] == a[i] else nan
    return a


@njit(cache=True)
def _each_two(finish: Any, a: Floats, b: Floats, close: Floats) -> Floats:
    for i in range(len(close)):
        a[i] = finish(a[i], b[i], close[i]) if a[i] == a[i] else nan
    return a


@njit(cache=True)
def _each_three(finish: Any, a: Floats, b: Floats, c: Floats, close: Floats) -> Floats:
    for i in range(len(close)):
        a[i] = finish(a[i], b[i], c[i], close[i]) if a[i] == a[i] else nan
    return a


_EACH = {1: _each_one, 2: _each_two, 3: _each_three}


class TalibFeature(Feature):
    """One TA-Lib function, its parameters, and what is made of its outputs.

    Args:
        spec: name, kind, parameters, version.
        function: TA-Lib's name of it.
        inputs: columns in the order of the function's arguments.
        arguments: the function's parameters.
        outputs: which of its outputs go into `finish`; one to three.
        finish: outputs and close -> value; compiled, of plain arithmetic.
        endless: see `Feature`.
    """

    def __init__(
        self,
        spec: Spec,
        function: str,
        inputs: tuple[str, ...],
        arguments: tuple[float, ...],
        finish: Finish = plain,
        outputs: tuple[int, ...] = (0,),
        endless: bool = False,
    ) -> None:
        self.spec, self.endless = spec, endless
        self.inputs = inputs if "close" in inputs else (*inputs, "close")
        self._function, self._columns, self._arguments = function, inputs, arguments
        self._finish, self._outputs = finish, outputs
        self._places = tuple(PRICE.index(name) for name in inputs)
        self._scalar: Finish = finish.py_func  # type: ignore[attr-defined]
        about = _abstract.Function(function)
        about.set_parameters(dict(zip(about.parameters, arguments, strict=True)))
        self.warm_up = int(about.lookback)
        self._single = len(about.output_names) == 1
        self._history: list[list[float]] = [[] for _ in inputs]
        # Takes open, high, low, close, volume. Public to the engine: it spares a call a bar.
        self.live: Live = self._collect
        self.stream: Stream | None = None  # once it is open

    def fresh(self) -> Self:
        """A stream that has seen nothing."""
        return type(self)(
            self.spec,
            self._function,
            self._columns,
            self._arguments,
            self._finish,
            self._outputs,
            self.endless,
        )

    def batch(self, columns: Mapping[str, Floats]) -> Floats:
        """Values [time]; NaN during warm-up."""
        close = np.ascontiguousarray(columns["close"], np.float64)
        if len(close) <= self.warm_up:
            return np.full(len(close), np.nan)
        found = getattr(talib, self._function)(*self._arrays(columns), *self._arguments)
        return self._finished(found if isinstance(found, list | tuple) else (found,), close)

    def advance(self, columns: Mapping[str, Floats]) -> Floats:
        """Take in many closed bars: their values. From the beginning, as fast as a batch."""
        close = np.ascontiguousarray(columns["close"], np.float64)
        if self._history and not self._history[0] and len(close) > 2 * self.warm_up + 2:
            opened = getattr(stream, self._function).open_and_fill
            handle, found = opened(*self._arrays(columns), *self._arguments)
            self._history = []
            self.live = self._connect(handle.update)
            return self._finished(found if isinstance(found, tuple) else (found,), close)
        prices = [np.asarray(columns[name], np.float64).tolist() if name in self.inputs
                  else [0.0] * len(close) for name in PRICE]  # fmt: skip
        return np.array([self.live(*bar) for bar in zip(*prices, strict=True)])

    def update(self, bar: Floats) -> float:
        """Take in a closed bar; its value, NaN during warm-up."""
        return self.live(*bar[: len(PRICE)].tolist())

    @property
    def open(self) -> bool:
        """Whether TA-Lib's stream has opened; from then on `live` stays the same."""
        return self.stream is not None

    def _arrays(self, columns: Mapping[str, Floats]) -> list[Floats]:
        return [np.ascontiguousarray(columns[name], np.float64) for name in self._columns]

    def _finished(self, outputs: Sequence[Floats], close: Floats) -> Floats:
        """Outputs, fresh from TA-Lib, as values: over the first of them, to spare an array."""
        chosen = [outputs[i] for i in self._outputs]
        if self._finish is plain:
            return chosen[0]
        each = _EACH[len(chosen)]
        try:
            values: Floats = each(self._finish, *chosen, close)
        except ReferenceError:
            # numba compiled it, but cannot write a cache index that names a function which another
            # process passed ("underlying object has vanished"); what it compiled is there
            values = each(self._finish, *chosen, close)
        return values

    def _collect(self, *prices: float) -> float:
        """Keep bars until TA-Lib can open a stream on them; then its value at this bar."""
        for values, place in zip(self._history, self._places, strict=True):
            values.append(prices[place])
        if len(self._history[0]) <= self.warm_up:
            return float("nan")
        arrays = [np.array(values) for values in self._history]
        try:
            handle = getattr(stream, self._function)(*arrays, *self._arguments)
        except talib.InsufficientHistory:
            return float("nan")
        self._history = []
        self.live = self._connect(handle.update)
        found = handle.value
        parts = found if isinstance(found, tuple) else (found,)
        return self._scalar(*(parts[i] for i in self._outputs), prices[_CLOSE])

    def _connect(self, update: Callable[..., Any]) -> Live:
        """The shortest way from a bar through an open stream to the value."""
        finish, places, outputs = self._scalar, self._places, self._outputs
        self.stream = Stream(update, places, () if self._single else outputs, finish)
        if self._single and self._finish is plain and self._columns == ("close", "volume"):
            return lambda o, h, l, c, v: update(c, v)  # noqa: E741
        if self._single and self._columns == ("close",):
            return lambda o, h, l, c, v: finish(update(c), c)  # noqa: E741
        if self._single and self._columns == ("high", "low", "close"):
            return lambda o, h, l, c, v: finish(update(h, l, c), c)  # noqa: E741
        if self._single:
            return lambda *p: finish(update(*[p[i] for i in places]), p[_CLOSE])
        if len(outputs) == 1:
            (output,) = outputs
            if self._columns == ("close",):
                return lambda o, h, l, c, v: finish(update(c)[output], c)  # noqa: E741
            if self._columns == ("high", "low", "close"):
                return lambda o, h, l, c, v: finish(update(h, l, c)[output], c)  # noqa: E741
            return lambda *p: finish(update(*[p[i] for i in places])[output], p[_CLOSE])
        if outputs == (0, 1, 2) and self._columns == ("close",):
            return lambda o, h, l, c, v: finish(*update(c), c)  # noqa: E741

        def chosen(*prices: float) -> float:
            found = update(*[prices[i] for i in places])
            return finish(*[found[i] for i in outputs], prices[_CLOSE])

        return chosen
