"""Market channels as they are stored: columns, natural keys, and what a valid row is. Pure.

Tables that feeds, imports and history hand to storage have exactly these columns. Times are int64
ns UTC; NaN says "unknown" only where a column's rule allows it. `from_batch` makes them of what a
feed sends, `conform` refuses a table with a bad row, `sift` sets the bad rows aside.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from don.errors import DataError
from don.model import rules as must
from don.model.rules import ORIGINS, Problem, Rule, find_problems
from don.model.schema import MarketBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One kind of market data."""

    name: str
    schema: pa.Schema  # exactly these columns; no nulls
    key: tuple[str, ...]  # natural key: begins with "exchange", "symbol"
    time: str = "ts_event"
    partition: str  # "day" | "month" | "year": width of its hot partitions and of a lake file
    defaults: Mapping[str, Any] = field(default_factory=dict)  # of columns that feeds may lack
    rules: tuple[Rule, ...] = ()

    @property
    def sort(self) -> tuple[str, ...]:
        """The key with the time as early as reads need it: exchange, symbol, (interval), time …"""
        first = [name for name in ("exchange", "symbol", "interval_ns", "set_hash", self.time)
                 if name in self.key]  # fmt: skip
        return (*first, *(name for name in self.key if name not in first))


# ---- channels ------------------------------------------------------------------------------------

_COMMON_RULES = (
    must.time("ts_event"),
    must.time("ts_recv", unknown=True),
    must.name("exchange"),
    must.name("symbol"),
    must.one_of("origin", ORIGINS),
)

_F8, _I8, _TEXT, _BOOL = pa.float64(), pa.int64(), pa.string(), pa.bool_()
_LIST = pa.list_(pa.float64())
_NAN = float("nan")
_COMMON = (
    ("exchange", _TEXT),
    ("symbol", _TEXT),
    ("ts_event", _I8),
    ("ts_recv", _I8),
    ("origin", _TEXT),
)


def _channel(
    name: str,
    partition: str,
    key: tuple[str, ...],
    columns: Mapping[str, pa.DataType],
    rules: tuple[Rule, ...],
    **defaults: Any,
) -> Channel:
    fields = [pa.field(n, kind, nullable=False) for n, kind in (*_COMMON, *columns.items())]
    return Channel(
        name=name,
        schema=pa.schema(fields),
        key=("exchange", "symbol", *key),
        partition=partition,
        defaults={"ts_recv": 0, "origin": "stream", **defaults},
        rules=(*_COMMON_RULES, *rules),
    )


_SIDES = ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")
_BOOK_RULES = (
    must.as_long_as("bid_sizes", "bid_prices"),
    must.as_long_as("ask_sizes", "ask_prices"),
    *(must.elements(name, above=name.endswith("prices")) for name in _SIDES),
)

CHANNELS: dict[str, Channel] = {
    channel.name: channel
    for channel in (
        # one row a trade; `buy`: the aggressor bought
        _channel(
            "trades",
            "day",
            ("id", "ts_event"),
            {"id": _I8, "price": _F8, "size": _F8, "buy": _BOOL},
            (must.positive("price"), must.not_negative("size")),
        ),
        # best bid and ask, every update
        _channel(
            "quotes",
            "day",
            ("ts_event", "ts_recv"),
            {"bid": _F8, "bid_size": _F8, "ask": _F8, "ask_size": _F8},
            (
                must.positive("bid"),
                must.positive("ask"),
                must.not_negative("bid_size", unknown=True),
                must.not_negative("ask_size", unknown=True),
            ),
        ),
        # snapshots of any depth, best level first
        _channel("books", "day", ("ts_event",), dict.fromkeys(_SIDES, _LIST), _BOOK_RULES),
        # one changed level a row; size 0 removes it; first_id to last_id: the update it came in
        _channel(
            "book_deltas",
            "day",
            ("ts_event", "last_id", "buy", "price"),
            {"first_id": _I8, "last_id": _I8, "buy": _BOOL, "price": _F8, "size": _F8},
            (must.positive("price"), must.not_negative("size")),
        ),
        # closed bars; ts_event is the CLOSE time (open + interval); trades: -1 is unknown
        _channel(
            "bars",
            "month",
            ("interval_ns", "ts_event"),
            {
                "interval_ns": _I8,
                **dict.fromkeys(("open", "high", "low", "close", "volume"), _F8),
                "trades": _I8,
            },
            (
                must.whole_seconds("interval_ns"),
                *(must.positive(name) for name in ("open", "high", "low", "close")),
                must.between_low_and_high("open"),
                must.between_low_and_high("close"),
                Rule(
                    column="high",
                    says="must not be below low",
                    broken=lambda table: pc.less(table["high"], table["low"]),
                ),
                must.not_negative("volume"),
                must.within("trades", -1, 2**31 - 1),
            ),
            trades=-1,
        ),
        # mark and index price, the funding rate of the running period and when it is settled
        _channel(
            "marks",
            "day",
            ("ts_event",),
            {"mark": _F8, "index": _F8, "rate": _F8, "next_ts": _I8},
            (
                must.price_or_nan("mark"),
                must.price_or_nan("index"),
                must.finite("rate", unknown=True),
                must.time("next_ts", unknown=True),
            ),
            index=_NAN,
            rate=_NAN,
            next_ts=0,
        ),
        # settled funding payments, as a fraction of notional; positive: longs pay
        _channel("funding", "year", ("ts_event",), {"rate": _F8}, (must.finite("rate"),)),
        # open contracts in base units, their value in quote; NaN: only the other one is known
        _channel(
            "open_interest",
            "month",
            ("ts_event",),
            {"size": _F8, "notional": _F8},
            (
                must.not_negative("size", unknown=True),
                must.not_negative("notional", unknown=True),
            ),
            notional=_NAN,
        ),
        # forced orders; `buy`: a short was closed
        _channel(
            "liquidations",
            "month",
            ("ts_event", "price", "size", "buy"),
            {"price": _F8, "size": _F8, "buy": _BOOL},
            (must.positive("price"), must.not_negative("size")),
        ),
        # values of a feature set (by content hash) at a bar close; NaN while warming up
        _channel(
            "features",
            "month",
            ("set_hash", "ts_event"),
            {"set_hash": _TEXT, "values": _LIST},
            (must.name("set_hash"),),
        ),
    )
}

# a feed's channel -> the stored one, where the names differ
FEED_CHANNELS = {"funding": "marks", "repaired_trades": "trades"}
UNSTORED = ("status",)  # what feeds send for others: the completeness ledger reads it


# ---- public --------------------------------------------------------------------------------------


def channel(name: str) -> Channel:
    """The channel of a name.

    Raises:
        DataError: if there is none.
    """
    if name not in CHANNELS:
        raise DataError(f"channel must be one of {', '.join(CHANNELS)}, was {name!r}")
    return CHANNELS[name]


def complete(name: str, table: pa.Table, **constants: Any) -> pa.Table:
    """The table with constant columns set, and columns that it lacks at their defaults.

    Args:
        name: of the channel.
        table: any table.
        constants: column values for all rows, such as exchange="BINANCE_FUTURES".
    """
    wanted = channel(name)
    for column in wanted.schema:
        if column.name in constants:
            made = pa.repeat(pa.scalar(constants[column.name], column.type), table.num_rows)
        elif column.name not in table.column_names and column.name in wanted.defaults:
            made = pa.repeat(pa.scalar(wanted.defaults[column.name], column.type), table.num_rows)
        else:
            continue
        at = table.column_names.index(column.name) if column.name in table.column_names else -1
        table = table.append_column(column, made) if at < 0 else table.set_column(at, column, made)
    return table


def shape(name: str, table: pa.Table, *, where: str) -> pa.Table:
    """The table with the channel's columns in order and type; values are not judged.

    Timestamps become ns, fixed-size lists lists, dictionaries text.

    Raises:
        DataError: missing or extra column, a type that does not convert exactly, or a null.
    """
    wanted = channel(name)
    missing = [n for n in wanted.schema.names if n not in table.column_names]
    extra = [n for n in table.column_names if n not in wanted.schema.names]
    if missing or extra:
        said = [f"lacks {', '.join(missing)}"] if missing else []
        said += [f"has unknown {', '.join(extra)}"] if extra else []
        raise DataError(
            f"{where}: a table of {name} {' and '.join(said)}; "
            f"its columns are {', '.join(wanted.schema.names)}"
        )
    columns = []
    for column in wanted.schema:
        values = table[column.name]
        if values.null_count:
            row = pc.index(pc.is_null(values), True).as_py()
            raise DataError(f"{where}: row {row}, column {column.name}: must not be null")
        if values.type != column.type:
            values = _cast(values, column, where)
        columns.append(values)
    return pa.table(columns, schema=wanted.schema)


def problems(name: str, table: pa.Table) -> tuple[Problem, ...]:
    """What is wrong with the rows of a shaped table: one problem a rule that is broken."""
    return find_problems(channel(name).rules, table)


def conform(name: str, table: pa.Table, *, where: str) -> pa.Table:
    """The table in the channel's schema, every row valid.

    Args:
        name: of the channel.
        table: at least the channel's columns, nothing else.
        where: file, request or stream, for messages.

    Raises:
        DataError: naming `where`, row and column.
    """
    shaped = shape(name, table, where=where)
    found = problems(name, shaped)
    if found:
        raise DataError(f"{where}: {name}: {found[0]}")
    return shaped


def sift(name: str, table: pa.Table, *, where: str) -> tuple[pa.Table, tuple[Problem, ...]]:
    """The valid rows, and what is wrong with the others: for streams, which must go on.

    Raises:
        DataError: if the table as a whole does not fit the channel.
    """
    shaped = shape(name, table, where=where)
    found = problems(name, shaped)
    for broken in {problem.column for problem in found}:
        for rule in channel(name).rules:
            if rule.column == broken:
                shaped = shaped.filter(pc.invert(rule.broken(shaped)))
    return shaped, found


def refused(name: str, table: pa.Table) -> list[tuple[str, int, int]]:
    """What `sift` leaves out of a table: symbol, first and last time in ns, a symbol once.

    A row whose exchange time cannot be is told by its time of arrival.
    """
    shaped = shape(name, table, where=name)
    bad = np.zeros(shaped.num_rows, np.bool_)
    for rule in channel(name).rules:
        bad |= np.asarray(pc.fill_null(rule.broken(shaped), False))
    timed = must.time("ts_event")
    unreal = np.asarray(timed.broken(shaped))
    times = np.where(unreal, shaped["ts_recv"].to_numpy(), shaped["ts_event"].to_numpy())
    spans: dict[str, tuple[int, int]] = {}
    for at in np.flatnonzero(bad).tolist():
        symbol, ts = shaped["symbol"][at].as_py(), int(times[at])
        low, high = spans.get(symbol, (ts, ts))
        spans[symbol] = (min(low, ts), max(high, ts))
    return [(symbol, *span) for symbol, span in spans.items()]


def from_batch(
    exchange: str, batch: MarketBatch, *, interval_ns: int | None = None
) -> dict[str, pa.Table]:
    """A feed's batch as tables to store: shaped, not judged (see `sift`).

    Args:
        exchange: as cryptofeed names it.
        batch: at most one table a channel; `status` is left out.
        interval_ns: of its bars, if their table does not say it.

    Raises:
        DataError: if a table does not fit its channel.
    """
    made: dict[str, pa.Table] = {}
    for name, table in batch.tables.items():
        if name in UNSTORED or not table.num_rows:
            continue
        stored = FEED_CHANNELS.get(name, name)
        constants: dict[str, Any] = {"exchange": exchange}
        if stored == "bars" and interval_ns is not None and "interval_ns" not in table.column_names:
            constants["interval_ns"] = interval_ns
        if stored == "bars" and table["trades"].null_count:
            at = table.column_names.index("trades")
            table = table.set_column(at, "trades", pc.fill_null(table["trades"], -1))
        if stored == "books":
            table = _without_unused_levels(table)
        where = f"batch {batch.seq} of {batch.source}"
        shaped = shape(stored, complete(stored, table, **constants), where=where)
        # trades come live and repaired, in tables of their own
        made[stored] = pa.concat_tables([made[stored], shaped]) if stored in made else shaped
    return made


# ---- private -------------------------------------------------------------------------------------


def _cast(values: pa.ChunkedArray, column: pa.Field, where: str) -> pa.ChunkedArray:
    try:
        if pa.types.is_timestamp(values.type) and column.type == _I8:
            return values.cast(pa.timestamp("ns", values.type.tz)).cast(_I8)
        return values.cast(column.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{where}: column {column.name} must be {column.type}, was {values.type}: {error}"
        ) from None


def _without_unused_levels(table: pa.Table) -> pa.Table:
    for name in _SIDES:
        table = table.set_column(
            table.column_names.index(name), name, _drop_nan(table[name].combine_chunks())
        )
    return table


def _drop_nan(lists: pa.Array) -> pa.Array:
    """Lists without their NaN elements."""
    flat, parents = pc.list_flatten(lists), pc.list_parent_indices(lists)
    kept = pc.invert(pc.is_nan(flat))
    count = np.bincount(parents.filter(kept).to_numpy(), minlength=len(lists))
    offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), flat.filter(kept))
