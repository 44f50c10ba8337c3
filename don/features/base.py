"""What a feature is: batch over a history, or bar by bar, with equal results. Pure."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from don.features.columns import Floats, rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a feature is by name: the parts of its content hash."""

    name: str  # "rsi_14", unique in a set
    kind: str  # "rsi"
    params: tuple[int, ...]
    version: int  # rises when the same name begins to mean other numbers


class Feature(ABC):
    """A number for each bar of one symbol, from that bar and those before it.

    An instance is a stream: it holds the state of what it was fed. `update` over the bars of a
    history gives bit for bit what `batch` gives for it. NaN means: not yet known (see `warm_up`),
    or, for features of micro-structure, not observed.
    """

    spec: Spec
    inputs: tuple[str, ...]  # columns that it reads
    warm_up: int  # bars without a value before the first one
    # a sum or mean since the stream began: its values depend on how long it has run, for good
    endless: bool = False

    @property
    def name(self) -> str:
        """Its name in a feature set."""
        return self.spec.name

    @abstractmethod
    def fresh(self) -> Self:
        """A stream of the same feature that has seen nothing."""

    @abstractmethod
    def batch(self, columns: Mapping[str, Floats]) -> Floats:
        """Values [time] over columns [time], oldest first. Leaves the stream as it is."""

    @abstractmethod
    def update(self, bar: Floats) -> float:
        """Take in a closed bar, a row over `COLUMNS`; its value."""

    def advance(self, columns: Mapping[str, Floats]) -> Floats:
        """Take in many closed bars at once: their values, as `update` would give them.

        Args:
            columns: name -> [time], oldest first, beginning after the last bar taken in.
        """
        return np.array([self.update(bar) for bar in rows(columns)])

    def reopen(self, columns: Mapping[str, Floats]) -> None:
        """Take in many closed bars for the state alone; never dearer than `advance`."""
        self.advance(columns)


class CrossFeature(ABC):
    """A number for each symbol from the values of one feature over all symbols at the same bar."""

    spec: Spec
    of: str  # name of the feature that it compares

    @property
    def name(self) -> str:
        """Its name in a feature set."""
        return self.spec.name

    warm_up: int = 0  # bars without a value after what it compares has its first

    def fresh(self) -> Self:
        """A stream of the same feature that has seen nothing."""
        return self

    @abstractmethod
    def across(self, values: Floats) -> Floats:
        """A history: [time, symbol] from [time, symbol]; NaN stays NaN and counts for nothing."""

    def update(self, values: Floats) -> Floats:
        """Take in the values of one bar, [symbol]; what comes of them, [symbol]."""
        return self.across(values)
