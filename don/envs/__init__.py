"""Trading environments: compiled dynamics over arrays, and views of them. Reads tape files.

What steps and what reads is imported when it is asked for: many need only the configuration.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from don.envs.config import EnvConfig

if TYPE_CHECKING:
    from don.envs.core import AGENTS, BatchEnv, Group, Step
    from don.envs.market import EnvMarket, from_arrays, from_market, load_market

__all__ = [
    "AGENTS", "BatchEnv", "EnvConfig", "EnvMarket", "Group", "Step", "from_arrays", "from_market",
    "load_market",
]  # fmt: skip
_CORE = ("AGENTS", "BatchEnv", "Group", "Step")


def __getattr__(name: str) -> Any:
    """A name of `core` or `market`, at its first use.

    Raises:
        AttributeError: for a name that is not here.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'core' if name in _CORE else 'market'}"), name)
