"""The order state machine: any order of arrival, any repeats, one outcome."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from don.execution.orders import FINAL_KEPT, RETIRE_BATCH, OrderBookkeeper
from don.model.messages import OrderReport
from don.model.order import Fill, Order, OrderStatus, OrderType, Side, TimeInForce

SYMBOL = "BTC-USDT-PERP"
CID = "don-s-1-0"


def order(size: str = "10", cid: str = CID, **changes: object) -> Order:
    made = Order(
        client_order_id=cid,
        decision=1,
        index=0,
        symbol=SYMBOL,
        side=Side.BUY,
        type=OrderType.LIMIT,
        size=Decimal(size),
        price=Decimal(100),
        time_in_force=TimeInForce.GTC,
        ts_event=1,
    )
    return replace(made, **changes)


def report(status: OrderStatus, filled: object = 0, cid: str = CID) -> OrderReport:
    return OrderReport(
        key=f"order:{cid}:{status}:{filled}",
        client_order_id=cid,
        exchange_order_id="77",
        symbol=SYMBOL,
        status=status,
        filled=Decimal(str(filled)),
        detail="",
        ts_event=2,
        ts_recv=3,
    )


def fill(trade: int, size: object, cid: str = CID) -> Fill:
    return Fill(
        trade_id=str(trade),
        client_order_id=cid,
        exchange_order_id="77",
        symbol=SYMBOL,
        side=Side.BUY,
        price=Decimal(100),
        size=Decimal(str(size)),
        fee=Decimal("0.04"),
        realized_pnl=None,
        maker=False,
        ts_event=2,
    )


def told(*events: OrderReport | Fill) -> tuple[OrderBookkeeper, list[str]]:
    """A book with one order that was told the events; fills count once, as the ledger sees to."""
    book, seen, problems = OrderBookkeeper(), set(), []
    book.intend(order(), 0)
    for event in events:
        if isinstance(event, Fill):
            if event.trade_id not in seen:
                seen.add(event.trade_id)
                problems += book.on_fill(event)
        else:
            problems += book.on_report(event)
    return book, problems


@st.composite
def life(draw: st.DrawFn) -> list[OrderReport | Fill]:
    """A life as an exchange tells it: open, fills with growing totals, an end."""
    parts = draw(st.lists(st.integers(1, 4), max_size=4).filter(lambda p: sum(p) <= 10))
    events: list[OrderReport | Fill] = [report(OrderStatus.OPEN)]
    total = 0
    for n, part in enumerate(parts):
        total += part
        events.append(fill(n, part))
        if total < 10:
            events.append(report(OrderStatus.OPEN, total))
    if total == 10:
        events.append(report(OrderStatus.FILLED, 10))
    else:
        end = draw(st.sampled_from([OrderStatus.CANCELLED, OrderStatus.EXPIRED]))
        events.append(report(end, total))
    return events


@settings(deadline=None)
@given(life(), st.randoms(use_true_random=False))
def test_shuffled_and_repeated_reports_end_in_the_same_state(events: list, rng: object) -> None:
    expected, none = told(*events)
    shuffled = [*events, *(e for e in events if rng.random() < 0.5)]  # type: ignore[attr-defined]
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    book, problems = told(*shuffled)
    assert book.get(CID) == expected.get(CID)
    assert none == problems == []
    assert book.in_flight() == []


@settings(deadline=None)
@given(life(), st.randoms(use_true_random=False))
def test_on_the_way_nothing_is_lost_or_counted_twice(events: list, rng: object) -> None:
    """After any prefix: filled plus what may still come covers what will be filled in the end."""
    final = sum((e.size for e in events if isinstance(e, Fill)), Decimal(0))
    rng.shuffle(events)  # type: ignore[attr-defined]
    for end in range(len(events) + 1):
        record = told(*events[:end])[0].get(CID)
        assert record is not None
        assert record.filled <= final <= record.filled + record.remaining
        assert record.in_flight or record.filled == final


def test_fill_before_the_acknowledgement_opens_the_order() -> None:
    book, _ = told(fill(1, 3))
    record = book.get(CID)
    assert record.status is OrderStatus.OPEN and record.remaining == 7


def test_late_acknowledgement_does_not_reopen() -> None:
    book, problems = told(fill(1, 10), report(OrderStatus.OPEN))
    assert book.get(CID).status is OrderStatus.FILLED and problems == []


def test_final_order_with_missing_fills_stays_in_flight() -> None:
    book, _ = told(report(OrderStatus.FILLED, 10), fill(1, 4))
    assert book.get(CID).missing == 6 and book.net_remaining(SYMBOL) == 6
    assert book.open_ids() == ()
    assert [r.order.client_order_id for r in book.in_flight(SYMBOL)] == [CID]


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        ([fill(1, 8), fill(2, 3)], "overfilled: 11 of 10"),
        ([report(OrderStatus.OPEN, 11)], "filled 11 of 10"),
        ([report(OrderStatus.CANCELLED), report(OrderStatus.REJECTED)], "rejected reported after"),
        ([report(OrderStatus.LOST), report(OrderStatus.OPEN)], "found open"),
        ([report(OrderStatus.LOST), fill(1, 1)], "filled after it was lost"),
        ([replace(fill(1, 1), side=Side.SELL)], "fill is sell"),
    ],
)
def test_contradictions_are_told(events: list, problem: str) -> None:
    _, problems = told(*events)
    assert len(problems) == 1 and problem in problems[0]


def test_final_states_are_never_left() -> None:
    for end in (s for s in OrderStatus if s.final):
        for after in OrderStatus:
            book, _ = told(report(end), report(after))
            assert book.get(CID).status is end


def test_ids_are_never_reused() -> None:
    book, _ = told()
    with pytest.raises(ValueError, match="must be new"):
        book.intend(order(), 0)


def test_settled_orders_are_forgotten_in_time_and_live_ones_never() -> None:
    book = OrderBookkeeper()
    for n in range(FINAL_KEPT + 3 * RETIRE_BATCH):
        cid = f"don-s-1-{n}"
        book.intend(order(cid=cid), 0)
        if n != 5:
            book.on_report(report(OrderStatus.CANCELLED, 0, cid))
    assert len(book) <= FINAL_KEPT + RETIRE_BATCH + 1
    assert [r.order.client_order_id for r in book.in_flight()] == ["don-s-1-5"]


def test_worst_sizes_leave_reduce_only_orders_out() -> None:
    book = OrderBookkeeper()
    book.intend(order("3", "a"), 0)
    book.intend(order("4", "b", side=Side.SELL), 0)
    book.intend(order("5", "c", side=Side.SELL, reduce_only=True), 0)
    assert book.worst_sizes(SYMBOL) == (Decimal(3), Decimal(4))
    assert book.net_remaining(SYMBOL) == Decimal(-6)
