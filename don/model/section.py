"""Base of every configuration section: frozen, typed, unknown keys refused. Pure."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of Don's configuration, defined beside the class that it configures."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)
