"""The pace of a feed's REST requests: within the budget that all clients of an address share."""

from collections.abc import Mapping
from typing import Protocol

from don.exchanges.rates import Counts, Priority, RateGate, limits_of


class Pace(Protocol):
    """Lets requests leave, and hears what the exchange says about them."""

    async def leave(self, path: str, params: Mapping[str, object]) -> None:
        """Return when the request may leave."""

    def heard(self, headers: Mapping[str, str]) -> None:
        """Take in what an answer says about the counts."""

    def refused(self, seconds: float) -> None:
        """The exchange asked to slow down."""


class FreePace:
    """No budget is shared: only the exchange's own refusals slow the feed down."""

    async def leave(self, path: str, params: Mapping[str, object]) -> None:
        """At once."""

    def heard(self, headers: Mapping[str, str]) -> None:
        """Nothing to learn."""

    def refused(self, seconds: float) -> None:
        """The client itself waits."""


class BudgetPace:
    """Within a shared budget, with the lowest priority: data wait for orders.

    Args:
        exchange: cryptofeed's name, for the weights of calls.
        gate: to the budget.
    """

    def __init__(self, exchange: str, gate: RateGate) -> None:
        self._limits = limits_of(exchange)
        self._gate = gate

    async def leave(self, path: str, params: Mapping[str, object]) -> None:
        """Wait for the weight of the call."""
        endpoint = path.partition("?")[0].rstrip("/").rpartition("/")[2]
        await self._gate.acquire(self._limits.weight(endpoint, params), 0, Priority.DATA)

    def heard(self, headers: Mapping[str, str]) -> None:
        """Correct the counts by the exchange's own."""
        self._gate.observe(headers)

    def refused(self, seconds: float) -> None:
        """Nobody of this address asks before the time is over."""
        self._gate.pause(seconds, Counts.WEIGHT, "a feed was asked to slow down")
