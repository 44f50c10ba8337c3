"""Arrow schemas of the market tables that feeds produce. Pure.

A feed sends a `MarketBatch`: at most one table a channel, its rows in arrival order.
Prices and sizes here are float64: they feed estimates; what is owed uses the decimals of reports.
"""

from dataclasses import dataclass

import pyarrow as pa

DEPTH = 10  # levels of a book row

_COMMON = [("symbol", pa.string()), ("ts_event", pa.int64()), ("ts_recv", pa.int64())]
_LEVELS = pa.list_(pa.float64(), DEPTH)

SCHEMAS: dict[str, pa.Schema] = {
    # one row a trade; `buy`: the aggressor bought; `id` rises by one where the exchange says so
    "trades": pa.schema(
        [
            *_COMMON,
            ("id", pa.int64()),
            ("price", pa.float64()),
            ("size", pa.float64()),
            ("buy", pa.bool_()),
        ]
    ),
    # best bid and ask, every update
    "quotes": pa.schema(
        [
            *_COMMON,
            ("bid", pa.float64()),
            ("bid_size", pa.float64()),
            ("ask", pa.float64()),
            ("ask_size", pa.float64()),
        ]
    ),
    # top of the book, conflated: the last state per symbol and batch; unused levels are NaN
    "books": pa.schema(
        [
            *_COMMON,
            ("bid_prices", _LEVELS),
            ("bid_sizes", _LEVELS),
            ("ask_prices", _LEVELS),
            ("ask_sizes", _LEVELS),
        ]
    ),
    # closed bars; ts_event is the CLOSE time (open + interval) at which the bar is known
    "bars": pa.schema(
        [
            *_COMMON,
            ("open", pa.float64()),
            ("high", pa.float64()),
            ("low", pa.float64()),
            ("close", pa.float64()),
            ("volume", pa.float64()),
            ("trades", pa.int64()),
            ("origin", pa.string()),
        ]  # origin: stream | repair | history
    ),
    # mark price and the funding rate of the running period
    "funding": pa.schema(
        [*_COMMON, ("mark", pa.float64()), ("rate", pa.float64()), ("next_ts", pa.int64())]
    ),
    "liquidations": pa.schema(
        [*_COMMON, ("price", pa.float64()), ("size", pa.float64()), ("buy", pa.bool_())]
    ),
    # open contracts in base units and, where the exchange says it, their value in quote (else NaN)
    "open_interest": pa.schema([*_COMMON, ("size", pa.float64()), ("notional", pa.float64())]),
    # one changed level a row, size 0 removes it; `first_id` -1: a level of a snapshot, which voids
    # all that was known of the book before
    "book_deltas": pa.schema(
        [
            *_COMMON,
            ("first_id", pa.int64()),
            ("last_id", pa.int64()),
            ("buy", pa.bool_()),
            ("price", pa.float64()),
            ("size", pa.float64()),
        ]
    ),
    # trades that a stream missed and REST had; apart from `trades`, because they come late
    "repaired_trades": pa.schema(
        [
            *_COMMON,
            ("id", pa.int64()),
            ("price", pa.float64()),
            ("size", pa.float64()),
            ("buy", pa.bool_()),
            ("origin", pa.string()),
        ]  # origin: repair
    ),
    # stream health: `state` is live | stale | gap | repaired. `since` is the exchange time of the
    # last event before what was missed (0: none): rows between `since` and `ts_event` are in doubt
    # after `gap` and `stale`, and complete again after `repaired`
    "status": pa.schema(
        [
            *_COMMON,
            ("channel", pa.string()),
            ("state", pa.string()),
            ("detail", pa.string()),
            ("since", pa.int64()),
        ]
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketBatch:
    """What a feed hands on at once. (`source`, `seq`) makes a repeated delivery harmless."""

    source: str  # exchange and incarnation of the feed, e.g. "BINANCE_FUTURES:1k7f3q"
    seq: int  # 1, 2, 3 ... within a source
    tables: dict[str, pa.Table]  # channel -> table in SCHEMAS[channel]

    @property
    def rows(self) -> int:
        """Rows over all channels."""
        return sum(table.num_rows for table in self.tables.values())
