"""The ingest: what it has acknowledged is stored, once, whatever happens to the database."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from support.channels import START_NS, channel_table
from support.sql_rows import stored
from support.wire import Wire

from don.clock import SystemClock
from don.errors import DatabaseError, DataError
from don.market.coverage import MINUTE_NS, State, without
from don.model.channels import complete
from don.observe.parts import ingest_samples
from don.storage.database import Database
from don.storage.embedded import EmbeddedPostgres
from don.storage.market.config import IngestConfig
from don.storage.market.coverage import CoverageLedger
from don.storage.market.ingest import MarketIngest
from don.storage.market.spool import SpoolFull

pytestmark = pytest.mark.postgres
QUICK = IngestConfig(batch_age_s=0.02, probe_s=0.05, write_wait_s=0.2)
Until = Callable[[Callable[[], bool]], None]


def trades(first: int, count: int) -> dict[str, pa.Table]:
    """Trades with ids from `first`."""
    table = channel_table("trades", count)
    table = complete("trades", table, exchange="BYBIT", symbol="BTC-USDT-PERP")
    ids = pa.array(range(first, first + count), pa.int64())
    times = pa.array([START_NS + n * 1_000_000 for n in range(first, first + count)], pa.int64())
    table = table.set_column(5, table.schema.field("id"), ids)
    return {"trades": table.set_column(2, table.schema.field("ts_event"), times)}


def ids(db: Database) -> list[int]:
    return sorted(stored(db, "trades")["id"].to_pylist())


def open_ingest(
    db: Database, spool: Path, config: IngestConfig = QUICK, *, start: bool = True
) -> MarketIngest:
    ingest = MarketIngest(db, spool, config, SystemClock())
    if start:
        ingest.start()
    return ingest


@pytest.fixture
def killable(mortal: EmbeddedPostgres) -> Iterator[Database]:
    """A database whose server a test may kill; empty of trades."""
    mortal.start()
    with Database(mortal.url) as db:
        db.migrate()
        with db.connection() as connection:
            connection.execute("TRUNCATE md_trades")
        yield db


def kill(server: EmbeddedPostgres) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)


def test_acknowledged_is_stored(database: Database, tmp_path: Path) -> None:
    ingest = open_ingest(database, tmp_path)
    futures = [ingest.write(trades(n * 10, 10)) for n in range(30)]
    futures.append(ingest.write({"bars": channel_table("bars", 20), **trades(0, 5)}))
    for future in futures:
        future.result(30)
    assert ids(database) == list(range(300))
    health = ingest.health()
    assert (health.state, health.rows, health.inserted, health.duplicates) == ("ok", 325, 320, 5)
    assert health.queue_rows == health.spool_rows == 0 and 0 < health.batches <= 31
    assert ingest.write({}).done()
    ingest.close()
    assert ingest.health().state == "closed"


def test_bad_row_is_the_writers_alone(database: Database, tmp_path: Path) -> None:
    ingest = open_ingest(database, tmp_path)
    good = ingest.write(trades(0, 10))
    bad = trades(10, 10)["trades"]
    bad = bad.set_column(2, bad.schema.field("ts_event"), pa.array([1_700_000_000] * 10))
    with pytest.raises(DataError, match=r"row 0, column ts_event.*plausible as seconds"):
        ingest.write({"trades": bad})
    good.result(30)
    ingest.close()
    assert ids(database) == list(range(10))


def test_killed_database_loses_and_doubles_nothing(
    killable: Database, mortal: EmbeddedPostgres, tmp_path: Path, until: Until
) -> None:
    ingest = open_ingest(killable, tmp_path)
    futures = []
    for n in range(40):
        futures.append(ingest.write(trades(n * 100, 100)))
        if n % 40 == 20:
            kill(mortal)  # most likely in the middle of a load
        if n % 40 == 39:
            until(lambda: all(future.done() for future in futures))
            mortal.start()
    for future in futures:
        future.result(30)
    until(lambda: ingest.health().state == "ok")
    ingest.close()
    assert ids(killable) == list(range(4_000))
    health = ingest.health()
    assert health.spooled_rows == health.drained_rows > 0
    assert (health.damaged_bytes, health.refused) == (0, 0)


def test_full_spool_refuses_new_writes_and_keeps_the_old(
    killable: Database, mortal: EmbeddedPostgres, tmp_path: Path, until: Until
) -> None:
    config = QUICK.model_copy(
        update={
            "spool_bytes": 2**16,
            "segment_bytes": 2**13,
            "queue_rows": 2_000,
            "write_wait_s": 1.5,
        }
    )
    ingest = open_ingest(killable, tmp_path, config)
    mortal.stop()
    taken: list[Future[None]] = []
    with pytest.raises(SpoolFull, match="wait in memory"):
        while True:
            taken.append(ingest.write(trades(len(taken) * 500, 500)))
    until(lambda: ingest.health().state == "full")
    health = ingest.health()
    assert health.database_away and health.spool_share > 0.5
    assert health.queue_rows <= 2_000 and health.lag_s > 0
    assert any(not future.done() for future in taken)
    mortal.start()
    for future in taken:
        future.result(30)
    until(lambda: ingest.health().state == "ok")
    ingest.close()
    assert ids(killable) == list(range(len(taken) * 500))


def test_what_an_earlier_run_left_is_drained_first(
    killable: Database, mortal: EmbeddedPostgres, tmp_path: Path, until: Until
) -> None:
    mortal.stop()
    ingest = open_ingest(killable, tmp_path)
    ingest.write(trades(0, 100))
    ingest.close()
    assert ingest.health().spool_rows == 100
    mortal.start()
    again = open_ingest(killable, tmp_path)
    again.write(trades(50, 100)).result(30)
    until(lambda: again.health().state == "ok")
    again.close()
    assert ids(killable) == list(range(150))


def test_database_that_is_not_ready_gets_its_data_later(
    empty_database_url: str, tmp_path: Path, until: Until
) -> None:
    with Database(empty_database_url) as unready:
        ingest = open_ingest(unready, tmp_path)
        ingest.write(trades(0, 100)).result(30)
        assert ingest.health().state == "spooling" and ingest.health().refused == 0
        unready.migrate()
        until(lambda: ingest.health().state == "ok")
        ingest.close()
        assert ids(unready) == list(range(100))


def test_unstored_writes_say_so_at_the_end(tmp_path: Path) -> None:
    nowhere = Database("postgresql://me@127.0.0.1:1/none", pool_timeout_s=0.2)
    config = QUICK.model_copy(update={"spool_bytes": 2**16, "batch_age_s": 0.01})
    ingest = open_ingest(nowhere, tmp_path, config)
    future = ingest.write({"trades": channel_table("trades", 20_000)})
    with pytest.raises(DatabaseError, match="20000 rows were not stored"):
        ingest.close()
    with pytest.raises(DatabaseError):
        future.result(1)


@pytest.mark.parametrize("lose", ["request", "answer"])
def test_cut_socket_loses_and_doubles_nothing(
    wire: Wire, database: Database, tmp_path: Path, until: Until, lose: str
) -> None:
    with Database(wire.url) as cut:
        ingest = open_ingest(cut, tmp_path)
        ingest.write(trades(0, 50)).result(30)
        wire.arm(b"PGCOPY", lose)
        futures = [ingest.write(trades(n, 50)) for n in range(50, 500, 50)]
        for future in futures:
            future.result(30)
        until(lambda: ingest.health().state == "ok")
        ingest.close()
    assert wire.cuts == 1
    assert ids(database) == list(range(500))


def test_flush_waits_for_what_was_taken(database: Database, tmp_path: Path) -> None:
    slow = QUICK.model_copy(update={"batch_age_s": 60.0})
    ingest = open_ingest(database, tmp_path, slow)
    future = ingest.write(trades(0, 10))
    ingest.flush(30)
    assert future.done() and ids(database) == list(range(10))
    ingest.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_damage_of_a_spool_on_a_full_disk_is_told_and_is_a_gap_in_the_ledger(
    killable: Database, mortal: EmbeddedPostgres, tmp_path: Path, until: Until
) -> None:
    with killable.connection() as connection:
        connection.execute("TRUNCATE coverage")
    kill(mortal)
    ingest = open_ingest(killable, tmp_path)
    ingest.write(trades(0, 10)).result(30)
    (segment,) = tmp_path.glob("*.spool")
    (tmp_path / f".{segment.name}-0.lost.tmp").symlink_to("/dev/full")
    data = bytearray(segment.read_bytes())
    data[-40] ^= 1
    segment.write_bytes(data)
    mortal.start()
    until(lambda: ingest.health().state == "damaged")
    ledger = CoverageLedger(killable)

    def told() -> bool:
        return bool(ledger.read("BYBIT", "trades", states=[State.GAP]))

    until(told)
    (gap,) = ledger.read()
    assert gap.symbol == "BTC-USDT-PERP" and gap.start <= START_NS < gap.end
    claim = replace(gap, end=gap.end + MINUTE_NS, state=State.COMPLETE, reason="")
    ledger.add(without([claim], ingest.lost()))  # of rows that were acknowledged before
    assert [each.state for each in ledger.read()] == [State.GAP, State.COMPLETE]
    values = {each.name: each.value for each in ingest_samples(ingest.health())}
    assert values["spool_damaged_bytes_total"] == ingest.health().damaged_bytes > 0
    assert not list(tmp_path.glob("*.lost")), "what is lost could not be written down"
    ingest.close()


def test_rows_that_the_database_refuses_for_good_are_set_aside_and_a_gap(
    killable: Database, mortal: EmbeddedPostgres, tmp_path: Path, until: Until
) -> None:
    with killable.connection() as connection:
        connection.execute("TRUNCATE coverage")
        connection.execute("ALTER TABLE md_trades ADD CONSTRAINT small CHECK (id < 1000)")
    try:
        kill(mortal)
        ingest = open_ingest(killable, tmp_path)
        for first in (0, 1_000, 100):
            ingest.write(trades(first, 10)).result(30)
        mortal.start()
        until(lambda: ingest.health().refused == 1 and ingest.health().spool_rows == 0)
        ledger = CoverageLedger(killable)
        until(lambda: bool(ledger.read("BYBIT", "trades", states=[State.GAP])))
        assert ledger.read() == ingest.lost()
        ingest.close()
        assert ids(killable) == [*range(10), *range(100, 110)]
        assert len(list(tmp_path.glob("*.refused"))) == len(list(tmp_path.glob("*.lost"))) == 1
    finally:
        with killable.connection() as connection:
            connection.execute("ALTER TABLE md_trades DROP CONSTRAINT small")
