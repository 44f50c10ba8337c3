"""The live feed when the exchange misbehaves: it recovers by itself and says what was lost."""

import asyncio

from support.feed import until

from don.feeds.health import StreamState

BTC, ETH = "BTC-USDT-PERP", "ETH-USDT-PERP"


def live(collected, symbol: str = BTC, channel: str = "books") -> bool:
    return collected.stream(symbol, channel).state is StreamState.LIVE


async def ready(collected) -> None:
    await until(lambda: live(collected, BTC) and live(collected, ETH))


NO_BOOK = {f"{side}_{what}": [0.0] * 10 for side in ("bid", "ask") for what in ("prices", "sizes")}


def book(collected, symbol: str) -> dict:
    return [NO_BOOK, *(row for row in collected.rows("books") if row["symbol"] == symbol)][-1]


async def test_dropped_connection_comes_back_and_bars_have_no_hole(exchange, open_feed):
    await exchange.close_bars()
    collected = await open_feed()
    await ready(collected)
    await until(lambda: collected.bars(ETH))
    assert collected.states(BTC, "trades") == [], "that trades come, only a trade can tell"
    await exchange.trade("BTCUSDT")
    await until(lambda: live(collected, BTC, "trades"))
    exchange.cut()
    for _ in range(4):
        await exchange.close_bars()  # nobody listens, or only just again
    await until(lambda: collected.feed.health().reconnects == 1 and exchange.sockets)
    await ready(collected)
    await exchange.close_bars()
    for symbol, key in ((BTC, "BTCUSDT"), (ETH, "ETHUSDT")):
        await until(lambda key=key, symbol=symbol: len(collected.bars(symbol)) == 6)
        assert collected.bars(symbol) == exchange.bar_times(key)
    assert collected.states(BTC, "trades") == ["live", "stale"]
    await exchange.trade("BTCUSDT")
    await until(lambda: collected.states(BTC, "trades") == ["live", "stale", "live"])
    assert collected.states(BTC, "books") == ["live", "stale", "live"]
    assert collected.feed.health().bars_missing == 0


async def test_exchange_that_dies_for_a_while_and_has_a_new_certificate(exchange, open_feed):
    await exchange.close_bars()
    collected = await open_feed()
    await ready(collected)
    await until(lambda: collected.bars(ETH))
    await exchange.stop()
    await until(lambda: collected.feed.health().connected == 0)
    for _ in range(150):  # more than the bars of the first repair
        await exchange.close_bars()
    await asyncio.wait_for(exchange.start(), 120)  # makes a new certificate
    await ready(collected)
    await exchange.close_bars()
    await until(lambda: len(collected.bars(ETH)) == 152)
    assert collected.bars(BTC) == exchange.bar_times("BTCUSDT")
    assert collected.bars(ETH) == exchange.bar_times("ETHUSDT")


async def test_repaired_bars_come_before_live_rows(exchange, open_feed):
    await exchange.close_bars()
    collected = await open_feed()
    await ready(collected)
    await until(lambda: collected.bars(ETH))
    exchange.klines_gate = asyncio.Event()
    exchange.cut()
    for _ in range(3):
        await exchange.close_bars()
    await until(lambda: exchange.sockets)
    exchange.now_ms += 1000
    await exchange.trade("BTCUSDT")
    await until(lambda: exchange.requests["/fapi/v1/klines"] >= 4)
    assert collected.rows("trades") == []  # held back
    exchange.klines_gate.set()
    await until(lambda: collected.rows("trades"))
    order = [channel for batch in collected.batches for channel in ("bars", "trades")
             if channel in batch.tables]  # fmt: skip
    assert order.index("trades") == len(order) - 1
    assert collected.bars(BTC) == exchange.bar_times("BTCUSDT")


async def test_live_rows_do_not_wait_for_ever_when_rest_is_away(exchange, open_feed):
    exchange.klines_gate = asyncio.Event()
    await exchange.close_bars()
    collected = await open_feed(hold_s=0.2)
    await until(lambda: exchange.sockets)
    await exchange.trade("BTCUSDT")
    await until(lambda: collected.rows("trades"))
    assert collected.bars(BTC) == []
    exchange.klines_gate.set()
    await until(lambda: collected.bars(BTC) == exchange.bar_times("BTCUSDT"))


async def test_gap_in_one_book_resynchronises_that_symbol_only(exchange, open_feed):
    collected = await open_feed()
    await ready(collected)
    await exchange.diff("ETHUSDT", bids=[("99.9", "5")])
    depth_requests = exchange.requests["/fapi/v1/depth"]
    exchange.snapshot_gate = asyncio.Event()
    await exchange.diff("BTCUSDT", bids=[("99.7", "4")], lose=True)
    await exchange.diff("BTCUSDT", bids=[("99.6", "6")])
    await until(lambda: not live(collected))
    assert live(collected, ETH)
    await until(lambda: book(collected, ETH)["bid_sizes"][1] == 5.0)
    count = len([row for row in collected.rows("books") if row["symbol"] == ETH])
    await exchange.diff("ETHUSDT", bids=[("99.9", "8")])  # goes on meanwhile
    await until(lambda: book(collected, ETH)["bid_sizes"][1] == 8.0)
    assert len([row for row in collected.rows("books") if row["symbol"] == ETH]) == count + 1
    await exchange.diff("BTCUSDT", asks=[("100.1", "0")])  # buffered
    exchange.snapshot_gate.set()
    await until(lambda: live(collected))
    await exchange.diff("BTCUSDT", bids=[("99.5", "9")])
    await until(lambda: 99.5 in book(collected, BTC)["bid_prices"])
    last = book(collected, BTC)
    assert last["bid_prices"][:6] == [100.0, 99.9, 99.8, 99.7, 99.6, 99.5]
    assert last["ask_prices"][0] == 100.2
    assert exchange.requests["/fapi/v1/depth"] == depth_requests + 1
    assert collected.states(BTC, "books") == ["live", "gap", "stale", "live"]
    assert collected.states(ETH, "books") == ["live"]
    health = collected.feed.health()
    assert health.resyncs == 1 and health.reconnects == 0
    assert collected.stream(BTC, "books").gaps == 1


async def test_crossed_book_is_loaded_anew(exchange, open_feed):
    collected = await open_feed()
    await ready(collected)
    market = exchange.markets["BTCUSDT"]
    asks = dict(market.asks)
    await exchange.diff("BTCUSDT", bids=[("100.3", "1")])  # the asks below it were never removed
    market.bids.pop("100.3")
    market.asks = asks
    await until(lambda: collected.feed.health().resyncs == 1 and live(collected))
    await exchange.diff("BTCUSDT", bids=[("99.9", "3")])
    await until(lambda: book(collected, BTC)["bid_sizes"][1] == 3.0)
    assert book(collected, BTC)["bid_prices"][0] == 100.0


async def test_missing_trades_are_named_and_counted(exchange, open_feed):
    collected = await open_feed()
    await ready(collected)
    await exchange.trade("BTCUSDT")
    exchange.markets["BTCUSDT"].trade_id += 4
    await exchange.trade("BTCUSDT")
    await exchange.trade("BTCUSDT", a=106)  # a repeat of the one before
    exchange.now_ms += 1
    await exchange.trade("BTCUSDT", a=5)  # the exchange counts anew
    await until(lambda: len(collected.rows("trades")) == 3)
    assert [row["id"] for row in collected.rows("trades")] == [101, 106, 5]
    details = [row["detail"] for row in collected.rows("status") if row["state"] == "gap"]
    assert details == [
        "trades 102 to 105 missing (4)",
        "trade ids restarted at 5, were at 106",
    ]
    assert collected.stream(BTC, "trades").gaps == 2
    assert collected.feed.health().duplicates == 1


async def test_lost_bar_is_repaired_when_its_close_has_passed(exchange, open_feed):
    await exchange.close_bars()
    collected = await open_feed()
    await ready(collected)
    await until(lambda: len(collected.bars(BTC)) == 1)
    await exchange.close_bars(lose=("BTCUSDT",))  # the bar of the other symbol tells the time
    await until(lambda: len(collected.bars(BTC)) == 2)
    assert collected.rows("bars")[-1]["origin"] == "repair"
    assert collected.bars(BTC) == exchange.bar_times("BTCUSDT")


async def test_hole_in_the_stream_of_bars_is_filled_before_the_next_bar(exchange, open_feed):
    await exchange.close_bars()
    collected = await open_feed(bar_wait_s=60.0)
    await ready(collected)
    await exchange.close_bars(lose=("BTCUSDT", "ETHUSDT"))
    await exchange.close_bars(lose=("BTCUSDT", "ETHUSDT"))
    await exchange.close_bars()
    await until(lambda: len(collected.bars(BTC)) == 4 and len(collected.bars(ETH)) == 4)
    assert collected.bars(BTC) == exchange.bar_times("BTCUSDT")
    assert collected.bars(ETH) == exchange.bar_times("ETHUSDT")


async def test_bar_that_the_exchange_does_not_have_is_told_not_invented(exchange, open_feed):
    await exchange.close_bars()
    collected = await open_feed()
    await ready(collected)
    exchange.now_ms += 60_000
    exchange.open_bar("BTCUSDT")
    exchange.open_bar("ETHUSDT")
    await exchange.close_bars()
    await until(lambda: collected.feed.health().bars_missing == 2)
    await exchange.close_bars()
    await until(lambda: len(collected.bars(ETH)) == 3)
    assert collected.bars(BTC) == exchange.bar_times("BTCUSDT")
    assert collected.states(BTC, "bars").count("gap") == 1


async def test_silence_makes_streams_stale_and_reconnects(exchange, open_feed):
    collected = await open_feed(stale_after_s={"quotes": 0.2}, silence_s=0.8)
    await ready(collected)
    await exchange.quote("BTCUSDT")
    await until(lambda: collected.states(BTC, "quotes")[-1:] == ["stale"])
    assert "silent" in collected.stream(BTC, "quotes").detail
    lives = collected.states(BTC, "quotes").count("live")
    await exchange.quote("BTCUSDT")
    # as told, not as it is: on a busy machine it is silent again before anybody looks
    await until(lambda: collected.states(BTC, "quotes").count("live") > lives)
    exchange.muted = True
    await until(lambda: collected.feed.health().reconnects >= 1)
    assert "silent" in collected.feed.health().detail
    exchange.muted = False
    await ready(collected)


async def test_trades_that_stop_in_a_market_that_moves_are_stale(exchange, open_feed):
    collected = await open_feed(stale_after_s={"quotes": 60.0, "trades": 0.3})
    await ready(collected)
    for symbol in exchange.markets:
        await exchange.trade(symbol)
    await exchange.quote("BTCUSDT")
    await until(lambda: collected.states(BTC, "trades")[-1:] == ["stale"])
    assert "silent" in collected.stream(BTC, "trades").detail
    await exchange.trade("BTCUSDT")
    await until(lambda: collected.states(BTC, "trades")[-3:] == ["live", "stale", "live"])


async def test_errors_of_rest_are_waited_out(exchange, open_feed):
    exchange.rest_faults = {
        "exchangeInfo": [500, 429],
        "depth": [429, 500, 418, 503],
        "klines": [500, 502, 429],
    }
    exchange.retry_after = "0"
    await exchange.close_bars()
    collected = await open_feed()
    await ready(collected)
    await until(lambda: collected.bars(BTC) == exchange.bar_times("BTCUSDT"))
    assert collected.feed.health().request_failures == 9


async def test_hint_of_the_exchange_is_respected(exchange, open_feed):
    exchange.rest_faults = {"depth": [429]}
    exchange.retry_after = "0.5"
    collected = await open_feed(channels=("books", "trades"), symbols=(BTC,))
    await until(lambda: live(collected))
    assert collected.feed.health().request_failures == 1
    refused, answered = exchange.asked["/fapi/v1/depth"]
    assert answered - refused > 0.45


async def test_refused_handshakes_are_retried_without_a_storm(exchange, open_feed):
    exchange.refuse_streams = 30
    collected = await open_feed(backoff_base_s=0.01, backoff_cap_s=0.05, breaker_refusals=100)
    await ready(collected)
    assert exchange.handshakes == 31  # never gave up, although cryptofeed would after 10
    health = collected.feed.health()
    assert health.reconnects == 0 and health.connected == 1


async def test_exchange_that_accepts_and_hangs_up_is_not_stormed(exchange, open_feed):
    collected = await open_feed(backoff_base_s=0.05, backoff_cap_s=10.0)
    loop = asyncio.get_running_loop()
    end = loop.time() + 2.0
    while loop.time() < end or exchange.handshakes < 2:
        exchange.cut()
        await asyncio.sleep(0.01)
    # Delays double although each handshake succeeded; without that there would be over 40.
    assert 1 < exchange.handshakes < 25
    assert collected.feed.health().connected <= 1


async def test_messages_that_make_no_sense_do_not_stop_the_others(exchange, open_feed):
    collected = await open_feed()
    await ready(collected)
    await exchange.send_text("btcusdt@aggTrade", '{"e":"aggTrade","p":"sixty"}')
    await exchange.send_text("btcusdt@aggTrade", "[1, 2]")
    await exchange.trade("BTCUSDT", p="NaN")
    await exchange.trade("BTCUSDT", p="-1")
    await exchange.quote("ETHUSDT", bid="100.2", ask="100.1")
    await exchange.trade("BTCUSDT", 101.0)
    await until(lambda: collected.rows("trades"))
    assert [row["price"] for row in collected.rows("trades")] == [101.0]
    assert collected.rows("quotes") == []
    health = collected.feed.health()
    assert health.malformed == 5 and health.reconnects == 0
    details = [row["detail"] for row in collected.rows("status") if row["state"] == "gap"]
    assert any("price nan" in detail for detail in details)
    assert any("bid 100.2 and ask 100.1" in detail for detail in details)


async def test_an_empty_side_is_stale_and_no_gap(exchange, open_feed):
    collected = await open_feed()
    await ready(collected)
    await exchange.quote("BTCUSDT")
    await exchange.quote("BTCUSDT", bid="0.0", ask="100.1")
    await exchange.quote("BTCUSDT")
    await until(lambda: len(collected.rows("quotes")) == 2)
    said = [row for row in collected.rows("status") if row["channel"] == "quotes"]
    said = [row for row in said if row["symbol"].startswith("BTC")]
    assert [row["state"] for row in said][-2:] == ["stale", "live"]
    assert said[-2]["detail"] == "the bid side is empty"
    health = collected.feed.health()
    assert health.gaps == 0 and health.malformed == 0


async def test_a_defect_of_the_feed_is_raised_to_the_consumer(exchange, open_feed, monkeypatch):
    collected = await open_feed()
    await ready(collected)
    task = collected._task
    monkeypatch.setattr(collected.feed._core.sink, "trades", None)
    await exchange.trade("BTCUSDT")
    await until(task.done)
    assert isinstance(task.exception(), AttributeError)
    collected._task = asyncio.create_task(asyncio.sleep(0))
