"""TOML files as tables and as sections. Reads files; imports nothing heavy."""

import tomllib
from pathlib import Path
from typing import Any

from don.errors import ConfigError
from don.model.section import S, parsed


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as nested tables.

    Raises:
        ConfigError: if it cannot be read or is not TOML; the message names file and line.
    """
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"config file {path} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"config file {path} is not TOML: {error}") from error


def read_section(kind: type[S], path: Path) -> S:
    """A section that is a TOML file of its own.

    Raises:
        ConfigError: if it cannot be read, is not TOML, or does not fit.
    """
    return parsed(kind, read_toml(path), str(path))
