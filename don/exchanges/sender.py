"""Orders and cancels on their way to the exchange: each order is sent at most once. Does I/O.

A submit whose outcome is unknown is never repeated: its id is queried until the exchange knows it,
or until the exchange would refuse the request as too old, and only then is the order LOST.
"""

import asyncio
import random
from collections.abc import Sequence

import structlog
from pydantic import Field

from don.clock import NS_PER_MS, NS_PER_S, Clock
from don.errors import ExchangeRefused, ExchangeUnavailable, RateLimited
from don.exchanges.base import Gateway, SubmitUnknown
from don.exchanges.lanes import Lane, Waiting
from don.exchanges.reconcile import Missing, Tracked, forgotten, missing, never_arrived
from don.exchanges.reporter import Reporter
from don.exchanges.tasks import Tasks
from don.model.messages import CancelOrder
from don.model.order import Order
from don.model.section import Section

_log = structlog.get_logger(__name__)


class SendConfig(Section):
    """How orders leave."""

    max_order_age_s: float = Field(default=10.0, gt=0)  # an order that waited longer is not sent
    lost_margin_s: float = Field(default=2.0, ge=1)  # on top of the receive window; clock error
    retry_base_s: float = Field(default=0.1, gt=0)
    retry_cap_s: float = Field(default=5.0, gt=0)
    resolve_cap_s: float = Field(default=1.0, gt=0)  # between queries for an order in doubt
    lane: int = Field(default=256, gt=0)  # orders waiting per symbol; more are given back as LOST


class Sender:
    """Lanes of orders and cancels, one worker a symbol, and a resolver per order in doubt."""

    def __init__(
        self,
        gateway: Gateway,
        reporter: Reporter,
        tasks: Tasks,
        config: SendConfig,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._gateway = gateway
        self._reporter = reporter
        self._tasks = tasks
        self._config = config
        self._clock = clock
        self._rng = rng
        self._window_ns = gateway.recv_window_ms * NS_PER_MS + int(config.lost_margin_s * NS_PER_S)
        self._lanes: dict[str, Lane] = {}
        self._wakes: dict[str, asyncio.Event] = {}
        self._handled: set[str] = set()  # client order ids being worked on
        self._resolving: set[str] = set()
        self._cancel_wanted: dict[str, CancelOrder] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self.started = 0  # rises with everything that begins: equal readings mean nothing did

    @property
    def in_flight(self) -> int:
        """Orders and cancels that wait, are under way, or are in doubt."""
        return (
            sum(len(lane) for lane in self._lanes.values())
            + len(self._handled)
            + len(self._resolving)
        )

    @property
    def unresolved(self) -> int:
        """Orders whose fate is in doubt."""
        return len(self._resolving)

    def handles(self, client_order_id: str) -> bool:
        """Whether the order is under way or in doubt here: nobody else need ask for it."""
        return (
            client_order_id in self._handled
            or client_order_id in self._resolving
            or any(lane.holds(client_order_id) for lane in self._lanes.values())
        )

    async def idle(self) -> None:
        """Wait until nothing is in flight."""
        await self._idle.wait()

    async def submit(self, orders: Sequence[Order]) -> None:
        """Queue orders; one whose id was seen before is asked for instead of being sent again."""
        fresh: dict[str, list[Order]] = {}
        for order in orders:
            if self._reporter.tracker.begin(order) is not None:
                fresh.setdefault(order.symbol, []).append(order)
                continue
            _log.warning("order submitted twice, asking for it", order=order.client_order_id)
            tracked = self._reporter.tracker.find(order.client_order_id)
            if tracked is not None and not self.handles(order.client_order_id):
                self.resolve(tracked, self._clock.monotonic_ns())
        for symbol, batch in fresh.items():
            for order in self._lane(symbol).add(batch, self._clock.monotonic_ns()):
                await self._lost(order, "not sent: too many orders wait for this symbol")
            self._wake(symbol)

    async def cancel(self, requests: Sequence[CancelOrder]) -> None:
        """Queue cancels; an order that has not left is taken back."""
        for request in requests:
            order = self._lane(request.symbol).cancel(request)
            if order is not None:
                await self._lost(order, f"not sent: cancelled before it left ({request.reason})")
            self._wake(request.symbol)

    async def cancel_all(self, reason: str) -> None:
        """Take back all orders that have not left, and cancel all others that are not final."""
        for lane in self._lanes.values():
            for order in lane.clear():
                await self._lost(order, f"not sent: cancelled before it left ({reason})")
        await self.cancel(
            [
                CancelOrder(
                    client_order_id=tracked.client_order_id, symbol=tracked.symbol, reason=reason
                )
                for tracked in self._reporter.tracker.live()
            ]
        )

    def resolve(self, tracked: Tracked, last_send_ns: int) -> None:
        """Ask for an order in doubt until its fate is known.

        Args:
            tracked: the order.
            last_send_ns: monotonic time after which it was certainly not sent again.
        """
        if tracked.client_order_id in self._resolving:
            return
        self._resolving.add(tracked.client_order_id)
        self._changed()
        self._tasks.spawn(
            self._resolve(tracked, last_send_ns), f"resolve:{tracked.client_order_id}"
        )

    def _lane(self, symbol: str) -> Lane:
        lane = self._lanes.get(symbol)
        if lane is None:
            lane = self._lanes[symbol] = Lane(size=self._config.lane)
            self._wakes[symbol] = asyncio.Event()
            self._tasks.spawn(self._work(lane, self._wakes[symbol]), f"lane:{symbol}")
        return lane

    def _wake(self, symbol: str) -> None:
        self.started += 1
        self._changed()
        self._wakes[symbol].set()

    def _changed(self) -> None:
        if self.in_flight:
            self._idle.clear()
        else:
            self._idle.set()

    async def _work(self, lane: Lane, wake: asyncio.Event) -> None:
        while True:
            item = lane.next()
            if item is None:
                wake.clear()
                self._changed()
                await wake.wait()
                continue
            order_id = (
                item.client_order_id
                if isinstance(item, CancelOrder)
                else item.order.client_order_id
            )
            self._handled.add(order_id)
            self.started += 1
            try:
                if isinstance(item, CancelOrder):
                    await self._cancel(item)
                else:
                    await self._send(item)
            finally:
                self._handled.discard(order_id)

    async def _send(self, waiting: Waiting) -> None:
        order = waiting.order
        tracked = self._reporter.tracker.find(order.client_order_id)
        if tracked is None:
            raise AssertionError(f"order {order.client_order_id} is in a lane but not tracked")
        deadline_ns = waiting.since_ns + int(self._config.max_order_age_s * NS_PER_S)
        reason = "the desk's order waited too long"
        while self._clock.monotonic_ns() < deadline_ns:
            if tracked.final:
                return  # it was told lost: it must not leave any more
            tracked.ts_sent = self._clock.now_ns()  # the stream may be faster than the answer
            try:
                report = await self._gateway.submit(order)
            except RateLimited as error:  # turned away: certainly not processed, may be sent again
                reason = str(error)
                left_s = (deadline_ns - self._clock.monotonic_ns()) / NS_PER_S
                await asyncio.sleep(min(error.retry_after_s + self._delay_s(0), max(left_s, 0.0)))
            except SubmitUnknown as error:
                _log.warning("submit in doubt", order=order.client_order_id, error=str(error))
                tracked.ts_sent = error.ts_sent
                self.resolve(tracked, error.sent_monotonic_ns)
                return
            else:
                await self._reporter.emit([report])
                return
        await self._lost(order, f"not sent: {reason}")

    async def _cancel(self, request: CancelOrder) -> None:
        order_id = request.client_order_id
        failures = 0
        while True:
            tracked = self._reporter.tracker.find(order_id)
            if tracked is not None and tracked.final:
                return
            order = self._lane(request.symbol).take(order_id)
            if order is not None:  # the cancel came before the order
                await self._lost(order, f"not sent: cancelled before it left ({request.reason})")
                return
            try:
                await self._reporter.emit([await self._gateway.cancel(request.symbol, order_id)])
                return
            except ExchangeRefused as refused:
                _log.info("cancel refused", order=order_id, code=refused.code)
            except RateLimited as error:
                await asyncio.sleep(error.retry_after_s)
                continue
            except ExchangeUnavailable as error:
                failures += 1
                _log.warning("cancel failed, retrying", order=order_id, error=str(error))
                await asyncio.sleep(self._delay_s(failures))
                continue
            # the exchange has nothing to cancel: it is final, or has not arrived yet
            if tracked is None:
                _log.error("cancel of an order that is not known", order=order_id)
                return
            self._cancel_wanted[order_id] = request
            self.resolve(tracked, self._clock.monotonic_ns())
            return

    async def _resolve(self, tracked: Tracked, last_send_ns: int) -> None:
        order_id = tracked.client_order_id
        failures = 0
        try:
            while not tracked.final:
                asked_ns = self._clock.monotonic_ns()
                delay_s = self._delay_s(failures)
                try:
                    report = await self._gateway.order(tracked.symbol, order_id)
                except RateLimited as error:
                    delay_s = error.retry_after_s
                except (ExchangeUnavailable, ExchangeRefused) as error:
                    failures += 1
                    _log.warning("order in doubt, asking again", order=order_id, error=str(error))
                else:
                    failures += 1
                    if report is not None:
                        await self._reporter.emit([report])
                        return
                    verdict = missing(
                        acknowledged=tracked.acknowledged,
                        last_send_ns=last_send_ns,
                        now_ns=asked_ns,
                        window_ns=self._window_ns,
                    )
                    if order_id in self._handled:
                        verdict = Missing.WAIT  # it may be leaving just now
                    if verdict is Missing.LOST:
                        self._lane(tracked.symbol).take(order_id)  # then it must not leave either
                        detail = "the exchange never received it"
                        lost = never_arrived(tracked, detail, self._clock.now_ns())
                        await self._reporter.emit([lost])
                        return
                    if verdict is Missing.GONE:
                        await self._reporter.emit([forgotten(tracked, self._clock.now_ns())])
                        return
                await asyncio.sleep(min(delay_s, self._config.resolve_cap_s))
        finally:
            self._resolving.discard(order_id)
            wanted = self._cancel_wanted.pop(order_id, None)
            if wanted is not None and not tracked.final and tracked.held is None:
                self._lane(wanted.symbol).cancel(wanted)
                self._wake(wanted.symbol)
            self._changed()

    async def _lost(self, order: Order, detail: str) -> None:
        tracked = self._reporter.tracker.find(order.client_order_id)
        if tracked is None or tracked.final:
            return
        await self._reporter.emit([never_arrived(tracked, detail, self._clock.now_ns())])

    def _delay_s(self, failures: int) -> float:
        ceiling = self._config.retry_base_s * 2.0 ** min(failures, 30)
        return self._rng.random() * min(ceiling, self._config.retry_cap_s)
