"""Compile and load what features need before the first real bar waits for it. Pure but for that."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from don.clock import interval_ns as parse_interval
from don.features.cache import FeatureCache
from don.features.config import FeatureConfig
from don.model.schema import SCHEMAS, MarketBatch

_BARS = 8


def rehearse(config: FeatureConfig, symbols: Sequence[str]) -> int:
    """Take drawn bars through a cache of their own, which is thrown away.

    Returns:
        Snapshots that came out; at least one unless the configuration makes none of bars alone.
    """
    step = parse_interval(config.interval)
    cache = FeatureCache(config, symbols, "rehearsal")
    cache.warm_up(_drawn(symbols, step, 1, _BARS, "history"))
    made = 0
    for n in (_BARS, _BARS + 1):
        batch = MarketBatch(
            source="rehearsal", seq=n, tables={"bars": _drawn(symbols, step, n, n + 1, "stream")}
        )
        made += len(list(cache.on_batch(batch)))
    return made


def _drawn(symbols: Sequence[str], step: int, first: int, end: int, origin: str) -> pa.Table:
    """Bars that wander a little, so that no kernel meets only zeros."""
    rng = np.random.default_rng(1)
    rows: list[dict[str, object]] = []
    for symbol in symbols:
        for n in range(first, end):
            close = 100.0 + float(rng.normal())
            rows.append(
                {
                    "symbol": symbol, "ts_event": (1_000_000 + n) * step,
                    "ts_recv": (1_000_000 + n) * step, "open": 100.0, "high": 105.0, "low": 95.0,
                    "close": close, "volume": 1.0, "trades": 1, "origin": origin,
                }
            )  # fmt: skip
    return pa.Table.from_pylist(rows, SCHEMAS["bars"])
