"""From chunks of episodes to a train batch, in whole arrays. Pure but for the value network.

Takes the place of RLlib's default learner pipeline, which works step by step in Python lists.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from experiments.rllib.modules import STATE

Floats = NDArray[np.float32]
_SPREAD_LEAST = 1e-4  # of advantages: what is constant is not blown up


class Advantages(ConnectorV2):
    """Generalised advantage estimation over chunks of equal length at once.

    Source: Schulman et al., "High-dimensional continuous control using generalized advantage
    estimation", arXiv 1506.02438, eq. 16.

    Args:
        gamma: discount a step.
        lambda_: of the estimator.
        sequence: steps that a network with memory is trained over.
    """

    def __init__(
        self, observation_space: Any = None, action_space: Any = None, *, gamma: float = 0.99,
        lambda_: float = 0.95, sequence: int = 16, **rest: Any,
    ) -> None:  # fmt: skip
        super().__init__(observation_space, action_space, **rest)
        self._gamma, self._lambda, self._sequence = gamma, lambda_, sequence

    def __call__(
        self, *, rl_module: Any, batch: Any, episodes: Sequence[SingleAgentEpisode], **_: Any
    ) -> dict[str, dict[str, Tensor]]:
        """The batch of each policy."""
        by_length: dict[str, dict[int, list[SingleAgentEpisode]]]
        by_length = defaultdict(lambda: defaultdict(list))
        for episode in episodes:
            if len(episode):
                by_length[episode.module_id][len(episode)].append(episode)
        found = {}
        for policy, lengths in by_length.items():
            module = rl_module[policy].unwrapped()
            parts = [self._block(module, group) for group in lengths.values()]
            whole = {k: torch.cat([p[k] for p in parts]) for k in parts[0]}
            found[policy] = _standard(whole)
        return found

    def _block(self, module: Any, episodes: list[SingleAgentEpisode]) -> dict[str, Tensor]:
        obs = np.stack([e.observations.data for e in episodes])  # [n, T + 1, D]
        rewards = np.stack([e.rewards.data for e in episodes])
        n, T = rewards.shape
        seen = torch.from_numpy(obs)
        state = None
        if module.state_size:
            state = np.stack([e.extra_model_outputs[STATE].data for e in episodes])
        with torch.no_grad():
            if state is None:
                rows = {Columns.OBS: seen.reshape(n * (T + 1), -1)}
            else:
                rows = {Columns.OBS: seen, STATE: torch.from_numpy(state[:, 0])}
            value = module.compute_values(rows).numpy().reshape(n, T + 1).copy()
        value[np.array([e.is_terminated for e in episodes]), T] = 0.0
        gained = advantages(rewards, value, self._gamma, self._lambda)
        told: dict[str, Any] = {
            Columns.OBS: obs[:, :-1],
            Columns.ACTIONS: np.stack([e.actions.data for e in episodes]),
            Postprocessing.ADVANTAGES: gained,
            Postprocessing.VALUE_TARGETS: gained + value[:, :T],
        }
        for key in (Columns.ACTION_DIST_INPUTS, Columns.ACTION_LOGP):
            told[key] = np.stack([e.extra_model_outputs[key].data for e in episodes])
        if state is None:
            return {k: torch.from_numpy(v.reshape(n * T, *v.shape[2:])) for k, v in told.items()}
        return _sequences(told, state, self._sequence)


def advantages(rewards: Floats, value: Floats, gamma: float, lambda_: float) -> Floats:
    """[n, T] advantages of rewards [n, T] and values [n, T + 1], the last one of what follows."""
    out = np.empty_like(rewards)
    after = np.zeros(len(rewards), np.float32)
    delta = rewards + gamma * value[:, 1:] - value[:, :-1]
    for t in range(rewards.shape[1] - 1, -1, -1):
        after = delta[:, t] + gamma * lambda_ * after
        out[:, t] = after
    return out


def _sequences(told: dict[str, Any], state: Floats, length: int) -> dict[str, Tensor]:
    """Rows [n, T, ...] as sequences [m, length, ...] with a mask; the last ones are filled up."""
    n, T = state.shape[:2]
    count = -(-T // length)
    room = count * length - T
    found = {}
    for key, values in told.items():
        padded = np.concatenate([values, np.zeros((n, room, *values.shape[2:]), values.dtype)], 1)
        found[key] = torch.from_numpy(padded.reshape(n * count, length, *values.shape[2:]))
    mask = np.zeros((n, count * length), np.bool_)
    mask[:, :T] = True
    found[Columns.LOSS_MASK] = torch.from_numpy(mask.reshape(n * count, length))
    first = state[:, ::length]  # before the first step of each sequence
    found[STATE] = torch.from_numpy(np.ascontiguousarray(first).reshape(n * count, -1))
    return found


def _standard(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch with advantages of mean 0 and deviation 1."""
    gained = batch[Postprocessing.ADVANTAGES]
    mask = batch.get(Columns.LOSS_MASK)
    known = gained if mask is None else gained[mask]
    spread = known.std(correction=0).clamp_min(_SPREAD_LEAST)
    batch[Postprocessing.ADVANTAGES] = (gained - known.mean()) / spread
    return batch
