"""Bars from smaller bars and from trades, as exchanges build them. Pure: tables in, tables out.

A bar covers `[close - interval, close)` and is stamped with its close; bars lie on the grid of
multiples of their interval since the Unix epoch, UTC. A bar exists where something was traded (or a
smaller bar exists): holes are left as holes, never filled.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from don.model.channels import CHANNELS

# how direct a row's evidence is, best first: a bar is as good as the worst of its parts
TRUST = ("stream", "history", "import", "repair", "synthetic")

Ints = NDArray[np.int64]
_SCHEMA = CHANNELS["bars"].schema
_BAR_FIELDS = ("open", "high", "low", "close", "volume")


def close_times(ts_event: Ints, interval_ns: int) -> Ints:
    """Close of the bar that a trade at a time falls into: the next grid point after it."""
    return (ts_event // interval_ns + 1) * interval_ns


def resample_bars(table: pa.Table, interval_ns: int, *, whole: bool = False) -> pa.Table:
    """Larger bars from smaller ones of one interval.

    Open of the first, highest high, lowest low, close of the last, sums of volume and trades
    (-1, unknown, if any is unknown), latest `ts_recv`, the weakest `origin`.

    Args:
        table: bars (channel `bars`) of any number of symbols and one `interval_ns`, in any order.
        interval_ns: wanted, a multiple of the source's.
        whole: only bars all of whose smaller bars are there; each of these must come once, and
            those that do not close on their own grid do not count. Else a larger bar is built of
            the smaller ones that there are.

    Returns:
        Bars, sorted by exchange, symbol and close.

    Raises:
        ValueError: if the source has several intervals or one that does not divide the wanted one.
    """
    if not table.num_rows:
        return table
    source = pc.unique(table["interval_ns"]).to_pylist()
    if len(source) != 1 or interval_ns <= 0 or interval_ns % source[0]:
        raise ValueError(
            f"interval_ns must be a multiple of the source's one interval, was {interval_ns}, "
            f"source has {', '.join(map(str, sorted(source)))}"
        )
    if whole and (stray := _array(table, "ts_event") % source[0] != 0).any():
        table = table.filter(pa.array(~stray))
        if not table.num_rows:
            return _SCHEMA.empty_table()
    table, series = _sorted(table, ("ts_event",))
    times = _array(table, "ts_event")
    closes = -(-times // interval_ns) * interval_ns
    first = _starts(series, closes)
    last = np.append(first[1:], len(times)) - 1
    values = {name: _array(table, name) for name in _BAR_FIELDS}
    trades = _array(table, "trades")
    unknown = np.logical_or.reduceat(trades < 0, first)
    columns = {
        "ts_event": closes[first],
        "open": values["open"][first],
        "high": np.maximum.reduceat(values["high"], first),
        "low": np.minimum.reduceat(values["low"], first),
        "close": values["close"][last],
        "volume": np.add.reduceat(values["volume"], first),
        "trades": np.where(unknown, -1, np.add.reduceat(trades, first)),
    }
    bars = _assemble(table, first, columns, interval_ns)
    if not whole:
        return bars
    full = last - first + 1 == interval_ns // source[0]
    return bars if full.all() else bars.filter(pa.array(full))


def bars_from_trades(table: pa.Table, interval_ns: int) -> pa.Table:
    """Bars from every trade of their time.

    Args:
        table: trades (channel `trades`) of any number of symbols, in any order.
        interval_ns: wanted, > 0.

    Returns:
        Bars with `trades` the number of rows, sorted by exchange, symbol and close. The last bar
        of a symbol may still be forming: the caller knows how far the trades reach.

    Raises:
        ValueError: if the interval is not positive.
    """
    if interval_ns <= 0:
        raise ValueError(f"interval_ns must be positive, was {interval_ns}")
    if not table.num_rows:
        return _SCHEMA.empty_table()
    table, series = _sorted(table, ("ts_event", "id"))
    price, closes = _array(table, "price"), close_times(_array(table, "ts_event"), interval_ns)
    first = _starts(series, closes)
    ends = np.append(first[1:], len(price))
    columns = {
        "ts_event": closes[first],
        "open": price[first],
        "high": np.maximum.reduceat(price, first),
        "low": np.minimum.reduceat(price, first),
        "close": price[ends - 1],
        "volume": np.add.reduceat(_array(table, "size"), first),
        "trades": ends - first,
    }
    return _assemble(table, first, columns, interval_ns)


def _array(table: pa.Table, name: str) -> Any:
    return table[name].to_numpy()


def _sorted(table: pa.Table, within: Sequence[str]) -> tuple[pa.Table, Ints]:
    """The table in the order of (exchange, symbol, *within), and a number of the series by row."""
    rank, names = np.zeros(table.num_rows, np.int64), ("exchange", "symbol")
    for name in names:
        column = table[name].combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # no chunk at all
            column = pa.array([], pa.string())
        code = pc.dictionary_encode(column)
        order = np.argsort(np.argsort(np.array(code.dictionary.to_pylist())))
        rank = rank * len(order) + order[code.indices.to_numpy()]
    keys = [*(table[name].to_numpy() for name in reversed(within)), rank]
    if _ascending(keys[::-1]):
        return table, rank
    order = np.lexsort(keys)
    return table.take(pa.array(order)), rank[order]


def _ascending(keys: Sequence[Ints]) -> bool:
    """Whether the rows are already in the order of the keys, the first being the major one."""
    tied = np.ones(max(len(keys[0]) - 1, 0), bool)
    for key in keys:
        step = key[1:] - key[:-1]
        if (step[tied] < 0).any():
            return False
        tied &= step == 0
    return True


def _starts(series: Ints, closes: Ints) -> Ints:
    """Where each bar's rows begin, rows being in order."""
    change = (series[1:] != series[:-1]) | (closes[1:] != closes[:-1])
    return np.concatenate(([0], np.flatnonzero(change) + 1))


def _assemble(
    table: pa.Table,
    first: Ints,
    columns: dict[str, NDArray[np.float64]],
    interval_ns: int,
) -> pa.Table:
    heads = table.select(["exchange", "symbol"]).take(pa.array(first))
    code = pc.dictionary_encode(table["origin"].combine_chunks())
    if isinstance(code, pa.ChunkedArray):
        code = code.combine_chunks()
    weight = np.array([_weight(name) for name in code.dictionary.to_pylist()])
    worst = np.maximum.reduceat(weight[code.indices.to_numpy()], first)
    full = {
        **columns,
        "exchange": heads["exchange"],
        "symbol": heads["symbol"],
        "ts_recv": np.maximum.reduceat(_array(table, "ts_recv"), first),
        "interval_ns": np.full(len(first), interval_ns, np.int64),
        "origin": pa.array(TRUST).take(pa.array(worst)),
    }
    return pa.table(
        {field.name: _cast(full[field.name], field.type) for field in _SCHEMA}, schema=_SCHEMA
    )


def _cast(values: object, kind: pa.DataType) -> pa.Array:
    return pc.cast(values if isinstance(values, pa.ChunkedArray) else pa.array(values), kind)


def _weight(origin: str) -> int:
    if origin not in TRUST:
        raise ValueError(f"origin must be one of {', '.join(TRUST)}, was {origin!r}")
    return TRUST.index(origin)
