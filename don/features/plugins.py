"""Modules of the user's that register features, loaded once by name. Pure but for the import."""

import importlib
from collections.abc import Sequence

from don.errors import ConfigError


def load_modules(names: Sequence[str]) -> None:
    """Import modules that register features; those that are loaded already are left alone.

    Raises:
        ConfigError: if one cannot be imported, or registers what fails its proof.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except ConfigError as error:
            raise ConfigError(f"features.modules: {name!r}: {error}") from error
        except (ImportError, ValueError) as error:
            raise ConfigError(
                f"features.modules: {name!r} cannot be loaded: {error}; it must be importable, "
                "for instance from a folder on PYTHONPATH"
            ) from error
        except Exception as error:  # whatever a user's module may do wrong
            raise ConfigError(
                f"features.modules: {name!r} fails when it is loaded: "
                f"{type(error).__name__}: {error}"
            ) from error
