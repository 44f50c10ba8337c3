"""Kill -9 of the paper exchange while it trades: nothing is lost, nothing is doubled."""

import asyncio
import contextlib
import resource
import signal
import time
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.paper import SYMBOL, Process, Rest, raw, served, stream, until

from don.errors import UsageError
from don.paper.main import READY_FILE

SETTINGS = {"speed": "20bar", "hold": False, "limits": {"orders_per_10s": 10_000}}
PRIVATE = {
    "orders": "/fapi/v1/allOrders",
    "trades": "/fapi/v1/userTrades",
    "open": "/fapi/v1/openOrders",
}


async def signed(rest: Rest, method: str, path: str, **fields: Any) -> Any:
    now = time.time_ns() // 1_000_000
    status, answer, _ = await rest(method, path, signed=True, timestamp=now, **fields)
    if status != 200:
        raise AssertionError(f"{path}: {answer}")
    return answer


async def books(rest: Rest) -> dict[str, Any]:
    """All that a customer can see of the account, but for what the mark price moves."""
    seen = {
        name: await signed(rest, "GET", path, symbol=SYMBOL, limit=1000)
        for name, path in PRIVATE.items()
        if name != "open"
    }
    seen["open"] = await signed(rest, "GET", PRIVATE["open"], symbol=SYMBOL)
    seen["income"] = await signed(rest, "GET", "/fapi/v1/income", limit=1000)
    account = await signed(rest, "GET", "/fapi/v3/account")
    seen["wallet"] = account["totalWalletBalance"]
    seen["positions"] = [(p["symbol"], p["positionAmt"]) for p in account["positions"]]
    risk = await signed(rest, "GET", "/fapi/v2/positionRisk")
    seen["leverage"] = {p["symbol"]: (p["leverage"], p["entryPrice"]) for p in risk}
    return seen


async def trade(rest: Rest, number: int) -> dict[str, Any]:
    """One order: market orders both ways, and resting ones. Empty if it was refused."""
    side = "BUY" if number % 3 else "SELL"
    fields: dict[str, Any] = {"type": "MARKET"}
    if number % 4 == 0:
        _, best, _ = await rest("GET", "/fapi/v1/ticker/bookTicker", symbol=SYMBOL)
        price = (Decimal(best["bidPrice"]) * Decimal("0.97")).quantize(Decimal("0.1"))
        fields = {"type": "LIMIT", "timeInForce": "GTC", "price": price}
        side = "BUY"
    status, answer, _ = await rest(
        "POST",
        "/fapi/v1/order",
        signed=True,
        timestamp=time.time_ns() // 1_000_000,
        symbol=SYMBOL,
        side=side,
        quantity="0.05",
        newClientOrderId=f"don-{number}",
        newOrderRespType="RESULT",
        **fields,
    )
    return answer if status == 200 else {}


@dataclass
class Known:
    """What the customers of an exchange were told before it died."""

    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    told: list[dict[str, Any]] = field(default_factory=list)
    listen_key: str = ""


async def trade_until_killed(folder: Path, orders: int) -> Known:
    """Trade on an exchange of its own process, then kill -9 it with an order under way."""
    known = Known()

    async def listen(socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            known.told.append(message.json())

    async def trade_on(rest: Rest) -> None:
        for number in count():
            answer = await trade(rest, number)
            if answer:
                known.answers[answer["clientOrderId"]] = answer

    async with Process.started(folder, **SETTINGS) as exchange, raw(exchange.ready) as rest:
        await signed(rest, "POST", "/fapi/v1/leverage", symbol=SYMBOL, leverage=9)
        known.listen_key = (await rest("POST", "/fapi/v1/listenKey"))[1]["listenKey"]
        async with stream(exchange.ready, "/ws/btcusdt@aggTrade/btcusdt@depth@0ms") as socket:
            listener = asyncio.create_task(listen(socket))
            trader = asyncio.create_task(trade_on(rest))
            await until(
                lambda: trader.done() or (len(known.answers) >= orders and known.told),
                f"{orders} orders",
                timeout_s=60,
            )
            assert await exchange.end(signal.SIGKILL) == -signal.SIGKILL
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                await trader
            await listener
    return known


async def test_nothing_is_lost_or_doubled_by_kill_9(tmp_path: Path) -> None:
    known = await trade_until_killed(tmp_path, orders=40)
    answered, told, key = known.answers, known.told, known.listen_key
    async with served(tmp_path, **(SETTINGS | {"hold": True})) as ready, raw(ready) as rest:
        assert (tmp_path / READY_FILE).exists()
        after = await books(rest)
        orders = {order["clientOrderId"]: order for order in after["orders"]}
        # every answer that was given still holds; at most the one under way came on top
        assert set(answered) <= set(orders)
        assert len(orders) - len(answered) <= 1
        for name, answer in answered.items():
            kept = orders[name]
            assert kept["orderId"] == answer["orderId"]
            if answer["status"] in ("FILLED", "EXPIRED", "CANCELED"):
                assert {k: kept[k] for k in answer if k in kept} == {
                    k: answer[k] for k in answer if k in kept
                }
        # the books are whole: fills make up orders, position and wallet
        for order in orders.values():
            fills = [t for t in after["trades"] if t["orderId"] == order["orderId"]]
            assert sum(Decimal(t["qty"]) for t in fills) == Decimal(order["executedQty"])
        sign = {"BUY": 1, "SELL": -1}
        size = sum(sign[t["side"]] * Decimal(t["qty"]) for t in after["trades"])
        assert [(s, Decimal(a)) for s, a in after["positions"] if Decimal(a)] == [(SYMBOL, size)]
        wallet = sum(Decimal(row["income"]) for row in after["income"])
        assert Decimal(after["wallet"]) == wallet
        ids = [trade["id"] for trade in after["trades"]]
        assert len(ids) == len(set(ids))
        assert {o["clientOrderId"] for o in after["open"]} == {
            n for n, o in orders.items() if o["status"] in ("NEW", "PARTIALLY_FILLED")
        }
        assert after["leverage"][SYMBOL][0] == "9"
        assert (await rest("PUT", "/fapi/v1/listenKey"))[1]["listenKey"] == key

        # ids and sequences go on where they were; nothing that was told is told again
        fresh = await signed(
            rest, "POST", "/fapi/v1/order", symbol=SYMBOL, side="BUY", type="MARKET", quantity="0.1"
        )
        assert fresh["orderId"] == max(o["orderId"] for o in after["orders"]) + 1
        async with stream(ready, "/ws/btcusdt@aggTrade/btcusdt@depth@0ms") as socket:
            new = [await socket.receive_json() for _ in range(20)]
        for kind, first, last in (("aggTrade", "a", "a"), ("depthUpdate", "U", "u")):
            before = [e[last] for e in told if e["e"] == kind]
            later = [e[first] for e in new if e["e"] == kind]
            assert max(before) < min(later)
        assert max(e["E"] for e in told) <= min(e["E"] for e in new)
        trades = [e["a"] for e in (*told, *new) if e["e"] == "aggTrade"]
        assert trades[-1] - trades[0] < 2 * len(told) + len(new)


async def test_a_stopped_exchange_goes_on_where_it_was(tmp_path: Path) -> None:
    async with Process.started(tmp_path, **SETTINGS) as first, raw(first.ready) as rest:
        for number in range(8):
            await trade(rest, number)
        await rest("POST", "/paper/v1/pause")
        before = await books(rest)
        _, status, _ = await rest("GET", "/paper/v1/status")
        _, depth, _ = await rest("GET", "/fapi/v1/depth", symbol=SYMBOL, limit=1000)
        _, bars, _ = await rest("GET", "/fapi/v1/klines", symbol=SYMBOL, interval="30m", limit=3)
        assert await first.end(signal.SIGTERM) == 0
    assert not (tmp_path / READY_FILE).exists()
    async with served(tmp_path, **(SETTINGS | {"hold": True})) as ready, raw(ready) as rest:
        assert await books(rest) == before
        _, now, _ = await rest("GET", "/paper/v1/status")
        assert (now["position"], now["tapeTime"]) == (status["position"], status["tapeTime"])
        _, same, _ = await rest("GET", "/fapi/v1/depth", symbol=SYMBOL, limit=1000)
        assert same == depth
        _, kept, _ = await rest("GET", "/fapi/v1/klines", symbol=SYMBOL, interval="30m", limit=3)
        assert kept == bars


async def test_books_and_bars_come_back_after_kill_9_too(tmp_path: Path) -> None:
    async with Process.started(tmp_path, **SETTINGS) as exchange, raw(exchange.ready) as rest:
        async with stream(exchange.ready, "/ws/btcusdt@aggTrade") as socket:
            for _ in range(60):
                await socket.receive_json()
        await rest("POST", "/paper/v1/pause")
        _, bars, _ = await rest("GET", "/fapi/v1/klines", symbol=SYMBOL, interval="30m", limit=3)
        _, depth, _ = await rest("GET", "/fapi/v1/depth", symbol=SYMBOL, limit=1000)
        await exchange.end(signal.SIGKILL)
    async with served(tmp_path, **(SETTINGS | {"hold": True})) as ready, raw(ready) as rest:
        _, kept, _ = await rest("GET", "/fapi/v1/klines", symbol=SYMBOL, interval="30m", limit=3)
        assert kept == bars
        _, same, _ = await rest("GET", "/fapi/v1/depth", symbol=SYMBOL, limit=1000)
        assert (same["bids"], same["asks"]) == (depth["bids"], depth["asks"])
        assert same["lastUpdateId"] >= depth["lastUpdateId"]


async def test_another_market_is_not_mixed_in(tmp_path: Path) -> None:
    async with served(tmp_path, symbols=["BTCUSDT", "ETHUSDT"]):
        with pytest.raises(UsageError, match="another paper exchange uses"):
            async with served(tmp_path, symbols=["BTCUSDT", "ETHUSDT"]):
                pass
    with pytest.raises(UsageError, match="symbols was BTCUSDT ETHUSDT, is now BTCUSDT"):
        async with served(tmp_path, symbols=["BTCUSDT"]):
            pass
    with pytest.raises(UsageError, match=r"seed was 0, is now 7.*reset"):
        async with served(tmp_path, symbols=["BTCUSDT", "ETHUSDT"], seed=7):
            pass
    async with served(tmp_path, symbols=["BTCUSDT"], reset=True) as ready:
        assert ready.symbols == ("BTCUSDT",)


async def test_what_cannot_be_stored_did_not_happen(tmp_path: Path) -> None:
    """A full disk: no answer is given, the process ends, and the order was never there."""
    async with Process.started(tmp_path, **(SETTINGS | {"hold": True})) as exchange:
        async with raw(exchange.ready) as rest:
            assert (await trade(rest, 1))["status"] == "FILLED"
            resource.prlimit(exchange.process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
            with contextlib.suppress(aiohttp.ClientError):
                assert await trade(rest, 2) == {}
        assert await asyncio.wait_for(exchange.process.wait(), 120) == 4
    async with served(tmp_path, **(SETTINGS | {"hold": True})) as ready, raw(ready) as rest:
        orders = await signed(rest, "GET", PRIVATE["orders"], symbol=SYMBOL)
        assert [order["clientOrderId"] for order in orders] == ["don-1"]
        assert (await trade(rest, 3))["orderId"] == orders[-1]["orderId"] + 1
