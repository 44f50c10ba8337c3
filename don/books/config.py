"""Configuration of several policies on one account: slots and how capital is shared. Pure."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol, Self

from pydantic import Field, model_validator

from don.errors import ConfigError
from don.model.section import Section
from don.policies import Learned, PoliciesConfig, Policy, Watcher, make_policy

DESK = "desk"  # the book of what no policy ordered: orders by hand, reserves, what was found


class Mode(StrEnum):
    """What a slot's decisions do."""

    LIVE = "live"  # they are traded
    CANARY = "canary"  # they are traded with bounded capital
    SHADOW = "shadow"  # they are recorded and priced in a book of their own; nothing is ordered

    @property
    def orders(self) -> bool:
        """True if the slot has a part in the account."""
        return self is not Mode.SHADOW


class SlotConfig(Section):
    """One policy's place on the account. Shares are fractions of the account's equity."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9_.-]{0,31}$")  # of slot and book; unique
    policy: str  # as of `--policy`
    mode: Mode = Mode.LIVE
    # of capital; None: what allocation gives. A shadow has so much on paper, 1 if None
    share: float | None = Field(default=None, gt=0, le=1)
    min_share: float = Field(default=0.0, ge=0, le=1)  # bounds on what allocation gives
    max_share: float = Field(default=1.0, gt=0, le=1)  # and on what is ever traded; of canaries: 5%
    max_drawdown: float | None = Field(default=None, gt=0, lt=1)  # of its book: halts this slot
    policies: PoliciesConfig | None = None  # parameters; None: those of `engine.policies`

    @model_validator(mode="before")
    @classmethod
    def _canary(cls, values: object) -> object:
        if (
            isinstance(values, dict)
            and values.get("mode") == Mode.CANARY
            and "max_share" not in values
        ):
            return {**values, "max_share": CANARY_SHARE}
        return values

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.name == DESK:
            raise ValueError(f"slot name {DESK!r} is the book of orders by hand: choose another")
        if self.min_share > self.max_share:
            raise ValueError(
                f"min_share must be at most max_share, were {self.min_share} and {self.max_share}"
            )
        if self.share is not None and self.mode.orders and self.share > self.max_share:
            raise ValueError(
                f"share must be at most max_share, were {self.share} and {self.max_share}"
            )
        return self


CANARY_SHARE = 0.05  # of equity: what a canary may trade with unless it says otherwise


class Method(StrEnum):
    """How capital is shared among slots without a share of their own."""

    EQUAL = "equal"
    RISK_PARITY = "risk_parity"  # each book brings the same risk
    MAX_SHARPE = "max_sharpe"
    MEAN_VARIANCE = "mean_variance"


class AllocationConfig(Section):
    """How capital is shared: by the portfolio optimizer, over the books' own returns."""

    method: Method = Method.RISK_PARITY
    every: int = Field(default=168, ge=0)  # decisions between two allocations; 0: only the first
    min_history: int = Field(default=168, ge=2)  # returns of every book needed; equal before
    window: int = Field(default=2_016, ge=2)  # returns looked back on, at most
    risk_aversion: float = Field(default=6.0, gt=0)  # of mean-variance
    shrinkage: float = Field(default=0.2, ge=0, le=1)  # of covariances between books, to zero
    reserve: float = Field(default=0.0, ge=0, lt=1)  # part of equity that no policy gets

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.min_history > self.window:
            raise ValueError(
                f"min_history must be at most window, were {self.min_history} and {self.window}"
            )
        return self


def check_slots(slots: Sequence[SlotConfig], allocation: AllocationConfig) -> None:
    """Refuse slots that do not fit together.

    Raises:
        ValueError: naming the slots and what is allowed.
    """
    names = [slot.name for slot in slots]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"slot names must be unique, was twice: {', '.join(twice)}")
    if not any(slot.mode.orders for slot in slots):
        raise ValueError("at least one slot must be live or canary, all were shadow")
    room = 1.0 - allocation.reserve
    least = sum(s.min_share if s.share is None else s.share for s in slots if s.mode.orders)
    if least > room + 1e-9:
        raise ValueError(
            f"shares and min_shares of slots that order must sum to at most {room:g} "
            f"(1 - allocation.reserve), was {least:g}"
        )


class HasSlots(Protocol):
    """What of `EngineConfig` says which policies there are."""

    @property
    def policies(self) -> PoliciesConfig:
        """Parameters of slots that have none of their own."""
        ...

    @property
    def slots(self) -> tuple[SlotConfig, ...]:
        """Empty where one policy has the account."""
        ...


def slot_policies(policy: str, config: HasSlots) -> tuple[Policy, ...]:
    """The policies of a session: of its slots in their order, or the one that is named.

    Raises:
        ConfigError: if there is none of a name, or parameters do not fit together.
    """
    if not config.slots:
        return (make_policy(policy, config.policies),)
    made = []
    for slot in config.slots:
        try:
            made.append(make_policy(slot.policy, slot.policies or config.policies))
        except ConfigError as error:
            raise ConfigError(f"slot {slot.name}: {error}") from error
    return tuple(made)


def slots_name(policy: str, config: HasSlots) -> str:
    """What a session's policy is called: its name, or the names of the slots that order."""
    if not config.slots:
        return policy
    return "+".join(slot.name for slot in config.slots if slot.mode.orders)


def features_needed(policy: str, config: HasSlots) -> tuple[str, ...]:
    """Features that the policies of a session need, each once."""
    made = slot_policies(policy, config)
    return tuple(dict.fromkeys(name for one in made for name in one.features))


def modules_needed(policy: str, config: HasSlots) -> tuple[str, ...]:
    """Python modules that the features of a session's policies are in, each once."""
    made = slot_policies(policy, config)
    return tuple(dict.fromkeys(m for one in made if isinstance(one, Learned) for m in one.modules))


def rows_needed(policy: str, config: HasSlots) -> int:
    """Bars of features from before the session that its policies want to be shown."""
    made = slot_policies(policy, config)
    return max((one.rows for one in made if isinstance(one, Watcher)), default=0)
