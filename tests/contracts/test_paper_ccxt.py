"""Unmodified ccxt.binanceusdm against the paper exchange: only its addresses are overridden."""

from collections.abc import AsyncIterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import ccxt.async_support as ccxt
import pytest
from support.paper import SYMBOL, UNIFIED, ccxt_client, raw, served, stream

from don.paper.server.config import Ready


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


async def test_markets_carry_the_tape_s_filters(client: ccxt.binanceusdm) -> None:
    market = client.market(UNIFIED)
    assert (market["id"], market["linear"], market["swap"], market["active"]) == (
        SYMBOL,
        True,
        True,
        True,
    )
    assert market["precision"]["price"] > 0
    assert market["limits"]["cost"]["min"] == 5
    assert len([m for m in client.markets.values() if m["swap"]]) == 5


async def test_time_is_the_wall_clock(client: ccxt.binanceusdm) -> None:
    assert abs(await client.fetch_time() - client.milliseconds()) < 5_000


async def test_bars_are_whole_and_end_with_the_forming_one(client: ccxt.binanceusdm) -> None:
    bars = await client.fetch_ohlcv(UNIFIED, "30m", limit=50)
    assert len(bars) == 50
    assert {b[0] - a[0] for a, b in pairwise(bars)} == {1_800_000}
    assert all(low <= min(o, c) <= max(o, c) <= high for _, o, high, low, c, _ in bars)
    part = await client.fetch_ohlcv(UNIFIED, "30m", since=bars[10][0], limit=5)
    assert part == bars[10:15]
    hours = await client.fetch_ohlcv(UNIFIED, "1h", limit=5)
    assert hours[-1][0] % 3_600_000 == 0


async def test_book_is_sorted_and_uncrossed(client: ccxt.binanceusdm) -> None:
    book = await client.fetch_order_book(UNIFIED, limit=10)
    assert book["nonce"] > 0
    assert book["bids"] == sorted(book["bids"], reverse=True)
    assert book["asks"] == sorted(book["asks"])
    assert book["bids"][0][0] < book["asks"][0][0]


async def test_tickers_funding_rate_and_trades(client: ccxt.binanceusdm) -> None:
    ticker = await client.fetch_ticker(UNIFIED)
    assert ticker["last"] > 0
    assert len(await client.fetch_tickers()) == 5
    best = await client.fetch_bids_asks([UNIFIED])
    assert best[UNIFIED]["bid"] < best[UNIFIED]["ask"]
    assert (await client.fetch_last_prices([UNIFIED]))[UNIFIED]["price"] > 0
    rate = await client.fetch_funding_rate(UNIFIED)
    assert rate["markPrice"] > 0
    assert isinstance(await client.fetch_trades(UNIFIED), list)


async def test_market_order_fills_and_shows_everywhere(client: ccxt.binanceusdm) -> None:
    order = await client.create_order(
        UNIFIED, "market", "buy", 0.5, params={"clientOrderId": "don-a-1-0"}
    )
    assert (order["status"], order["filled"], order["clientOrderId"]) == (
        "closed",
        0.5,
        "don-a-1-0",
    )
    assert (await client.fetch_order(order["id"], UNIFIED))["status"] == "closed"
    trades = await client.fetch_my_trades(UNIFIED)
    assert sum(trade["amount"] for trade in trades) == 0.5
    assert {trade["order"] for trade in trades} == {order["id"]}
    fees = sum(Decimal(trade["info"]["commission"]) for trade in trades)
    balance = await client.fetch_balance()
    assert Decimal(balance["info"]["totalWalletBalance"]) == Decimal(100_000) - fees
    (position,) = await client.fetch_positions([UNIFIED])
    assert (position["side"], position["contracts"]) == ("long", 0.5)
    (account_position,) = [
        p for p in await client.fetch_account_positions() if p["symbol"] == UNIFIED
    ]
    assert account_position["contracts"] == 0.5
    await client.create_order(UNIFIED, "market", "sell", 0.5, params={"reduceOnly": True})
    assert await client.fetch_positions([UNIFIED]) == []


async def test_limit_order_rests_until_it_is_cancelled(client: ccxt.binanceusdm) -> None:
    bid = (await client.fetch_order_book(UNIFIED, limit=5))["bids"][0][0]
    price = float(client.price_to_precision(UNIFIED, bid * 0.98))
    first = await client.create_order(UNIFIED, "limit", "buy", 0.1, price)
    second = await client.create_order(
        UNIFIED, "limit", "buy", 0.1, price, {"timeInForce": "GTX", "clientOrderId": "don-b"}
    )
    assert [o["id"] for o in await client.fetch_open_orders(UNIFIED)] == [
        first["id"],
        second["id"],
    ]
    client.options["fetchOpenOrders"]["warnWithoutSymbol"] = False
    assert len(await client.fetch_open_orders()) == 2
    cancelled = await client.cancel_order(None, UNIFIED, {"origClientOrderId": "don-b"})
    assert cancelled["status"] == "canceled"
    assert (await client.fetch_open_order(first["id"], UNIFIED))["status"] == "open"
    await client.cancel_all_orders(UNIFIED)
    assert await client.fetch_open_orders(UNIFIED) == []
    orders = await client.fetch_orders(UNIFIED)
    assert [o["status"] for o in orders] == ["canceled", "canceled"]
    with pytest.raises(ccxt.OrderNotFound):
        await client.cancel_order(first["id"], UNIFIED)
    with pytest.raises(ccxt.OrderNotFound):
        await client.fetch_order("999999", UNIFIED)


@pytest.mark.parametrize("in_force", ["IOC", "FOK"])
async def test_immediate_orders(client: ccxt.binanceusdm, in_force: str) -> None:
    ask = (await client.fetch_order_book(UNIFIED, limit=5))["asks"][0][0]
    order = await client.create_order(UNIFIED, "limit", "buy", 0.1, ask, {"timeInForce": in_force})
    assert (order["status"], order["filled"]) == ("closed", 0.1)


async def test_refusals_become_ccxt_errors(client: ccxt.binanceusdm) -> None:
    ask = (await client.fetch_order_book(UNIFIED, limit=5))["asks"][0][0]
    with pytest.raises(ccxt.InvalidOrder, match="-5022"):
        await client.create_order(UNIFIED, "limit", "buy", 0.1, ask * 1.01, {"timeInForce": "GTX"})
    # ccxt picks finer classes by the address of the real exchange; the codes are what counts
    with pytest.raises(ccxt.ExchangeError, match="-2019"):
        await client.create_order(UNIFIED, "market", "buy", 5_000)
    with pytest.raises(ccxt.ExchangeError, match="-4164"):
        await client.create_order(UNIFIED, "limit", "buy", 0.0001, ask)
    client.secret = "0" * 64
    with pytest.raises(ccxt.AuthenticationError, match="-1022"):
        await client.fetch_balance()
    client.apiKey = "nobody"
    with pytest.raises(ccxt.AuthenticationError, match="-2015"):
        await client.fetch_balance()


async def test_leverage_and_its_relatives(client: ccxt.binanceusdm) -> None:
    answer = await client.set_leverage(7, UNIFIED)
    assert answer["leverage"] == "7" or answer["leverage"] == 7
    assert (await client.fetch_leverage(UNIFIED))["longLeverage"] == 7
    assert (await client.fetch_position_mode(UNIFIED))["hedged"] is False
    fee = await client.fetch_trading_fee(UNIFIED)
    assert (fee["maker"], fee["taker"]) == (0.0002, 0.0005)
    tiers = await client.fetch_leverage_tiers([UNIFIED])
    assert tiers[UNIFIED][0]["maxLeverage"] == 20
    with pytest.raises(ccxt.MarginModeAlreadySet):
        await client.set_margin_mode("cross", UNIFIED)
    with pytest.raises(ccxt.ExchangeError, match="-4028"):
        await client.set_leverage(99, UNIFIED)


async def test_funding_is_paid_and_listed(tmp_path: Path) -> None:
    async with served(tmp_path, speed="40bar") as ready, raw(ready) as rest:
        client = ccxt_client(ready)
        try:
            await client.load_markets()
            await client.create_order(UNIFIED, "market", "buy", 0.5)
            key = (await rest("POST", "/fapi/v1/listenKey"))[1]["listenKey"]
            async with stream(ready, f"/ws/{key}/btcusdt@markPrice@1s") as socket:
                async for message in socket:
                    event = message.json()
                    if event["e"] == "ACCOUNT_UPDATE" and event["a"]["m"] == "FUNDING_FEE":
                        break
            paid = await client.fetch_funding_history(UNIFIED)
            assert paid[0]["amount"] == pytest.approx(float(event["a"]["B"][0]["bc"]))
            rates = await client.fetch_funding_rate_history(UNIFIED)
            assert rates[-1]["timestamp"] >= paid[0]["timestamp"]
        finally:
            await client.close()
