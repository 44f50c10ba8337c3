"""Observations of a batch: parts, their places in a vector, their spaces. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from don.envs import gather
from don.envs.blocks import Block, make_blocks, never_known
from don.envs.config import Layout, ObservationConfig, Part
from don.envs.layout import EQUITY, RATE, Bools, Dynamics, Floats, Ints
from don.envs.market import EnvMarket
from don.envs.normalize import NormalizerState
from don.errors import DataError

Floats32 = NDArray[np.float32]
Observation = Floats32 | dict[str, Floats32]


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where a part lies in an agent's vector."""

    name: str
    start: int
    stop: int
    shape: tuple[int, ...]


class Observer:
    """Makes observations [B, A, ...] of A agents with n symbols each.

    Args:
        market: bars.
        config: what is seen.
        columns: [A, n] symbols of each agent.
        owner: [A] account of each agent.
        mine: [A] place of an agent's only symbol in its account, -1: all.
        states: of the normalisers, see `make_blocks`.
    """

    def __init__(
        self,
        market: EnvMarket,
        config: ObservationConfig,
        columns: Ints,
        owner: Ints,
        mine: Ints,
        states: Sequence[NormalizerState] = (),
    ) -> None:
        self.config, self._market = config, market
        self._columns, self._owner, self._mine = columns, owner, mine
        self.blocks: tuple[Block, ...] = make_blocks(market, config, states)
        self.slots = self._places()
        self.size = self.slots[-1].stop
        self.ready = self._ready()
        self.acts = self._acts()

    def _places(self) -> tuple[Slot, ...]:
        config, n, F = self.config, self._columns.shape[1], len(self.config.features)
        shapes: list[tuple[str, tuple[int, ...]]] = []
        for part in config.parts:
            match part:
                case Part.WINDOW:
                    shapes.append((part.value, (n, config.window, F)))
                case Part.FRAMES:
                    for length in config.frames:
                        shapes.append((f"frame_{length}", (n, config.frame_window, F)))
                case Part.BOOK:
                    shapes.append((part.value, (n, 2, config.levels, 2)))
                case Part.ACCOUNT:
                    shapes.append((part.value, (gather.account_size(n),)))
        found, at = [], 0
        for name, shape in shapes:
            size = int(np.prod(shape))
            found.append(Slot(name=name, start=at, stop=at + size, shape=shape))
            at += size
        return tuple(found)

    def _ready(self) -> Bools:
        """[T] bars that can be observed, and on which can be decided: the next one is there."""
        market, config = self._market, self.config
        used = np.unique(self._columns[self._columns >= 0])
        listed = np.asarray(market.listed[:, used].all(axis=1))
        following = np.zeros(len(listed), np.bool_)
        for segment in market.segments:  # on whose next bar all symbols can still be traded
            own = slice(segment.start, segment.stop - 1)
            following[own] = listed[segment.start + 1 : segment.stop]
        ready = listed & following
        widths = [config.window, *([config.frame_window] * len(config.frames))]
        for block, width in zip(self.blocks, widths, strict=True):
            good = block.known[:, used].all(axis=1)
            run = np.concatenate([[0], np.cumsum(good)])
            row = block.row_of
            begin = row - width + 1
            inside = (row >= 0) & (begin >= block.first)
            full = run[np.maximum(row, 0) + 1] - run[np.maximum(begin, 0)] == width
            ready &= inside & full
        return np.asarray(ready)

    def _acts(self) -> Bools:
        """[T] bars on which what is asked for is carried out; elsewhere positions stay.

        A desk's window fills anew behind a bar that no symbol has, since a desk cannot tell a bar
        that does not exist from one that it missed; until then, and in the hole, it does nothing.
        """
        recorded, window = self._market.recorded, self.config.window
        acts = np.zeros(len(recorded), np.bool_)
        for segment in self._market.segments:
            place = np.arange(segment.start, segment.stop)
            lacks = np.where(recorded[place], segment.start - 1, place)
            acts[place] = place - np.maximum.accumulate(lacks) >= window
        return acts

    @property
    def holed(self) -> bool:
        """Whether there are bars that can be observed and not be acted on."""
        return not bool(self.acts[self.ready].all())

    def check(self) -> None:
        """Make sure that there is something to observe.

        Raises:
            DataError: naming the features that have no value, or how much history is needed.
        """
        if (self.ready & self.acts).any():
            return
        if self.ready.any():
            raise DataError(
                f"too little history: a window of {self.config.window} bars is never full, bars "
                "that no symbol has lie between: give more complete bars or a shorter window"
            )
        warm = self.config.feature_set(self._market.interval_ns).warm_up
        longest = max(s.stop - s.start for s in self._market.segments)
        dead = never_known(self._market, self.config)
        if dead and longest > warm:
            raise DataError(
                f"features {', '.join(dead)} have no value in these data (NaN): "
                f"{'; '.join(f'{name} {why}' for name, why in dead.items())}. Bars have "
                f"{', '.join(self._market.columns())}: choose others"
            )
        needed = warm + self.config.window + 1
        for length in self.config.frames:
            needed = max(needed, (warm + self.config.frame_window + 1) * length)
        raise DataError(
            f"too little history: no bar can be observed; features, windows and frames need about "
            f"{needed} bars in a row of all symbols, the longest stretch has {longest}"
        )

    def space(self) -> gym.Space[object]:
        """Of one agent."""
        if self.config.layout is Layout.DICT:
            return gym.spaces.Dict(
                {s.name: gym.spaces.Box(-np.inf, np.inf, s.shape, np.float32) for s in self.slots}
            )
        return gym.spaces.Box(-np.inf, np.inf, (self.size,), np.float32)

    def fill(self, dynamics: Dynamics, bar_of: Ints, left: Floats, out: Floats32) -> None:
        """Write observations [B, A, D] of where episodes stand.

        Args:
            dynamics: accounts.
            bar_of: [B].
            left: [B] part of the episode that is left.
            out: overwritten.
        """
        config = self.config
        block = 1
        for slot in self.slots:
            if slot.name == Part.WINDOW:
                first = self.blocks[0]
                gather.windows(first.values, first.row_of, bar_of, self._columns, config.window,
                               out, slot.start)  # fmt: skip
            elif slot.name == Part.BOOK:
                K = len(dynamics.columns)
                equity = dynamics.money[:, EQUITY].reshape(-1, K)[:, self._owner]
                gather.book_image(
                    dynamics.bars, dynamics.spec, dynamics.rules, bar_of, self._columns,
                    config.levels, equity, out, slot.start,
                )  # fmt: skip
            elif slot.name == Part.ACCOUNT:
                gather.accounts(
                    dynamics.bars, dynamics.spec, dynamics.money, dynamics.book, bar_of, left,
                    dynamics.columns, self._owner, self._mine, out, slot.start,
                )  # fmt: skip
            else:
                frame = self.blocks[block]
                block += 1
                gather.windows(frame.values, frame.row_of, bar_of, self._columns,
                               config.frame_window, out, slot.start)  # fmt: skip

    def shaped(self, flat: Floats32) -> Observation:
        """[..., D] as the layout asks: views, nothing is copied."""
        if self.config.layout is Layout.FLAT:
            return flat
        lead = flat.shape[:-1]
        return {s.name: flat[..., s.start : s.stop].reshape(*lead, *s.shape) for s in self.slots}


def select(observation: Observation, index: Any) -> Any:
    """The same rows of every part."""
    if isinstance(observation, Mapping):
        return {name: values[index] for name, values in observation.items()}
    return observation[index]


__all__ = ["RATE", "Observation", "Observer", "Slot", "select"]
