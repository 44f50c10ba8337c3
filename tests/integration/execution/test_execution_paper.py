"""Execution on the paper exchange while its tape runs: the books agree to the last digit."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from support.paper import Process, api_key
from support.probe import Probe, execution_config, finish, order

from don.clock import SystemClock
from don.exchanges.base import KnownState
from don.exchanges.ccxt_binance import BinanceGateway
from don.exchanges.config import GatewayConfig
from don.exchanges.service import ExecutionService
from don.model.messages import CancelOrder
from don.model.order import OrderStatus, Side

SETTINGS = {
    "speed": "5bar",
    "hold": False,
    "limits": {"orders_per_10s": 10_000, "orders_per_minute": 60_000, "weight_per_minute": 10**6},
}
SIZES = {"BTC-USDT-PERP": "0.0", "ETH-USDT-PERP": "0."}


@asynccontextmanager
async def trading(process: Process, probe: Probe) -> AsyncIterator[ExecutionService]:
    ready = process.ready
    key = api_key(ready)
    gateway = BinanceGateway(
        GatewayConfig(
            rest_url=ready.rest_url,
            ws_url=ready.stream_url,
            ca_file=Path(ready.certificate),
            api_key=key.key,
            api_secret=key.secret,
            recv_window_ms=2_000,
            request_timeout_s=3.0,
            reconnect_base_s=0.05,
            reconnect_cap_s=0.5,
        ),
        SystemClock(),
    )
    service = ExecutionService(gateway, execution_config(), SystemClock(), probe.deliver)
    try:
        async with asyncio.timeout(120):
            await service.start(KnownState())
        yield service
        assert service.health().failure == ""
    finally:
        await service.close()


async def trade(
    service: ExecutionService,
    probe: Probe,
    decisions: int,
    between: Callable[[int], Awaitable[None]] | None = None,
) -> None:
    """Market orders, and resting ones near the last fill, some of them cancelled."""
    rng = random.Random(3)
    for decision in range(1, decisions + 1):
        batch = []
        for index, (symbol, zeros) in enumerate(SIZES.items()):
            price = None
            fills = [r.fill.price for r in probe.fills.values() if r.fill.symbol == symbol]
            if fills and rng.random() < 0.4:
                price = str((fills[-1] * Decimal("0.999")).quantize(Decimal(1)))
            side = Side.BUY if price is not None else rng.choice(list(Side))
            size = f"{zeros}{rng.randint(10, 60)}"
            batch.append(order(decision * 10 + index, side, size, symbol=symbol, price=price))
        probe.intents += batch
        await service.submit(batch)
        await service.cancel(
            [
                CancelOrder(client_order_id=old.client_order_id, symbol=old.symbol, reason="test")
                for old in probe.intents
                if (report := probe.orders.get(old.client_order_id)) is not None
                and not report.status.final
                and rng.random() < 0.2
            ]
        )
        if between is not None:
            await between(decision)
        if decision % 4 == 0:
            await probe.until(lambda: len(probe.orders) == len(probe.intents), 60.0)
    await finish(service, 60.0)
    await service.cancel_all("test")
    await finish(service, 60.0)


def check(probe: Probe) -> None:
    assert probe.errors == []
    assert probe.in_order
    assert probe.unequal == []
    unknown = {intent.client_order_id for intent in probe.intents} - probe.orders.keys()
    assert unknown == set()
    assert all(report.status.final for report in probe.orders.values())
    final = [account for account in probe.accounts if account.final][-1]
    assert final.open_orders == ()


@pytest.mark.parametrize("decisions", [40])
async def test_books_equal_the_exchange_s_through_hundreds_of_orders(tmp_path, decisions):
    probe = Probe(deposit=Decimal(100_000))
    async with (
        Process.started(tmp_path, **SETTINGS) as process,
        trading(process, probe) as service,
    ):
        await trade(service, probe, decisions)
    check(probe)
    statuses = [report.status for report in probe.orders.values()]
    assert statuses.count(OrderStatus.FILLED) > decisions / 2
    assert OrderStatus.LOST not in statuses
    assert len(probe.accounts) >= 2


@pytest.mark.fault
async def test_the_exchange_is_killed_while_orders_are_on_their_way(tmp_path):
    probe = Probe(deposit=Decimal(100_000))
    async with AsyncExitStack() as stack:
        started = partial(Process.started, tmp_path, **SETTINGS)
        first = await stack.enter_async_context(started())
        ports = {
            "port": int(first.ready.rest_url.rpartition(":")[2]),
            "stream_port": int(first.ready.stream_url.rpartition(":")[2]),
        }
        running = [first]

        async def kill(decision: int) -> None:
            if decision in (10, 25):
                await running[-1].end(signal.SIGKILL)
                running.append(await stack.enter_async_context(started(**ports)))

        service = await stack.enter_async_context(trading(first, probe))
        await trade(service, probe, 40, kill)
    check(probe)
