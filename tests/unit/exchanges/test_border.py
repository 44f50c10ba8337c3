"""The border to the exchange: errors by what they mean, exact amounts, hosts that are allowed."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from don.clock import SystemClock
from don.errors import ConfigError, ExchangeRefused, ExchangeUnavailable, RateLimited
from don.exchanges.binance_errors import Answer, StaleTimestamp, translate
from don.exchanges.binance_wire import order_key, order_request, plain
from don.exchanges.ccxt_binance import BinanceGateway
from don.exchanges.config import GatewayConfig
from don.exchanges.lanes import Lane, Waiting
from don.model.messages import CancelOrder
from don.model.order import Order, OrderStatus, OrderType, Side, TimeInForce


def body(code: int) -> str:
    return f'{{"code":{code},"msg":"why"}}'


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(), ExchangeUnavailable),
        (Answer(status=400, body=body(-2010)), ExchangeRefused),
        (Answer(status=400, body=body(-1021)), StaleTimestamp),
        (Answer(status=400, body=body(-5028)), StaleTimestamp),
        (Answer(status=408, body=body(-1007)), ExchangeUnavailable),
        (Answer(status=400, body=body(-1006)), ExchangeUnavailable),
        (Answer(status=429, body=body(-1003)), RateLimited),
        (Answer(status=418, body=body(-1003)), RateLimited),
        (Answer(status=400, body=body(-1015)), RateLimited),
        (Answer(status=503, body=body(-1008)), RateLimited),
        (Answer(status=503, body="Service Unavailable"), ExchangeUnavailable),
        (Answer(status=500, body=body(-1000)), ExchangeUnavailable),
        (Answer(status=403, body="<html>"), RateLimited),
        (Answer(status=404, body="<html>"), ExchangeRefused),
        (Answer(status=200, body="<html>"), ExchangeUnavailable),
        (Answer(status=401, body=body(-2015)), ExchangeRefused),
    ],
    ids=lambda value: f"{value.status} {value.body[:12]}" if isinstance(value, Answer) else "",
)
def test_an_error_says_whether_the_request_took_effect(answer, expected):
    error = translate(answer, "call")
    assert type(error) is expected


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"Retry-After": "7"}, 7.0),
        (429, {}, 1.0),
        (418, {}, 60.0),
        (418, {"retry-after": "9"}, 9.0),
    ],
)
def test_the_exchange_says_how_long_to_wait(status, headers, seconds):
    error = translate(Answer(status=status, headers=headers, body=body(-1003)), "call")
    assert isinstance(error, RateLimited) and error.retry_after_s == seconds


AMOUNTS = st.decimals(
    min_value=Decimal("1e-12"), max_value=Decimal("1e12"), allow_nan=False, places=12
).filter(lambda amount: amount > 0)


@given(AMOUNTS, AMOUNTS)
def test_amounts_travel_exactly(size, price):
    order = Order(
        client_order_id="don-t-1-0",
        decision=1,
        index=0,
        symbol="BTC-USDT-PERP",
        side=Side.SELL,
        type=OrderType.LIMIT,
        size=size,
        price=price,
        time_in_force=TimeInForce.GTX,
        reduce_only=True,
        ts_event=1,
    )
    request = order_request(order, "BTCUSDT")
    assert Decimal(request["quantity"]) == size and Decimal(request["price"]) == price
    assert "E" not in (request["quantity"] + request["price"]).upper()
    assert request["timeInForce"] == "GTX" and request["reduceOnly"] == "true"


@given(st.decimals(min_value=0, max_value=10**9, allow_nan=False, places=5), st.integers(0, 6))
def test_one_amount_gives_one_key(amount, zeros):
    padded = Decimal(plain(amount) + "0" * zeros)
    keys = {order_key("don-t-1-0", OrderStatus.OPEN, each) for each in (amount, padded)}
    assert len(keys) == 1


LIVE = {"rest_url": "https://fapi.binance.com", "ws_url": "wss://fstream.binance.com"}


def gateway(live_confirmed: bool = False, **values: object) -> BinanceGateway:
    config = GatewayConfig.model_validate({"api_key": "k", "api_secret": "s"} | values)
    return BinanceGateway(config, SystemClock(), live_confirmed=live_confirmed)


@pytest.mark.parametrize(
    ("values", "confirmed", "message"),
    [
        (LIVE, False, "live trading is off"),
        (LIVE | {"allow_live": True}, False, "DON_ALLOW_LIVE=1"),
        (LIVE, True, "gateway.allow_live = true"),
        ({"rest_url": "http://fapi.binance.com", "allow_live": True}, True, "must use https"),
        ({"ws_url": "ws://10.0.0.8:1", "allow_live": True}, True, "must use wss"),
        ({"rest_url": "fapi.binance.com"}, False, "must be like https"),
        ({"rest_url": "http://localhost.evil.example"}, False, "live trading is off"),
        ({"api_secret": ""}, False, "api_key and api_secret must be set"),
    ],
)
def test_addresses_beyond_this_machine_need_two_switches(values, confirmed, message):
    with pytest.raises(ConfigError, match=message):
        gateway(confirmed, **values)


async def test_two_switches_open_live_hosts_and_loopback_needs_none():
    await gateway(True, **LIVE, allow_live=True).close()
    await gateway(rest_url="http://127.8.9.1:1", ws_url="wss://[::1]:2").close()


def waiting(number: int, *, reduce_only: bool = False) -> Order:
    return Order(
        client_order_id=f"don-t-{number}-0",
        decision=number,
        index=0,
        symbol="BTC-USDT-PERP",
        side=Side.BUY,
        type=OrderType.MARKET,
        size=Decimal(1),
        reduce_only=reduce_only,
        ts_event=1,
    )


def cancel(number: int) -> CancelOrder:
    return CancelOrder(client_order_id=f"don-t-{number}-0", symbol="BTC-USDT-PERP", reason="test")


def test_a_lane_lets_cancels_pass_then_reductions_and_is_bounded():
    lane = Lane(size=3)
    batch = [waiting(1), waiting(2, reduce_only=True), waiting(3), waiting(4)]
    assert [order.decision for order in lane.add(batch, 0)] == [4]
    assert lane.cancel(cancel(9)) is None
    assert lane.cancel(cancel(3)) == waiting(3)
    assert len(lane) == 3 and lane.holds("don-t-1-0") and not lane.holds("don-t-3-0")
    left = []
    while (item := lane.next()) is not None:
        left.append(
            item.order.client_order_id if isinstance(item, Waiting) else item.client_order_id
        )
    assert left == ["don-t-9-0", "don-t-2-0", "don-t-1-0"]
