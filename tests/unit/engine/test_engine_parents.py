"""Orders by hand and their children: whatever fills come, nothing exceeds what was asked."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parents_harness import BAR, SYMBOL, WIDE, Hand, start

from don.engine import EngineConfig
from don.engine.state import load
from don.execution.config import WorkingConfig
from don.execution.requests import OrderAction, OrderCommand, OrderKind
from don.model.messages import CommandKind
from don.model.order import OrderStatus, OrderType, Side, TimeInForce

SIZE = "2"
HOUR = 3_600.0
SPECS: dict[str, dict[str, object]] = {
    "market": {},
    "limit": {"price": "99"},
    "stop_market": {"trigger": "103"},
    "stop_limit": {"trigger": "103", "price": "104"},
    "take_profit_market": {"trigger": "97"},
    "trailing_stop": {"callback": "0.01"},
    "iceberg": {"price": "99", "shown": "0.3"},
    "oco": {"take": "97", "stop": "103"},
    "bracket": {"price": "99", "stop": "96", "take": "105"},
    "twap": {"duration_s": 600.0},
    "vwap": {"duration_s": 600.0},
    "pov": {"participation": 0.001, "duration_s": 900.0},
    "shortfall": {"duration_s": 600.0, "urgency": 3.0},
    "chase": {"duration_s": 600.0, "price": "105"},
}
EMULATE = EngineConfig(
    risk=WIDE.risk,
    working=WorkingConfig(
        emulate=("stop_market", "stop_limit", "take_profit_market", "trailing_stop")
    ),
)


def act(hand: Hand, draw: st.DrawFn) -> None:
    """One thing that a market or an exchange may do."""
    child = draw(st.sampled_from(hand.children())) if hand.live else None
    what = draw(st.sampled_from(("bar", "open", "part", "fill", "end", "cancelled", "rejected")))
    if what == "bar" or child is None:
        price = draw(st.integers(94, 106))
        hand.bar(float(price), low=price - 1.0, high=price + 1.0)
    elif what == "open" and not child.open:
        hand.report(child, OrderStatus.OPEN)
    elif what == "part" and child.left > Decimal("0.001"):
        lots = int(child.left / Decimal("0.001"))
        hand.fill(child, Decimal(draw(st.integers(1, lots - 1))) / 1000)
    elif what == "fill":
        hand.fill(child)
    elif what == "end" and child.order.time_in_force in (TimeInForce.IOC, TimeInForce.GTX):
        hand.report(child, OrderStatus.EXPIRED)
    elif what == "cancelled" and child.cancel_asked:
        hand.report(child, OrderStatus.CANCELLED)
    elif what == "rejected" and not child.open and not child.filled:
        hand.report(child, OrderStatus.REJECTED, "-2010 no")


def worst(hand: Hand) -> Decimal:
    """The largest |position| that any of the fills still possible could make."""
    buys = sum((c.left for c in hand.children() if c.order.side is Side.BUY), Decimal(0))
    sells = sum((c.left for c in hand.children() if c.order.side is Side.SELL), Decimal(0))
    return max(abs(hand.position + buys), abs(hand.position - sells))


@pytest.mark.parametrize(
    ("kind", "emulate"),
    [(kind, False) for kind in SPECS] + [(str(kind), True) for kind in EMULATE.working.emulate],
)
def test_children_never_exceed_their_parent_whatever_fills_come(kind: str, emulate: bool) -> None:
    @settings(max_examples=12, deadline=None)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        hand = Hand(start(EMULATE if emulate else None))
        hand.bar()
        hand.place(kind, size=Decimal(SIZE), **SPECS[kind])
        for _ in range(data.draw(st.integers(5, 40))):
            act(hand, data.draw)
            if kind != "bracket":
                assert worst(hand) <= Decimal(SIZE)
                continue
            entered = Decimal(SIZE)  # the exits of a bracket only reduce: the exchange cuts them
            buys = [c for c in hand.children() if c.order.side is Side.BUY]
            assert hand.position + sum((c.left for c in buys), Decimal(0)) <= entered
            for leg in ("protective stop", "stop", "take"):
                left = sum((c.left for c in hand.children(leg)), Decimal(0))
                assert left <= entered
            assert all(c.order.reduce_only for c in hand.children() if c not in buys)
            if hand.position <= 0 and not buys:
                break  # what the exchange would have cut is not played here
        hand.replays()

    run()


def test_one_cancels_the_other_and_the_stop_waits_for_the_cancellation() -> None:
    hand = Hand()
    hand.bar()
    hand.place("oco", size="2", take="97", stop="103")
    (take,) = hand.children("take")
    hand.report(take, OrderStatus.OPEN)
    hand.fill(take, Decimal("0.5"))
    hand.bar(103.5)
    assert take.cancel_asked and not hand.children("stop")  # both at once could fill both
    hand.report(take, OrderStatus.CANCELLED)
    (stop,) = hand.children("stop")
    assert (stop.order.type, stop.order.size) == (OrderType.MARKET, Decimal("1.5"))
    hand.fill(stop)
    assert hand.position == 2 and not hand.working()


def test_a_bracket_protects_what_has_filled_while_the_entry_still_fills() -> None:
    hand = Hand()
    hand.bar()
    name = hand.place("bracket", size="2", price="99", stop="96", take="105")
    (entry,) = hand.children("entry")
    hand.report(entry, OrderStatus.OPEN)
    hand.fill(entry, Decimal("0.5"))
    assert [c.order.size for c in hand.children("stop")] == [Decimal("0.5")]
    hand.fill(entry)
    stops, takes = hand.children("stop"), hand.children("take")
    for children in (stops, takes):
        assert sum(c.order.size for c in children) == 2
        assert all(c.order.reduce_only and c.order.side is Side.SELL for c in children)
    assert all(c.order.type is OrderType.STOP_MARKET for c in stops)
    for child in (*stops, *takes):
        hand.report(child, OrderStatus.OPEN)
    for child in stops:
        hand.fill(child, price=Decimal(96))
    assert all(c.cancel_asked for c in takes)
    for child in takes:
        hand.report(child, OrderStatus.CANCELLED)
    assert hand.parent(name)["status"] == "done" and hand.position == 0
    hand.replays()


def test_an_emulated_trailing_stop_follows_and_turns() -> None:
    hand = Hand(start(EMULATE))
    hand.bar(100)
    hand.place("trailing_stop", side=Side.SELL, size="1", callback="0.05")
    for price in (102, 106, 110, 106):
        hand.bar(price)
        assert not hand.live
    hand.bar(104.6, low=104.4)
    (child,) = hand.children("trigger")  # 110 less 5 % is 104.5
    assert child.order.type is OrderType.MARKET and child.order.side is Side.SELL


def test_parents_survive_a_restart() -> None:
    hand = Hand(start(EMULATE))
    hand.bar(100)
    hand.place("stop_market", size="1", trigger="103")
    iceberg = hand.place("iceberg", size="2", price="99", shown="0.5")
    (child,) = hand.children("shown")
    hand.fill(child)
    hand.command(CommandKind.STOP)
    (child,) = hand.children("shown")
    assert child.cancel_asked
    hand.report(child, OrderStatus.CANCELLED)
    state = hand.engine.state()
    assert [p.parent_id for p in load(state).parents][-1] == iceberg
    position = hand.engine.ledger.position(SYMBOL)

    begin = start(EMULATE, session="s2", state=state)
    after = Hand(begin, position=hand.position, wall=hand.wall, version=hand.version)
    after.check((position,))
    after.bar(100)
    (again,) = after.children("shown")
    assert (again.order.size, again.order.parent) == (Decimal("0.5"), iceberg)
    assert after.parent(iceberg)["filled"] == "0.5"
    after.bar(103.2)
    assert [c.order.type for c in after.children("trigger")] == [OrderType.MARKET]


def test_twap_sends_even_slices_and_rolls_what_did_not_fill() -> None:
    hand = Hand()
    hand.bar()
    name = hand.place("twap", size="1", duration_s=600.0)
    sizes = []
    for n in range(12):
        for child in hand.children():
            sizes.append(child.order.size)
            assert child.order.time_in_force is TimeInForce.IOC
            if n == 3:
                hand.report(child, OrderStatus.EXPIRED)  # nothing filled: it comes with the next
            else:
                hand.fill(child)
        hand.bar()
    assert sizes[:3] == [Decimal("0.1")] * 3 and sizes[4] == Decimal("0.2")
    assert hand.parent(name)["status"] == "done" and hand.position == 1
    hand.replays()


def test_pov_follows_the_volume_and_shortfall_trades_most_at_first() -> None:
    hand = Hand()
    hand.bar()
    hand.place("pov", size="5", participation=0.001)
    assert not hand.live  # nothing was traded since
    hand.bar(volume=800)
    (child,) = hand.children()
    assert child.order.size == Decimal("0.8")
    hand = Hand()
    hand.bar()
    hand.place("shortfall", size="10", duration_s=600.0, urgency=4.0)
    sizes = []
    for _ in range(9):
        for child in hand.children():
            sizes.append(child.order.size)
            hand.fill(child)
        hand.bar()
    assert sizes == sorted(sizes, reverse=True) and sum(sizes[:3]) > 6


def test_chase_rests_post_only_moves_with_the_market_and_stops_at_its_limit() -> None:
    hand = Hand()
    hand.bar(100)
    name = hand.place("chase", size="1", price="101", duration_s=600.0)
    (child,) = hand.children("rest")
    assert child.order.time_in_force is TimeInForce.GTX and child.order.price == Decimal("99.9")
    hand.report(child, OrderStatus.OPEN)
    hand.bar(103)
    assert child.cancel_asked
    hand.report(child, OrderStatus.CANCELLED)
    (again,) = hand.children("rest")
    assert again.order.price == Decimal(101)
    hand.report(again, OrderStatus.OPEN)
    hand.version += 20
    hand.bar(103)
    assert again.cancel_asked
    hand.report(again, OrderStatus.CANCELLED)
    (last,) = hand.children("last")
    assert last.order.price == Decimal(101) and last.order.time_in_force is TimeInForce.IOC
    hand.report(last, OrderStatus.EXPIRED)
    hand.version += 100
    hand.bar(103)
    assert hand.parent(name)["status"] == "expired"


def test_amend_cancels_and_sends_anew_and_cancel_ends() -> None:
    hand = Hand()
    hand.bar()
    name = hand.place("limit", size="2", price="99")
    (child,) = hand.children()
    hand.report(child, OrderStatus.OPEN)
    hand.fill(child, Decimal("0.5"))
    told = OrderCommand(action=OrderAction.AMEND, parent=name, price=Decimal("98"))
    hand.command(CommandKind.ORDER, told.payload())
    assert child.cancel_asked and len(hand.live) == 1
    hand.report(child, OrderStatus.CANCELLED)
    (again,) = hand.children()
    assert (again.order.size, again.order.price) == (Decimal("1.5"), Decimal(98))
    hand.cancel(name)
    hand.report(again, OrderStatus.CANCELLED)
    assert hand.parent(name)["status"] == "cancelled" and hand.parent(name)["filled"] == "0.5"
    hand.replays()


def test_a_halt_ends_every_parent() -> None:
    hand = Hand()
    hand.bar()
    name = hand.place("limit", size="2", price="99")
    hand.command(CommandKind.HALT)
    (child,) = hand.children()
    assert child.cancel_asked
    hand.report(child, OrderStatus.CANCELLED)
    assert hand.parent(name)["status"] == "cancelled"
    hand.command(CommandKind.RESUME)
    hand.bar()
    assert not hand.live and not hand.working()


def test_risk_looks_at_every_child_and_who_asked_is_on_record() -> None:
    hand = Hand()
    hand.bar()
    hand.place("limit", size="2000", price="99")
    assert not hand.live and not hand.working()
    made = hand.decisions[-1]
    assert made.status == "order" and [str(d.code) for d in made.denials] == ["ORDER_NOTIONAL"]
    assert made.reasons[0] == "order by test: because"


def test_what_cannot_be_is_refused_on_record() -> None:
    hand = Hand()
    hand.bar()
    payloads = {
        "not json": "cannot be read",
        OrderCommand(action=OrderAction.CANCEL, parent="m0").payload(): "no order 'm0'",
    }
    for payload, why in payloads.items():
        hand.command(CommandKind.ORDER, payload)
        assert hand.decisions[-1].status == "order" and why in hand.decisions[-1].reasons[-1]
    hand.place("limit", size="0.0005", price="99")
    assert "size must be a multiple of 0.001" in hand.decisions[-1].reasons[-1]
    assert not hand.orders


def test_orders_by_hand_are_found_by_the_key_of_their_command() -> None:
    from don.execution.requests import OrderRequest, manual_id

    hand = Hand()
    hand.bar()
    request = OrderRequest(
        kind=OrderKind.LIMIT, symbol=SYMBOL, side=Side.BUY, size=Decimal(1), price=Decimal(99)
    )
    payload = OrderCommand(action=OrderAction.PLACE, request=request).payload()
    hand.command(CommandKind.ORDER, payload, key="command:order:abc")
    assert hand.parent(manual_id("command:order:abc"))["kind"] == "limit"
    assert hand.orders[0].parent == manual_id("command:order:abc")
    assert hand.orders[0].ts_event == BAR
