"""Models for tests: an untrained one says nearly the same to everything, these do not."""

from dataclasses import replace

import numpy as np

from don.learning.model import Model


def loud(model: Model, seed: int) -> Model:
    """The model with noise on every weight."""
    rng = np.random.default_rng(seed)
    weights = {
        policy: {k: v + rng.normal(size=v.shape, scale=0.3).astype("f4") for k, v in own.items()}
        for policy, own in model.weights.items()
    }
    return replace(model, weights=weights)
