"""The certificate of a session: what was served live against one batch over the same bars. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from don.errors import DataError
from don.features.columns import COLUMNS, Floats, widened
from don.features.sets import FeatureSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """How many vectors (one a snapshot and symbol) are equal to the bit."""

    feature_set: str
    snapshots: int
    vectors: int
    equal: int
    missing: int  # snapshots that were served, but are not recorded or cannot be made again
    differences: dict[str, int] = field(default_factory=dict)  # feature -> vectors it differs in
    largest: dict[str, float] = field(default_factory=dict)  # feature -> greatest difference

    @property
    def share(self) -> float:
        """Share of the vectors that are equal; 0 if there are none."""
        return self.equal / self.vectors if self.vectors else 0.0

    @property
    def certified(self) -> bool:
        """Whether every vector that was served is equal."""
        return self.vectors > 0 and self.equal == self.vectors and not self.missing


def batch_of(features: FeatureSet, fed: Floats, known: NDArray[np.bool_]) -> Floats:
    """All features in one batch a symbol, over what the live ones were fed bar by bar.

    Args:
        features: the set.
        fed: [set, symbol, column] rows, oldest first.
        known: [set, symbol] whether the symbol had a history by then.

    Returns:
        [set, symbol, feature].
    """
    rows = widened(fed)
    T, N, _ = rows.shape
    out = np.full((T, N, len(features.names)), np.nan)
    for n in range(N):
        if not known[:, n].any():
            continue
        first = int(np.argmax(known[:, n]))
        own = {c: np.ascontiguousarray(rows[first:, n, i]) for i, c in enumerate(COLUMNS)}
        for place, feature in features.features:
            out[first:, n, place] = feature.batch(own)
    for place, of, cross in features.cross:
        out[:, :, place] = cross.across(out[:, :, of])
    return out


def certify(
    features: FeatureSet,
    batch: Floats,
    served: Mapping[int, Floats],
    versions: int,
) -> Certificate:
    """Compare what was served with a batch.

    Args:
        features: the set.
        batch: [set, symbol, feature]; its last `versions` sets are those of the snapshots.
        served: values [symbol, feature] by snapshot version, from 1 on.
        versions: how many snapshots the bars make.

    Raises:
        DataError: if there are fewer sets than snapshots.
    """
    if len(batch) < versions:
        raise DataError(f"{versions} snapshots cannot come of {len(batch)} sets of bars")
    offset, equal, vectors, missing = len(batch) - versions, 0, 0, 0
    differences = np.zeros(len(features.names), np.int64)
    largest = np.zeros(len(features.names))
    for version, values in served.items():
        if not 1 <= version <= versions:
            missing += 1
            continue
        again = batch[offset + version - 1]
        same = (values == again) | (np.isnan(values) & np.isnan(again))
        vectors += len(values)
        equal += int(same.all(axis=1).sum())
        differences += (~same).sum(axis=0)
        gap = np.where(same, 0.0, np.abs(values - again))
        largest = np.fmax(largest, np.where(np.isnan(gap), np.inf, gap).max(axis=0))
    wrong = np.flatnonzero(differences).tolist()
    return Certificate(
        feature_set=features.hash,
        snapshots=len(served),
        vectors=vectors,
        equal=equal,
        missing=missing,
        differences={features.names[i]: int(differences[i]) for i in wrong},
        largest={features.names[i]: float(largest[i]) for i in wrong},
    )
