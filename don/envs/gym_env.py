"""Gymnasium views: one episode at a time, or many as a `VectorEnv`. Pure.

`SingleEnv` is slot 0 of a batch of one; slot b of `BatchVectorEnv` reset with seed s takes the same
course as a `SingleEnv` reset with seed s + b.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from don.envs.config import EnvConfig, Layout
from don.envs.core import AGENTS, BatchEnv
from don.envs.layout import (
    AFTER_EQUITY,
    DENIED,
    FEES,
    FILLS,
    FUNDING,
    LIQUIDATED,
    LIQUIDATION,
    PNL,
    SLIPPAGE,
    TURNOVER,
)  # fmt: skip
from don.envs.market import EnvMarket
from don.envs.observe import Observation, select
from don.envs.whole import GIVEN
from don.errors import UsageError

FIGURES = {
    "equity": AFTER_EQUITY,
    "pnl": PNL,
    "fees": FEES,
    "slippage": SLIPPAGE,
    "funding": FUNDING,
    "liquidation": LIQUIDATION,
    "turnover": TURNOVER,
    "fills": FILLS,
    "denied": DENIED,
    "liquidated": LIQUIDATED,
}  # what `info` tells of the last step


def _one_agent(env: BatchEnv) -> None:
    agents = [agent for group in env.groups.values() for agent in group.agents]
    if len(agents) != 1:
        raise UsageError(
            f"a Gymnasium environment has one agent, this one has {len(agents)}: use "
            "ParallelTrading"
        )


class SingleEnv(gym.Env[Observation, Any]):
    """One agent, one episode at a time.

    Args:
        market: bars.
        config: a form with one agent.
        **options: of `BatchEnv`.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own form

    def __init__(self, market: EnvMarket, config: EnvConfig, **options: Any) -> None:
        self.batch = BatchEnv(market, config, 1, **options)
        _one_agent(self.batch)
        group = self.batch.groups[AGENTS]
        self.observation_space: gym.Space[Any] = group.observation_space
        self.action_space: gym.Space[Any] = group.action_space
        self._flow = self.batch.dynamics.flow[0]
        batch, whole = self.batch, self.batch.whole
        plain = batch.plain is not None and config.action.every == 1
        self._direct = plain and whole.sees and whole.kind != GIVEN
        self._flat = config.observation.layout is Layout.FLAT

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; `options={"start": bar}` chooses where."""
        super().reset(seed=seed)
        start = (options or {}).get("start")
        starts = None if start is None else np.array([start], np.int64)
        told = self.batch.reset(seed, starts=starts)
        return select(told[AGENTS], (0, 0)), {"bar": int(self.batch.bar_of[0])}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One bar; `info` tells the figures of the step."""
        batch = self.batch
        seen: Any
        if self._direct and not batch.done[0]:
            growth, terminated, truncated, seen = batch.whole.alone(batch.bar_of, action)
            # numpy's logarithm, as batches have it: another one can differ in the last bit
            reward = float(np.log(growth)) * (batch.plain or 0.0) + 0.0
            if not self._flat:
                seen = batch.observer.shaped(seen)
        else:
            step = batch.step(np.asarray(action)[None, None])
            seen = select(step.observations[AGENTS], (0, 0))
            reward = float(step.rewards[AGENTS][0, 0])
            terminated, truncated = bool(step.terminated[AGENTS][0, 0]), bool(step.truncated[0])
        row = self._flow.tolist()
        info = {  # `FIGURES`, written out: half the time
            "equity": row[AFTER_EQUITY], "pnl": row[PNL], "fees": row[FEES],
            "slippage": row[SLIPPAGE], "funding": row[FUNDING], "liquidation": row[LIQUIDATION],
            "turnover": row[TURNOVER], "fills": row[FILLS], "denied": row[DENIED],
            "liquidated": row[LIQUIDATED], "bar": batch.bar_of.item(),
        }  # fmt: skip
        return seen, reward, terminated, truncated, info


class BatchVectorEnv(VectorEnv[Any, Any, Any]):
    """Many episodes of one agent.

    Args:
        market: bars.
        config: a form with one agent.
        num_envs: episodes side by side.
        autoreset: `NEXT_STEP` or `SAME_STEP`.
        **options: of `BatchEnv`.
    """

    def __init__(
        self,
        market: EnvMarket,
        config: EnvConfig,
        num_envs: int,
        *,
        autoreset: AutoresetMode = AutoresetMode.NEXT_STEP,
        **options: Any,
    ) -> None:
        if autoreset not in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
            raise UsageError(f"autoreset must be NEXT_STEP or SAME_STEP, was {autoreset}")
        self.batch = BatchEnv(market, config, num_envs, **options)
        _one_agent(self.batch)
        group = self.batch.groups[AGENTS]
        self.num_envs = num_envs
        self.single_observation_space = group.observation_space
        self.single_action_space = group.action_space
        self.observation_space = batch_space(group.observation_space, num_envs)
        self.action_space = batch_space(group.action_space, num_envs)
        self.metadata = {"autoreset_mode": autoreset}
        self._autoreset = autoreset
        self.render_mode = None
        self.spec = None

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin all episodes; slot b draws from seed + b."""
        if isinstance(seed, list):
            raise UsageError("seed must be one number: slot b draws from seed + b")
        told = self.batch.reset(seed)
        return select(told[AGENTS], (slice(None), 0)), {}

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One bar of every episode; those that ended begin anew."""
        batch = self.batch
        ended = batch.done.copy()
        if ended.all():
            begun = select(batch.reset()[AGENTS], (slice(None), 0))
            zeros = np.zeros(self.num_envs)
            return begun, zeros, zeros > 0, zeros > 0, {}
        some = bool(ended.any())
        step = batch.step(np.asarray(actions)[:, None], observe=not some)
        terminated = step.terminated[AGENTS][:, 0] & ~ended
        truncated = step.truncated & ~ended
        # those that had ended begin now, behind the step: it is none of theirs, so nothing that
        # keeps a state, such as a reward, may see it as the first one of the new episode
        told = batch.reset(which=ended)[AGENTS] if some else step.observations[AGENTS]
        info: dict[str, Any] = {}
        if self._autoreset is AutoresetMode.SAME_STEP and step.done.any():
            info["final_obs"] = select(told, (slice(None), 0))
            info["_final_obs"] = step.done.copy()
            told = batch.reset(which=step.done)[AGENTS]
        return (
            select(told, (slice(None), 0)),
            step.rewards[AGENTS][:, 0],
            terminated,
            truncated,
            info,
        )


__all__ = ["FIGURES", "BatchVectorEnv", "SingleEnv"]
