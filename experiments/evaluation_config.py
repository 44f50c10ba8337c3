"""What an evaluation and a walk-forward study can be told. Pure."""

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from don.evaluation.config import BaselineConfig
from don.model.section import Section
from experiments.training_config import DataConfig, TrainConfig


class Scheme(StrEnum):
    """How time is cut into what is trained on and what is tested on."""

    ROLLING = "rolling"  # train on the last `train_days`, test on the next `test_days`, move on
    ANCHORED = "anchored"  # the same, training from the beginning of the data
    COMBINATORIAL = "combinatorial"  # every choice of `tests` of `groups` stretches is tested


class WindowConfig(Section):
    """Windows. Bars in a gap are in no set."""

    scheme: Scheme = Scheme.ANCHORED
    train_days: float = Field(default=365.0, gt=0)  # of the first window; of each one if rolling
    test_days: float = Field(default=90.0, gt=0)
    purge_bars: int = Field(default=1, ge=0)  # outcomes of an action come with the next bar
    embargo_bars: int = Field(default=24, ge=0)
    validate_days: float = Field(default=0.0, ge=0)  # the end of each training window; 0: none
    stay_out: bool = True  # of a test, if every checkpoint lost money in validation
    groups: int = Field(default=6, ge=2, le=20)  # combinatorial
    tests: int = Field(default=2, ge=1, le=10)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.tests >= self.groups:
            raise ValueError(f"tests must be below groups, were {self.tests} and {self.groups}")
        if self.validate_days and self.scheme is Scheme.COMBINATORIAL:
            raise ValueError(
                f"validate_days must be 0 with scheme combinatorial, was {self.validate_days:g}: "
                "training there has no end to validate at"
            )
        if self.validate_days >= self.train_days:
            raise ValueError(
                f"validate_days must be below train_days, which it is taken from, were "
                f"{self.validate_days:g} and {self.train_days:g}"
            )
        return self


class EvaluateConfig(Section):
    """An evaluation of models on bars that they have not seen."""

    data: DataConfig = DataConfig()  # `start` and `end` are those of the test
    store: bool = False  # bars of the market database, in place of those of `data`
    exchange: str | None = None  # with store: whose; None: the only one that has them
    seeds: int = Field(default=0, ge=0, le=100)  # further courses, with actions drawn
    baselines: BaselineConfig = BaselineConfig()
    draws: int = Field(default=1_000, ge=10, le=100_000)  # of each bootstrap
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.store and (self.data.tape is not None or self.data.funding is not None):
            raise ValueError("store reads the database: leave tape and funding out")
        if self.exchange is not None and not self.store:
            raise ValueError("exchange is for store")
        return self


class WalkForwardConfig(Section):
    """A study: a training on each window and seed, tested on what comes after it."""

    name: str = Field(default="walk-forward", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    out: Path = Path("walk_forward")
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    windows: WindowConfig = WindowConfig()
    train: TrainConfig = TrainConfig()  # its seed and out are set for each part
    baselines: BaselineConfig = BaselineConfig()
    draws: int = Field(default=1_000, ge=10, le=100_000)

    @property
    def data(self) -> DataConfig:
        """That windows are cut from."""
        return self.train.data

    @property
    def words(self) -> str:
        """What is done and where it is written, for people."""
        what = f"studies {self.name}: {self.train.algorithm.name} in {self.windows.scheme.value}"
        seeds = f"{len(self.seeds)} seed{'s' * (len(self.seeds) != 1)}"
        return f"{what} windows of {self.data.words}, {seeds}; writes {self.out}"

    @model_validator(mode="after")
    def _seeds(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds) or any(not 0 <= s < 2**31 for s in self.seeds):
            raise ValueError(f"seeds must be different, from 0 to 2**31 - 1, were {self.seeds}")
        return self
