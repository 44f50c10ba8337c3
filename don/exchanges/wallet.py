"""The client side of the cluster's request budget: a purse that is refilled in time. Does I/O.

A request is paid from leases at hand, without any remote call. Only when they run out, and once a
second while anything is spent, one message settles with the budget. What should always be at hand
(for cancels and orders) is topped up in the background, so that the hot path never waits for it.
One message is under way at a time. Requests of a priority queue among themselves for it, so that
many of a low one hold up a higher one by one at most; a cancel waits no longer than its patience.
"""

import asyncio
import random
from collections.abc import Mapping
from typing import Protocol

import structlog
from pydantic import Field

from don.clock import NS_PER_MS, NS_PER_S, Clock
from don.errors import DependencyError
from don.exchanges.budget import Ask, BudgetConfig, ClusterBudget, Settle, Settled
from don.exchanges.purse import Purse
from don.exchanges.rates import Counts, ExchangeLimits, Priority
from don.model.section import Section

_log = structlog.get_logger(__name__)


class BudgetPort(Protocol):
    """The way to the budget, e.g. an actor's handle."""

    async def settle(self, message: Settle) -> Settled:
        """Hand a message over and give the answer.

        Raises:
            DependencyError: if the budget is away.
        """
        ...


class LoneBudget:
    """A budget of one process, where no cluster's is at hand; implements `BudgetPort`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._budget = ClusterBudget(BudgetConfig())

    async def settle(self, message: Settle) -> Settled:
        """Answer at once."""
        return self._budget.settle(message, self._clock.now_ns() // NS_PER_MS)


class WalletConfig(Section):
    """How a wallet refills."""

    address: str = "local"  # name of the address that exchanges see; one for all behind one NAT
    batch: int = Field(default=40, gt=0)  # weight asked for at once, if there is enough
    order_batch: int = Field(default=5, gt=0)
    keep_cancels: int = Field(default=0, ge=0)  # weight always at hand for cancels
    keep_orders: int = Field(default=0, ge=0)  # new orders (and their weight) always at hand
    beat_s: float = Field(default=1.0, gt=0)  # between reports while something is spent
    patience_s: float = Field(default=1.0, gt=0)  # without an answer; then cancels leave unasked


class Wallet:
    """One client's way to the budget; implements `don.exchanges.rates.RateGate`.

    Args:
        port: the way to the budget.
        limits: of the exchange.
        key: API key; "" for public calls only.
        lessee: name of this client, unique in the cluster and not used again after a restart.
        clock: wall time cuts windows, monotonic time measures patience.
        rng: spreads waiters.
        config: how to refill.
    """

    def __init__(
        self,
        port: BudgetPort,
        limits: ExchangeLimits,
        *,
        key: str,
        lessee: str,
        clock: Clock,
        rng: random.Random,
        config: WalletConfig,
    ) -> None:
        self._port = port
        self._lessee = lessee
        self._clock = clock
        self._rng = rng
        self._config = config
        self._purse = Purse(limits, address=config.address, key=key)
        self._keep = {
            (Counts.WEIGHT, Priority.CANCEL): config.keep_cancels,
            (Counts.WEIGHT, Priority.OPEN): config.keep_orders,
            (Counts.ORDERS, Priority.OPEN): config.keep_orders,
        }
        self._seq = 0
        self._lock = asyncio.Lock()
        self._queues = {priority: asyncio.Lock() for priority in Priority}
        self._refills: set[asyncio.Task[dict[str, int] | None]] = set()  # that cancels began
        self._beat: asyncio.Task[None] | None = None
        self._away_since_ns: int | None = None
        self._closed = False
        self.calls = 0  # messages sent to the budget

    def now_ms(self) -> int:
        """Wall time in ms: the exchange's windows are cut there."""
        return self._clock.now_ns() // NS_PER_MS

    async def acquire(self, weight: int, orders: int, priority: Priority) -> None:
        """Return when the request may leave; it is counted then."""
        while True:
            wait_ms = await self.take(weight, orders, priority)
            if wait_ms == 0:
                return
            # spread the waiters, so that they do not all knock at the window's first millisecond
            spread_ms = min(200, wait_ms) * self._rng.random()
            await asyncio.sleep((wait_ms + spread_ms) / 1_000)

    async def take(self, weight: int, orders: int, priority: Priority) -> int:
        """Count a request that leaves now and give 0, or give the ms to wait."""
        self._start()
        if self._purse.spend(weight, orders, priority, self.now_ms()):
            return 0
        paused_ms = self._purse.paused(weight, orders, self.now_ms())
        if paused_ms > 0:
            return paused_ms
        if priority is Priority.CANCEL:
            return await self._take_cancel(weight, orders)
        async with self._queues[priority], self._lock:
            waits = await self._refill(weight, orders, priority)
            if self._purse.spend(weight, orders, priority, self.now_ms()):
                return 0
        return self._wait_ms(waits, weight, orders)

    def observe(self, headers: Mapping[str, str]) -> None:
        """Take in what an answer says about the counts."""
        self._purse.observe(headers, self.now_ms())

    def pause(self, seconds: float, counts: Counts, reason: str) -> None:
        """Stop, and tell all others soon."""
        self._purse.pause(seconds, counts, reason, self.now_ms())

    def set_limits(self, rows: list[Mapping[str, object]]) -> None:
        """Take the limits over that the exchange lists."""
        self._purse.set_limits(rows)

    def use(self) -> float:
        """Fraction of the weight used in the running window, as far as known here."""
        return self._purse.use(self.now_ms())

    async def close(self) -> None:
        """Give back what is not used."""
        if self._closed:
            return
        self._closed = True
        if self._beat is None:
            return
        for task in (self._beat, *self._refills):
            task.cancel()
        await asyncio.gather(self._beat, *self._refills, return_exceptions=True)
        async with self._lock:
            self._purse.release(self.now_ms())
            await self._settle(())

    # ---- cancels --------------------------------------------------------------------------------

    async def _take_cancel(self, weight: int, orders: int) -> int:
        """As `take`, waiting for the budget no longer than the patience; after that a cancel
        leaves all the same, and is reported when the budget is back.
        """
        if not self._away():
            refill = asyncio.create_task(self._refill_first(weight, orders), name="rate-refill")
            self._refills.add(refill)
            refill.add_done_callback(self._refilled)
            await asyncio.wait({refill}, timeout=self._config.patience_s)
            if self._purse.spend(weight, orders, Priority.CANCEL, self.now_ms()):
                return 0
            if refill.done() and not self._away():
                return self._wait_ms(refill.result(), weight, orders)
        if self._purse.overdraw(weight, orders, self.now_ms()):
            return 0
        return 250  # the exchange has us pause

    async def _refill_first(self, weight: int, orders: int) -> dict[str, int] | None:
        async with self._lock:
            if self._away():  # found out meanwhile: the beat asks on
                return None
            return await self._refill(weight, orders, Priority.CANCEL)

    def _refilled(self, task: "asyncio.Task[dict[str, int] | None]") -> None:
        self._refills.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.warning("rate budget was not asked for a cancel", error=repr(task.exception()))

    def _away(self) -> bool:
        """Whether there was no budget for longer than the patience."""
        since, patience_ns = self._away_since_ns, self._config.patience_s * NS_PER_S
        return since is not None and self._clock.monotonic_ns() - since >= patience_ns

    # ---- settling -------------------------------------------------------------------------------

    async def _refill(self, weight: int, orders: int, priority: Priority) -> dict[str, int] | None:
        """Ask for what a request lacks, if it still does; under the lock. Answers as `_settle`."""
        missing = self._purse.missing(weight, orders, priority, self.now_ms())
        if not missing:
            return {}  # another's refill was enough
        return await self._settle(
            tuple(
                Ask(
                    pool=pool,
                    priority=priority,
                    minimum=amount,
                    wanted=max(amount, self._batch(pool)),
                )
                for pool, amount in missing.items()
            )
        )

    def _wait_ms(self, waits: dict[str, int] | None, weight: int, orders: int) -> int:
        """Until it is worth to try again; `waits` as from `_settle`."""
        if waits is None:
            return 250
        return max(1, *waits.values(), self._purse.paused(weight, orders, self.now_ms()), 1)

    def _batch(self, pool: str) -> int:
        return self._config.order_batch if "/orders" in pool else self._config.batch

    def _start(self) -> None:
        if self._beat is None and not self._closed:
            self._beat = asyncio.create_task(self._keep_up(), name="rate-wallet")

    async def _keep_up(self) -> None:
        """Report and top up, a little after each window's beginning and at every beat."""
        while True:
            if any(self._keep.values()) or self._purse.active(self.now_ms()):
                async with self._lock:
                    short = self._purse.shortage(self._keep, self.now_ms())
                    await self._settle(
                        tuple(
                            Ask(pool=pool, priority=priority, minimum=1, wanted=amount)
                            for pool, priority, amount in short
                        )
                    )
            pause_ms = min(
                self._config.beat_s * 1_000, self._purse.next_roll_ms(self.now_ms()) + 150
            )
            await asyncio.sleep((pause_ms + 50 * self._rng.random()) / 1_000)

    async def _settle(self, asks: tuple[Ask, ...]) -> dict[str, int] | None:
        """One message, only ever one under way; pool -> ms to wait, None if the budget is away."""
        self._seq += 1
        self.calls += 1
        message = Settle(
            lessee=self._lessee,
            seq=self._seq,
            reports=self._purse.reports(self.now_ms()),
            asks=asks,
        )
        asked_ns = self._clock.monotonic_ns()
        try:
            answer = await self._port.settle(message)
        except DependencyError as error:
            if self._away_since_ns is None:
                self._away_since_ns = asked_ns
                _log.warning("rate budget is away", error=str(error))
            return None
        if self._away_since_ns is not None:
            _log.info("rate budget is back")
            self._away_since_ns = None
        self._purse.take_in(answer, self.now_ms())
        return dict(answer.wait_ms)
