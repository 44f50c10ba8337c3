"""Moving partitions to the lake and back: a crash anywhere loses nothing, damage is found."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.stored import DAY, SERIES, T0, market_rows, plain_read

from don.clock import ReplayClock
from don.errors import ConfigError, DataError, DependencyError, DifferenceError
from don.market.rows import content_hash, ordered
from don.model.channels import CHANNELS
from don.storage.database import Database
from don.storage.lake.archive import Archiver, Step
from don.storage.lake.config import LakeConfig
from don.storage.lake.files import LakeFile, period
from don.storage.lake.lake import Lake
from don.storage.market.backfill_table import BackfillRanges, Job, Range
from don.storage.market.hot import MarketTables
from don.storage.market.imports import Importer
from don.storage.market.maintain import Maintenance
from don.storage.market.partitions import Partition
from don.storage.market.presets import own_export
from don.storage.market.readers import columns_of
from don.storage.market.reads import MarketStore

pytestmark = pytest.mark.postgres
HOUR = DAY // 24
NOW = T0 + 4_000 * DAY  # after any file was written, so that leftovers are old
CONFIG = LakeConfig(grace_s=0)


class Ticking(ReplayClock):
    """No two looks at it are the same."""

    def now_ns(self) -> int:
        self.advance_to(super().now_ns() + 1)
        return super().now_ns()


CLOCK = Ticking(NOW)


class Crash(Exception):
    """The process ends here."""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def archiver(database: Database, lake: Lake, step: Step = lambda _: None) -> Archiver:
    return Archiver(database, lake, CLOCK, CONFIG, step)


def loaded(database: Database, rows: int = 300, days: int = 2, seed: int = 0) -> pa.Table:
    table = market_rows("trades", rows, seed=seed, end=T0 + days * DAY)
    MarketTables(database).load("trades", table)
    return table


def everything(database: Database, lake: Lake) -> list[dict[str, object]]:
    return MarketStore(database, lake).read("trades").to_pylist()


def crashing_at(place: int) -> Step:
    steps: Iterator[int] = iter(range(10**6))

    def step(_: str) -> None:
        if next(steps) == place:
            raise Crash

    return step


def test_a_crash_at_any_step_loses_nothing_and_the_next_run_goes_on(
    database: Database, lake: Lake
) -> None:
    table = loaded(database, days=1)
    wanted = plain_read("trades", table)
    crashes = 0
    while True:
        parts = archiver(database, lake).due("trades", NOW, 0)
        if not parts:
            break
        try:
            archiver(database, lake, crashing_at(crashes)).archive(parts[0])
        except Crash:
            crashes += 1
        assert everything(database, lake) == wanted
    assert crashes >= 2 * len(SERIES) + 3  # write and verify of each, lock, drop, commit
    assert archiver(database, lake).verify() == (len(SERIES), [])
    with database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM md_trades").fetchone() == (0,)


def test_late_rows_join_the_archive_once(database: Database, lake: Lake) -> None:
    first = loaded(database)
    for part in archiver(database, lake).due("trades", NOW, 0):
        archiver(database, lake).archive(part)
    late = loaded(database, 100, seed=5)
    MarketTables(database).load("trades", first.slice(0, 50))  # known: counts once
    wanted = plain_read("trades", pa.concat_tables([first, late]))
    crashes = 0
    while parts := archiver(database, lake).due("trades", NOW, 0):
        assert everything(database, lake) == wanted
        try:
            archiver(database, lake, crashing_at(crashes)).archive(parts[0])
        except Crash:
            crashes += 3
    assert everything(database, lake) == wanted
    before = len(lake.paths())
    done = archiver(database, lake).compact("trades")
    assert done.joined == 2 * len(SERIES) and done.made == len(SERIES) and done.deleted
    assert len(lake.paths()) == len(SERIES) < before
    assert everything(database, lake) == wanted
    assert archiver(database, lake).verify() == (len(SERIES), [])


def test_rows_that_come_in_while_it_is_copied_are_archived_too(
    database: Database, lake: Lake
) -> None:
    first, late = loaded(database, days=1), market_rows("trades", 40, seed=9, end=T0 + DAY)
    waiting = [late]

    def step(text: str) -> None:
        if text.startswith("lock") and waiting:
            MarketTables(database).load("trades", waiting.pop())

    (part,) = archiver(database, lake).due("trades", NOW, 0)
    archiver(database, lake, step).archive(part)
    assert everything(database, lake) == plain_read("trades", pa.concat_tables([first, late]))
    assert archiver(database, lake).due("trades", NOW, 0) == []


def test_readers_see_every_row_once_while_an_archive_runs(database: Database, lake: Lake) -> None:
    table = loaded(database, rows=400, days=5)
    wanted = plain_read("trades", table)
    done = threading.Event()
    wrong: list[int] = []

    def look() -> None:
        store = MarketStore(database, lake)
        while not done.is_set():
            batches = store.scan("trades", batch_rows=50)
            for rows in (store.read("trades").num_rows, sum(b.num_rows for b in batches)):
                if rows != len(wanted):
                    wrong.append(rows)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for part in archiver(database, lake).due("trades", NOW, 0):
            archiver(database, lake).archive(part)
    finally:
        done.set()
        reader.join()
    assert not wrong
    assert everything(database, lake) == wanted


def test_what_was_archived_can_be_brought_back(database: Database, lake: Lake) -> None:
    table = loaded(database)
    for part in archiver(database, lake).due("trades", NOW, 0):
        archiver(database, lake).archive(part)
    crashes = 0
    while archiver(database, lake).verify()[0]:
        try:
            archiver(database, lake, crashing_at(crashes)).restore("trades", T0, T0 + 9 * DAY)
        except Crash:
            crashes += 1
        assert everything(database, lake) == plain_read("trades", table)
    with database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM md_trades").fetchone() == (300,)
    assert archiver(database, lake).compact("trades").deleted == 2 * len(SERIES)
    assert lake.paths() == []


def test_files_that_an_older_manifest_does_not_know_stay(
    database: Database, lake: Lake, tmp_path: Path
) -> None:
    table = loaded(database)
    for part in archiver(database, lake).due("trades", NOW, 0):
        archiver(database, lake).archive(part)
    with database.connection() as connection:  # as a backup made before has it
        columns = "path, channel, exchange, symbol, start_ns, end_ns, rows, size, hash, intervals"
        kept = connection.execute(f"SELECT {columns}, ts_written FROM lake_file").fetchall()
        connection.execute("DELETE FROM lake_file")
    paths = sorted(path for path, _ in lake.paths())
    (tmp_path / "lake" / paths[0]).with_name(".part-0a.parquet.77.tmp").write_text("torn")
    done = archiver(database, lake).compact("trades")
    assert list(done.unlisted) == paths and done.deleted == 1
    assert sorted(path for path, _ in lake.paths()) == paths
    with database.connection() as connection:  # and the newer manifest again
        for row in kept:
            connection.execute(
                f"INSERT INTO lake_file ({columns}, ts_written) VALUES "
                "(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                row,
            )
    assert archiver(database, lake).verify() == (len(paths), [])
    assert everything(database, lake) == plain_read("trades", table)


def test_only_what_is_older_than_the_retention_is_due(database: Database, lake: Lake) -> None:
    loaded(database, days=4)
    due = archiver(database, lake).due
    assert [part.span.start for part in due("trades", T0 + 4 * DAY, 2)] == [T0, T0 + DAY]
    assert due("trades", T0 + 4 * DAY) == []  # 14 days by default
    assert len(due("trades", T0 + 18 * DAY)) == 4
    assert due("books", NOW, 0) == []


def test_one_changes_the_lake_at_a_time(database: Database, lake: Lake) -> None:
    loaded(database, days=1)
    (part,) = archiver(database, lake).due("trades", NOW, 0)

    def step(_: str) -> None:
        with pytest.raises(DependencyError, match="another archive"):
            archiver(database, lake).compact("trades")

    archiver(database, lake, step).archive(part)


def trades_of(symbol: str, hour: int) -> pa.Table:
    start = T0 + hour * HOUR
    series = [("BINANCE_FUTURES", symbol)]
    return market_rows("trades", 30, seed=hour, start=start, end=start + HOUR, series=series)


def archived(database: Database, lake: Lake) -> None:
    for part in archiver(database, lake).due("trades", NOW, 0):
        archiver(database, lake).archive(part)


def test_a_backfill_and_an_archive_of_the_same_day_do_not_disturb_each_other(
    database: Database, lake: Lake
) -> None:
    ranges, pages = BackfillRanges(database), []
    for hour, symbol in enumerate(("BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USDT-PERP")):
        job = Job(exchange="BINANCE_FUTURES", channel="trades", symbol=symbol, interval_ns=0)
        part = Range(start_ns=T0 + hour * HOUR, end_ns=T0 + (hour + 1) * HOUR)
        pages.append(trades_of(symbol, hour))
        stored = ranges.store(job, part, pages[-1], now_ns=NOW)
        assert stored.inserted == pages[-1].num_rows
        archived(database, lake)  # the day's partition goes between two pages
    assert everything(database, lake) == plain_read("trades", pa.concat_tables(pages))


def test_an_archive_between_two_files_or_loads_of_a_day_is_not_noticed(
    database: Database, lake: Lake, tmp_path: Path
) -> None:
    importer, tables = Importer(database, lake), MarketTables(database)
    files = [trades_of("BTC-USDT-PERP", hour) for hour in range(4)]
    for number, rows in enumerate(files):
        if number % 2:
            assert tables.load("trades", rows).inserted == rows.num_rows
        else:
            path = tmp_path / f"{number}.parquet"
            pq.write_table(ordered(rows, CHANNELS["trades"]), path)
            mapping = own_export(columns_of(path))
            assert mapping is not None
            assert importer.load(path, mapping).inserted == rows.num_rows
        archived(database, lake)
    assert everything(database, lake) == plain_read("trades", pa.concat_tables(files))


def test_a_load_within_a_transaction_holds_an_archive_up(database: Database, lake: Lake) -> None:
    first, second = trades_of("BTC-USDT-PERP", 0), trades_of("BTC-USDT-PERP", 1)
    tables = MarketTables(database)
    tables.load("trades", first)
    (part,) = archiver(database, lake).due("trades", NOW, 0)
    with database.connection() as connection:
        tables.load_within(connection, "trades", second)
        with database.connect(autocommit=False) as other:
            other.execute("SET LOCAL lock_timeout = '50ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("LOCK TABLE ONLY md_trades IN SHARE ROW EXCLUSIVE MODE")
    archiver(database, lake).archive(part)
    assert everything(database, lake) == plain_read("trades", pa.concat_tables([first, second]))


@pytest.mark.parametrize("ours", [True, False])
def test_maintenance_goes_on_beside_another_archive(
    database: Database, lake: Lake, ours: bool
) -> None:
    class Beside(Archiver):
        """Another archive moves what this one has just listed."""

        def due(self, channel: str, now_ns: int, days: int | None = None) -> list[Partition]:
            found = super().due(channel, now_ns, days)
            for part in found:
                assert archiver(database, lake).archive(part) is not None
            return found if ours else []

    table = loaded(database, days=2)
    done = Maintenance(database, CLOCK, archiver=Beside(database, lake, CLOCK, CONFIG)).run()
    assert (done.archived, done.vacuumed, done.held_up) == ((), (), ())
    assert everything(database, lake) == plain_read("trades", table)


def damaged(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    match how:
        case "a bit":
            data[len(data) // 3] ^= 1
        case "its end":
            del data[-100:]
        case "its header":
            data[:4] = b"PART"
        case "all of it":
            path.unlink()
            return
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["a bit", "its end", "its header", "all of it"])
def test_damage_is_found_and_named(
    database: Database, lake: Lake, tmp_path: Path, how: str
) -> None:
    loaded(database, days=1)
    (part,) = archiver(database, lake).due("trades", NOW, 0)
    archiver(database, lake).archive(part)
    victim = lake.paths()[1][0]
    damaged(tmp_path / "lake" / victim, how)
    files, faults = archiver(database, lake).verify("trades")
    assert files == 3 and [fault.path for fault in faults] == [victim]
    if how != "its header":  # which readers have no use for
        with pytest.raises(DataError, match=f"lake file {victim.split('=')[0]}"):
            everything(database, lake)
    with pytest.raises(DataError, match="not loaded"):
        archiver(database, lake).restore("trades", T0, T0 + DAY)


def test_nothing_is_dropped_when_the_disk_lies(database: Database, tmp_path: Path) -> None:
    class Liar(Lake):
        def write(self, channel: str, table: pa.Table, start: int, end: int) -> LakeFile:
            file = super().write(channel, table, start, end)
            damaged(tmp_path / "lake" / file.path, "a bit")
            return file

    table, lake = loaded(database, days=1), Liar(str(tmp_path / "lake"))
    (part,) = archiver(database, lake).due("trades", NOW, 0)
    with pytest.raises(DifferenceError, match="nothing was dropped"):
        archiver(database, lake).archive(part)
    assert everything(database, lake) == plain_read("trades", table)


def test_a_full_or_missing_disk_is_said_so(database: Database, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lake = Lake(str(tmp_path / "file" / "lake"))
    loaded(database, days=1)
    (part,) = archiver(database, lake).due("trades", NOW, 0)
    with pytest.raises(DependencyError, match=r"lake file trades/.*cannot be written"):
        archiver(database, lake).archive(part)


@pytest.mark.parametrize(
    ("root", "said"),
    [("ftp://somewhere", "must be a folder or a URL"), ("s3://key:secret@bucket/x", "keys")],
)
def test_a_wrong_root_is_refused_without_repeating_keys(root: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        Lake(root)
    assert "secret" not in str(caught.value)


def test_the_hash_is_of_the_content_alone(lake: Lake) -> None:
    table = ordered(market_rows("bars", 200, series=SERIES[:1]), CHANNELS["bars"])
    cut = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    assert content_hash(cut) == content_hash(table)
    other = table.set_column(6, table.schema.field(6), pa.chunked_array([[1.0] * len(table)]))
    assert content_hash(other) != content_hash(table)
    start, end = period("month", T0)
    file = lake.write("bars", table, start, end)
    assert lake.write("bars", cut, start, end) == file and len(lake.paths()) == 1
    with pytest.raises(DataError, match="column ts_event: must be in"):
        lake.write("bars", table, start, start + DAY)
