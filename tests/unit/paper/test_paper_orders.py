"""Orders one by one: what is refused and why, how each kind lives and ends."""

from decimal import Decimal as D

import pytest
from market_kit import (
    BTC,
    ETH,
    book,
    exchange,
    instrument,
    limit,
    lots,
    mark,
    market,
    of,
    ticks,
    trade,
)

from don.errors import DataError, ExchangeRefused
from don.model.order import Side, TimeInForce
from don.paper.events import (
    BarClose,
    BookUpdate,
    DepthDiff,
    Execution,
    Kline,
    OrderUpdate,
    PublicTrade,
    TradePrint,
)
from don.paper.types import NewOrder, OrderKind, Status

MINUTE = 60_000_000_000


@pytest.fixture
def ex():
    ex = exchange()
    mark(ex, 1000)
    book(ex, [(999, 5), (998, 10)], [(1001, 5), (1002, 10)])
    ex.take_dirty()
    return ex


def place(ex, *args, **more):
    return ex.place(limit(*args, **more))[0]


def code(ex, request):
    """The code with which a request is refused; nothing may change by it."""
    before = ex.dump()
    ex.take_dirty()
    with pytest.raises(ExchangeRefused) as refusal:
        ex.place(request)
    assert ex.dump() == before
    assert not ex.take_dirty().urgent
    assert refusal.value.message
    return refusal.value.code


def raw(**changes):
    values = {"symbol": BTC, "side": Side.BUY, "kind": OrderKind.LIMIT, "size": D(1)}
    values |= {"price": D(1000), "time_in_force": TimeInForce.GTC}
    return NewOrder(**{**values, **changes})


@pytest.mark.parametrize(
    ("request_", "want"),
    [
        (raw(symbol="XYZUSDT"), -1121),
        (raw(account="nobody"), -2015),
        (raw(price=None), -1102),
        (raw(time_in_force=None), -1102),
        (raw(kind=OrderKind.MARKET, time_in_force=None), -1106),
        (raw(kind=OrderKind.MARKET, price=None), -1106),
        (raw(kind=OrderKind.LIQUIDATION), -1116),
        (raw(client_order_id="x" * 37), -4015),
        (raw(client_order_id="no spaces"), -4015),
        (raw(client_order_id=""), -4015),
        (raw(size=D(0)), -4003),
        (raw(size=D("-1")), -4003),
        (raw(size=D("NaN")), -4003),
        (raw(size=D("0.0005")), -1111),
        (raw(size=D("1000.001")), -4005),
        (raw(price=D(0)), -4001),
        (raw(price=D("Infinity")), -4001),
        (raw(price=D("1000.05")), -1111),
        (raw(price=D("1050.1")), -4016),
        (raw(side=Side.SELL, price=D("949.9")), -4024),
        (raw(size=D("0.004")), -4164),
        (raw(reduce_only=True), -2022),
        (raw(size=D(300)), -2019),
        (raw(price=D(1001), time_in_force=TimeInForce.GTX), -5022),
        (raw(price=D(1001), size=D(6), time_in_force=TimeInForce.FOK), -5021),
        (market("buy", "0.004"), -4164),
    ],
)
def test_refusals(ex, request_, want):
    assert code(ex, request_) == want


def test_more_refusals_of_steps_and_minima():
    ex = exchange(instrument("BTC", tick_size=D("0.5"), lot_size=D("0.002"), min_size=D("0.004")))
    book(ex, asks=[(1001, 5)])
    assert code(ex, raw(price=D("999.3"))) == -4014
    assert code(ex, raw(size=D("1.001"))) == -4023
    assert code(ex, raw(size=D("0.002"))) == -4004


def test_a_market_order_far_from_the_mark_is_refused(ex):
    mark(ex, 900)
    assert code(ex, market("buy", 1)) == -4131


def test_too_many_open_orders():
    ex = exchange(max_open_orders=2)
    mark(ex, 1000)
    for _ in range(2):
        place(ex, "buy", "0.1", 990)
    assert code(ex, limit("buy", "0.1", 990)) == -2025


def test_client_order_ids_are_unique_among_open_orders_only(ex):
    first = place(ex, "buy", 1, 990, client_order_id="mine")
    assert code(ex, limit("buy", 1, 991, client_order_id="mine")) == -4116
    assert place(ex, "buy", 1, 990, client_order_id="mine", account="b").account == "b"
    ex.cancel(BTC, client_order_id="mine")
    second = place(ex, "buy", 1, 992, client_order_id="mine")
    assert ex.order(BTC, client_order_id="mine") == second
    assert ex.order(BTC, order_id=first.order_id).status is Status.CANCELED


def test_unknown_orders(ex):
    order = place(ex, "buy", 1, 990)
    for call, want in (
        (lambda: ex.order(BTC, order_id=99), -2013),
        (lambda: ex.order(BTC, client_order_id="none"), -2013),
        (lambda: ex.order(ETH, order_id=order.order_id), -2013),
        (lambda: ex.order(BTC, order_id=order.order_id, account="b"), -2013),
        (lambda: ex.cancel(BTC, order_id=99), -2011),
        (lambda: ex.cancel(BTC, order_id=order.order_id, account="b"), -2011),
        (lambda: ex.cancel(BTC), -1102),
        (lambda: ex.open_orders("XYZUSDT"), -1121),
        (lambda: ex.depth("XYZUSDT", 5), -1121),
    ):
        with pytest.raises(ExchangeRefused) as refusal:
            call()
        assert refusal.value.code == want
    ex.cancel(BTC, order_id=order.order_id)
    with pytest.raises(ExchangeRefused, match="Unknown order"):
        ex.cancel(BTC, order_id=order.order_id)


def test_a_limit_order_takes_what_it_crosses_and_rests(ex):
    order, events = ex.place(limit("buy", 8, 1001))
    assert (order.status, order.filled, order.average) == (Status.PARTIALLY_FILLED, 5, 1001)
    assert [e.execution for e in of(events, OrderUpdate)] == [Execution.NEW, Execution.TRADE]
    assert ex.ticker(BTC).bid == 1001
    assert ex.ticker(BTC).bid_size == 3
    trade(ex, 1001, 3, buy=False)
    assert ex.order(BTC, order_id=order.order_id).status is Status.FILLED
    assert [t.maker for t in ex.trades(BTC)] == [False, True]


@pytest.mark.parametrize(
    ("request_", "status", "filled"),
    [
        (limit("buy", 8, 1001, tif="IOC"), Status.EXPIRED, 5),
        (limit("buy", 1, 1000, tif="IOC"), Status.EXPIRED, 0),
        (limit("buy", 7, 1002, tif="FOK"), Status.FILLED, 7),
        (limit("buy", 1, 1000, tif="GTX"), Status.NEW, 0),
        (market("sell", 15), Status.FILLED, 15),
        (market("sell", 20), Status.EXPIRED, 15),
        (market("buy", 1, symbol=ETH), Status.EXPIRED, 0),  # nobody is there
    ],
)
def test_how_orders_end(ex, request_, status, filled):
    order, events = ex.place(request_)
    assert (order.status, order.filled) == (status, filled)
    last = of(events, OrderUpdate)[-1]
    assert last.order == order
    assert (last.execution is Execution.EXPIRED) == (status is Status.EXPIRED)
    assert len(ex.open_orders()) == (not status.final)


def test_market_orders_stop_at_the_price_band(ex):
    book(ex, asks=[(1050, 1), (1051, 50)])
    order, _ = ex.place(market("buy", 20))
    assert (order.status, order.filled) == (Status.EXPIRED, 16)


def test_liquidity_taken_comes_back_with_the_next_update_of_its_level(ex):
    ex.place(market("buy", 5))
    assert ex.depth(BTC, 5).asks == ((D(1002), D(10)),)
    book(ex, asks=[(1003, 1)])
    assert ex.ticker(BTC).ask == 1002
    book(ex, asks=[(1001, 5)])
    assert ex.ticker(BTC).ask == 1001


def test_resting_orders_queue_behind_the_house(ex):
    order = place(ex, "buy", 2, 999)
    trade(ex, 999, 5, buy=False)
    assert ex.order(BTC, order_id=order.order_id).filled == 0
    trade(ex, 999, "1.5", buy=False)
    assert ex.order(BTC, order_id=order.order_id).filled == D("1.5")


def test_a_print_through_the_price_fills_at_our_price(ex):
    order = place(ex, "buy", 2, "999.5")
    events = trade(ex, 998, 1, buy=False)
    assert of(events, PublicTrade)[0].price == 998
    order = ex.order(BTC, order_id=order.order_id)
    assert (order.filled, order.average, order.status) == (1, D("999.5"), Status.PARTIALLY_FILLED)


def test_a_book_that_crosses_us_fills_us_as_maker(ex):
    order = place(ex, "sell", 8, "1000.5")
    book(ex, bids=[(1001, 3), (999, 0)], asks=[(1001, 0)])
    state = ex.order(BTC, order_id=order.order_id)
    assert (state.filled, state.average) == (3, D("1000.5"))
    assert ex.trades(BTC)[0].maker
    assert ex.ticker(BTC).bid == 998  # what met us is gone until the tape restores it


def test_orders_of_users_meet_each_other(ex):
    first = place(ex, "sell", 2, 1000, account="b")
    place(ex, "sell", 2, 1000, account="c")
    order, events = ex.place(limit("buy", 3, 1000))
    assert order.status is Status.FILLED
    assert ex.order(BTC, order_id=first.order_id, account="b").status is Status.FILLED
    sides = [(u.account, u.trade.maker) for u in of(events, OrderUpdate) if u.trade]
    assert sides == [("b", True), ("a", False), ("c", True), ("a", False)]


def test_fill_or_kill_counts_what_reduce_only_orders_can_really_give(ex):
    """b is long 4 and offers 3 twice, reduce-only: only 4 are there, not 6."""
    ex.place(limit("buy", 4, 1001, account="b"))
    book(ex, asks=[(1001, 0), (1002, 0)])
    for _ in range(2):
        place(ex, "sell", 3, 1002, reduce_only=True, account="b")
    assert code(ex, limit("buy", 5, 1002, tif="FOK")) == -5021
    assert place(ex, "buy", 4, 1002, tif="FOK").status is Status.FILLED
    assert ex.open_orders(account="b") == []


def test_reduce_only_is_cut_when_placed_and_follows_the_position(ex):
    ex.place(market("buy", 4))
    high = place(ex, "sell", 10, 1010, reduce_only=True)
    assert high.size == 4
    assert code(ex, limit("buy", 1, 1000, reduce_only=True)) == -2022
    _, events = ex.place(market("sell", 3))
    cut = [u for u in of(events, OrderUpdate) if u.execution is Execution.AMENDMENT]
    assert [u.order.size for u in cut] == [1]
    assert dict(ex.depth(BTC, 10).asks)[D(1010)] == 1
    _, events = ex.place(market("sell", 1, reduce_only=True))
    assert ex.order(BTC, order_id=high.order_id).status is Status.EXPIRED
    assert ex.open_orders() == []
    assert D(1010) not in dict(ex.depth(BTC, 10).asks)


def test_one_sweep_over_two_reduce_only_orders_does_not_turn_the_position(ex):
    ex.place(market("buy", 4))
    for price in (1010, 1011):
        place(ex, "sell", 4, price, reduce_only=True)
    trade(ex, 1012, 100, buy=True)
    assert ex.account().positions[0].size == 0
    assert sum(t.size for t in ex.trades(BTC)) == 8


def test_an_account_meeting_its_own_reduce_only_order_keeps_the_others(ex):
    ex.place(market("buy", 4))
    near = place(ex, "sell", 4, "1000.5", reduce_only=True)
    far = place(ex, "sell", 4, 1010, reduce_only=True)
    ex.place(limit("buy", 4, "1000.5"))
    assert ex.order(BTC, order_id=near.order_id).status is Status.FILLED
    assert ex.order(BTC, order_id=far.order_id).left == 4
    assert ex.account().positions[0].size == 4


def test_cancel_all_of_one_symbol(ex):
    mark(ex, 1000, symbol=ETH)
    place(ex, "buy", 1, 990)
    place(ex, "buy", 1, 991)
    place(ex, "buy", 1, 990, symbol=ETH)
    place(ex, "buy", 1, 990, account="b")
    events = ex.cancel_all(BTC)
    assert [u.execution for u in of(events, OrderUpdate)] == [Execution.CANCELED] * 2
    assert [o.symbol for o in ex.open_orders()] == [ETH]
    assert len(ex.open_orders(account="b")) == 1


def test_ids_and_times(ex):
    ex.apply(BookUpdate(symbol=BTC, ts=77, bids=(), asks=()))
    first, second = place(ex, "buy", 1, 990), place(ex, "buy", 1, 1001)
    assert (first.ts_created, second.ts_updated) == (77, 77)
    assert second.order_id == first.order_id + 1
    assert [t.id for t in ex.trades(BTC)] == [1]
    assert [t.ts for t in ex.trades(BTC)] == [77]


def test_pages_of_history(ex):
    for n in range(5):
        ex.apply(BookUpdate(symbol=BTC, ts=100 + n, bids=(), asks=((ticks(1001), lots(5)),)))
        place(ex, "buy", "0.1", 1001)
    ids = [t.id for t in ex.trades(BTC)]
    assert [t.id for t in ex.trades(BTC, limit=2)] == ids[-2:]
    assert [t.id for t in ex.trades(BTC, from_id=ids[1], limit=2)] == ids[1:3]
    assert [t.id for t in ex.trades(BTC, start=101, limit=2)] == ids[1:3]
    assert [t.id for t in ex.trades(BTC, end=102, limit=2)] == ids[1:3]
    assert [o.ts_created for o in ex.all_orders(BTC, start=102, end=103)] == [102, 103]
    assert ex.trades(ETH) == []


def test_finished_orders_beyond_the_history_are_forgotten():
    ex = exchange(history=3)
    mark(ex, 1000)
    orders = [place(ex, "buy", 1, 990) for _ in range(6)]
    for order in orders[:5]:
        ex.cancel(BTC, order_id=order.order_id)
    known = [o.order_id for o in ex.all_orders(BTC)]
    assert known == [o.order_id for o in orders[2:]]
    assert len(ex.take_dirty().orders) == 6  # saved all the same


# ---- the tape ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "match"),
    [
        (BookUpdate(symbol=BTC, ts=4, bids=(), asks=()), "must not go back"),
        (BookUpdate(symbol="XYZ", ts=9, bids=(), asks=()), "listed"),
        (BookUpdate(symbol=BTC, ts=9, bids=((0, 1),), asks=()), "price must be positive"),
        (BookUpdate(symbol=BTC, ts=9, bids=((1, -1),), asks=()), "price must be positive"),
        (TradePrint(symbol=BTC, ts=9, id=1, price=0, size=1, buy=True), "must be positive"),
    ],
)
def test_a_tape_that_makes_no_sense(ex, event, match):
    ex.apply(BookUpdate(symbol=BTC, ts=5, bids=(), asks=()), 17)
    before = ex.dump()
    with pytest.raises(DataError, match=match):
        ex.apply(event, 18)
    assert ex.dump() == before
    assert ex.position == 17


def test_bars_form_from_prints_and_close_as_the_tape_says():
    ex = exchange(intervals=("1m",), kline_every_ns=10_000_000_000)
    start = 5 * MINUTE
    seen = []
    for at, price, size, buy in ((0, 1000, 1, True), (3, 1003, 2, False), (20, 998, 3, True)):
        seen += of(trade(ex, price, size, buy=buy, ts=start + at * 1_000_000_000), Kline)
    assert [bar.close for bar in seen] == [1000, 998]  # 10 s of tape time between updates
    bar = ex.forming(BTC, "1m")
    assert bar == seen[-1]
    assert (bar.open, bar.high, bar.low, bar.volume) == (1000, 1003, 998, 6)
    assert (bar.quote_volume, bar.buy_volume, bar.trades) == (6000, 4, 3)
    assert (bar.open_time, bar.close_time, bar.closed) == (start, start + MINUTE, False)
    close = BarClose(
        symbol=BTC,
        ts=start + MINUTE,
        interval="1m",
        open=ticks(1000),
        high=ticks(1004),
        low=ticks(998),
        close=ticks(999),
        volume=lots(7),
        quote_volume=D("7001.25"),
        trades=9,
        buy_volume=lots(4),
        buy_quote_volume=D("4000.5"),
    )
    (closed,) = of(ex.apply(close), Kline)
    assert (closed.open, closed.high, closed.low, closed.close) == (1000, 1004, 998, 999)
    assert (closed.volume, closed.quote_volume, closed.trades) == (7, D("7001.25"), 9)
    assert (closed.open_time, closed.close_time) == (start, start + MINUTE)
    assert closed.closed
    assert ex.forming(BTC, "1m") is None


def test_one_depth_diff_a_step_with_all_changes(ex):
    (diff,) = of(book(ex, [(999, 0), (997, 1)], [(1001, 4)]), DepthDiff)
    assert diff.bids == ((D(999), D(0)), (D(997), D(1)))
    assert diff.asks == ((D(1001), D(4)),)
    assert diff.final_id - diff.previous_final_id == 3
    assert book(ex, [(997, 1)]) == []  # nothing changed


def test_a_snapshot_removes_levels_that_it_does_not_name(ex):
    place(ex, "buy", 1, 990)
    book(ex, [(999, 2)], [(1001, 5)], snapshot=True)
    depth = ex.depth(BTC, 10)
    assert depth.bids == ((D(999), D(2)), (D(990), D(1)))
    assert depth.asks == ((D(1001), D(5)),)
