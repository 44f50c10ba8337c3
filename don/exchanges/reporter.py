"""The one way by which reports reach the desk: through the tracker, into the outbox. Does I/O."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from don.exchanges.base import PREFIX, Report
from don.exchanges.outbox import Outbox
from don.exchanges.reconcile import Tracker
from don.model.messages import AccountReport, FillReport, OrderReport
from don.model.order import OrderStatus

_log = structlog.get_logger(__name__)


class Reporter:
    """Tracks what was told and puts news into the outbox, in one order for all sides."""

    def __init__(self, outbox: Outbox) -> None:
        self.tracker = Tracker()
        self.activity = 0  # rises with every report told: two equal readings mean nothing new
        self.last_ts_event = 0  # latest exchange time seen
        self.waiting = asyncio.Event()  # an order's state waits for fills
        self._outbox = outbox
        self._lock = asyncio.Lock()
        self._strangers: set[str] = set()

    async def emit(self, reports: Sequence[Report]) -> None:
        """Take reports from any side; news go to the desk. Waits while the box is full."""
        async with self._lock:
            told = self.tracker.fold(reports)
            for report in told:
                self.last_ts_event = max(self.last_ts_event, _ts_event(report))
                if isinstance(report, OrderReport) and report.status is OrderStatus.LOST:
                    _log.warning("order lost", order=report.client_order_id, detail=report.detail)
            self.activity += len(told)
            if self.tracker.held():
                self.waiting.set()
            await self._outbox.put(told)

    async def conclude(self, make: Callable[[int], AccountReport], activity: int) -> bool:
        """Put an account report into the outbox, if nothing was told since `activity` was read.

        Args:
            make: the report, given the latest exchange time seen.
            activity: reading of `activity` before the account was asked for.
        """
        async with self._lock:
            if self.activity != activity:
                return False
            await self._outbox.put([make(self.last_ts_event)])
            return True

    def strangers(self, open_orders: Sequence[OrderReport]) -> list[OrderReport]:
        """Open orders that carry our prefix but are unknown to us; said loudly, once each."""
        found = []
        for report in open_orders:
            name = report.client_order_id
            if not name.startswith(PREFIX) or self.tracker.find(name) is not None:
                continue
            found.append(report)
            if name not in self._strangers and len(self._strangers) < 10_000:
                self._strangers.add(name)
                _log.error("open order is unknown to the journal", order=name, symbol=report.symbol)
        return found


def _ts_event(report: Report) -> int:
    return report.fill.ts_event if isinstance(report, FillReport) else report.ts_event
