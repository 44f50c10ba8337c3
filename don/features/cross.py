"""Features that compare the symbols with each other at one bar. Pure and without state."""

import numpy as np

from don.features.base import CrossFeature, Spec
from don.features.columns import Floats


class Rank(CrossFeature):
    """Rank of a symbol's value among all symbols, from -0.5 (lowest) to 0.5; ties share theirs.

    With fewer than two known values there is nothing to rank: 0 for the one that is known.
    """

    def __init__(self, spec: Spec, of: str) -> None:
        self.spec, self.of = spec, of

    def across(self, values: Floats) -> Floats:
        """[..., symbol] from [..., symbol]."""
        known = np.isfinite(values)
        a, b = values[..., :, None], values[..., None, :]
        below = np.sum((b < a) & known[..., None, :], axis=-1)
        equal = np.sum((b == a) & known[..., None, :], axis=-1) - 1
        others = np.maximum(known.sum(axis=-1, keepdims=True) - 1, 1)
        alone = known.sum(axis=-1, keepdims=True) < 2
        rank = np.where(alone, 0.0, (below + 0.5 * equal) / others - 0.5)
        return np.where(known, rank, np.nan)
