"""The tracker's laws: whatever the order and number of reports, what is told only goes forward."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from don.exchanges.base import KnownOrder, Report
from don.exchanges.binance_wire import order_report
from don.exchanges.reconcile import (
    Missing,
    Tracker,
    advances,
    forgotten,
    missing,
    never_arrived,
    submit_order,
)
from don.model.messages import FillReport, OrderReport
from don.model.order import Fill, Order, OrderStatus, OrderType, Side

SYMBOL = "BTC-USDT-PERP"
NAME = "don-t-1-0"


def order(number: int = 1, *, reduce_only: bool = False) -> Order:
    return Order(
        client_order_id=f"don-t-{number}-0",
        decision=number,
        index=0,
        symbol=SYMBOL,
        side=Side.BUY,
        type=OrderType.MARKET,
        size=Decimal(10),
        reduce_only=reduce_only,
        ts_event=5,
    )


def state(status: OrderStatus, filled: int = 0, *, sent: int = 0) -> OrderReport:
    return order_report(
        client_order_id=NAME,
        exchange_order_id="77",
        symbol=SYMBOL,
        status=status,
        filled=Decimal(filled),
        ts_event=9,
        ts_recv=10,
        ts_sent=sent,
    )


def fill(number: int, size: int = 1, name: str = NAME) -> FillReport:
    return FillReport(
        key=f"fill:{SYMBOL}:{number}",
        fill=Fill(
            trade_id=str(number),
            client_order_id=name,
            exchange_order_id="77",
            symbol=SYMBOL,
            side=Side.BUY,
            price=Decimal(100),
            size=Decimal(size),
            fee=Decimal(0),
            realized_pnl=Decimal(0),
            maker=False,
            ts_event=9,
        ),
        ts_recv=10,
    )


def tracking() -> Tracker:
    tracker = Tracker()
    tracker.begin(order())
    return tracker


def told(tracker: Tracker, *reports: Report) -> list[str]:
    return [report.key for report in tracker.fold(reports)]


LIFE = [
    state(OrderStatus.OPEN),
    fill(1),
    state(OrderStatus.OPEN, 1),
    fill(2, 3),
    state(OrderStatus.OPEN, 4),
    fill(3, 6),
    state(OrderStatus.FILLED, 10),
]


@given(st.lists(st.sampled_from(LIFE), max_size=40), st.permutations(LIFE))
def test_any_history_is_told_forward_and_completely(some, all_of_them):
    tracker = tracking()
    seen = tracker.fold([*some, *all_of_them])
    keys = [report.key for report in seen]
    assert len(keys) == len(set(keys))
    assert {key for key in keys if key.startswith("fill")} == {item.key for item in LIFE[1::2]}
    assert seen[-1].key == LIFE[-1].key
    sizes = Decimal(0)
    last = None
    for report in seen:
        if isinstance(report, FillReport):
            sizes += report.fill.size
        elif isinstance(report, OrderReport):
            assert report.filled == sizes
            assert advances(report, last)
            last = report
    assert tracker.live() == [] and tracker.held() == []
    assert told(tracker, *LIFE) == []


def test_a_final_state_waits_for_its_fills():
    tracker = tracking()
    assert told(tracker, state(OrderStatus.CANCELLED, 3)) == []
    assert [tracked.client_order_id for tracked in tracker.held()] == [NAME]
    assert told(tracker, fill(1)) == [fill(1).key]
    assert told(tracker, fill(2, 2)) == [fill(2).key, state(OrderStatus.CANCELLED, 3).key]


def test_fills_of_an_order_count_those_that_the_journal_holds():
    tracker = Tracker()
    known = KnownOrder(
        client_order_id=NAME, symbol=SYMBOL, acknowledged=True, filled=Decimal(4), ts_event=5
    )
    assert tracker.adopt(known)
    assert not tracker.adopt(known)
    assert told(tracker, state(OrderStatus.FILLED, 10)) == []
    assert told(tracker, fill(3, 6)) == [fill(3).key, state(OrderStatus.FILLED, 10).key]


def test_states_of_other_people_s_orders_are_not_told_but_their_fills_are():
    tracker = Tracker()
    assert told(tracker, state(OrderStatus.OPEN)) == []
    assert told(tracker, fill(1, name="autoclose-1")) == [fill(1).key]


def test_an_id_is_taken_on_once_even_after_its_end():
    tracker = tracking()
    assert tracker.begin(order()) is None
    tracker.fold(LIFE)
    assert tracker.begin(order()) is None


def test_every_state_carries_the_time_at_which_the_order_left():
    tracker = tracking()
    tracker.fold([state(OrderStatus.OPEN, sent=123)])
    (_, final) = tracker.fold([fill(1, 10), state(OrderStatus.FILLED, 10)])
    assert isinstance(final, OrderReport) and final.ts_sent == 123


def test_an_order_believed_lost_that_turns_up_is_told():
    tracker = tracking()
    tracked = tracker.find(NAME)
    assert tracked is not None
    assert told(tracker, never_arrived(tracked, "why", 11)) == [f"order:{NAME}:lost:0"]
    assert tracker.live() == []
    assert told(tracker, state(OrderStatus.OPEN)) == [f"order:{NAME}:open:0"]
    assert tracker.live() == [tracked]


def test_an_order_that_the_exchange_forgot_is_cancelled_with_what_was_filled():
    tracker = tracking()
    tracker.fold([state(OrderStatus.OPEN), fill(1, 2)])
    tracked = tracker.find(NAME)
    assert tracked is not None
    assert told(tracker, forgotten(tracked, 12)) == [f"order:{NAME}:cancelled:2"]


@pytest.mark.parametrize(
    ("order_filled", "key", "expected"),
    [(1, 1, False), (3, 2, True)],
    ids=["the first fill", "a fill was skipped"],
)
def test_a_gap_shows_in_what_an_order_had_before(order_filled, key, expected):
    tracker = tracking()
    assert tracker.gap(fill(key), state(OrderStatus.OPEN, order_filled)) is expected


def test_a_fill_after_another_order_s_missing_fill_is_a_gap():
    tracker = tracking()
    tracker.fold([state(OrderStatus.FILLED, 10)])  # its fills have not come
    tracker.begin(order(2))
    other = order_report(
        client_order_id="don-t-2-0",
        symbol=SYMBOL,
        status=OrderStatus.OPEN,
        filled=Decimal(1),
        ts_event=9,
        ts_recv=10,
    )
    assert tracker.gap(fill(9, name="don-t-2-0"), other)


@given(st.booleans(), st.integers(0, 10**10), st.integers(0, 10**10), st.integers(1, 10**10))
def test_not_found_is_believed_only_after_the_window(acknowledged, last, now, window):
    verdict = missing(acknowledged=acknowledged, last_send_ns=last, now_ns=now, window_ns=window)
    if now <= last + window:
        assert verdict is Missing.WAIT
    else:
        assert verdict is (Missing.GONE if acknowledged else Missing.LOST)


def test_orders_that_reduce_risk_leave_first_else_as_decided():
    orders = [order(1), order(2, reduce_only=True), order(3), order(4, reduce_only=True)]
    assert [item.decision for item in submit_order(orders)] == [2, 4, 1, 3]
