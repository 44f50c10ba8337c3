"""Closed bars by REST: history before a session, and repair of what a stream has not brought."""

import asyncio
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import pyarrow as pa
import structlog

from don.clock import Clock
from don.errors import DataError, ExchangeRefused
from don.feeds.backoff import Backoff
from don.feeds.bars import Bar, BarKeeper
from don.feeds.binance import klines_params, parse_klines
from don.feeds.config import FeedConfig
from don.feeds.health import Stream
from don.feeds.outbox import Outbox, Row, to_table
from don.feeds.rest import RestClient
from don.feeds.sink import Sink
from don.feeds.venues import Fast
from don.model.schema import SCHEMAS

log = structlog.get_logger(__name__)

EVIDENCE_S = 0.25  # wait this long for a first message, which tells the exchange's time


class BarRepair:
    """Asks REST for bars that are missing and sends them, oldest first, before what is newer.

    After a (re)connection live rows are held back until the missing bars are in the queue, so that
    consumers see bars in order; if REST is away for longer than `hold_s`, live rows go first and
    the bars follow when they can be had.
    """

    def __init__(
        self,
        *,
        fast: Fast,
        config: FeedConfig,
        interval_ns: int,
        rest: RestClient,
        keeper: BarKeeper,
        sink: Sink,
        outbox: Outbox,
        streams: dict[str, Stream],
        clock: Clock,
        rng: Random,
        note: Callable[[Exception, float], None],
    ) -> None:
        self._fast = fast
        self._config = config
        self._interval_ns = interval_ns
        self._rest = rest
        self._keeper = keeper
        self._sink = sink
        self._outbox = outbox
        self._streams = streams  # symbol -> its stream of bars
        self._clock = clock
        self._note = note
        self._backoff = Backoff(config.backoff_base_s, config.backoff_cap_s, rng)
        self._wanted: set[str] = set()
        self._wake = asyncio.Event()
        self._evidence = asyncio.Event()
        self._release: asyncio.TimerHandle | None = None
        self.busy = False
        self.repaired = 0
        self.missing = 0

    def want(self, symbols: Iterable[str], *, hold: bool) -> None:
        """Have the missing bars of these symbols sent; with `hold`, before all live rows."""
        self._wanted.update(symbols)
        if not self._wanted:
            return
        if hold and self._config.hold_s > 0 and self._release is None:
            self._outbox.hold()
            loop = asyncio.get_running_loop()
            self._release = loop.call_later(self._config.hold_s, self._end_hold)
        self._wake.set()

    def connected(self) -> None:
        """A new connection: what its first message says about exchange time is waited for."""
        self._evidence.clear()

    def began(self) -> None:
        """The first message is there."""
        self._evidence.set()

    async def run(self) -> None:
        """Repair whenever something is wanted, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            symbols, self._wanted = sorted(self._wanted), set()
            self.busy = True
            try:
                await self._repair(symbols)
            finally:
                self.busy = False
            again = [symbol for symbol in symbols if self._keeper.has_holes(symbol)]
            if again:
                self._wanted.update(again)
                self._wake.set()
                await asyncio.sleep(self._backoff.next())
            else:
                self._backoff.reset()
            if not self._wanted:
                self._end_hold()

    async def history(self, limit: int, keys: dict[str, str]) -> pa.Table:
        """The last `limit` closed bars of each symbol, ordered by (ts_event, symbol).

        Args:
            limit: bars a symbol; fewer come if the exchange has fewer.
            keys: canonical symbol -> the exchange's name.
        """
        closed_by = self._sink.exchange_now
        answers = await asyncio.gather(*(self._last(key, limit + 1) for key in keys.values()))
        rows: list[Row] = []
        now = self._clock.now_ns()
        for symbol, bars in zip(keys, answers, strict=True):
            if bars and bars[-1].ts > closed_by:
                bars = bars[:-1]  # nothing proves that it has closed
            rows += [(symbol, bar.ts, now, *bar[1:], "history") for bar in bars[-limit:]]
        if not rows:
            return SCHEMAS["bars"].empty_table()
        return to_table("bars", sorted(rows, key=lambda row: (row[1], row[0])))

    async def _repair(self, symbols: list[str]) -> None:
        try:
            # Not `wait_for`: before Python 3.12 it may swallow a cancellation.
            async with asyncio.timeout(EVIDENCE_S):
                await self._evidence.wait()
        except TimeoutError:
            log.debug("no message yet that tells the exchange's time")
        closed_by = self._sink.exchange_now
        answers = await asyncio.gather(*(self._missing(symbol) for symbol in symbols))
        rows: list[Row] = []
        now = self._clock.now_ns()
        for symbol, bars in zip(symbols, answers, strict=True):
            if bars is None:
                continue
            repair = self._keeper.on_repair(symbol, bars, closed_by)
            rows += [(symbol, bar.ts, now, *bar[1:], "repair") for bar in repair.bars]
            if repair.absent:
                self.missing += len(repair.absent)
                first, last = repair.absent[0], repair.absent[-1]
                detail = f"{len(repair.absent)} bars closing {first} to {last} do not exist"
                self._sink.gap(self._streams[symbol], detail)
        self.repaired += len(rows)
        await self._outbox.put_first("bars", sorted(rows, key=lambda row: (row[1], row[0])))

    async def _missing(self, symbol: str) -> list[Bar] | None:
        """Bars from the first missing one on; None if the exchange refused to give them."""
        key = self._streams[symbol].key
        start = self._keeper.wanted_from(symbol)
        try:
            if start is None:
                return await self._last(key, self._config.repair_bars + 1)
            return await self._since(key, start)
        except (ExchangeRefused, DataError) as error:
            log.error("bars cannot be repaired", symbol=symbol, error=str(error))
            self._sink.gap(self._streams[symbol], f"bars cannot be repaired: {error}")
            return None

    async def _since(self, key: str, first_close: int) -> list[Bar]:
        limit = self._fast.klines_limit
        bars: list[Bar] = []
        while True:
            opens = first_close - self._interval_ns
            page = await self._klines(key, limit, start_ns=opens)
            bars += [bar for bar in page if bar.ts >= first_close]
            if len(page) < limit or page[-1].ts < first_close:
                return bars
            first_close = page[-1].ts + self._interval_ns

    async def _last(self, key: str, count: int) -> list[Bar]:
        limit = self._fast.klines_limit
        bars = await self._klines(key, min(count, limit))
        while bars and len(bars) < count:
            ask = min(count - len(bars), limit)
            # The open of the bar before the earliest one: two intervals before that one's close.
            page = await self._klines(key, ask, end_ns=bars[0].ts - 2 * self._interval_ns)
            page = [bar for bar in page if bar.ts < bars[0].ts]
            bars = page + bars
            if len(page) < ask:
                break
        return bars

    async def _klines(self, key: str, limit: int, **window: int) -> list[Bar]:
        params = klines_params(key, self._config.interval, limit, **window)
        answer: Any = await self._rest.get_until_answered(
            self._fast.klines, params, on_failure=self._note
        )
        return parse_klines(answer, self._interval_ns)

    def _end_hold(self) -> None:
        if self._release is not None:
            self._release.cancel()
            self._release = None
        self._outbox.release()

    def close(self) -> None:
        """Stop holding rows back."""
        self._end_hold()
