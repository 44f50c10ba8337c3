"""Made-up markets whose best policy is known, and what a policy earns on them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from don.envs import BatchEnv, EnvConfig, EnvMarket, from_arrays
from don.learning.model import Model

HOUR = 3_600 * 10**9
MOVE = 0.003  # of a bar, up or down
STAY = 0.9  # share of bars that move as the one before


def market(bars: int, symbols: int = 1, *, seed: int = 0, stay: float = STAY) -> EnvMarket:
    """Bars of `closes`."""
    return from_close(closes(bars, symbols, seed=seed, stay=stay))


def closes(
    bars: int, symbols: int = 1, *, seed: int = 0, stay: float = STAY
) -> NDArray[np.float64]:
    """Each bar moves by `MOVE`, with probability `stay` the way of the bar before: 0.5 is noise."""
    rng = np.random.default_rng(seed)
    flips = np.where(rng.random((bars, symbols)) < stay, 1.0, -1.0)
    way = np.cumprod(flips, axis=0)
    found: NDArray[np.float64] = 1000.0 * np.exp(
        np.cumsum(way * MOVE, axis=0) - MOVE * np.cumsum(way.mean(axis=0))
    )
    return found


def from_close(close: NDArray[np.float64]) -> EnvMarket:
    opened = np.vstack([close[:1], close[:-1]])
    return from_arrays(
        {
            "open": opened,
            "high": np.maximum(opened, close),
            "low": np.minimum(opened, close),
            "close": close,
            "volume": np.full(close.shape, 1e6),
        },
        [f"S{n}-USDT-PERP" for n in range(close.shape[1])],
        interval_ns=HOUR,
    )


def config(**changes: Any) -> EnvConfig:
    """One agent a symbol that sees the last move and what it holds."""
    return EnvConfig.model_validate(
        {
            "form": "single",
            "action": {"kind": "discrete"},
            "observation": {"features": ["log_return_1"], "window": 1},
            "episode": {"length": 64},
            **changes,
        }
    )


Policy = Callable[[NDArray[np.float32]], NDArray[Any]]


def earned(env: BatchEnv, act: Policy) -> float:
    """Mean log growth of an agent over one episode of each copy; the same ones for every policy."""
    seen = env.reset(seed=77)["agents"]
    total = np.zeros(seen.shape[:2])
    while not env.done.all():
        step = env.step(act(seen))
        total += step.rewards["agents"]
        seen = step.observations["agents"]
    return float(total.mean())


def best(seen: NDArray[np.float32]) -> NDArray[Any]:
    """As the last bar moved: the best that can be known of a `market`."""
    return np.where(seen[..., 0] > 0, 2, 0)


def best_numbers(seen: NDArray[np.float32]) -> NDArray[Any]:
    """The same for actions that are numbers."""
    return np.sign(seen[..., :1])


def follow(window: int) -> Policy:
    """`best` of observations with a window of one feature: its last bar counts."""
    return lambda seen: np.where(seen[..., window - 1] > 0, 2, 0)


def greedy(model: Model) -> Policy:
    return lambda seen: model.act({"agents": seen})[0]["agents"]
