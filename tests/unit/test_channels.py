"""Stored channels: what conforms, what is refused and how it is named, what feeds become."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.channels import as_set, channel_table

from don.clock import NS_PER_S
from don.errors import DataError
from don.model.channels import CHANNELS, channel, complete, conform, from_batch, refused, sift
from don.model.schema import DEPTH, SCHEMAS, MarketBatch
from don.storage.market.tables import LAYOUTS

NOW = 1_746_057_600 * NS_PER_S
NAN = float("nan")


def having(table: pa.Table, column: str, row: int, value: Any) -> pa.Table:
    values = table[column].to_pylist()
    values[row] = value
    at = table.column_names.index(column)
    return table.set_column(at, column, pa.array(values, table[column].type))


@pytest.mark.parametrize("name", CHANNELS)
def test_valid_tables_conform_and_keep_their_rows(name: str) -> None:
    table = channel_table(name, 50)
    again = conform(name, table.select(table.column_names[::-1]), where="x")
    assert again == table and again.schema == CHANNELS[name].schema
    assert conform(name, table.slice(0, 0), where="x").num_rows == 0
    assert CHANNELS[name].key[:2] == ("exchange", "symbol") and "ts_event" in CHANNELS[name].key
    assert set(LAYOUTS[name].key) >= {"series", "ts_event"}


@pytest.mark.parametrize(
    ("name", "column", "value", "says"),
    [
        ("trades", "price", NAN, "must be positive and finite, was nan"),
        ("trades", "size", -1.0, "must be finite and not negative, was -1.0"),
        ("trades", "ts_event", NOW // NS_PER_S, r"plausible as seconds: multiply it by 10+\)"),
        ("trades", "ts_event", NOW // 10**6, "plausible as milliseconds"),
        ("trades", "ts_event", NOW // 10**3, "plausible as microseconds"),
        ("trades", "ts_recv", 5, "or 0, was 5"),
        ("trades", "symbol", "../etc", "must be 1 to 64 letters"),
        ("trades", "symbol", "", "must be 1 to 64 letters"),
        ("trades", "origin", "rumour", "must be one of stream, repair"),
        ("bars", "low", 1e9, "must"),
        ("bars", "interval_ns", 1_500_000_000, "whole seconds"),
        ("bars", "trades", 2**31, "must be from -1 to 2147483647"),
        ("marks", "index", float("inf"), "or NaN if unknown, was inf"),
        ("books", "bid_sizes", [1.0] * 99, "must have as many levels as bid_prices"),
        ("books", "ask_prices", [NAN], "must"),
        ("trades", "price", None, "must not be null"),
    ],
)
def test_bad_value_is_named_by_file_row_and_column(
    name: str, column: str, value: Any, says: str
) -> None:
    table = having(channel_table(name, 9), column, 4, value)
    with pytest.raises(DataError, match=rf"day\.csv: .*row 4, column \w+: .*{says}"):
        conform(name, table, where="day.csv")


def test_columns_must_be_those_of_the_channel() -> None:
    table = channel_table("trades", 3)
    with pytest.raises(DataError, match="x: a table of trades lacks price; its columns are"):
        conform("trades", table.drop_columns(["price"]), where="x")
    with pytest.raises(DataError, match="has unknown colour"):
        conform("trades", table.append_column("colour", table["id"]), where="x")
    with pytest.raises(DataError, match="column size must be double, was string"):
        conform("trades", table.set_column(7, "size", pa.array(["much"] * 3)), where="x")
    with pytest.raises(DataError, match=r"channel must be one of trades, .* was 'gossip'"):
        channel("gossip")


def test_timestamps_and_dictionaries_convert_exactly() -> None:
    table = channel_table("trades", 5)
    times = table["ts_event"].cast(pa.timestamp("ns", "UTC")).cast(pa.timestamp("ms", "UTC"))
    symbols = table["symbol"].dictionary_encode()
    other = table.set_column(2, "ts_event", times).set_column(1, "symbol", symbols)
    assert conform("trades", other, where="x") == table


def test_sifting_drops_exactly_the_bad_rows() -> None:
    table = channel_table("trades", 20)
    bad = having(having(having(table, "price", 3, -1.0), "size", 3, NAN), "ts_event", 7, 12)
    good, found = sift("trades", bad, where="x")
    kept = [n for n in range(20) if n not in (3, 7)]
    assert as_set(good) == as_set(table.take(pa.array(kept)))
    assert {(one.row, one.column, one.rows) for one in found} == {
        (3, "price", 1),
        (3, "size", 1),
        (7, "ts_event", 1),
    }
    assert sift("trades", table, where="x") == (table, ())


def test_feed_batches_become_stored_channels() -> None:
    common = {"symbol": ["BTC-USDT-PERP"], "ts_event": [NOW], "ts_recv": [NOW + 5]}
    levels = np.full(DEPTH, NAN)
    levels[:3] = [3.0, 2.0, 1.0]
    sides = {n: [levels.tolist()] for n in ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")}
    bar = {key: [2.0] for key in ("open", "high", "low", "close", "volume")}
    rows: dict[str, dict[str, list[Any]]] = {
        "trades": {"id": [7], "price": [2.0], "size": [1.0], "buy": [True]},
        "books": sides,
        "bars": {**bar, "trades": [None], "origin": ["repair"]},
        "funding": {"mark": [2.0], "rate": [0.0001], "next_ts": [NOW]},
        "status": {"channel": ["trades"], "state": ["live"], "detail": [""]},
    }
    tables = {}
    for name, columns in rows.items():
        schema = SCHEMAS[name]
        whole = {**common, **columns}
        whole |= {field.name: [None] for field in schema if field.name not in whole}
        tables[name] = pa.table({field.name: whole[field.name] for field in schema}, schema=schema)
    batch = MarketBatch(source="BYBIT:1", seq=1, tables=tables)
    made = from_batch("BYBIT", batch, interval_ns=60 * NS_PER_S)
    assert set(made) == {"trades", "books", "bars", "marks"}
    for name, table in made.items():
        good, found = sift(name, table, where="x")
        assert good.num_rows == 1 and not found
        assert table["exchange"].to_pylist() == ["BYBIT"]
    assert made["bars"]["trades"].to_pylist() == [-1]
    assert made["bars"]["origin"].to_pylist() == ["repair"]
    assert made["books"]["bid_prices"].to_pylist() == [[3.0, 2.0, 1.0]]
    assert np.isnan(made["marks"]["index"][0].as_py())


def test_completing_sets_constants_and_defaults() -> None:
    table = channel_table("trades", 3).drop_columns(["origin", "ts_recv"])
    whole = conform("trades", complete("trades", table, exchange="OKX"), where="x")
    assert set(whole["exchange"].to_pylist()) == {"OKX"}
    assert whole["ts_recv"].to_pylist() == [0, 0, 0]


def test_symbols_in_any_script_are_stored_and_what_is_refused_is_told() -> None:
    names = ["币安人生-USDT-PERP", "$WIF-USD", "a b", "币" * 27, ".x"]
    table = complete(
        "trades",
        pa.table({"symbol": names, "ts_event": [NOW + n for n in range(5)], "id": range(5),
                  "price": [1.0] * 5, "size": [1.0] * 5, "buy": [True] * 5}),
        exchange="X",
    )  # fmt: skip
    good, _ = sift("trades", table, where="x")
    assert good["symbol"].to_pylist() == names[:2]
    spans = refused("trades", table)
    assert spans == [(names[n], NOW + n, NOW + n) for n in (2, 3, 4)]
