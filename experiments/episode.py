"""One episode of a model, recorded for `don replay` and the console. Does I/O."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from don.clock import iso, parse_iso
from don.envs import BatchEnv
from don.envs.record import Episode, Recorder, Source, save
from don.errors import UsageError
from don.evaluation.agent import check_market
from don.evaluation.course import out_of_sample
from don.learning.model import Model
from experiments.evaluate import data_of
from experiments.rllib.market_file import open_data
from experiments.training_config import DataConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What was recorded."""

    episode: Episode
    symbols: tuple[str, ...]
    start: str  # close of the bar at which was first decided, ISO-8601
    end: str  # close of the last bar


def record(
    folder: Path, trained: Path, given: DataConfig, out: Path, *, start: str | None = None,
    bars: int = 500, seed: int = 0, home: Path | None = None,
) -> Recorded:  # fmt: skip
    """Let a model act for an episode, always doing the likeliest, and write its record.

    Costs are those of a test: never below the defaults. Nothing is drawn but the start.

    Args:
        folder: of the model.
        trained: its folder as its training exported it.
        given: bars; without a tape those that the model was trained from, see `data_of`.
        out: file.
        start: ISO-8601, close of the bar at which is first decided; None: drawn.
        bars: that it lasts.
        seed: of the start.
        home: the state folder; None: as `DON_HOME` says.

    Raises:
        UsageError: if it cannot begin there, or it is not known where the data are.
        DataError, ConfigError: if data and model do not fit.
    """
    model = Model.load(folder)
    card = model.card
    data = data_of([trained], [card], given)
    data = data.model_copy(update={"symbols": data.symbols or card.symbols})
    market = open_data(data, home)
    check_market(card, market)
    # rewards are part of the record
    config = out_of_sample(card.env, market).model_copy(update={"reward": card.env.reward})
    length = config.episode.model_copy(update={"length": bars, "random_start": start is None})
    env = BatchEnv(market, config.model_copy(update={"episode": length}), 1, states=model.states)
    recorder = Recorder(env, _source(data))
    seen = recorder.reset(seed, start=None if start is None else _bar(env, start))
    memory: Any = None
    while True:
        actions, after = model.act(seen, memory)
        memory = after if env.acting[0] else memory  # in and just behind a hole: as a desk
        step = recorder.step(actions)
        if step.done[0]:
            break
        seen = step.observations
    episode = recorder.episode()
    out.parent.mkdir(parents=True, exist_ok=True)
    save(episode, out)
    last = int(env.bar_of[0])
    return Recorded(
        episode=episode, symbols=market.symbols, start=iso(int(market.close_ns[episode.start])),
        end=iso(int(market.close_ns[last])),
    )  # fmt: skip


def _bar(env: BatchEnv, start: str) -> int:
    """The first bar from a time on at which an episode can begin."""
    able = env.starts
    closes = env.market.close_ns[able]
    at = parse_iso(start)
    if not closes[0] <= at <= closes[-1]:
        raise UsageError(
            f"start must be from {iso(int(closes[0]))} to {iso(int(closes[-1]))}, where all that "
            f"the model looks at and the episode's bars are there; was {start}"
        )
    return int(able[np.searchsorted(closes, at)])


def _source(data: DataConfig) -> Source:
    from don.clock import interval_ns

    start, end = (None if t is None else parse_iso(t) for t in (data.start, data.end))
    return Source(
        tape=None if data.tape is None else str(data.tape.absolute()),
        funding=None if data.funding is None else str(data.funding.absolute()),
        symbols=data.symbols,
        start_ns=start,
        end_ns=end,
        leverage=data.leverage,
        interval_ns=interval_ns(str(data.interval)) if data.store else None,
        exchange=data.exchange,
    )
