"""Accounts by the numbers: margins, funding, leverage, liquidation, restart."""

from dataclasses import replace
from decimal import Decimal as D

import pytest
from market_kit import BTC, ETH, book, exchange, funding, instrument, limit, mark, market, of, trade

from don.errors import DataError, ExchangeRefused
from don.paper.events import AccountUpdate, Execution, ForceOrder, OrderUpdate, UpdateReason
from don.paper.types import ExchangeState, IncomeKind, OrderKind, Status


@pytest.fixture
def ex():
    ex = exchange(default_leverage=10)
    mark(ex, 1000)
    book(ex, [(999, 50), (998, 50)], [(1001, 50), (1002, 50)])
    return ex


def refused(call):
    with pytest.raises(ExchangeRefused) as refusal:
        call()
    return refusal.value.code


def position(ex, symbol=BTC, account=None):
    return next(p for p in ex.account(account).positions if p.symbol == symbol)


def test_a_round_trip_by_hand(ex):
    ex.place(market("buy", 2))
    state = ex.account()
    assert state.wallet == D(10000) - D("1.001")  # 2 * 1001 * 0.0005
    assert state.unrealized == -2
    assert (state.position_margin, state.maintenance_margin) == (200, 8)
    assert state.available == D("9998.999") - 2 - 200
    assert state.max_withdraw == state.available
    ex.place(market("sell", 2))
    assert ex.account().wallet == D("9998.999") - 4 - D("0.999")
    kinds = [(i.kind, i.amount) for i in ex.income()]
    assert kinds == [
        (IncomeKind.TRANSFER, 10000),
        (IncomeKind.COMMISSION, D("-1.001")),
        (IncomeKind.REALIZED_PNL, -4),
        (IncomeKind.COMMISSION, D("-0.999")),
    ]
    assert [i.trade_id for i in ex.income()] == [None, 1, 2, 2]
    assert len(ex.income(kind=IncomeKind.COMMISSION, symbol=BTC)) == 2


def test_margin_of_open_orders_is_that_of_the_worst_outcome(ex):
    ex.place(limit("buy", 10, 990))
    assert ex.account().order_margin == 990
    ex.place(limit("sell", 5, 1010))  # the other side, smaller: costs nothing more
    assert ex.account().order_margin == 990
    ex.place(market("buy", 10))
    assert (position(ex).position_margin, position(ex).order_margin) == (1000, 990)
    ex.place(limit("sell", 10, 1010, reduce_only=True))
    assert position(ex).order_margin == 990
    ex.cancel_all(BTC)
    assert ex.account().order_margin == 0


def test_an_order_must_have_margin_but_closing_needs_none(ex):
    assert refused(lambda: ex.place(limit("buy", 102, 990))) == -2019
    ex.place(limit("buy", 90, 1002))
    mark(ex, 950)  # most of the balance is lost on paper
    assert refused(lambda: ex.place(limit("buy", 10, 950))) == -2019
    order, _ = ex.place(limit("sell", 90, 960))
    assert order.filled == 90


def test_opening_with_a_loss_against_the_mark_needs_margin_for_it(ex):
    """99.9 * 1000 / 10 = 9990 are there, but not the 50 a unit paid above the mark."""
    assert refused(lambda: ex.place(limit("buy", 95, 1050))) == -2019
    ex.place(limit("buy", 60, 1050))


def test_funding_is_paid_on_the_mark_to_the_last_digit(ex):
    ex.place(market("buy", "0.123"))
    ex.place(market("sell", "0.123", account="b"))
    mark(ex, "1003.7")
    events = funding(ex, "0.00012345")
    amount = D("0.01524053")  # 0.123 * 1003.7 * 0.00012345 = 0.015240532095
    updates = of(events, AccountUpdate)
    assert [(u.account, u.change) for u in updates] == [("a", -amount), ("b", amount)]
    assert {u.reason for u in updates} == {UpdateReason.FUNDING_FEE}
    (row,) = ex.income(kind=IncomeKind.FUNDING_FEE)
    assert (row.symbol, row.amount) == (BTC, -amount)
    assert ex.income(kind=IncomeKind.FUNDING_FEE, account="c") == []


def test_leverage(ex):
    ex.place(market("buy", 40))
    ex.set_leverage(BTC, 50)
    assert position(ex).position_margin == 800
    assert ex.set_leverage(BTC, 50) == []
    for value in (0, 101, -3):
        assert refused(lambda value=value: ex.set_leverage(BTC, value)) == -4028
    assert refused(lambda: ex.set_leverage(BTC, 2)) == -2028
    assert position(ex).leverage == 50


def test_leverage_starts_within_the_instrument():
    ex = exchange(instrument("BTC", max_leverage=5), default_leverage=20)
    assert position(ex).leverage == 5


def test_transfers(ex):
    ex.transfer(D("0.5"))
    ex.place(market("buy", 10))
    spare = ex.account().max_withdraw
    assert refused(lambda: ex.transfer(-spare - D("0.00000001"))) == -2018
    (update,) = of(ex.transfer(-spare), AccountUpdate)
    assert (update.reason, update.change) == (UpdateReason.WITHDRAW, -spare)
    assert ex.account().available == 0


def test_liquidation_price_is_where_it_happens(ex):
    ex.place(market("buy", 50))
    price = position(ex).liquidation_price
    mark(ex, price + D("0.01"))
    assert position(ex).size == 50
    mark(ex, price - D("0.01"))
    assert position(ex).size == 0


def test_liquidation_by_hand(ex):
    ex.place(limit("buy", 50, 1001))
    resting, _ = ex.place(limit("buy", 1, 900, tif="GTX"))
    book(ex, [(999, 0), (998, 0), (801, 20)])
    wallet = D(10000) - D("25.025")
    # balance at mark p: wallet + 50 * (p - 1001); maintenance 50 * p * 0.004
    mark(ex, 802)
    assert ex.order(BTC, order_id=resting.order_id).status is Status.CANCELED
    trades = ex.trades(BTC)
    balance = wallet + 50 * (D(802) - 1001)
    bankrupt = 802 - balance / 50  # 801.5005: the long may not be sold below, on the tick
    assert [(t.price, t.size) for t in trades[1:]] == [(D("801.6"), D(50))]
    assert bankrupt <= trades[-1].price < bankrupt + D("0.1")
    state = ex.account()
    assert state.wallet == 0  # fees took more than was left: the fund made it up
    assert ex.open_orders() == []
    clear = ex.income(kind=IncomeKind.INSURANCE_CLEAR)
    assert [i.info for i in clear] == ["insurance fund"]


def test_liquidation_takes_the_book_first_and_announces(ex):
    ex.place(limit("buy", 50, 1001))
    book(ex, [(999, 0), (998, 0), (830, 20), (700, 500)])
    events = mark(ex, 800)
    updates = [u for u in of(events, OrderUpdate) if u.trade]
    assert [u.execution for u in updates] == [Execution.TRADE, Execution.CALCULATED]
    assert [u.trade.size for u in updates] == [20, 30]
    assert updates[0].trade.price == 830
    (force,) = of(events, ForceOrder)
    assert (force.order.kind, force.order.status) == (OrderKind.LIQUIDATION, Status.FILLED)
    assert force.order.client_order_id.startswith("autoclose-")
    assert force.order == ex.order(BTC, order_id=force.order.order_id)
    clear = {i.info: i.amount for i in ex.income(kind=IncomeKind.INSURANCE_CLEAR)}
    assert clear["liquidation fee"] < 0
    assert ex.account().wallet >= 0
    assert position(ex).size == 0


def test_liquidation_of_a_short_and_of_every_symbol(ex):
    mark(ex, 100, symbol=ETH)
    book(ex, [(99, 500)], [(101, 500)], symbol=ETH)
    ex.place(market("sell", 40))
    ex.place(market("buy", 100, symbol=ETH))
    book(ex, asks=[(1001, 0), (1002, 0)])
    events = mark(ex, 1300)
    assert {f.symbol for f in of(events, ForceOrder)} == {BTC, ETH}
    assert all(p.size == 0 for p in ex.account().positions)
    assert ex.account().wallet >= 0


def test_one_account_does_not_touch_another(ex):
    ex.place(market("buy", 50, account="b"))
    before = ex.account("c")
    mark(ex, 700)
    assert position(ex, account="b").size == 0
    assert ex.account("c").wallet == before.wallet == 10000


# ---- restart -------------------------------------------------------------------------------------


def test_everything_goes_on_after_a_restart(ex):
    ex.place(market("buy", 3))
    resting, _ = ex.place(limit("buy", 2, 999, client_order_id="mine"))
    ex.set_leverage(BTC, 7)
    again = exchange(state=ex.dump(), default_leverage=10)
    assert again.account() == ex.account()
    assert again.depth(BTC, 10) == ex.depth(BTC, 10)
    for one in (ex, again):  # the same from here on: accounts, ids, update ids
        one.place(market("sell", 1))
        one.cancel(BTC, client_order_id="mine")
        mark(one, 1003)
        funding(one, "0.0001")
    assert again.dump() == ex.dump()
    assert ex.trades(BTC)[-1].id == again.trades(BTC)[-1].id == 2
    assert again.order(BTC, order_id=resting.order_id).status is Status.CANCELED


def test_resting_orders_come_back_at_the_end_of_the_queue(ex):
    resting, _ = ex.place(limit("buy", 2, 997))
    book(ex, [(997, 4)])
    again = exchange(state=ex.dump(), default_leverage=10)
    trade(ex, 997, 1, buy=False)
    assert ex.order(BTC, order_id=resting.order_id).filled == 1
    trade(again, 997, 4, buy=False)
    assert again.order(BTC, order_id=resting.order_id).filled == 0
    trade(again, 997, 1, buy=False)
    assert again.order(BTC, order_id=resting.order_id).filled == 1


def test_a_stored_book_that_users_orders_have_met_does_not_trade_again(ex):
    """As after a crash, when the book was brought forward by the tape without users."""
    calm = exchange()
    bids, asks = [(1000, 3), (999, 5)], [(1001, 4), (1002, 5)]
    ex.place(limit("sell", 9, "1000.5", tif="GTX"))
    ex.place(limit("buy", 9, "999.5", tif="GTX"))
    for one in (ex, calm):
        book(one, bids, asks, snapshot=True)
        book(one, [(1000, 0), (999, 0)], [(1000, 2), (1001, 4)])
        book(one, [(1000, 2), (999, 5)], [(1000, 0), (1001, 4)])
    fills = ex.trades(BTC)
    again = exchange(state=replace(ex.dump(), books=calm.dump().books), default_leverage=10)
    assert again.trades(BTC) == fills
    assert again.open_orders() == ex.open_orders()
    depth = again.depth(BTC, 9)
    assert depth.bids[0][0] < depth.asks[0][0]
    crossing = replace(calm.dump().books[0], bids=((10010, 7), (9990, 1)), asks=((10020, 1),))
    third = exchange(state=replace(ex.dump(), books=(crossing,)), default_leverage=10)
    assert third.trades(BTC) == fills
    assert third.depth(BTC, 9).bids[-1] == (D(999), D("0.001"))


def test_a_new_account_gets_its_deposit_once():
    first = exchange(accounts=("a",), deposit=D(50))
    again = exchange(state=first.dump(), accounts=("a", "b"), deposit=D(70))
    assert (again.account("a").wallet, again.account("b").wallet) == (50, 70)
    dirty = again.take_dirty()
    assert [i.account for i in dirty.incomes] == ["b"]
    assert [w.account for w in dirty.wallets] == ["b"]


def test_state_of_another_tape_is_refused(ex):
    ex.place(market("buy", 1))
    with pytest.raises(DataError, match="BTCUSDT"):
        exchange(instrument("ETH"), state=ex.dump())
    with pytest.raises(DataError, match="tick size"):
        ex.place(limit("buy", 1, "999.1"))
        exchange(instrument("BTC", tick_size=D(1)), state=ex.dump())


def test_an_empty_state_is_a_fresh_start():
    assert exchange(state=ExchangeState()).account().wallet == 10000
