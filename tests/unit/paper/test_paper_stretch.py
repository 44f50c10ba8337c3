"""Recorded steps taken at once leave what they leave one by one."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from market_kit import exchange, instrument

from don.backtest.market import MarketTap
from don.errors import ExchangeRefused
from don.model.order import Side, TimeInForce
from don.paper.columns import columns_of
from don.paper.events import BookTicker, BookUpdate, MarkPrice, PublicTrade
from don.paper.ladder import ASK, BID, FAR, FILLED, MOST
from don.paper.matching import Book
from don.paper.merged import merge
from don.paper.types import NewOrder, OrderKind

SYMBOL = "BTCUSDT"
MS = 1_000_000
UPDATES = st.lists(st.tuples(st.integers(0, 1), st.integers(-6, 6), st.integers(0, 9)), max_size=6)
STEPS = st.one_of(
    st.tuples(st.just("book"), UPDATES, st.integers(0, 2)),
    st.tuples(st.just("trade"), st.integers(-6, 6), st.integers(1, 12), st.booleans()),
)
ORDERS = st.tuples(st.sampled_from(Side), st.integers(-5, 5), st.integers(1, 8), st.booleans())


def columns(script, middle, symbol=SYMBOL):
    """The script as a recording: book changes that no recorder would find crossed."""
    books, arrivals, trades, ts = [], [], [], 0
    start = tuple((middle - k, 5) for k in range(1, 9)), tuple((middle + k, 5) for k in range(9))
    books.append(BookUpdate(symbol=symbol, ts=0, bids=start[0], asks=start[1], snapshot=True))
    arrivals.append(0)
    for n, step in enumerate(script, start=1):
        ts += 700 * MS * (n % 3)
        if step[0] == "trade":
            trades.append((ts, n, n, middle + step[1], step[2], step[3], 1))
            continue
        at = middle + step[2] - 1  # bids below, asks not
        bids = tuple((min(middle + p, at - 1), z) for side, p, z in step[1] if side == BID)
        asks = tuple((max(middle + p, at), z) for side, p, z in step[1] if side == ASK)
        books.append(BookUpdate(symbol=symbol, ts=ts, bids=bids, asks=asks))
        arrivals.append(n)
    kinds = [np.int64] * 5 + [np.bool_, np.int64]
    made = list(zip(*trades, strict=True)) or [()] * 7
    arrays = tuple(np.array(v, kind) for v, kind in zip(made, kinds, strict=True))
    return columns_of(symbol, books, np.array(arrivals, np.int64), arrays)


def begun(middle, *markets):
    venue = exchange(*markets)
    for market in markets:
        tick = market.tick_size
        venue.apply(
            MarkPrice(
                symbol=market.exchange_symbol, ts=0, mark=middle * tick, index=middle * tick,
                rate=tick * 0, next_funding_ts=0,
            )
        )  # fmt: skip
    tap = MarketTap(
        {market.exchange_symbol: market.symbol for market in markets}, "1m", "test", None,
        {market.exchange_symbol: (market.tick_size, market.lot_size) for market in markets},
        15 * 10**9,
    )  # fmt: skip
    return venue, tap


def place(venue, tap, market, middle, asked):
    side, offset, lots, post = asked
    try:
        _, events = venue.place(
            NewOrder(
                symbol=market.exchange_symbol, side=side, kind=OrderKind.LIMIT,
                size=lots * market.lot_size, price=(middle + offset) * market.tick_size,
                time_in_force=TimeInForce.GTX if post else TimeInForce.GTC,
            )
        )  # fmt: skip
    except ExchangeRefused as refused:
        return [str(refused)]
    tap.take(events, venue.now)
    return account_events(events)


def account_events(events):
    return [one for one in events if hasattr(one, "account")]


def both_ways(recording, middle, markets, orders):
    """Steps one by one against steps at once; `orders` are placed before a step: (market, what)."""
    (one, tap), (many, other) = begun(middle, *markets), begun(middle, *markets)
    told, heard, at = [], [], 0
    for stop in sorted({*orders, len(recording.ts)}):
        stop = min(stop, len(recording.ts))
        for step in range(at, stop):
            events = one.apply(recording.event(step))
            tap.take(events, one.now)
            told += account_events(events)
        while at < stop:
            done = many.advance(recording, at, stop)
            if done is not None:
                other.take_stretch(recording, done, lambda ts: ts)
                at = done.stop
                continue
            events = many.apply(recording.event(at))
            other.take(events, many.now)
            heard += account_events(events)
            at += 1
        if stop in orders:
            n, asked = orders[stop]
            told += place(one, tap, markets[n], middle, asked)
            heard += place(many, other, markets[n], middle, asked)
    assert told == heard
    assert one.dump() == many.dump()
    assert one.take_dirty() == many.take_dirty()
    assert tap.batch(0).tables == other.batch(0).tables


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=40), st.dictionaries(st.integers(0, 40), ORDERS))
def test_steps_at_once_are_steps_one_by_one(script, orders):
    middle = 600_000
    placed = {at: (0, asked) for at, asked in orders.items()}
    both_ways(columns(script, middle), middle, [instrument("BTC")], placed)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(STEPS, min_size=1, max_size=25), min_size=2, max_size=3),
    st.dictionaries(st.integers(0, 70), st.tuples(st.integers(0, 2), ORDERS)),
)
def test_steps_of_several_symbols_at_once_are_steps_one_by_one(scripts, orders):
    markets = [instrument(base) for base in ("BTC", "ETH", "LTC")][: len(scripts)]
    middle = 600_000
    own = [
        columns(script, middle, market.exchange_symbol)
        for script, market in zip(scripts, markets, strict=True)
    ]
    placed = {at: (n % len(markets), asked) for at, (n, asked) in orders.items()}
    both_ways(merge(own), middle, markets, placed)


def test_a_stretch_without_orders_is_taken_whole():
    market, middle = instrument("BTC"), 600_000
    script = [("trade", 0, 3, True), ("book", [(BID, -1, 7)], 1), ("trade", -1, 2, False)] * 10
    recording = columns(script, middle)
    venue, _ = begun(middle, market)
    assert venue.advance(recording, 0, 1) is None  # a snapshot is an event
    events = venue.apply(recording.event(0))
    assert any(isinstance(one, BookTicker) for one in events)
    done = venue.advance(recording, 1, len(recording.ts))
    assert done.stop == len(recording.ts) and len(done.best) == 1
    assert not any(isinstance(one, PublicTrade) for one in venue.apply(
        MarkPrice(symbol=SYMBOL, ts=venue.now, mark=market.tick_size, index=market.tick_size,
                  rate=market.tick_size * 0, next_funding_ts=0)
    ))  # fmt: skip


def test_levels_far_from_the_touch_come_back_in_order():
    rng = np.random.default_rng(3)
    book, known = Book(), {}
    for step in range(120):
        low = 20_000 + 10 * step if step % 40 < 30 else 20_000
        rows = {}
        for price in rng.integers(low - 3_000, low, 60).tolist():
            rows[price] = int(rng.integers(0, 3))
        if step % 3 == 2:  # the touch moves away: levels behind it come to the front
            for price in sorted(known, reverse=True)[:90]:
                rows[price] = 0
        for _ in book.display([(BID, p, z) for p, z in sorted(rows.items(), reverse=True)]):
            raise AssertionError("nobody is there to be crossed")
        known |= rows
        known = {p: z for p, z in known.items() if z}
        wanted = sorted(known.items(), reverse=True)
        assert book.best(BID) == (wanted[0] if wanted else None)
        assert book.fillable(ASK, wanted[len(wanted) // 2][0]) == sum(
            z for _, z in wanted[: len(wanted) // 2 + 1]
        )
        if step % 10 == 9:
            assert [(p, z) for p, z, _ in book.levels(BID)] == wanted
            assert len(wanted) < FILLED or len(wanted) > 100
    assert len(known) > MOST and FAR
