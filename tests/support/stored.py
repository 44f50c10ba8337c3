"""Random but valid market tables of every channel, for tests of storage."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from don.market.rows import ordered
from don.model.channels import CHANNELS, conform

DAY = 86_400_000_000_000
MINUTE = 60_000_000_000
T0 = 1_746_057_600_000_000_000  # 2025-05-01
SERIES = (("BINANCE_FUTURES", "BTC-USDT-PERP"), ("BINANCE_FUTURES", "ETH-USDT-PERP"),
          ("KRAKEN", "BTC-USDT-PERP"))  # fmt: skip


def market_rows(
    channel: str,
    rows: int,
    *,
    seed: int = 0,
    start: int = T0,
    end: int = T0 + 3 * DAY,
    series: Sequence[tuple[str, str]] = SERIES,
    step: int = MINUTE,
) -> pa.Table:
    """At most so many rows, in no order; times on a coarse grid, so that many share one."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, len(series), rows)
    price = rng.integers(100, 200, rows).astype(float)
    columns: dict[str, object] = {
        "exchange": [series[i][0] for i in which],
        "symbol": [series[i][1] for i in which],
        "ts_event": rng.integers(start // step, -(-end // step), rows) * step,
        "ts_recv": rng.integers(start, end, rows),
        "origin": rng.choice(["stream", "repair", "history", "import", "synthetic"], rows),
        "interval_ns": rng.choice([MINUTE, 5 * MINUTE], rows),
        "trades": rng.integers(-1, 100, rows),
        "high": price + 2, "low": price - 2, "open": price, "close": price + 1,
        "volume": rng.random(rows), "buy": rng.random(rows) < 0.5,
        "next_ts": np.full(rows, start), "set_hash": rng.choice(["aa", "bbb"], rows),
        "index": np.where(rng.random(rows) < 0.3, np.nan, price),
    }  # fmt: skip
    for name in ("id", "first_id", "last_id"):
        columns[name] = rng.integers(0, 2**40, rows)
    for name in ("price", "size", "bid", "ask", "bid_size", "ask_size", "mark", "rate",
                 "notional"):  # fmt: skip
        columns[name] = rng.integers(1, 10_000, rows) / 100
    for left, right in (("bid_prices", "bid_sizes"), ("ask_prices", "ask_sizes")):
        lengths = rng.integers(0, 6, rows)
        columns[left] = [(rng.random(n) + 1).tolist() for n in lengths]
        columns[right] = [rng.random(n).tolist() for n in lengths]
    columns["values"] = [rng.random(n).tolist() for n in rng.integers(0, 4, rows)]
    schema = CHANNELS[channel].schema
    table = pa.table({name: pa.array(columns[name]) for name in schema.names})
    once = ordered(conform(channel, table, where="test"), CHANNELS[channel])
    return once.take(pa.array(rng.permutation(once.num_rows)))


def plain_read(
    channel: str,
    table: pa.Table,
    *,
    symbols: Sequence[str] | None = None,
    start: int | None = None,
    end: int | None = None,
    exchange: str | None = None,
    interval: int | None = None,
    last: int | None = None,
) -> list[dict[str, object]]:
    """What a read must answer, by the plainest means; of a key that comes twice, the first."""
    key = CHANNELS[channel].key
    first: dict[tuple[object, ...], dict[str, object]] = {}
    for row in table.to_pylist():
        first.setdefault(tuple(row[name] for name in key), row)
    kept = [
        row
        for row in first.values()
        if (symbols is None or row["symbol"] in symbols)
        and (start is None or row["ts_event"] >= start)
        and (end is None or row["ts_event"] < end)
        and (exchange is None or row["exchange"] == exchange)
        and (interval is None or row["interval_ns"] == interval)
    ]
    order = ["exchange", "symbol", "ts_event", *(n for n in CHANNELS[channel].sort if n in key)]
    kept.sort(key=lambda row: tuple(row[name] for name in order))
    if last is None:
        return kept
    by: dict[tuple[object, object], list[dict[str, object]]] = {}
    for row in kept:
        by.setdefault((row["exchange"], row["symbol"]), []).append(row)
    return [row for rows in by.values() for row in rows[-last:]]
