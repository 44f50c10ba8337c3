"""The file of an episode record: Parquet, a row a step, all else in its metadata. Reads and writes.

What is read is checked whole before anything is made of it: a file may be damaged, of another
version, or somebody else's.
"""

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from don.envs.config import EnvConfig
from don.envs.layout import Floats
from don.envs.market import DEFAULT_LEVERAGE, EnvMarket, load_market
from don.envs.normalize import NormalizerState
from don.errors import ConfigError, DataError, UsageError
from don.model.section import Section, parsed

FORMAT = 2
OLDER = (1,)  # without states and the hash of the features
_META = b"don.episode"
_NUMBERS = re.compile(r"[<>|=]?[biuf]\d{1,2}")

_Ns = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Step = Annotated[int, Field(gt=0, lt=2**63)]
_Count = Annotated[int, Field(ge=0, lt=2**62)]


class Source(Section):
    """Where the market of an episode can be loaded from again."""

    tape: str | None = None  # None: Don's sample
    funding: str | None = None
    symbols: tuple[str, ...] = ()
    start_ns: _Ns | None = None  # see `EnvMarket.part`
    end_ns: _Ns | None = None
    leverage: _Count | None = None  # see `load_market`; None: that of the market that is recorded
    interval_ns: _Step | None = None  # of bars of the store; None: they are not of the store
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


class _Meta(Section):
    """The metadata of a file."""

    format: int
    config: EnvConfig
    source: Source | None
    market: str
    seed: _Count
    number: _Count
    start: _Count
    start_ns: _Ns | None = None
    symbols: tuple[str, ...] = ()
    features: str = ""
    reward_code: str = ""
    states: tuple[str, ...] = ()
    shapes: dict[str, tuple[tuple[_Count, ...], str]]  # array -> of a step, type


# ---- writing -------------------------------------------------------------------------------------


def check_place(path: Path) -> None:
    """Make the folder and try whether a record can be written there, before there is one.

    Raises:
        UsageError: if not.
    """
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"an episode is written to a file, {path} is none")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _part(path)
        part.touch(exist_ok=False)
        part.unlink()
    except OSError as error:
        raise UsageError(f"episode {path} cannot be written: {error.strerror}") from error


def save(episode: Episode, path: Path, *, anew: bool = False) -> Path:
    """Write an episode to a Parquet file, all or nothing, also if the power fails.

    Args:
        episode: that was recorded.
        path: of the file.
        anew: never in place of another: if there is one, the name gets the first number that is
            free, whoever else is writing.

    Returns:
        The file's path.

    Raises:
        UsageError: if it cannot be written.
    """
    table, part = _table(episode), _part(path)
    try:
        with part.open("xb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        place = _put_anew(part, path) if anew else part.replace(path)
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        said = error.strerror or str(error)
        raise UsageError(f"episode {path} cannot be written: {said}") from error
    finally:
        with suppress(OSError):  # it is in its place, or what went wrong is told
            part.unlink(missing_ok=True)
    return place


def _part(path: Path) -> Path:
    """A file beside, of nobody else's."""
    return path.with_name(f".{uuid4().hex}.part")


def _put_anew(part: Path, path: Path) -> Path:
    for n in count(1):
        place = path if n == 1 else path.with_name(f"{path.stem}-{n}{path.suffix}")
        try:
            place.open("xb").close()  # claimed: nobody else gets this name
            break
        except FileExistsError:
            continue
    try:
        return part.replace(place)
    except OSError:
        place.unlink()
        raise


def _table(episode: Episode) -> pa.Table:
    columns: dict[str, Any] = {"seen": list(episode.seen)}
    shapes: dict[str, Any] = {}
    arrays = {f"actions:{g}": v for g, v in episode.actions.items()}
    arrays |= {f"rewards:{g}": v for g, v in episode.rewards.items()}
    arrays |= {f"observations:{g}": v for g, v in episode.observations.items()}
    arrays |= {"equity": episode.equity, "flow": episode.flow}
    for name, values in arrays.items():
        steps = len(values)
        shapes[name] = values.shape[1:], values.dtype.str
        wide = np.ascontiguousarray(values).reshape(steps, -1)
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(wide.reshape(-1)), wide.shape[1])
    meta = _Meta(
        format=FORMAT,
        config=episode.config,
        source=episode.source,
        market=episode.market_hash,
        seed=episode.seed,
        number=episode.number,
        start=episode.start,
        start_ns=episode.start_ns,
        symbols=episode.symbols,
        features=episode.features,
        reward_code=episode.reward_code,
        states=tuple(state.dump() for state in episode.states),
        shapes=shapes,
    )
    told = json.dumps(meta.model_dump(mode="json")).encode()
    return pa.table(columns).replace_schema_metadata({_META: told})


# ---- reading -------------------------------------------------------------------------------------


def load(path: Path) -> Episode:
    """Read an episode.

    Raises:
        DataError: if the file is no episode, one of another format, or damaged.
    """
    if not path.is_file():
        raise DataError(f"episode {path} does not exist; expected a Parquet file")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"episode {path} is not a readable Parquet file: {error}") from error
    try:
        meta = parsed(_Meta, _told(path, table), f"episode {path} cannot be read by this Don")
        states = tuple(NormalizerState.load(text) for text in meta.states)
    except ConfigError as error:
        raise DataError(str(error)) from error
    arrays = {
        name: _array(path, table, name, shape, kind)
        for name, (shape, kind) in meta.shapes.items()
    }  # fmt: skip
    equity, flow = (
        _needed(path, arrays, name, axes) for name, axes in (("equity", 2), ("flow", 3))
    )
    rewards = _group(arrays, "rewards")
    for name in rewards:
        _needed(path, arrays, f"rewards:{name}", 2)
    return Episode(
        config=meta.config,
        source=meta.source,
        market_hash=meta.market,
        seed=meta.seed,
        number=meta.number,
        start=meta.start,
        actions=_group(arrays, "actions"),
        rewards=rewards,
        equity=equity,
        flow=flow,
        features=meta.features,
        reward_code=meta.reward_code,
        states=states,
        seen=_seen(path, table),
        observations=_group(arrays, "observations"),
        symbols=meta.symbols,
        start_ns=meta.start_ns,
    )


def _told(path: Path, table: pa.Table) -> Mapping[str, Any]:
    """The metadata as they are written."""
    held = (table.schema.metadata or {}).get(_META)
    try:
        told = {} if held is None else json.loads(held)
    except (ValueError, RecursionError) as error:
        raise DataError(f"episode {path} is damaged: its metadata are no JSON: {error}") from error
    if not isinstance(told, dict):
        raise DataError(f"episode {path} is damaged: its metadata are no JSON object")
    if told.get("format") not in (FORMAT, *OLDER):
        raise DataError(
            f"{path} is no episode of format {FORMAT}, was {told.get('format', 'another file')}"
        )
    return told


def _array(path: Path, table: pa.Table, name: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """[S, ...] of a column."""
    if name not in table.column_names:
        raise DataError(f"episode {path} is damaged: it has no column {name!r}")
    column = table[name].combine_chunks()
    if not _NUMBERS.fullmatch(kind) or not pa.types.is_fixed_size_list(column.type):
        raise DataError(
            f"episode {path} is damaged: column {name!r} must be lists of numbers, was "
            f"{column.type} of {kind!r}"
        )
    values = column.flatten()
    number = pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean
    fits = len(values) == table.num_rows * int(np.prod(shape, dtype=object))
    if not fits or values.null_count or not any(is_it(values.type) for is_it in number):
        raise DataError(
            f"episode {path} is damaged: column {name!r} must have {list(shape)} numbers a step"
        )
    try:
        told = np.asarray(values.to_numpy(zero_copy_only=False), np.dtype(kind))
        return told.reshape(table.num_rows, *shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"episode {path} is damaged: column {name!r}: {error}") from error


def _needed(path: Path, arrays: Mapping[str, np.ndarray], name: str, axes: int) -> np.ndarray:
    """An array that every episode has, of floats."""
    found = arrays.get(name)
    if found is None or found.ndim != axes or found.dtype.kind != "f" or not found.size:
        was = "missing" if found is None else f"{found.dtype} of {list(found.shape)}"
        raise DataError(
            f"episode {path} is damaged: {name} must be floats with {axes} axes, was {was}"
        )
    return found


def _group(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {n.partition(":")[2]: v for n, v in arrays.items() if n.startswith(f"{prefix}:")}


def _seen(path: Path, table: pa.Table) -> tuple[str, ...]:
    if "seen" not in table.column_names or not pa.types.is_string(table["seen"].type):
        raise DataError(f"episode {path} is damaged: its column 'seen' must be text")
    return tuple(table["seen"].to_pylist())
