"""Rate limits as the exchange counts them: fixed windows of wall time. Pure; time comes in.

Request weight counts per address (everybody is on loopback: per server), orders per account.
"""

from dataclasses import dataclass

from don.errors import ExchangeRefused
from don.paper.server import codes
from don.paper.server.config import LimitsConfig


class _Window:
    """Count within the running window of fixed length."""

    def __init__(self, length_ms: int, limit: int) -> None:
        self.length_ms = length_ms
        self.limit = limit
        self.used = 0
        self._index = -1

    def roll(self, now: int) -> None:
        index = now // self.length_ms
        if index != self._index:
            self._index, self.used = index, 0

    def retry_after_s(self, now: int) -> int:
        return -(-(self.length_ms - now % self.length_ms) // 1_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exceeded:
    """A limit was hit: what to answer, and when to come again."""

    refusal: ExchangeRefused
    retry_after_s: int


class RateLimits:
    """Counts weights and orders; tells who goes over."""

    def __init__(self, config: LimitsConfig) -> None:
        self._weight = _Window(60_000, config.weight_per_minute)
        self._orders_10s = _Window(10_000, config.orders_per_10s)
        self._orders_1m = _Window(60_000, config.orders_per_minute)

    def take(self, weight: int, orders: int, now: int) -> Exceeded | None:
        """Count a request of `weight` and `orders` new orders at wall time `now`, ms.

        A refused request still counts its weight, so that hammering does not help; refused orders
        do not count.
        """
        for window in (self._weight, self._orders_10s, self._orders_1m):
            window.roll(now)
        self._weight.used += weight
        if self._weight.used > self._weight.limit:
            refusal = ExchangeRefused(
                codes.TOO_MANY_REQUESTS,
                f"Too many requests; current limit of IP(127.0.0.1) is {self._weight.limit} "
                "requests per minute. Please use the websocket for live updates to avoid polling "
                "the API.",
            )
            return Exceeded(refusal=refusal, retry_after_s=self._weight.retry_after_s(now))
        if not orders:
            return None
        for window in (self._orders_10s, self._orders_1m):
            if window.used + orders > window.limit:
                span = (
                    f"{window.length_ms // 1_000} SECOND" if window.length_ms < 60_000 else "MINUTE"
                )
                refusal = ExchangeRefused(
                    codes.TOO_MANY_ORDERS,
                    f"Too many new orders; current limit is {window.limit} orders per {span}.",
                )
                return Exceeded(refusal=refusal, retry_after_s=window.retry_after_s(now))
        self._orders_10s.used += orders
        self._orders_1m.used += orders
        return None

    def headers(self, orders: bool) -> dict[str, str]:
        """Headers that tell the counts; the order counts only on order requests."""
        headers = {"X-MBX-USED-WEIGHT-1M": str(self._weight.used)}
        if orders:
            headers["X-MBX-ORDER-COUNT-10S"] = str(self._orders_10s.used)
            headers["X-MBX-ORDER-COUNT-1M"] = str(self._orders_1m.used)
        return headers

    def listing(self) -> list[dict[str, object]]:
        """The limits as `exchangeInfo` lists them."""
        rows = (
            ("REQUEST_WEIGHT", "MINUTE", 1, self._weight.limit),
            ("ORDERS", "MINUTE", 1, self._orders_1m.limit),
            ("ORDERS", "SECOND", 10, self._orders_10s.limit),
        )
        return [
            {"rateLimitType": kind, "interval": unit, "intervalNum": number, "limit": limit}
            for kind, unit, number, limit in rows
        ]
