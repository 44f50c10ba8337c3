"""Backfill: history of many series at once, resumable, each page stored as it comes. Does I/O.

Series run beside each other within the request budget. What is complete is kept with the data, so
a run that was killed goes on where it was, and a repeated run fetches only what is missing.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

import structlog
from pydantic import Field

from don.clock import NS_PER_S, Clock, iso
from don.errors import DependencyError, DonError, RateLimited
from don.exchanges.history import History, Page, Place, Series
from don.model.section import Section
from don.storage.database import Database
from don.storage.market.backfill_table import BackfillRanges, Job, Range, missing
from don.storage.market.hot import Loaded
from don.storage.market.reads import MarketStore
from don.storage.market.same_trades import new_trades

_log = structlog.get_logger(__name__)
T = TypeVar("T")


class BackfillConfig(Section):
    """Pace of a backfill."""

    parallel: int = Field(default=4, gt=0, le=64)  # series at once
    retry_base_s: float = Field(default=0.5, gt=0)
    retry_cap_s: float = Field(default=30.0, gt=0)
    max_failures: int = Field(default=8, gt=0)  # of one page in a row; then the series is given up


class State(StrEnum):
    """How a series stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One series of a backfill."""

    series: Series
    state: State = State.WAITING
    start_ns: int
    end_ns: int
    cursor_ns: int
    known_ns: int = 0  # length of what an earlier run had completed
    done_ns: int = 0  # length of what this run completed
    pages: int = 0
    rows: int = 0  # fetched
    inserted: int = 0  # of these new in the database
    eta_s: float | None = None  # None while it cannot be told
    detail: str = ""
    notes: tuple[str, ...] = ()
    proven: tuple[tuple[int, int], ...] = ()  # [from, to) of which all is stored, ascending

    @property
    def fraction(self) -> float:
        """Completed part of what was asked for."""
        whole = self.end_ns - self.start_ns
        return min(1.0, (self.known_ns + self.done_ns) / whole) if whole else 1.0


class Backfill:
    """One exchange's history into the database.

    Args:
        history: of the exchange.
        db: the database, migrated.
        config: pace.
        clock: wall time and durations.
        report: told of every change of a series.
        rng: spreads retries.
        store: reads of both tiers, to know trades again; None: of the database alone.
    """

    def __init__(
        self,
        history: History,
        db: Database,
        config: BackfillConfig,
        clock: Clock,
        report: Callable[[Progress], None],
        rng: random.Random | None = None,
        store: MarketStore | None = None,
    ) -> None:
        self._history = history
        self._db = db
        self._store_read = store or MarketStore(db)
        self._ranges = BackfillRanges(db)
        self._config = config
        self._clock = clock
        self._report = report
        self._rng = rng or random.Random()

    async def run(self, wanted: Sequence[Series], start_ns: int, end_ns: int) -> list[Progress]:
        """Fetch what is missing of [start_ns, end_ns) of every series.

        Returns:
            How each ended, in the order asked for. One that fails does not stop the others.

        Raises:
            UsageError: if one of them cannot be fetched there; then none is.
            DependencyError: if the exchange cannot be asked what it lists.
        """
        for series in wanted:
            await self._history.check(series)
        slots = asyncio.Semaphore(self._config.parallel)

        async def one(series: Series) -> Progress:
            async with slots:
                return await self._series(series, start_ns, end_ns)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(series)) for series in wanted]
        return [task.result() for task in tasks]

    async def _series(self, series: Series, start_ns: int, end_ns: int) -> Progress:
        job = Job(
            exchange=self._history.exchange,
            channel=series.channel,
            symbol=series.symbol,
            interval_ns=series.interval_ns,
        )
        progress = Progress(
            series=series,
            state=State.RUNNING,
            start_ns=start_ns,
            end_ns=end_ns,
            cursor_ns=start_ns,
        )
        began_ns = self._clock.monotonic_ns()
        try:
            known = await self._patiently(
                series, lambda: asyncio.to_thread(self._ranges.known, job)
            )
            gaps = missing(Range(start_ns=start_ns, end_ns=end_ns), known)
            left = sum(gap.end_ns - gap.start_ns for gap in gaps)
            proven = [(max(k.start_ns, start_ns), min(k.end_ns, end_ns)) for k in known]
            proven = [span for span in proven if span[0] < span[1]]
            progress = replace(progress, known_ns=end_ns - start_ns - left, proven=united(proven))
            self._report(progress)
            for gap in gaps:
                # a range that ends where the gap begins grows: ranges stay few
                first = min(
                    [k.start_ns for k in known if k.end_ns == gap.start_ns] + [gap.start_ns]
                )
                place, done, reached = Place(cursor_ns=gap.start_ns), False, gap.start_ns
                while not done:
                    page = await self._page(series, place, gap.end_ns)
                    part = None
                    low, high = page.proven_from, min(page.proven_to, gap.end_ns)
                    if low < high:
                        first = first if low <= reached else low  # a hole: a range of its own
                        reached = high
                        part = Range(start_ns=first, end_ns=high)
                    loaded = await self._store(series, job, part, page)
                    if part is not None:
                        proven.append((low, high))
                        progress = replace(progress, proven=united(proven))
                    done = page.done or page.place.cursor_ns >= gap.end_ns
                    progress = self._advanced(
                        progress, page, place, loaded.inserted, left, began_ns
                    )
                    place = page.place
                    self._report(progress)
            detail = ""
            if progress.pages and progress.cursor_ns < gaps[-1].end_ns:
                detail = f"the exchange has nothing after {iso(progress.cursor_ns)} yet"
            progress = replace(progress, state=State.DONE, eta_s=0.0, detail=detail)
        except DonError as error:
            _log.warning("backfill gave up", symbol=series.symbol, error=str(error))
            progress = replace(progress, state=State.FAILED, eta_s=None, detail=str(error))
        self._report(progress)
        return progress

    async def _page(self, series: Series, place: Place, end_ns: int) -> Page:
        return await self._patiently(series, lambda: self._history.page(series, place, end_ns))

    async def _store(self, series: Series, job: Job, part: Range | None, page: Page) -> Loaded:
        def store() -> Loaded:
            table = page.table
            if series.channel == "trades":
                table = new_trades(self._db, self._store_read, table)
            return self._ranges.store(job, part, table, now_ns=self._clock.now_ns())

        return await self._patiently(series, lambda: asyncio.to_thread(store))

    async def _patiently(self, series: Series, work: Callable[[], Awaitable[T]]) -> T:
        """Repeat what exchange or database could not do just now."""
        failures = 0
        while True:
            try:
                return await work()
            except RateLimited as error:  # the budget's gate knows; this is only politeness
                await asyncio.sleep(min(error.retry_after_s, self._config.retry_cap_s))
            except DependencyError as error:
                failures += 1
                if failures >= self._config.max_failures:
                    raise
                ceiling = self._config.retry_base_s * 2.0 ** min(failures, 30)
                delay_s = self._rng.random() * min(ceiling, self._config.retry_cap_s)
                _log.warning("backfill waits", symbol=series.symbol, error=str(error))
                await asyncio.sleep(delay_s)

    def _advanced(
        self, old: Progress, page: Page, place: Place, inserted: int, left: int, began_ns: int
    ) -> Progress:
        done = old.done_ns + max(0, page.proven_to - page.proven_from)
        spent_s = (self._clock.monotonic_ns() - began_ns) / NS_PER_S
        return replace(
            old,
            cursor_ns=page.place.cursor_ns,
            done_ns=done,
            pages=old.pages + 1,
            rows=old.rows + page.table.num_rows,
            inserted=old.inserted + inserted,
            eta_s=spent_s * (left - done) / done if done else None,
            notes=tuple(dict.fromkeys((*old.notes, *page.notes)))[:10],
        )


def united(spans: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Spans ascending, those that touch made one. Pure."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)
