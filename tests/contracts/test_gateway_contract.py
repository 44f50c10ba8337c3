"""What every gateway must keep, over sockets: against the paper exchange and a second server."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.paper import api_key, served
from support.probe import order
from support.venue import KEY, SECRET, Venue

from don.clock import SystemClock
from don.errors import ConfigError, ExchangeRefused, UsageError
from don.exchanges.base import StreamState, StreamStatus
from don.exchanges.ccxt_binance import BinanceGateway
from don.exchanges.config import GatewayConfig
from don.model.messages import FillReport, OrderReport
from don.model.order import OrderStatus, Side
from don.model.portfolio import ZERO, Position, apply_fill

BTC = "BTC-USDT-PERP"


@dataclass
class Exchange:
    """An exchange to connect to, and how to."""

    values: dict[str, Any]

    def gateway(self, **over: Any) -> BinanceGateway:
        return BinanceGateway(GatewayConfig(**(self.values | over)), SystemClock())


@pytest.fixture(params=["paper", "venue"])
async def exchange(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Exchange]:
    if request.param == "venue":
        venue = Venue()
        await venue.start()
        yield Exchange(venue.urls | {"api_key": KEY, "api_secret": SECRET})
        await venue.stop()
        return
    async with served(tmp_path) as ready:
        key = api_key(ready)
        yield Exchange(
            {
                "rest_url": ready.rest_url,
                "ws_url": ready.stream_url,
                "ca_file": ready.certificate,
                "api_key": key.key,
                "api_secret": key.secret,
            }
        )


@pytest.fixture
async def gateway(exchange: Exchange) -> AsyncIterator[BinanceGateway]:
    gateway = exchange.gateway()
    yield gateway
    await gateway.close()


async def far_below(gateway: BinanceGateway) -> str:
    """A price at which a buy order rests, near enough to be allowed."""
    probe = await gateway.submit(order(90, size="0.010"))
    price = (await gateway.fills_of(BTC, probe.exchange_order_id))[0].fill.price
    return str((price * Decimal("0.96")).quantize(Decimal(1)))


async def test_instruments_are_exact(gateway):
    listed = {item.symbol: item for item in await gateway.instruments()}
    item = listed[BTC]
    assert (item.exchange_symbol, item.quote) == ("BTCUSDT", "USDT")
    assert item.tick_size > 0 and item.lot_size > 0 and item.max_leverage > 1
    assert list(listed) == sorted(listed)


async def test_configured_symbols_come_with_the_account_s_own_fees(exchange):
    gateway = exchange.gateway(symbols=(BTC,), taker_fee=Decimal("0.9"))
    (item,) = await gateway.instruments()
    assert item.symbol == BTC and item.taker_fee < Decimal("0.01")
    await gateway.close()


async def test_an_unknown_configured_symbol_is_refused_with_a_hint(exchange):
    gateway = exchange.gateway(symbols=("BTD-USDT-PERP",))
    with pytest.raises(ConfigError, match=r"'BTD-USDT-PERP' is not listed.*BTC-USDT-PERP"):
        await gateway.instruments()
    await gateway.close()


async def test_a_market_order_fills_and_every_side_tells_the_same(exchange, gateway):
    sent = order(1, size="0.011")
    report = await gateway.submit(sent)
    assert (report.status, report.filled) == (OrderStatus.FILLED, Decimal("0.011"))
    assert report.ts_sent > 0 and report.ts_event > 0
    asked = await gateway.order(BTC, sent.client_order_id)
    assert asked is not None and asked.key == report.key
    fresh = exchange.gateway()  # knows no ids: has to ask for them
    fills = await fresh.fills_since(BTC, None)
    of_order = await fresh.fills_of(BTC, report.exchange_order_id)
    assert [fill.fill for fill in of_order] == [fill.fill for fill in fills]
    assert sum((fill.fill.size for fill in fills), ZERO) == Decimal("0.011")
    assert {fill.fill.client_order_id for fill in fills} == {sent.client_order_id}
    assert await fresh.fills_since(BTC, fills[-1].fill.trade_id) == []
    await fresh.close()


async def test_a_resting_order_is_listed_cancelled_once_and_remembered(gateway):
    sent = order(2, price=await far_below(gateway))
    report = await gateway.submit(sent)
    assert (report.status, report.filled) == (OrderStatus.OPEN, 0)
    assert [item.client_order_id for item in await gateway.open_orders()] == [sent.client_order_id]
    again = await gateway.order(BTC, sent.client_order_id)
    assert again is not None and again.status is OrderStatus.OPEN
    cancelled = await gateway.cancel(BTC, sent.client_order_id)
    assert cancelled.status is OrderStatus.CANCELLED
    assert await gateway.open_orders() == []
    with pytest.raises(ExchangeRefused) as refused:
        await gateway.cancel(BTC, sent.client_order_id)
    assert refused.value.code == -2011
    again = await gateway.order(BTC, sent.client_order_id)
    assert again is not None and again.status is OrderStatus.CANCELLED


async def test_an_order_that_never_came_is_none(gateway):
    assert await gateway.order(BTC, "don-never-1-0") is None


async def test_a_definite_refusal_is_a_rejected_report(gateway):
    for refused in (
        order(3, size="0.0101234567"),
        order(4, Side.SELL, reduce_only=True),
    ):
        report = await gateway.submit(refused)
        assert report.status is OrderStatus.REJECTED
        assert report.detail.startswith("-")
        assert await gateway.order(BTC, refused.client_order_id) is None


async def test_an_unknown_symbol_is_the_caller_s_mistake(gateway):
    with pytest.raises(UsageError, match="'NO-USDT-PERP'"):
        await gateway.submit(order(5, symbol="NO-USDT-PERP"))


async def test_the_account_is_exact(gateway):
    before = await gateway.account()
    for number, (side, size) in enumerate(
        [(Side.BUY, "0.017"), (Side.BUY, "0.031"), (Side.SELL, "0.013"), (Side.SELL, "0.090")], 10
    ):
        await gateway.submit(order(number, side, size))
    balance, position = before.balance, Position(symbol=BTC)
    for report in await gateway.fills_since(BTC, None):
        fill = report.fill
        position, realized = apply_fill(position, fill.side, fill.price, fill.size)
        assert realized == fill.realized_pnl
        balance += realized - fill.fee
    after = await gateway.account()
    assert after.balance == balance
    assert after.positions == (position,)
    assert after.ts_event > 0


async def test_the_stream_tells_each_fill_and_then_the_order(gateway):
    sent = order(6, size="0.020")
    events: list[OrderReport | FillReport] = []
    async with aclosing(gateway.stream()) as stream:
        first = await anext(stream)
        assert isinstance(first, StreamState) and first.status is StreamStatus.UP
        report = await gateway.submit(sent)
        async for event in stream:
            if isinstance(event, OrderReport | FillReport):
                events.append(event)
                if isinstance(event, OrderReport) and event.status.final:
                    break
    assert events[-1].key == report.key
    fills = [event.fill for event in events if isinstance(event, FillReport)]
    polled = await gateway.fills_since(BTC, None)
    assert fills == [report.fill for report in polled]
    for event, after in pairwise(events):
        if isinstance(event, FillReport):
            assert isinstance(after, OrderReport)
            assert after.client_order_id == event.fill.client_order_id


async def test_wrong_keys_are_refused_and_leak_nothing(exchange, caplog):
    caplog.set_level("DEBUG")
    gateway = exchange.gateway(api_key="wrong-key", api_secret="very-secret")
    with pytest.raises(ExchangeRefused) as refused:
        await gateway.instruments()
    await gateway.close()
    said = f"{refused.value!r} {refused.value} {gateway!r} {caplog.text}"
    assert "wrong-key" not in said and "very-secret" not in said
