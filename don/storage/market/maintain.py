"""Upkeep of the hot tier: partitions ahead, old ones tidied and moved to the lake. Does I/O.

One run at a time; safe to stop anywhere and to repeat. A partition whose time is over is vacuumed
and frozen once, and its index, which live loads leave half-full, is built anew beside readers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import structlog
from psycopg import sql
from pydantic import Field

from don.clock import NS_PER_S, Clock
from don.errors import DependencyError, DonError
from don.model.section import Section
from don.storage.database import Connection, Database
from don.storage.lake.archive import Archived, Archiver
from don.storage.market.partitions import Partition, Partitions, spans_ahead
from don.storage.market.tables import LAYOUTS, WIDTH, Layout

log = structlog.get_logger(__name__)
_LOCK = 0x6D61696E  # "main"
_LIVE_NS = 7 * 86_400 * NS_PER_S  # a channel with a partition this young is being collected
_REINDEX_BYTES = 2**20  # smaller indexes are left alone
# Another archive has moved the partition since it was listed, its index with it.
_GONE = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedObject)


class MaintainConfig(Section):
    """How the hot tier is kept."""

    ahead_days: int = Field(default=3, ge=1, le=60)
    settle_s: int = Field(default=3_600, ge=0)  # after its end, before a partition is tidied
    loose: float = Field(default=1.4, gt=1.0)  # times its least size, before an index is rebuilt


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintained:
    """What a run did."""

    made: tuple[str, ...]  # partitions
    vacuumed: tuple[str, ...]
    reindexed: tuple[str, ...]
    freed_bytes: int  # by new indexes
    archived: tuple[Archived, ...]
    held_up: tuple[str, ...]  # what could not be done now: others were using it


class Maintenance:
    """Maintains one database; call `run` every hour or so, from any thread.

    Args:
        db: the database, migrated.
        clock: says which partitions are over.
        config: how.
        archiver: moves partitions behind their retention to the lake; None keeps them.
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        config: MaintainConfig | None = None,
        archiver: Archiver | None = None,
    ) -> None:
        self._db = db
        self._clock = clock
        self._config = config or MaintainConfig()
        self._archiver = archiver
        self._partitions = Partitions(db)

    def run(self) -> Maintained:
        """Do what is due.

        Raises:
            DependencyError: if another run is at it, or the database is away.
        """
        now = self._clock.now_ns()
        made: list[str] = []
        vacuumed: list[str] = []
        reindexed: list[str] = []
        held_up: list[str] = []
        archived: list[Archived] = []
        freed = 0
        with self._alone() as connection:
            for channel in LAYOUTS:
                parts = self._partitions.list(channel)
                made += self._ahead(channel, parts, now)
                gone: set[str] = set()
                for part in self._archiver.due(channel, now) if self._archiver else ():
                    try:
                        moved = self._archiver.archive(part)  # type: ignore[union-attr]
                    except DonError as error:  # in use, a damaged file of the lake, a full disk
                        log.warning("not archived", partition=part.table, error=str(error))
                        held_up.append(part.table)
                        continue
                    gone.add(part.table)
                    if moved is not None:
                        archived.append(moved)
                for part in parts:
                    over = part.span.end + self._config.settle_s * NS_PER_S <= now
                    if not over or part.table in gone:
                        continue
                    try:
                        if self._vacuum(connection, part):
                            vacuumed.append(part.table)
                        saved = self._reindex(connection, part)
                    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled):
                        held_up.append(part.table)
                        continue
                    except _GONE:
                        continue
                    if saved:
                        reindexed.append(part.table)
                        freed += saved
        return Maintained(
            made=tuple(made),
            vacuumed=tuple(vacuumed),
            reindexed=tuple(reindexed),
            freed_bytes=freed,
            archived=tuple(archived),
            held_up=tuple(held_up),
        )

    # ---- inside ---------------------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[Connection]:
        with self._db.errors(), self._db.connect(autocommit=True) as connection:
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone()
            if row is None or not row[0]:
                raise DependencyError("another maintenance of this database is running")
            connection.execute("SET lock_timeout = '5s'")
            yield connection

    def _ahead(self, channel: str, parts: list[Partition], now: int) -> list[str]:
        if not any(part.span.end > now - _LIVE_NS for part in parts):
            return []
        width = LAYOUTS[channel].channel.partition
        return self._partitions.ensure(channel, spans_ahead(width, now, self._config.ahead_days))

    def _vacuum(self, connection: Connection, part: Partition) -> bool:
        """Vacuum unless nothing was added or deleted since the last time."""
        row = connection.execute(_CHANGED, (part.table,)).fetchone()
        if row is None or not row[0]:
            return False
        connection.execute(
            sql.SQL("VACUUM (FREEZE, ANALYZE) {}").format(sql.Identifier(part.table))
        )
        return True

    def _reindex(self, connection: Connection, part: Partition) -> int:
        """Bytes saved by a new index, 0 if the old one is tight enough."""
        for (leftover,) in connection.execute(_LEFTOVERS, (part.table,)).fetchall():
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(leftover)))
        saved = 0
        for name, size, rows in connection.execute(_INDEXES, (part.table,)).fetchall():
            least = rows * index_entry_bytes(LAYOUTS[part.channel]) / 0.9
            if size < _REINDEX_BYTES or size < least * self._config.loose:
                continue
            connection.execute(
                sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(sql.Identifier(name))
            )
            after = connection.execute("SELECT pg_relation_size(%s::regclass)", (name,)).fetchone()
            saved += size - (after[0] if after else size)
        return saved


def index_entry_bytes(layout: Layout) -> int:
    """What an entry of the primary key takes at least: pointer, header and the padded columns."""
    kinds = {column.name: column.kind for column in layout.columns}
    at = 0
    for name in layout.key:
        width = WIDTH.get(kinds[name], 24)  # texts: a short hash
        align = width if width in (1, 2, 4, 8) else 1
        at = -(-at // align) * align + width
    return 4 + 8 + -(-at // 8) * 8


# The counts since the last vacuum are lost in a crash: then it is done once more.
_CHANGED = """
SELECT s.last_vacuum IS NULL OR s.n_ins_since_vacuum > 0 OR s.n_dead_tup > 0
FROM pg_stat_user_tables AS s WHERE s.relid = %s::regclass
"""
_INDEXES = """
SELECT i.indexrelid::regclass::text, coalesce(pg_relation_size(i.indexrelid), 0),
    greatest(c.reltuples, 0)
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
WHERE i.indrelid = %s::regclass AND i.indisprimary AND i.indisvalid
"""
# An interrupted rebuild leaves its unfinished index.
_LEFTOVERS = """
SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = %s::regclass AND NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$'
"""
