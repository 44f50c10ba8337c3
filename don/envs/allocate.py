"""The allocator above several policies: it moves capital between their accounts. Pure.

Money that moves is never made: what leaves accounts equals what reaches others, and an account
gives only what its positions leave free.
"""

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from don.envs.actions import LOGIT, softmax
from don.envs.config import EnvConfig
from don.envs.layout import (
    CLOSE,
    COST,
    EQUITY,
    LEVERAGE,
    LOT,
    LOTS,
    PEAK,
    START,
    TICK,
    WALLET,
    Bools,
    Dynamics,
    Floats,
    Ints,
)  # fmt: skip
from don.errors import UsageError

KEPT = 1.5  # times the initial margin that an account keeps when it gives


class Allocator:
    """One allocator an episode over K accounts.

    Args:
        config: of the environment.
        batch: B.
        accounts: K.
    """

    def __init__(self, config: EnvConfig, batch: int, accounts: int) -> None:
        self._every, self._batch, self._K = config.allocate_every, batch, accounts
        self._spot = config.costs.spot
        self.action_space: gym.Space[object] = gym.spaces.Box(
            -LOGIT, LOGIT, (accounts,), np.float32
        )
        self.size = 4 * accounts + 3
        self.observation_space: gym.Space[object] = gym.spaces.Box(
            -np.inf, np.inf, (self.size,), np.float32
        )
        self._last = np.zeros((batch, accounts))  # equity when it last decided
        self._peak = np.zeros(batch)

    def reset(self, which: Bools) -> None:
        """New episodes begin."""
        self._last[which] = 0.0
        self._peak[which] = 0.0

    def deposits(
        self, actions: NDArray[np.generic], dynamics: Dynamics, age: Ints, active: Bools,
        dead: Bools, bar_of: Ints,
    ) -> Floats:  # fmt: skip
        """[M] quote that each account gets, negative: gives; sums to nothing in each episode.

        Args:
            actions: [B, 1, K] logits of the shares that policies should have.
            dynamics: accounts.
            age: [B] steps since the episode began.
            active: [B].
            dead: [M] accounts that are out: they keep what they have.
            bar_of: [B].
        """
        B, K = self._batch, self._K
        if actions.shape != (B, 1, K):
            raise UsageError(f"allocator actions must be {(B, 1, K)}, were {actions.shape}")
        share = softmax(actions)[:, 0]
        alive = ~dead.reshape(B, K)
        share = np.where(alive, share, 0.0)
        share = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-12)
        equity = dynamics.money[:, EQUITY].reshape(B, K)
        total = np.where(alive, equity, 0.0).sum(axis=1, keepdims=True)
        wanted = np.where(alive, share * total - equity, 0.0)
        gives = np.minimum(np.maximum(-wanted, 0.0), self._free(dynamics, bar_of))
        takes = np.maximum(wanted, 0.0)
        pot = gives.sum(axis=1, keepdims=True)
        asked = takes.sum(axis=1, keepdims=True)
        part = np.minimum(1.0, pot / np.maximum(asked, 1e-12))
        moved = takes * part
        # give exactly what is taken, cent for cent but for the last bits
        gives = gives * (moved.sum(axis=1, keepdims=True) / np.maximum(pot, 1e-12))
        now = (active & (age % self._every == 0))[:, None]
        self._last = np.where(now, equity, self._last)
        return np.where(now, moved - gives, 0.0).reshape(-1)

    def _free(self, dynamics: Dynamics, bar_of: Ints) -> Floats:
        """[B, K] equity beyond what positions need."""
        B, K = self._batch, self._K
        d = dynamics
        close = d.bars[bar_of][:, d.columns, CLOSE]  # [B, K, n]
        value = (d.spec[d.columns, TICK] * d.spec[d.columns, LOT])[None]
        lots = d.book[:, :, LOTS].reshape(B, K, -1)
        margin = (np.abs(lots) * close * value / d.spec[d.columns, LEVERAGE][None]).sum(axis=2)
        if self._spot:
            cash = d.money[:, WALLET] - d.book[:, :, COST].sum(axis=1)
            return np.asarray(np.maximum(cash.reshape(B, K), 0.0))
        return np.asarray(np.maximum(d.money[:, EQUITY].reshape(B, K) - KEPT * margin, 0.0))

    def observe(self, dynamics: Dynamics, left: Floats) -> NDArray[np.float32]:
        """[B, 1, D]: each account's share, growth since the last decision, drawdown and whether it
        has traded; then total growth, total drawdown, time left.
        """
        B, K = self._batch, self._K
        money = dynamics.money.reshape(B, K, -1)
        equity = money[:, :, EQUITY]
        total = np.maximum(equity.sum(axis=1), 1e-9)
        last = np.where(self._last > 0, self._last, equity)
        self._peak = np.maximum(self._peak, total)
        out = np.zeros((B, 1, self.size), np.float32)
        out[:, 0, :K] = equity / total[:, None]
        out[:, 0, K : 2 * K] = equity / np.maximum(last, 1e-9) - 1.0
        out[:, 0, 2 * K : 3 * K] = 1.0 - equity / np.maximum(money[:, :, PEAK], 1e-9)
        out[:, 0, 3 * K : 4 * K] = (dynamics.book[:, :, LOTS] != 0).any(axis=1).reshape(B, K)
        out[:, 0, 4 * K] = total / np.maximum(money[:, :, START].sum(axis=1), 1e-9) - 1.0
        out[:, 0, 4 * K + 1] = 1.0 - total / np.maximum(self._peak, 1e-9)
        out[:, 0, 4 * K + 2] = left
        return out
