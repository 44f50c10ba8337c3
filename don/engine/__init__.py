"""The decision core: a deterministic fold from the desk's inputs to its outputs. Pure.

The fold is imported when it is asked for: most processes need only its configuration.
"""

from typing import TYPE_CHECKING, Any

from don.engine.config import EngineConfig

if TYPE_CHECKING:
    from don.engine.fold import Engine

__all__ = ["Engine", "EngineConfig"]


def __getattr__(name: str) -> Any:
    """The fold, at its first use.

    Raises:
        AttributeError: for a name that is not here.
    """
    if name == "Engine":
        from don.engine.fold import Engine

        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
