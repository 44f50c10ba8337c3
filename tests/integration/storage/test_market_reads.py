"""Reads over database and lake are a plain filter of everything ever loaded."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from support.stored import DAY, MINUTE, T0, market_rows, plain_read

from don.clock import ReplayClock
from don.errors import DataError
from don.market.resample import bars_from_trades, resample_bars
from don.model.channels import CHANNELS
from don.storage.database import Database
from don.storage.lake.archive import Archiver
from don.storage.lake.lake import Lake
from don.storage.market import hotreads
from don.storage.market.hot import MarketTables
from don.storage.market.partitions import Partitions, spans_ahead
from don.storage.market.reads import MarketStore

pytestmark = pytest.mark.postgres
NOW = T0 + 400 * DAY


def same(table: pa.Table, rows: list[dict[str, Any]]) -> bool:
    """Equality in which NaN is NaN."""
    return json.dumps(table.to_pylist()) == json.dumps(
        [{name: row[name] for name in table.column_names} for row in rows]
    )


def archived(database: Database, lake: Lake, channel: str, parts: int = 99) -> None:
    archiver = Archiver(database, lake, ReplayClock(NOW))
    for partition in archiver.due(channel, NOW, 0)[:parts]:
        archiver.archive(partition)


@pytest.mark.parametrize("tier", ["hot", "both", "lake"])
@pytest.mark.parametrize("channel", CHANNELS)
def test_every_channel_comes_back_as_it_went_in(
    database: Database, tmp_path: Path, channel: str, tier: str
) -> None:
    days = {"day": 4, "month": 70, "year": 700}[CHANNELS[channel].partition]
    table = market_rows(channel, 400, end=T0 + days * DAY, step=DAY // 8)
    MarketTables(database).load(channel, table)
    lake = Lake(str(tmp_path / "lake"))
    if tier != "hot":
        archived(database, lake, channel, 1 if tier == "both" else 99)
    store = MarketStore(database, lake)
    everything = store.read(channel)
    assert everything.schema == CHANNELS[channel].schema
    assert same(everything, plain_read(channel, table))
    streamed = list(store.scan(channel, batch_rows=64))
    assert pa.Table.from_batches(streamed, everything.schema).equals(everything) or same(
        pa.Table.from_batches(streamed, everything.schema), plain_read(channel, table)
    )
    assert max(batch.num_rows for batch in streamed) <= 64


ASKS: list[dict[str, Any]] = [
    {"symbols": ["BTC-USDT-PERP"]},
    {"symbols": ["BTC-USDT-PERP"], "exchange": "KRAKEN"},
    {"start": T0 + DAY, "end": T0 + 2 * DAY},
    {"start": T0 + 40 * DAY + 7, "end": T0 + 40 * DAY + 8},
    {"end": T0 + 35 * DAY, "exchange": "BINANCE_FUTURES"},
    {"last": 1},
    {"last": 3, "symbols": ["ETH-USDT-PERP"]},
    {"last": 90},
    {"last": 5, "end": T0 + 32 * DAY},
]


@pytest.mark.parametrize("late", [False, True], ids=["once", "late rows"])
def test_reads_over_both_tiers_are_a_plain_filter(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    monkeypatch.setattr(hotreads, "PAGE", 32)  # every path of paging, without many rows
    monkeypatch.setattr(hotreads, "ANSWER", 64)
    monkeypatch.setattr(hotreads.pages, "__kwdefaults__", {"rows": 16})
    lake = Lake(str(tmp_path / "lake"))
    bars = market_rows("bars", 500, end=T0 + 75 * DAY, step=DAY // 8)
    tables = MarketTables(database)
    tables.load("bars", bars)
    archived(database, lake, "bars", 2)
    if late:  # rows of an archived time: known ones, which do not count again, and new ones
        more = market_rows("bars", 100, seed=1, end=T0 + 20 * DAY, step=DAY // 8)
        bars = pa.concat_tables([bars, more])
        tables.load("bars", bars)
    store = MarketStore(database, lake)
    for ask in [{}, *ASKS]:
        for interval in (None, MINUTE):
            wanted = plain_read("bars", bars, **ask, interval=interval)
            assert same(store.read("bars", **ask, interval=interval), wanted), (ask, interval)
            if "last" not in ask:
                batches = store.scan("bars", **ask, interval=interval, batch_rows=10)
                table = pa.Table.from_batches(batches, CHANNELS["bars"].schema)
                assert same(table, wanted), (ask, interval)
    few = store.read("bars", ["ETH-USDT-PERP"], T0, T0 + 60 * DAY, ["close", "ts_event"])
    wanted = plain_read("bars", bars, symbols=["ETH-USDT-PERP"], start=T0, end=T0 + 60 * DAY)
    assert few.column_names == ["ts_event", "close"] and same(few, wanted)


def test_wrong_questions_are_answered_with_what_is_right(
    database: Database, tmp_path: Path
) -> None:
    MarketTables(database).load("trades", market_rows("trades", 50))
    store = MarketStore(database)
    for ask, said in [
        ({"channel": "trade"}, "channel must be one of trades, quotes"),
        ({"symbols": ["BTC-USD-PERP"]}, "did you mean BTC-USDT-PERP"),
        ({"exchange": "KRAKN"}, "did you mean KRAKEN"),
        ({"columns": ["prize"]}, "column must be one of exchange, symbol"),
        ({"start": 5, "end": 5}, "end must be after start"),
        ({"last": 0}, "last must be at least 1"),
        ({"interval": MINUTE}, "interval is for bars"),
    ]:
        with pytest.raises(DataError, match=said):
            store.read(**{"channel": "trades", **ask})
    archived(database, Lake(str(tmp_path)), "trades")
    with pytest.raises(DataError, match="name the lake"):
        store.read("trades")
    assert store.read("quotes").num_rows == 0


def test_bars_of_any_interval_come_from_what_is_stored(database: Database, tmp_path: Path) -> None:
    tables, lake = MarketTables(database), Lake(str(tmp_path / "lake"))
    bars = market_rows("bars", 3_000, step=MINUTE, end=T0 + DAY)
    minutes = bars.filter(pc.equal(bars["interval_ns"], MINUTE))
    hour = 60 * MINUTE
    own = resample_bars(minutes, hour).slice(3, 9)  # the exchange's: stored ones count
    own = own.set_column(
        own.column_names.index("volume"), own.schema.field("volume"), pc.add(own["volume"], 1.0)
    )
    tables.load("bars", minutes)
    tables.load("bars", own)
    trades = market_rows("trades", 4_000, step=MINUTE // 7, end=T0 + DAY,
                         series=[("KRAKEN", "SOL-USD-PERP")])  # fmt: skip
    tables.load("trades", trades)
    expected = pa.concat_tables(
        [own, resample_bars(minutes, hour, whole=True), bars_from_trades(trades, hour)]
    )
    oldest, newest = pc.min_max(trades["ts_event"]).as_py().values()
    for tier in ("hot", "lake"):
        if tier == "lake":
            archived(database, lake, "bars")
            archived(database, lake, "trades")
        store = MarketStore(database, lake)
        for start, end in [
            (T0, T0 + 2 * DAY),
            (T0 + 3 * hour, T0 + 9 * hour + 1),
            (T0 + 5, T0 + 9),
        ]:
            inside = [
                row
                for row in plain_read("bars", expected, start=start, end=end)
                if row["symbol"] != "SOL-USD-PERP" or oldest + hour <= row["ts_event"] <= newest
            ]
            assert same(store.bars(None, hour, start, end), inside), (tier, start)
        five = store.bars(["SOL-USD-PERP"], 5 * MINUTE, T0, T0 + DAY, exchange="KRAKEN")
        assert five.num_rows and (five["ts_event"].to_numpy() <= newest).all()


@pytest.mark.parametrize("moves", ["to the lake", "back"])
def test_rows_that_move_while_they_are_read_are_read_once(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: str
) -> None:
    lake = Lake(str(tmp_path / "lake"))
    table = market_rows("bars", 300, end=T0 + 20 * DAY, step=DAY // 8)
    MarketTables(database).load("bars", table)
    if moves == "back":
        archived(database, lake, "bars")
    store, plain = MarketStore(database, lake), MarketStore._hot
    wanted = plain_read("bars", table)
    known = store.intervals(store.series())
    waiting = ["before", "after"]

    def move(when: str) -> None:
        if when not in waiting:
            return
        waiting.remove(when)
        if moves == "back":
            Archiver(database, lake, ReplayClock(NOW)).restore("bars", T0, T0 + 20 * DAY)
        else:
            archived(database, lake, "bars")

    def hot(self: MarketStore, *given: Any) -> list[pa.Table]:
        move("before")
        found = plain(self, *given)
        move("after")
        return found

    monkeypatch.setattr(MarketStore, "_hot", hot)
    assert same(store.read("bars"), wanted)
    assert not waiting
    monkeypatch.undo()
    assert same(store.read("bars"), wanted) and store.intervals(store.series()) == known
    for when in ("before", "after"):  # alone: the manifest is asked on both sides
        waiting.append(when)
        archived(database, lake, "bars")
        if moves == "to the lake":
            Archiver(database, lake, ReplayClock(NOW)).restore("bars", T0, T0 + 20 * DAY)
        monkeypatch.setattr(MarketStore, "_hot", hot)
        assert same(store.read("bars"), wanted)
        monkeypatch.undo()


def test_a_partition_that_is_being_dropped_is_passed_over(database: Database) -> None:
    tables = Partitions(database)
    tables.ensure("trades", spans_ahead("day", T0, 2))
    ask = hotreads.Ask(channel="trades", columns=("ts_event",))
    with database.connection() as reader:
        whole = list(hotreads.partitions_in(reader, ask))
    assert len(whole) >= 3
    with database.connection() as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")  # sees the tables as they are now
        with database.connection() as other:
            tables.drop(other, tables.list("trades")[0])
        assert list(hotreads.partitions_in(reader, ask)) == whole[1:]
