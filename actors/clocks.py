"""Our clock against each source's exchange, measured again and again. Held by the writer."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from actors.budget import budget_gate
from actors.delivery import run_or_die
from don.clock import NS_PER_MS, NS_PER_S, Clock
from don.errors import DonError
from don.exchanges.ccxt_history import CcxtHistory, HistoryConfig
from don.exchanges.clock_offset import Reading
from don.exchanges.rates import ExchangeLimits, RateGate
from don.exchanges.wallet import WalletConfig
from don.feeds.config import FeedConfig
from don.log import get_logger
from don.observe.sample import Sample, sample

EVERY_S = 60.0
SUSPECT_S = 1.0  # further apart than that, for certain: latencies and ages of data mean little


class Clocks:
    """Compares with every source whose exchange tells its time; what fails is tried again.

    Args:
        sources: name under which each is stored, and its feed.
        clock: ours.
        make_gate: to the budget that pays for the questions; None: the cluster's.
    """

    def __init__(
        self,
        sources: Sequence[tuple[str, FeedConfig]],
        clock: Clock,
        make_gate: Callable[[str, ExchangeLimits], RateGate | None] | None = None,
    ) -> None:
        self._clock = clock
        self._make_gate = make_gate or self._gate
        self._log = get_logger("don.clocks")
        self._readings: dict[str, Reading] = {}
        self._failed: set[str] = set()
        self._connections = {name: self._connect(feed) for name, feed in sources}
        self._task = run_or_die(self._run(), "clocks")

    async def close(self) -> None:
        """End; what was measured stays to be read."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for connection in self._connections.values():
            if connection is not None:
                await connection.close()

    def samples(self) -> Iterator[Sample]:
        """For monitors."""
        for name, reading in sorted(self._readings.items()):
            ahead_s, error_s = reading.ahead_ns / NS_PER_S, reading.error_ns / NS_PER_S
            yield sample("exchange_clock_ahead_seconds", ahead_s, exchange=name)
            yield sample("exchange_clock_error_seconds", error_s, exchange=name)

    def text(self) -> str:
        """For people; empty before the first measurement."""
        return "; ".join(
            f"clock {reading.text().replace('the exchange', name)}"
            for name, reading in sorted(self._readings.items())
        )

    def summary(self) -> dict[str, dict[str, float]]:
        """By source: ms that our clock is ahead, ms of doubt, drift in millionths."""
        return {
            name: {
                "ahead_ms": round(reading.ahead_ns / NS_PER_MS, 3),
                "error_ms": round(reading.error_ns / NS_PER_MS, 3),
                "drift_ppm": round(reading.drift_ppm, 3),
            }
            for name, reading in sorted(self._readings.items())
        }

    # ---- inside ---------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            for name in self._connections:
                await self._compare(name)
            await asyncio.sleep(EVERY_S)

    async def _compare(self, name: str) -> None:
        connection = self._connections[name]
        if connection is None:
            return
        try:
            reading = await connection.compare_clocks()
        except DonError as error:
            if name not in self._failed:  # once a row of failures
                self._log.warning("clock not compared", exchange=name, error=str(error))
            self._failed.add(name)
            return
        self._failed.discard(name)
        if reading is None:  # the exchange does not tell its time
            return
        self._readings[name] = reading
        if abs(reading.ahead_ns) - reading.error_ns > SUSPECT_S * NS_PER_S:
            self._log.warning("clocks differ", exchange=name, clock=reading.text())

    def _connect(self, feed: FeedConfig) -> CcxtHistory | None:
        try:
            return CcxtHistory(
                feed.exchange,
                HistoryConfig(rest_url=feed.rest_url or ""),
                self._clock,
                make_gate=partial(self._make_gate, feed.exchange),
            )
        except DonError as error:  # ccxt does not know the exchange
            self._log.info("clock cannot be compared", exchange=feed.exchange, error=str(error))
            return None

    def _gate(self, exchange: str, limits: ExchangeLimits) -> RateGate | None:
        return budget_gate(
            exchange, key="", lessee="clocks", config=WalletConfig(), clock=self._clock
        )
