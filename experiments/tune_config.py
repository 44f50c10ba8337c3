"""What a search over trainings can be told. Pure."""

import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from don.errors import ConfigError
from don.model.complaint import complaint
from don.model.section import Section
from experiments.training_config import DataConfig, TrainConfig

ALMOST = 1.0 - 1e-9  # an end of a range that itself is not drawn
NOTHING = -1e9  # score of a trial before its first episode ended: schedulers want a number
# a score is in the units of the first, and of the second whoever pays less has more
UNLIKE = ("env.reward", "env.costs")
_UNLIKE_SAID = (
    "scores would not be of the same thing; give rewards and costs in train, and search once for "
    "each"
)
# of what a network was trained with: another one cannot go on from it
LEARNT = ("algorithm.name", "algorithm.reward_scale")


class Search(StrEnum):
    """How trials are steered."""

    ASHA = "asha"  # weak ones are stopped early: Li et al., arXiv 1810.05934
    PBT = "pbt"  # weak ones go on from strong ones, changed: Jaderberg et al., arXiv 1711.09846


class Range(Section):
    """Values of one setting: some given ones, or all between two."""

    values: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False  # whether drawn evenly in its logarithm

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.values) == (self.low is not None and self.high is not None):
            raise ValueError("give values, or low and high")
        if self.low is not None and self.high is not None:
            if not self.low < self.high:
                raise ValueError(f"low must be below high, were {self.low} and {self.high}")
            if self.log and self.low <= 0:
                raise ValueError(f"low must be above 0 with log, was {self.low}")
        return self

    def draw(self, u: float) -> Any:
        """A value for a uniform number in [0, 1)."""
        if self.values:
            return self.values[int(u * len(self.values))]
        assert self.low is not None and self.high is not None
        if self.log:
            return math.exp(math.log(self.low) + u * math.log(self.high / self.low))
        return self.low + u * (self.high - self.low)


class TuneConfig(Section):
    """A search. Trials train on `train.data`; the score is the mean return of their episodes."""

    out: Path = Path("tune")
    seed: int = Field(default=0, ge=0, lt=2**31)
    search: Search = Search.ASHA
    trials: int = Field(default=8, ge=1, le=10_000)
    iterations: int = Field(default=20, ge=1)  # of a trial, at most
    at_once: int = Field(default=2, ge=1, le=1_024)  # trials in flight, a CPU each
    grace: int = Field(default=4, ge=1)  # iterations before one is stopped, or changed again
    keep_part: float = Field(default=0.5, gt=0, lt=1)  # asha: share that goes on at each rung
    train: dict[str, Any] = Field(default_factory=dict)  # of `TrainConfig`
    space: dict[str, Range] = Field(min_length=1)  # "algorithm.lr" -> its values

    @property
    def data(self) -> DataConfig:
        """That all trials train on."""
        return training(self, corners(self)[0]).data

    @property
    def words(self) -> str:
        """What is done and where it is written, for people."""
        what = f"searches {', '.join(self.space)} with {self.search.value}, {self.trials} trials"
        return f"{what} on {self.data.words}; writes {self.out}"

    @model_validator(mode="after")
    def _known(self) -> Self:
        for name in ("out", "stop", "keep"):
            if name in self.train:
                raise ValueError(f"train.{name} is the search's own: leave it out")
        for name in self.space:
            head = name.split(".")[0]
            if head in ("data", "out", "stop", "keep"):
                raise ValueError(f"space.{name}: {head} is the same in all trials")
            if name.startswith(UNLIKE):
                raise ValueError(f"space.{name}: {_UNLIKE_SAID}")
        if self.search is Search.PBT:
            odd = [n for n in self.space if not n.startswith("algorithm.")]
            if odd:
                raise ValueError(
                    f"pbt changes settings while they train: algorithm.*, not {odd[0]}"
                )
            fixed = [n for n in self.space if n in LEARNT]
            if fixed:
                raise ValueError(
                    f"space.{fixed[0]}: with pbt a trial goes on with what another has learnt, "
                    "which another value of it cannot use; search with asha, or give it in train"
                )
        paid = None
        for point in corners(self):
            try:
                env = training(self, point).env
            except ConfigError as error:
                raise ValueError(str(error)) from None
            paid = paid or (env.reward, env.costs)
            if paid != (env.reward, env.costs):  # in a table that is given whole
                raise ValueError(f"space.env: {_UNLIKE_SAID}")
        return self


def corners(config: TuneConfig) -> list[dict[str, Any]]:
    """Points with each value, and each end of a range, of each setting; the others at their first.

    What is drawn lies between them, so that a value which is none is found before the search.
    """
    first = {name: given.draw(0.0) for name, given in config.space.items()}
    found = [first]
    for name, given in config.space.items():
        further = given.values[1:] or (() if given.values else (given.draw(ALMOST),))
        found += [{**first, name: value} for value in further]
    return found


def cautions(config: TuneConfig, bars: int) -> list[str]:
    """What one should know before the search is paid for.

    Args:
        config: it.
        bars: of the data.
    """
    made = training(config, corners(config)[0])
    said = []
    if made.data.end is None and not made.data.store:
        said.append(
            "train.data.end is not given: trials see the data to the end, and none of them is left "
            "to judge the choice on"
        )
    length = min(made.env.episode.length or bars, bars)
    each = made.algorithm.fragment * made.env.action.every
    if config.grace * each < 2 * length and (config.grace < config.iterations):
        said.append(
            f"trials are compared after {config.grace} iterations, {config.grace * each} bars of "
            f"each copy: so few that episodes of {length} bars have hardly ended, and scores are "
            f"mostly of short first ones; a grace of {math.ceil(2 * length / each)} lets each copy "
            "end a whole one"
        )
    return said


def within(space: Mapping[str, Range], point: dict[str, Any]) -> dict[str, Any]:
    """The point with what was multiplied out of its range put back to the range's end."""
    found = dict(point)
    for name, given in space.items():
        if not given.values:
            found[name] = min(max(point[name], given.draw(0.0)), given.draw(ALMOST))
    return found


def training(config: TuneConfig, point: dict[str, Any]) -> TrainConfig:
    """The training of one point of the space.

    Raises:
        ConfigError: if it is none.
    """
    values = _copy(config.train)
    for name, value in point.items():
        *path, last = name.split(".")
        at = values
        for n, part in enumerate(path):
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                raise ConfigError(
                    f'space."{name}": train.{".".join(path[: n + 1])} must be a table of keys and '
                    f"values, was {at!r}"
                )
        at[last] = value
    if isinstance(values.get("algorithm"), dict):
        values["algorithm"].setdefault("name", "ppo")
    values["stop"] = {"iterations": config.iterations, "steps": None}
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_placed(complaint(error, TrainConfig), point)) from None


def _placed(told: str, point: Mapping[str, Any]) -> str:
    """What is wrong with a training, told of the part of the search that says it."""
    for name in point:
        if told.startswith(f"{name} was "):
            return f'space."{name}"{told.removeprefix(name)}'
        if told.startswith((f"{name} ", f"{name}: ")):
            return f'space."{name}": {told}'
        if told.startswith("unknown key") and repr(name) in told:
            return f"space: {told}"
    return f"train: {told}" if told.startswith("unknown key") else f"train.{told}"


def _copy(values: dict[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if isinstance(v, dict) else v for k, v in values.items()}
