"""Repair: what is missing is asked of the exchange again, stored, and judged anew. Does I/O.

Fetched rows carry origin `repair`. Bars and trades whose ids count are then judged by the rows
themselves, so a repair never claims more than it stored; of other channels the exchange's answer is
all there is. Books, quotes and liquidations are gone for good: no exchange tells them afterwards.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import structlog

from don.clock import interval_ns
from don.errors import DatabaseError, DonError, RateLimited
from don.exchanges.history import History, Page, Place, Series
from don.market.coverage import (
    COUNTED_IDS,
    MINUTE_NS,
    WORST,
    Range,
    State,
    ceil_minute,
    floor_minute,
)
from don.storage.database import Database
from don.storage.market.audit import rebuild
from don.storage.market.backfill import united
from don.storage.market.coverage import CoverageLedger
from don.storage.market.hot import MarketTables
from don.storage.market.reads import MarketStore
from don.storage.market.same_trades import new_trades

REPAIRABLE = ("bars", "trades", "marks", "open_interest", "funding")
NEAR_BARS = 500  # gaps of bars nearer to each other than that are fetched with one question
_SAMPLED_NS = {"marks": MINUTE_NS, "open_interest": 5 * MINUTE_NS}  # how finely history tells them

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one gap."""

    gap: Range
    state: State | None  # the worst that is known of its minutes now; None: nothing
    rows: int  # fetched
    inserted: int  # of these, not known before
    detail: str = ""  # why it is still a gap


def repairable(gap: Range) -> bool:
    """Whether an exchange can be asked for it at all."""
    return gap.channel.partition(":")[0] in REPAIRABLE


class GapRepair:
    """Fills gaps of one exchange from its history.

    Args:
        history: of the exchange that is asked.
        db: the database, migrated.
        store: reads of both tiers.
        exchange: under which the ledger and the tables know it; None: the history's own name.
        counted_ids: see `CoverageTracker`; None: if the exchange asked is one of `COUNTED_IDS`.
    """

    def __init__(
        self,
        history: History,
        db: Database,
        store: MarketStore,
        *,
        exchange: str | None = None,
        counted_ids: bool | None = None,
    ) -> None:
        self._history = history
        self._db = db
        self._tables = MarketTables(db)
        self._store = store
        self._ledger = CoverageLedger(db)
        self._exchange = exchange or history.exchange
        known = history.exchange in COUNTED_IDS
        self._counted = known if counted_ids is None else counted_ids

    async def run(
        self, gaps: Sequence[Range], report: Callable[[Outcome], None] = lambda outcome: None
    ) -> list[Outcome]:
        """Repair gaps one after the other; one that fails does not stop the others.

        Args:
            gaps: of this exchange, as the ledger lists them.
            report: told of each outcome.

        Raises:
            DatabaseError: if the database is away; what was stored stays.
        """
        outcomes: list[Outcome] = []
        for group in _groups(sorted(gaps, key=lambda gap: (gap.stream, gap.start))):
            for outcome in await self._group(group):
                outcomes.append(outcome)
                report(outcome)
        return outcomes

    # ---- inside ---------------------------------------------------------------------------------

    async def _group(self, group: list[Range]) -> list[Outcome]:
        first = group[0]
        if not repairable(first):
            why = f"no exchange tells {first.channel} afterwards"
            return [
                Outcome(gap=gap, state=State.GAP, rows=0, inserted=0, detail=why) for gap in group
            ]
        rows = inserted = 0
        notes: list[str] = []
        spans: list[tuple[int, int]] = []
        try:
            series = _series(first)
            await self._history.check(series)
            # From the bar before on: only an answer that overlaps what is there proves its start.
            start = first.start - (series.interval_ns if series.channel == "bars" else 0)
            async for page in self._pages(series, start, group[-1].end):
                table = self._marked(page.table)
                if start < first.start:
                    table = table.filter(pc.greater(table["ts_event"], first.start))
                rows += table.num_rows
                inserted += await asyncio.to_thread(self._load, series.channel, table)
                notes += page.notes
                if page.proven_from < page.proven_to:
                    spans.append((page.proven_from, page.proven_to))
            await asyncio.to_thread(self._judge, group, united(spans))
        except DatabaseError:
            raise
        except DonError as error:
            _log.warning("gap not repaired", stream=str(first.stream), error=str(error))
            notes.append(str(error))
        found = await asyncio.to_thread(self._states, group)
        return [
            Outcome(
                gap=gap,
                state=state,
                rows=rows if n == 0 else 0,
                inserted=inserted if n == 0 else 0,
                detail="; ".join(dict.fromkeys(notes))
                or ("the exchange does not have it all" if state is State.GAP else ""),
            )
            for n, (gap, state) in enumerate(zip(group, found, strict=True))
        ]

    async def _pages(self, series: Series, start: int, end: int) -> AsyncIterator[Page]:
        place, done = Place(cursor_ns=start), False
        while not done:
            try:
                page = await self._history.page(series, place, end)
            except RateLimited as error:
                await asyncio.sleep(error.retry_after_s)
                continue
            yield page
            done = page.done or page.place.cursor_ns >= end
            place = page.place

    def _marked(self, table: pa.Table) -> pa.Table:
        for name, value in (("exchange", self._exchange), ("origin", "repair")):
            column = pa.repeat(pa.scalar(value), table.num_rows)
            table = table.set_column(table.column_names.index(name), name, column)
        return table

    def _load(self, channel: str, table: pa.Table) -> int:
        if channel == "trades":
            table = new_trades(self._db, self._store, table)
        return self._tables.load(channel, table, where="repair").inserted

    def _judge(self, group: list[Range], spans: Sequence[tuple[int, int]]) -> None:
        """Have the ledger say what the stored rows prove, or what the exchange answered."""
        name = group[0].channel.partition(":")[0]
        if name == "bars" or (name == "trades" and self._counted):
            for gap in group:
                self._rebuild(gap, name, spans)
        else:
            how = "fetched from history"
            if name in _SAMPLED_NS:
                how += f", one every {_SAMPLED_NS[name] // MINUTE_NS} min"
            self._ledger.add(
                replace(part, state=State.REPAIRED, reason=how)
                for gap in group
                for part in _within(gap, spans)
            )

    def _rebuild(self, gap: Range, name: str, spans: Sequence[tuple[int, int]]) -> None:
        """Judge the rows of a gap together with their neighbours, which prove its edges."""
        every = interval_ns(gap.channel.partition(":")[2]) if name == "bars" else None
        before = self._neighbour(gap, name, every, before=True)
        after = self._neighbour(gap, name, every, before=False)
        rebuild(
            self._store,
            self._ledger,
            exchange=self._exchange,
            channel=gap.channel,
            symbols=[gap.symbol],
            start=gap.start if before is None else before,
            end=(gap.end if after is None else after) + 1,
            counted=self._counted,
        )
        if name == "bars" and after is not None:
            # Later bars are there, and the exchange was asked: it does not have the others.
            left = self._ledger.read(
                self._exchange, gap.channel, [gap.symbol], gap.start, gap.end, states=[State.GAP]
            )
            why = "the exchange does not have these bars"
            self._ledger.add(
                replace(part, state=State.DOWN, reason=why)
                for each in left
                for part in _within(each, spans)
            )

    def _neighbour(self, gap: Range, name: str, every: int | None, *, before: bool) -> int | None:
        """Time of the last row before the gap, or of the first after it."""
        columns = ["ts_event"]
        if before:
            table = self._store.read(
                name, [gap.symbol], None, gap.start + (1 if name == "bars" else 0), columns,
                exchange=self._exchange, interval=every, last=1,
            )  # fmt: skip
            return int(table["ts_event"][0].as_py()) if table.num_rows else None
        start = gap.end + (1 if name == "bars" else 0)
        for batch in self._store.scan(
            name, [gap.symbol], start, None, columns, exchange=self._exchange, interval=every,
            batch_rows=1,
        ):  # fmt: skip
            return int(batch["ts_event"][0].as_py())
        return None

    def _states(self, group: list[Range]) -> list[State | None]:
        found = []
        for gap in group:
            known = self._ledger.read(self._exchange, gap.channel, [gap.symbol], gap.start, gap.end)
            states = [each.state for each in known]
            found.append(next((state for state in WORST if state in states), None))
        return found


def _series(gap: Range) -> Series:
    name, _, interval = gap.channel.partition(":")
    length = interval_ns(interval) if interval else _SAMPLED_NS.get(name, 0)
    return Series(channel=name, symbol=gap.symbol, interval_ns=length)


def _within(gap: Range, spans: Sequence[tuple[int, int]]) -> list[Range]:
    """The whole minutes of a gap that the exchange's answers prove."""
    found = []
    for low, high in spans:
        start, end = max(gap.start, ceil_minute(low)), min(gap.end, floor_minute(high))
        if start < end:
            found.append(replace(gap, start=start, end=end))
    return found


def _groups(gaps: Sequence[Range]) -> list[list[Range]]:
    """Gaps of bars that lie near each other are fetched together."""
    groups: list[list[Range]] = []
    for gap in gaps:
        last = groups[-1][-1] if groups else None
        if last is not None and last.stream == gap.stream and gap.channel.startswith("bars:"):
            near = NEAR_BARS * interval_ns(gap.channel.partition(":")[2])
            if gap.start - last.end <= near:
                groups[-1].append(gap)
                continue
        groups.append([gap])
    return groups
