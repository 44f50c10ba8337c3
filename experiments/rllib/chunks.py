"""Steps of a batch of agents, cut into stretches of episodes. Pure but for what it is handed.

Arrays are [B, A, T, ...], so that a stretch is a contiguous view: nothing is copied but the last
observation of an episode that ended.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer

from experiments.rllib.modules import STATE

Array = NDArray[Any]
_NONE: dict[str, Any] = {}
_UNSET = ("_observation_space", "_action_space", "_start_time", "_last_step_time",
          "_last_added_observation", "_last_added_infos")  # fmt: skip


class Chunks:
    """T steps of one group of agents.

    Args:
        seen: [B, A, D] observations before the first step.
        space: of an agent's actions.
        steps: T.
    """

    def __init__(self, seen: Array, space: gym.Space[Any], steps: int) -> None:
        B, A, D = seen.shape
        self._obs = np.empty((B, A, steps + 1, D), np.float32)
        self._obs[:, :, 0] = seen
        kind = np.float32 if isinstance(space, gym.spaces.Box) else np.int64
        self._actions = np.empty((B, A, steps, *(space.shape or ())), kind)
        self._rewards = np.empty((B, A, steps), np.float32)
        self._logp = np.empty((B, A, steps), np.float32)
        self._inputs: Array | None = None  # [B, A, T, P]
        self._states: Array | None = None  # [B, A, T, S]
        self._begin = np.zeros((B, A), np.int64)  # of the stretch that each agent is in
        # copy, agent, first step, after the last one, last observation, terminated
        self._cuts: list[tuple[int, int, int, int, Array, bool]] = []

    def act(self, t: int, at: Array, drawn: Array, inputs: Array, logp: Array) -> None:
        """Take in what agents `at` decided: rows [B * len(at), ...]."""
        B, A, T = self._logp.shape
        if self._inputs is None:
            self._inputs = np.empty((B, A, T, inputs.shape[-1]), np.float32)
        places: Any = slice(None) if len(at) == A else at
        self._actions[:, places, t] = drawn.reshape(B, len(at), *drawn.shape[1:])
        self._inputs[:, places, t] = inputs.reshape(B, len(at), -1)
        self._logp[:, places, t] = logp.reshape(B, len(at))

    def remember(self, t: int, at: Array, state: Array) -> None:
        """Take in the states [B, len(at), S] before step t."""
        if self._states is None:
            self._states = np.zeros((*self._logp.shape, state.shape[-1]), np.float32)
        self._states[:, at, t] = state

    def actions_at(self, t: int) -> Array:
        """[B, A, ...] that the environment takes."""
        return np.ascontiguousarray(self._actions[:, :, t])

    def take(self, t: int, rewards: Array, seen: Array) -> None:
        """Take in what step t gave: [B, A], [B, A, D]."""
        self._rewards[:, :, t] = rewards
        self._obs[:, :, t + 1] = seen

    def cut(self, t: int, which: Array, seen: Array, *, terminated: bool) -> None:
        """End the stretches of agents [B, A] with step t."""
        for b, a in np.argwhere(which).tolist():
            first = int(self._begin[b, a])
            self._cuts.append((b, a, first, t + 1, seen[b, a].copy(), terminated))

    def begin(self, t: int, done: Array, seen: Array) -> None:
        """Begin stretches of copies [B] at step t."""
        self._obs[done, :, t] = seen[done]
        self._begin[done] = t

    def episodes(
        self, tag: str, agents: Sequence[str], policies: Sequence[str], alive: Array, steps: int,
        started: Array,
    ) -> list[SingleAgentEpisode]:  # fmt: skip
        """All stretches; what goes on is cut at the end of the steps.

        Args:
            tag: unique, in front of their names.
            agents: [A] names.
            policies: [A] names.
            alive: [B, A] who goes on.
            steps: taken.
            started: [B] steps of the episode before the first one.
        """
        found = []
        rest = np.argwhere(alive & (self._begin < steps)).tolist()
        ends = [(b, a, int(self._begin[b, a]), steps, None, False) for b, a in rest]
        for n, (b, a, first, stop, last, terminated) in enumerate((*self._cuts, *ends)):
            obs = self._obs[b, a, first : stop + 1]
            if last is not None and stop < steps:  # the next episode's first one is in its place
                obs = obs.copy()
            if last is not None:
                obs[-1] = last
            told = {
                Columns.ACTION_DIST_INPUTS: self._inputs[b, a, first:stop],  # type: ignore[index]
                Columns.ACTION_LOGP: self._logp[b, a, first:stop],
            }
            if self._states is not None:
                told[STATE] = self._states[b, a, first:stop]
            found.append(
                chunk(
                    f"{tag}{n}", agents[a], policies[a], obs, self._actions[b, a, first:stop],
                    self._rewards[b, a, first:stop], told, terminated=terminated,
                    truncated=last is not None and not terminated,
                    begun=int(started[b]) if first == 0 else 0,
                )
            )  # fmt: skip
        return found


def chunk(
    name: str, agent: str, policy: str, obs: Array, actions: Array, rewards: Array,
    told: dict[str, Array], *, terminated: bool, truncated: bool, begun: int,
) -> SingleAgentEpisode:  # fmt: skip
    """An episode as RLlib's own constructor makes it, without its checks.

    They cost more than the environment's steps; a test compares the two.
    """
    made = SingleAgentEpisode.__new__(SingleAgentEpisode)
    for slot in _UNSET:
        setattr(made, slot, None)
    made.id_ = made.multi_agent_episode_id = name
    made.agent_id, made.module_id = agent, policy
    made.observations, made.actions = _buffer(obs), _buffer(actions)
    made.rewards, made.infos = _buffer(rewards), _buffer([_NONE] * len(obs))
    made.extra_model_outputs = {key: _buffer(values) for key, values in told.items()}
    made.is_terminated, made.is_truncated = terminated, truncated
    made.t_started, made.t = begun, begun + len(rewards)
    made._custom_data = {}
    return made


def _buffer(data: Any) -> InfiniteLookbackBuffer:
    made = InfiniteLookbackBuffer.__new__(InfiniteLookbackBuffer)
    made.data, made.lookback, made.finalized = data, 0, not isinstance(data, list)
    made._space = made._space_struct = None
    return made
