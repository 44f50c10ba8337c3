"""Polling behind the stream: what was missed, and whether the account is as we told it. Does I/O.

The stream is fast but forgets; polling is complete. Fills are read from the last trade id that a
poll (not the stream) has confirmed, so that a hole in the stream is always found.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

import structlog

from don.clock import Clock
from don.exchanges.base import Gateway, KnownState
from don.exchanges.reconcile import after, ours
from don.exchanges.reporter import Reporter
from don.exchanges.sender import Sender
from don.model.messages import AccountReport, CancelOrder, OrderReport

_log = structlog.get_logger(__name__)

ATTEMPTS = 5  # account readings per check before giving way to the trading that disturbs them


class Poller:
    """Reads orders, fills, funding and account by REST and reports what is news."""

    def __init__(self, gateway: Gateway, reporter: Reporter, sender: Sender, clock: Clock) -> None:
        self._gateway = gateway
        self._reporter = reporter
        self._sender = sender
        self._clock = clock
        self._lock = asyncio.Lock()  # one poll at a time: confirmed ids only go forward
        self._confirmed: dict[str, str | None] = {}
        self._funding_ts = 0
        self._since_ts = 0
        self.last_reconcile_ns = 0
        self.last_account_ns = 0

    def adopt(self, known: KnownState) -> None:
        """Go on from what the journal knows."""
        for symbol, trade_id in known.last_trade.items():
            self._confirmed.setdefault(symbol, trade_id)
        for order in known.orders:
            self.watch(order.symbol)
        self._funding_ts = max(self._funding_ts, known.last_funding_ts)
        self._since_ts = max(self._since_ts, known.since_ts)

    def watch(self, symbol: str) -> None:
        """Read the fills of this symbol from now on."""
        self._confirmed.setdefault(symbol, None)

    async def catch_up(self) -> None:
        """Everything that may have happened while nobody listened."""
        async with self._lock:
            await self._fills(self._confirmed)
            await self._funding()
            await self._orders()
            # orders may have been filled between the two readings
            await self._fills({tracked.symbol for tracked in self._reporter.tracker.held()})
            self.last_reconcile_ns = self._clock.now_ns()

    async def strangers(self) -> list[CancelOrder]:
        """What cancels the open orders that carry our prefix but are unknown to the journal."""
        async with self._lock:
            found = self._reporter.strangers(ours(await self._gateway.open_orders()))
        return [
            CancelOrder(
                client_order_id=report.client_order_id,
                symbol=report.symbol,
                reason="unknown to the journal",
            )
            for report in found
        ]

    async def live(self) -> None:
        """Orders that are not final, and their fills."""
        async with self._lock:
            symbols = {tracked.symbol for tracked in self._reporter.tracker.live()}
            await self._orders()
            await self._fills(symbols)
            self.last_reconcile_ns = self._clock.now_ns()

    async def fills(self, symbol: str) -> None:
        """Fills of one symbol since the last poll."""
        async with self._lock:
            await self._fills([symbol])

    async def missing_fills(self) -> None:
        """Fills that orders count but nobody has told yet."""
        async with self._lock:
            held = [(tracked, tracked.held) for tracked in self._reporter.tracker.held()]
            await self._fills({tracked.symbol for tracked, _ in held})
            for tracked, state in held:
                if tracked.held is not state:
                    continue  # told, or news that came meanwhile: its fills are the next reading's
                # the hole lies before the confirmed trade id: ask for this order's fills
                _log.warning("fills missing, reading the order's", order=tracked.client_order_id)
                fills = await self._gateway.fills_of(tracked.symbol, tracked.exchange_order_id)
                await self._reporter.emit(fills)

    async def funding(self) -> None:
        """Funding payments since the last one."""
        async with self._lock:
            await self._funding()

    async def account(self, *, final: bool = False) -> bool:
        """Report the account, if it can be read while nothing moves.

        The account is read first, then orders, fills and funding: when these hold nothing that was
        not told before, the account is exactly what the reports told so far add up to.

        Returns:
            False if trading went on during every attempt; nothing was reported then.
        """
        async with self._lock:
            for _ in range(ATTEMPTS):
                if self._moving():
                    return False
                activity, started = self._reporter.activity, self._sender.started
                account = await self._gateway.account()
                for position in account.positions:
                    self.watch(position.symbol)
                mine = await self._orders()
                await self._fills(self._confirmed)
                await self._funding()
                if self._moving() or self._sender.started != started:
                    continue
                if await self._reporter.conclude(_concluding(account, mine, final), activity):
                    self.last_account_ns = self.last_reconcile_ns = self._clock.now_ns()
                    return True
            return False

    def _moving(self) -> bool:
        return self._sender.in_flight > 0 or bool(self._reporter.tracker.held())

    async def _orders(self) -> list[OrderReport]:
        mine = ours(await self._gateway.open_orders())
        self._reporter.strangers(mine)
        await self._reporter.emit(mine)
        listed = {report.client_order_id for report in mine}
        for tracked in self._reporter.tracker.live():
            order_id = tracked.client_order_id
            if order_id in listed or tracked.held is not None or self._sender.handles(order_id):
                continue
            asked_ns = self._clock.monotonic_ns()
            report = await self._gateway.order(tracked.symbol, order_id)
            if report is not None:
                await self._reporter.emit([report])
            elif not self._sender.handles(order_id):
                self._sender.resolve(tracked, asked_ns)
        return mine

    async def _fills(self, symbols: Iterable[str]) -> None:
        for symbol in sorted(symbols):
            confirmed = self._confirmed.get(symbol)
            fills = await self._gateway.fills_since(symbol, confirmed)
            await self._reporter.emit(after(fills, self._since_ts))
            self._confirmed[symbol] = fills[-1].fill.trade_id if fills else confirmed

    async def _funding(self) -> None:
        payments = await self._gateway.funding_since(self._funding_ts)
        await self._reporter.emit(after(payments, self._since_ts))
        if payments:
            self._funding_ts = payments[-1].ts_event


def _concluding(
    account: AccountReport, mine: list[OrderReport], final: bool
) -> Callable[[int], AccountReport]:
    def make(last_ts_event: int) -> AccountReport:
        ts_event = max(account.ts_event, last_ts_event)
        return replace(
            account,
            key=f"account:{ts_event}:{account.ts_recv}",
            open_orders=tuple(sorted(report.client_order_id for report in mine)),
            final=final,
            ts_event=ts_event,
        )

    return make
