"""PettingZoo view: all agents of one episode step together. Pure."""

from typing import Any

import gymnasium as gym
import numpy as np
from pettingzoo import ParallelEnv

from don.envs.config import EnvConfig
from don.envs.core import AGENTS, BatchEnv
from don.envs.gym_env import FIGURES
from don.envs.market import EnvMarket
from don.envs.observe import Observation, select
from don.errors import UsageError


class ParallelTrading(ParallelEnv[str, Any, Any]):
    """One episode of any form.

    An agent whose account is ruined or liquidated leaves at once, the others go on; at the end of
    time all leave.

    Args:
        market: bars.
        config: of the environment.
        **options: of `BatchEnv`.
    """

    metadata = {"name": "don_trading_v0", "render_modes": []}  # noqa: RUF012 - PettingZoo's form

    def __init__(self, market: EnvMarket, config: EnvConfig, **options: Any) -> None:
        self._adopt(BatchEnv(market, config, 1, **options))

    def _adopt(self, batch: Any) -> None:
        """Show a batch of one."""
        self.batch = batch
        self._place = {
            agent: (group.name, i)
            for group in self.batch.groups.values()
            for i, agent in enumerate(group.agents)
        }
        self.possible_agents = list(self._place)
        self.agents: list[str] = []
        groups = self.batch.groups
        # one space object an agent: each has a random generator of its own
        self.observation_spaces = {
            a: _copy(groups[g].observation_space) for a, (g, _) in self._place.items()
        }
        self.action_spaces = {a: _copy(groups[g].action_space) for a, (g, _) in self._place.items()}
        self.render_mode = None

    def observation_space(self, agent: str) -> gym.Space[Any]:
        """Of an agent; the same object every time."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gym.Space[Any]:
        """Of an agent; the same object every time."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Begin an episode; `options={"start": bar}` chooses where."""
        start = (options or {}).get("start")
        starts = None if start is None else np.array([start], np.int64)
        told = self.batch.reset(seed, starts=starts)
        self.agents = list(self.possible_agents)
        return self._split(told), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[
        dict[str, Any],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """One bar.

        Raises:
            UsageError: if an agent that is there has no action.
        """
        if not self.agents:
            return {}, {}, {}, {}, {}
        missing = [agent for agent in self.agents if agent not in actions]
        if missing:
            raise UsageError(f"actions must be of all agents, none of {', '.join(missing)}")
        given = {}
        for name, group in self.batch.groups.items():
            rest = _nothing(group.action_space)
            each = [np.asarray(actions[a]) if a in self.agents else rest for a in group.agents]
            given[name] = np.stack(each)[None]
        step = self.batch.step(given)
        present = self.agents
        over = bool(step.truncated[0])
        told = self._split(step.observations)
        rewards, terminated, truncated, infos = {}, {}, {}, {}
        for agent in present:
            name, i = self._place[agent]
            rewards[agent] = float(step.rewards[name][0, i])
            terminated[agent] = bool(step.terminated[name][0, i])
            truncated[agent] = over
            infos[agent] = self._figures(name, i)
        self.agents = [a for a in present if not (terminated[a] or over)]
        return {a: told[a] for a in present}, rewards, terminated, truncated, infos

    def _figures(self, group: str, place: int) -> dict[str, Any]:
        """What the last step did to an agent's account; to all of them, for an allocator."""
        flow = self.batch.dynamics.flow
        row = flow[self.batch.roles.owner[place]] if group == AGENTS else flow.sum(axis=0)
        return {name: float(row[at]) for name, at in FIGURES.items()}

    def render(self) -> None:
        """Nothing to draw: see the episode record."""

    def close(self) -> None:
        """Nothing to give back."""

    def _split(self, told: dict[str, Observation]) -> dict[str, Any]:
        return {a: select(told[group], (0, i)) for a, (group, i) in self._place.items()}


def _copy(space: gym.Space[Any]) -> gym.Space[Any]:
    from copy import deepcopy

    return deepcopy(space)


def _nothing(space: gym.Space[Any]) -> np.ndarray:
    """An action for an agent that has left; it is not carried out."""
    return np.zeros(space.shape or (), np.float64 if space.dtype == np.float32 else np.int64)


__all__ = ["ParallelTrading"]
