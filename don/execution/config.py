"""Configuration of orders that Don carries out itself. Pure."""

from pydantic import Field, field_validator

from don.execution.requests import OrderKind
from don.execution.schedule import HOURLY_VOLUME
from don.model.section import Section


class WorkingConfig(Section):
    """How parents are worked."""

    emulate: tuple[OrderKind, ...] = ()  # types that the exchange lacks: Don watches the price
    # shares of equal parts of a UTC day in its volume, for VWAP
    volume_profile: tuple[float, ...] = Field(default=HOURLY_VOLUME, min_length=1)

    @field_validator("emulate")
    @classmethod
    def _conditional(cls, kinds: tuple[OrderKind, ...]) -> tuple[OrderKind, ...]:
        for kind in kinds:
            if kind.native is None or not kind.native.conditional:
                raise ValueError(f"emulate must name conditional types, was {kind}")
        return kinds

    @field_validator("volume_profile")
    @classmethod
    def _positive(cls, profile: tuple[float, ...]) -> tuple[float, ...]:
        if min(profile) <= 0:
            raise ValueError(f"volume_profile must be positive, was {list(profile)}")
        return profile
