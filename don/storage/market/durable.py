"""Tables into the database, or into the spool while it is away; in order. Does I/O; no threads.

Once something is spooled all behind it is spooled too, until the spool is drained. What the
database refuses for good (a defect, not an outage) is raised, or set aside if it was acknowledged.
"""

from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter

import psycopg
import pyarrow as pa

from don.clock import NS_PER_S, Clock
from don.errors import DatabaseError, DataError
from don.market.coverage import Range
from don.model.channels import conform
from don.storage.database import Database
from don.storage.market.coverage import CoverageLedger
from don.storage.market.hot import MarketTables
from don.storage.market.losses import spans_of
from don.storage.market.spool import Place, Spool, SpoolFull

Tables = Mapping[str, pa.Table]

# A database that is not migrated yet, or not ours yet, may be so later: no reason to refuse data.
_UNREADY = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InsufficientPrivilege,
)
_CLAIMED_NS = 120 * NS_PER_S  # by then a minute whose rows were acknowledged has been claimed
_RECORD_ROWS = 100_000  # a record of the spool has at most so many rows of a channel


class DurableStore:
    """Where market data are safe, one way or the other.

    Args:
        db: its address; connections are this object's own.
        spool: for what the database cannot take now.
        clock: for the time between probes.
        probe_s: between looks for a database that is away.
    """

    def __init__(self, db: Database, spool: Spool, clock: Clock, *, probe_s: float) -> None:
        # A pool of its own, made anew after each failure: one that was refused for a while waits
        # long before it tries again.
        self._db = Database(
            db.url, name="don-ingest", pool_size=1, statement_timeout_s=60.0, pool_timeout_s=1.0
        )
        self._market = MarketTables(self._db, timeout_s=60.0)
        self._clock = clock
        self._probe_ns = round(probe_s * NS_PER_S)
        self.spool = spool
        self._ledger = CoverageLedger(self._db)
        self._tell_ns = 0
        self._told = 0  # how many of the losses the ledger knows
        self.next_probe_ns = 0
        self.away = False  # the database, when last tried
        self.batches = self.inserted = self.duplicates = 0
        self.spooled_rows = self.drained_rows = self.refused = 0
        self.load_s = 0.0
        self.last_error = ""

    @property
    def drain_due(self) -> bool:
        """True if something is spooled and it is time to try the database."""
        return self._clock.monotonic_ns() >= self.due_ns if self.pending else False

    @property
    def pending(self) -> bool:
        """True if the database is to be told anything of the spool."""
        return not self.spool.empty or bool(self.spool.losses)

    @property
    def due_ns(self) -> int:
        """When to try, monotonic, if anything is pending."""
        return self.next_probe_ns if not self.spool.empty else self._told_ns

    @property
    def lost(self) -> list[Range]:
        """Acknowledged rows that are known to be lost since a short while, as gaps."""
        return self.spool.losses.ranges()

    def put(self, tables: Tables) -> None:
        """Return when the tables are committed, or synced into the spool.

        Raises:
            SpoolFull: if neither is possible now; the call may be repeated.
            psycopg.Error: if the database will never take them.
        """
        due = not self.away or self._clock.monotonic_ns() >= self.next_probe_ns
        if self.spool.empty and due and self._load(tables):
            return
        for part in _parts(tables):
            self.spool.append(part)
        self.spooled_rows += sum(table.num_rows for table in tables.values())

    def drain(self, max_rows: int) -> None:
        """Load some of what is spooled, oldest first, if the database takes it."""
        records = self.spool.peek(max_rows)
        try:
            if records and self._load(merged([_checked(tables) for _, tables in records])):
                self._drop([place for place, _ in records])
        except (psycopg.Error, DataError):
            self._drain_singly(records)
        if self.spool.losses and self._clock.monotonic_ns() >= self._told_ns:
            self._tell()
        self.spool.settle()

    def close(self) -> None:
        """Let connections and spool go."""
        self._db.close()
        self.spool.close()

    # ---- inside ---------------------------------------------------------------------------------

    @property
    def _told_ns(self) -> int:
        """When the ledger is told of losses, or those it knows are forgiven; monotonic."""
        news = self.spool.losses.count > self._told
        return self.next_probe_ns if news else max(self.next_probe_ns, self._tell_ns)

    def _tell(self) -> None:
        """Have the ledger know what is lost; it is kept for a while longer, so that nobody claims
        as complete what was acknowledged meanwhile (see `lost`).
        """
        lost = self.spool.losses.ranges()
        if len(lost) == self._told:
            self.spool.losses.forgive()
            self._told = 0
            return
        try:
            self._ledger.add(lost[self._told :])
        except (DatabaseError, *_UNREADY) as error:
            self._gone(error)
            return
        self._told = len(lost)
        self._tell_ns = self._clock.monotonic_ns() + _CLAIMED_NS

    def _gone(self, error: Exception) -> None:
        self.away = True
        self._db.close()
        self._later(error)

    def _later(self, error: Exception) -> None:
        self.last_error = " ".join(str(error).split())
        self.next_probe_ns = self._clock.monotonic_ns() + self._probe_ns

    def _load(self, tables: Tables) -> bool:
        """False if the database is away; some channels may be in then, which is harmless."""
        started = perf_counter()
        try:
            if self.away:
                self._db.ping()
            for name in sorted(tables):
                loaded = self._market.load_checked(name, tables[name])
                self.inserted += loaded.inserted
                self.duplicates += loaded.duplicates
        except (DatabaseError, *_UNREADY) as error:
            self._gone(error)
            return False
        self.away = False
        self.batches += 1
        self.load_s = perf_counter() - started
        return True

    def _drain_singly(self, records: Sequence[tuple[Place, Tables]]) -> None:
        for place, tables in records:
            try:
                if not self._load(_checked(tables)):
                    return
                self._drop([place])
            except (psycopg.Error, DataError) as error:
                self.spool.losses.add(spans_of(tables), f"{place.segment.name}-{place.offset}")
                try:
                    kept = self.spool.set_aside(place)
                except SpoolFull as full:
                    self._later(full)
                    return
                self.refused += 1
                self.last_error = f"{kept}: {error}"

    def _drop(self, places: Sequence[Place]) -> None:
        for place in places:
            self.spool.drop(place)
            self.drained_rows += place.rows


def merged(parts: Sequence[Tables]) -> dict[str, pa.Table]:
    """One table a channel."""
    names = sorted({name for tables in parts for name in tables})
    return {name: pa.concat_tables([t[name] for t in parts if name in t]) for name in names}


def _checked(tables: Tables) -> dict[str, pa.Table]:
    """Tables from the disk, where an older version may have left them."""
    return {name: conform(name, table, where="spool") for name, table in tables.items()}


def _parts(tables: Tables) -> Iterator[Tables]:
    """The tables in pieces that are not too large for a record."""
    if all(table.num_rows <= _RECORD_ROWS for table in tables.values()):
        yield tables
        return
    for name, table in tables.items():
        for start in range(0, table.num_rows, _RECORD_ROWS):
            yield {name: table.slice(start, _RECORD_ROWS)}
