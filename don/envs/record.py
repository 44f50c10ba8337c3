"""Episode records: enough to run an episode again and compare each step. Reads and writes Parquet.

One file an episode: a row a step, and in its metadata the configuration, the market's hash, where
it was loaded from, what the normalisers began with, the seed and the start. Actions are kept as
they were given.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from don.envs.config import EnvConfig
from don.envs.core import BatchEnv, Step
from don.envs.layout import LEVERAGE, Floats
from don.envs.market import DEFAULT_LEVERAGE, EnvMarket, load_market
from don.envs.normalize import NormalizerState
from don.envs.rewards import code_hash
from don.errors import DataError, UsageError

FORMAT = 2
OLDER = (1,)  # without states and the hash of the features
_META = b"don.episode"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the market of an episode can be loaded from again."""

    tape: str | None = None  # None: Don's sample
    funding: str | None = None
    symbols: tuple[str, ...] = ()
    start_ns: int | None = None  # see `EnvMarket.part`
    end_ns: int | None = None
    leverage: int | None = None  # see `load_market`; None: that of the market that is recorded
    interval_ns: int | None = None  # of bars of the store; None: they are not of the store
    exchange: str | None = None  # whose bars; None: the only one that has them

    def load(self) -> EnvMarket:
        """The market.

        Raises:
            DataError: if it cannot be read.
            DependencyError: if it is stored and the database cannot be reached.
        """
        market = load_market(
            Path(self.tape) if self.tape else self._stored(),
            self.symbols,
            funding=Path(self.funding) if self.funding else None,
            leverage=DEFAULT_LEVERAGE if self.leverage is None else self.leverage,
        )
        if self.start_ns is None and self.end_ns is None:
            return market
        return market.part(self.start_ns, self.end_ns)

    def _stored(self) -> Path | None:
        if self.interval_ns is None:
            return None
        if self.start_ns is None or self.end_ns is None:
            raise DataError("a source of the store needs start_ns and end_ns")
        from don.backtest.stored import stored_tape

        step = self.interval_ns
        begin = self.start_ns // step * step
        return stored_tape(self.symbols, step, begin, self.end_ns, exchange=self.exchange)


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A recorded episode of S steps."""

    config: EnvConfig
    source: Source | None
    market_hash: str
    seed: int  # of the slot
    number: int  # of the episode in its slot
    start: int  # bar
    actions: dict[str, np.ndarray]  # group -> [S, A, ...]
    rewards: dict[str, Floats]  # group -> [S, A]
    equity: Floats  # [S, K]
    flow: Floats  # [S, K, FLOW]
    features: str  # hash of what the features mean; "" in older records
    states: tuple[NormalizerState, ...]  # that the environment's normalisers went on from
    seen: tuple[str, ...]  # [S] hash of the observations after each step
    observations: dict[str, np.ndarray]  # [S, A, D] if they were kept
    reward_code: str = ""  # hash of the code of rewards of one's own; "": there are none
    symbols: tuple[str, ...] = ()  # of the market; none in older records
    start_ns: int | None = None  # close of the bar it starts at; None in older records


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
            source = replace(source, leverage=int(env.market.spec[:, LEVERAGE].max()))
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


def save(episode: Episode, path: Path) -> None:
    """Write an episode to a Parquet file, all or nothing."""
    columns: dict[str, Any] = {"seen": list(episode.seen)}
    shapes: dict[str, Any] = {}
    arrays = {f"actions:{g}": v for g, v in episode.actions.items()}
    arrays |= {f"rewards:{g}": v for g, v in episode.rewards.items()}
    arrays |= {f"observations:{g}": v for g, v in episode.observations.items()}
    arrays |= {"equity": episode.equity, "flow": episode.flow}
    for name, values in arrays.items():
        steps = len(values)
        shapes[name] = [list(values.shape[1:]), values.dtype.str]
        wide = np.ascontiguousarray(values).reshape(steps, -1)
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(wide.reshape(-1)), wide.shape[1])
    source = episode.source
    meta = {
        "format": FORMAT,
        "config": episode.config.model_dump(mode="json"),
        "source": None if source is None else {
            field.name: getattr(source, field.name) for field in fields(source)
        },
        "market": episode.market_hash,
        "seed": episode.seed,
        "number": episode.number,
        "start": episode.start,
        "start_ns": episode.start_ns,
        "symbols": episode.symbols,
        "features": episode.features,
        "reward_code": episode.reward_code,
        "states": [state.dump() for state in episode.states],
        "shapes": shapes,
    }  # fmt: skip
    table = pa.table(columns).replace_schema_metadata({_META: json.dumps(meta).encode()})
    part = path.with_name(f".{path.name}.part")
    pq.write_table(table, part, compression="zstd")
    part.replace(path)


def load(path: Path) -> Episode:
    """Read an episode.

    Raises:
        DataError: if the file is no episode, or one of another format.
    """
    if not path.is_file():
        raise DataError(f"episode {path} does not exist; expected a Parquet file")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"episode {path} is not a readable Parquet file: {error}") from error
    held = (table.schema.metadata or {}).get(_META)
    meta = json.loads(held) if held is not None else {}
    if meta.get("format") not in (FORMAT, *OLDER):
        raise DataError(
            f"{path} is no episode of format {FORMAT}, was {meta.get('format', 'another file')}"
        )

    def take(name: str) -> np.ndarray:
        shape, kind = meta["shapes"][name]
        values = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return np.asarray(values, np.dtype(kind)).reshape(table.num_rows, *shape)

    def group(prefix: str) -> dict[str, np.ndarray]:
        names = [n for n in meta["shapes"] if n.startswith(f"{prefix}:")]
        return {n.partition(":")[2]: take(n) for n in names}

    source = meta["source"]
    return Episode(
        config=EnvConfig.model_validate(meta["config"]),
        source=None
        if source is None
        else Source(**{**source, "symbols": tuple(source["symbols"])}),
        market_hash=meta["market"],
        seed=meta["seed"],
        number=meta["number"],
        start=meta["start"],
        actions=group("actions"),
        rewards=group("rewards"),
        equity=take("equity"),
        flow=take("flow"),
        features=meta.get("features", ""),
        reward_code=meta.get("reward_code", ""),
        states=tuple(NormalizerState.load(text) for text in meta.get("states", ())),
        seen=tuple(table["seen"].to_pylist()),
        observations=group("observations"),
        symbols=tuple(meta.get("symbols", ())),
        start_ns=meta.get("start_ns"),
    )


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
            the features, or rewards of one's own, are others now.
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
