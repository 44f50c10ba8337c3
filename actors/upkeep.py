"""What keeps collected data in order: partitions, the lake, repair of gaps. Held by the writer."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial

import psycopg

from actors.budget import budget_gate
from actors.delivery import run_or_die
from actors.spec import CollectSpec
from don.clock import NS_PER_S, Clock
from don.errors import DatabaseError, DonError
from don.exchanges.ccxt_history import CcxtHistory, HistoryConfig
from don.exchanges.history import History
from don.exchanges.rates import ExchangeLimits, RateGate
from don.exchanges.wallet import WalletConfig
from don.feeds.config import FeedConfig
from don.log import get_logger
from don.market.coverage import Range, State
from don.storage.database import Database
from don.storage.lake.archive import Archiver
from don.storage.lake.lake import Lake
from don.storage.market.coverage import CoverageLedger
from don.storage.market.maintain import Maintenance
from don.storage.market.opened import blocks_of, keep_blocks, open_store
from don.storage.market.repair import REPAIRABLE, GapRepair, Outcome

FIRST_S = 2.0  # after the start
LAST_REPAIR_S = 45.0  # a collection that is told to stop should stop
MOST_GAPS = 500  # in one round
BLOCKS_S = 60.0  # spent on copies in one round of maintenance
LONGEST_PAUSE_S = 3_600.0  # between two tries to repair a gap
_Key = tuple[str, str, str, int]


class Upkeep:
    """Runs beside the ingest; what fails is logged and tried again at the next round.

    Args:
        spec: of the collection.
        db: the database.
        ledger: of completeness.
        clock: wall time.
    """

    def __init__(
        self, spec: CollectSpec, db: Database, ledger: CoverageLedger, clock: Clock
    ) -> None:
        self._spec = spec
        self._db = db
        self._ledger = ledger
        self._clock = clock
        self._log = get_logger("don.upkeep")
        lake = Lake(spec.lake)
        self._store = open_store(db, spec.home, lake)
        self._blocks = blocks_of(db, spec.home)
        archiver = Archiver(db, lake, clock, spec.lake_config)
        self._maintenance = Maintenance(db, clock, archiver=archiver)
        self._tries: dict[_Key, tuple[int, int]] = {}  # gap -> failed tries, not before (ns)
        self._tasks = (
            run_or_die(self._every(spec.config.maintain_every_s, self._maintain), "maintenance"),
            run_or_die(self._every(spec.config.repair_every_s, self._repair), "gap repair"),
        )

    async def close(self) -> None:
        """Repair what can be repaired now, and end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def last_repair(self) -> None:
        """One more round of repair, now: gaps of the last minutes, as far as the time suffices.

        The request budget may allow only some of it; what is left is a gap in the ledger, which
        the next collection or `don data repair` takes up.
        """
        self._tries.clear()
        try:
            async with asyncio.timeout(LAST_REPAIR_S):
                await self._guarded(self._repair)
        except TimeoutError:
            self._log.warning("the last repair is not finished", seconds=LAST_REPAIR_S)

    # ---- inside ---------------------------------------------------------------------------------

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(FIRST_S)
        while True:
            await self._guarded(work)
            await asyncio.sleep(seconds)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except DonError as error:  # database or exchange away: collecting goes on without
            self._log.warning("upkeep failed", what=work.__name__, error=str(error))
        except psycopg.Error as error:  # a defect, but none to end collecting for
            self._log.exception("upkeep failed", what=work.__name__, error=str(error))

    async def _maintain(self) -> None:
        done = await asyncio.to_thread(self._maintenance.run)
        if done.made or done.archived:
            self._log.info(
                "maintained", partitions_made=len(done.made), archived=len(done.archived)
            )
        await asyncio.to_thread(keep_blocks, self._db, self._blocks, self._clock, BLOCKS_S)

    async def _repair(self) -> None:
        for name, feed in self._spec.sources:
            gaps = await asyncio.to_thread(self._due, name)
            if not gaps:
                continue
            try:
                self._note(await self._ask(name, feed, gaps))
            except DatabaseError:
                raise
            except DonError as error:  # one exchange that cannot be asked does not hold up others
                self._log.warning("gaps not repaired", exchange=name, error=str(error))
                for gap in gaps:
                    self._later(gap)

    async def _ask(self, name: str, feed: FeedConfig, gaps: list[Range]) -> list[Outcome]:
        connection = CcxtHistory(
            feed.exchange,
            HistoryConfig(rest_url=feed.rest_url or ""),
            self._clock,
            make_gate=partial(self._gate, feed.exchange),
        )
        try:
            work = GapRepair(History(connection), self._db, self._store, exchange=name)
            return await work.run(gaps)
        finally:
            await connection.close()

    def _gate(self, exchange: str, limits: ExchangeLimits) -> RateGate | None:
        return budget_gate(
            exchange, key="", lessee="repair", config=WalletConfig(), clock=self._clock
        )

    def _due(self, exchange: str) -> list[Range]:
        """Gaps that an exchange can fill and that were not tried just now, newest first."""
        now = self._clock.now_ns()
        found = [
            gap
            for channel in REPAIRABLE
            for gap in self._ledger.read(exchange, channel, states=[State.GAP])
            if self._tries.get(_key(gap), (0, 0))[1] <= now
        ]
        found.sort(key=lambda gap: -gap.end)
        return found[:MOST_GAPS]

    def _note(self, outcomes: list[Outcome]) -> None:
        counts: dict[str, int] = defaultdict(int)
        for outcome in outcomes:
            counts[str(outcome.state)] += 1
            if outcome.state is State.GAP:
                self._later(outcome.gap)
            else:
                self._tries.pop(_key(outcome.gap), None)
        self._log.info("gaps repaired", outcomes=dict(counts))

    def _later(self, gap: Range) -> None:
        """Try it again after a pause that grows."""
        tries = self._tries.get(_key(gap), (0, 0))[0] + 1
        pause_s = min(self._spec.config.repair_every_s * 2.0 ** min(tries, 30), LONGEST_PAUSE_S)
        self._tries[_key(gap)] = (tries, self._clock.now_ns() + int(pause_s * NS_PER_S))


def _key(gap: Range) -> _Key:
    return (gap.exchange, gap.channel, gap.symbol, gap.start)
