"""Audits of stored rows: every planted hole is found, and nothing else is."""

from pathlib import Path
from random import Random

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from don.market.coverage import (
    MINUTE_NS,
    Range,
    State,
    StreamKey,
    ceil_minute,
    floor_minute,
    overlay,
)
from don.market.coverage_stored import StoredBars, StoredTrades

DATA = Path(__file__).parents[4] / "shared" / "data"
BARS = DATA / "binance_usdm_ohlcv_1m_2025spring.parquet"
TRADES = DATA / "binance_usdm_aggtrades_apeusdt_20241018.parquet"
STREAM = StreamKey("BINANCE_FUTURES", "trades", "APE-USDT-PERP")


def minutes(ranges: list[Range], state: State) -> set[int]:
    return {
        at
        for each in ranges
        if each.state is state
        for at in range(each.start // MINUTE_NS, each.end // MINUTE_NS)
    }


def recorded(path: Path, *columns: str) -> list[np.ndarray]:
    if not path.exists():
        pytest.skip(f"recorded data {path.name} are not here")
    symbols = [("symbol", "==", "ETHUSDT")] if "ohlcv" in path.name else None
    table = pq.read_table(path, columns=list(columns), filters=symbols)
    return [
        table[c].to_numpy().astype("datetime64[ns]").astype(np.int64)
        if c == "timestamp"
        else table[c].to_numpy()
        for c in columns
    ]


def in_blocks(fold, times, origins, ids, rng: Random) -> list[Range]:  # type: ignore[no-untyped-def]
    at = 0
    while at < len(times):
        to = at + rng.randrange(1, 20_000)
        fold.add(times[at:to], origins[at:to], None if ids is None else ids[at:to])
        at = to
    return overlay([], fold.claims(), anew=True)


@pytest.mark.parametrize("seed", range(3))
def test_removed_bars_are_found_and_nothing_else(seed: int) -> None:
    (opens,) = recorded(BARS, "timestamp")
    closes = opens + MINUTE_NS
    rng = np.random.default_rng(seed)
    gone = rng.random(len(closes)) < (0.001, 0.02, 0.4)[seed]
    gone[[0, -1]] = False
    fold = StoredBars(StreamKey("BINANCE_FUTURES", "bars:1m", "ETH-USDT-PERP"), MINUTE_NS)
    kept = closes[~gone]
    found = in_blocks(fold, kept, ["stream"] * len(kept), None, Random(seed))
    assert minutes(found, State.GAP) == set((opens[gone] // MINUTE_NS).tolist())
    assert minutes(found, State.COMPLETE) == set((opens[~gone] // MINUTE_NS).tolist())


@pytest.mark.parametrize("seed", range(3))
def test_removed_trades_are_found_and_nothing_else(seed: int) -> None:
    times, ids = recorded(TRADES, "timestamp", "agg_trade_id")
    rng = np.random.default_rng(seed)
    gone = np.zeros(len(times), bool)
    for at in rng.integers(1, len(times) - 1, 25):
        gone[at : at + rng.integers(1, 300)] = True
    gone[[0, -1]] = False
    kept_times, kept_ids = times[~gone], ids[~gone]
    planted: set[int] = set()
    for at in np.flatnonzero(np.diff(kept_ids) > 1).tolist():
        low, high = floor_minute(int(kept_times[at])), ceil_minute(int(kept_times[at + 1]) + 1)
        planted |= set(range(low // MINUTE_NS, high // MINUTE_NS))
    everything = set(range(ceil_minute(times[0]) // MINUTE_NS, times[-1] // MINUTE_NS))
    origins = ["stream"] * len(kept_times)
    found = in_blocks(StoredTrades(STREAM), kept_times, origins, kept_ids, Random(seed))
    assert minutes(found, State.GAP) == planted
    assert minutes(found, State.COMPLETE) == everything - planted
    whole = in_blocks(StoredTrades(STREAM), times, ["stream"] * len(times), ids, Random(seed))
    assert minutes(whole, State.COMPLETE) == everything
    assert len(whole) == 1


@given(st.lists(st.sampled_from(["stream", "repair", "synthetic", "history"]), min_size=1))
def test_how_rows_came_to_be_is_told(origins: list[str]) -> None:
    fold = StoredBars(StreamKey("X", "bars:1m", "S"), MINUTE_NS)
    closes = (np.arange(len(origins), dtype=np.int64) + 10) * MINUTE_NS
    fold.add(closes, origins)
    found = overlay([], fold.claims(), anew=True)
    for origin, state in (("repair", State.REPAIRED), ("synthetic", State.SYNTHETIC)):
        assert minutes(found, state) == {9 + n for n, o in enumerate(origins) if o == origin}
    assert minutes(found, State.COMPLETE) == {
        9 + n for n, o in enumerate(origins) if o in ("stream", "history")
    }


def test_history_completes_what_was_unknown_and_repairs_what_was_a_gap() -> None:
    stream = StreamKey("X", "bars:1m", "S")
    gap = Range(exchange="X", channel="bars:1m", symbol="S", start=2 * MINUTE_NS,
                end=4 * MINUTE_NS, state=State.GAP)  # fmt: skip
    fold = StoredBars(stream, MINUTE_NS)
    closes = (np.arange(6, dtype=np.int64) + 1) * MINUTE_NS
    fold.add(closes, ["stream", "history", "history", "history", "import", "stream"])
    found = overlay([gap], fold.claims(), anew=True)
    assert minutes(found, State.REPAIRED) == {2, 3}
    assert minutes(found, State.COMPLETE) == {0, 1, 4, 5}


def test_ids_out_of_order_are_no_holes() -> None:
    rng = np.random.default_rng(1)
    ids = np.arange(20_000, dtype=np.int64)
    times = ids * 10**8
    shuffled = np.argsort(ids + rng.integers(0, 50, len(ids)), kind="stable")
    fold = StoredTrades(STREAM)
    for part in np.array_split(ids[shuffled], 7):
        fold.add(times[: len(part)], ["stream"] * len(part), part)
    assert minutes(overlay([], fold.claims()), State.GAP) == set()
