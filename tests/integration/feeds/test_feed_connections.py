"""Connections of a feed: copies, planned replacement, no storms; trades that are repaired."""

import asyncio
from random import Random

from support.feed import until

from don.clock import SystemClock
from don.feeds.gate import BreakerState, Gate
from don.feeds.health import StreamState

BTC, ETH = "BTC-USDT-PERP", "ETH-USDT-PERP"


def ids(collected, channel: str = "trades", symbol: str = BTC) -> list[int]:
    return [row["id"] for row in collected.rows(channel) if row["symbol"] == symbol]


def live(collected, symbol: str = BTC, channel: str = "books") -> bool:
    return collected.stream(symbol, channel).state is StreamState.LIVE


def details(collected, state: str) -> list[str]:
    return [row["detail"] for row in collected.rows("status") if row["state"] == state]


async def busy(exchange, rounds: int) -> None:
    """Something of every channel, a moment later each time."""
    for _ in range(rounds):
        exchange.now_ms += 10
        for symbol in exchange.markets:
            await exchange.trade(symbol)
            await exchange.quote(symbol)
            await exchange.diff(symbol, bids=[("99.9", str(1 + exchange.now_ms % 7))])
            await exchange.mark(symbol)
            await exchange.liquidate(symbol, price=f"{99 + exchange.now_ms % 50 / 100}")
        await asyncio.sleep(0.002)


async def test_subscriptions_are_spread_over_connections(exchange, open_feed):
    collected = await open_feed(streams_per_connection=5)
    await until(lambda: len(exchange.sockets) == 3)
    names = list(exchange.sockets.values())
    assert all(len(part) <= 5 for part in names)
    assert sum(len(part) for part in names) == 12
    assert len(set().union(*names)) == 12
    await until(lambda: live(collected) and live(collected, ETH))
    assert collected.feed.health().connections == 3


async def test_of_two_copies_the_first_wins_and_nothing_comes_twice(exchange, open_feed):
    collected = await open_feed(redundancy=2)
    await until(lambda: len(exchange.sockets) == 2 and live(collected) and live(collected, ETH))
    await busy(exchange, 20)
    await until(lambda: len(ids(collected)) == 20 and len(ids(collected, symbol=ETH)) == 20)
    await until(lambda: collected.feed.health().duplicates >= 20 * 2 * 4)
    assert ids(collected) == sorted(set(ids(collected)))
    for channel in ("quotes", "funding", "liquidations"):
        assert len(collected.rows(channel)) == 40, channel
    assert collected.feed.health().gaps == 0


async def test_either_copy_may_die_without_a_gap(exchange, open_feed):
    collected = await open_feed(redundancy=2)
    await until(lambda: len(exchange.sockets) == 2 and live(collected) and live(collected, ETH))
    for number in range(6):
        if number % 2 == 0:
            await until(lambda: collected.feed.health().connected == 2 == len(exchange.sockets))
            await busy(exchange, 2)
            exchange.cut(list(exchange.sockets)[number // 2 % 2])
        await busy(exchange, 3)
    await until(lambda: len(ids(collected)) == 24 and len(exchange.sockets) == 2)
    assert len(ids(collected, symbol=ETH)) == 24
    assert details(collected, "gap") == [] and details(collected, "stale") == []
    assert collected.feed.health().reconnects == 3
    assert len(collected.rows("quotes")) == 48


async def test_a_connection_that_is_up_but_mute_is_replaced_while_the_other_serves(
    exchange, open_feed
):
    collected = await open_feed(redundancy=2, silence_s=0.3)
    await until(lambda: len(exchange.sockets) == 2 and live(collected))
    await busy(exchange, 2)
    exchange.dead = [next(iter(exchange.sockets))]
    for _ in range(200):
        await busy(exchange, 1)
        if collected.feed.health().reconnects and len(exchange.sockets) == 2:
            break
    assert collected.feed.health().reconnects == 1
    count = exchange.markets["BTCUSDT"].trade_id - 100
    await until(lambda: len(ids(collected)) == count)
    assert details(collected, "gap") == [] and details(collected, "stale") == []


async def test_an_old_connection_is_replaced_without_gap_or_repeat(exchange, open_feed):
    collected = await open_feed(connection_life_s=0.2, overlap_s=0.1)
    await until(lambda: live(collected) and live(collected, ETH))
    rounds = 0
    while collected.feed.health().rotations < 3:
        await busy(exchange, 1)
        rounds += 1
        assert rounds < 5_000
    await until(lambda: len(ids(collected)) == rounds)
    assert ids(collected) == list(range(101, 101 + rounds))
    for channel in ("quotes", "funding", "liquidations"):
        assert len(collected.rows(channel)) == 2 * rounds, channel
    health = collected.feed.health()
    assert (health.gaps, health.reconnects, health.resyncs) == (0, 0, 0)
    assert details(collected, "stale") == []


async def test_missed_trades_are_repaired_and_marked(exchange, open_feed):
    collected = await open_feed()
    await until(lambda: live(collected))
    await exchange.trade("BTCUSDT")
    before = exchange.now_ms
    exchange.now_ms += 1000
    for _ in range(3):
        await exchange.trade("BTCUSDT", lose=True)
    exchange.now_ms += 1000
    await exchange.trade("BTCUSDT")
    await until(lambda: ids(collected, "repaired_trades") == [102, 103, 104])
    await until(lambda: ids(collected) == [101, 105])
    await until(lambda: details(collected, "repaired") and details(collected, "gap"))
    (row,) = [r for r in collected.rows("status") if r["state"] == "repaired"]
    assert row["detail"] == "trades 102 to 104 repaired (3)"
    assert (row["since"], row["ts_event"]) == (before * 10**6, exchange.now_ms * 10**6)
    assert details(collected, "gap") == ["trades 102 to 104 missing (3)"]
    (origin,) = {r["origin"] for r in collected.rows("repaired_trades")}
    assert origin == "repair"
    assert collected.feed.health().trades_repaired == 3


async def test_trades_that_rest_does_not_have_stay_a_gap(exchange, open_feed):
    collected = await open_feed()
    await until(lambda: live(collected))
    await exchange.trade("BTCUSDT")
    exchange.rest_faults["aggTrades"] = [400]
    await exchange.trade("BTCUSDT", lose=True)
    await exchange.trade("BTCUSDT")
    await until(lambda: not exchange.rest_faults["aggTrades"] and len(ids(collected)) == 2)
    assert details(collected, "repaired") == []
    assert details(collected, "gap") == ["trades 102 to 102 missing (1)"]


async def test_refusals_open_the_breaker_and_a_probe_closes_it(exchange, open_feed):
    exchange.refuse_streams = 6
    collected = await open_feed(
        backoff_base_s=0.01, backoff_cap_s=0.02, breaker_refusals=3, breaker_pause_s=0.06
    )
    await until(lambda: collected.feed.health().breaker == "open")
    assert collected.feed.health().breaker_pause_s > 0
    await until(lambda: live(collected))
    assert collected.feed.health().breaker == "closed"
    assert exchange.handshakes == 7
    pauses = [b - a for a, b in zip(exchange.opened, exchange.opened[1:], strict=False)]
    assert all(pause >= 0.03 for pause in pauses[2:]), "one probe a pause, and pauses grow"
    assert pauses[-1] >= 0.06 * 2**3 / 2


async def test_open_interest_is_polled_and_book_changes_are_sent_where_asked(exchange, open_feed):
    channels = ("books", "trades", "open_interest", "book_deltas")
    collected = await open_feed(channels=channels, open_interest_s=0.02)
    await until(lambda: live(collected) and collected.rows("open_interest"))
    assert collected.rows("open_interest")[0]["size"] == 1234.5
    await exchange.diff("BTCUSDT", bids=[("99.7", "4")], asks=[("100.2", "0")])
    wanted = [(True, 99.7, 4.0), (False, 100.2, 0.0)]

    def changes() -> list[dict]:
        return [r for r in collected.rows("book_deltas") if r["symbol"] == BTC]

    await until(lambda: [(r["buy"], r["price"], r["size"]) for r in changes()[-2:]] == wanted)
    snapshot = [r for r in changes() if r["first_id"] == -1]
    assert {(r["buy"], r["price"]) for r in snapshot} == {
        (True, 100.0), (True, 99.9), (True, 99.8), (False, 100.1), (False, 100.2)
    }  # fmt: skip
    assert {r["last_id"] for r in snapshot} == {1000}
    assert {(r["first_id"], r["last_id"]) for r in changes()[-2:]} == {(1001, 1003)}


async def test_attempts_of_all_connections_share_one_limit():
    gate = Gate(3, 0.2, SystemClock(), Random(1))
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def attempt() -> None:
        await gate.enter()
        times.append(loop.time())
        gate.undecided()

    await asyncio.gather(*(attempt() for _ in range(9)))
    for first, fourth in zip(times, times[3:], strict=False):
        assert fourth - first >= 0.19
    assert gate.health().state is BreakerState.CLOSED


async def test_one_probe_at_a_time_while_the_breaker_is_half_open():
    gate = Gate(100, 1.0, SystemClock(), Random(1), refusals=1, pause_s=0.05, max_pause_s=0.05)
    await gate.enter()
    gate.refused()
    entered: list[int] = []

    async def attempt(number: int) -> None:
        await gate.enter()
        entered.append(number)

    tasks = [asyncio.create_task(attempt(n)) for n in range(4)]
    await until(lambda: len(entered) == 1)
    assert gate.health().state is BreakerState.PROBING
    await asyncio.sleep(0)
    assert len(entered) == 1
    gate.worked()
    await asyncio.wait_for(asyncio.gather(*tasks), 120)
    assert len(entered) == 4
