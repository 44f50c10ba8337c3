"""Loads: exact, all or nothing, once by natural key, whatever overlaps and whoever else loads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.channels import DAY_NS, START_NS, as_set, channel_table
from support.sql_rows import stored

from don.errors import DataError
from don.model.channels import CHANNELS
from don.storage.database import Database
from don.storage.market.hot import Loaded, MarketTables
from don.storage.market.partitions import span_of

pytestmark = pytest.mark.postgres


@pytest.mark.parametrize("channel", CHANNELS)
def test_every_channel_comes_back_exactly_and_counts_once(database: Database, channel: str) -> None:
    tables = MarketTables(database)
    days = {"day": 2, "month": 40, "year": 400}[CHANNELS[channel].partition]
    table = channel_table(channel, 300, days=days)
    assert tables.load(channel, table) == Loaded(rows=300, inserted=300)
    assert as_set(stored(database, channel)) == as_set(table)
    assert len(tables.partitions.list(channel)) >= 2
    more = channel_table(channel, 300, days=days, start_ns=START_NS + days * DAY_NS, seed=1)
    both = pa.concat_tables([table.slice(100), more, more.slice(0, 7)])
    assert tables.load(channel, both) == Loaded(rows=507, inserted=300)
    assert as_set(stored(database, channel)) == as_set(pa.concat_tables([table, more]))


def test_bad_row_stores_nothing_and_is_named(database: Database) -> None:
    tables = MarketTables(database)
    table = channel_table("bars", 10)
    low = table["low"].to_numpy().copy()
    low[7] = 1e9
    bad = table.set_column(table.column_names.index("low"), "low", pa.array(low))
    with pytest.raises(DataError, match=r"prices\.csv: bars: row 7, column open"):
        tables.load("bars", bad.cast(CHANNELS["bars"].schema), where="prices.csv")
    assert stored(database, "bars").num_rows == 0
    assert tables.load("bars", table.slice(0, 0)) == Loaded(rows=0, inserted=0)


TRADES = channel_table("trades", 60, days=3)


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    parts=st.lists(st.lists(st.integers(0, 59), min_size=1, max_size=40), min_size=1, max_size=6),
    threads=st.integers(1, 3),
)
def test_any_interleaving_of_overlapping_loads_is_their_union(
    database: Database, parts: list[list[int]], threads: int
) -> None:
    with database.connection() as connection:
        connection.execute("TRUNCATE md_trades")
    tables = [MarketTables(database) for _ in range(threads)]

    def load(number: int) -> int:
        part = TRADES.take(pa.array(parts[number]))
        return tables[number % threads].load("trades", part).inserted

    with ThreadPoolExecutor(threads) as pool:
        inserted = sum(pool.map(load, range(len(parts))))
    union = sorted({row for part in parts for row in part})
    assert inserted == len(union)
    assert as_set(stored(database, "trades")) == as_set(TRADES.take(pa.array(union)))


def test_partition_that_was_dropped_is_made_again(database: Database) -> None:
    tables = MarketTables(database)
    table = channel_table("trades", 50)
    tables.load("trades", table)
    (partition,) = tables.partitions.list("trades")
    assert partition.span == span_of("day", START_NS)
    with database.connection() as connection:
        tables.partitions.drop(connection, partition)
    assert tables.load("trades", table).inserted == 50
    assert stored(database, "trades").num_rows == 50


def test_new_symbols_of_many_loaders_get_one_number_each(database: Database) -> None:
    pairs = tuple(("X", f"S{n}") for n in range(40))
    loaders = [MarketTables(database) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda loader: loader.series_ids(pairs), loaders))
    assert all(np.array_equal(found[0], other) for other in found)
    assert len(set(found[0].tolist())) == 40


def test_lost_connection_in_mid_load_leaves_nothing(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from don.errors import DatabaseError
    from don.storage.market import hot

    encode = hot.encode

    def cut(*args: object) -> object:
        chunks = list(encode(*args))  # type: ignore[arg-type]
        yield from chunks[:-1]
        with psycopg.connect(database_url, autocommit=True) as killer:
            killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        yield chunks[-1]

    tables = MarketTables(database)
    table = channel_table("trades", 50)
    monkeypatch.setattr(hot, "encode", cut)
    with pytest.raises(DatabaseError):
        tables.load("trades", table)
    monkeypatch.setattr(hot, "encode", encode)
    assert stored(database, "trades").num_rows == 0
    assert tables.load("trades", table).inserted == 50
