"""Modules of the user's that register features, loaded once by name. Pure but for the import."""

import importlib
from collections.abc import Sequence

from don.errors import ConfigError


def load_modules(names: Sequence[str], field: str = "features.modules") -> None:
    """Import modules that register features; those that are loaded already are left alone.

    Args:
        names: of modules.
        field: where they are asked for, for errors.

    Raises:
        ConfigError: if one cannot be imported, or registers what fails its proof.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except ConfigError as error:
            raise ConfigError(f"{field}: {name!r}: {error}") from error
        except (ImportError, ValueError) as error:
            raise ConfigError(
                f"{field}: {name!r} cannot be loaded: {error}; it must be importable, "
                "for instance from a folder on PYTHONPATH"
            ) from error
        except Exception as error:  # whatever a user's module may do wrong
            raise ConfigError(
                f"{field}: {name!r} fails when it is loaded: {type(error).__name__}: {error}"
            ) from error
