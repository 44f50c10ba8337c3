"""Features that are a function of the last n bars. Pure.

The function gets the window as an array, oldest bar first, and nothing else: it cannot look ahead,
and its value does not depend on how long the stream has run.
"""

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from numba import float64, int64, njit, types

from don.features.base import Feature, Spec
from don.features.columns import PLACE, TIME, Floats, Ints, close_times, stacked

Kernel = Callable[[Floats, Ints], float]
SIGNATURE = float64(types.Array(float64, 2, "A"), types.Array(int64, 1, "C"))
_SCAN = types.Array(float64, 1, "C")(
    types.FunctionType(SIGNATURE), types.Array(float64, 2, "C"), int64, types.Array(int64, 1, "C")
)


def _scan(kernel: Kernel, columns: Floats, n: int, params: Ints) -> Floats:
    """A kernel over all windows of [input, time]: values [time]."""
    out = np.full(columns.shape[1], np.nan)
    for t in range(n - 1, columns.shape[1]):
        out[t] = kernel(columns[:, t - n + 1 : t + 1], params)
    return out


# Compiled once for all kernels: they are called through pointers of one signature.
_compiled_scan: Any = njit(cache=True)(_scan)


def compiled(kernel: Any) -> Any:
    """A numba dispatcher made ready for `SIGNATURE`, and for no other."""
    if not kernel.signatures:
        kernel.compile(SIGNATURE)
        kernel.disable_compile()
    if not _compiled_scan.signatures:
        _compiled_scan.compile(_SCAN)
        _compiled_scan.disable_compile()
    return kernel


class WindowFeature(Feature):
    """A function of the last `window` bars of some columns.

    Args:
        spec: name, kind, parameters, version.
        kernel: (window [input, n], params) -> value; a numba dispatcher, or plain Python.
        inputs: columns in the order of the window's rows.
        window: n, at least 1.
        params: what the kernel gets beside the window.
    """

    def __init__(
        self,
        spec: Spec,
        kernel: Any,
        inputs: tuple[str, ...],
        *,
        window: int,
        params: tuple[int, ...] = (),
    ) -> None:
        self.spec, self.inputs, self.warm_up = spec, inputs, window - 1
        self.compiled = hasattr(kernel, "py_func")
        self._kernel = compiled(kernel) if self.compiled else kernel
        self._window, self._params = window, np.array(params or (0,), np.int64)
        self._at = [PLACE[name] for name in inputs]
        self._clear()

    def _clear(self) -> None:
        # twice the window: the newest n bars always lie side by side, oldest first
        self._room = np.zeros((len(self.inputs), 2 * self._window))
        self._end = 0

    def fresh(self) -> Self:
        """A stream that has seen nothing."""
        return type(self)(
            self.spec,
            self._kernel,
            self.inputs,
            window=self._window,
            params=tuple(self._params.tolist()),
        )

    def batch(self, columns: Mapping[str, Floats]) -> Floats:
        """Values [time]."""
        return self._over(self._stacked(columns))

    def advance(self, columns: Mapping[str, Floats]) -> Floats:
        """Take in many closed bars: their values."""
        new = self._stacked(columns)
        before = self._room[:, max(self._end - self._window + 1, 0) : self._end]
        values = self._over(np.hstack([before, new]))[before.shape[1] :]
        kept = np.hstack([before, new])[:, -self._window :]
        self._end = kept.shape[1]
        self._room[:, : self._end] = kept
        return values

    def reopen(self, columns: Mapping[str, Floats]) -> None:
        """Take in many closed bars for the state alone: the last of them are all it needs."""
        self.advance({name: columns[name][-self._window :] for name in columns if name in PLACE})

    def update(self, bar: Floats) -> float:
        """Take in a closed bar; its value."""
        room, n = self._room, self._window
        if self._end == 2 * n:
            room[:, :n] = room[:, n:]
            self._end = n
        room[:, self._end] = bar[self._at]
        self._end += 1
        if self._end < n:
            return float("nan")
        return self._kernel(room[:, self._end - n : self._end], self._params)

    def _stacked(self, columns: Mapping[str, Floats]) -> Floats:
        if TIME in self.inputs:
            close_times(columns, self.name)
        return stacked(columns, self.inputs)

    def _over(self, stacked: Floats) -> Floats:
        if not self.compiled:
            return _scan(self._kernel, stacked, self._window, self._params)
        values: Floats = _compiled_scan(self._kernel, stacked, self._window, self._params)
        return values
