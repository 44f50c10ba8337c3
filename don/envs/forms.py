"""Who acts for which account and symbol. Pure."""

from dataclasses import dataclass

import numpy as np

from don.envs.config import EnvConfig, Form
from don.envs.layout import Ints

ALLOCATOR = "allocator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """A agents over K accounts with n symbols each; the allocator is not among the A."""

    agents: tuple[str, ...]
    columns: Ints  # [K, n] symbols of each account
    owner: Ints  # [A] account of each agent
    seen: Ints  # [A, s] symbols that each agent acts on
    places: Ints  # [A, s] their places in the account
    mine: Ints  # [A] place of the only symbol of an agent in a shared account, -1: all are its own
    allocator: bool


def roles(config: EnvConfig, symbols: tuple[str, ...]) -> Roles:
    """The roles of a form of environment."""
    N = len(symbols)
    every = np.arange(N, dtype=np.int64)
    match config.form:
        case Form.OWN | Form.ALLOCATED:
            A = config.agents
            name = "policy" if config.form is Form.ALLOCATED else "agent"
            wide = np.tile(every, (A, 1))
            return Roles(
                agents=tuple(f"{name}_{i}" for i in range(A)),
                columns=wide,
                owner=np.arange(A, dtype=np.int64),
                seen=wide,
                places=wide,
                mine=np.full(A, -1, np.int64),
                allocator=config.form is Form.ALLOCATED,
            )
        case Form.SINGLE:
            return Roles(
                agents=symbols,
                columns=every[:, None].copy(),
                owner=every,
                seen=every[:, None].copy(),
                places=np.zeros((N, 1), np.int64),
                mine=np.full(N, -1, np.int64),
                allocator=False,
            )
        case Form.SHARED:
            return Roles(
                agents=symbols,
                columns=every[None].copy(),
                owner=np.zeros(N, np.int64),
                seen=every[:, None].copy(),
                places=every[:, None].copy(),
                mine=every,
                allocator=False,
            )
