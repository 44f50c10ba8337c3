"""One process's own request budget, where there is none for the cluster. `RateBudget` is pure.

The exchange counts request weight in minutes of wall time, new orders in windows of 10 s and 1 min.
Each priority may use the budget only up to its share, so that cancels always find room: they never
queue behind polling or new orders.
"""

import asyncio
import random
from collections.abc import Mapping

import structlog

from don.clock import NS_PER_MS, Clock
from don.exchanges.rates import Counts, Priority

_log = structlog.get_logger(__name__)

MINUTE_MS = 60_000


class _Window:
    """One count of the exchange, in fixed windows."""

    def __init__(self, length_ms: int, limit: int) -> None:
        self.length_ms = length_ms
        self.limit = limit
        self.used = 0
        self._index = -1

    def roll(self, now_ms: int) -> None:
        index = now_ms // self.length_ms
        if index > self._index:  # a wall clock that was set back opens no window anew
            self._index, self.used = index, 0

    def wait_ms(self, cost: int, share: float, now_ms: int) -> int:
        # a request dearer than its share passes when the window is empty: else it would never leave
        if cost == 0 or self.used == 0 or self.used + cost <= self.limit * share:
            return 0
        return self.length_ms - now_ms % self.length_ms


class RateBudget:
    """Counts as the exchange does; its own counts are corrected by what the exchange reports."""

    def __init__(
        self,
        weight_per_minute: int = 2_400,
        orders_per_10s: int = 300,
        orders_per_minute: int = 1_200,
    ) -> None:
        self._weight = _Window(MINUTE_MS, weight_per_minute)
        self._orders_10s = _Window(10_000, orders_per_10s)
        self._orders_1m = _Window(MINUTE_MS, orders_per_minute)
        self._windows = (self._weight, self._orders_10s, self._orders_1m)
        self._blocked_until_ms = 0

    def set_limits(self, rows: list[Mapping[str, object]]) -> None:
        """Take the limits over that `exchangeInfo` lists."""
        for row in rows:
            key = (row["rateLimitType"], row["interval"], int(str(row["intervalNum"])))
            limit = int(str(row["limit"]))
            if key == ("REQUEST_WEIGHT", "MINUTE", 1):
                self._weight.limit = limit
            elif key == ("ORDERS", "SECOND", 10):
                self._orders_10s.limit = limit
            elif key == ("ORDERS", "MINUTE", 1):
                self._orders_1m.limit = limit

    def take(self, weight: int, orders: int, priority: Priority, now_ms: int) -> int:
        """Count a request and give 0, or give the ms to wait before asking again."""
        for window in self._windows:
            window.roll(now_ms)
        wait = max(
            self._blocked_until_ms - now_ms,
            self._weight.wait_ms(weight, priority.value, now_ms),
            self._orders_10s.wait_ms(orders, priority.value, now_ms),
            self._orders_1m.wait_ms(orders, priority.value, now_ms),
            0,
        )
        if wait == 0:
            self._weight.used += weight
            self._orders_10s.used += orders
            self._orders_1m.used += orders
        return wait

    def correct(self, headers: Mapping[str, str], now_ms: int) -> None:
        """Raise the counts to what the exchange reports: others may share the address."""
        for window in self._windows:
            window.roll(now_ms)
        for name, value in headers.items():
            if not value.isdigit():
                continue
            match name.upper():
                case "X-MBX-USED-WEIGHT-1M":
                    self._weight.used = max(self._weight.used, int(value))
                case "X-MBX-ORDER-COUNT-10S":
                    self._orders_10s.used = max(self._orders_10s.used, int(value))
                case "X-MBX-ORDER-COUNT-1M":
                    self._orders_1m.used = max(self._orders_1m.used, int(value))

    def block(self, seconds: float, now_ms: int) -> None:
        """Let nothing leave for a while: going on would turn a warning into a ban."""
        self._blocked_until_ms = max(self._blocked_until_ms, now_ms + int(seconds * 1_000))

    def use(self, now_ms: int) -> float:
        """Fraction of the weight budget used in the running minute."""
        self._weight.roll(now_ms)
        return self._weight.used / self._weight.limit


class RateLimiter:
    """Waits until the budget lets a request pass; implements `don.exchanges.rates.RateGate`."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self.budget = RateBudget()
        self._clock = clock
        self._rng = rng

    def now_ms(self) -> int:
        """Wall time in ms: the exchange's windows are cut there."""
        return self._clock.now_ns() // NS_PER_MS

    async def acquire(self, weight: int, orders: int, priority: Priority) -> None:
        """Return when the request may leave; it is counted then."""
        while True:
            wait_ms = self.budget.take(weight, orders, priority, self.now_ms())
            if wait_ms == 0:
                return
            # spread the waiters, so that they do not all knock at the window's first millisecond
            await asyncio.sleep((wait_ms + 100 * self._rng.random()) / 1_000)

    async def take(self, weight: int, orders: int, priority: Priority) -> int:
        """Count a request that leaves now and give 0, or give the ms to wait."""
        return self.budget.take(weight, orders, priority, self.now_ms())

    def observe(self, headers: Mapping[str, str]) -> None:
        """Take in what an answer says about the counts."""
        self.budget.correct(headers, self.now_ms())

    def pause(self, seconds: float, counts: Counts, reason: str) -> None:
        """Let nothing leave for a while, whichever count was exceeded."""
        _log.warning("exchange asks for a pause", seconds=seconds, counts=counts, reason=reason)
        self.budget.block(seconds, self.now_ms())

    def set_limits(self, rows: list[Mapping[str, object]]) -> None:
        """Take the limits over that the exchange lists."""
        self.budget.set_limits(rows)

    def use(self) -> float:
        """Fraction of the weight used in the running minute."""
        return self.budget.use(self.now_ms())

    async def close(self) -> None:
        """Nothing to give back."""
