"""Random valid tables of every stored channel."""

import numpy as np
import pyarrow as pa

from don.clock import NS_PER_S
from don.model.channels import CHANNELS

DAY_NS = 86_400 * NS_PER_S
START_NS = 20_000 * DAY_NS  # 2024-10-04
SYMBOLS = ("BTC-USDT-PERP", "ETH-USDT-PERP", "SOL-USDT-PERP")
EXCHANGES = ("BINANCE_FUTURES", "BYBIT")


def channel_table(
    channel: str, rows: int, *, seed: int = 0, days: int = 1, start_ns: int = START_NS
) -> pa.Table:
    """A valid table of a channel, its rows distinct by natural key and in order of time."""
    rng = np.random.default_rng(seed)
    step = max(1, days * DAY_NS // max(rows, 1) // NS_PER_S) * NS_PER_S
    times = start_ns + step * np.arange(rows)
    columns = {
        "exchange": pa.array(rng.choice(EXCHANGES, rows).tolist(), pa.string()),
        "symbol": pa.array(rng.choice(SYMBOLS, rows).tolist(), pa.string()),
        "ts_event": pa.array(times, pa.int64()),
        "ts_recv": pa.array(times + 1_000_000, pa.int64()),
        "origin": pa.array(rng.choice(["stream", "repair", "import"], rows).tolist(), pa.string()),
    }
    for field in CHANNELS[channel].schema:
        if field.name not in columns:
            columns[field.name] = _column(channel, field, rows, rng)
    if channel == "bars":
        low, high = columns["low"].to_numpy(), columns["low"].to_numpy() + 1
        columns |= {"high": pa.array(high), "open": pa.array(low + 0.25)}
        columns["close"] = pa.array(low + 0.5)
    if channel == "books":
        for side in ("bid", "ask"):
            columns[f"{side}_sizes"] = columns[f"{side}_prices"]
    return pa.table(
        [columns[name] for name in CHANNELS[channel].schema.names], schema=CHANNELS[channel].schema
    )


def as_set(table: pa.Table) -> set[tuple[object, ...]]:
    """The rows, in no order; lists as tuples, NaN as text."""
    return {tuple(_plain(row[name]) for name in table.column_names) for row in table.to_pylist()}


def _plain(value: object) -> object:
    if isinstance(value, list):
        return tuple(_plain(element) for element in value)
    return "nan" if value != value else value


def _column(channel: str, field: pa.Field, rows: int, rng: np.random.Generator) -> pa.Array:
    if field.name == "interval_ns":
        return pa.array([60 * NS_PER_S] * rows, pa.int64())
    if field.name == "set_hash":
        return pa.array(rng.choice(["a1b2", "c3d4e5f6"], rows).tolist(), pa.string())
    if field.name == "next_ts":
        return pa.array([0] * rows, pa.int64())
    if field.name in ("id", "first_id", "last_id"):
        return pa.array(np.arange(1, rows + 1))
    if field.type == pa.int64():
        return pa.array(rng.integers(-1, 1_000, rows))
    if field.type == pa.bool_():
        return pa.array(rng.random(rows) < 0.5)
    if field.type == pa.float64():
        return pa.array(rng.random(rows) + 0.001)
    lengths = rng.integers(0, 6, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(rng.random(int(offsets[-1])) + 0.1))
