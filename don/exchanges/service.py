"""The execution service: sends orders, watches over them, tells the desk what became of them.

Plain asyncio behind the `Execution` actor. Does I/O through its gateway; holds nothing that a
restart needs: `start(KnownState)` rebuilds it from the desk's journal and from the exchange.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import structlog
from pydantic import Field

from don.clock import NS_PER_S, Clock
from don.errors import DependencyError, ExchangeRefused, RateLimited, UsageError
from don.exchanges.amender import Amender
from don.exchanges.base import FundingDue, Gateway, KnownState, StreamState, StreamStatus
from don.exchanges.deadman import DeadMan
from don.exchanges.outbox import Deliver, Outbox
from don.exchanges.poller import Poller
from don.exchanges.reconcile import ours
from don.exchanges.reporter import Reporter
from don.exchanges.sender import SendConfig, Sender
from don.exchanges.tasks import Tasks
from don.model.messages import AmendOrder, CancelOrder, FillReport, OrderReport
from don.model.order import Order
from don.model.section import Section

_log = structlog.get_logger(__name__)


class ExecutionConfig(Section):
    """Pace and bounds of the execution service."""

    send: SendConfig = SendConfig()
    poll_s: float = Field(default=5.0, gt=0)  # while orders are open
    account_s: float = Field(default=10.0, gt=0)  # between account checks
    busy_s: float = Field(default=0.5, gt=0)  # before a check that trading disturbed is repeated
    grace_s: float = Field(default=0.25, gt=0)  # for the stream to bring fills before polling
    queue: int = Field(default=10_000, gt=0)  # reports on their way to the desk
    batch: int = Field(default=500, gt=0)
    retry_base_s: float = Field(default=0.1, gt=0)
    retry_cap_s: float = Field(default=5.0, gt=0)
    # the exchange cancels our open orders when it has not heard of us for so long; None: never
    dead_man_s: float | None = Field(default=None, ge=1, le=3_600)
    drain_s: float = Field(default=10.0, gt=0)  # for orders and reports to settle at the close


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionHealth:
    """How the service is, for the console and the supervisor."""

    started: bool
    stream: str  # up | down
    stream_detail: str
    stream_ts: int  # wall ns of the last change
    reconnects: int
    queue: int  # reports waiting for the desk
    delivered: int
    delivery_failures: int
    in_flight: int  # orders and cancels waiting, under way or in doubt
    unresolved: int  # of these, in doubt
    live_orders: int
    rate_use: float  # fraction of the exchange's request budget
    clock: str  # how far ours is ahead of the exchange's, for people; "" while not compared
    clock_ahead_s: float | None  # None while not compared, as the next
    clock_error_s: float | None  # at most so far from that
    last_reconcile_ts: int
    last_account_ts: int
    last_error: str
    failure: str  # why the service must be restarted, "" while it need not


class ExecutionService:
    """Orders out, reports in; one account at one exchange."""

    def __init__(
        self,
        gateway: Gateway,
        config: ExecutionConfig,
        clock: Clock,
        deliver: Deliver,
        *,
        rng: random.Random | None = None,
    ) -> None:
        """A service; nothing runs before `start`.

        Args:
            gateway: the exchange; closed with the service.
            config: pace and bounds.
            clock: stamps and durations.
            deliver: hands a batch of reports to the desk; returns when they are safe there. It is
                called again with the same reports when it raises.
            rng: spreads retries; a fresh one by default.
        """
        rng = rng if rng is not None else random.Random()
        self._gateway = gateway
        self._config = config
        self._clock = clock
        self._rng = rng
        self._tasks = Tasks()
        self._outbox = Outbox(
            deliver,
            rng,
            size=config.queue,
            batch=config.batch,
            retry_base_s=config.retry_base_s,
            retry_cap_s=config.retry_cap_s,
        )
        self._reporter = Reporter(self._outbox)
        self._sender = Sender(gateway, self._reporter, self._tasks, config.send, clock, rng)
        self._amender = Amender(gateway, self._reporter, rng)
        self._dead_man = DeadMan(gateway, self._reporter.tracker, config.dead_man_s)
        self._poller = Poller(gateway, self._reporter, self._sender, clock)
        self._symbols: frozenset[str] = frozenset()
        self._caught_up = asyncio.Event()
        self._account_due = asyncio.Event()
        self._funding_due = asyncio.Event()
        self._stream = StreamState(
            status=StreamStatus.DOWN, detail="not started", ts_recv=clock.now_ns()
        )
        self._reconnects = 0
        self._last_error = ""
        self._running = False
        self._watchers: list[asyncio.Task[None]] = []

    async def start(self, known: KnownState) -> None:
        """Take over from the journal, connect, and catch up. Returns when reports are up to date.

        Orders of `known` whose fate is open are then being asked for; what becomes of them comes as
        reports. Calling it again (after the desk restarted) adopts and looks up what is new.
        """
        if not self._symbols:
            await self._until_done("instruments", self._load)
        adopted = [order for order in known.orders if self._reporter.tracker.adopt(order)]
        self._poller.adopt(known)
        if not self._running:
            self._running = True
            self._tasks.spawn(self._outbox.run(), "outbox")
            for work, name in (
                (self._listen(), "stream"),
                (self._watch_orders(), "orders"),
                (self._watch_account(), "account"),
                (self._watch_fills(), "fills"),
                (self._watch_funding(), "funding"),
                (self._dead_man.run(), "dead man"),
            ):
                self._watchers.append(self._tasks.spawn(work, name))
            await self._caught_up.wait()
            await self._until_done("unknown orders", self._cancel_strangers)
            self._account_due.set()
        elif adopted:
            await self._until_done("catch-up", self._poller.catch_up)
            self._account_due.set()

    async def submit(self, orders: Sequence[Order]) -> None:
        """Send orders; returns when they are queued. What becomes of them comes as reports.

        Orders that reduce risk leave first; orders of one symbol leave one after the other. An id
        that was seen before is never sent again.

        Raises:
            UsageError: if a symbol is not listed; then none of the orders is sent.
            DependencyError: if the service is not running.
        """
        self._check_running()
        for order in orders:
            if order.symbol not in self._symbols:
                raise UsageError(f"order symbol {order.symbol!r} is not listed at the exchange")
        for order in orders:
            self._poller.watch(order.symbol)
        self._dead_man.wake()
        await self._sender.submit(orders)

    async def cancel(self, requests: Sequence[CancelOrder]) -> None:
        """Cancel orders; returns when the cancels are queued. They overtake orders in the queue."""
        self._check_running()
        for request in requests:
            if request.symbol not in self._symbols:
                raise UsageError(f"cancel symbol {request.symbol!r} is not listed at the exchange")
        await self._sender.cancel(requests)

    async def amend(self, request: AmendOrder) -> OrderReport:
        """Give an open limit order another size and price; its state after that, also reported.

        Whoever asks keeps the new size and price: reports do not carry them.

        Raises:
            ExchangeRefused: the order stays as it is, or is no longer open.
            DependencyError: the service is not running.
        """
        self._check_running()
        return await self._amender.amend(request)

    async def cancel_all(self, reason: str = "cancel all") -> None:
        """Cancel every order of ours, also those that the journal does not know.

        Raises:
            DependencyError: if the exchange cannot be asked for unknown orders; those known are
                being cancelled all the same.
        """
        self._check_running()
        await self._sender.cancel_all(reason)
        listed = ours(await self._gateway.open_orders())
        await self._sender.cancel(
            [
                CancelOrder(
                    client_order_id=report.client_order_id, symbol=report.symbol, reason=reason
                )
                for report in listed
                if self._reporter.tracker.find(report.client_order_id) is None
            ]
        )

    async def check_account(self, *, final: bool = False) -> None:
        """Report the account as soon as nothing moves; waits until that is so.

        Args:
            final: mark the report as the one that closes the session.
        """
        self._check_running()
        await self._until_done("account", partial(self._account, final))

    async def settled(self) -> None:
        """Wait until no order is under way and every report was delivered."""
        await self._sender.idle()
        await self._outbox.drained()

    async def join(self) -> None:
        """Wait until the service is closed; raises if a part of it crashed: then restart it."""
        await self._tasks.join()

    def health(self) -> ExecutionHealth:
        """The service's state now."""
        failure = self._tasks.failure
        clock = self._gateway.clock()
        return ExecutionHealth(
            started=self._caught_up.is_set(),
            stream=self._stream.status.value,
            stream_detail=self._stream.detail,
            stream_ts=self._stream.ts_recv,
            reconnects=self._reconnects,
            queue=len(self._outbox),
            delivered=self._outbox.delivered,
            delivery_failures=self._outbox.failures,
            in_flight=self._sender.in_flight,
            unresolved=self._sender.unresolved,
            live_orders=len(self._reporter.tracker.live()),
            rate_use=self._gateway.rate_use(),
            clock="" if clock is None else clock.text(),
            clock_ahead_s=None if clock is None else clock.ahead_ns / NS_PER_S,
            clock_error_s=None if clock is None else clock.error_ns / NS_PER_S,
            last_reconcile_ts=self._poller.last_reconcile_ns,
            last_account_ts=self._poller.last_account_ns,
            last_error=self._last_error,
            failure="" if failure is None else repr(failure),
        )

    async def close(self) -> None:
        """Let orders and reports settle for a while, then end everything. Safe to call twice.

        Orders still in doubt stay so in the journal; the next start resolves them.
        """
        if self._running:
            self._running = False
            try:
                async with asyncio.timeout(self._config.drain_s):
                    await self.settled()
            except TimeoutError:
                _log.warning(
                    "closed before all was settled",
                    in_flight=self._sender.in_flight,
                    reports=len(self._outbox),
                )
            await self._dead_man.disarm()
        await self._tasks.cancel()
        await self._gateway.close()

    def _check_running(self) -> None:
        if self._tasks.failure is not None:
            raise DependencyError(f"execution has failed: {self._tasks.failure!r}")
        if not self._running:
            raise DependencyError("execution is not running: start it first")

    async def _cancel_strangers(self) -> None:
        """Orders of ours that the journal does not know have nobody to look after them."""
        requests = await self._poller.strangers()
        if requests:
            names = [request.client_order_id for request in requests]
            _log.warning("cancelling orders that the journal does not know", orders=names)
            await self._sender.cancel(requests)

    async def _load(self) -> None:
        self._symbols = frozenset(item.symbol for item in await self._gateway.instruments())

    async def _listen(self) -> None:
        events = self._gateway.stream()
        fill: FillReport | None = None
        async with aclosing(events):
            async for event in events:
                if isinstance(event, FillReport):
                    fill = event  # its order's state comes next
                elif isinstance(event, OrderReport):
                    if fill is None:
                        await self._reporter.emit([event])
                        continue
                    if self._reporter.tracker.gap(fill, event):
                        _log.warning("stream skipped fills", symbol=event.symbol)
                        read = partial(self._poller.fills, event.symbol)
                        await self._until_done("fills", read)
                    await self._reporter.emit([fill, event])
                    fill = None
                elif isinstance(event, StreamState):
                    self._stream = event
                    if event.status is StreamStatus.UP:
                        # later events wait in the socket: nothing overtakes what was missed
                        await self._until_done("catch-up", self._poller.catch_up)
                        self._caught_up.set()
                        self._account_due.set()
                    else:
                        self._reconnects += 1
                elif isinstance(event, FundingDue):
                    self._funding_due.set()

    async def _watch_orders(self) -> None:
        while True:
            await asyncio.sleep(self._config.poll_s)
            if self._caught_up.is_set() and self._reporter.tracker.live():
                await self._until_done("orders", self._poller.live)

    async def _watch_account(self) -> None:
        await self._caught_up.wait()
        while True:
            try:
                async with asyncio.timeout(self._config.account_s):
                    await self._account_due.wait()
            except TimeoutError:
                pass  # the period is over: check without being asked
            self._account_due.clear()
            await self._until_done("account", partial(self._account, False))

    async def _account(self, final: bool) -> None:
        while True:
            await self._sender.idle()
            if await self._poller.account(final=final):
                return
            await asyncio.sleep(self._config.busy_s)

    async def _watch_fills(self) -> None:
        while True:
            await self._reporter.waiting.wait()
            self._reporter.waiting.clear()
            await asyncio.sleep(self._config.grace_s)
            if self._reporter.tracker.held():
                await self._until_done("fills", self._poller.missing_fills)
            if self._reporter.tracker.held():
                self._reporter.waiting.set()

    async def _watch_funding(self) -> None:
        while True:
            await self._funding_due.wait()
            self._funding_due.clear()
            await self._until_done("funding", self._poller.funding)

    async def _until_done(self, what: str, work: Callable[[], Awaitable[object]]) -> None:
        """Repeat work until the exchange lets it succeed."""
        failures = 0
        while True:
            try:
                await work()
                return
            except (DependencyError, ExchangeRefused) as error:
                failures += 1
                self._last_error = f"{what}: {error}"
                _log.warning("exchange call failed, retrying", what=what, error=str(error))
                ceiling = self._config.retry_base_s * 2.0 ** min(failures, 30)
                delay_s = self._rng.random() * min(ceiling, self._config.retry_cap_s)
                if isinstance(error, RateLimited):
                    delay_s += error.retry_after_s
                await asyncio.sleep(delay_s)
