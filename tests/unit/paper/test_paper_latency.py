"""Order latency: requests take effect at fixed points of tape time, however fast they came."""

from decimal import Decimal as D

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_kit import BTC, ETH, book, exchange, limit, mark, market, of, trade

from don.errors import ExchangeRefused
from don.model.codec import decode_as, encode
from don.paper.config import PaperConfig
from don.paper.delay import Delay
from don.paper.events import Execution, OrderUpdate
from don.paper.types import ExchangeState, Status

BAR = 60_000_000_000
POINT = BAR // 4  # of a bar after which requests take effect


def late(state=None, **changes):
    return exchange(state=state, order_latency=0.25, **changes)


@pytest.fixture
def ex():
    ex = late()
    for symbol in (BTC, ETH):
        mark(ex, 1000, symbol=symbol, ts=10 * BAR)
        book(ex, [(999, 5), (998, 10)], [(1001, 5), (1002, 10)], symbol=symbol)
    ex.take_dirty()
    return ex


@pytest.mark.parametrize(
    ("now", "due"),
    [(0, POINT), (1, POINT), (POINT - 1, POINT), (POINT, BAR + POINT), (BAR - 1, BAR + POINT)],
)
def test_the_point_at_which_a_request_takes_effect(now, due):
    delay = Delay(PaperConfig(order_latency=0.25))
    assert delay.due(3 * BAR + now) == 3 * BAR + due
    assert Delay(PaperConfig()).due(now) is None


def test_an_order_waits_and_takes_effect_before_the_next_event(ex):
    order, events = ex.place(market("buy", 2, client_order_id="x"))
    assert (order.status, order.filled, order.waiting) == (Status.NEW, 0, True)
    assert order.ts_created == 10 * BAR + POINT and not events
    assert ex.open_orders() == [order] == [ex.order(BTC, client_order_id="x")]
    assert ex.account().order_margin == 0
    assert not of(trade(ex, 1001, 1, buy=True, ts=10 * BAR + POINT - 1), OrderUpdate)
    events = book(ex, asks=[(1001, 0)], ts=10 * BAR + POINT)  # too late to take it away
    updates = of(events, OrderUpdate)
    assert [u.execution for u in updates] == [Execution.NEW, Execution.TRADE]
    assert updates[-1].trade.price == 1001
    assert {u.ts for u in updates} == {10 * BAR + POINT}
    assert ex.order(BTC, client_order_id="x").status is Status.FILLED
    assert ex.now == 10 * BAR + POINT


def test_what_the_market_refuses_ends_as_rejected_with_its_code(ex):
    for request in (
        market("buy", 500),
        limit("buy", 1, 1002, tif="GTX"),
        limit("sell", 1, 1100, reduce_only=True),
    ):
        order = ex.place(request)[0]
        assert order.status is Status.NEW
    updates = of(ex.release(), OrderUpdate)
    assert [u.execution for u in updates] == [Execution.REJECTED] * 3
    codes = [u.order.reason.split()[0] for u in updates]
    assert codes == ["-2019", "-5022", "-2022"]
    assert not ex.open_orders() and ex.account().wallet == 10_000


def test_what_is_wrong_in_itself_is_refused_at_once(ex):
    for request in (limit("buy", 1, "1000.05"), market("buy", "0.0001"), limit("buy", 1, -1)):
        with pytest.raises(ExchangeRefused):
            ex.place(request)
    ex.place(limit("buy", 1, 990, client_order_id="x"))
    with pytest.raises(ExchangeRefused) as refusal:
        ex.place(limit("buy", 1, 991, client_order_id="x"))
    assert refusal.value.code == -4116


def test_cancels_wait_too_and_may_come_too_late(ex):
    resting = ex.place(limit("buy", 1, 1000))[0]
    trade(ex, 1001, 1, buy=True, ts=10 * BAR + POINT)
    asked, events = ex.cancel(BTC, order_id=resting.order_id)
    assert asked.status is Status.NEW and not of(events, OrderUpdate)
    trade(ex, 999, 1, buy=False, ts=11 * BAR)  # fills it before the cancel takes effect
    assert ex.order(BTC, order_id=resting.order_id).status is Status.FILLED
    trade(ex, 999, 1, buy=False, ts=11 * BAR + POINT)
    assert ex.order(BTC, order_id=resting.order_id).status is Status.FILLED
    with pytest.raises(ExchangeRefused) as refusal:
        ex.cancel(BTC, order_id=resting.order_id)
    assert refusal.value.code == -2011


def test_an_order_and_its_cancel_in_one_window_keep_their_order(ex):
    order = ex.place(limit("buy", 1, 990))[0]
    ex.cancel(BTC, order_id=order.order_id)
    ex.place(limit("buy", 1, 991))
    ex.cancel_all(BTC)
    executions = [u.execution for u in of(ex.release(), OrderUpdate)]
    assert executions == [Execution.NEW, Execution.CANCELED] * 2


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from([BTC, ETH]),
        st.sampled_from(["buy", "sell"]),
        st.sampled_from(["1", "4", "9"]),
        st.sampled_from([None, "990", "1000", "1001", "1003"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


def send(ex, request):
    symbol, side, size, price, reduce_only = request
    more = {"symbol": symbol, "reduce_only": reduce_only}
    ex.place(market(side, size, **more) if price is None else limit(side, size, price, **more))


def result(ex):
    trades = [
        (t.id, t.symbol, t.side, t.price, t.size, t.fee, t.realized, t.maker, t.ts)
        for t in ex.trades(None, limit=10**6)
    ]
    return trades, ex.income(limit=10**6), ex.account()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(REQUESTS, min_size=1, max_size=4),
    st.lists(st.tuples(st.booleans(), st.integers(0, POINT - 1)), min_size=4, max_size=4),
)
def test_fills_do_not_depend_on_when_within_the_window_requests_came(bars, delays):
    """Same requests, at the boundary or later, symbols in either order: the same to the digit."""
    results = []
    for slow in (False, True):
        ex = late(deposit=D(10_000))
        for n, requests in enumerate(bars):
            start = (10 + n) * BAR
            for symbol in (BTC, ETH):
                mark(ex, 1000, symbol=symbol, ts=start)
                levels = [(999, 5), (998, 10)], [(1001, 5), (1002, 10)]
                book(ex, *levels, symbol=symbol, snapshot=True)
            other_first, wait = delays[n]
            if slow:
                for ts in sorted({start + wait // 2, start + wait}):
                    mark(ex, 1000, ts=ts)
                requests = sorted(requests, key=lambda r: r[0], reverse=other_first)
            for request in requests:
                send(ex, request)
            trade(ex, 1001, 3, buy=True, ts=start + BAR // 2)
            trade(ex, 999, 3, buy=False, ts=start + BAR // 2)
        results.append(result(ex))
    fast, slow = results
    assert fast[0] == slow[0]
    assert [i.amount for i in fast[1]] == [i.amount for i in slow[1]]
    assert fast[2].wallet == slow[2].wallet
    assert [p.size for p in fast[2].positions] == [p.size for p in slow[2].positions]


@settings(max_examples=20, deadline=None)
@given(REQUESTS, REQUESTS)
def test_waiting_requests_survive_a_restart(before, after):
    ex = late()
    rows = {}
    for symbol in (BTC, ETH):
        mark(ex, 1000, symbol=symbol, ts=10 * BAR)
        book(ex, [(999, 5)], [(1001, 5)], symbol=symbol)
    for requests in (before, after):
        for request in requests:
            send(ex, request)
        dirty = ex.take_dirty()
        if dirty.waiting is not None:
            rows["waiting"] = dirty.waiting
        whole = ex.dump()
        assert decode_as(ExchangeState, encode(whole)) == whole
        assert rows["waiting"] == whole.waiting
        again = late(state=whole)
        assert again.dump() == whole
        assert again.release() == ex.release()
        assert again.dump() == ex.dump()
        assert ex.take_dirty().waiting.requests == () == again.take_dirty().waiting.requests
