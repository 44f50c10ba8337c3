"""Random numbers by seed, episode and purpose, without a state that must be kept. Pure.

Each slot of a batch draws from its own seed, so an episode does not depend on how many others run
beside it: a batch of one draws what the same slot of a batch of many draws.

Source: SplitMix64: Steele, Lea & Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014.
"""

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser."""
    with np.errstate(over="ignore"):
        z = values + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _FIRST
        z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


def uniforms(seeds: NDArray[np.int64], episodes: NDArray[np.int64], count: int) -> np.ndarray:
    """[B, count] numbers from 0, below 1.

    Args:
        seeds: [B] not negative.
        episodes: [B] number of the episode in its slot.
        count: how many a slot.
    """
    base = mix(mix(seeds.astype(np.uint64)) ^ mix(episodes.astype(np.uint64) + np.uint64(1)))
    place = mix(np.arange(count, dtype=np.uint64))
    bits = mix(base[:, None] ^ place[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
