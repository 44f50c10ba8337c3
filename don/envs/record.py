"""Episode records: enough to run an episode again and compare each step. Pure but for the market.

Actions are kept as they were given. `don.envs.record_file` has the file.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from don.envs.core import BatchEnv, Step
from don.envs.layout import LEVERAGE
from don.envs.market import EnvMarket
from don.envs.record_file import Episode, Source, load, save
from don.envs.rewards import code_hash
from don.errors import DataError, UsageError

__all__ = [
    "Episode",
    "Recorder",
    "Replayed",
    "Source",
    "digest",
    "flat",
    "load",
    "replay",
    "save",
]


class Recorder:
    """Steps a batch of one and keeps what is needed to do it again.

    Args:
        env: a batch of one.
        source: where its market comes from.
        observations: whether to keep them, not only their hash.
    """

    def __init__(
        self, env: BatchEnv, source: Source | None = None, *, observations: bool = False
    ) -> None:
        if not isinstance(env, BatchEnv):
            raise UsageError(f"a recorder takes a BatchEnv, was {type(env).__name__}")
        if env.own_rewards or (code_hash(env.config.reward) and not env.config.reward.modules):
            raise UsageError(
                "an environment with rewards of your own functions cannot be recorded: nothing "
                "would tell a replay what they were; register them in a module that reward.modules "
                "names, or record without them"
            )
        if env.batch != 1:
            raise UsageError(f"a recorder takes a batch of one, was {env.batch}")
        if source is not None and source.leverage is None:  # a symbol's own is never above it
            source = source.model_copy(update={"leverage": int(env.market.spec[:, LEVERAGE].max())})
        self._env, self._source, self._keep = env, source, observations
        self._rows: list[dict[str, Any]] = []

    def reset(self, seed: int | None = None, start: int | None = None) -> dict[str, Any]:
        """Begin an episode; see `BatchEnv.reset`."""
        starts = None if start is None else np.array([start], np.int64)
        told = self._env.reset(seed, starts=starts)
        self._seed = int(self._env.seeds[0])
        self._number, self._start = int(self._env.episode[0]), int(self._env.bar_of[0])
        self._rows = []
        return told

    def step(self, actions: np.ndarray | Mapping[str, np.ndarray]) -> Step:
        """Step and keep; see `BatchEnv.step`."""
        given = dict(actions) if isinstance(actions, Mapping) else {"agents": actions}
        step = self._env.step(given)
        row: dict[str, Any] = {
            "actions": {name: np.array(each[0]) for name, each in given.items()},
            "rewards": {name: np.array(each[0]) for name, each in step.rewards.items()},
            "equity": self._env.equity[0],
            "flow": self._env.dynamics.flow.copy(),
            "seen": digest(step.observations),
        }
        if self._keep:
            row["observations"] = {n: flat(each)[0] for n, each in step.observations.items()}
        self._rows.append(row)
        return step

    def episode(self) -> Episode:
        """What was recorded since `reset`."""
        if not self._rows:
            raise UsageError("nothing was recorded: reset and step first")

        def joined(name: str) -> dict[str, np.ndarray]:
            return {
                group: np.stack([row[name][group] for row in self._rows])
                for group in self._rows[0].get(name, {})
            }

        return Episode(
            config=self._env.config,
            source=self._source,
            market_hash=self._env.market.hash,
            seed=self._seed,
            number=self._number,
            start=self._start,
            actions=joined("actions"),
            rewards=joined("rewards"),
            equity=np.stack([row["equity"] for row in self._rows]),
            flow=np.stack([row["flow"] for row in self._rows]),
            features=self._env.config.observation.feature_set().hash,
            states=self._env.began_with,
            reward_code=code_hash(self._env.config.reward),
            seen=tuple(row["seen"] for row in self._rows),
            observations=joined("observations"),
            symbols=self._env.market.symbols,
            start_ns=int(self._env.market.close_ns[self._start]),
        )


def flat(observation: Any) -> np.ndarray:
    """[B, A, D] of an observation in any layout."""
    if isinstance(observation, Mapping):
        parts = [np.reshape(v, (*v.shape[:2], -1)) for _, v in sorted(observation.items())]
        return np.concatenate(parts, axis=2)
    return np.array(observation)


def digest(observations: Mapping[str, Any]) -> str:
    """Hash of observations, to the bit."""
    found = hashlib.sha256()
    for name, each in sorted(observations.items()):
        found.update(name.encode() + np.ascontiguousarray(flat(each)).tobytes())
    return found.hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What running an episode again found."""

    steps: int
    equal: int
    first_difference: int | None  # step
    what: str  # what differs there

    @property
    def same(self) -> bool:
        """True if every step was equal to the bit."""
        return self.first_difference is None


def replay(
    episode: Episode,
    market: EnvMarket | None = None,
    watch: Callable[[BatchEnv], None] | None = None,
) -> Replayed:
    """Run an episode again and compare each step to the bit.

    Args:
        episode: recorded.
        market: what it ran on; None: loaded from its source.
        watch: told of the environment before the first step and after each.

    Raises:
        DataError: if the market is not the one that was recorded, nobody says where it is, or
            the features, or rewards of one's own, are others now, or it contradicts itself.
        ConfigError: if a module of theirs cannot be loaded.
    """
    if market is None:
        if episode.source is None:
            raise DataError("the episode does not say where its market is: name the tape")
        market = episode.source.load()
    if market.hash != episode.market_hash:
        raise DataError(
            f"the market has hash {market.hash}, the episode was recorded on {episode.market_hash}:"
            " the data changed"
        )
    now = episode.config.observation.feature_set().hash
    if episode.features and now != episode.features:
        raise DataError(
            f"the episode was recorded with features of hash {episode.features}, they make {now} "
            "here: another version of them"
        )
    code = code_hash(episode.config.reward)
    if code != episode.reward_code:
        own = ", ".join(episode.config.reward.modules)
        raise DataError(
            f"the episode was recorded with rewards whose code has the hash {episode.reward_code}, "
            f"it has {code} here: {own} has changed since: take it as it was"
        )
    env = BatchEnv(market, episode.config, 1, states=episode.states)
    recorder = Recorder(env)
    env.reset(episode.seed)
    env.episode[:] = episode.number - 1
    recorder.reset(start=episode.start)
    agents = {name: len(group.agents) for name, group in env.groups.items()}
    held = {name: each.shape[1] for name, each in episode.rewards.items()}
    if held != agents:
        raise DataError(f"the episode has rewards of {held} agents, its configuration {agents}")
    if watch is not None:
        watch(env)
    equal, first, what = 0, None, ""
    for s in range(len(episode.seen)):
        recorder.step({name: each[s][None] for name, each in episode.actions.items()})
        row = recorder._rows.pop()
        if watch is not None:
            watch(env)
        differs = [
            name
            for name, same in (
                ("equity", np.array_equal(row["equity"], episode.equity[s])),
                ("flow", np.array_equal(row["flow"], episode.flow[s])),
                ("observations", row["seen"] == episode.seen[s]),
                *(
                    (f"reward of {g}", np.array_equal(row["rewards"][g], each[s]))
                    for g, each in episode.rewards.items()
                ),
            )
            if not same
        ]
        equal += not differs
        if differs and first is None:
            first, what = s, ", ".join(differs)
    return Replayed(steps=len(episode.seen), equal=equal, first_difference=first, what=what)
