"""Trades by REST: what a stream has missed between two ids, for exchanges that number them."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog

from don.clock import NS_PER_MS, Clock
from don.errors import DataError, ExchangeRefused
from don.feeds.binance import parse_trades
from don.feeds.config import FeedConfig
from don.feeds.health import Stream
from don.feeds.outbox import Outbox, Row
from don.feeds.rest import RestClient
from don.feeds.sink import Sink
from don.feeds.trades import Hole, TradeKeeper
from don.feeds.venues import Fast

log = structlog.get_logger(__name__)

PAGE = 1000  # trades an answer has at most
PATIENCE_S = 600.0  # REST may be away for so long


class TradeRepair:
    """Fills holes in trade ids; what cannot be had is told.

    Repaired trades are rows of the channel `repaired_trades`, so that consumers who count on the
    order of `trades` are not disturbed by rows that come late.
    """

    def __init__(
        self,
        fast: Fast | None,
        config: FeedConfig,
        *,
        rest: RestClient,
        keepers: Mapping[str, TradeKeeper],
        sink: Sink,
        outbox: Outbox,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        note: Callable[[Exception, float], None],
    ) -> None:
        self._fast = fast
        self._most = config.repair_trades
        self._late_s = config.late_s
        self._rest = rest
        self._keepers = keepers
        self._sink = sink
        self._outbox = outbox
        self._clock = clock
        self._spawn = spawn
        self._note = note
        self.repaired = 0

    def missed(self, stream: Stream, hole: Hole) -> None:
        """A hole was seen; another connection may still fill it, then nobody need know."""
        if stream.copies > 1:
            self._spawn(self._after_others(stream, hole), "late trades")
        else:
            self._tell(stream, hole)
            self._start(stream, hole)

    async def _after_others(self, stream: Stream, hole: Hole) -> None:
        await asyncio.sleep(self._late_s)
        for rest in self._keepers[stream.symbol].missing(hole):
            self._tell(stream, rest)
            self._start(stream, rest)

    def _start(self, stream: Stream, hole: Hole) -> None:
        keeper = self._keepers[stream.symbol]
        if self._fast is None or not 0 < hole.count <= self._most:
            keeper.give_up(hole)
            return
        self._spawn(self._repair(stream, keeper, hole, self._fast.trades), "trade repair")

    async def _repair(self, stream: Stream, keeper: TradeKeeper, hole: Hole, path: str) -> None:
        rows: list[Row] = []
        try:
            async with asyncio.timeout(PATIENCE_S):
                rows = await self._fetch(stream, hole, path)
        except (ExchangeRefused, DataError, TimeoutError) as error:
            log.warning("trades cannot be repaired", symbol=stream.symbol, error=str(error))
        missing = set(keeper.fill(row[3] for row in rows))
        rows = [row for row in rows if row[3] in missing]
        keeper.give_up(hole)
        if rows:
            self.repaired += len(rows)
            await self._outbox.put_first("repaired_trades", rows)
        if len(rows) == hole.count:
            detail = f"trades {hole.first} to {hole.last} repaired ({len(rows)})"
            self._sink.repaired(stream, detail, hole.since, hole.until)

    async def _fetch(self, stream: Stream, hole: Hole, path: str) -> list[Row]:
        rows: list[Row] = []
        start = hole.first
        while start <= hole.last:
            params: dict[str, str | int] = {
                "symbol": stream.key,
                "fromId": start,
                "limit": min(PAGE, hole.last - start + 1),
            }
            answer = await self._rest.get_until_answered(path, params, on_failure=self._note)
            page = [t for t in parse_trades(answer) if start <= t.a <= hole.last]
            now = self._clock.now_ns()
            rows += [
                (stream.symbol, t.T * NS_PER_MS, now, t.a, t.p, t.q, not t.m, "repair")
                for t in page
            ]
            if not page:
                break
            start = page[-1].a + 1
        return rows

    def _tell(self, stream: Stream, hole: Hole) -> None:
        detail = f"trades {hole.first} to {hole.last} missing ({hole.count})"
        self._sink.gap(stream, detail, hole.since)
