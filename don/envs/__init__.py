"""Trading environments: compiled dynamics over arrays, and views of them. Reads tape files."""

from don.envs.config import EnvConfig
from don.envs.core import AGENTS, BatchEnv, Group, Step
from don.envs.market import EnvMarket, from_arrays, from_market, load_market

__all__ = [
    "AGENTS", "BatchEnv", "EnvConfig", "EnvMarket", "Group", "Step", "from_arrays", "from_market",
    "load_market",
]  # fmt: skip
