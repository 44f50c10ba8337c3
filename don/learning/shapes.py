"""What a network reads and says, in numbers that are stored beside it. Pure."""

import math
from collections.abc import Mapping
from typing import Self

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from don.envs.config import EnvConfig, Part
from don.envs.core import AGENTS, BatchEnv
from don.envs.gather import ACCOUNT
from don.envs.observe import Observation
from don.errors import UsageError
from don.model.section import Section


class SlotShape(Section):
    """A part of an agent's flat observation, in its own shape."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)

    @property
    def is_series(self) -> bool:
        """Whether it is [symbol, bar, feature]."""
        return self.name == Part.WINDOW or self.name.startswith("frame_")


class ObservationShape(Section):
    """An agent's observation: parts after one another in a vector of D numbers."""

    slots: tuple[SlotShape, ...] = Field(min_length=1)
    symbols: int = Field(ge=0)  # n of an agent; 0: the parts do not speak of symbols

    @property
    def size(self) -> int:
        """D."""
        return sum(slot.size for slot in self.slots)

    def place(self, index: int) -> str:
        """Name of a number, for messages: `window[0, 3, 2]`."""
        for slot in self.slots:
            if index < slot.size:
                at = np.unravel_index(index, slot.shape)
                return f"{slot.name}[{', '.join(str(int(i)) for i in at)}]"
            index -= slot.size
        raise IndexError(index)


class ActionShape(Section):
    """An agent's action: a choice in each of some parts, or numbers in a box."""

    parts: tuple[int, ...] = ()  # choices of each part; empty: a box
    scalar: bool = False  # one choice, without an axis of its own
    low: tuple[float, ...] = ()  # of the box
    high: tuple[float, ...] = ()

    @classmethod
    def of(cls, space: gym.Space[object]) -> Self:
        """Of a space of an environment.

        Raises:
            UsageError: if it is none of Discrete, MultiDiscrete, Box.
        """
        match space:
            case gym.spaces.Discrete():
                return cls(parts=(int(space.n),), scalar=True)
            case gym.spaces.MultiDiscrete():
                return cls(parts=tuple(int(n) for n in space.nvec.reshape(-1)))
            case gym.spaces.Box():
                return cls(
                    low=tuple(space.low.reshape(-1).tolist()),
                    high=tuple(space.high.reshape(-1).tolist()),
                )
        raise UsageError(f"action space must be Discrete, MultiDiscrete or Box, was {space}")

    @property
    def inputs(self) -> int:
        """P: logits of all parts, or means and then logarithms of deviations."""
        return sum(self.parts) if self.parts else 2 * len(self.low)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one action."""
        if self.scalar:
            return ()
        return (len(self.parts or self.low),)


def observation_shapes(env: BatchEnv) -> dict[str, ObservationShape]:
    """Of each group of agents of an environment."""
    found = {}
    for name, group in env.groups.items():
        if name == AGENTS:
            slots = tuple(SlotShape(name=s.name, shape=s.shape) for s in env.observer.slots)
            n = env.roles.seen.shape[1]
        else:
            space = group.observation_space
            assert isinstance(space, gym.spaces.Box)
            slots, n = (SlotShape(name="account", shape=space.shape),), 0
        found[name] = ObservationShape(slots=slots, symbols=n)
    return found


def observation_shape(config: EnvConfig, symbols: int) -> ObservationShape:
    """Of agents with n symbols each, from the configuration alone."""
    seen, n = config.observation, symbols
    F = len(seen.features)
    slots: list[SlotShape] = []
    for part in seen.parts:
        match part:
            case Part.WINDOW:
                slots.append(SlotShape(name=part.value, shape=(n, seen.window, F)))
            case Part.FRAMES:
                slots += [
                    SlotShape(name=f"frame_{length}", shape=(n, seen.frame_window, F))
                    for length in seen.frames
                ]
            case Part.BOOK:
                slots.append(SlotShape(name=part.value, shape=(n, 2, seen.levels, 2)))
            case Part.ACCOUNT:
                slots.append(SlotShape(name=part.value, shape=(2 * n + ACCOUNT,)))
    return ObservationShape(slots=tuple(slots), symbols=n)


def flat(observation: Observation, shape: ObservationShape) -> NDArray[np.float32]:
    """[..., D] of an observation in either layout."""
    if not isinstance(observation, Mapping):
        return observation
    parts = []
    for slot in shape.slots:
        values = observation[slot.name]
        lead = values.shape[: values.ndim - len(slot.shape)]
        parts.append(values.reshape(*lead, slot.size))
    return np.concatenate(parts, axis=-1)
