"""What was backfilled: ranges of a series that are complete, kept with the data. Does I/O."""

from dataclasses import dataclass

import pyarrow as pa
import sqlalchemy as sa

from don.storage.database import Database
from don.storage.market.hot import Loaded, MarketTables
from don.storage.tables import BIG, TEXT, metadata

backfill_range = sa.Table(
    "backfill_range",
    metadata,
    sa.Column("exchange", TEXT, primary_key=True),
    sa.Column("channel", TEXT, primary_key=True),
    sa.Column("symbol", TEXT, primary_key=True),
    sa.Column("interval_ns", BIG, primary_key=True, autoincrement=False),  # 0: not in intervals
    sa.Column("start_ns", BIG, primary_key=True, autoincrement=False),
    sa.Column("cursor_ns", BIG, nullable=False),  # from start to here, exclusive, all is stored
    sa.Column("rows", BIG, nullable=False),
    sa.Column("ts_update", BIG, nullable=False),  # wall time
)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Range:
    """Times from `start_ns` to before `end_ns`."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is backfilled: a channel of an instrument at an exchange."""

    exchange: str
    channel: str
    symbol: str
    interval_ns: int


def missing(wanted: Range, known: list[Range]) -> list[Range]:
    """The parts of a range that no known range covers, oldest first. Pure."""
    found, at = [], wanted.start_ns
    for part in sorted(known):
        if part.end_ns <= at:
            continue
        if part.start_ns >= wanted.end_ns:
            break
        if part.start_ns > at:
            found.append(Range(start_ns=at, end_ns=part.start_ns))
        at = part.end_ns
    if at < wanted.end_ns:
        found.append(Range(start_ns=at, end_ns=wanted.end_ns))
    return found


class BackfillRanges:
    """Reads and writes the ranges; a page and the range that it completes are one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._tables = MarketTables(db)

    def known(self, job: Job) -> list[Range]:
        """What is complete, oldest first.

        Raises:
            DatabaseError: if the database is away.
        """
        with self._db.connection() as connection:
            rows = connection.execute(_KNOWN, _key(job)).fetchall()
        return [Range(start_ns=start, end_ns=cursor) for start, cursor in rows]

    def store(self, job: Job, part: Range | None, table: pa.Table, *, now_ns: int) -> Loaded:
        """Store a page, and that `part` is complete with it: both or neither.

        Args:
            job: whose page it is.
            part: what is complete with it; None: the page proves nothing.
            table: conforming; may be empty.
            now_ns: wall time.

        Raises:
            DatabaseError: if the database is away: nothing was stored, or all of it; repeat it.
        """
        with self._db.connection() as connection:
            loaded = self._tables.load_within(connection, job.channel, table)
            if part is not None:
                connection.execute(
                    _ADVANCE, (*_key(job), part.start_ns, part.end_ns, loaded.inserted, now_ns)
                )
        return loaded


def _key(job: Job) -> tuple[str, str, str, int]:
    return (job.exchange, job.channel, job.symbol, job.interval_ns)


_KNOWN = """
SELECT start_ns, cursor_ns FROM backfill_range
WHERE exchange = %s AND channel = %s AND symbol = %s AND interval_ns = %s ORDER BY start_ns
"""
_ADVANCE = """
INSERT INTO backfill_range AS r VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (exchange, channel, symbol, interval_ns, start_ns) DO UPDATE SET
    cursor_ns = greatest(r.cursor_ns, EXCLUDED.cursor_ns), rows = r.rows + EXCLUDED.rows,
    ts_update = EXCLUDED.ts_update
"""
