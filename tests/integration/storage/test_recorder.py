"""The recording: exact, in order, once, and whole after the server was killed."""

import os
import signal
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from support.market import random_batch, random_table
from support.wire import Wire

from don.errors import DataError, UsageError
from don.features.cache import FeatureCache
from don.features.config import FeatureConfig
from don.features.sets import FeatureSet
from don.model.messages import SessionStart
from don.model.schema import SCHEMAS, MarketBatch
from don.storage.arrow import pack, unpack
from don.storage.database import Database
from don.storage.embedded import EmbeddedPostgres
from don.storage.features.session import certify_session
from don.storage.journal import Journal, Record
from don.storage.queries import Queries
from don.storage.recorder import MarketRecorder
from don.storage.sessions import forget_market

pytestmark = pytest.mark.postgres
MINUTE = 60_000_000_000


def bits(batch: MarketBatch) -> tuple[str, int, bytes]:
    """Equal for batches that are equal to the bit, NaN included."""
    return batch.source, batch.seq, pack(batch.tables)


def test_batches_come_back_exactly_in_the_order_of_recording(database: Database) -> None:
    recorder = MarketRecorder(database, "s1", MINUTE)
    MarketRecorder(database, "s2", MINUTE).record(random_batch(1), sync=False)
    empty = MarketBatch(source="TEST:1", seq=999, tables={})
    sent = [random_batch(seq, rows=seq % 7, source=f"TEST:{seq % 3}") for seq in range(150)]
    sent.append(empty)
    for batch in sent:
        assert recorder.record(batch, sync=batch.seq % 10 == 0)
    assert [bits(batch) for batch in recorder.read()] == [bits(batch) for batch in sent]
    gaps = sum(
        batch.tables["status"]["state"].to_pylist().count("gap")
        for batch in sent
        if "status" in batch.tables
    )
    assert Queries(database).gaps("s1") == gaps > 0
    recorder.close()


def test_repeats_are_told_from_news(database: Database) -> None:
    recorder = MarketRecorder(database, "s1", MINUTE)
    assert recorder.record(random_batch(1), sync=False)
    assert not recorder.record(random_batch(1), sync=True)
    again = MarketRecorder(database, "s1", MINUTE)
    assert not again.record(random_batch(1), sync=False)
    assert again.record(random_batch(1, source="TEST:2"), sync=False)
    assert len(list(again.read())) == 2


def test_lost_answer_is_no_repeat(wire: Wire, database: Database) -> None:
    reader = MarketRecorder(database, "s1", MINUTE)
    with Database(wire.url) as cut:
        recorder = MarketRecorder(cut, "s1", MINUTE)
        recorder.record(random_batch(1), sync=False)
        wire.arm(b"TEST:2", "answer", lambda: len(list(reader.read())) == 2)
        assert recorder.record(random_batch(2, source="TEST:2"), sync=False)
        assert wire.cuts == 1
        assert not recorder.record(random_batch(2, source="TEST:2"), sync=False)
    assert [batch.seq for batch in reader.read()] == [1, 2]


def test_server_killed_while_recording_leaves_no_hole(mortal: EmbeddedPostgres) -> None:
    with Database(mortal.url) as database:
        database.migrate()
        recorder = MarketRecorder(database, "crash", MINUTE)
        for seq in range(1, 121):
            assert recorder.record(random_batch(seq, rows=3), sync=seq == 25)
            if seq % 60 == 0:
                pid = mortal.pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                mortal.start()
        recorder.flush()
        assert [batch.seq for batch in recorder.read()] == list(range(1, 121))
        recorder.close()


def test_bars_come_back_with_all_their_columns(database: Database) -> None:
    recorder = MarketRecorder(database, "s1", MINUTE)
    rng = np.random.default_rng(1)
    table = random_table("bars", 6, rng)
    times = pa.array([2 * MINUTE] * 3 + [MINUTE] * 3)
    symbols = pa.array(["A-USDT-PERP", "B-USDT-PERP", "C-USDT-PERP"] * 2)
    table = table.set_column(1, "ts_event", times).set_column(0, "symbol", symbols)
    table = table.append_column("imbalance", pa.array([0.5, np.nan, -1.0, 0.0, 0.25, 1e-300]))
    recorder.record_bars(table)
    recorder.record_bars(table)
    recorder.record_bars(table.slice(0, 0))
    expected = pa.concat_tables([table.slice(3), table.slice(0, 3)])
    assert pack({"bars": recorder.read_bars()}) == pack({"bars": expected})
    rows = Queries(database).bars("A-USDT-PERP", MINUTE, session="s1")
    assert [row.ts_event for row in rows] == [MINUTE, 2 * MINUTE]
    assert [row.close for row in rows] == [table["close"][3].as_py(), table["close"][0].as_py()]
    assert recorder.read_bars("other").num_rows == 0


@pytest.mark.parametrize("damage", [b"", b"\0" * 8, b"\xff" * 20, None])
def test_damaged_block_is_named(damage: bytes | None) -> None:
    data = pack({"trades": random_table("trades", 5, np.random.default_rng(0))})
    with pytest.raises(DataError, match="recorded block"):
        unpack(data[:-5] if damage is None else damage)


def test_old_recordings_are_dropped_and_running_ones_kept(database: Database) -> None:
    with database.connection() as connection:
        for number, status in enumerate(["running", "ended", "failed", "ended"]):
            connection.execute(
                "INSERT INTO session (id, account, policy, symbols, interval_ns, config, ts_start, "
                "status) VALUES (%s, 'paper', '', '{}', 1, '{}', %s, %s)",
                (f"s{number}", number, status),
            )
    for number in range(4):
        MarketRecorder(database, f"s{number}", MINUTE).record(random_batch(1), sync=False)
    assert forget_market(database, keep=1) == ["s1", "s2"]
    assert forget_market(database, keep=1) == []
    left = [len(list(MarketRecorder(database, f"s{n}", MINUTE).read())) for n in range(4)]
    assert left == [1, 0, 0, 1]
    with pytest.raises(UsageError, match="at least 1, was 0"):
        forget_market(database, keep=0)


def minutes(count: int, start: int = 0) -> list[MarketBatch]:
    """Quotes and bars of two symbols; the second lacks some bars."""
    rng, made = np.random.default_rng(start), []
    price = {"BTC-USDT-PERP": 100.0, "ETH-USDT-PERP": 10.0}
    for k in range(start + 1, start + count + 1):
        quotes, bars = [], []
        for n, symbol in enumerate(price):
            price[symbol] *= float(np.exp(rng.normal(0, 0.002)))
            p, ts = price[symbol], k * MINUTE
            head = {"symbol": symbol, "ts_event": ts - 1, "ts_recv": ts}
            quotes.append(
                {**head, "bid": p * 0.999, "bid_size": 1.0 + n, "ask": p, "ask_size": 2.0}
            )
            if not n or k % 7:
                bars.append(
                    {**head, "ts_event": ts, **dict.fromkeys(("open", "high", "low", "close"), p),
                     "volume": float(rng.integers(1, 9)), "trades": 3, "origin": "stream"}
                )  # fmt: skip
        tables = {"quotes": pa.Table.from_pylist(quotes, SCHEMAS["quotes"]),
                  "bars": pa.Table.from_pylist(bars, SCHEMAS["bars"])}  # fmt: skip
        made.append(MarketBatch(source="X:1", seq=k, tables=tables))
    return made


def test_what_a_session_served_is_certified(database: Database) -> None:
    """The stream's vectors, the cache restored in between, beside one batch over the recording."""
    config = FeatureConfig(
        interval="1m", names=("log_return_1", "rsi_14", "obv", "zscore_24", "rsi_14@5m", "ofi",
                              "return_12", "rank_12"),
    )  # fmt: skip
    symbols = ("BTC-USDT-PERP", "ETH-USDT-PERP")
    recorder = MarketRecorder(database, "s1", MINUTE)
    journal = Journal(database, "paper", "s1")
    journal.acquire()
    start = SessionStart(
        key="start:s1", session="s1", account="paper", policy="hold", symbols=symbols,
        instruments=(), interval_ns=MINUTE, feature_set=FeatureSet(config.names).hash,
        feature_config=config.model_dump_json(), config="{}", state="", ts_recv=1,
    )  # fmt: skip
    assert journal.append([Record.of(start)])
    cache = FeatureCache(config, symbols, "s1")
    kept = [cache.checkpoint()]
    for batch in minutes(90):
        if batch.seq == 60:
            kept.append(cache.checkpoint())
            cache = FeatureCache(config, symbols, "s1")
            cache.restore(kept)
        recorder.record(batch, sync=True)
        for told in cache.on_batch(batch):
            assert journal.append([Record.of(told)])
    row = Queries(database).session("s1")
    assert row is not None
    found = certify_session(database, row)
    assert found.certified and found.share == 1.0 and found.vectors >= 150
    last = replace(told, key="snapshot:s1:91", version=told.version + 1)
    assert journal.append([Record.of(last)])
    found = certify_session(database, row)
    assert not found.certified and found.missing == 1  # it was served, but nothing makes it
    recorder.close()
