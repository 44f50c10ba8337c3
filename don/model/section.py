"""Base of every configuration section: frozen, typed, unknown keys refused. Pure."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from don.errors import ConfigError
from don.model.complaint import complaint


class Section(BaseModel):
    """A part of Don's configuration, defined beside the class that it configures."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)


S = TypeVar("S", bound=Section)


def parsed(kind: type[S], values: Mapping[str, Any], origin: str) -> S:
    """A section from plain values.

    Args:
        kind: of section.
        values: nested, as in a TOML file.
        origin: where they come from, for messages.

    Raises:
        ConfigError: one line that names the key, its value, what is allowed, and a near miss.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {complaint(error, kind)}") from None
