"""Requests of plausible size for tests of portfolio choice."""

from typing import Any

import numpy as np

from don.model.messages import OptimizeRequest, PortfolioInputs
from don.portfolio.config import PortfolioConfig
from don.portfolio.optimizer import PortfolioOptimizer, Solution

WIDE = {"max_gross": 100.0, "max_weight": 100.0, "max_turnover": 200.0}
FULL = {"max_weight": 1.0, "max_turnover": 2.0, "allow_short": False}
N = 6


def names(n: int = N) -> tuple[str, ...]:
    return tuple(f"S{i}-USDT-PERP" for i in range(n))


def returns(n: int = N, T: int = 240, seed: int = 0) -> np.ndarray:
    """Returns of a market factor and own noise of unequal size, with unequal means."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(T, n)) * rng.uniform(0.003, 0.012, n)
    return np.asarray(
        rng.normal(2e-4, 3e-4, n) + own + rng.normal(size=(T, 1)) * rng.uniform(0.5, 1.5, n) * 0.006
    )


def asked(n: int = N, **changes: Any) -> OptimizeRequest:
    X = returns(n)
    given = {k: changes.pop(k) for k in list(changes) if k in PortfolioInputs.__slots__}
    fields: dict[str, Any] = {
        "decision": 1,
        "ts_event": 0,
        "symbols": names(n),
        "mu": X.mean(axis=0),
        "Sigma": np.cov(X.T).reshape(n, n),
        "w_now": np.zeros(n),
        "w_last": np.zeros(n),
        "cost": np.zeros(n),
        "tradable": np.ones(n, dtype=bool),
        "inputs": PortfolioInputs(**given) if given else None,
    }
    return OptimizeRequest(**{**fields, **changes})


def solved(config: dict[str, Any], n: int = N, **changes: Any) -> Solution:
    return PortfolioOptimizer(PortfolioConfig(**config)).solve(asked(n, **changes))
