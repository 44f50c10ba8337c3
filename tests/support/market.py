"""Random market batches that fit the schemas."""

import numpy as np
import pyarrow as pa

from don.model.schema import DEPTH, SCHEMAS, MarketBatch

SYMBOLS = ("BTC-USDT-PERP", "ETH-USDT-PERP", "SOL-USDT-PERP")


def random_table(channel: str, rows: int, rng: np.random.Generator) -> pa.Table:
    """A table of a channel; some prices are NaN, as unused book levels are."""
    columns = [_column(field, rows, rng) for field in SCHEMAS[channel]]
    return pa.table(columns, schema=SCHEMAS[channel])


def random_batch(seq: int, *, rows: int = 20, source: str = "TEST:1") -> MarketBatch:
    """A batch with a table of every channel."""
    rng = np.random.default_rng(seq)
    tables = {channel: random_table(channel, rows, rng) for channel in SCHEMAS}
    return MarketBatch(source=source, seq=seq, tables=tables)


def _column(field: pa.Field, rows: int, rng: np.random.Generator) -> pa.Array:
    if field.name == "symbol":
        return pa.array(rng.choice(SYMBOLS, rows).tolist())
    if field.name == "state":
        return pa.array(rng.choice(["live", "stale", "gap"], rows).tolist())
    if field.type == pa.string():
        return pa.array(["text"] * rows)
    if field.type == pa.int64():
        return pa.array(rng.integers(1, 2**62, rows))
    if field.type == pa.bool_():
        return pa.array(rng.random(rows) < 0.5)
    if field.type == pa.float64():
        return pa.array(rng.random(rows))
    levels = rng.random(rows * DEPTH)
    levels[rng.random(rows * DEPTH) < 0.1] = np.nan
    return pa.FixedSizeListArray.from_arrays(pa.array(levels, from_pandas=False), DEPTH)
