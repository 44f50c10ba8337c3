"""A live feed: cryptofeed's subscriptions on our sockets, events batched into Arrow tables."""

from collections.abc import AsyncIterator
from random import Random
from typing import Self

import pyarrow as pa

from don.clock import Clock
from don.errors import UsageError
from don.feeds.config import FeedConfig
from don.feeds.core import Core
from don.feeds.gate import Gate
from don.feeds.health import FeedHealth
from don.feeds.pace import Pace
from don.model.schema import MarketBatch


class LiveFeed:
    """One exchange's public streams for some symbols, for as long as it is open.

    Guarantees of `batches()`: rows of a channel are in arrival order; every closed bar of a symbol
    comes once and, unless REST is away for longer than `hold_s`, in order and without a hole; what
    is lost (trade ids, book ids, bars that do not exist) is told by a status row; nothing is
    dropped by the feed itself: if the consumer is slow, the socket is not read.

    Failures of the exchange are never raised: the feed retries for ever and says so in `health()`
    and in status rows. A defect of the feed ends `batches()` with its exception.
    """

    def __init__(
        self,
        config: FeedConfig,
        clock: Clock,
        source: str,
        *,
        rng: Random | None = None,
        gate: Gate | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._core = Core(config, clock, source, rng=rng, gate=gate, pace=pace)
        self._started = False

    # ---- public -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Learn the instruments, then connect in the background. Waits while the exchange is away.

        Raises:
            UsageError: if a symbol is not listed; ConfigError if the subscription is impossible.
            DataError, ExchangeRefused: if the exchange's list cannot be had or understood at all.
            ExchangeUnavailable: only if the feed is closed meanwhile.
        """
        if self._started or self._core.closed:
            raise UsageError("a feed can be started once; make a new one")
        self._started = True
        await self._core.start()

    async def history(self, limit: int) -> pa.Table:
        """The last `limit` closed bars of every symbol, origin `history`, by (ts_event, symbol).

        For warming up: take it after `start`; bars that close later come through `batches`, and
        the first repair covers `repair_bars` bars, so that no bar falls between the two.

        Raises:
            UsageError: if the feed was not started, has no bars by REST, or limit < 1.
        """
        if self._core.repair is None or limit < 1:
            raise UsageError(
                f"history needs a started feed of an exchange whose bars it can ask for, and "
                f"limit >= 1; exchange was {self._core.config.exchange}, limit {limit}"
            )
        return await self._core.repair.history(limit, self._core.keys)

    async def batches(self) -> AsyncIterator[MarketBatch]:
        """Batches as they come, until `close`. One consumer."""
        while (batch := await self._core.outbox.get()) is not None:
            yield batch

    def health(self) -> FeedHealth:
        """Counters and the state of every stream, now."""
        return self._core.health()

    async def close(self) -> None:
        """Disconnect, send what is pending, end `batches`. Idempotent."""
        await self._core.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
