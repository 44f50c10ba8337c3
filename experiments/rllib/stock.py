"""The same environment for RLlib's own multi-agent runner: a Python call an agent and step. Pure.

Kept as a check and a way back: it learns the same as the batched runner, an order of magnitude
slower.
"""

from typing import Any

import gymnasium as gym
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from don.envs.config import EnvConfig
from don.envs.parallel import ParallelTrading
from experiments.rllib.errors import noted
from experiments.rllib.market_file import read_market, states_of


class StockTrading(MultiAgentEnv):
    """`ParallelTrading` as RLlib asks for it.

    RLlib's own wrapper of PettingZoo never ends an episode in which one agent terminates while
    another is truncated, and orders agents by a set; hence this one.

    Args:
        settings: as of `BatchRunner`.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        config = EnvConfig.model_validate(settings["env"])
        self._inner = ParallelTrading(
            read_market(settings["market"]), config, states=states_of(settings)
        )
        self._market = str(settings["market"])
        self._scale = float(settings["reward_scale"])
        self._first = int(settings["resumed"]) * 1009
        self.possible_agents = list(self._inner.possible_agents)
        self.agents = list(self.possible_agents)
        self.observation_spaces = dict(self._inner.observation_spaces)
        self.action_spaces = dict(self._inner.action_spaces)
        self.observation_space = gym.spaces.Dict(self.observation_spaces)
        self.action_space = gym.spaces.Dict(self.action_spaces)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        """Begin an episode."""
        told = self._inner.reset(None if seed is None else (seed + self._first) % 2**31)
        self.agents = list(self._inner.agents)
        return told

    def step(self, action_dict: dict[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
        """One bar."""
        with noted(self._market):
            seen, rewards, terminated, truncated, infos = self._inner.step(action_dict)
        self.agents = list(self._inner.agents)
        over = not self.agents
        terminated["__all__"] = over and all(terminated.values())
        truncated["__all__"] = over and not terminated["__all__"]
        scaled = {agent: value * self._scale for agent, value in rewards.items()}
        return seen, scaled, terminated, truncated, infos


def make_stock(settings: dict[str, Any]) -> StockTrading:
    """For RLlib's registry."""
    return StockTrading(dict(settings))
