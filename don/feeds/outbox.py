"""Rows to `MarketBatch`es to a bounded queue; when that is full, the socket's reader waits.

One event loop, no threads: rows are added by plain calls, batches are taken by coroutines.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from don.market.book import Top
from don.model.schema import DEPTH, SCHEMAS, MarketBatch

Row = tuple[Any, ...]

_PAD = [float("nan")] * DEPTH


class TopOfBook(Protocol):
    """A book that is read when a batch leaves."""

    def top(self, depth: int) -> Top:
        """The best `depth` levels of both sides."""


class Outbox:
    """Collects rows a channel and sends them as batches by size or age.

    A batch leaves when it has `max_rows` rows or its first row is `max_age_s` old, or at `flush`.
    Batches wait in a queue of `max_batches`; if that is full the rows stay here and `congested`
    tells the reader to wait in `room()`: nothing is dropped, the socket is simply not read.
    Books are conflated: only the last state of a symbol is sent, taken when the batch leaves.
    """

    def __init__(
        self,
        source: str,
        *,
        max_rows: int,
        max_age_s: float,
        max_batches: int,
        hold_rows: int,
        monotonic_ns: Callable[[], int],
    ) -> None:
        self._source = source
        self._max_rows = max_rows
        self._max_age_s = max_age_s
        self._max_batches = max_batches
        self._hold_rows = max(hold_rows, max_rows)
        self._monotonic_ns = monotonic_ns
        self._rows: dict[str, list[Row]] = {channel: [] for channel in SCHEMAS}
        self._books: dict[str, tuple[int, int, TopOfBook]] = {}
        self._pending = 0
        self._held = False
        self._due = False  # rows should have left, but the queue was full or held
        self._timer: asyncio.TimerHandle | None = None
        self._queue: deque[MarketBatch] = deque()
        self._ready = asyncio.Event()
        self._space = asyncio.Event()
        self._space.set()
        self._closed = False
        self._failure: BaseException | None = None
        self.congested = False
        self.seq = 0
        self.rows_sent = 0
        self.blocked_ns = 0  # how long readers have waited in `room()`

    @property
    def depth(self) -> int:
        """Batches waiting to be taken."""
        return len(self._queue)

    # ---- rows in ---------------------------------------------------------------------------

    def add(self, channel: str, row: Row) -> None:
        """Append one row, its values in the order of `SCHEMAS[channel]`."""
        self._rows[channel].append(row)
        self._pending += 1
        if self._timer is None:
            self._arm()
        if self._pending >= self._max_rows:
            self._leave()

    def set_book(self, symbol: str, ts_event: int, ts_recv: int, book: TopOfBook) -> None:
        """Send the book's top with the next batch; replaces what was to be sent for the symbol."""
        if self._books.pop(symbol, None) is None:
            self._pending += 1
        self._books[symbol] = (ts_event, ts_recv, book)
        if self._timer is None:
            self._arm()
        if self._pending >= self._max_rows:
            self._leave()

    def drop_book(self, symbol: str) -> None:
        """The symbol's book is no longer to be believed: do not send it."""
        if self._books.pop(symbol, None) is not None:
            self._pending -= 1

    def flush(self) -> None:
        """Let the pending rows leave now, or as soon as queue and hold allow."""
        self._due = True
        self._leave()

    # ---- hold: repaired bars go first -------------------------------------------------------

    def hold(self) -> None:
        """Keep rows back from now on (what is pending leaves first)."""
        if not self._held:
            self.flush()
            self._held = True

    def release(self) -> None:
        """End the hold."""
        if self._held:
            self._held = False
            if self._pending:
                self.flush()

    async def put_first(self, channel: str, rows: list[Row]) -> None:
        """Queue rows as a batch of their own, before all rows that are held or pending."""
        while len(self._queue) >= self._max_batches and not self._closed:
            self._space.clear()
            await self._space.wait()
        if rows and not self._closed:
            self._put({channel: to_table(channel, rows)}, len(rows))

    # ---- batches out ------------------------------------------------------------------------

    async def room(self) -> None:
        """Return when rows may be added again."""
        start = self._monotonic_ns()
        while self.congested and not self._closed:
            self._space.clear()
            await self._space.wait()
        self.blocked_ns += self._monotonic_ns() - start

    async def get(self) -> MarketBatch | None:
        """The next batch; None when the outbox is closed and empty.

        Raises:
            BaseException: what `fail` was given, after the batches before it.
        """
        while not self._queue:
            if self._failure is not None:
                raise self._failure
            if self._closed:
                return None
            self._ready.clear()
            await self._ready.wait()
        batch = self._queue.popleft()
        if self._due or self.congested:
            self._leave()
        self._space.set()
        return batch

    def close(self) -> None:
        """Send what is pending, even over the queue's bound, and end the stream of batches."""
        if self._closed:
            return
        self._held = False
        self._max_batches = len(self._queue) + 1
        self.flush()
        self._end()

    def fail(self, error: BaseException) -> None:
        """End the stream of batches with an error."""
        if self._failure is None:
            self._failure = error
        self._end()

    # ---- inside -----------------------------------------------------------------------------

    def _end(self) -> None:
        self._closed = True
        self._disarm()
        self._ready.set()
        self._space.set()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._max_age_s, self._on_age)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_age(self) -> None:
        # The timer stays set (spent) until rows leave, so that `add` does not arm another one.
        self.flush()

    def _leave(self) -> None:
        if self._held:
            self._due = True
            self.congested = self._pending >= self._hold_rows
            return
        if not self._pending:
            self._disarm()
            self._due = False
            self.congested = False
            return
        if len(self._queue) >= self._max_batches:
            self._due = True
            self.congested = self._pending >= self._max_rows
            return
        self._disarm()
        tables = {}
        for channel, rows in self._rows.items():
            if rows:
                tables[channel] = to_table(channel, rows)
                rows.clear()
        if self._books:
            tables["books"] = _books_table(self._books)
            self._books.clear()
        count, self._pending = self._pending, 0
        self._due = False
        self.congested = False
        self._put(tables, count)

    def _put(self, tables: dict[str, pa.Table], rows: int) -> None:
        self.seq += 1
        self.rows_sent += rows
        self._queue.append(MarketBatch(source=self._source, seq=self.seq, tables=tables))
        self._ready.set()
        self._space.set()


def to_table(channel: str, rows: Iterable[Row]) -> pa.Table:
    """Rows of one channel as a table of `SCHEMAS[channel]`; there must be at least one."""
    schema = SCHEMAS[channel]
    arrays = [
        pa.array(column, type=field.type)
        for column, field in zip(zip(*rows, strict=True), schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _books_table(books: dict[str, tuple[int, int, TopOfBook]]) -> pa.Table:
    schema = SCHEMAS["books"]
    tops = [book.top(DEPTH) for _, _, book in books.values()]
    sides = (
        [top.bid_prices for top in tops],
        [top.bid_sizes for top in tops],
        [top.ask_prices for top in tops],
        [top.ask_sizes for top in tops],
    )
    arrays = [
        pa.array(list(books), type=pa.string()),
        pa.array([ts_event for ts_event, _, _ in books.values()], type=pa.int64()),
        pa.array([ts_recv for _, ts_recv, _ in books.values()], type=pa.int64()),
        *(_levels(side) for side in sides),
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _levels(side: list[list[float]]) -> pa.Array:
    padded = chain.from_iterable((*levels, *_PAD[len(levels) :]) for levels in side)
    flat = np.fromiter(padded, dtype=np.float64, count=DEPTH * len(side))
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), DEPTH)
