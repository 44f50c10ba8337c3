"""The writer actor: market data of all collectors into the database, and its upkeep."""

import asyncio
import os
from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow as pa

from actors.delivery import RESTART
from actors.runtime import Probe
from actors.spec import CollectSpec
from don import heap
from don.clock import SystemClock
from don.errors import DatabaseError
from don.log import configure_actor, get_logger
from don.market.coverage import Range, without
from don.model.channels import refused, sift
from don.observe.parts import ingest_samples
from don.storage.database import Database
from don.storage.market.coverage import CoverageLedger
from don.storage.market.ingest import MarketIngest
from don.storage.market.spool import SpoolFull

T = TypeVar("T")
FLUSH_S = 60.0


class MarketWriter:
    """One ingest for all collectors; `take` returns when the rows are durable.

    While the database is away rows go to the spool; when that is full too, collectors wait and
    stop reading their sockets: nothing is dropped, and the hole is repaired later.
    """

    def __init__(self, spec: CollectSpec) -> None:
        configure_actor(spec.home, actor="writer", level=spec.level)
        self._log = get_logger("don.writer")
        self._spec = spec
        self._clock = SystemClock()
        self._db = Database(spec.database_url, name="don-writer", pool_size=6)
        self._ledger = CoverageLedger(self._db)
        self._ingest = MarketIngest(self._db, spec.home / "spool", spec.config.ingest, self._clock)
        self._ingest.start()
        self._closing = False
        self._bad = 0  # rows that broke a rule of their channel
        self._rows: dict[str, int] = {}  # channel -> rows taken
        from actors.clocks import Clocks  # ccxt comes with these
        from actors.upkeep import Upkeep

        self._upkeep = Upkeep(spec, self._db, self._ledger, self._clock)
        self._clocks = Clocks(spec.sources, self._clock)
        heap.settle()

    async def ping(self) -> Probe:
        """Who answers, and how the ingest is."""
        health = self._ingest.health()
        if health.state == "closed" and not self._closing:
            get_logger("don.writer").error("the ingest ended", error=health.last_error)
            os._exit(RESTART)
        state = "live" if health.state == "ok" else "stale"
        detail = (
            f"{health.inserted} rows stored, {health.queue_rows} wait, "
            f"{health.spool_rows} in the spool"
        )
        if health.last_error:
            detail += f"; {health.last_error}"
        if clocks := self._clocks.text():
            detail += f"; {clocks}"
        metrics = (*ingest_samples(health), *self._clocks.samples())
        return Probe(pid=os.getpid(), state=state, detail=detail, metrics=metrics)

    async def known(self, exchange: str) -> dict[tuple[str, str], int]:
        """End of what the ledger knows, by (channel, symbol): where a collector goes on."""
        streams = await self._patiently(lambda: self._ledger.streams(exchange))
        return {(stream.channel, stream.symbol): stream.end for stream in streams}

    async def take(
        self, tables: dict[str, pa.Table], where: str
    ) -> list[tuple[str, str, int, int, str]]:
        """Store rows by channel; a repeat changes nothing. Returns when they are durable.

        Returns:
            What was refused: channel, symbol, first and last time, why.
        """
        bad: list[tuple[str, str, int, int, str]] = []
        good: dict[str, pa.Table] = {}
        for channel, table in tables.items():
            rows, problems = sift(channel, table, where=where)
            if problems:
                self._bad += table.num_rows - rows.num_rows
                self._log.warning("rows refused", where=where, problem=str(problems[0]))
                bad += [(channel, *span, str(problems[0])) for span in refused(channel, table)]
            good[channel] = rows
            self._rows[channel] = self._rows.get(channel, 0) + rows.num_rows
        while True:
            try:
                future = await asyncio.to_thread(self._ingest.write, good, where=where)
                break
            except SpoolFull as error:
                self._log.error("no room for market data, collectors wait", error=str(error))
        await asyncio.wrap_future(future)
        return bad

    async def claim(self, ranges: list[Range]) -> None:
        """Put claims into the completeness ledger; a repeat changes nothing.

        Nothing is claimed complete of which an acknowledged row is lost (in a damaged spool).
        """
        lost = self._ingest.lost()
        await self._patiently(lambda: self._ledger.add(without(ranges, lost)))
        late = [gap for gap in self._ingest.lost() if gap not in lost]
        if late:  # the ledger may have been told of it before it was told the above
            await self._patiently(lambda: self._ledger.add(late))

    async def summary(self) -> dict[str, Any]:
        """Totals since this incarnation began."""
        health = self._ingest.health()
        return {
            "rows": dict(sorted(self._rows.items())),
            "inserted": health.inserted,
            "duplicates": health.duplicates,
            "spooled": health.spooled_rows,
            "refused": self._bad + health.refused,
            "clocks": self._clocks.summary(),
        }

    async def close(self) -> None:
        """Make everything durable; then repair what is missing of the last minutes."""
        self._closing = True
        await asyncio.to_thread(self._ingest.flush, FLUSH_S)
        await self._clocks.close()
        await self._upkeep.close()
        await self._upkeep.last_repair()
        await asyncio.to_thread(self._ingest.close)

    async def _patiently(self, work: Callable[[], T]) -> T:
        """Wait for the database; meanwhile rows go on into the spool."""
        while True:
            try:
                return await asyncio.to_thread(work)
            except DatabaseError as error:
                self._log.warning("the ledger waits for the database", error=str(error))
                await asyncio.sleep(1.0)
