"""Keeps the exchange's dead man's timer alive while we are. Does I/O.

For each symbol in which we have open orders the exchange is told again and again to cancel them
after a while; when we die or lose the connection, it does. Conditional orders stay, they protect.
"""

import asyncio

import structlog

from don.errors import DonError
from don.exchanges.base import Gateway
from don.exchanges.reconcile import Tracker

_log = structlog.get_logger(__name__)

BEATS = 3  # times that a timer is set anew before it would run out


class DeadMan:
    """The timers of one account; does nothing without a time-out."""

    def __init__(self, gateway: Gateway, tracker: Tracker, timeout_s: float | None) -> None:
        self._gateway = gateway
        self._tracker = tracker
        self._timeout_s = timeout_s
        self._armed: set[str] = set()  # symbols whose timer may run
        self._wake = asyncio.Event()
        self._setting = asyncio.Lock()  # what was sent first arrives first
        self._ended = False

    def wake(self) -> None:
        """Orders are about to leave: arm their symbols without waiting for the next beat."""
        self._wake.set()

    async def run(self) -> None:
        """Set the timers for ever; stops those of symbols without orders."""
        if self._timeout_s is None:
            return
        while True:
            self._wake.clear()
            wanted = {tracked.symbol for tracked in self._tracker.live()}
            for symbol in sorted(self._armed - wanted):
                await self._set(symbol, 0.0)
            for symbol in sorted(wanted):
                await self._set(symbol, self._timeout_s)
            beat = asyncio.timeout(self._timeout_s / BEATS)
            try:
                async with beat:
                    await self._fresh()
            except TimeoutError:
                pass  # time for the next beat

    async def disarm(self) -> None:
        """Stop all timers, for good: we end on purpose, and open orders are meant to stay."""
        self._ended = True
        for symbol in sorted(self._armed):
            await self._set(symbol, 0.0)

    async def _fresh(self) -> None:
        """Wait for orders in a symbol that is not armed."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(0)  # the sender takes the orders on
            if {tracked.symbol for tracked in self._tracker.live()} - self._armed:
                return

    async def _set(self, symbol: str, timeout_s: float) -> None:
        async with self._setting:
            if self._ended and timeout_s:
                return
            if timeout_s:
                self._armed.add(symbol)  # before we know: without an answer it may run all the same
            try:
                await self._gateway.arm_dead_man(symbol, timeout_s)
            except DonError as error:
                # the next beat tries again; the exchange may cancel meanwhile, which is safe
                _log.warning("dead man's timer not set", symbol=symbol, error=str(error))
                return
            if not timeout_s:
                self._armed.discard(symbol)
