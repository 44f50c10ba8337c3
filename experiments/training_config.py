"""What a training can be told: data, environment, network, algorithm, when to stop. Pure."""

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from don.clock import interval_ns, parse_iso
from don.envs.config import ActionKind, EnvConfig, Form, Layout, VariantConfig
from don.learning.config import NetConfig
from don.model.section import Section

_NOTE = "data"


class Runner(StrEnum):
    """What steps the environments."""

    FAST = "fast"  # all copies as one batch
    STOCK = "stock"  # RLlib's own multi-agent runner, one Python call an agent and step


class DataConfig(Section):
    """Which bars. Paths are relative to the working folder."""

    tape: Path | None = None  # Parquet of bars; None: Don's sample
    funding: Path | None = None
    store: bool = False  # the state folder's market database and its lake, in place of a tape
    exchange: str | None = None  # with store: whose bars; None: the only one that has them
    interval: str | None = None  # with store: of the bars, such as 1h
    symbols: tuple[str, ...] = ()  # canonical; none: all of the tape
    start: str | None = None  # ISO-8601; bars that close after it
    end: str | None = None  # and not after this
    leverage: int = Field(default=20, ge=1, le=125)

    @field_validator("start", "end", mode="before")
    @classmethod
    def _moment(cls, value: Any) -> Any:
        """Dates and times of TOML are taken too."""
        told = value.isoformat() if isinstance(value, date) else value  # a datetime is a date
        if isinstance(told, str):
            parse_iso(told)
        return told

    @field_validator("interval")
    @classmethod
    def _length(cls, value: str | None) -> str | None:
        if value is not None:
            interval_ns(value)
        return value

    @model_validator(mode="after")
    def _times(self) -> Self:
        start, end = (None if t is None else parse_iso(t) for t in (self.start, self.end))
        if start is not None and end is not None and start >= end:
            raise ValueError(f"start must be before end, were {self.start} and {self.end}")
        return self

    @model_validator(mode="after")
    def _stored(self) -> Self:
        if not self.store:
            for name in ("exchange", "interval"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is for store = true, was {getattr(self, name)!r}")
            return self
        if self.tape is not None or self.funding is not None:
            raise ValueError("store reads the database: leave tape and funding out")
        asked = ("symbols", "interval", "start", "end")
        if lacking := [name for name in asked if not getattr(self, name)]:
            raise ValueError(f"store needs {', '.join(lacking)}")
        return self

    @property
    def noted(self) -> dict[str, str]:
        """For the notes of a model's card: `noted_in` finds it there."""
        return {_NOTE: self.model_dump_json(exclude_defaults=True)}

    @classmethod
    def noted_in(cls, notes: Mapping[str, str]) -> Self | None:
        """What a card's notes say that its model was trained on; None: nothing.

        Raises:
            ValueError: if it is no configuration of data.
        """
        return cls.model_validate_json(notes[_NOTE]) if _NOTE in notes else None

    @property
    def words(self) -> str:
        """Which bars, for people."""
        named = f"{self.interval} bars of the store" if self.store else str(self.tape)
        parts = ["Don's sample" if not self.store and self.tape is None else named]
        parts += [f"of {', '.join(self.symbols)}"] if self.symbols else []
        parts += [f"from {self.start}"] if self.start else []
        parts += [f"to {self.end}"] if self.end else []
        return " ".join(parts)

    @property
    def source(self) -> str:
        """What the research ledger knows the data by, beside their symbols and their hash."""
        return f"store {self.exchange or ''} {self.interval}" if self.store else str(self.tape)


class _Learning(Section):
    """What all algorithms have."""

    lr: float = Field(default=3e-4, gt=0, lt=1)
    gamma: float = Field(default=0.99, ge=0, le=1)  # discount a step
    grad_clip: float | None = Field(default=0.5, gt=0)  # of the gradient's norm
    reward_scale: float = Field(default=100.0, gt=0)  # rewards as the learner sees them
    fragment: int = Field(default=64, ge=1, le=10_000)  # steps of each copy between updates
    sequence: int = Field(default=16, ge=1, le=1_000)  # steps that `net.memory` is trained over


class PpoConfig(_Learning):
    """Proximal policy optimisation. Source: Schulman et al., arXiv 1707.06347."""

    name: Literal["ppo"] = "ppo"
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    epochs: int = Field(default=4, ge=1, le=100)
    minibatch: int = Field(default=8_192, ge=1)  # agent-steps
    clip: float = Field(default=0.2, gt=0, lt=1)
    entropy: float = Field(default=0.0, ge=0)
    value: float = Field(default=0.5, ge=0)  # weight of the value loss
    kl_target: float | None = Field(default=None, gt=0)  # None: no KL penalty


class _Replay(_Learning):
    """What algorithms that learn from a memory have."""

    memory: int = Field(default=200_000, ge=100)  # agent-steps kept, of each policy
    warm_up: int = Field(default=2_000, ge=1)  # agent-steps before the first update
    batch: int = Field(default=256, ge=1)  # agent-steps an update, of each policy
    updates: int = Field(default=16, ge=1)  # after each fragment
    fragment: int = Field(default=4, ge=1, le=10_000)


class SacConfig(_Replay):
    """Soft actor-critic. Source: Haarnoja et al., arXiv 1812.05905; discrete: 1910.07207."""

    name: Literal["sac"] = "sac"
    tau: float = Field(default=0.005, gt=0, le=1)  # of target networks, an update
    alpha: float = Field(default=0.1, gt=0)  # first temperature
    entropy_part: float = Field(
        default=0.2, gt=0, lt=1
    )  # discrete: target, of the greatest entropy


class DqnConfig(_Replay):
    """Double deep Q-learning. Source: van Hasselt et al., arXiv 1509.06461."""

    name: Literal["dqn"] = "dqn"
    tau: float = Field(default=0.01, gt=0, le=1)
    explore_from: float = Field(default=1.0, ge=0, le=1)  # share of random actions
    explore_to: float = Field(default=0.02, ge=0, le=1)
    explore_steps: int = Field(default=20_000, ge=1)  # environment steps from first to last


class AppoConfig(_Learning):
    """Asynchronous proximal policy optimisation. Source: Luo et al., arXiv 1912.00167."""

    name: Literal["appo"] = "appo"
    epochs: int = Field(default=2, ge=1, le=100)
    minibatch: int = Field(default=8_192, ge=1)  # agent-steps
    clip: float = Field(default=0.2, gt=0, lt=1)
    entropy: float = Field(default=0.0, ge=0)
    value: float = Field(default=0.5, ge=0)  # weight of the value loss
    target_every: int = Field(default=1, ge=1, le=1_000)  # batches, until the target follows


AlgorithmConfig = Annotated[
    PpoConfig | AppoConfig | SacConfig | DqnConfig, Field(discriminator="name")
]


class StopConfig(Section):
    """When training is over: whichever comes first."""

    steps: int | None = Field(default=1_000_000, ge=1)  # agent-steps
    seconds: float | None = Field(default=None, gt=0)
    iterations: int | None = Field(default=None, ge=1)
    target: float | None = None  # mean return of an episode and agent

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.steps is None and self.seconds is None and self.iterations is None:
            raise ValueError("one of steps, seconds and iterations must be given")
        return self


class WorkersConfig(Section):
    """Who samples."""

    runners: int = Field(default=0, ge=0, le=256)  # processes; 0: in the learner's own
    copies: int = Field(default=64, ge=1, le=65_536)  # environments of each, stepped as one batch


class KeepConfig(Section):
    """What is written, and how often."""

    every: int = Field(default=10, ge=1)  # iterations between checkpoints
    checkpoints: int = Field(default=3, ge=1, le=1_000)  # the last ones kept
    tensorboard: bool = True


class TrainConfig(Section):
    """A training. Paths are relative to the working folder."""

    name: str = Field(default="model", pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    out: Path = Path("training")
    seed: int = Field(default=0, ge=0, lt=2**31)
    runner: Runner = Runner.FAST
    data: DataConfig = DataConfig()
    env: EnvConfig = EnvConfig()
    # made-up histories that are trained on beside the real one; what is tested is always real
    variants: VariantConfig | None = Field(default=None, exclude_if=lambda given: given is None)
    net: NetConfig = NetConfig()
    algorithm: AlgorithmConfig = PpoConfig()
    # shared: a policy for all agents of a kind; separate: one an agent; or agent -> policy
    policies: Literal["shared", "separate"] | dict[str, str] = "shared"
    stop: StopConfig = StopConfig()
    workers: WorkersConfig = WorkersConfig()
    keep: KeepConfig = KeepConfig()

    @property
    def words(self) -> str:
        """What is done and where it is written, for people."""
        what = f"trains {self.name} with {self.algorithm.name} on {self.data.words}"
        return f"{what}; writes {self.out}"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        kind, name = self.env.action.kind, self.algorithm.name
        if self.env.observation.layout is not Layout.FLAT:
            raise ValueError(
                f"env.observation.layout must be 'flat', was "
                f"{self.env.observation.layout.value!r}: networks read one vector"
            )
        if name == "dqn" and kind is not ActionKind.DISCRETE:
            raise ValueError(
                f"algorithm.name dqn needs env.action.kind 'discrete', was {kind.value!r}"
            )
        if name == "appo" and kind not in (
            ActionKind.DISCRETE, ActionKind.MULTI_DISCRETE, ActionKind.TICKET
        ):  # fmt: skip
            raise ValueError(
                "algorithm.name appo needs discrete actions, env.action.kind was "
                f"{kind.value!r}: use ppo"
            )
        if name == "sac" and kind in (ActionKind.MULTI_DISCRETE, ActionKind.TICKET):
            raise ValueError(
                f"algorithm.name sac needs numbers or one discrete action, env.action.kind was "
                f"{kind.value!r}: use ppo"
            )
        if name != "ppo" and self.env.form is Form.ALLOCATED:
            raise ValueError(
                f"env.form 'allocated' is trained with ppo (the allocator's actions are numbers of "
                f"another kind), algorithm.name was {name!r}"
            )
        if self.net.squash and name != "sac":
            raise ValueError(
                f"net.squash is for algorithm sac, which sets it; algorithm.name was {name!r}"
            )
        if self.net.memory and (name != "ppo" or self.runner is Runner.STOCK):
            raise ValueError(
                f"net.memory needs algorithm.name ppo and runner fast, were {name!r} and "
                f"{self.runner.value!r}"
            )
        if self.runner is Runner.STOCK and name != "ppo":
            raise ValueError(f"runner 'stock' trains ppo, algorithm.name was {name!r}: use 'fast'")
        return self
