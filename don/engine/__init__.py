"""The decision core: a deterministic fold from the desk's inputs to its outputs. Pure."""

from don.engine.config import EngineConfig
from don.engine.fold import Engine

__all__ = ["Engine", "EngineConfig"]
