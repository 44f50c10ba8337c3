"""The market of a training as one file that every runner maps. Reads and writes it.

Arrays in RLlib's `env_config` would be copied into every checkpoint, so runners get a path.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from don.clock import parse_iso
from don.envs import BatchEnv, EnvConfig, EnvMarket, load_market
from don.envs.market import Segment
from don.errors import DataError
from experiments.training_config import DataConfig


def open_data(config: DataConfig) -> EnvMarket:
    """The bars that a configuration names.

    Raises:
        DataError: if they cannot be read, or there are none.
    """
    market = load_market(
        config.tape, config.symbols, funding=config.funding, leverage=config.leverage
    )
    if config.start is None and config.end is None:
        return market
    start, end = (None if t is None else parse_iso(t) for t in (config.start, config.end))
    return market.part(start, end)


def write_market(market: EnvMarket, path: Path) -> None:
    """Write all of a market."""
    draft = path.with_suffix(".new")
    with draft.open("wb") as file:
        np.savez(
            file,
            symbols=np.array(market.symbols),
            interval_ns=np.array(market.interval_ns),
            close_ns=market.close_ns,
            bars=market.bars,
            spec=market.spec,
            segments=np.array([(s.start, s.stop) for s in market.segments], np.int64),
        )
    draft.replace(path)


@lru_cache(maxsize=2)
def read_market(path: str) -> EnvMarket:
    """What `write_market` wrote; once a process.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        with np.load(path) as told:
            return EnvMarket(
                symbols=tuple(str(s) for s in told["symbols"]),
                interval_ns=int(told["interval_ns"]),
                close_ns=told["close_ns"],
                bars=told["bars"],
                spec=told["spec"],
                segments=tuple(Segment(start=int(a), stop=int(b)) for a, b in told["segments"]),
            )
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"market file {path} cannot be read: {error}") from error


def make_env(settings: dict[str, Any], copies: int) -> BatchEnv:
    """The environment that a runner's `env_config` describes."""
    config = EnvConfig.model_validate(settings["env"])
    return BatchEnv(read_market(settings["market"]), config, copies)
