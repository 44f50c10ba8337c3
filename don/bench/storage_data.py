"""Market data for the bench of storage: bars and trades of 50 symbols. Pure.

Prices walk in ticks, sizes are log-normal with three decimals: what a compressor meets is like what
an exchange sends. The same place in the series always gives the same rows.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from don.clock import NS_PER_S
from don.model.channels import CHANNELS

EXCHANGE = "BENCH"
SYMBOLS = tuple(f"C{number:02d}-USDT-PERP" for number in range(50))
START_NS = 1_735_689_600 * NS_PER_S  # 2025-01-01
LIVE_NS = 1_893_456_000 * NS_PER_S  # 2030-01-01: where rows go that are written beside queries
MINUTE_NS, HOUR_NS, DAY_NS = 60 * NS_PER_S, 3_600 * NS_PER_S, 86_400 * NS_PER_S
TRADES_A_DAY = 2_000_000  # of all symbols
_TICK = 0.01
Values = NDArray[Any]


def bars(
    first: int, minutes: int, *, start_ns: int = START_NS, origin: str = "history"
) -> pa.Table:
    """One-minute bars of all symbols, symbol by symbol: those of some minutes after the start."""
    rng = np.random.default_rng([1, first, minutes])
    shape = (len(SYMBOLS), minutes)
    close = _levels()[:, None] + np.cumsum(rng.integers(-9, 10, shape), axis=1)
    opened = np.concatenate([close[:, :1], close[:, :-1]], axis=1)
    high = np.maximum(opened, close) + rng.integers(0, 12, shape)
    low = np.minimum(opened, close) - rng.integers(0, 12, shape)
    times = start_ns + MINUTE_NS * (first + 1 + np.arange(minutes, dtype=np.int64))
    rows = len(SYMBOLS) * minutes
    columns: dict[str, Any] = {
        **{name: np.round(ticks.ravel() * _TICK, 2) for name, ticks in
           (("open", opened), ("high", high), ("low", low), ("close", close))},
        "volume": _sizes(rng, rows),
        "trades": rng.integers(1, 2_000, rows),
        "interval_ns": np.full(rows, MINUTE_NS),
        "ts_event": np.tile(times, len(SYMBOLS)),
        "ts_recv": np.zeros(rows, np.int64),
    }  # fmt: skip
    return _table("bars", columns, np.repeat(np.arange(len(SYMBOLS)), minutes), origin)


def trades(first: int, count: int, *, start_ns: int = START_NS, per_s: float = 0.0) -> pa.Table:
    """Trades of all symbols in the order of time, as they are collected.

    Args:
        first: number of the first one after the start.
        count: how many.
        start_ns: time of number 0.
        per_s: so many a second; by default so many that a day has `TRADES_A_DAY`.
    """
    rng = np.random.default_rng([2, first, count])
    step_ns = int(NS_PER_S / per_s) if per_s else DAY_NS // TRADES_A_DAY
    numbers = first + np.arange(count, dtype=np.int64)
    which = rng.integers(0, len(SYMBOLS), count)
    times = start_ns + numbers * step_ns
    columns = {
        "id": numbers,
        "price": np.round((_levels()[which] + np.cumsum(rng.integers(-3, 4, count))) * _TICK, 2),
        "size": _sizes(rng, count),
        "buy": rng.random(count) < 0.5,
        "ts_event": times,
        "ts_recv": times + rng.integers(1_000_000, 9_000_000, count),
    }
    return _table("trades", columns, which, "stream")


def _levels() -> Values:
    """Price of each symbol in ticks, far from zero."""
    return np.random.default_rng(0).integers(2_000_000, 9_000_000, len(SYMBOLS))


def _sizes(rng: np.random.Generator, count: int) -> Values:
    return np.round(rng.lognormal(0.0, 1.5, count) + 0.001, 3)


def _table(channel: str, columns: dict[str, Any], which: Values, origin: str) -> pa.Table:
    rows = len(which)
    whole: dict[str, Any] = {
        **columns,
        "exchange": pa.repeat(EXCHANGE, rows),
        "symbol": pa.array(SYMBOLS).take(pa.array(which)),
        "origin": pa.repeat(origin, rows),
    }
    schema = CHANNELS[channel].schema
    return pa.table([pa.array(whole[field.name], field.type) for field in schema], schema=schema)
