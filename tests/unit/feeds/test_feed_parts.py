"""Parts of the feed by themselves: backoff, parser, outbox."""

import asyncio
import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from don.errors import DataError
from don.feeds.backoff import Backoff
from don.feeds.binance import (
    BinanceParser,
    parse_klines,
    parse_snapshot,
    snapshot_limit,
    split_name,
    streams_of,
)
from don.feeds.health import Stream
from don.feeds.outbox import Outbox
from don.market.book import Book, SequenceRule


@given(st.integers(0, 2**32), st.integers(1, 200))
def test_backoff_is_bounded_jittered_and_never_ends(seed, tries):
    backoff = Backoff(0.1, 5.0, Random(seed))
    delays = [backoff.next() for _ in range(tries)]
    assert all(0.025 <= delay <= min(5.0, 0.1 * 2**n) for n, delay in enumerate(delays))
    assert backoff.next(at_least_s=60.0) == 60.0
    backoff.reset()
    assert backoff.next() <= 0.1


class Calls:
    """A sink that writes down what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple] = []

    def __getattr__(self, name):
        return lambda *args: self.seen.append((name, *args[1:]))


def parse(channel: str, data: dict, name: str = "btcusdt@x") -> list[tuple]:
    calls = Calls()
    parser = BinanceParser(calls, 60_000_000_000)
    parser.add(name, Stream("BTC-USDT-PERP", channel, "BTCUSDT"))
    parser.on_message(json.dumps({"stream": name, "data": data}).encode(), 5)
    return calls.seen


@given(st.decimals(min_value="1e-8", max_value="1e8", places=8), st.integers(0, 2**42))
def test_numbers_and_times_survive_exactly(price, ms):
    data = {"e": "aggTrade", "a": 1, "p": str(price), "q": "1", "T": ms, "m": True}
    (call,) = parse("trades", data)
    assert call == ("trade", ms * 1_000_000, 5, 1, float(price), 1.0, False)


def test_closed_and_forming_klines():
    kline = {"t": 60_000, "o": "1", "h": "3", "l": "0.5", "c": "2", "v": "9", "n": 4, "x": True}
    assert parse("bars", {"E": 120_001, "k": kline}) == [
        ("bar", 120_000_000_000, 5, (1.0, 3.0, 0.5, 2.0, 9.0, 4))
    ]
    forming = parse("bars", {"E": 70_000, "k": kline | {"x": False}})
    assert forming == [("forming", 70_000_000_000, 5)]


def test_quotes_without_an_exchange_time_take_that_of_arrival():
    data = {"u": 1, "s": "BTCUSDT", "b": "1", "B": "2", "a": "3", "A": "4"}
    assert parse("quotes", data) == [("quote", 5, 5, 1.0, 2.0, 3.0, 4.0, 1)]


def test_streams_may_be_named_otherwise_than_subscribed():
    assert split_name("btcusdt@kline_1m") == ("BTCUSDT", "kline")
    assert split_name("btcusdt@depth@100ms") == ("BTCUSDT", "depth")
    assert streams_of("wss://x/stream?streams=a@b/c@d") == ["a@b", "c@d"]
    calls = Calls()
    parser = BinanceParser(calls, 1)
    parser.add("btcusdt@markPrice", Stream("BTC-USDT-PERP", "funding", "BTCUSDT"))
    message = {"stream": "btcusdt@markPrice@1s", "data": {"E": 1, "p": "2", "r": "", "T": 0}}
    parser.on_message(json.dumps(message).encode(), 5)
    name, _, _, mark, rate, _ = calls.seen[0]
    assert (name, mark) == ("funding", 2.0) and rate != rate


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"stream":"ethusdt@x","data":{}}',
        b'{"stream":"btcusdt@x"}',
        b'{"stream":"btcusdt@x","data":{"a":1,"p":"1","q":"x","T":1,"m":true}}',
    ],
)
def test_what_is_not_understood_is_a_data_error(text):
    parser = BinanceParser(Calls(), 1)
    parser.add("btcusdt@x", Stream("BTC-USDT-PERP", "trades", "BTCUSDT"))
    with pytest.raises(DataError):
        parser.on_message(text, 0)


def test_rest_answers():
    rows = [
        [120_000, "1", "2", "0.5", "1.5", "10", 179_999, "15", 3, "5", "7", "0"],
        [60_000, "1", "2", "0.5", "1.5", "10", 119_999, "15", 3, "5", "7", "0"],
    ]
    assert [bar.ts for bar in parse_klines(rows, 60_000_000_000)] == [
        120_000_000_000,
        180_000_000_000,
    ]
    answer = {"lastUpdateId": 7, "bids": [["1.5", "2"]], "asks": [], "E": 1}
    assert parse_snapshot(answer) == (7, [(1.5, 2.0)], [])
    for bad in ({}, [], {"lastUpdateId": "x", "bids": [], "asks": []}):
        with pytest.raises(DataError):
            parse_snapshot(bad)
    with pytest.raises(DataError):
        parse_klines([[1, 2]], 1)
    assert [snapshot_limit(n, (5, 100, 20)) for n in (1, 6, 20, 500)] == [5, 20, 20, 100]


def trade(number: int) -> tuple:
    return ("X", number, number, number, 1.0, 1.0, True)


def outbox(**changes) -> Outbox:
    values = {
        "max_rows": 4, "max_age_s": 60.0, "max_batches": 2, "hold_rows": 100,
        "monotonic_ns": lambda: 0,
    }  # fmt: skip
    return Outbox("S:1", **(values | changes))


async def test_outbox_sends_by_size_and_by_age():
    box = outbox()
    for number in range(5):
        box.add("trades", trade(number))
    assert box.depth == 1
    assert (await box.get()).tables["trades"]["id"].to_pylist() == [0, 1, 2, 3]
    quick = outbox(max_age_s=0.001)
    quick.add("trades", trade(9))
    batch = await asyncio.wait_for(quick.get(), 120)
    assert batch.rows == 1 and batch.seq == 1
    quick.add("trades", trade(10))  # the timer works again after it has fired
    assert (await asyncio.wait_for(quick.get(), 120)).seq == 2


async def test_full_outbox_congests_and_recovers_in_order():
    box = outbox()
    for number in range(12):
        box.add("trades", trade(number))
    assert box.congested and box.depth == 2
    waiting = asyncio.create_task(box.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    seen = (await box.get()).tables["trades"]["id"].to_pylist()
    await asyncio.wait_for(waiting, 120)
    assert not box.congested and box.depth == 2  # what waited has moved up
    box.close()
    while (batch := await box.get()) is not None:
        seen += batch.tables["trades"]["id"].to_pylist()
    assert seen == list(range(12))


async def test_held_rows_leave_after_what_is_put_first():
    box = outbox(max_batches=8)
    box.add("trades", trade(1))
    box.hold()
    for number in range(2, 9):
        box.add("trades", trade(number))
    assert box.depth == 1 and not box.congested
    await box.put_first("trades", [trade(100)])
    box.release()
    ids = [(await box.get()).tables["trades"]["id"].to_pylist() for _ in range(3)]
    assert ids == [[1], [100], [2, 3, 4, 5, 6, 7, 8]]


async def test_hold_is_bounded():
    box = outbox(hold_rows=10)
    box.hold()
    for number in range(10):
        box.add("trades", trade(number))
    assert box.congested
    box.release()
    assert not box.congested


async def test_books_are_conflated_and_can_be_withdrawn():
    book = Book(SequenceRule.SPOT)
    book.load(1, [(1.0, 1.0)], [(2.0, 1.0)])
    box = outbox()
    for number in range(3):
        box.set_book("X", number, number, book)
    box.set_book("Y", 5, 5, book)
    box.drop_book("Y")
    book.apply(2, 2, 1, [(1.5, 4.0)], [])
    box.flush()
    (row,) = (await box.get()).tables["books"].to_pylist()
    assert (row["symbol"], row["ts_event"], row["bid_prices"][0]) == ("X", 2, 1.5)
    box.set_book("Y", 5, 5, book)
    box.drop_book("Y")
    box.flush()
    assert box.depth == 0


async def test_failure_comes_after_the_batches_before_it():
    box = outbox()
    for number in range(4):
        box.add("trades", trade(number))
    box.fail(RuntimeError("broken"))
    assert (await box.get()).rows == 4
    with pytest.raises(RuntimeError, match="broken"):
        await box.get()
