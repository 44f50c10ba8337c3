"""An RLlib runner that steps all its environments as one batch. Holds state; draws with torch.

RLlib's own multi-agent runner spends most of its time in Python, an agent and a step at a time.
This one steps B copies of `BatchEnv` at once and hands the learner ready-made NumPy chunks, one a
copy, agent and stretch of an episode, that its learner, checkpoints and fault tolerance take as
they are.
"""

import uuid
from collections import defaultdict
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics import (
    EPISODE_LEN_MEAN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
)

from don.envs import BatchEnv
from experiments.rllib.chunks import Chunks
from experiments.rllib.errors import noted
from experiments.rllib.market_file import make_env
from experiments.rllib.modules import PolicyModule

_SEEDS_APART = 1_000_003  # between runners: copy b of a runner draws from its seed + b
_PHASES = 8  # of copies
_EPISODES_TOLD = 100  # of one call
Array = NDArray[Any]


class Spaces:
    """What RLlib asks an environment: the spaces of each agent."""

    def __init__(self, env: BatchEnv) -> None:
        groups = env.groups.values()
        self.observation_space = gym.spaces.Dict(
            {a: group.observation_space for group in groups for a in group.agents}
        )
        self.action_space = gym.spaces.Dict(
            {a: group.action_space for group in groups for a in group.agents}
        )
        self.single_observation_space = self.observation_space
        self.single_action_space = self.action_space

    @property
    def unwrapped(self) -> "Spaces":
        """Itself."""
        return self

    def close(self) -> None:
        """Nothing to give back."""


class BatchRunner(MultiAgentEnvRunner):
    """Steps `num_envs_per_env_runner` copies of an environment as one batch.

    `env_config`: `market` (path, see `market_file`), `env` (its configuration), `reward_scale`,
    `resumed` (iterations before this process: episodes are not drawn again).
    """

    core: BatchEnv

    def make_env(self) -> None:
        """Make the environments; again after one failed."""
        settings = self.config.env_config
        self.core = make_env(settings, self.config.num_envs_per_env_runner)
        self.env = Spaces(self.core)
        self.num_envs = self.core.batch
        self._scale = float(settings["reward_scale"])
        self._agents = [a for g in self.core.groups.values() for a in g.agents]
        self._begun = False

    def make_module(self) -> None:
        """Make the policies, and remember which agents each one acts for."""
        super().make_module()
        if self.env is None:  # the learner's own runner, beside others that sample
            return
        to = self.config.policy_mapping_fn
        self._policy_of = {agent: to(agent, None) for agent in self._agents}
        self._seats: dict[str, list[tuple[str, Array]]] = {}  # group -> (policy, places)
        for name, group in self.core.groups.items():
            places: dict[str, list[int]] = defaultdict(list)
            for i, agent in enumerate(group.agents):
                places[self._policy_of[agent]].append(i)
            self._seats[name] = [(p, np.array(at)) for p, at in places.items()]
        # draws of its own: what else uses torch's does not change the episodes
        torch.manual_seed((self._seed or 0) * 7919 + int(self.config.env_config["resumed"]))

    def get_spaces(self) -> dict[str, Any]:
        """Of each policy, and of the whole."""
        if self.env is None:
            return self.spaces
        every = (self.env.observation_space, self.env.action_space)
        found: dict[str, Any] = {INPUT_ENV_SPACES: every, INPUT_ENV_SINGLE_SPACES: every}
        for group in self.core.groups.values():
            for agent in group.agents:
                policy = self.config.policy_mapping_fn(agent, None)
                found[policy] = (group.observation_space, group.action_space)
        return found

    # ---- sampling --------------------------------------------------------------------------------

    def _begin(self) -> None:
        runner, resumed = self.worker_index or 0, int(self.config.env_config["resumed"])
        first = (self._seed or 0) + _SEEDS_APART * (runner + 1009 * resumed)
        self._seen = self.core.reset(first % 2**31)
        B = self.num_envs
        self._alive = {
            name: np.ones((B, len(g.agents)), np.bool_) for name, g in self.core.groups.items()
        }
        self._gained = {name: np.zeros(alive.shape) for name, alive in self._alive.items()}
        self._length = np.zeros(B, np.int64)
        # first episodes are cut at a few lengths: else all copies stay in step for ever; each
        # moment at which episodes begin costs one more look at all
        length = (self.core.config.episode.length or 0) // self.core.config.action.every
        self._first = (np.arange(B) % _PHASES + 1) * length // _PHASES
        self._first[self._first == length] = 0
        self._state: dict[tuple[str, str], torch.Tensor | None] = {}
        for name, seats in self._seats.items():
            for policy, at in seats:
                size = self._module(policy).state_size
                rows = torch.zeros(B, len(at), size) if size else None
                self._state[name, policy] = rows
        self._begun = True

    def _module(self, policy: str) -> PolicyModule:
        return self.module[policy].unwrapped()

    def _sample(
        self, *, num_timesteps: int | None = None, num_episodes: int | None = None, explore: bool,
        random_actions: bool = False, force_reset: bool = False,
    ) -> list[SingleAgentEpisode]:  # fmt: skip
        B = self.num_envs
        if force_reset or not self._begun:
            self._begin()
        if num_timesteps is None:
            raise ValueError("the batched runner samples steps: num_timesteps must be given")
        steps = -(-num_timesteps // B)
        for policy in set(self._policy_of.values()):
            self._module(policy).steps = self.num_env_steps_sampled_lifetime * max(
                self.num_workers or 1, 1
            )
        chunks = {
            name: Chunks(self._seen[name], g.action_space, steps)
            for name, g in self.core.groups.items()
        }
        ended: list[tuple[float, int]] = []  # return of all agents, length
        started = self._length.copy()
        for t in range(steps):
            actions = {}
            for name in self.core.groups:
                actions[name] = self._decide(name, t, chunks[name], explore, random_actions)
            with noted(self.config.env_config["market"]):
                step = self.core.step(actions)
            self._length += 1
            cut = (self._length == self._first) & ~step.done
            done = step.done | cut
            for name, part in chunks.items():
                rewards = step.rewards[name]
                self._gained[name] += rewards * self._alive[name]
                seen = step.observations[name]
                part.take(t, rewards * self._scale, seen)
                gone = step.terminated[name] & self._alive[name]
                over = self._alive[name] & done[:, None] & ~gone
                if gone.any() or over.any():
                    part.cut(t, gone, seen, terminated=True)
                    part.cut(t, over, seen, terminated=False)
                    self._alive[name] &= ~gone
            self._seen = step.observations
            if done.any():
                self._tally(step.done, ended)
                self._end_episodes(done, chunks, t)
        self._tell(steps * B, ended)
        tag = uuid.uuid4().hex[:12]
        found: list[SingleAgentEpisode] = []
        for name, part in chunks.items():
            agents = self.core.groups[name].agents
            policies = [self._policy_of[agent] for agent in agents]
            found += part.episodes(
                f"{tag}{name[0]}", agents, policies, self._alive[name], steps, started
            )
        return found

    def _decide(
        self, group: str, t: int, part: Chunks, explore: bool, random_actions: bool
    ) -> Array:
        seats = self._seats[group]
        seen = self._seen[group]
        B, A, D = seen.shape
        for policy, at in seats:
            module = self._module(policy)
            own = seen if len(at) == A else seen[:, at]
            rows = torch.from_numpy(np.ascontiguousarray(own)).view(B * len(at), D)
            state = self._state[group, policy]
            if state is not None:
                part.remember(t, at, state.numpy())
                state = state.reshape(B * len(at), -1)
            with torch.inference_mode():
                drawn, inputs, logp, after = module.decide(rows, state, explore=explore)
            if random_actions:
                space = module.action_space
                draws = [space.sample() for _ in range(len(rows))]
                drawn = torch.from_numpy(np.array(draws))
            if after is not None:
                self._state[group, policy] = after.clone().view(B, len(at), -1)
            part.act(t, at, drawn.numpy(), inputs.numpy(), logp.numpy())
        return part.actions_at(t)

    def _tally(self, done: Array, ended: list[tuple[float, int]]) -> None:
        total = sum(gained[done].sum(axis=1) for gained in self._gained.values())
        if done.any():
            ended += zip(np.asarray(total).tolist(), self._length[done].tolist(), strict=True)

    def _end_episodes(self, done: Array, chunks: dict[str, Chunks], t: int) -> None:
        self._seen = self.core.reset(which=done)
        self._length[done], self._first[done] = 0, 0
        for name, part in chunks.items():
            self._gained[name][done] = 0.0
            self._alive[name][done] = True
            part.begin(t + 1, done, self._seen[name])
        for state in self._state.values():
            if state is not None:
                state[torch.from_numpy(done)] = 0.0

    # ---- metrics ---------------------------------------------------------------------------------

    def _tell(self, steps: int, ended: list[tuple[float, int]]) -> None:
        log = self.metrics.log_value
        log(NUM_ENV_STEPS_SAMPLED, steps, reduce="sum")
        log(NUM_ENV_STEPS_SAMPLED_LIFETIME, steps, reduce="lifetime_sum", with_throughput=True)
        log(NUM_EPISODES, len(ended), reduce="sum")
        log(NUM_EPISODES_LIFETIME, len(ended), reduce="lifetime_sum")
        by_policy: dict[str, int] = defaultdict(int)
        for agent, policy in self._policy_of.items():
            by_policy[policy] += steps
            log((NUM_AGENT_STEPS_SAMPLED, agent), steps, reduce="sum")
            log((NUM_AGENT_STEPS_SAMPLED_LIFETIME, agent), steps, reduce="lifetime_sum")
        for policy, count in by_policy.items():
            log((NUM_MODULE_STEPS_SAMPLED, policy), count, reduce="sum")
            log((NUM_MODULE_STEPS_SAMPLED_LIFETIME, policy), count, reduce="lifetime_sum")
        self.num_env_steps_sampled_lifetime += steps
        window = self.config.metrics_num_episodes_for_smoothing
        for value, length in ended[-_EPISODES_TOLD:]:
            log(EPISODE_RETURN_MEAN, value, window=window)
            log(EPISODE_LEN_MEAN, length, window=window)
        if ended:
            returns = [value for value, _ in ended]
            log(EPISODE_RETURN_MIN, min(returns), reduce="min", window=1)
            log(EPISODE_RETURN_MAX, max(returns), reduce="max", window=1)

    def get_metrics(self) -> Any:
        """What was counted since the last call."""
        return self.metrics.reduce()
