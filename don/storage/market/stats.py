"""What the database says of itself: sizes, rows, bloat, hit ratios, the statements that cost most.

Reads statistics, never the data: cheap at any size. Does I/O.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from don.clock import parse_iso
from don.storage.database import Connection, Database
from don.storage.market.maintain import index_entry_bytes
from don.storage.market.partitions import Partitions
from don.storage.market.tables import LAYOUTS


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStats:
    """A channel in the hot tier. Rows and dead rows are the server's running estimates."""

    channel: str
    partitions: int
    start_ns: int  # of the oldest partition that holds rows; 0: none
    end_ns: int  # of the newest
    rows: int
    dead_rows: int
    heap_bytes: int  # with what is stored out of line
    index_bytes: int
    bytes_per_row: float  # with indexes
    dead_share: float  # of all rows in the heap: its bloat
    index_bloat: float  # bytes of the index beyond what its rows need, as a share of it
    hit_ratio: float  # blocks found in memory, of those asked for; 1.0 if none were
    inserted: int  # rows, since the statistics were reset


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementStats:
    """A kind of statement, constants removed."""

    query: str
    calls: int
    total_ms: float
    mean_ms: float
    max_ms: float
    rows: int
    hit_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageStats:
    """The whole database."""

    bytes: int
    hit_ratio: float
    connections: int
    max_connections: int
    deadlocks: int
    temp_bytes: int  # written for sorts that did not fit into memory
    channels: tuple[ChannelStats, ...]
    statements: tuple[StatementStats, ...]  # costliest first; empty without pg_stat_statements


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowStatement:
    """A statement that took longer than the server's threshold, with its plan."""

    ts: int  # when it ended, ns
    ms: float
    query: str
    plan: str


def storage_stats(db: Database, *, statements: int = 10) -> StorageStats:
    """Statistics of a migrated database.

    Args:
        db: the database.
        statements: most statements to list.

    Raises:
        DatabaseError: if it is away.
    """
    partitions = Partitions(db)
    spans = {part.table: part.span for name in LAYOUTS for part in partitions.list(name)}
    with db.connection() as connection:
        row = connection.execute(_DATABASE).fetchone()
        if row is None:
            raise AssertionError("a database has statistics of itself")
        channels = []
        for name, layout in LAYOUTS.items():
            found = connection.execute(_CHANNEL, (layout.table,)).fetchone()
            count, rows, dead, heap, index, hits, reads, inserted, used = found or (0,) * 8 + ([],)
            held = [spans[table] for table in used or () if table in spans]
            least = rows * index_entry_bytes(layout) / 0.9
            channels.append(
                ChannelStats(
                    channel=name,
                    partitions=count,
                    start_ns=min((span.start for span in held), default=0),
                    end_ns=max((span.end for span in held), default=0),
                    rows=rows,
                    dead_rows=dead,
                    heap_bytes=heap,
                    index_bytes=index,
                    bytes_per_row=(heap + index) / rows if rows else 0.0,
                    dead_share=dead / (rows + dead) if dead else 0.0,
                    index_bloat=max(0.0, 1 - least / index) if rows and index else 0.0,
                    hit_ratio=_ratio(hits, reads),
                    inserted=inserted,
                )
            )
        listed = tuple(_statements(connection, statements))
    size, hits, reads, connections, most, deadlocks, temp = row
    return StorageStats(
        bytes=size,
        hit_ratio=_ratio(hits, reads),
        connections=connections,
        max_connections=most,
        deadlocks=deadlocks,
        temp_bytes=temp,
        channels=tuple(channels),
        statements=listed,
    )


def slow_statements(data: Path, *, limit: int = 20) -> list[SlowStatement]:
    """The slow statements in an embedded server's logs (a week's), newest first.

    Args:
        data: the server's data folder.
        limit: most to return.
    """
    found = [
        slow for path in sorted((data / "log").glob("server-*.log")) for slow in _slow_in(path)
    ]
    return sorted(found, key=lambda slow: -slow.ts)[:limit]


# ---- inside --------------------------------------------------------------------------------------


def _ratio(hits: int, reads: int) -> float:
    return hits / (hits + reads) if hits + reads else 1.0


def _statements(connection: Connection, limit: int) -> Iterator[StatementStats]:
    try:
        with connection.transaction():
            rows = connection.execute(_STATEMENTS, (limit,)).fetchall()
    except (
        psycopg.errors.UndefinedTable,
        psycopg.errors.ObjectNotInPrerequisiteState,
        psycopg.errors.InsufficientPrivilege,
    ):
        return  # a server of the user's own, without the extension
    for query, calls, total, mean, most, count, hits, reads in rows:
        yield StatementStats(
            query=" ".join(query.split()),
            calls=calls,
            total_ms=total,
            mean_ms=mean,
            max_ms=most,
            rows=count,
            hit_ratio=_ratio(hits, reads),
        )


_ENTRY = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC .* LOG:  duration: ([\d.]+) ms  plan:$"
)


def _slow_in(path: Path) -> Iterator[SlowStatement]:
    head: re.Match[str] | None = None
    body: list[str] = []
    with path.open(errors="replace") as file:
        for line in file:
            if line.startswith("\t"):
                body.append(line[1:].rstrip())
                continue
            if head is not None:
                yield _slow(head, body)
            head, body = _ENTRY.match(line.rstrip()), []
    if head is not None:
        yield _slow(head, body)


def _slow(head: re.Match[str], body: list[str]) -> SlowStatement:
    cut = next((n for n, line in enumerate(body) if "  (cost=" in line), len(body))
    moment = datetime.fromisoformat(head[1]).replace(tzinfo=UTC)
    return SlowStatement(
        ts=parse_iso(moment.isoformat()),
        ms=float(head[2]),
        query=" ".join(" ".join(body[:cut]).removeprefix("Query Text: ").split()),
        plan="\n".join(body[cut:]),
    )


_DATABASE = """
SELECT pg_database_size(d.datid), d.blks_hit, d.blks_read, d.numbackends,
    current_setting('max_connections')::int, d.deadlocks, d.temp_bytes
FROM pg_stat_database AS d WHERE d.datname = current_database()
"""
_CHANNEL = """
SELECT count(*)::int, coalesce(sum(greatest(s.n_live_tup, 0)), 0)::int8,
    coalesce(sum(s.n_dead_tup), 0)::int8, coalesce(sum(pg_table_size(t.relid)), 0)::int8,
    coalesce(sum(pg_indexes_size(t.relid)), 0)::int8,
    coalesce(sum(io.heap_blks_hit + coalesce(io.idx_blks_hit, 0)), 0)::int8,
    coalesce(sum(io.heap_blks_read + coalesce(io.idx_blks_read, 0)), 0)::int8,
    coalesce(sum(s.n_tup_ins), 0)::int8,
    array_agg(t.relid::regclass::text) FILTER (WHERE pg_relation_size(t.relid) > 0)
FROM pg_partition_tree(%s::regclass) AS t
JOIN pg_stat_user_tables AS s ON s.relid = t.relid
JOIN pg_statio_user_tables AS io ON io.relid = t.relid
WHERE t.isleaf
"""
_STATEMENTS = """
SELECT s.query, s.calls, s.total_exec_time, s.mean_exec_time, s.max_exec_time, s.rows,
    s.shared_blks_hit, s.shared_blks_read
FROM pg_stat_statements AS s JOIN pg_database AS d ON d.oid = s.dbid
WHERE d.datname = current_database() ORDER BY s.total_exec_time DESC LIMIT %s
"""
