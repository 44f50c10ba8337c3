"""The way of live market data into the database: batched, bounded, never lost once taken. Does I/O.

One thread makes batches by age and size and loads them. While the database is away they go to the
spool instead, and so does everything behind them until the spool is drained: order is kept. A write
is acknowledged when it is committed, or synced into the spool. When neither is possible the queue
fills, and writers wait: memory stays bounded, whatever happens.
"""

import math
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pyarrow as pa

from don.clock import NS_PER_S, Clock
from don.errors import DatabaseError, DonError
from don.market.coverage import Range
from don.model.channels import conform
from don.storage.database import Database
from don.storage.market.config import IngestConfig
from don.storage.market.durable import DurableStore, merged
from don.storage.market.spool import Spool, SpoolFull


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestHealth:
    """How the ingest is doing; totals since it was started."""

    # "ok" | "spooling" (database away or spool not drained) | "full" | "closed" | "damaged"
    # (some of the spool was unreadable: rows are lost, the ledger says which)
    state: str
    rows: int  # taken in
    batches: int  # committed
    inserted: int  # new rows committed
    duplicates: int  # rows that the database knew
    queue_rows: int
    queue_bytes: int
    lag_s: float  # age of the oldest write that is not durable yet
    database_away: bool
    spool_rows: int  # not drained yet
    spool_bytes: int
    spool_share: float  # of what it may hold
    spooled_rows: int  # total that went through the spool
    drained_rows: int
    torn_bytes: int  # cut off the spool's end when it was opened: never acknowledged
    damaged_bytes: int  # of the spool, unreadable
    refused: int  # spooled records that the database refused for good, set aside in files
    load_s: float  # the last batch took so long
    last_error: str


@dataclass(slots=True, eq=False)
class _Item:
    tables: dict[str, pa.Table]
    rows: int
    bytes: int
    since_ns: int
    done: "Future[None]"


class MarketIngest:
    """Takes tables from any thread, and has them durable soon after.

    Args:
        db: the database, migrated (or not there yet).
        spool: folder for what it cannot take; one ingest at a time.
        config: batches and bounds.
        clock: for ages.
    """

    def __init__(self, db: Database, spool: Path, config: IngestConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        kept = Spool(spool, max_bytes=config.spool_bytes, segment_bytes=config.segment_bytes)
        self._store = DurableStore(db, kept, clock, probe_s=config.probe_s)
        self._changed = threading.Condition()
        self._queue: deque[_Item] = deque()
        self._held: list[_Item] = []  # the batch that the thread is placing
        self._queue_rows = self._queue_bytes = 0  # with what is held
        self._rows = 0
        self._flushing = self._closing = self._full = False
        self._failure: BaseException | None = None
        self._full_error = ""
        self._thread = threading.Thread(target=self._run, name="market-ingest", daemon=True)

    def start(self) -> None:
        """Begin, with what an earlier run left in the spool."""
        self._thread.start()

    def write(self, tables: Mapping[str, pa.Table], *, where: str = "stream") -> "Future[None]":
        """Take tables by channel; the future is done when they are durable.

        Args:
            tables: channel to table in its schema.
            where: for messages.

        Raises:
            DataError: if a row is not valid: nothing of it is taken (see `channels.sift`).
            SpoolFull: if there was no room for `write_wait_s`: nothing of it is taken.
        """
        made = {name: conform(name, t, where=where) for name, t in tables.items() if t.num_rows}
        item = _Item(
            tables=made,
            rows=sum(table.num_rows for table in made.values()),
            bytes=sum(table.nbytes for table in made.values()),
            since_ns=self._clock.monotonic_ns(),
            done=Future(),
        )
        item.done.set_running_or_notify_cancel()  # whoever waits may go, the rows stay
        if not made:
            item.done.set_result(None)
            return item.done
        with self._changed:
            free = self._changed.wait_for(
                lambda: self._failed() or self._room(item), self._config.write_wait_s
            )
            self._check()
            if self._closing:
                raise DonError("the ingest is closed")
            if not free:
                raise SpoolFull(
                    f"no room for {item.rows} rows: {self._queue_rows} wait in memory, "
                    f"{self._store.spool.rows} in the spool; {self._store.last_error}"
                )
            self._queue.append(item)
            self._queue_rows += item.rows
            self._queue_bytes += item.bytes
            self._rows += item.rows
            self._changed.notify_all()
        return item.done

    def flush(self, timeout_s: float) -> None:
        """Return when everything taken so far is durable.

        Raises:
            DatabaseError: if it is not in time.
        """
        with self._changed:
            self._flushing = True
            self._changed.notify_all()
            done = self._changed.wait_for(
                lambda: self._failure is not None or not self._queue_rows, timeout_s
            )
            self._flushing = False
            self._check()
            if not done:
                raise DatabaseError(
                    f"{self._queue_rows} rows were not stored within {timeout_s:g} s: "
                    f"{self._store.last_error}"
                )

    def health(self) -> IngestHealth:
        """How it is doing; cheap."""
        with self._changed:
            oldest = next(iter((*self._held, *self._queue)), None)
            now_ns = self._clock.monotonic_ns()
            lag_s = 0.0 if oldest is None else (now_ns - oldest.since_ns) / NS_PER_S
            store, spool = self._store, self._store.spool
            return IngestHealth(
                state=self._state(),
                rows=self._rows,
                batches=store.batches,
                inserted=store.inserted,
                duplicates=store.duplicates,
                queue_rows=self._queue_rows,
                queue_bytes=self._queue_bytes,
                lag_s=lag_s,
                database_away=store.away,
                spool_rows=spool.rows,
                spool_bytes=spool.bytes,
                spool_share=spool.bytes / self._config.spool_bytes,
                spooled_rows=store.spooled_rows,
                drained_rows=store.drained_rows,
                torn_bytes=spool.torn_bytes,
                damaged_bytes=spool.damaged_bytes,
                refused=store.refused,
                load_s=store.load_s,
                last_error=self._full_error or store.last_error,
            )

    def lost(self) -> list[Range]:
        """Acknowledged rows that turned out to be lost a short while ago, as gaps of the ledger."""
        return self._store.lost

    def close(self, timeout_s: float = 60.0) -> None:
        """Make what was taken durable, and end.

        Raises:
            DatabaseError: if that was not possible in time; their futures say so too.
        """
        with self._changed:
            self._closing = self._flushing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise DatabaseError(f"the ingest does not end within {timeout_s:g} s")
        self._store.close()
        with self._changed:
            left = self._queue_rows
            self._give_up(DatabaseError(f"not stored before the end: {self._store.last_error}"))
        if left:
            raise DatabaseError(f"{left} rows were not stored: {self._store.last_error}")

    # ---- state (under the lock) ------------------------------------------------------------------

    def _room(self, item: _Item) -> bool:
        if not self._queue_rows:
            return True  # a single write may be larger than the bounds
        return (
            self._queue_rows + item.rows <= self._config.queue_rows
            and self._queue_bytes + item.bytes <= self._config.queue_bytes
        )

    def _failed(self) -> bool:
        return self._failure is not None or self._closing

    def _check(self) -> None:
        if self._failure is not None:
            raise DonError(f"the ingest failed: {self._failure!r}") from self._failure

    def _state(self) -> str:
        if self._failure is not None or self._closing:
            return "closed"
        if self._full:
            return "full"
        if not self._store.spool.empty:
            return "spooling"
        return "damaged" if self._store.spool.damaged_bytes else "ok"

    def _give_up(self, error: BaseException) -> None:
        for item in (*self._held, *self._queue):
            item.done.set_exception(error)
        self._held = []
        self._queue.clear()
        self._queue_rows = self._queue_bytes = 0

    # ---- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._take():
                if self._held and not self._place():
                    return
                if self._store.drain_due:
                    self._store.drain(self._config.batch_rows)
        except BaseException as error:
            with self._changed:
                self._failure = error
                self._give_up(error)
                self._changed.notify_all()
            raise

    def _take(self) -> bool:
        """Hold the next batch, or none when it is time to drain the spool; False: the end."""
        config = self._config
        with self._changed:
            while not (wait_s := self._wait_s()) <= 0:
                self._changed.wait(min(wait_s, threading.TIMEOUT_MAX))
            rows = 0
            while self._queue and (not rows or rows + self._queue[0].rows <= config.batch_rows):
                self._held.append(self._queue.popleft())
                rows += self._held[-1].rows
            return bool(self._held) or not self._closing

    def _wait_s(self) -> float:
        """How long there is nothing to do."""
        if self._closing or (self._flushing and self._queue):
            return 0.0
        if self._queue_rows >= self._config.batch_rows:
            return 0.0
        due = []
        if self._queue:
            due.append(self._queue[0].since_ns + round(self._config.batch_age_s * NS_PER_S))
        if self._store.pending:
            due.append(self._store.due_ns)
        return (min(due) - self._clock.monotonic_ns()) / NS_PER_S if due else math.inf

    def _place(self) -> bool:
        """Have the held batch durable; False if the end came before that was possible."""
        tables = merged([item.tables for item in self._held])
        while True:
            try:
                self._store.put(tables)
            except SpoolFull as error:
                self._full_error = str(error)
            except psycopg.Error:
                self._place_singly()
                return True
            else:
                self._full_error = ""
                self._finish(self._held)
                return True
            self._full = True
            if self._store.drain_due:
                self._store.drain(self._config.batch_rows)
            with self._changed:
                if self._changed.wait_for(lambda: self._closing, self._config.probe_s):
                    return False

    def _place_singly(self) -> None:
        """Find the write that the database refuses; it alone is told so."""
        for item in list(self._held):
            try:
                self._store.put(item.tables)
            except (psycopg.Error, SpoolFull) as refused:
                self._finish([item], DatabaseError(f"the database refuses it: {refused}"))
            else:
                self._finish([item])

    def _finish(self, items: list[_Item], error: Exception | None = None) -> None:
        with self._changed:
            self._held = [item for item in self._held if item not in items]
            self._queue_rows -= sum(item.rows for item in items)
            self._queue_bytes -= sum(item.bytes for item in items)
            self._full = False
            self._changed.notify_all()
        for item in items:
            if error is None:
                item.done.set_result(None)
            else:
                item.done.set_exception(error)
