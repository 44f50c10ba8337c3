"""Protective orders: in step with the position, there when Don is not, gone when it is flat."""

from decimal import Decimal

import pytest
from parents_harness import SYMBOL, WIDE, Hand, start
from pydantic import ValidationError

from don.engine import EngineConfig
from don.execution.protect import ProtectConfig
from don.model.messages import CommandKind
from don.model.order import OrderStatus, OrderType, Side


def config(**protect: object) -> EngineConfig:
    return EngineConfig(risk=WIDE.risk, protect=ProtectConfig(**protect))


def bought(hand: Hand, size: str = "2", price: int = 100) -> None:
    hand.bar(price)
    hand.place("market", size=size)
    hand.fill(hand.children("order")[0], price=Decimal(price))


def stops(hand: Hand) -> list:
    return [c for c in hand.children("protective stop") if not c.cancel_asked]


def test_a_position_gets_a_reduce_only_stop_and_take_and_loses_them_when_it_is_closed() -> None:
    hand = Hand(start(config(stop="0.05", take="0.1")))
    bought(hand)
    (stop,), (take,) = hand.children("protective stop"), hand.children("protective take")
    assert (stop.order.type, stop.order.trigger) == (OrderType.STOP_MARKET, Decimal("95"))
    assert (take.order.type, take.order.trigger) == (OrderType.TAKE_PROFIT_MARKET, Decimal("110"))
    for child in (stop, take):
        assert child.order.reduce_only and child.order.side is Side.SELL and child.order.size == 2
        hand.report(child, OrderStatus.OPEN)
    assert hand.engine.settled and not hand.engine.idle
    hand.fill(stop, price=Decimal(95))
    assert take.cancel_asked
    hand.report(take, OrderStatus.CANCELLED)
    hand.bar(95)
    assert not hand.live
    assert any(d.status == "protect" and d.orders for d in hand.decisions)
    hand.replays()


def test_the_new_stop_stands_before_the_old_one_goes() -> None:
    hand = Hand(start(config(stop="0.05")))
    bought(hand)
    (old,) = stops(hand)
    hand.report(old, OrderStatus.OPEN)
    bought(hand, price=104)  # the entry moves to 102, the stop to 96.9
    (same, new) = stops(hand)
    assert same is old and (new.order.trigger, new.order.size) == (Decimal("96.9"), 4)
    hand.report(new, OrderStatus.OPEN)
    assert old.cancel_asked
    hand.report(old, OrderStatus.CANCELLED)
    assert stops(hand) == [new]


def test_a_position_that_grows_at_its_price_gets_one_more() -> None:
    hand = Hand(start(config(stop="0.05")))
    for _ in range(2):
        bought(hand)
    assert sum(c.order.size for c in stops(hand)) == 4


def test_stops_are_never_missing_while_fills_come(n: int = 6) -> None:
    hand = Hand(start(config(stop="0.05")))
    for i in range(n):
        bought(hand, "1", 100 + i)
        for child in list(hand.children("protective stop")):
            if not child.open and not child.cancel_asked:
                hand.report(child, OrderStatus.OPEN)
        covered = sum(c.order.size for c in hand.children("protective stop"))
        assert covered >= hand.position
        for child in list(hand.children("protective stop")):
            if child.cancel_asked:
                hand.report(child, OrderStatus.CANCELLED)
    assert sum(c.order.size for c in stops(hand)) >= hand.position
    assert len(stops(hand)) <= 4


def test_a_stop_that_is_already_passed_closes_at_market() -> None:
    hand = Hand(start(config(stop="0.05")))
    bought(hand)
    (stop,) = stops(hand)
    hand.report(stop, OrderStatus.REJECTED, "-2021 Order would immediately trigger.")
    (close,) = hand.children("stop was passed")
    assert close.order.type is OrderType.MARKET and close.order.reduce_only
    hand.fill(close)
    assert hand.position == 0 and not hand.live


def test_a_refused_stop_is_tried_again_with_the_next_bar() -> None:
    hand = Hand(start(config(stop="0.05")))
    bought(hand)
    hand.report(stops(hand)[0], OrderStatus.REJECTED, "-1001 Internal error")
    assert not hand.live
    hand.bar(100)
    assert len(stops(hand)) == 1


def test_protection_stays_when_the_session_stops_and_is_known_to_the_next() -> None:
    hand = Hand(start(config(stop="0.05")))
    bought(hand)
    (stop,) = stops(hand)
    hand.report(stop, OrderStatus.OPEN)
    hand.command(CommandKind.STOP)
    assert not stop.cancel_asked and hand.engine.settled
    position, state = hand.engine.ledger.position(SYMBOL), hand.engine.state()
    begin = start(config(stop="0.05"), session="s2", state=state)
    after = Hand(begin, position=hand.position, wall=hand.wall, version=hand.version)
    after.live = dict(hand.live)
    after.check((position,))
    assert after.engine.reconciled is False  # the account report must list the stop, too


def test_a_halt_keeps_the_stop_until_the_position_is_closed() -> None:
    hand = Hand(start(config(stop="0.05")))
    bought(hand)
    (stop,) = stops(hand)
    hand.report(stop, OrderStatus.OPEN)
    hand.command(CommandKind.HALT)
    assert not stop.cancel_asked
    (close,) = hand.children("flatten")  # the stop does not count as closing the position
    assert close.order.size == 2
    hand.fill(close)
    assert stop.cancel_asked


def test_the_policy_trades_around_protection() -> None:
    hand = Hand(start(config(trail="0.05"), policy="hold"))
    hand.bar(100)
    bought(hand)
    (stop,) = stops(hand)
    assert (stop.order.type, stop.order.callback) == (OrderType.TRAILING_STOP, Decimal("0.05"))
    hand.report(stop, OrderStatus.OPEN)
    assert hand.engine.orders.working(SYMBOL) == []
    assert hand.engine.orders.net_remaining(SYMBOL) == 0


def test_stop_and_trail_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="stop or trail, not both"):
        ProtectConfig(stop="0.05", trail="0.05")
