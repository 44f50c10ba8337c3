"""The feature-cache actor: market batches in, recorded first; feature snapshots out, in order."""

import asyncio
import os
from collections import deque
from typing import Any

import pyarrow as pa

from actors.delivery import deliver, restart_if_away, run_or_die
from actors.feed import HISTORY
from actors.runtime import Probe, find
from actors.spec import SessionSpec
from don.log import configure_actor, get_logger
from don.model.messages import FeatureSnapshot, History
from don.model.schema import MarketBatch
from don.storage.checkpoints import FeatureCheckpoints
from don.storage.database import Database
from don.storage.recorder import MarketRecorder

OUTBOX = 1024  # snapshots not yet acknowledged by the desk; policy when full: block the feed
VIEW_EVERY_S = 0.1
MARKS_EVERY_S = 1.0
CHECKPOINT_EVERY = 64  # snapshots


class FeatureCacheActor:
    """Record, then apply, then push. First start and recovery are one path: apply what is recorded
    since the last checkpoint.

    Snapshots are a pure function of the recorded batches, so after a death the same ones come out
    again; the desk says which it has, and the rest are sent.
    """

    def __init__(self, spec: SessionSpec) -> None:
        configure_actor(spec.home, actor="cache", session=spec.session, level=spec.config.log.level)
        # Imported here: whoever holds this actor's handle imports its module, and must not pay.
        from don.features.cache import FeatureCache
        from don.features.rehearse import rehearse

        self._db = Database(spec.database_url)
        self._recorder = MarketRecorder(self._db, spec.session, spec.interval_ns)
        rehearse(spec.config.features, spec.symbols)  # compiles: the first bar does not wait for it
        self._cache = FeatureCache(spec.config.features, spec.symbols, spec.session)
        self._outbox: deque[History | FeatureSnapshot] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._turn = asyncio.Lock()
        self._checkpoints = FeatureCheckpoints(self._db, spec.session)
        self._saved = 0  # version of the last checkpoint
        with restart_if_away("rebuild the cache"):
            self._recover()
        self._sender = run_or_die(self._push(), "cache sender")
        self._viewer = run_or_die(self._publish(), "cache view")
        self._watcher = run_or_die(self._watch(), "cache marks")

    async def ping(self) -> Probe:
        """Who answers, and whether history has warmed the features up."""
        warm, waiting = self._cache.warm, len(self._outbox)
        detail = f"{waiting} snapshots wait for the desk" if waiting > 1 else ""
        return Probe(pid=os.getpid(), state="live" if warm else "starting", detail=detail)

    async def on_batch(self, batch: MarketBatch) -> None:
        """Take in one batch, once by (source, seq); returns when it is recorded and applied.

        The feed waits for each answer before it sends the next, so batches come in order.
        """
        # A batch whose recording is in doubt must not be left out: a successor reads what is there
        async with self._turn:  # a feed that was replaced may still have a call under way
            with restart_if_away("record market data"):
                await self._take(batch)

    async def _take(self, batch: MarketBatch) -> None:
        await self._room.wait()
        if self._cache.version >= self._saved + CHECKPOINT_EVERY and not self._outbox:
            # The desk has every snapshot so far, so a successor need not make them again.
            await asyncio.to_thread(self._checkpoints.save, self._cache.checkpoint())
            self._saved = self._cache.version
        # A bar close leads to decisions: it must be durable before them. The write-ahead log
        # is sequential, so what was recorded before becomes durable with it.
        durable = "bars" in batch.tables
        if await asyncio.to_thread(self._recorder.record, batch, durable):
            closed = self._apply(batch)
            if closed.num_rows:
                await asyncio.to_thread(self._recorder.record_bars, closed)

    async def close(self) -> None:
        """Make the recording durable to its last batch."""
        async with self._turn:
            await asyncio.to_thread(self._recorder.close)

    def _recover(self) -> None:
        checkpoints, ordinal = self._checkpoints.read()
        self._cache.restore(checkpoints)
        self._saved = self._cache.version
        batches = 0
        for batch in self._recorder.read(after=ordinal):
            self._recorder.record_bars(self._apply(batch))  # a repeat is harmless
            batches += 1
        if checkpoints or batches:
            get_logger("don.cache").info(
                "cache rebuilt", from_snapshot=self._saved, batches=batches
            )

    def _apply(self, batch: MarketBatch) -> pa.Table:
        """Take a recorded batch in; the bars of the sets that it closed."""
        if batch.source == HISTORY:
            if self._cache.warm:
                return self._cache.closed_bars()
            history = batch.tables["bars"]
            self._cache.warm_up(history)
            self._outbox.append(self._cache.history())
            self._news.set()
            return history  # kept with the session's own bars, so that charts begin before it
        else:
            self._outbox.extend(self._cache.on_batch(batch))
        if len(self._outbox) >= OUTBOX:
            self._room.clear()
        if self._outbox:
            self._news.set()
        return self._cache.closed_bars()

    async def _push(self) -> None:
        async def known() -> int:
            return int(await find("desk").snapshot_version.remote())

        have = await deliver(known, "ask the desk for its last snapshot")
        while True:
            await self._news.wait()
            self._news.clear()
            while self._outbox:
                message = self._outbox[0]
                if not (isinstance(message, FeatureSnapshot) and message.version <= have):
                    await self._send(message)
                self._outbox.popleft()
                self._room.set()

    async def _send(self, message: History | FeatureSnapshot) -> None:
        async def call() -> Any:
            return await find("desk").take.remote(message)

        await deliver(call, "snapshot to desk")

    async def _publish(self) -> None:
        while True:
            await asyncio.sleep(VIEW_EVERY_S)
            if self._cache.warm:
                await deliver(self._put_view, "market view to board")

    async def _put_view(self) -> None:
        await find("board").put.remote("market", self._cache.view())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(MARKS_EVERY_S)
            if self._cache.warm:
                await deliver(self._put_marks, "marks to desk")

    async def _put_marks(self) -> None:
        """Between bars too, the desk holds losses against their limits."""
        view = self._cache.view()
        await find("desk").watch.remote(view["marks"], view["ts_event"])
