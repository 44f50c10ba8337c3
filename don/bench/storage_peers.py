"""What the bench of storage compares with: plain tables, pandas, DuckDB. Does I/O.

Each peer gets what makes it fast: plain tables have narrow types and rows in the order of their
index, encoded beforehand; DuckDB gets Don's own Parquet, whose folders name exchange and symbol.
"""

import importlib
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from psycopg import sql
from psycopg.types.numeric import Int4, Int8

from don.bench.storage_data import HOUR_NS, SYMBOLS
from don.storage.database import Database
from don.storage.market.copy import encode, hot_columns, names_of
from don.storage.market.hot import MarketTables
from don.storage.market.tables import LAYOUTS

PLAIN = "plain table, one index"
DUCKDB = "DuckDB over the same Parquet"
PANDAS_ROWS = 20_000
INDEX = {"bars": "series, interval_s, ts_event", "trades": "series, ts_event"}

Query = Callable[[Any, int, int], int]  # of (symbols, start, end) to rows


class PlainTable:
    """A table of the same columns and types, not partitioned.

    Args:
        db: the database, migrated.
        channel: whose columns.
        index: none, one that finds rows by series and time, or Don's primary key.
    """

    def __init__(
        self, db: Database, channel: str, index: Literal["", "index", "key"] = "index"
    ) -> None:
        self._db = db
        self._layout = LAYOUTS[channel]
        self._tables = MarketTables(db)
        self.name = f"plain_{channel}_{index or 'bare'}"
        with db.connection() as connection:
            connection.execute(f"CREATE TABLE {self.name} (LIKE {self._layout.table})")
            if index == "index":
                connection.execute(f"CREATE INDEX ON {self.name} ({INDEX[channel]})")
            elif index:
                key = ", ".join(self._layout.key)
                connection.execute(f"ALTER TABLE {self.name} ADD PRIMARY KEY ({key})")

    def prepared(self, table: pa.Table) -> list[bytes]:
        """Binary COPY data of the rows, sorted by index."""
        names = names_of(table)
        columns = hot_columns(
            self._layout, table, self._tables.series_ids(names.pairs)[names.codes]
        )
        order = np.lexsort([columns["ts_event"], columns["series"]])
        return list(encode(self._layout, columns, order))

    def copy(self, chunks: list[bytes]) -> float:
        """Seconds of a COPY of prepared data, committed."""
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
            sql.Identifier(self.name), sql.SQL(", ").join(map(sql.Identifier, self._layout.names))
        )
        with self._db.connect(autocommit=True) as connection, connection.cursor() as cursor:
            started = time.perf_counter()
            with cursor.copy(statement) as sink:
                for chunk in chunks:
                    sink.write(chunk)
            return time.perf_counter() - started

    def bytes(self) -> int:
        """With its index."""
        with self._db.connection() as connection:
            row = connection.execute("SELECT pg_total_relation_size(%s)", (self.name,)).fetchone()
        assert row is not None
        return int(row[0])


def to_sql_rate(db: Database, table: pa.Table) -> float:
    """Rows per second of `DataFrame.to_sql` of a few rows: more take as long each."""
    frame = table.slice(0, PANDAS_ROWS).to_pandas()
    with db.errors():
        started = time.perf_counter()
        frame.to_sql("plain_to_sql", db.engine, index=False, if_exists="replace")
        seconds = time.perf_counter() - started
    return len(frame) / seconds


def plain_queries(db: Database) -> dict[str, Query]:
    """The bench's queries on plain tables: rows by a binary cursor, made into Arrow."""
    tables = MarketTables(db)

    def ids(symbols: list[tuple[str, str]]) -> list[Int4]:
        return [Int4(int(number)) for number in tables.series_ids(tuple(symbols))]

    def fetch(text: str, given: dict[str, Any]) -> int:
        with db.connect() as connection, connection.cursor(binary=True) as cursor:
            cursor.execute(text, given)
            rows = cursor.fetchall()
            names = [column.name for column in cursor.description or ()]
        made = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
        return int(made.num_rows)

    def asked(text: str) -> Query:
        return lambda symbols, start, end: fetch(
            text, {"ids": ids(symbols), "start": Int8(start), "end": Int8(end)}
        )

    inside = "series = ANY(%(ids)s) AND ts_event >= %(start)s AND ts_event < %(end)s"
    minutes = f"interval_s = 60 AND {inside}"
    newest = (
        "SELECT b.* FROM unnest(%(ids)s::int4[]) AS s (id), LATERAL ("
        "SELECT * FROM plain_bars_index WHERE series = s.id AND interval_s = 60 "
        "ORDER BY ts_event DESC LIMIT {}) AS b"
    )
    hour = f"(ts_event + {HOUR_NS - 1}) / {HOUR_NS}"
    return {
        "last_1000_bars": asked(newest.format(1_000)),
        "day_of_trades": asked(
            f"SELECT * FROM plain_trades_index WHERE {inside} ORDER BY 1, ts_event"
        ),
        "month_10_symbols": asked(
            f"SELECT * FROM plain_bars_index WHERE {minutes} ORDER BY series, ts_event"
        ),
        "resample_50_symbols": asked(
            f"SELECT series, {hour} AS hour, (array_agg(open ORDER BY ts_event))[1] AS open, "
            "max(high) AS high, min(low) AS low, (array_agg(close ORDER BY ts_event DESC))[1] "
            f"AS close, sum(volume) AS volume FROM plain_bars_index WHERE {minutes} GROUP BY 1, 2"
        ),
        "latest_all": asked(newest.format(1)),
    }


def duckdb_queries(lake: Path) -> tuple[dict[str, Query], str]:
    """The bench's queries by DuckDB over the lake's files; or none, and the reason."""
    if importlib.util.find_spec("duckdb") is None:
        return {}, "duckdb is not installed: pip install 'don[peers]'"
    duckdb = importlib.import_module("duckdb")
    session = duckdb.connect()
    for channel in ("bars", "trades"):
        session.execute(
            f"CREATE VIEW {channel} AS SELECT * FROM read_parquet('{lake}/{channel}/*/*/*/*', "
            "hive_partitioning = true)"
        )

    def asked(text: str) -> Query:
        def query(symbols: list[tuple[str, str]], start: int, end: int) -> int:
            listed = ", ".join(f"'{symbol}'" for _, symbol in symbols)
            chosen = "" if len(symbols) == len(SYMBOLS) else f"symbol IN ({listed}) AND"
            sql_text = text.format(
                inside=f"{chosen} ts_event >= {start} AND ts_event < {end}", chosen=listed
            )
            return int(session.sql(sql_text).to_arrow_table().num_rows)

        return query

    hour = f"(ts_event + {HOUR_NS - 1}) // {HOUR_NS}"
    return {
        "last_1000_bars": asked(
            "SELECT * FROM bars WHERE symbol = {chosen} ORDER BY ts_event DESC LIMIT 1000"
        ),
        "day_of_trades": asked("SELECT * FROM trades WHERE {inside} ORDER BY ts_event"),
        "month_10_symbols": asked(
            "SELECT * FROM bars WHERE {inside} ORDER BY symbol, ts_event"
        ),
        "resample_50_symbols": asked(
            f"SELECT symbol, {hour} AS hour, arg_min(open, ts_event) AS open, max(high) AS high, "
            "min(low) AS low, arg_max(close, ts_event) AS close, sum(volume) AS volume "
            "FROM bars WHERE {inside} GROUP BY 1, 2 ORDER BY 1, 2"
        ),
        "latest_all": asked(
            "SELECT symbol, max(ts_event), arg_max(close, ts_event) FROM bars GROUP BY 1"
        ),
    }, ""  # fmt: skip
