"""Base of every configuration section: frozen, typed, unknown keys refused. Pure."""

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from don.errors import ConfigError


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
        raise ConfigError(_explained(error, kind, origin)) from None


def _explained(error: ValidationError, root: type[Section], origin: str) -> str:
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        section: Any = root
        for part in first["loc"][:-1]:
            field = getattr(section, "model_fields", {}).get(part)
            section = field.annotation if field is not None else section
        known = list(getattr(section, "model_fields", {}))
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
        return f"{origin}: unknown key {path!r}; {hint}"
    return f"{origin}: {path} was {first['input']!r}: {first['msg'].removeprefix('Value error, ')}"
