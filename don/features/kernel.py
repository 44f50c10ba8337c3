"""Features made of a compiled step over explicit state. Pure."""

from collections.abc import Callable, Mapping
from typing import Self

import numpy as np

from don.features.base import Feature, Spec
from don.features.columns import PLACE, Floats, Ints, stacked
from don.features.kernels import HEAD, ready, scan

Step = Callable[[Floats, Floats, Ints], float]


class KernelFeature(Feature):
    """A feature by a step of `don.features.kernels`, or any compiled function of that form.

    Args:
        spec: name, kind, parameters, version.
        step: compiled (state, row, at) -> value.
        inputs: columns that the step reads, in its order.
        window: n, at least 1.
        rings: how many rings of n values the state holds.
        warm_up: bars before the first value.
    """

    def __init__(
        self,
        spec: Spec,
        step: Step,
        inputs: tuple[str, ...],
        *,
        window: int = 1,
        rings: int = 0,
        warm_up: int = 0,
    ) -> None:
        self.spec, self.inputs, self.warm_up = spec, inputs, warm_up
        self._step, self._window, self._rings = ready(step), window, rings
        self._at = np.array([PLACE[name] for name in inputs], np.int64)
        self._state = self._empty()

    def _empty(self) -> Floats:
        state = np.zeros(HEAD + self._rings * self._window)
        state[1] = self._window
        return state

    def fresh(self) -> Self:
        """A stream that has seen nothing."""
        return type(self)(
            self.spec,
            self._step,
            self.inputs,
            window=self._window,
            rings=self._rings,
            warm_up=self.warm_up,
        )

    def batch(self, columns: Mapping[str, Floats]) -> Floats:
        """Values [time]."""
        at = np.arange(len(self.inputs), dtype=np.int64)
        values: Floats = scan(self._step, self._empty(), stacked(columns, self.inputs), at)
        return values

    def advance(self, columns: Mapping[str, Floats]) -> Floats:
        """Take in many closed bars: their values."""
        at = np.arange(len(self.inputs), dtype=np.int64)
        values: Floats = scan(self._step, self._state, stacked(columns, self.inputs), at)
        return values

    def update(self, bar: Floats) -> float:
        """Take in a closed bar; its value."""
        return self._step(self._state, bar, self._at)
