"""Agents that compete inside one matching engine, where their orders move the price. Pure.

Market makers quote both sides, takers send market orders, and noise traders do both around a value
that wanders. Unlike in `BatchEnv` there is no recorded market: the price is what agents make it.
The same interface: groups `makers` and `takers`, [B, A, ...] arrays, nothing resets itself.

Source of the setting: Spooner et al., "Market making via reinforcement learning", AAMAS 2018; the
noise follows Cont, Stoikov & Talreja, Operations Research 58(3), 2010 (limit, market and cancelled
orders at random), with market orders leaning to the value as in Glosten & Milgrom, 1985.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from pydantic import Field

from don.envs import arena_kernel as kernel
from don.envs.actions import finite
from don.envs.arena_kernel import CASH, FEES, HELD
from don.envs.core import Group, Step
from don.envs.draws import mix
from don.envs.layout import Bools
from don.envs.observe import Observation
from don.envs.parallel import ParallelTrading
from don.errors import UsageError
from don.model.section import Section
from don.paper.ladder import make_store

MAKERS, TAKERS = "makers", "takers"
OWN = 4  # numbers that an agent sees of itself
SHARED = 4  # and of the market, besides the book


class ArenaConfig(Section):
    """A market of competing agents. Prices are ticks, sizes lots."""

    makers: int = Field(default=1, ge=0, le=64)
    takers: int = Field(default=1, ge=0, le=64)
    length: int = Field(default=200, ge=1)  # steps
    price: int = Field(default=10_000, ge=100)  # ticks, at the beginning
    sigma: float = Field(default=0.0005, ge=0, lt=0.1)  # of the value's log move a step
    noise: int = Field(default=8, ge=0, le=1000)  # noise orders a step
    resting: int = Field(default=64, ge=4, le=4096)  # noise limit orders that rest at most
    limits: float = Field(default=0.6, ge=0, le=1)  # share of noise orders that are limit orders
    noise_size: int = Field(default=10, ge=1)  # lots, at most
    reach: float = Field(default=8.0, gt=0)  # mean distance of noise limit orders from the value
    lean: float = Field(default=0.2, ge=0, le=0.5)  # of noise market orders towards the value
    size: int = Field(default=20, ge=1)  # greatest order of an agent, lots
    offset: float = Field(default=20.0, gt=1)  # greatest distance of a maker's quote, ticks
    inventory: int = Field(default=200, ge=1)  # an agent's orders do not go beyond, lots
    capital: float = Field(default=10_000_000.0, gt=0)  # ticks * lots
    maker_fee: float = Field(default=-0.00002, gt=-0.01, lt=0.01)  # negative is a rebate
    taker_fee: float = Field(default=0.00005, ge=0, lt=0.01)
    penalty: float = Field(default=0.0, ge=0)  # of squared inventory, parts of the limit
    levels: int = Field(default=5, ge=1, le=50)  # of the book image, a side
    seed: int = Field(default=0, ge=0)


class ArenaBatch:
    """B books with the same agents.

    Args:
        config: of the market.
        batch: B.
    """

    def __init__(self, config: ArenaConfig, batch: int = 1) -> None:
        if not config.makers + config.takers or batch < 1:
            raise UsageError("an arena needs one agent and one book at least")
        self.config, self.batch = config, batch
        self._A = config.makers + config.takers
        self._room = config.resting + 2 * config.makers + 8
        store = make_store(self._room)
        self._blank = store
        self._books = [np.repeat(np.asarray(part)[None], batch, axis=0) for part in store]
        self._rng = np.zeros(batch, np.uint64)
        self._ring = np.zeros((batch, config.resting), np.int64)
        self._state = np.zeros((batch, 6))
        self.accounts = np.zeros((batch, self._A + 1, 5))
        self._quotes = np.zeros((batch, max(config.makers, 1), 2), np.int64)
        self.marks = np.zeros(batch)
        self._before = np.zeros(batch)
        self._fills = np.zeros((self._room + 8, 3), np.int64)
        self._age = np.zeros(batch, np.int64)
        self._equity = np.zeros((batch, self._A))
        self._dead = np.zeros((batch, self._A), np.bool_)
        self.done = np.ones(batch, np.bool_)
        self.episode = np.zeros(batch, np.int64)
        self._seeds = config.seed + np.arange(batch, dtype=np.int64)
        self._noise = (config.limits, float(config.noise_size), config.reach, config.lean)
        self._fees = (config.maker_fee, config.taker_fee)
        size = OWN + SHARED + 4 * config.levels
        space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        names = {
            MAKERS: (config.makers, gym.spaces.Box(-1.0, 1.0, (3,), np.float32)),
            TAKERS: (config.takers, gym.spaces.Box(-1.0, 1.0, (1,), np.float32)),
        }
        self.groups = {
            name: Group(
                name=name, agents=tuple(f"{name[:-1]}_{i}" for i in range(count)),
                observation_space=space, action_space=actions,
            )
            for name, (count, actions) in names.items() if count
        }  # fmt: skip

    @property
    def equity(self) -> np.ndarray:
        """[B, A + 1] cash and inventory at the middle of the book; the noise last."""
        held = self.accounts[:, :, HELD] * self.marks[:, None]
        return np.asarray(self.accounts[:, :, CASH] + held)

    def reset(
        self, seed: int | None = None, which: Bools | None = None, starts: object = None
    ) -> dict[str, Observation]:
        """Begin episodes anew; slot b draws from seed + b."""
        if starts is not None:
            raise UsageError("an arena has no bars to start at: start must not be given")
        chosen = np.ones(self.batch, np.bool_) if which is None else np.asarray(which, np.bool_)
        if seed is not None:
            self._seeds = seed + np.arange(self.batch, dtype=np.int64)
            self.episode[:] = 0
        self.episode[chosen] += 1
        fresh = mix(mix(self._seeds.astype(np.uint64)) ^ self.episode.astype(np.uint64))
        self._rng[chosen] = fresh[chosen]
        for part, blank in zip(self._books, self._blank, strict=True):
            part[chosen] = blank
        self._ring[chosen], self._quotes[chosen], self._age[chosen] = 0, 0, 0
        self._state[chosen] = 0.0
        self._state[chosen, kernel.VALUE] = self._state[chosen, kernel.LAST] = self.config.price
        self.accounts[chosen] = 0.0
        kernel.begin(
            *self._books, chosen, self._rng, self._ring, self._state, self.accounts, self._fees,
            self._fills, self._noise,
        )  # fmt: skip
        self.accounts[chosen] = 0.0
        self.accounts[chosen, :, CASH] = self.config.capital
        self.marks[chosen] = self.config.price
        self._before[chosen] = self.config.price
        self._equity[chosen] = self.config.capital
        self._dead[chosen] = False
        self.done[chosen] = False
        return self.observe()

    def step(self, actions: Mapping[str, np.ndarray], *, observe: bool = True) -> Step:
        """One step of every book that is not done.

        Args:
            actions: makers [B, A, 3]: distance of bid, of ask, size; takers [B, A, 1]: signed
                size; all from -1 to 1, cut to that.
            observe: whether to make observations.
        """
        config, B = self.config, self.batch
        if set(actions) != set(self.groups):
            raise UsageError(f"actions must be of {sorted(self.groups)}, were of {sorted(actions)}")
        active = ~self.done
        if not active.any():
            raise UsageError("every episode is done: reset before stepping on")
        wishes = np.zeros((B, self._A, 3))
        held = self.accounts[:, : self._A, HELD]
        for name, group in self.groups.items():
            shape = (B, len(group.agents), *(group.action_space.shape or ()))
            if np.shape(actions[name]) != shape:
                raise UsageError(f"actions of {name} must be {shape}, were {actions[name].shape}")
            box = np.clip(finite(actions[name]), -1.0, 1.0)
            if name == MAKERS:
                wishes[:, : config.makers, :2] = 1 + (box[..., :2] + 1) / 2 * (config.offset - 1)
                wishes[:, : config.makers, 2] = np.rint((box[..., 2] + 1) / 2 * config.size)
            else:
                own = held[:, config.makers :]
                wanted = np.rint(box[..., 0] * config.size)
                low, high = -config.inventory - own, config.inventory - own
                wishes[:, config.makers :, 0] = np.clip(
                    wanted, np.minimum(low, 0), np.maximum(high, 0)
                )
        self._before = np.where(active, self.marks, self._before)
        kernel.step_arena(
            *self._books, active, self._rng, self._ring, self._state, self.accounts, self._quotes,
            config.makers, wishes, self._dead, config.inventory, self.marks, self._fees,
            self._fills, self._noise, config.sigma, config.noise,
        )  # fmt: skip
        self._age += active
        equity = self.equity[:, : self._A]
        part = self.accounts[:, : self._A, HELD] / config.inventory
        gained = (equity - self._equity) / config.capital * 100.0 - config.penalty * part**2
        gained = np.where(active[:, None] & ~self._dead, gained, 0.0)
        self._equity = equity
        self._dead |= (equity <= 0) & active[:, None]  # who is ruined trades no more
        dead = self._dead.copy()
        truncated = (self._age >= config.length) & active
        self.done = self.done | truncated | dead.all(axis=1)
        split = {MAKERS: slice(0, config.makers), TAKERS: slice(config.makers, self._A)}
        return Step(
            observations=self.observe() if observe else {},
            rewards={name: gained[:, split[name]] for name in self.groups},
            terminated={name: np.asarray(dead[:, split[name]], np.bool_) for name in self.groups},
            truncated=truncated,
            done=self.done.copy(),
        )

    def observe(self) -> dict[str, Observation]:
        """Of each agent: inventory, equity, fees, time left; then the market; then the book."""
        config, B = self.config, self.batch
        book = np.zeros((B, 2, config.levels, 2))
        kernel.image(
            self._books[1], self._books[2], self._books[4], self.marks, config.levels, book
        )
        out = np.zeros((B, self._A, OWN + SHARED + 4 * config.levels), np.float32)
        own = self.accounts[:, : self._A]
        out[:, :, 0] = own[:, :, HELD] / config.inventory
        out[:, :, 1] = self.equity[:, : self._A] / config.capital - 1.0
        out[:, :, 2] = own[:, :, FEES] / config.capital
        out[:, :, 3] = 1.0 - self._age[:, None] / config.length
        spread = book[:, 1, 0, 0] - book[:, 0, 0, 0]
        bid, ask = book[:, 0, 0, 1], book[:, 1, 0, 1]
        flow = self._state[:, [kernel.BOUGHT, kernel.SOLD]]
        shared = np.stack(
            [
                np.log(np.maximum(self.marks, 1) / np.maximum(self._before, 1)) * 1000.0,
                spread / config.offset,
                (bid - ask) / np.maximum(bid + ask, 1.0),
                (flow[:, 0] - flow[:, 1]) / np.maximum(flow.sum(axis=1), 1.0),
            ],
            axis=1,
        )
        out[:, :, OWN : OWN + SHARED] = shared[:, None]
        book[..., 0] /= config.offset
        book[..., 1] /= config.size
        out[:, :, OWN + SHARED :] = book.reshape(B, 1, -1)
        split = {MAKERS: slice(0, config.makers), TAKERS: slice(config.makers, self._A)}
        return {name: np.ascontiguousarray(out[:, split[name]]) for name in self.groups}


class ArenaParallel(ParallelTrading):
    """PettingZoo view of one book.

    Args:
        config: of the market.
    """

    metadata = {"name": "don_arena_v0", "render_modes": []}  # noqa: RUF012 - PettingZoo's form

    def __init__(self, config: ArenaConfig) -> None:
        self._adopt(ArenaBatch(config, 1))

    def _figures(self, group: str, place: int) -> dict[str, Any]:
        at = place if group == MAKERS else place + self.batch.config.makers
        cash, held, fees, traded, made = self.batch.accounts[0, at].tolist()
        return {"cash": cash, "inventory": held, "fees": fees, "taken": traded, "made": made}
