"""The live feed over real sockets: what arrives, in what shape, and what it promises."""

import asyncio
import math

import pyarrow as pa
import pytest
from support.fault_exchange import FaultExchange
from support.feed import Collected, feed_config, until

from don.clock import SystemClock
from don.errors import ConfigError, ExchangeUnavailable, UsageError
from don.feeds.config import FeedConfig
from don.feeds.health import FeedState, StreamState
from don.feeds.live import LiveFeed
from don.model.schema import SCHEMAS

BTC, ETH = "BTC-USDT-PERP", "ETH-USDT-PERP"


def connected(collected) -> bool:
    """Connected, and live is what needs no event for it."""
    health = collected.feed.health()
    sure = [s for s in health.streams if s.channel in ("books", "bars", "liquidations")]
    return health.connected == 1 and all(s.state is StreamState.LIVE for s in sure)


async def test_every_channel_arrives_exactly(exchange, open_feed):
    collected = await open_feed()
    await until(lambda: connected(collected))
    exchange.now_ms += 123
    await exchange.trade("BTCUSDT", 60000.1, 0.25)
    await exchange.quote("BTCUSDT", "59999.9", "60000.3")
    await exchange.diff("BTCUSDT", bids=[("100.0", "7")])
    await exchange.mark("BTCUSDT")
    await exchange.liquidate("BTCUSDT")
    await until(lambda: collected.rows("liquidations"))
    ts = exchange.now_ms * 1_000_000
    trade = collected.rows("trades")[-1]
    assert trade == {
        "symbol": BTC, "ts_event": ts, "ts_recv": trade["ts_recv"], "id": 101,
        "price": 60000.1, "size": 0.25, "buy": True,
    }  # fmt: skip
    assert abs(trade["ts_recv"] - SystemClock().now_ns()) < 60e9
    quote = collected.rows("quotes")[-1]
    assert (quote["bid"], quote["bid_size"], quote["ask"]) == (59999.9, 1.5, 60000.3)
    book = [row for row in collected.rows("books") if row["symbol"] == BTC][-1]
    assert book["bid_prices"][:3] == [100.0, 99.9, 99.8]
    assert book["bid_sizes"][:3] == [7.0, 2.0, 3.0]
    assert book["ask_prices"][:2] == [100.1, 100.2]
    assert all(math.isnan(x) for x in book["ask_prices"][2:])
    funding = collected.rows("funding")[-1]
    assert (funding["mark"], funding["rate"]) == (100.05, 0.0001)
    assert funding["next_ts"] == ts + 3_600_000_000_000
    liquidation = collected.rows("liquidations")[-1]
    assert (liquidation["price"], liquidation["size"], liquidation["buy"]) == (99.5, 0.5, False)


async def test_tables_have_their_schemas_and_batches_count_up(exchange, open_feed):
    collected = await open_feed(batch_rows=4)
    await until(lambda: connected(collected))
    for _ in range(10):
        for symbol in exchange.markets:
            await exchange.trade(symbol)
            await exchange.diff(symbol, bids=[("99.9", "2")])
    await exchange.close_bars()
    await until(lambda: len(collected.rows("trades")) == 20 and collected.bars(ETH))
    assert [batch.seq for batch in collected.batches] == list(range(1, len(collected.batches) + 1))
    for batch in collected.batches:
        assert batch.source == "TEST:1"
        for channel, table in batch.tables.items():
            assert table.schema.equals(SCHEMAS[channel])
            assert table.num_rows > 0
        books = batch.tables.get("books")
        if books is not None:  # conflated: at most one row a symbol
            assert books.num_rows == len(set(books["symbol"].to_pylist()))
    ids = [row["id"] for row in collected.rows("trades") if row["symbol"] == BTC]
    assert ids == list(range(101, 111))


async def test_closed_bars_come_once_with_their_close_time(exchange, open_feed):
    for _ in range(5):
        await exchange.close_bars()
    collected = await open_feed()
    await until(lambda: len(collected.bars(BTC)) == 5)
    for _ in range(3):
        await exchange.close_bars()
    await until(lambda: len(collected.bars(ETH)) == 8)
    assert collected.bars(BTC) == exchange.bar_times("BTCUSDT")
    origins = [row["origin"] for row in collected.rows("bars") if row["symbol"] == BTC]
    assert origins == ["repair"] * 5 + ["stream"] * 3


async def test_forming_bar_is_never_sent(exchange, open_feed):
    await exchange.close_bars()
    exchange.open_bar("BTCUSDT")  # REST shows it as the last row
    collected = await open_feed()
    await until(lambda: connected(collected) and collected.bars(ETH) != [])
    data = exchange._kline("BTCUSDT", exchange.markets["BTCUSDT"].forming)
    data["k"]["x"] = False
    await exchange.send("BTCUSDT", "kline_1m", data)
    await until(lambda: collected.stream(BTC, "bars").last_recv_ns > 0)
    await exchange.trade("BTCUSDT")
    await until(lambda: collected.rows("trades"))
    assert collected.bars(BTC) == exchange.bar_times("BTCUSDT")


async def test_history_gives_closed_bars_of_all_symbols_in_order(exchange, open_feed):
    for _ in range(30):
        await exchange.close_bars()
    collected = await open_feed()
    table = await collected.feed.history(12)
    assert table.schema.equals(SCHEMAS["bars"])
    assert set(table["origin"].to_pylist()) == {"history"}
    rows = table.to_pylist()
    keys = [(row["ts_event"], row["symbol"]) for row in rows]
    assert keys == sorted(keys) and len(set(keys)) == len(keys)
    assert [ts for ts, symbol in keys if symbol == BTC] == exchange.bar_times("BTCUSDT")[-12:]


async def test_history_pages_when_more_is_asked_for_than_an_answer_holds(exchange, open_feed):
    for _ in range(1600):
        await exchange.close_bars()
    collected = await open_feed()
    table = await collected.feed.history(1590)
    times = [row["ts_event"] for row in table.to_pylist() if row["symbol"] == ETH]
    assert times == exchange.bar_times("ETHUSDT")[-1590:]
    assert (await collected.feed.history(5000)).num_rows == 3200


async def test_slow_consumer_blocks_the_socket_and_loses_nothing(exchange):
    config = feed_config(exchange, batch_rows=8, queue_batches=2, channels=("trades",))
    feed = LiveFeed(config, SystemClock(), "TEST:1")
    await feed.start()
    await until(lambda: feed.health().connected == 1)
    total = 3000
    sender = asyncio.create_task(_trades(exchange, total))
    await until(lambda: feed.health().queue_depth == 2)
    await until(lambda: feed.health().messages >= 16)
    seen = feed.health().messages
    tables: list[pa.Table] = []
    async for batch in feed.batches():
        assert feed.health().queue_depth <= 2
        if "trades" in batch.tables:
            tables.append(batch.tables["trades"])
        if sum(table.num_rows for table in tables) == total:
            break
    assert seen < 200  # it stood still while nobody took batches
    ids = pa.concat_tables(tables)["id"].to_pylist()
    assert ids == list(range(101, 101 + total))
    health = feed.health()
    assert health.dropped == 0 and health.blocked_s > 0 and health.gaps == 0
    await sender
    await feed.close()


async def _trades(exchange: FaultExchange, count: int) -> None:
    for _ in range(count):
        await exchange.trade("BTCUSDT")


async def test_close_sends_what_is_pending_and_leaves_nothing_behind(exchange):
    before = asyncio.all_tasks()
    feed = LiveFeed(feed_config(exchange, batch_age_ms=60_000), SystemClock(), "TEST:1")
    await feed.start()
    await until(lambda: len(exchange.sockets) == 1)
    await exchange.trade("BTCUSDT")
    await until(lambda: feed.health().messages == 1)
    await feed.close()
    await feed.close()
    batches = [batch async for batch in feed.batches()]
    assert sum(b.tables["trades"].num_rows for b in batches if "trades" in b.tables) == 1
    assert feed.health().state is FeedState.CLOSED
    await until(lambda: not exchange.sockets)
    await until(
        lambda: {t for t in asyncio.all_tasks() - before if "feed" in t.get_name()} == set()
    )


async def test_unknown_symbol_is_a_usage_error_with_a_hint(exchange):
    config = feed_config(exchange, symbols=("BTC-USDT-PERP", "ETC-USDT-PERP"))
    feed = LiveFeed(config, SystemClock(), "TEST:1")
    with pytest.raises(UsageError, match=r"ETC-USDT-PERP.*did you mean ETH-USDT-PERP"):
        await feed.start()
    await feed.close()


async def test_feed_waits_for_an_exchange_that_is_not_up_yet(tmp_path):
    exchange = FaultExchange(["BTCUSDT"], tmp_path)
    config = feed_config(exchange, symbols=(BTC,))
    feed = LiveFeed(config, SystemClock(), "TEST:1")
    starting = asyncio.create_task(feed.start())
    await until(lambda: feed.health().request_failures >= 2)
    assert feed.health().state is FeedState.STARTING and not starting.done()
    await exchange.start()
    await asyncio.wait_for(starting, 120)
    await until(lambda: feed.health().connected == 1)
    await feed.close()
    await exchange.stop()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interval": "7x"}, "interval must be like 1m"),
        ({"channels": ("trade",)}, "channels must be among"),
        ({"symbols": ("BTCUSDT",)}, "BTC-USDT-PERP"),
        ({"symbols": (BTC, BTC)}, "symbols must differ"),
        ({"backoff_cap_s": 0.01}, "backoff_cap_s must be at least"),
        ({"stale_after_s": {"quote": 1.0}}, "stale_after_s needs channels"),
    ],
)
def test_bad_configuration_names_the_field(change, message):
    with pytest.raises(ValueError, match=message):
        FeedConfig(**change)


def test_feed_needs_symbols_and_a_known_exchange():
    with pytest.raises(ConfigError, match="symbols must name at least one"):
        LiveFeed(FeedConfig(), SystemClock(), "x")
    with pytest.raises(ConfigError, match=r"exchange must be one of .*BINANCE_FUTURES"):
        LiveFeed(FeedConfig(exchange="MTGOX", symbols=(BTC,)), SystemClock(), "x")


async def test_interval_that_the_exchange_does_not_offer_is_refused(exchange):
    feed = LiveFeed(feed_config(exchange, interval="7m"), SystemClock(), "TEST:1")
    with pytest.raises(ConfigError, match="interval must be one of"):
        await feed.start()
    await feed.close()


async def test_many_symbols_need_several_connections(tmp_path):
    names = [f"C{number:02d}USDT" for number in range(40)]  # 240 streams, a connection has 200
    exchange = FaultExchange(names, tmp_path)
    await exchange.start()
    for _ in range(3):
        await exchange.close_bars()
    symbols = tuple(f"{name[:-4]}-USDT-PERP" for name in names)
    feed = LiveFeed(feed_config(exchange, symbols=symbols), SystemClock(), "TEST:1")
    await feed.start()
    collected = Collected(feed)
    sure = {"books", "bars", "liquidations"}  # of the others, events tell
    await until(
        lambda: all(
            (s.state is StreamState.LIVE) == (s.channel in sure) for s in feed.health().streams
        )
    )
    assert feed.health().connections == 2 and len(feed.health().streams) == 240
    await until(lambda: all(len(collected.bars(symbol)) == 3 for symbol in symbols))
    exchange.cut()
    for _ in range(2):
        await exchange.close_bars()
    await until(lambda: all(len(collected.bars(symbol)) == 5 for symbol in symbols))
    for name, symbol in zip(names, symbols, strict=True):
        assert collected.bars(symbol) == exchange.bar_times(name)
    await collected.close()
    await exchange.stop()


async def test_closing_while_the_exchange_is_away_ends_the_start(tmp_path):
    exchange = FaultExchange(["BTCUSDT"], tmp_path)  # never started
    feed = LiveFeed(feed_config(exchange, symbols=(BTC,)), SystemClock(), "TEST:1")
    starting = asyncio.create_task(feed.start())
    await until(lambda: feed.health().request_failures >= 1)
    await feed.close()
    with pytest.raises(ExchangeUnavailable, match="closed"):
        await asyncio.wait_for(starting, 120)
