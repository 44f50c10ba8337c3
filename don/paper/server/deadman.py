"""Countdowns after which an account's open orders in a symbol are cancelled. Reads the clock.

A client that lives sets them again and again (`countdownCancelAll`); when it dies, its orders go.
They count wall time, because they watch over a process, and outlive the exchange's own process:
one that ran out meanwhile ends with the next start. Conditional orders stay: they protect.
"""

import asyncio

import structlog

from don.clock import NS_PER_MS, Clock
from don.paper.server.service import ExchangeService
from don.paper.store import Store

_log = structlog.get_logger(__name__)


class DeadMan:
    """Timers by account and symbol."""

    def __init__(self, service: ExchangeService, store: Store, clock: Clock) -> None:
        self._service = service
        self._store = store
        self._clock = clock
        self._timers = store.timers()  # -> wall time, ms
        self._changed = asyncio.Event()

    def arm(self, account: str, symbol: str, countdown_ms: int) -> None:
        """Start a countdown anew; 0 stops it."""
        until = self._now_ms() + countdown_ms if countdown_ms else None
        self._set(account, symbol, until)
        self._changed.set()

    async def run(self) -> None:
        """Cancel orders when their time is over, for ever."""
        while True:
            self._changed.clear()
            self._expire()
            wait_s = None
            if self._timers:
                wait_s = max(0, min(self._timers.values()) - self._now_ms()) / 1_000
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                pass  # a countdown is over: `_expire` sees to it

    def _expire(self) -> None:
        now, exchange = self._now_ms(), self._service.exchange
        for (account, symbol), until in list(self._timers.items()):
            if until > now:
                continue
            _log.warning("countdown is over: cancelling open orders", symbol=symbol)
            if symbol in exchange.instruments:
                self._service.change(
                    lambda account=account, symbol=symbol: (  # type: ignore[misc]
                        None,
                        exchange.cancel_all(symbol, account=account, at_once=True),
                    )
                )
            self._set(account, symbol, None)

    def _set(self, account: str, symbol: str, until: int | None) -> None:
        self._store.keep_timer(account, symbol, until)
        if until is None:
            self._timers.pop((account, symbol), None)
        else:
            self._timers[account, symbol] = until

    def _now_ms(self) -> int:
        return self._clock.now_ns() // NS_PER_MS
