"""Every native order type, placed by the unmodified ccxt client over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import ccxt.async_support as ccxt
import pytest
from support.paper import SYMBOL, UNIFIED, Rest, ccxt_client, raw, served, stream

from don.paper.server.config import Ready

TRIGGER = {"trigger": True}


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[Ready]:
    """A paper exchange whose tape stands still: nobody reads a market stream."""
    async with served(tmp_path) as ready:
        yield ready


@pytest.fixture
async def client(exchange: Ready) -> AsyncIterator[ccxt.binanceusdm]:
    client = ccxt_client(exchange)
    await client.load_markets()
    yield client
    await client.close()


@pytest.fixture
async def rest(exchange: Ready) -> AsyncIterator[Rest]:
    async with raw(exchange) as rest:
        yield rest


async def signed(rest: Rest, method: str, path: str, **params: Any) -> tuple[int, Any]:
    server = (await rest("GET", "/fapi/v1/time"))[1]["serverTime"]
    status, body, _ = await rest(
        method, path, signed=True, timestamp=server, recvWindow=5000, **params
    )
    return status, body


@pytest.fixture
async def price(client: ccxt.binanceusdm) -> float:
    return float((await client.fetch_ticker(UNIFIED))["last"])


# type and side as ccxt takes them, price factor, parameters as factors, the exchange's type
TYPES = {
    "stop": ("limit", "buy", 1.02, {"triggerPrice": 1.01}, "STOP"),
    "stop market": ("market", "sell", None, {"stopLossPrice": 0.97}, "STOP_MARKET"),
    "take profit": ("limit", "sell", 1.03, {"takeProfitPrice": 1.02}, "TAKE_PROFIT"),
    "take profit market": ("market", "sell", None, {"takeProfitPrice": 1.02}, "TAKE_PROFIT_MARKET"),
    "trailing": ("market", "sell", None, {"trailingTriggerPrice": 1.02}, "TRAILING_STOP_MARKET"),
}
MORE = {
    "stop": {"timeInForce": "GTC", "workingType": "MARK_PRICE"},
    "stop market": {"reduceOnly": True, "workingType": "MARK_PRICE"},
    "take profit": {"timeInForce": "GTX"},
    "take profit market": {"closePosition": True},
    "trailing": {"trailingPercent": 1.5, "reduceOnly": True},
}


@pytest.mark.parametrize("name", TYPES)
async def test_each_conditional_type(client: ccxt.binanceusdm, price: float, name: str) -> None:
    kind, side, factor, triggers, theirs = TYPES[name]
    params = {k: float(client.price_to_precision(UNIFIED, price * v)) for k, v in triggers.items()}
    limit = None if factor is None else float(client.price_to_precision(UNIFIED, price * factor))
    params |= MORE[name] | {"clientOrderId": "don-a-1-0"}
    amount = None if name == "take profit market" else 0.1
    order = await client.create_order(UNIFIED, kind, side, amount, limit, params)
    assert (order["status"], order["clientOrderId"]) == ("open", "don-a-1-0")
    info = order["info"]
    assert (info["orderType"], info["algoStatus"]) == (theirs, "NEW")
    wanted = next(iter(params[k] for k in triggers))
    shown = info["activatePrice"] if name == "trailing" else info["triggerPrice"]
    assert float(shown) == wanted
    assert info["workingType"] == MORE[name].get("workingType", "CONTRACT_PRICE")
    client.options["fetchOpenOrders"]["warnWithoutSymbol"] = False
    assert [o["id"] for o in await client.fetch_open_orders(None, params=TRIGGER)] == [order["id"]]
    assert await client.fetch_open_orders(UNIFIED) == []  # not an order of the book
    assert (await client.fetch_order(order["id"], UNIFIED, TRIGGER))["status"] == "open"
    await client.cancel_order(order["id"], UNIFIED, TRIGGER)
    assert (await client.fetch_order(order["id"], UNIFIED, TRIGGER))["status"] == "canceled"
    with pytest.raises(ccxt.OrderNotFound):
        await client.cancel_order(order["id"], UNIFIED, TRIGGER)
    await client.create_order(UNIFIED, kind, side, amount, limit, params)  # its id is free again
    await client.cancel_all_orders(UNIFIED, TRIGGER)
    assert await client.fetch_open_orders(UNIFIED, params=TRIGGER) == []
    found = await client.fetch_orders(UNIFIED, params=TRIGGER)
    assert [o["status"] for o in found] == ["canceled", "canceled"]


async def test_an_order_that_would_trigger_at_once_is_refused(
    client: ccxt.binanceusdm, price: float
) -> None:
    for side, factor, kind in (
        ("buy", 0.99, "stopLossPrice"),
        ("sell", 1.01, "stopLossPrice"),
        ("buy", 1.01, "takeProfitPrice"),
        ("sell", 0.99, "takeProfitPrice"),
    ):
        trigger = float(client.price_to_precision(UNIFIED, price * factor))
        with pytest.raises(ccxt.ExchangeError, match="-2021"):
            await client.create_order(UNIFIED, "market", side, 0.1, None, {kind: trigger})
    low = float(client.price_to_precision(UNIFIED, price * 0.99))
    with pytest.raises(ccxt.ExchangeError, match="-2021"):
        params = {"trailingPercent": 1, "trailingTriggerPrice": low}
        await client.create_order(UNIFIED, "market", "sell", 0.1, None, params)


async def test_good_till_date(client: ccxt.binanceusdm, rest: Rest, price: float) -> None:
    _, status, _ = await rest("GET", "/paper/v1/status")
    now = status["tapeTime"]
    bid = float(client.price_to_precision(UNIFIED, price * 0.97))
    dated = {"timeInForce": "GTD", "goodTillDate": now + 3_600_000}
    order = await client.create_order(UNIFIED, "limit", "buy", 0.1, bid, dated)
    assert int(order["info"]["goodTillDate"]) == (now + 3_600_000)
    with pytest.raises(ccxt.ExchangeError, match="-5040"):
        too_soon = {"timeInForce": "GTD", "goodTillDate": now + 600_000}
        await client.create_order(UNIFIED, "limit", "buy", 0.1, bid, too_soon)
    with pytest.raises(ccxt.ExchangeError, match=r"-1102.*goodTillDate"):
        await client.create_order(UNIFIED, "limit", "buy", 0.1, bid, {"timeInForce": "GTD"})


async def test_an_order_is_amended(client: ccxt.binanceusdm, price: float) -> None:
    low, lower = (float(client.price_to_precision(UNIFIED, price * f)) for f in (0.98, 0.97))
    first = await client.create_order(UNIFIED, "limit", "buy", 0.2, low)
    changed = await client.edit_order(first["id"], UNIFIED, "limit", "buy", 0.3, lower)
    assert (changed["id"], changed["price"], changed["amount"]) == (first["id"], lower, 0.3)
    (shown,) = await client.fetch_open_orders(UNIFIED)
    assert (shown["price"], shown["amount"]) == (lower, 0.3)
    with pytest.raises(ccxt.ExchangeError, match="-5027"):
        await client.edit_order(first["id"], UNIFIED, "limit", "buy", 0.3, lower)
    with pytest.raises(ccxt.ExchangeError, match="-2013"):
        await client.edit_order("999", UNIFIED, "limit", "buy", 0.3, lower)
    taking = await client.edit_order(first["id"], UNIFIED, "limit", "buy", 0.3, price * 1.01)
    assert (taking["status"], taking["filled"]) == ("closed", 0.3)


async def test_batches(client: ccxt.binanceusdm, price: float) -> None:
    low = float(client.price_to_precision(UNIFIED, price * 0.98))
    requests: list[Any] = [
        {"symbol": UNIFIED, "type": "limit", "side": "buy", "amount": amount, "price": low}
        for amount in (0.1, 0.2, 5_000)
    ]
    orders = await client.create_orders(requests)
    (refused,) = [o for o in orders if o["status"] == "rejected"]  # ccxt sorts what it gives
    assert int(refused["info"]["code"]) == -2019
    orders.remove(refused)
    assert [o["status"] for o in orders] == ["open", "open"]
    edits: list[Any] = [
        {"id": o["id"], "symbol": UNIFIED, "type": "limit", "side": "buy", "amount": 0.3}
        | {"price": low}
        for o in orders
    ]
    assert [o["amount"] for o in await client.edit_orders(edits)] == [0.3, 0.3]
    ended = await client.cancel_orders([o["id"] for o in orders], UNIFIED)
    assert [o["status"] for o in ended] == ["canceled", "canceled"]
    assert await client.fetch_open_orders(UNIFIED) == []


async def test_the_countdown_cancels_orders_but_leaves_what_protects(
    exchange: Ready, client: ccxt.binanceusdm, rest: Rest, price: float
) -> None:
    low = float(client.price_to_precision(UNIFIED, price * 0.97))
    await client.create_order(UNIFIED, "limit", "buy", 0.1, low)
    stop = {"stopLossPrice": low}
    await client.create_order(UNIFIED, "market", "sell", 0.1, None, stop)
    countdown = client.fapiPrivatePostCountdownCancelAll
    answer = await countdown({"symbol": SYMBOL, "countdownTime": 60_000})
    assert (answer["symbol"], answer["countdownTime"]) == (SYMBOL, "60000")
    assert len(await client.fetch_open_orders(UNIFIED)) == 1
    await countdown({"symbol": SYMBOL, "countdownTime": 0})
    key = (await rest("POST", "/fapi/v1/listenKey"))[1]["listenKey"]
    async with stream(exchange, f"/ws/{key}") as socket, asyncio.timeout(120):
        await countdown({"symbol": SYMBOL, "countdownTime": 1})
        assert (await socket.receive_json())["o"]["X"] == "CANCELED"
    assert [o["status"] for o in await client.fetch_orders(UNIFIED)] == ["canceled"]
    assert len(await client.fetch_open_orders(UNIFIED, params=TRIGGER)) == 1


async def test_malformed_requests(rest: Rest) -> None:
    order = {"symbol": SYMBOL, "side": "BUY", "quantity": "0.1"}
    algo = order | {"algoType": "CONDITIONAL", "triggerPrice": "1000000"}
    path = "/fapi/v1/algoOrder"
    for method, where, params, code in (
        ("POST", "/fapi/v1/order", order | {"type": "STOP_MARKET", "stopPrice": "1"}, -4120),
        ("POST", path, algo | {"type": "LIMIT"}, -1116),
        ("POST", path, algo | {"type": "STOP_MARKET", "algoType": "VP"}, -1130),
        ("POST", path, algo | {"type": "STOP_MARKET", "triggerPrice": ""}, -1102),
        ("POST", path, algo | {"type": "STOP_MARKET", "price": "1"}, -1106),
        ("POST", path, algo | {"type": "STOP"}, -1102),
        ("POST", path, algo | {"type": "STOP_MARKET", "triggerPrice": "0"}, -4006),
        ("POST", path, algo | {"type": "STOP_MARKET", "workingType": "INDEX"}, -1130),
        ("POST", path, algo | {"type": "STOP_MARKET", "closePosition": "true"}, -4137),
        ("POST", path, algo | {"type": "STOP", "price": "1", "closePosition": "true"}, -4136),
        ("POST", path, algo | {"type": "TRAILING_STOP_MARKET", "callbackRate": "1"}, -1106),
        ("DELETE", path, {}, -1102),
        ("GET", path, {"algoId": "7"}, -2013),
        ("POST", "/fapi/v1/batchOrders", {"batchOrders": "nonsense"}, -1130),
        ("POST", "/fapi/v1/batchOrders", {"batchOrders": "[]"}, -4082),
        ("POST", "/fapi/v1/batchOrders", {"batchOrders": "[[1]]"}, -1130),
        ("DELETE", "/fapi/v1/batchOrders", {"symbol": SYMBOL}, -4083),
        ("POST", "/fapi/v1/countdownCancelAll", {"symbol": SYMBOL}, -1102),
    ):
        status, body = await signed(rest, method, where, **params)
        assert (status, body["code"]) == (400, code), (where, params, body)


async def test_a_triggered_order_is_told_on_the_stream(tmp_path: Path) -> None:
    """The whole life of a stop: NEW, TRIGGERING, the order, TRIGGERED, its fill, FINISHED."""
    async with served(tmp_path, speed="10bar") as ready, raw(ready) as rest:
        client = ccxt_client(ready)
        await client.load_markets()
        key = (await rest("POST", "/fapi/v1/listenKey"))[1]["listenKey"]
        seen: list[Any] = []
        try:
            async with stream(ready, f"/ws/{key}") as socket:
                last = float((await client.fetch_ticker(UNIFIED))["last"])
                await client.create_order(UNIFIED, "market", "buy", 0.5)
                up = {"triggerPrice": float(client.price_to_precision(UNIFIED, last * 1.0005))}
                down = {"stopLossPrice": float(client.price_to_precision(UNIFIED, last * 0.9995))}
                for name, params in (
                    ("don-up", {"takeProfitPrice": up["triggerPrice"]}),
                    ("don-down", down),
                ):
                    params |= {"closePosition": True, "clientOrderId": name}
                    await client.create_order(UNIFIED, "market", "sell", None, None, params)
                await rest("POST", "/paper/v1/resume")
                async with asyncio.timeout(120):
                    async for message in socket:
                        event = json.loads(message.data)
                        body = event.get("o", {})
                        if event["e"] == "ALGO_UPDATE":
                            seen.append((body["caid"], "algo", body["X"]))
                            if body["X"] == "FINISHED":
                                break
                        elif event["e"] == "ORDER_TRADE_UPDATE" and body["ot"] != "MARKET":
                            seen.append((body["c"], "order", body["x"]))
                            assert body["cp"] is True and body["o"] == "MARKET"
            name = seen[-1][0]
            own = [(kind, state) for who, kind, state in seen if who == name]
            assert own[:4] == [
                ("algo", "NEW"),
                ("algo", "TRIGGERING"),
                ("order", "NEW"),
                ("algo", "TRIGGERED"),
            ]
            assert set(own[4:-1]) == {("order", "TRADE")} and own[-1] == ("algo", "FINISHED")
            assert await client.fetch_positions([UNIFIED]) == []
            found = await client.fetch_order(None, UNIFIED, TRIGGER | {"clientAlgoId": name})
            actual = await client.fetch_order(found["info"]["actualOrderId"], UNIFIED)
            assert (actual["status"], actual["filled"]) == ("closed", 0.5)
            assert actual["clientOrderId"] == name
        finally:
            await client.close()
