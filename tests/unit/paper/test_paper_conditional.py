"""Conditional orders, amendments and dates: what sets them off, what they become, how they end."""

from decimal import Decimal as D

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_kit import BTC, ETH, SECOND, book, exchange, limit, mark, market, of, trade

from don.errors import ExchangeRefused
from don.model.codec import decode_as, encode
from don.model.order import Side, TimeInForce
from don.paper.algo import AlgoKind, AlgoStatus, NewAlgo, Working
from don.paper.events import AlgoUpdate, Execution, OrderUpdate
from don.paper.types import ExchangeState, OrderKind, Status

HOUR = 3_600 * SECOND


def algo(kind, side, size, **changes):
    numbers = ("trigger", "price", "activate", "callback")
    values = {k: D(str(v)) if k in numbers else v for k, v in changes.items()}
    return NewAlgo(
        symbol=values.pop("symbol", BTC),
        side=Side(side),
        kind=AlgoKind(kind),
        size=None if size is None else D(str(size)),
        **values,
    )


@pytest.fixture
def ex():
    ex = exchange()
    mark(ex, 1000, ts=HOUR)
    trade(ex, 1000, 1, buy=True)
    book(ex, [(999, 5), (998, 10)], [(1001, 5), (1002, 10)])
    ex.take_dirty()
    return ex


def states(events):
    return [(u.algo.algo_id, u.algo.status.value) for u in of(events, AlgoUpdate)]


@pytest.mark.parametrize(
    ("kind", "side", "trigger", "near", "reached"),
    [
        ("STOP_MARKET", "buy", 1010, "1009.9", 1010),
        ("STOP_MARKET", "sell", 990, "990.1", 990),
        ("TAKE_PROFIT_MARKET", "buy", 990, "990.1", 989),
        ("TAKE_PROFIT_MARKET", "sell", 1010, "1009.9", 1011),
    ],
)
@pytest.mark.parametrize("working", list(Working))
def test_a_price_sets_an_order_off(ex, kind, side, trigger, near, reached, working):
    placed, events = ex.place_algo(algo(kind, side, 2, trigger=trigger, working=working))
    assert states(events) == [(1, "NEW")]
    assert ex.account().order_margin == 0 and not ex.open_orders()

    def move(price, ident):
        if working is Working.MARK_PRICE:
            return mark(ex, price, ts=ex.now + 1)
        return trade(ex, price, 1, buy=True, ts=ex.now + 1, ident=ident)

    def other(price):
        if working is Working.CONTRACT_PRICE:
            return mark(ex, price, ts=ex.now + 1)
        return trade(ex, price, 1, buy=True, ts=ex.now + 1, ident=9)

    assert not states(other(reached)) and not states(move(near, 2))
    events = move(reached, 3)
    assert [s for _, s in states(events)] == ["TRIGGERING", "TRIGGERED", "FINISHED"]
    kinds = [type(e) for e in events if isinstance(e, AlgoUpdate | OrderUpdate)]
    assert kinds[:3] == [AlgoUpdate, OrderUpdate, AlgoUpdate]  # before it trades
    ended = ex.algo(algo_id=placed.algo_id)
    order = ex.order(BTC, order_id=ended.order_id)
    assert (order.kind, order.status, order.filled) == (OrderKind.MARKET, Status.FILLED, 2)
    assert (order.origin, order.client_order_id) == (kind, ended.client_algo_id)
    assert not ex.open_algos()


def test_a_stop_limit_rests_at_its_own_price(ex):
    ex.place_algo(algo("STOP", "buy", 2, trigger=1005, price=990, client_algo_id="s"))
    assert states(trade(ex, 1005, 1, buy=True, ident=2)) == [(1, "TRIGGERING"), (1, "TRIGGERED")]
    (order,) = ex.open_orders()
    assert (order.price, order.left, order.kind) == (990, 2, OrderKind.LIMIT)
    events = ex.cancel(BTC, client_order_id="s")[1]
    assert states(events) == [(1, "FINISHED")]


def test_a_trailing_stop_follows_the_best_price_and_fires_at_the_turn(ex):
    request = algo("TRAILING_STOP_MARKET", "sell", 1, callback=1, activate=1010, symbol=BTC)
    ex.place_algo(request)
    assert ex.algo(algo_id=1).extreme == 0
    for ident, (price, trigger) in enumerate(
        [(1005, 0), (995, 0), (1010, "999.9"), (1020, "1009.8"), (1012, "1009.8")], 2
    ):
        assert not states(trade(ex, price, 1, buy=True, ident=ident))
        assert ex.algo(algo_id=1).trigger == D(trigger)
    assert [s for _, s in states(trade(ex, "1009.8", 1, buy=True, ident=9))] == [
        "TRIGGERING",
        "TRIGGERED",
        "FINISHED",
    ]


def test_a_trailing_buy_without_activation_is_active_at_once(ex):
    ex.place_algo(algo("TRAILING_STOP_MARKET", "buy", 1, callback=2))
    assert ex.algo(algo_id=1).trigger == 1020
    trade(ex, 900, 1, buy=True, ident=2)
    assert ex.algo(algo_id=1).trigger == 918
    assert states(trade(ex, 918, 1, buy=True, ident=3))


def test_close_position_closes_what_there_is_then(ex):
    ex.place(market("buy", 3))
    ex.place_algo(algo("STOP_MARKET", "sell", None, trigger=995, close_position=True))
    with pytest.raises(ExchangeRefused) as refusal:
        ex.place_algo(algo("STOP_MARKET", "sell", None, trigger=994, close_position=True))
    assert refusal.value.code == -4130
    ex.place(market("buy", 4))
    trade(ex, 994, 1, buy=False, ident=2)
    assert ex.account().positions[0].size == 0
    order = ex.order(BTC, order_id=ex.algo(algo_id=1).order_id)
    assert (order.size, order.reduce_only, order.close_position) == (7, True, True)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (algo("STOP_MARKET", "sell", 1, trigger=995, reduce_only=True), "-2022"),
        (algo("STOP_MARKET", "sell", None, trigger=995, close_position=True), "-2022"),
        (algo("STOP_MARKET", "sell", 900, trigger=995), "-2019"),
        (algo("STOP", "sell", 1, trigger=995, price=940), "-4024"),
    ],
)
def test_what_cannot_become_an_order_is_rejected_then(ex, request_, code):
    ex.place_algo(request_)
    events = trade(ex, 995, 1, buy=False, ident=2)
    assert [s for _, s in states(events)] == ["TRIGGERING", "REJECTED"]
    assert ex.algo(algo_id=1).reason.startswith(code)
    assert not of(events, OrderUpdate) and ex.account().wallet == 10_000


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (algo("STOP_MARKET", "buy", 1, trigger=1000), -2021),
        (algo("TAKE_PROFIT_MARKET", "buy", 1, trigger=1000), -2021),
        (algo("TRAILING_STOP_MARKET", "sell", 1, callback=1, activate=999), -2021),
        (algo("TRAILING_STOP_MARKET", "sell", 1, callback="0.05"), -2007),
        (algo("TRAILING_STOP_MARKET", "sell", 1, callback="10.1"), -2007),
        (algo("TRAILING_STOP_MARKET", "sell", 1), -1102),
        (algo("STOP_MARKET", "buy", 1), -1102),
        (algo("STOP_MARKET", "buy", None, trigger=1010), -1102),
        (algo("STOP_MARKET", "buy", 1, trigger="1010.05"), -1111),
        (algo("STOP_MARKET", "buy", "0.0001", trigger=1010), -1111),
        (algo("STOP", "buy", 1, trigger=1010), -1102),
        (algo("STOP_MARKET", "buy", 1, trigger=1010, client_algo_id="x" * 37), -4015),
        (algo("STOP", "buy", 1, trigger=1010, price=1, time_in_force=TimeInForce.GTD), -1102),
    ],
)
def test_refusals(ex, request_, code):
    before = ex.dump()
    with pytest.raises(ExchangeRefused) as refusal:
        ex.place_algo(request_)
    assert refusal.value.code == code
    assert ex.dump() == before and not ex.take_dirty().urgent


def test_bounds_and_doubles():
    ex = exchange(max_algo_orders=2)
    mark(ex, 1000)
    for name in ("x", "y"):
        ex.place_algo(algo("STOP_MARKET", "buy", 1, trigger=1010, client_algo_id=name))
    for name, code in (("x", -4116), ("z", -4045)):
        with pytest.raises(ExchangeRefused) as refusal:
            ex.place_algo(algo("STOP_MARKET", "buy", 1, trigger=1010, client_algo_id=name))
        assert refusal.value.code == code
    ex.cancel_all_algos(BTC)
    ex.place_algo(algo("STOP_MARKET", "buy", 1, trigger=1010, client_algo_id="x"))
    assert ex.algo(client_algo_id="x").algo_id == 3


def test_liquidation_ends_conditional_orders():
    ex = exchange(default_leverage=100)
    mark(ex, 1000)
    book(ex, [(990, 2000), (900, 2000)], [(1000, 2000)])
    ex.place(market("buy", 900))
    ex.place_algo(algo("TAKE_PROFIT_MARKET", "sell", 1, trigger=1100, working=Working.MARK_PRICE))
    mark(ex, 991)
    assert ex.account().positions[0].size == 0
    assert ex.algo(algo_id=1).status is AlgoStatus.CANCELED


def test_a_dated_order_ends_at_its_date(ex):
    dated = {"tif": "GTD", "good_till": 2 * HOUR}
    order = ex.place(limit("buy", 1, 990, **dated))[0]
    stop = algo(
        "STOP",
        "buy",
        1,
        trigger=1100,
        price=1100,
        time_in_force=TimeInForce.GTD,
        good_till=2 * HOUR,
    )
    ex.place_algo(stop)
    assert not of(mark(ex, 1000, ts=2 * HOUR - 1), OrderUpdate)
    events = trade(ex, 980, 5, buy=False, ts=2 * HOUR, ident=2)  # too late to fill it
    (update,) = of(events, OrderUpdate)
    assert update.execution is Execution.EXPIRED and update.ts == 2 * HOUR
    assert ex.order(BTC, order_id=order.order_id).filled == 0
    assert states(events) == [(1, "EXPIRED")]
    with pytest.raises(ExchangeRefused) as refusal:
        ex.place(limit("buy", 1, 990, tif="GTD", good_till=ex.now + 600 * SECOND))
    assert refusal.value.code == -5040


# ---- amendments ----------------------------------------------------------------------------------


def queue(ex, price):
    return [o.order_id for o in ex.open_orders() if o.price == price]


def test_less_size_keeps_the_place_and_all_else_loses_it(ex):
    first, second = (ex.place(limit("buy", 2, 1000))[0].order_id for _ in "ab")
    events = ex.amend(BTC, D(1), D(1000), order_id=first)[1]
    (update,) = of(events, OrderUpdate)
    assert (update.execution, update.order.size) == (Execution.AMENDMENT, 1)
    trade(ex, 1000, 1, buy=False, ident=2)
    assert ex.order(BTC, order_id=first).status is Status.FILLED
    third = ex.place(limit("buy", 2, 1000))[0].order_id
    ex.amend(BTC, D(3), D(1000), order_id=second)  # to the back
    trade(ex, 1000, 2, buy=False, ident=3)
    assert ex.order(BTC, order_id=third).status is Status.FILLED
    assert ex.order(BTC, order_id=second).filled == 0
    assert ex.account().order_margin == D(3000) / 20


def test_an_amended_price_may_take(ex):
    order = ex.place(limit("buy", 3, 990))[0].order_id
    state, events = ex.amend(BTC, D(7), D(1001), order_id=order)
    assert (state.filled, state.left, state.price) == (5, 2, 1001)
    executions = [u.execution for u in of(events, OrderUpdate)]
    assert executions == [Execution.AMENDMENT, Execution.TRADE]


def test_what_an_amendment_ends_or_leaves(ex):
    post = ex.place(limit("buy", 3, 990, tif="GTX"))[0].order_id
    assert ex.amend(BTC, D(3), D(1001), order_id=post)[0].status is Status.CANCELED
    part = ex.place(limit("buy", 3, 1000))[0].order_id
    trade(ex, 1000, 2, buy=False, ident=2)
    for size, price, code in (
        (D(3), D(1000), -5027),
        (D(900), D(1000), -2019),
        (D(3), D(1060), -4016),
        (D("0.0001"), D(1000), -1111),
    ):
        with pytest.raises(ExchangeRefused) as refusal:
            ex.amend(BTC, size, price, order_id=part)
        assert refusal.value.code == code
        assert ex.order(BTC, order_id=part).left == 1
    assert ex.amend(BTC, D(2), D(1000), order_id=part)[0].status is Status.CANCELED
    with pytest.raises(ExchangeRefused) as refusal:
        ex.amend(BTC, D(3), D(1000), order_id=part)
    assert refusal.value.code == -2013


# ---- restarts and lateness -----------------------------------------------------------------------

REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(list(AlgoKind)),
        st.sampled_from(["buy", "sell"]),
        st.integers(960, 1040),
        st.sampled_from(list(Working)),
        st.booleans(),
    ),
    max_size=8,
)
PRICES = st.lists(st.tuples(st.integers(960, 1040), st.booleans()), max_size=12)


def send(ex, request):
    kind, side, level, working, reduce_only = request
    trailing = kind is AlgoKind.TRAILING_STOP_MARKET
    more = {"callback": 1, "activate": level} if trailing else {"trigger": level}
    if kind.limit:
        more["price"] = level
    try:
        ex.place_algo(algo(kind, side, 1, working=working, reduce_only=reduce_only, **more))
    except ExchangeRefused as refused:
        assert refused.code == -2021


def play(ex, prices):
    events = []
    for price, printed in prices:
        ts = ex.now + SECOND
        if printed:
            events += trade(ex, price, 1, buy=True, ts=ts, ident=ts)
        else:
            events += mark(ex, price, ts=ts)
    return events


@settings(max_examples=40, deadline=None)
@given(REQUESTS, PRICES, PRICES, st.sampled_from([None, 0.25]))
def test_a_restart_in_between_changes_nothing(requests, before, after, latency):
    ex = exchange(order_latency=latency)
    mark(ex, 1000, ts=HOUR)
    book(ex, [(n, 50) for n in range(950, 1000)], [(n, 50) for n in range(1001, 1050)])
    for request in requests:
        send(ex, request)
    play(ex, before)
    whole = ex.dump()
    assert decode_as(ExchangeState, encode(whole)) == whole
    again = exchange(state=whole, order_latency=latency)
    assert again.dump() == whole
    assert play(again, after) == play(ex, after)
    assert again.dump() == ex.dump()


@settings(max_examples=40, deadline=None)
@given(REQUESTS, PRICES)
def test_each_is_set_off_by_the_first_price_that_reaches_it(requests, prices):
    """Against a plain reading of the rules, price by price."""
    ex = exchange(deposit=D(10**7))
    mark(ex, 1000, ts=HOUR)
    trade(ex, 1000, 1, buy=True, ident=1)
    book(ex, [(n, 500) for n in range(950, 1000)], [(n, 500) for n in range(1001, 1050)])
    for request in requests:
        send(ex, request)
    opened = {a.algo_id: a for a in ex.open_algos()}
    best = {}
    due = set()
    for price, printed in prices:
        working = Working.CONTRACT_PRICE if printed else Working.MARK_PRICE
        for ident, a in opened.items():
            if a.working is not working or ident in due:
                continue
            up = a.side is Side.BUY
            if a.kind is AlgoKind.TRAILING_STOP_MARKET:
                active = ident in best or (price <= a.activate if up else price >= a.activate)
                if active:
                    pick = min if up else max
                    best[ident] = pick(best.get(ident, D(price)), D(price))
                    turn = best[ident] * (D("1.01") if up else D("0.99"))
                    if (price >= turn) if up else (price <= turn):
                        due.add(ident)
            elif (price >= a.trigger) if up == a.kind.stop else (price <= a.trigger):
                due.add(ident)
        play(ex, [(price, printed)])
        assert {a.algo_id for a in opened.values()} - due == {a.algo_id for a in ex.open_algos()}
    for ident in due:
        assert ex.algo(algo_id=ident).status in (
            AlgoStatus.TRIGGERED,
            AlgoStatus.FINISHED,
            AlgoStatus.REJECTED,
        )


def test_late_conditional_orders_wait_and_are_told_then():
    ex = exchange(order_latency=0.25)
    mark(ex, 1000, ts=HOUR)
    placed, events = ex.place_algo(algo("STOP_MARKET", "buy", 1, trigger=1010))
    assert placed.waiting and not events
    ex.place_algo(algo("STOP_MARKET", "buy", 1, trigger=990))
    assert not states(mark(ex, 1020, ts=HOUR + 1)), "it is not armed yet"
    events = ex.release()
    assert states(events) == [(1, "REJECTED"), (2, "REJECTED")]
    assert {a.reason.split()[0] for a in ex.all_algos(BTC)} == {"-2021"}
    other = ex.place_algo(algo("STOP_MARKET", "sell", 1, trigger=990))[0]
    ex.release()
    ex.cancel_algo(algo_id=other.algo_id)
    resting = ex.place(limit("buy", 1, 980))[0].order_id
    ex.amend(BTC, D(2), D(981), order_id=resting)
    events = ex.release()
    assert states(events) == [(3, "CANCELED")]
    assert ex.order(BTC, order_id=resting).price == 981
    ex.amend(BTC, D(900), D(981), order_id=resting)
    (update,) = of(ex.release(), OrderUpdate)
    assert update.execution is Execution.AMENDMENT and update.order.reason.startswith("-2019")
    assert (update.order.size, update.order.left) == (2, 2)
    assert ETH not in {o.symbol for o in ex.open_orders()}
