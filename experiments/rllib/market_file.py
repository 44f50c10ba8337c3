"""The market of a training as one file that every runner maps. Reads and writes it.

Arrays in RLlib's `env_config` would be copied into every checkpoint, so runners get a path.
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from don.clock import interval_ns, parse_iso
from don.envs import BatchEnv, EnvConfig, EnvMarket, load_market
from don.envs.market import Segment
from don.envs.normalize import NormalizerState
from don.errors import DataError
from experiments.durable import put
from experiments.training_config import DataConfig


def open_data(config: DataConfig, home: Path | None = None) -> EnvMarket:
    """The bars that a configuration names.

    Args:
        config: where they are.
        home: the state folder whose store is read; None: as `DON_HOME` says.

    Raises:
        DataError: if they cannot be read, or there are none.
        DependencyError: if they are stored and the database cannot be reached.
    """
    tape = _stored(config, home) if config.store else config.tape
    market = load_market(tape, config.symbols, funding=config.funding, leverage=config.leverage)
    if config.start is None and config.end is None:
        return market
    start, end = (None if t is None else parse_iso(t) for t in (config.start, config.end))
    return market.part(start, end)


def _stored(config: DataConfig, home: Path | None) -> Path:
    from don.backtest.stored import stored_tape

    step = interval_ns(str(config.interval))
    start, end = parse_iso(str(config.start)), parse_iso(str(config.end))
    # what closes after `start` opens at the last even time that is not after it
    return stored_tape(
        config.symbols, step, start // step * step, end, exchange=config.exchange, home=home
    )


def write_market(market: EnvMarket, path: Path) -> None:
    """Write all of a market, whole or not at all."""
    with put(path) as file:
        np.savez(
            file,
            symbols=np.array(market.symbols),
            interval_ns=np.array(market.interval_ns),
            close_ns=market.close_ns,
            bars=market.bars,
            spec=market.spec,
            segments=np.array([(s.start, s.stop) for s in market.segments], np.int64),
            tape=np.array("" if market.tape is None else str(market.tape.absolute())),
        )


def read_market(path: str) -> EnvMarket:
    """What `write_market` wrote; once a process for as long as the file is the same one.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        now = os.stat(path)
        return _market(path, now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns)
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        raise DataError(f"market file {path} cannot be read: {error}") from error


@lru_cache(maxsize=2)
def _market(path: str, *_: int) -> EnvMarket:
    with np.load(path) as told:
        return EnvMarket(
            symbols=tuple(str(s) for s in told["symbols"]),
            interval_ns=int(told["interval_ns"]),
            close_ns=told["close_ns"],
            bars=told["bars"],
            spec=told["spec"],
            segments=tuple(Segment(start=int(a), stop=int(b)) for a, b in told["segments"]),
            tape=Path(str(told["tape"])) if "tape" in told and str(told["tape"]) else None,
        )


def make_env(settings: dict[str, Any], copies: int) -> BatchEnv:
    """The environment that a runner's `env_config` describes."""
    config = EnvConfig.model_validate(settings["env"])
    return BatchEnv(read_market(settings["market"]), config, copies, states=states_of(settings))


def states_of(settings: dict[str, Any]) -> list[NormalizerState]:
    """What an environment's normalisers begin with, of the `env_config` that describes it."""
    return [NormalizerState.load(text) for text in settings["states"]]
