"""The collector actor: one exchange's market data, followed for completeness and stored."""

import asyncio
from collections import deque
from dataclasses import replace
from typing import Any

import pyarrow as pa

from actors.budget import budget_pace
from actors.delivery import deliver, run_or_die
from actors.feed import probe_of
from actors.runtime import Probe, find
from actors.spec import CollectSpec
from don import heap
from don.clock import NS_PER_S, SystemClock
from don.collect import interval_of
from don.errors import ConfigError, DataError, ExchangeRefused, ExchangeUnavailable, UsageError
from don.feeds.health import FeedState
from don.log import configure_actor, get_logger
from don.market.coverage import COUNTED_IDS, Range, State, bar_channel
from don.market.coverage_tracker import TRADES_SILENCE_S, CoverageTracker
from don.model.channels import from_batch
from don.model.schema import MarketBatch
from don.observe.feed import FeedWatch

CLAIM_EVERY_S = 1.0
CLOCK_S = 60.0  # clocks further apart than that are not the same


class Collector:
    """Runs one `LiveFeed`; up to `window` batches are under way to the writer.

    What is claimed of a minute goes to the ledger only when every row before the claim is durable,
    so the ledger never promises more than the database holds. A batch that was not acknowledged is
    sent again: rows count once by their natural keys. A collector that dies loses what was under
    way; its successor finds the hole between the ledger's end and its own beginning.
    """

    def __init__(self, spec: CollectSpec, name: str) -> None:
        configure_actor(spec.home, actor=f"collector-{name}", level=spec.level)
        # Imported here: whoever holds this actor's handle imports its module, and must not pay.
        from don.feeds.live import LiveFeed

        source = spec.source(name)
        clock = SystemClock()
        self._name = name
        self._clock = clock
        self._interval_ns = interval_of(source)
        self._config = source
        self._feed = LiveFeed(
            source,
            clock,
            f"{name}:{clock.now_ns() // 1_000_000:x}",
            pace=budget_pace(source.exchange, f"collector-{name}", clock),
        )
        self._watch = FeedWatch(name)
        self._room = asyncio.Semaphore(spec.config.window)
        self._window = spec.config.window
        self._sent = 0  # batches
        self._open: deque[int] = deque()  # numbers of those not acknowledged, ascending
        self._done: set[int] = set()
        self._claims: deque[tuple[int, list[Range]]] = deque()  # after which batch, what
        self._sends: set[asyncio.Task[None]] = set()
        self._tracker: CoverageTracker | None = None
        self._closing = False
        self._refused = ""  # why this source cannot be collected at all
        self._task = run_or_die(self._run(), "collector")
        self._claimer = run_or_die(self._claim(), "coverage claims")

    async def ping(self) -> Probe:
        """Who answers, and how each stream is."""
        probe = probe_of(self._feed.health(), self._watch, waiting=len(self._open))
        return replace(probe, state="failed", detail=self._refused) if self._refused else probe

    async def close(self) -> None:
        """Stop collecting, hand on what is left, and claim what it completes."""
        self._closing = True
        await self._feed.close()  # ends `batches` after what is pending
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*self._sends)
        self._claimer.cancel()
        await asyncio.gather(self._claimer, return_exceptions=True)
        await self._claim_now()

    # ---- inside ---------------------------------------------------------------------------------

    async def _run(self) -> None:
        async def known() -> Any:
            return await find("writer").known.remote(self._name)

        self._tracker = CoverageTracker(
            self._name,
            interval=self._config.interval,
            interval_ns=self._interval_ns,
            counted_ids=self._config.exchange in COUNTED_IDS,
            silence_s=self._config.silence_s,
            trades_silence_s=self._config.stale_after_s.get("trades", TRADES_SILENCE_S),
            known=await deliver(known, "ask the writer what is known"),
        )
        if self._told_to_stop():
            return  # told to stop before it began
        try:
            await self._feed.start()
        except ExchangeUnavailable:
            if self._told_to_stop():
                return
            raise
        except (UsageError, ConfigError, DataError, ExchangeRefused) as error:
            # Asking again would not help: an unknown symbol, a channel that it does not have.
            self._refused = str(error)
            get_logger("don.collector").error("cannot be collected", error=str(error))
            return
        heap.settle()
        async for batch in self._feed.batches():
            await self._room.acquire()
            # From here to the send nothing is awaited: what a batch proves is claimed behind it.
            self._tracker.observe(batch)
            self._watch.observe(batch)
            tables = from_batch(self._name, batch, interval_ns=self._interval_ns)
            if tables:
                self._send(tables, batch)
            else:
                self._room.release()

    def _told_to_stop(self) -> bool:
        return self._closing

    def _send(self, tables: dict[str, pa.Table], batch: MarketBatch) -> None:
        self._sent += 1
        number = self._sent
        self._open.append(number)
        where = f"batch {batch.seq} of {batch.source}"

        async def call() -> Any:
            return await find("writer").take.remote(tables, where)

        async def send() -> None:
            for refused in await deliver(call, "market data to writer"):
                self._spoiled(*refused)
            self._done.add(number)
            while self._open and self._open[0] in self._done:
                self._done.discard(self._open.popleft())
            self._room.release()

        task = run_or_die(send(), "send")
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)

    def _spoiled(self, channel: str, symbol: str, first: int, last: int, why: str) -> None:
        """Rows that were not stored are missing: nothing that was claimed of them stands."""
        assert self._tracker is not None
        name = bar_channel(self._config.interval) if channel == "bars" else channel
        gaps = self._tracker.mark(name, symbol, first, last + 1, State.GAP, f"refused: {why}")
        for _, claims in self._claims:  # written together with what they contradict
            claims += gaps

    async def _claim(self) -> None:
        while True:
            await asyncio.sleep(CLAIM_EVERY_S)
            await self._claim_now()

    async def _claim_now(self) -> None:
        if self._tracker is None:
            return
        self._heartbeat(self._tracker)
        claims = self._tracker.take()
        if claims:
            self._claims.append((self._sent, claims))
        durable = self._open[0] - 1 if self._open else self._sent
        while self._claims and self._claims[0][0] <= durable:
            ready = self._claims[0][1]

            async def call(ready: list[Range] = ready) -> Any:
                return await find("writer").claim.remote(ready)

            await deliver(call, "coverage to writer")
            self._claims.popleft()

    def _heartbeat(self, tracker: CoverageTracker) -> None:
        """Live connections have told all that happened, but for the silence that they are allowed.

        Only where the exchange's clock is ours: a replayed market has a time of its own.
        """
        health, now = self._feed.health(), self._clock.now_ns()
        ours = abs(now - health.ts_exchange) < CLOCK_S * NS_PER_S
        if health.state is FeedState.LIVE and ours:
            tracker.heartbeat(now - int((self._config.silence_s + CLOCK_S) * NS_PER_S))
