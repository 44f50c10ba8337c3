"""Moving partitions between database and lake: archive, bring back, compact, verify. Does I/O.

Archiving copies a partition into the lake, reads every file back and compares count and hash, and
only then, in one transaction that holds writers off, checks that no row has come in since, lists
the files in the manifest and drops the partition. A crash before that commit leaves files that
nobody sees, noted before they were written; after it nothing is left to do; either way the next
run goes on. A file that the manifest says nothing of is nobody's to delete: with a manifest older
than the lake (a restored backup) it may be the only copy of its rows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import pyarrow as pa
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from don.clock import Clock
from don.errors import DatabaseError, DataError, DifferenceError
from don.market.rows import ordered
from don.model.channels import CHANNELS
from don.storage.database import Database
from don.storage.lake import manifest
from don.storage.lake.config import LakeConfig
from don.storage.lake.files import (
    NS_PER_DAY,
    WIDER,
    Fault,
    LakeFile,
    describe,
    period,
    unfinished,
)
from don.storage.lake.lake import Lake
from don.storage.lake.lock import changing
from don.storage.market.hot import MarketTables, series_names
from don.storage.market.hotreads import Ask, pages
from don.storage.market.partitions import Partition, Partitions
from don.storage.market.seals import unseal_range
from don.storage.market.tables import LAYOUTS

_TRIES = 5  # times that rows may come in, or readers be in the way, before it is given up
Step = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """A partition that moved to the lake."""

    channel: str
    start: int  # ns
    end: int
    rows: int
    files: int
    hot_bytes: int  # freed in the database, with indexes
    lake_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """What compaction did."""

    joined: int  # files that are gone
    made: int
    deleted: int  # files removed for good: replaced earlier, or left by a crash
    unlisted: tuple[str, ...] = ()  # files that the manifest says nothing of; they stay


class Archiver:
    """Changes of one lake; one runs at a time.

    Args:
        db: the database, migrated.
        lake: the lake.
        clock: for the manifest's times.
        config: retention and sizes.
        step: told each step before it is taken, for progress.
    """

    def __init__(
        self, db: Database, lake: Lake, clock: Clock, config: LakeConfig | None = None,
        step: Step = lambda _: None,
    ) -> None:  # fmt: skip
        self._db = db
        self._lake = lake
        self._clock = clock
        self._config = config or LakeConfig()
        self._step = step
        self._partitions = Partitions(db)

    # ---- database to lake ------------------------------------------------------------------------

    def due(self, channel: str, now_ns: int, days: int | None = None) -> list[Partition]:
        """The partitions that ended longer ago than the retention, oldest first.

        Args:
            channel: its name.
            now_ns: wall time.
            days: instead of the configured retention.
        """
        keep = self._config.keep_days(channel) if days is None else days
        edge = now_ns - keep * NS_PER_DAY
        return [part for part in self._partitions.list(channel) if part.span.end <= edge]

    def archive(self, partition: Partition) -> Archived | None:
        """Move one partition; harmless to repeat after any failure.

        Returns:
            What was moved; None if another archive has moved it since it was listed.

        Raises:
            DifferenceError: if what was read back is not what was written: nothing is dropped.
            DatabaseError: if it is away, or readers or writers were always in the way.
            DependencyError: if the lake does not take files, or another archive or a backup runs.
        """
        with changing(self._db):
            with self._db.connection() as connection:
                spans = [partition.span]
                if self._partitions.missing(connection, partition.channel, spans):
                    return None
            for _ in range(_TRIES):
                files, replaced, rows = self._copy(partition)
                done = self._switch(partition, files, replaced, rows)
                if done:
                    return Archived(
                        channel=partition.channel,
                        start=partition.span.start,
                        end=partition.span.end,
                        rows=rows,
                        files=len(files),
                        hot_bytes=partition.bytes,
                        lake_bytes=sum(file.size for file in files),
                    )
        raise DatabaseError(
            f"partition {partition.table} got new rows during each of {_TRIES} tries: stop what "
            "loads such old data, or raise the retention"
        )

    def _copy(self, partition: Partition) -> tuple[list[LakeFile], list[LakeFile], int]:
        """Write and verify the files; returns them, those that they replace, and the rows that
        were in the partition.
        """
        channel, span = partition.channel, partition.span
        names = series_names(self._db)
        ask = Ask(
            channel=channel, columns=tuple(CHANNELS[channel].schema.names),
            start=span.start, end=span.end,
        )  # fmt: skip
        made: list[LakeFile] = []
        replaced: list[LakeFile] = []
        total = 0
        with self._db.errors(), self._db.connect(autocommit=False) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            numbers = connection.execute(
                f"SELECT DISTINCT series FROM {partition.table} ORDER BY 1"
            ).fetchall()
            for (number,) in numbers:
                parts = list(pages(connection, ask, names, number))
                rows = pa.concat_tables(parts)
                total += rows.num_rows
                older = manifest.listed(
                    connection, channel, start=span.start, end=span.end, series=[names[number]]
                )
                start, end = span.start, span.end
                if older:  # archived before, and rows came in since
                    self._step(f"join {channel} {names[number][1]}")
                    rows = pa.concat_tables([*(self._lake.read(f) for f in older), rows])
                    start = min(start, *(f.start for f in older))
                    end = max(end, *(f.end for f in older))
                file = self._store(channel, ordered(rows, CHANNELS[channel]), start, end)
                made.append(file)
                replaced += [old for old in older if old.path != file.path]
        return made, replaced, total

    def _store(self, channel: str, rows: pa.Table, start: int, end: int) -> LakeFile:
        """Write a file and read it back; noted before, so that it is known after a crash."""
        with self._db.connection() as connection:
            manifest.note(connection, describe(channel, rows, start, end), self._clock.now_ns())
        self._step(f"write {channel} {rows['symbol'][0]}")
        file = self._lake.write(channel, rows, start, end)
        self._step(f"verify {file.path}")
        fault = self._lake.check(file)
        if fault is not None:
            raise DifferenceError(f"lake file {fault.path} {fault.what}; nothing was dropped")
        return file

    def _switch(
        self, partition: Partition, files: list[LakeFile], replaced: list[LakeFile], rows: int
    ) -> bool:
        """List the files and drop the partition, at once; False if rows came in meanwhile."""
        for attempt in _patient():
            with attempt:
                return self._try_switch(partition, files, replaced, rows)
        raise AssertionError("unreachable: the last attempt raises")

    def _try_switch(
        self, partition: Partition, files: list[LakeFile], replaced: list[LakeFile], rows: int
    ) -> bool:
        parent = LAYOUTS[partition.channel].table
        with self._db.errors(), self._db.connect(autocommit=False) as connection:
            self._step(f"lock {partition.table}")
            try:
                connection.execute("SET LOCAL lock_timeout = '1s'")
                # Holds writers off, not readers; a load through the parent waits here.
                connection.execute(f"LOCK TABLE ONLY {parent} IN SHARE ROW EXCLUSIVE MODE")
                connection.execute(f"LOCK TABLE {partition.table} IN SHARE MODE")
                found = connection.execute(f"SELECT count(*) FROM {partition.table}").fetchone()
                if found is None or found[0] != rows:
                    return False
                now = self._clock.now_ns()
                manifest.retire(connection, replaced, now)
                manifest.add(connection, files, now)
                span = partition.span
                unseal_range(connection, partition.channel, span.start, span.end)
                self._step(f"drop {partition.table}")
                self._partitions.drop(connection, partition)
            except psycopg.errors.LockNotAvailable:
                raise _Busy(
                    f"partition {partition.table} is in use by readers or loads; try again"
                ) from None
            self._step(f"commit {partition.table}")
            connection.commit()
        self._step(f"archived {partition.table}")
        return True

    # ---- lake to database ------------------------------------------------------------------------

    def restore(
        self, channel: str, start: int, end: int, symbols: list[str] | None = None
    ) -> tuple[int, int]:
        """Load the files that lie in [start, end) into the database again, and retire them.

        Returns:
            Files and rows brought back.

        Raises:
            DataError: if a file is damaged: what was brought back before stays.
            DatabaseError: if the database is away.
        """
        tables = MarketTables(self._db)
        files_done = rows_done = 0
        with changing(self._db):
            with self._db.connection() as connection:
                files = manifest.listed(connection, channel, start=start, end=end)
            for file in files:
                if symbols is not None and file.symbol not in symbols:
                    continue
                self._step(f"load {file.path}")
                fault = self._lake.check(file)
                if fault is not None:
                    raise DataError(f"lake file {fault.path} {fault.what}; it was not loaded")
                for batch in self._lake.batches(file):
                    tables.load(channel, batch, where=file.path)
                self._step(f"retire {file.path}")
                with self._db.connection() as connection:
                    manifest.retire(connection, [file], self._clock.now_ns())
                files_done, rows_done = files_done + 1, rows_done + file.rows
        return files_done, rows_done

    # ---- upkeep ---------------------------------------------------------------------------------

    def compact(self, channel: str) -> Compacted:
        """Join small neighbouring files of a series into those of a wider period, and delete what
        was replaced longer ago than the grace. Files that the manifest does not know are told of.
        """
        limit = self._config.compact_below_mb * 2**20
        joined = made = 0
        with changing(self._db):
            with self._db.connection() as connection:
                files = manifest.listed(connection, channel)
            width = WIDER.get(CHANNELS[channel].partition)
            groups: dict[tuple[str, str, int], list[LakeFile]] = {}
            for file in files:
                start = period(width, file.start)[0] if width else file.start
                groups.setdefault((file.exchange, file.symbol, start), []).append(file)
            for group in groups.values():
                if len(group) < 2 or sum(file.size for file in group) > limit:
                    continue
                rows = pa.concat_tables([self._lake.read(file) for file in group])
                made_file = self._store(
                    channel,
                    ordered(rows, CHANNELS[channel]),
                    min(file.start for file in group),
                    max(file.end for file in group),
                )
                now = self._clock.now_ns()
                with self._db.connection() as connection:
                    self._step(f"replace {len(group)} files of {made_file.symbol}")
                    manifest.retire(connection, [f for f in group if f.path != made_file.path], now)
                    manifest.add(connection, [made_file], now)
                joined, made = joined + len(group), made + 1
            deleted, unlisted = self._sweep(channel)
        return Compacted(joined=joined, made=made, deleted=deleted, unlisted=unlisted)

    def _sweep(self, channel: str) -> tuple[int, tuple[str, ...]]:
        """Delete replaced files, and what crashes left, once they are old enough.

        Returns:
            How many, and the files that only the lake knows.
        """
        before = self._clock.now_ns() - self._config.grace_s * 1_000_000_000
        with self._db.connection() as connection:
            old = [p for p in manifest.retired(connection, before) if p.startswith(f"{channel}/")]
            listed = manifest.known(connection)
        foreign = [each for each in self._lake.paths(channel) if each[0] not in listed]
        lost = [p for p, written in foreign if unfinished(p) and written < before]
        for path in (*old, *lost):
            self._step(f"delete {path}")
            self._lake.delete(path)
        with self._db.connection() as connection:
            manifest.forget(connection, old)
        unlisted = tuple(sorted(p for p, _ in foreign if not unfinished(p)))
        return len(old) + len(lost), unlisted

    def verify(self, channel: str | None = None) -> tuple[int, list[Fault]]:
        """Read every listed file and compare size, count and hash; (files, what is wrong)."""
        with self._db.connection() as connection:
            files = manifest.listed(connection, channel)
        faults = []
        for file in files:
            self._step(f"verify {file.path}")
            fault = self._lake.check(file)
            if fault is not None:
                faults.append(fault)
        return len(files), faults


def _patient() -> Retrying:
    return Retrying(
        retry=retry_if_exception_type(_Busy),
        stop=stop_after_attempt(_TRIES),
        wait=wait_random(0.1, 1.0),
        reraise=True,
    )


class _Busy(DatabaseError):
    """A lock was not to be had."""
