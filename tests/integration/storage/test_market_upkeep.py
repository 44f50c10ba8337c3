"""Maintenance, statistics, slow statements, backup and restore, on a real server."""

import hashlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import psycopg
import pyarrow as pa
import pytest
import sqlalchemy as sa
from alembic import command
from support.channels import DAY_NS, START_NS, as_set, channel_table
from support.sql_rows import stored

from don.clock import ReplayClock
from don.errors import DatabaseError, DataError, DependencyError, DifferenceError, UsageError
from don.model.channels import CHANNELS, complete
from don.storage.backup import Backup, make_backup, read_backup, restore_backup
from don.storage.database import Database, _alembic, newest_revision
from don.storage.embedded import EmbeddedPostgres
from don.storage.lake.archive import Archiver
from don.storage.lake.lake import Lake
from don.storage.lake.lock import changing
from don.storage.market.hot import MarketTables
from don.storage.market.maintain import MaintainConfig, Maintenance, index_entry_bytes
from don.storage.market.stats import slow_statements, storage_stats
from don.storage.market.tables import LAYOUTS

pytestmark = pytest.mark.postgres


def test_partitions_are_ahead_and_those_behind_are_tidied_once(
    database: Database, until: Callable[[Callable[[], bool]], None]
) -> None:
    tables = MarketTables(database)
    clock = ReplayClock(START_NS + 2 * DAY_NS + 3_601 * 10**9)
    for number in range(40):  # live-like: many small loads leave half-full pages
        part = channel_table("trades", 700, seed=number, start_ns=START_NS + number * 1_000_000)
        ids = pa.array(range(number * 700, number * 700 + 700), pa.int64())
        tables.load("trades", part.set_column(5, part.schema.field("id"), ids))
    tables.load("trades", channel_table("trades", 10, start_ns=START_NS + 2 * DAY_NS, seed=9))
    maintenance = Maintenance(database, clock, MaintainConfig(ahead_days=2, loose=1.05))
    first = maintenance.run()
    assert first.made == ("md_trades_p20241007", "md_trades_p20241008")
    assert first.vacuumed == ("md_trades_p20241004",)
    assert first.reindexed == ("md_trades_p20241004",) and first.freed_bytes > 0
    until(lambda: maintenance.run().vacuumed == ())  # the server counts what was loaded a bit late
    assert maintenance.run().made == ()
    assert stored(database, "trades").num_rows == 28_010
    before = first.freed_bytes
    assert maintenance.run().freed_bytes == 0 < before


def test_one_maintenance_at_a_time(database: Database, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (0x6D61696E,))
        with pytest.raises(DependencyError, match="another maintenance"):
            Maintenance(database, ReplayClock(START_NS)).run()


def test_least_index_size_is_what_a_fresh_index_has(database: Database) -> None:
    with database.connection() as connection:
        connection.execute("CREATE TABLE fresh (LIKE md_trades)")
        connection.execute(
            "INSERT INTO fresh SELECT n, 0, n, 1, 1, 1, 0, true FROM generate_series(1, 50000) AS n"
        )
        connection.execute("CREATE UNIQUE INDEX one ON fresh (series, ts_event, id)")
        row = connection.execute("SELECT pg_relation_size('one')").fetchone()
        connection.execute("DROP TABLE fresh")
    assert row is not None
    assert row[0] / 50_000 == pytest.approx(index_entry_bytes(LAYOUTS["trades"]) / 0.9, rel=0.05)


def test_statistics_say_what_is_there(database: Database) -> None:
    MarketTables(database).load("trades", channel_table("trades", 5_000, days=2))
    with database.connect() as connection:
        connection.execute("VACUUM ANALYZE md_trades")
        connection.execute("CREATE EXTENSION pg_stat_statements")
        connection.execute("SELECT pg_stat_force_next_flush()")
    found = storage_stats(database, statements=5)
    trades = next(one for one in found.channels if one.channel == "trades")
    assert (trades.partitions, trades.rows) == (2, 5_000)
    assert (trades.start_ns, trades.end_ns) == (START_NS, START_NS + 2 * DAY_NS)
    assert 100 < trades.bytes_per_row < 200 and 0 <= trades.index_bloat < 1
    assert 0 <= trades.hit_ratio <= 1 and found.bytes > 0 and found.connections >= 1
    assert {one.channel for one in found.channels} == set(CHANNELS)
    assert len(found.statements) == 5
    assert found.statements[0].total_ms >= found.statements[1].total_ms


def test_slow_statements_are_kept_with_their_plans_but_not_what_they_store(
    database: Database, postgres: EmbeddedPostgres
) -> None:
    with database.connect() as connection:
        connection.execute("SET auto_explain.log_min_duration = 0")
        connection.execute("SELECT count(*) FROM series WHERE symbol <> %s", ("x",))
        connection.execute("INSERT INTO series (exchange, symbol) VALUES ('X', %s)", ("s3cr3t",))
    found = slow_statements(postgres.data)
    slow = next(one for one in found if "FROM series" in one.query)
    assert slow.ms >= 0 and "Scan on series" in slow.plan and slow.ts > START_NS
    assert any("INSERT INTO series" in one.query and one.plan for one in found)
    assert not any("s3cr3t" in one.query + one.plan for one in found)


def test_backup_restores_exactly_and_overwrites_nothing(
    database: Database, empty_database_url: str, tmp_path: Path
) -> None:
    tables = MarketTables(database)
    data = {name: channel_table(name, 60, days=40) for name in CHANNELS}
    for name, table in data.items():
        tables.load(name, table)
    folder = tmp_path / "monday"
    made = make_backup(database, folder, ReplayClock(START_NS))
    assert made == read_backup(folder) and made.rows >= 60 * len(CHANNELS)
    with pytest.raises(UsageError, match="nothing is overwritten"):
        make_backup(database, folder, ReplayClock(START_NS))
    with pytest.raises(UsageError, match="is not empty"):
        restore_backup(database, folder)
    with Database(empty_database_url) as other:
        assert restore_backup(other, folder) == made
        for name, table in data.items():
            assert as_set(stored(other, name)) == as_set(table)
        more = complete("trades", channel_table("trades", 5), exchange="KRAKEN")
        assert MarketTables(other).load("trades", more).inserted == 5  # numbers go on
        assert other.migrate() == other.revision()
    assert [path.name for path in tmp_path.iterdir()] == ["monday"]


def test_a_backup_beside_an_archive_is_of_one_moment_and_restores(
    database: Database, empty_database_url: str, tmp_path: Path
) -> None:
    table = channel_table("trades", 60, days=2)
    MarketTables(database).load("trades", table)
    archiver = Archiver(database, Lake(str(tmp_path / "lake")), ReplayClock(START_NS))
    parts = archiver.due("trades", START_NS + 9 * DAY_NS, 0)
    tried = []

    def step(name: str) -> None:
        if name not in ("dump", "count"):
            return
        tried.append(name)
        with pytest.raises(DependencyError, match="or a backup: wait for it"):
            archiver.archive(parts[0])
        with database.connect(autocommit=False) as other:  # who knows nothing of that lock
            with pytest.raises(psycopg.errors.LockNotAvailable):
                MarketTables(database).partitions.drop(other, parts[0])

    made = make_backup(database, tmp_path / "b", ReplayClock(START_NS), step)
    assert tried == ["dump", "count"]
    assert archiver.archive(parts[0]) is not None
    with Database(empty_database_url) as other:
        assert restore_backup(other, tmp_path / "b") == made
        assert as_set(stored(other, "trades")) == as_set(table)


def test_a_backup_waits_for_an_archive_that_runs(
    database: Database, tmp_path: Path, until: Callable[[Callable[[], bool]], None]
) -> None:
    MarketTables(database).load("trades", channel_table("trades", 60, days=2))
    made: list[Backup] = []

    def back_up() -> None:
        made.append(make_backup(database, tmp_path / "b", ReplayClock(START_NS)))

    def waits() -> bool:
        with database.connection() as connection:
            query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            return connection.execute(query).fetchone() == (1,)

    with changing(database):
        thread = threading.Thread(target=back_up)
        thread.start()
        until(waits)
        assert not made
    thread.join()
    assert made and read_backup(tmp_path / "b") == made[0]


def test_a_restore_that_differs_says_how_and_leaves_a_database_that_works(
    database: Database, empty_database_url: str, tmp_path: Path
) -> None:
    MarketTables(database).load("trades", channel_table("trades", 60, days=2))
    made = make_backup(database, tmp_path / "b", ReplayClock(START_NS))
    path = tmp_path / "b" / "backup.json"
    kept = msgspec.json.decode(path.read_bytes())
    for told in kept["tables"]:  # as one that was made beside an archive once said
        if told["table"] == "public.md_trades":
            told["rows"] -= 23
        if told["table"] == "public.series":
            told["hash"] = "7"
    kept["tables"].append({"table": "public.older", "rows": 4, "hash": "1"})
    path.write_bytes(msgspec.json.encode(kept))
    with Database(empty_database_url) as other:
        with pytest.raises(DifferenceError) as caught:
            restore_backup(other, tmp_path / "b")
        for what in ("md_trades has 60 rows, not 37", "series has other values", "DON_HOME",
                     "public.older is missing, with 4 rows", "schema is up to date"):  # fmt: skip
            assert what in str(caught.value)
        assert other.revision() == made.revision
        assert stored(other, "trades").num_rows == 60


def test_a_backup_of_an_older_don_is_restored_and_brought_up_to_date(
    database: Database, empty_database_url: str, tmp_path: Path
) -> None:
    engine = sa.create_engine(empty_database_url.replace("postgresql:", "postgresql+psycopg:", 1))
    config = _alembic()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.execute(sa.text("INSERT INTO series (exchange, symbol) VALUES ('X', 'Y')"))
    engine.dispose()
    with Database(empty_database_url) as older:
        made = make_backup(older, tmp_path / "b", ReplayClock(START_NS))
        assert made.revision == "0003"
    broken = tmp_path / "broken"
    shutil.copytree(tmp_path / "b", broken)
    (broken / "dump" / "toc.dat").write_bytes(b"PGDMP")
    told = msgspec.json.decode((broken / "backup.json").read_bytes())
    told["files"]["toc.dat"] = hashlib.sha256(b"PGDMP").hexdigest()
    (broken / "backup.json").write_bytes(msgspec.json.encode(told))
    with pytest.raises(DatabaseError, match="pg_restore"):
        restore_backup(database, broken)
    assert database.revision() == newest_revision()  # as it was
    assert restore_backup(database, tmp_path / "b") == made
    assert database.migrate() == database.revision() == newest_revision()
    assert MarketTables(database).series_ids((("X", "Y"),)).tolist() == [1]
    table = channel_table("trades", 60)
    assert MarketTables(database).load("trades", table).inserted == 60


def test_damaged_backup_is_refused_before_anything_happens(
    database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "one"
    make_backup(database, folder, ReplayClock(START_NS))
    victim = next((folder / "dump").glob("*.gz"))
    kept = victim.read_bytes()
    victim.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(DataError, match=f"file {victim.name} is damaged"):
        restore_backup(database, folder)
    victim.unlink()
    with pytest.raises(DataError, match=f"file {victim.name} is missing"):
        restore_backup(database, folder)
    shutil.rmtree(folder / "dump")
    (folder / "backup.json").write_text("{")
    with pytest.raises(DataError, match=r"backup\.json is damaged"):
        restore_backup(database, folder)
    with pytest.raises(DataError, match="is no backup"):
        read_backup(tmp_path)


def test_failed_backup_leaves_no_folder(tmp_path: Path) -> None:
    with Database("postgresql://me:s3cr3t@127.0.0.1:1/none", pool_timeout_s=0.2) as nowhere:
        with pytest.raises(DatabaseError) as caught:
            make_backup(nowhere, tmp_path / "b", ReplayClock(START_NS))
    assert "s3cr3t" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
