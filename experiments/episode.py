"""One episode of a model, recorded for `don replay` and the console. Does I/O."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from don.clock import iso, parse_iso
from don.envs import BatchEnv
from don.envs.record import Episode, Recorder, Source
from don.envs.record_file import check_place, save
from don.errors import UsageError
from don.evaluation.agent import check_market
from don.evaluation.course import out_of_sample
from don.learning.model import Model
from experiments.evaluate import data_of
from experiments.rllib.market_file import open_data
from experiments.training_config import DataConfig

BARS = 500  # of an episode of which nobody says how long it is to be


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What was recorded."""

    path: Path
    episode: Episode
    symbols: tuple[str, ...]
    start: str  # close of the bar at which was first decided, ISO-8601
    end: str  # close of the last bar


def record(
    folder: Path, trained: Path, given: DataConfig, out: Path, *, anew: bool = False,
    start: str | None = None, bars: int | None = None, seed: int = 0, home: Path | None = None,
) -> Recorded:  # fmt: skip
    """Let a model act for an episode, always doing the likeliest, and write its record.

    Costs are those of a test: never below the defaults. Nothing is drawn but the start.

    Args:
        folder: of the model.
        trained: its folder as its training exported it.
        given: bars; without a tape those that the model was trained from, see `data_of`.
        out: file.
        anew: never in place of another file: see `record_file.save`.
        start: ISO-8601, close of the bar at which is first decided; None: drawn.
        bars: that it lasts; None: `BARS`, or the whole steps in them.
        seed: of the start, below 2^31.
        home: the state folder; None: as `DON_HOME` says.

    Raises:
        UsageError: if it cannot begin there, it is not known where the data are, or the file
            cannot be written.
        DataError, ConfigError: if data and model do not fit.
    """
    begin = None if start is None else _time(start)
    if not 0 <= seed < 2**31:
        raise UsageError(f"seed must be from 0, below 2^31, was {seed}")
    check_place(out)
    model = Model.load(folder)
    card = model.card
    bars = _whole(bars, card.env.action.every)
    data = data_of([trained], [card], given)
    data = data.model_copy(update={"symbols": data.symbols or card.symbols})
    market = open_data(data, home)
    check_market(card, market)
    # rewards are part of the record
    config = out_of_sample(card.env, market).model_copy(update={"reward": card.env.reward})
    length = config.episode.model_copy(update={"length": bars, "random_start": start is None})
    env = BatchEnv(market, config.model_copy(update={"episode": length}), 1, states=model.states)
    recorder = Recorder(env, _source(data))
    seen = recorder.reset(seed, start=None if begin is None else _bar(env, begin))
    memory: Any = None
    while True:
        actions, after = model.act(seen, memory)
        memory = after if env.acting[0] else memory  # in and just behind a hole: as a desk
        step = recorder.step(actions)
        if step.done[0]:
            break
        seen = step.observations
    episode = recorder.episode()
    path = save(episode, out, anew=anew)
    last = int(env.bar_of[0])
    return Recorded(
        path=path, episode=episode, symbols=market.symbols,
        start=iso(int(market.close_ns[episode.start])), end=iso(int(market.close_ns[last])),
    )  # fmt: skip


def _time(start: str) -> int:
    try:
        return parse_iso(start)
    except ValueError as error:
        raise UsageError(str(error).replace("time", "start", 1)) from error


def _whole(bars: int | None, every: int) -> int:
    """Bars of whole steps: a record of others could not be read again."""
    if bars is None:
        return max(every, BARS // every * every)
    if bars < 1 or bars % every:
        raise UsageError(f"bars must be a multiple of the {every} of a step, was {bars}")
    return bars


def _bar(env: BatchEnv, at: int) -> int:
    """The first bar from a time on at which an episode can begin."""
    able = env.starts
    closes = env.market.close_ns[able]
    if not closes[0] <= at <= closes[-1]:
        raise UsageError(
            f"start must be from {iso(int(closes[0]))} to {iso(int(closes[-1]))}, where all that "
            f"the model looks at and the episode's bars are there; was {iso(at)}"
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
