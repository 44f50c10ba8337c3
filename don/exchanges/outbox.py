"""Reports on their way to the desk: in order, bounded, again until they are taken. Does I/O.

A batch counts as delivered when `deliver` returns. When it raises, the same reports are delivered
again after a capped, full-jitter delay, for ever: they reach the desk at least once and in order.
When the box is full, whoever puts waits: the stream's sender is held back, nothing is dropped.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import structlog

from don.exchanges.base import Report

_log = structlog.get_logger(__name__)

Deliver = Callable[[list[Report]], Awaitable[None]]


class Outbox:
    """An ordered queue with one consumer that must succeed."""

    def __init__(
        self,
        deliver: Deliver,
        rng: random.Random,
        *,
        size: int,
        batch: int,
        retry_base_s: float,
        retry_cap_s: float,
    ) -> None:
        self._deliver = deliver
        self._rng = rng
        self._size = size
        self._batch = batch
        self._base_s = retry_base_s
        self._cap_s = retry_cap_s
        self._queue: deque[Report] = deque()
        self._changed = asyncio.Condition()
        self.delivered = 0
        self.failures = 0

    def __len__(self) -> int:
        return len(self._queue)

    async def put(self, reports: Sequence[Report]) -> None:
        """Append reports; waits while the box is full."""
        if not reports:
            return
        async with self._changed:
            # a batch larger than the whole box passes when the box is empty
            await self._changed.wait_for(
                lambda: not self._queue or len(self._queue) + len(reports) <= self._size
            )
            self._queue.extend(reports)
            self._changed.notify_all()

    async def drained(self) -> None:
        """Wait until everything was delivered."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._queue)

    async def run(self) -> None:
        """Deliver for ever."""
        failures = 0
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._queue))
                batch = [self._queue[i] for i in range(min(self._batch, len(self._queue)))]
            try:
                await self._deliver(batch)
            except Exception as error:  # whatever it is, these reports must not be lost
                failures += 1
                self.failures += 1
                ceiling = min(self._base_s * 2.0 ** min(failures, 30), self._cap_s)
                _log.warning("reports not taken, retrying", failures=failures, error=repr(error))
                await asyncio.sleep(self._rng.random() * ceiling)
                continue
            failures = 0
            async with self._changed:
                for _ in batch:
                    self._queue.popleft()
                self.delivered += len(batch)
                self._changed.notify_all()
