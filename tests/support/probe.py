"""What a desk would make of the reports of the execution service, and the laws they must keep."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from support.venue import KEY, SECRET, Venue
from support.venue_book import DEPOSIT, VenueOrder

from don.clock import SystemClock
from don.exchanges.base import KnownOrder, KnownState, Report
from don.exchanges.ccxt_binance import BinanceGateway
from don.exchanges.config import GatewayConfig
from don.exchanges.sender import SendConfig
from don.exchanges.service import ExecutionConfig, ExecutionService
from don.model.messages import AccountReport, FillReport, FundingReport, OrderReport
from don.model.order import Order, OrderStatus, OrderType, Side
from don.model.portfolio import ZERO, Position, apply_fill

RECV_WINDOW_MS = 1_000  # the box may be busy
TO_STATUS = {
    "NEW": OrderStatus.OPEN,
    "PARTIALLY_FILLED": OrderStatus.OPEN,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELLED,
}


def gateway_config(venue: Venue, **over: Any) -> GatewayConfig:
    values: dict[str, Any] = {
        **venue.urls,
        "api_key": KEY,
        "api_secret": SECRET,
        "recv_window_ms": RECV_WINDOW_MS,
        "request_timeout_s": 0.6,
        "reconnect_base_s": 0.02,
        "reconnect_cap_s": 0.2,
    }
    return GatewayConfig(**(values | over))


def execution_config(**over: Any) -> ExecutionConfig:
    values: dict[str, Any] = {
        "send": SendConfig(
            lost_margin_s=1.0, retry_base_s=0.01, retry_cap_s=0.1, resolve_cap_s=0.1
        ),
        "poll_s": 0.1,
        "account_s": 0.2,
        "busy_s": 0.03,
        "grace_s": 0.03,
        "retry_base_s": 0.01,
        "retry_cap_s": 0.1,
        "drain_s": 5.0,
    }
    return ExecutionConfig(**(values | over))


def order(
    number: int,
    side: Side = Side.BUY,
    size: str = "0.010",
    *,
    symbol: str = "BTC-USDT-PERP",
    price: str | None = None,
    reduce_only: bool = False,
) -> Order:
    return Order(
        client_order_id=f"don-t-{number}-0",
        decision=number,
        index=0,
        symbol=symbol,
        side=side,
        type=OrderType.MARKET if price is None else OrderType.LIMIT,
        size=Decimal(size),
        price=None if price is None else Decimal(price),
        reduce_only=reduce_only,
        ts_event=1_700_000_000_000_000_000,
    )


class Probe:
    """Keeps reports as a desk does: once by key. Fails at the first broken law."""

    def __init__(self, refusals: random.Random | None = None, deposit: Decimal = DEPOSIT) -> None:
        self.reports: list[Report] = []
        self.intents: list[Order] = []
        self.orders: dict[str, OrderReport] = {}
        self.fills: dict[str, FillReport] = {}
        self.filled: dict[str, Decimal] = {}
        self.accounts: list[AccountReport] = []
        self.deposit = deposit
        self.balance = deposit
        self.positions: dict[str, Position] = {}
        self.in_order = True  # fills of each symbol came in the exchange's order
        self.errors: list[str] = []
        self.unequal: list[str] = []  # realised profits, which depend on the fills' order
        self._last_trade: dict[str, int] = {}
        self._last_funding = 0
        self._seen: set[str] = set()
        self._refusals = refusals
        self._changed = asyncio.Condition()

    async def deliver(self, reports: list[Report]) -> None:
        if self._refusals is not None and self._refusals.random() < 0.2:
            for report in reports[: self._refusals.randrange(len(reports) + 1)]:
                self.take(report)  # taken, but the answer is lost
            raise ConnectionError("the desk is away")
        for report in reports:
            self.take(report)
        async with self._changed:
            self._changed.notify_all()

    def take(self, report: Report) -> None:
        if report.key in self._seen:
            return
        self._seen.add(report.key)
        self.reports.append(report)
        match report:
            case FillReport(fill=fill):
                self.fills[report.key] = report
                self.filled[fill.client_order_id] = (
                    self.filled.get(fill.client_order_id, ZERO) + fill.size
                )
                held = self.positions.get(fill.symbol, Position(symbol=fill.symbol))
                position, realized = apply_fill(held, fill.side, fill.price, fill.size)
                if int(fill.trade_id) < self._last_trade.get(fill.symbol, 0):
                    self.in_order = False
                elif self.in_order and realized != fill.realized_pnl:
                    self.unequal.append(f"{report.key}: {realized}, told {fill.realized_pnl}")
                self._last_trade[fill.symbol] = max(
                    int(fill.trade_id), self._last_trade.get(fill.symbol, 0)
                )
                self.positions[fill.symbol] = position
                self.balance += (fill.realized_pnl or ZERO) - fill.fee
            case FundingReport():
                self.balance += report.amount
                self._last_funding = max(self._last_funding, report.ts_event)
            case OrderReport():
                last = self.orders.get(report.client_order_id)
                if last is not None and last.status.final:
                    self._broken(f"{report.key} after final {last.key}")
                if report.filled != self.filled.get(report.client_order_id, ZERO):
                    self._broken(f"{report.key} but fills are {self.filled}")
                self.orders[report.client_order_id] = report
            case AccountReport():
                self.accounts.append(report)
                self._compare(report)

    def known(self) -> KnownState:
        """What the journal of this desk would tell a new service."""
        orders = []
        for intent in self.intents:
            report = self.orders.get(intent.client_order_id)
            if report is None or not report.status.final:
                orders.append(
                    KnownOrder(
                        client_order_id=intent.client_order_id,
                        symbol=intent.symbol,
                        acknowledged=report is not None,
                        filled=self.filled.get(intent.client_order_id, ZERO),
                        ts_event=intent.ts_event,
                    )
                )
        return KnownState(
            orders=tuple(orders),
            last_trade={symbol: str(number) for symbol, number in self._last_trade.items()},
            last_funding_ts=self._last_funding,
        )

    async def until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(condition)

    def check(self, venue: Venue) -> None:
        """The laws at the end, when nothing moves any more."""
        assert self.errors == []
        assert not self.in_order or self.unequal == []
        assert [name for name, times in venue.accepted.items() if times > 1] == []
        theirs: dict[str, VenueOrder] = {item.client_id: item for item in venue.book.orders}
        for intent in self.intents:
            report = self.orders[intent.client_order_id]
            there = theirs.get(intent.client_order_id)
            if there is None:
                assert report.status in (OrderStatus.LOST, OrderStatus.REJECTED), report
            else:
                assert (report.status, report.filled) == (TO_STATUS[there.status], there.filled)
        assert {f"{fill.fill.symbol}:{fill.fill.trade_id}" for fill in self.fills.values()} == {
            f"{str(row['symbol']).removesuffix('USDT')}-USDT-PERP:{row['id']}"
            for row in venue.book.trades
        }
        assert self.balance == venue.book.balance
        final = [account for account in self.accounts if account.final][-1]
        assert final.balance == venue.book.balance
        assert set(final.open_orders) == {item.client_id for item in venue.book.resting()}
        held = {
            f"{name.removesuffix('USDT')}-USDT-PERP": position
            for name, position in venue.book.positions.items()
            if position.size
        }
        assert {p.symbol: (p.size, p.cost) for p in final.positions} == {
            symbol: (position.size, position.cost) for symbol, position in held.items()
        }

    def _compare(self, report: AccountReport) -> None:
        if report.balance != self.balance:
            self._broken(f"{report.key}: balance {report.balance}, books say {self.balance}")
        told = {position.symbol: position for position in report.positions}
        for symbol in told.keys() | self.positions.keys():
            empty = Position(symbol=symbol)
            theirs, mine = told.get(symbol, empty), self.positions.get(symbol, empty)
            if theirs.size != mine.size or (self.in_order and theirs.cost != mine.cost):
                self._broken(f"{report.key}: {theirs}, books say {mine}")

    def _broken(self, what: str) -> None:
        self.errors.append(what)


@asynccontextmanager
async def running(
    venue: Venue, probe: Probe, known: KnownState | None = None, **over: Any
) -> AsyncIterator[ExecutionService]:
    """A started service, closed at the end; fails if it leaves tasks behind."""
    before = asyncio.all_tasks()
    gateway = BinanceGateway(gateway_config(venue), SystemClock())
    service = ExecutionService(gateway, execution_config(**over), SystemClock(), probe.deliver)
    try:
        async with asyncio.timeout(120):
            await service.start(known or KnownState())
        yield service
        assert service.health().failure == ""
    finally:
        await service.close()
    await service.join()  # raises if a part crashed while it closed
    left = {
        task
        for task in asyncio.all_tasks() - before
        if not task.done() and "don" in str(task.get_coro())
    }
    assert left == set()


async def eventually(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait for something that announces itself to nobody."""
    async with asyncio.timeout(timeout_s):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


async def finish(service: ExecutionService, timeout_s: float = 60.0) -> None:
    """Wait until nothing moves and the closing account report is delivered."""
    async with asyncio.timeout(timeout_s):
        await service.settled()
        await service.check_account(final=True)
        await service.settled()
