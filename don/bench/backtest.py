"""Bench of the backtest: bars per second through the engine with the full order path.

Minute bars of many symbols, drawn here, because benches run where no recordings are; decisions once
an hour, orders through risk, the wire's translations, matching and accounts of the paper exchange.
Reads only a timer. Loading and features are counted.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from don.backtest import BacktestConfig, run
from don.bench import depth, vector

_RUNS = 3
_SYMBOLS = 24
_MINUTE_NS = 60 * 10**9
_ORIGIN_NS = 1_735_689_600 * 10**9  # 2025-01-01


def rows(full: bool) -> list[dict[str, Any]]:
    """The rows `backtest.bars_engine` (bars, over all symbols, per second of one core's own time)
    beside backtesting.py, `backtest.bars_vector`, see `don.bench.vector`, and
    `backtest.depth_events`, see `don.bench.depth`.
    """
    bars = 43_200 if full else 14_400
    with tempfile.TemporaryDirectory(prefix="don-bench-") as folder:
        tape = Path(folder) / "bars.parquet"
        pq.write_table(_bars(bars), tape)
        config = BacktestConfig.model_validate(
            {"tape": str(tape), "detail": "bars", "engine": {"decide_every": 60}}
        )
        run(config.model_copy(update={"end": "2025-01-01T16:00"}))  # compiles
        rates = []
        for _ in range(_RUNS):
            start = time.process_time()
            result = run(config)
            rates.append(result.bars / (time.process_time() - start))
        peer, why = vector.engine_peer(tape)
        vectors = vector.rows(tape)
    if not result.fills or result.differences:
        raise AssertionError("the bench must trade, and its books must agree with the exchange")
    value = statistics.median(rates)
    return [
        {
            "area": "backtest",
            "name": "backtest.bars_engine",
            "value": value,
            "unit": "bars/s",
            "n": result.bars,
            "min": min(rates),
            "max": max(rates),
            **vector.peer_columns(value, peer, why),
        },
        *vectors,
        *depth.rows(full),
    ]


def _bars(count: int) -> pa.Table:
    """Random walks with one common factor, a tick of a cent."""
    rng = np.random.default_rng(11)
    factor = rng.normal(0, 4e-4, count)
    stamps = _ORIGIN_NS + np.arange(count, dtype=np.int64) * _MINUTE_NS
    tables = []
    for n in range(_SYMBOLS):
        own = rng.normal(0, 6e-4, count)
        close = np.round(100 * np.exp(np.cumsum(factor + own)), 2)
        before = np.concatenate([close[:1], close[:-1]])
        tables.append(
            pa.table(
                {
                    "symbol": [f"SYM{chr(65 + n)}USDT"] * count,
                    "timestamp": pa.array(stamps, pa.timestamp("ns", "UTC")),
                    "open": before,
                    "high": np.round(np.maximum(before, close) + 0.02, 2),
                    "low": np.round(np.minimum(before, close) - 0.02, 2),
                    "close": close,
                    "volume": np.round(rng.uniform(1e3, 1e4, count), 1),
                }
            )
        )
    return pa.concat_tables(tables)
