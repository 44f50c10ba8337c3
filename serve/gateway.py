"""Fulfils the API's protocols with actor handles and the database. The only module of `serve` that
holds handles.

What Ray raises when an actor is away becomes `DependencyError`; every wait is bounded.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ray.exceptions import GetTimeoutError, PendingCallsLimitExceeded, RayActorError, RayTaskError

from actors.board import Change, Stamped
from actors.runtime import find
from don.clock import Clock, SystemClock
from don.errors import DependencyError, UsageError
from don.execution.tca import OrderCost
from don.model.messages import Command, CommandKind
from don.observe.measures import Measures
from don.observe.sample import Sample
from don.security.secrets import Secret
from don.storage.costs import session_costs
from don.storage.database import Database
from don.storage.lake.lake import Lake
from don.storage.market.coverage import CoverageLedger
from don.storage.market.opened import open_store
from don.storage.queries import Queries
from serve import clocks, episodes, marketdata, training
from serve.coverage import told
from serve.episodes import EpisodeTold
from serve.ports import (
    CoverageAsked,
    CoverageTold,
    DataAsked,
    DataTold,
    Page,
    Row,
    TrainingTold,
)
from serve.registered import ModelsAsked, ModelsTold, ModelTold, RegistryReads
from serve.schemas import ClockView

if TYPE_CHECKING:
    from don.envs.shown import Shown

T = TypeVar("T")

ANSWER_S = 5.0  # longest wait for the board beyond what was asked for
RETRY_S = (0.1, 1.0)  # first and longest pause between two tries of a command
THREADS = 4  # database reads at once
AWAY = (RayActorError, RayTaskError, GetTimeoutError, PendingCallsLimitExceeded, TimeoutError)


async def _answer(role: str, call: Callable[[Any], Awaitable[T]], timeout_s: float) -> T:
    """One call of an actor.

    Raises:
        DependencyError: if it is not there, dies or does not answer in time.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await call(find(role))
    except AWAY as error:
        raise DependencyError(f"the {role} does not answer ({type(error).__name__})") from error


class ActorReader:
    """Board and database. Close it when done."""

    def __init__(self, database_url: Secret, home: Path, lake: str | None = None) -> None:
        self._home, self._clock = home, SystemClock()
        self._db = Database(
            database_url, name="don-api", pool_size=THREADS, statement_timeout_s=ANSWER_S
        )
        self._queries = Queries(self._db)
        self._ledger = CoverageLedger(self._db)
        self._registry = RegistryReads(self._db, home)
        self._measures = Measures(self._db, self._clock)
        self._store = open_store(self._db, home, None if lake is None else Lake(lake))
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="reads")
        self._replays = ThreadPoolExecutor(1, thread_name_prefix="replays")  # long: not beside them

    async def views(self) -> Mapping[str, Stamped]:
        """All views of the board."""
        return await _answer("board", lambda board: board.get.remote(), ANSWER_S)

    async def wait(self, seq: int, timeout_s: float) -> Change:
        """The board's long poll."""
        return await _answer(
            "board", lambda board: board.wait.remote(seq, timeout_s), timeout_s + ANSWER_S
        )

    async def sessions(self, limit: int) -> Sequence[Row]:
        """Sessions, newest first."""
        return await self._rows(self._queries.sessions, limit)

    async def orders(self, page: Page) -> Sequence[Row]:
        """Orders with their last known status, newest first."""
        return await self._rows(self._queries.orders, **_asked(page))

    async def fills(self, page: Page) -> Sequence[Row]:
        """Fills, newest first."""
        return await self._rows(self._queries.fills, **_asked(page))

    async def decisions(self, page: Page) -> Sequence[Row]:
        """Decisions, newest first."""
        return await self._rows(
            self._queries.decisions, page.session, before=page.before, limit=page.limit
        )

    async def equity(self, session: str, start: int | None, end: int | None) -> Sequence[Row]:
        """Points of the equity curve, oldest first."""
        return await self._rows(self._queries.equity, session, start=start, end=end)

    async def bars(
        self, symbol: str, interval_ns: int, start: int | None, end: int | None, limit: int
    ) -> Sequence[Row]:
        """The newest closed bars that open in [start, end), oldest first."""
        return await self._rows(
            self._queries.bars, symbol, interval_ns, start=start, end=end, limit=limit
        )

    async def coverage(self, asked: CoverageAsked) -> CoverageTold:
        """What is known of every minute of what was collected."""
        return await self._run(lambda: told(self._ledger, asked))

    async def metrics(self) -> Sequence[Sample]:
        """What the database tells monitors."""
        return await self._run(self._measures)

    async def data(self, asked: DataAsked) -> DataTold:
        """A page of stored market data."""
        return await self._run(lambda: marketdata.told(self._store, asked))

    async def trainings(self) -> Sequence[TrainingTold]:
        """Trainings that are known, newest first."""
        return await self._run(lambda: training.listed(self._home))

    async def training(self, run: str, points: int) -> TrainingTold | None:
        """One of them with at most so many points of its curve."""
        return await self._run(lambda: training.curve(self._home, run, points))

    async def episodes(self) -> Sequence[EpisodeTold]:
        """Recorded episodes of the state folder, newest first."""
        return await self._run(lambda: episodes.listed(self._home))

    async def episode(
        self, name: str, told: "Callable[[EpisodeTold, Shown], bytes]"
    ) -> bytes | None:
        """One of them, run again."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._replays, episodes.one, self._home, name, told)

    async def models(self, asked: ModelsAsked) -> ModelsTold:
        """Versions in the registry of models."""
        return await self._run(lambda: self._registry.listed(asked))

    async def model(self, text: str, session: str) -> tuple[ModelTold, str]:
        """The version that a text means, and the hash of its schema."""
        return await self._run(lambda: self._registry.one(text, session))

    async def clocks(self) -> Sequence[ClockView]:
        """Clock comparisons of `don data collect`."""
        return await self._run(lambda: clocks.collected(self._home, self._clock.now_ns()))

    async def costs(self, session: str) -> Sequence[OrderCost]:
        """What each order of a session cost, oldest first."""
        return await self._run(lambda: session_costs(self._db, session))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _rows(self, query: Callable[..., Sequence[Any]], *args: Any, **kw: Any) -> list[Row]:
        def run() -> list[Row]:
            return [asdict(row) for row in query(*args, **kw)]

        return await self._run(run)

    async def close(self) -> None:
        """Give the connections back."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._replays.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._db.close)


class ActorCommander:
    """The desk, by handle."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()

    async def command(
        self, kind: CommandKind, *, actor: str, reason: str, key: str, payload: str = ""
    ) -> None:
        """Tell the desk, again and again until it has journalled the command or time is up.

        The key makes the repetition harmless; a desk that restarts right now must still hear of a
        halt. Who waits sets the limit (`asyncio.timeout`).
        """
        now = self._clock.now_ns()
        told = Command(key=key, kind=kind, actor=actor, reason=reason, ts_recv=now, payload=payload)
        pause = RETRY_S[0]
        while True:
            try:
                objection = await _answer("desk", lambda desk: desk.command.remote(told), ANSWER_S)
                if objection:
                    raise UsageError(objection)
                return
            except DependencyError:
                await asyncio.sleep(pause)
                pause = min(RETRY_S[1], pause * 2)


def _asked(page: Page) -> dict[str, Any]:
    return {
        "session": page.session,
        "symbol": page.symbol,
        "before": page.before,
        "limit": page.limit,
    }
