"""The feed actor: one exchange's market data, batched and handed to the feature cache."""

import asyncio
import os
from typing import Any

from actors.budget import budget_pace
from actors.delivery import deliver, run_or_die
from actors.runtime import Probe, find
from actors.spec import SessionSpec
from don.clock import SystemClock
from don.feeds.health import FeedHealth, FeedState
from don.log import configure_actor, get_logger
from don.model.schema import MarketBatch
from don.observe.feed import FeedWatch

HISTORY = "history"  # source of the warm-up bars; a repeat of (source, seq) changes nothing


class ExchangeFeed:
    """Runs one `LiveFeed`; at most one batch is unanswered, so the cache sets the pace.

    A new incarnation numbers its batches anew under a source of its own, and sends the history
    first: the cache takes it once, at the session's beginning.
    """

    def __init__(self, spec: SessionSpec) -> None:
        configure_actor(spec.home, actor="feed", session=spec.session, level=spec.config.log.level)
        # Imported here: whoever holds this actor's handle imports its module, and must not pay.
        from don.feeds.live import LiveFeed

        clock = SystemClock()
        self._history_bars = spec.config.history_bars
        source = f"{spec.feed.exchange}:{clock.now_ns() // 1_000_000:x}"
        self._feed = LiveFeed(
            spec.feed, clock, source, pace=budget_pace(spec.feed.exchange, "feed", clock)
        )
        self._watch = FeedWatch(spec.feed.exchange)
        self._task = run_or_die(self._run(), "feed")

    async def ping(self) -> Probe:
        """Who answers, and how each stream is."""
        return probe_of(self._feed.health(), self._watch)

    async def close(self) -> None:
        """Stop collecting; what is queued is dropped, because the session is over."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._feed.close()

    async def _run(self) -> None:
        await self._feed.start()
        table = await self._feed.history(self._history_bars)
        await self._hand_on(MarketBatch(source=HISTORY, seq=1, tables={"bars": table}))
        get_logger("don.feed").info("history handed on", bars=table.num_rows)
        async for batch in self._feed.batches():
            self._watch.observe(batch)
            await self._hand_on(batch)

    async def _hand_on(self, batch: MarketBatch) -> None:
        async def call() -> Any:
            return await find("cache").on_batch.remote(batch)

        await deliver(call, "market batch to cache")


def probe_of(health: FeedHealth, watch: FeedWatch, *, waiting: int = 0) -> Probe:
    """How a feed is, by stream; `waiting`: batches that the receiver has not acknowledged."""
    detail = _detail(health)
    return Probe(
        pid=os.getpid(),
        state=_part_state(health),
        detail=f"{waiting} batches wait; {detail}" if waiting > 1 else detail,
        streams=tuple(
            {
                "stream": f"{stream.channel} {stream.symbol}",
                "state": str(stream.state),
                "ts_event": stream.last_event_ns,
                "events": stream.events,
                "gaps": stream.gaps,
                "detail": stream.detail,
            }
            for stream in health.streams
        ),
        metrics=tuple(watch.samples(health)),
    )


def _part_state(health: FeedHealth) -> str:
    if health.state is FeedState.LIVE:
        return "live"
    return "starting" if health.state is FeedState.STARTING else "stale"


def _detail(health: FeedHealth) -> str:
    text = f"{health.messages} messages, {health.gaps} gaps, {health.reconnects} reconnects"
    return f"{text}; {health.detail}" if health.detail else text
