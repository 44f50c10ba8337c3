"""Made-up markets for environment tests."""

import numpy as np

from don.envs import EnvMarket, from_arrays

HOUR = 3_600 * 10**9
SYMBOLS = ("AAA-USDT-PERP", "BBB-USDT-PERP", "CCC-USDT-PERP")


def columns(
    bars: int = 400, symbols: int = 3, seed: int = 0, vol: float = 0.01, depth: float = 1.0
) -> dict:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, vol, (bars, symbols)), axis=0))
    opened = np.vstack([close[:1], close[:-1]])
    wide = 1 + np.abs(rng.normal(0, vol / 2, (2, bars, symbols)))
    rate = np.zeros((bars, symbols))
    rate[7::8] = rng.normal(1e-4, 2e-4, rate[7::8].shape)
    return {
        "open": opened,
        "high": np.maximum(opened, close) * wide[0],
        "low": np.minimum(opened, close) / wide[1],
        "close": close,
        "volume": rng.uniform(2_000, 20_000, (bars, symbols)) * depth,
        "rate": rate,
    }


def market(bars: int = 400, symbols: int = 3, seed: int = 0, **how: float) -> EnvMarket:
    vol, depth = how.pop("vol", 0.01), how.pop("depth", 1.0)
    return from_arrays(
        columns(bars, symbols, seed, vol, depth), SYMBOLS[:symbols], interval_ns=HOUR, **how
    )
