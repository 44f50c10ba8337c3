"""From distribution inputs to actions. Pure."""

import numpy as np
from numpy.typing import NDArray

from don.envs.layout import Floats
from don.learning.shapes import ActionShape

DIGITS = 6  # decimals of continuous actions: the last bits of tanh differ between machines


def choose(
    inputs: Floats, action: ActionShape, *, squash: bool, rng: np.random.Generator | None
) -> NDArray[np.generic]:
    """Actions [R, ...] of distribution inputs [R, P]: the likeliest, or drawn with `rng`.

    Choices are drawn by adding Gumbel noise to logits (Maddison et al., 2014), numbers of a box
    from a normal distribution. They are not cut to the box: the environment does that.
    """
    R = len(inputs)
    if action.parts:
        scores = inputs if rng is None else inputs + rng.gumbel(size=inputs.shape)
        out = np.empty((R, len(action.parts)), np.int64)
        at = 0
        for place, count in enumerate(action.parts):
            out[:, place] = scores[:, at : at + count].argmax(axis=1)
            at += count
        return out[:, 0] if action.scalar else out
    half = len(action.low)
    values = inputs[:, :half]
    if rng is not None:
        values = values + np.exp(inputs[:, half:]) * rng.standard_normal(values.shape)
    if squash:
        low, high = np.array(action.low), np.array(action.high)
        values = low + (np.tanh(values) + 1.0) / 2.0 * (high - low)
    return np.round(values, DIGITS).astype(np.float32)
