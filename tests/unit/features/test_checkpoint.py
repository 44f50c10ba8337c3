"""A cache restored from checkpoints goes on exactly as the one that made them."""

import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from don.errors import DataError
from don.features.cache import FeatureCache
from don.features.checkpoint import thaw
from don.features.config import FeatureConfig
from don.model import codec
from don.model.schema import SCHEMAS, MarketBatch

SYMBOLS = ("BTC-USDT-PERP", "ETH-USDT-PERP")
STEP = 60_000_000_000
CONFIG = FeatureConfig(
    interval="1m", names=("log_return_1", "rsi_14", "obv", "ema_ratio_20", "ofi")
)


def _at(symbol: str, ts: int) -> dict[str, object]:
    return {"symbol": symbol, "ts_event": ts, "ts_recv": ts}


def batches(seed: int, count: int) -> list[MarketBatch]:
    """Trades, quotes, bars (some missing) and status rows of `count` minutes."""
    rng = np.random.default_rng(seed)
    made, seq = [], 0
    price = np.array([100.0, 10.0])
    for k in range(1, count + 1):
        for part in range(3):
            seq += 1
            ts = k * STEP + (part + 1) * STEP // 5
            price = price * np.exp(rng.normal(0, 0.001, 2))
            quotes = [
                {**_at(s, ts), "bid": p * 0.999, "bid_size": 1.0 + part, "ask": p * 1.001}
                | {"ask_size": 2.0}
                for s, p in zip(SYMBOLS, price, strict=True)
            ]
            tables = {"quotes": pa.Table.from_pylist(quotes, SCHEMAS["quotes"])}
            if rng.random() < 0.1:
                state = str(rng.choice(["stale", "gap", "live"]))
                row = {**_at(SYMBOLS[0], ts), "channel": "quotes", "state": state, "detail": "t"}
                tables["status"] = pa.Table.from_pylist([row], SCHEMAS["status"])
            made.append(MarketBatch(source="X", seq=seq, tables=tables))
        seq += 1
        bars = [
            {**_at(s, (k + 1) * STEP), **dict.fromkeys(("open", "high", "low", "close"), p)}
            | {"volume": float(rng.integers(1, 9)), "trades": 3, "origin": "stream"}
            for s, p in zip(SYMBOLS, price, strict=True)
            if rng.random() > 0.1
        ]
        if bars:
            tables = {"bars": pa.Table.from_pylist(bars, SCHEMAS["bars"])}
            made.append(MarketBatch(source="X", seq=seq, tables=tables))
    return made


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), cuts=st.lists(st.integers(1, 150), max_size=3))
def test_restored_equals_uninterrupted(seed: int, cuts: list[int]) -> None:
    flow = batches(seed, 40)
    whole = FeatureCache(CONFIG, SYMBOLS, "s")
    expected = [codec.encode(m) for batch in flow for m in whole.on_batch(batch)]

    cache, saved, got = FeatureCache(CONFIG, SYMBOLS, "s"), [], []
    for at, batch in enumerate(flow):
        if at in cuts:
            saved.append(cache.checkpoint())
            cache = FeatureCache(CONFIG, SYMBOLS, "s")
            cache.restore(saved)
            assert cache.on_batch(flow[at - 1]) == []  # told again, counts once
        got += [codec.encode(m) for m in cache.on_batch(batch)]
    assert got == expected


def test_stored_state_cannot_run_code() -> None:
    with pytest.raises(DataError, match="not part of feature state"):
        thaw(pickle.dumps({"x": print}))


def test_only_a_new_cache_is_restored() -> None:
    cache = FeatureCache(CONFIG, SYMBOLS, "s")
    for batch in batches(1, 3):
        cache.on_batch(batch)
    with pytest.raises(DataError, match="new feature cache"):
        cache.restore([])
