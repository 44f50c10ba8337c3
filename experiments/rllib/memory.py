"""What off-policy algorithms learn from: transitions of each policy as arrays. Holds state.

Takes the place of RLlib's episode buffers, which are lists of Python objects and, for several
agents, much slower than the environment. Oldest transitions are overwritten.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from torch import Tensor

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Drawn:
    """Transitions of each policy, as `Memory.sample` gives and `FromMemory` takes them."""

    of: dict[str, dict[str, Array]]

    def __len__(self) -> int:
        return max(len(rows[Columns.REWARDS]) for rows in self.of.values())


class _Ring:
    """The transitions of one policy."""

    def __init__(self, capacity: int, first: dict[str, Array]) -> None:
        self._capacity, self._at, self.size = capacity, 0, 0
        self._rows = {
            name: np.zeros((capacity, *values.shape[1:]), values.dtype)
            for name, values in first.items()
        }

    def add(self, rows: dict[str, Array]) -> None:
        count = len(rows[Columns.REWARDS])
        places = (self._at + np.arange(count)) % self._capacity
        for name, values in rows.items():
            self._rows[name][places] = values
        self._at = (self._at + count) % self._capacity
        self.size = min(self.size + count, self._capacity)

    def draw(self, rng: np.random.Generator, count: int) -> dict[str, Array]:
        places = rng.integers(0, self.size, count)
        return {name: values[places] for name, values in self._rows.items()}


class Memory:
    """Remembers transitions of all policies.

    Args:
        capacity: agent-steps kept, of each policy.
        seed: of the draws.
    """

    def __init__(self, capacity: int, seed: int) -> None:
        self._capacity, self._rng = capacity, np.random.default_rng(seed)
        self._rings: dict[str, _Ring] = {}

    def add(self, episodes: Iterable[SingleAgentEpisode]) -> None:
        """Take in chunks of episodes."""
        for episode in episodes:
            if not len(episode):
                continue
            seen = episode.observations.data
            ends = np.zeros(len(episode), np.bool_)
            ends[-1] = episode.is_terminated
            rows = {
                Columns.OBS: seen[:-1],
                Columns.NEXT_OBS: seen[1:],
                Columns.ACTIONS: episode.actions.data,
                Columns.REWARDS: episode.rewards.data,
                Columns.TERMINATEDS: ends,
            }
            policy = str(episode.module_id)
            if policy not in self._rings:
                self._rings[policy] = _Ring(self._capacity, rows)
            self._rings[policy].add(rows)

    def sample(self, num_items: int, **_: Any) -> list[Drawn]:
        """As many transitions of each policy, drawn with equal chances."""
        return [Drawn({p: ring.draw(self._rng, num_items) for p, ring in self._rings.items()})]

    def get_metrics(self) -> dict[str, Any]:
        """RLlib asks for some; `progress.jsonl` needs none of them."""
        return {}


class FromMemory(ConnectorV2):
    """Transitions as the train batch that RLlib's losses read."""

    def __call__(self, *, episodes: list[Drawn], **_: Any) -> dict[str, dict[str, Tensor]]:
        """The batch of each policy."""
        found: dict[str, dict[str, Tensor]] = {}
        for drawn in episodes:
            for policy, rows in drawn.of.items():
                batch = {name: torch.from_numpy(values) for name, values in rows.items()}
                ones = torch.ones(len(rows[Columns.REWARDS]))
                found[policy] = {**batch, "n_step": ones, "weights": ones}
        return found
