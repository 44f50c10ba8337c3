"""Every order type through the execution service and the gateway, on a real paper exchange."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.paper import api_key, raw, served
from support.probe import Probe, eventually, execution_config, finish, order
from support.venue import Venue
from support.venue_book import DEPOSIT

from don.clock import NS_PER_MS, SystemClock
from don.errors import ExchangeRefused
from don.exchanges.base import KnownState
from don.exchanges.ccxt_binance import BinanceGateway
from don.exchanges.config import GatewayConfig
from don.exchanges.service import ExecutionService
from don.model.messages import AmendOrder, CancelOrder, FundingReport, PaymentKind
from don.model.order import Order, OrderStatus, OrderType, Side, TimeInForce, TriggerPrice
from don.paper.server.config import Ready

BTC = "BTC-USDT-PERP"


# these tests poll far more often than anybody would
LIMITS = {"orders_per_10s": 10_000, "orders_per_minute": 60_000, "weight_per_minute": 10**6}


def gateway_of(ready: Ready) -> BinanceGateway:
    key = api_key(ready)
    config = GatewayConfig(
        rest_url=ready.rest_url,
        ws_url=ready.stream_url,
        ca_file=Path(ready.certificate),
        api_key=key.key,
        api_secret=key.secret,
    )
    return BinanceGateway(config, SystemClock())


@asynccontextmanager
async def running(
    gateway: BinanceGateway, probe: Probe, known: KnownState | None = None, **over: Any
) -> AsyncIterator[ExecutionService]:
    service = ExecutionService(gateway, execution_config(**over), SystemClock(), probe.deliver)
    try:
        async with asyncio.timeout(120):
            await service.start(known or KnownState())
        yield service
        assert service.health().failure == ""
    finally:
        await service.close()


@pytest.fixture
def probe() -> Probe:
    return Probe(deposit=Decimal(100_000))


async def bought(service: ExecutionService, probe: Probe, size: str = "0.500") -> Decimal:
    """Buy, and tell the price."""
    probe.intents.append(order(1, size=size))
    await service.submit(probe.intents[-1:])
    await probe.until(
        lambda: "don-t-1-0" in probe.orders and not probe.orders["don-t-1-0"].filled < Decimal(size)
    )
    return next(iter(probe.fills.values())).fill.price.quantize(Decimal(1))


def conditional(number: int, kind: OrderType, trigger: Decimal | None, **more: Any) -> Order:
    plain = order(number, Side.SELL, "0.100")
    if more.get("close_position"):
        more["size"] = Decimal(0)
    return replace(plain, type=kind, trigger=trigger, **more)


def all_kinds(price: Decimal, tape_ns: int) -> list[Order]:
    up, down = (price * 103 / 100).quantize(Decimal(1)), (price * 97 / 100).quantize(Decimal(1))
    return [
        conditional(11, OrderType.STOP_MARKET, down, reduce_only=True),
        conditional(12, OrderType.STOP_LIMIT, down, price=down, trigger_by=TriggerPrice.MARK),
        conditional(13, OrderType.TAKE_PROFIT_MARKET, up, close_position=True),
        conditional(14, OrderType.TAKE_PROFIT_LIMIT, up, price=up, time_in_force=TimeInForce.GTX),
        conditional(15, OrderType.TRAILING_STOP, None, callback=Decimal("0.015"), activate=up),
        replace(
            order(16, price=str(down)),
            time_in_force=TimeInForce.GTD,
            good_till=tape_ns + 7_200_000 * NS_PER_MS,
        ),
        replace(order(17, price=str(down)), time_in_force=TimeInForce.GTX),
    ]


async def test_each_type_rests_survives_a_restart_and_is_cancelled(tmp_path, probe):
    async with served(tmp_path, limits=LIMITS) as ready, raw(ready) as rest:
        now_ns = (await rest("GET", "/paper/v1/status"))[1]["tapeTime"] * NS_PER_MS
        async with running(gateway_of(ready), probe) as service:
            orders = all_kinds(await bought(service, probe), now_ns)
            probe.intents += orders
            await service.submit(orders)
            names = {one.client_order_id for one in orders}
            await probe.until(lambda: names <= probe.orders.keys())
            assert {probe.orders[name].status for name in names} == {OrderStatus.OPEN}
            await finish(service)
            assert set(probe.accounts[-1].open_orders) == names
        async with running(gateway_of(ready), probe, probe.known()) as service:
            await finish(service)
            assert set(probe.accounts[-1].open_orders) == names
            await service.cancel(
                [CancelOrder(client_order_id=name, symbol=BTC, reason="test") for name in names]
            )
            await finish(service)
            assert {probe.orders[name].status for name in names} == {OrderStatus.CANCELLED}
            assert probe.accounts[-1].open_orders == ()
    assert probe.errors == []


async def test_a_triggered_stop_is_told_like_any_order(tmp_path, probe):
    async with served(tmp_path, limits=LIMITS, speed="10bar") as ready, raw(ready) as rest:
        async with running(gateway_of(ready), probe) as service:
            price = await bought(service, probe)
            for number, kind, shift in (
                (21, OrderType.STOP_MARKET, Decimal("0.9995")),
                (22, OrderType.TAKE_PROFIT_MARKET, Decimal("1.0005")),
            ):
                trigger = (price * shift).quantize(Decimal(1))
                probe.intents.append(conditional(number, kind, trigger, close_position=True))
            await service.submit(probe.intents[1:])
            await probe.until(lambda: len(probe.orders) == 3)
            await rest("POST", "/paper/v1/resume")
            await probe.until(
                lambda: any(
                    r.status is OrderStatus.FILLED and r.filled == Decimal("0.5")
                    for n, r in probe.orders.items()
                    if n != "don-t-1-0"
                )
            )
            await service.cancel_all("done")
            await finish(service)
            assert probe.accounts[-1].positions == ()
    assert probe.errors == [] and not probe.unequal


async def test_conditional_orders_that_would_trigger_at_once_are_rejected(tmp_path, probe):
    async with served(tmp_path, limits=LIMITS) as ready:
        async with running(gateway_of(ready), probe) as service:
            price = await bought(service, probe)
            refused = conditional(31, OrderType.STOP_MARKET, (price * 2).quantize(Decimal(1)))
            await service.submit([refused])
            await probe.until(lambda: "don-t-31-0" in probe.orders)
            report = probe.orders["don-t-31-0"]
            assert report.status is OrderStatus.REJECTED and report.detail.startswith("-2021")
            await finish(service)


async def test_an_order_is_amended(tmp_path, probe):
    async with served(tmp_path, limits=LIMITS) as ready:
        gateway = gateway_of(ready)
        async with running(gateway, probe) as service:
            price = await bought(service, probe)
            low = (price * 97 / 100).quantize(Decimal(1))
            await service.submit([order(41, price=str(low))])
            await probe.until(lambda: "don-t-41-0" in probe.orders)
            request = AmendOrder(
                client_order_id="don-t-41-0",
                symbol=BTC,
                side=Side.BUY,
                size=Decimal("0.02"),
                price=price * 2,
            )
            with pytest.raises(ExchangeRefused, match="-4016"):
                await service.amend(request)
            for _ in "ab":  # asking twice does no harm
                report = await service.amend(replace(request, price=low + 1))
                assert report.status is OrderStatus.OPEN
            taking = await service.amend(replace(request, price=price + price / 100 // 1))
            assert (taking.status, taking.filled) == (OrderStatus.FILLED, Decimal("0.02"))
            await finish(service)
    assert probe.errors == []


async def test_what_a_liquidation_cost_reaches_the_books(tmp_path, probe):
    """The margin asked for is so high that the fee of the purchase alone breaks the account."""
    probe.deposit = probe.balance = Decimal(100)
    rules = {"deposit": "100", "maintenance_rate": "0.051", "default_leverage": 20}
    async with served(tmp_path, limits=LIMITS, exchange=rules) as ready:
        async with running(gateway_of(ready), probe) as service:
            await service.submit([order(1, size="0.310")])
            await probe.until(
                lambda: (
                    any(isinstance(r, FundingReport) for r in probe.reports)
                    and bool(probe.accounts)
                    and probe.accounts[-1].balance == probe.balance
                )
            )
            paid = [r for r in probe.reports if isinstance(r, FundingReport)]
            assert {r.kind for r in paid} == {PaymentKind.LIQUIDATION}
            assert sum(r.amount for r in paid) < 0 and paid[0].symbol == ""
            await finish(service)
            assert probe.accounts[-1].positions == ()
            assert probe.accounts[-1].balance == probe.balance


async def test_the_dead_man_s_timer_is_kept_alive_and_stopped():
    venue = Venue()
    await venue.start()
    probe = Probe(deposit=DEPOSIT)
    config = GatewayConfig(**venue.urls, api_key="test-key", api_secret="test-secret")
    try:
        gateway = BinanceGateway(config, SystemClock())
        async with running(gateway, probe, dead_man_s=1.0) as service:
            assert venue.countdowns == []
            await service.submit([order(1, price="10")])
            await eventually(lambda: venue.countdowns[:3] == [("BTCUSDT", 1_000)] * 3)
            await service.cancel_all("test")
            await eventually(lambda: venue.countdowns[-1] == ("BTCUSDT", 0))
            await service.submit([order(2, price="10", symbol="ETH-USDT-PERP")])
            await eventually(lambda: venue.countdowns[-1] == ("ETHUSDT", 1_000))
        assert venue.countdowns[-1] == ("ETHUSDT", 0)
    finally:
        await venue.stop()
