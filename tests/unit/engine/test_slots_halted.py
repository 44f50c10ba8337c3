"""A slot that is halted is closed at once in any style, and nobody else's orders suffer by it."""

from decimal import Decimal

import pytest
from desk_harness import Desk
from test_engine_slots import WARM, books, desk, equal_books, state_of

from don.books.config import SlotConfig
from don.engine import Engine
from don.model import codec
from don.model.messages import CancelOrder, Decision, Difference, SubmitOrder
from don.model.order import OrderStatus, OrderType, TimeInForce

TREND = SlotConfig(name="trend", policy="momentum")
BACK = SlotConfig(name="back", policy="mean_reversion")
TWIN = SlotConfig(name="twin", policy="momentum")


def traded(*slots: SlotConfig, style: str, bars: int = 20) -> Desk:
    run = desk(*slots, style=style, bars=260)
    for t in range(WARM, WARM + bars):
        run.bar(t)
    return run


def claims(of: Desk) -> dict[str, dict[str, Decimal]]:
    """What each book lacks of every order and parent that works."""
    engine = of.engine
    keys = {r.order.parent or r.order.client_order_id for r in engine.orders.in_flight()}
    keys |= {p.parent_id for p in engine._worker.parents}
    return {key: dict(engine.keeper.books.pending(key)) for key in sorted(keys)}


def held(of: Desk, book: str) -> dict[str, Decimal]:
    return {s: p.size for s, p in of.engine.keeper.books.books[book].positions.items()}


def replays(run: Desk) -> None:
    again = Engine(run.start)
    for kind, taken, outputs in run.journal:
        assert [codec.encode(o) for o in again.step(codec.decode(kind, taken))] == outputs
    assert again.state() == run.engine.state()


@pytest.mark.parametrize("style", ["passive", "twap"])
def test_halting_one_slot_leaves_the_orders_of_others(style: str) -> None:
    run = traded(TREND, BACK, style=style)
    before, trend = claims(run), held(run, "trend")
    others = {key: of for key, of in before.items() if not of.get("back")}
    symbols = set(held(run, "back"))
    assert others and len(others) < len(before) and symbols
    out = state_of(run, "policy:back", "halted")
    assert {o.client_order_id for o in out if isinstance(o, CancelOrder)}.isdisjoint(others)
    sent = [o.order for o in out if isinstance(o, SubmitOrder)]
    assert sent and {order.type for order in sent} == {OrderType.MARKET}
    for order in sent:
        position = run.engine.ledger.position(order.symbol).size
        nets = position * order.side.sign < 0 and order.size <= abs(position)
        assert order.reduce_only is nets
    run.deliver()
    equal_books(run)
    assert held(run, "back") == {}
    # what both wanted of one order is worked anew for the one that is left
    both = sum(of.get("trend", 0) for of in before.values() if of.get("back"))
    moved = {s: abs(size - trend.get(s, 0)) for s, size in held(run, "trend").items()}
    assert sum(moved.values()) <= both and set(trend) <= set(moved)
    after = claims(run)
    assert {key: after[key] for key in others} == others
    assert not any(of.get("back") for of in after.values())
    for t in range(WARM + 20, WARM + 26):
        run.bar(t)
        equal_books(run)
        assert held(run, "back") == {}
    assert held(run, "trend") != trend and run.of(Difference) == []
    replays(run)


@pytest.mark.parametrize("style", ["passive", "twap"])
def test_what_was_worked_for_both_is_sent_anew_for_the_other(style: str) -> None:
    run = traded(TREND, TWIN, style=style)
    before = claims(run)
    shared = [key for key, of in before.items() if of.get("trend") and of.get("twin")]
    assert shared
    wanted = sum(of.get("trend", 0) for of in before.values())
    trend = held(run, "trend")
    state_of(run, "policy:twin", "halted")
    run.deliver()
    equal_books(run)
    after = claims(run)
    assert held(run, "twin") == {} and not any(of.get("twin") for of in after.values())
    got = sum(abs(size - trend.get(s, 0)) for s, size in held(run, "trend").items())
    assert got + sum(of.get("trend", 0) for of in after.values()) == wanted
    assert set(shared).isdisjoint(after)
    replays(run)


@pytest.mark.parametrize("answered", [True, False])
def test_a_question_that_is_open_stays_open_for_the_others(answered: bool) -> None:
    run = traded(TREND, BACK, style="passive")
    run.slow_optimizer = 1.0
    run.bar(WARM + 20)
    assert run.engine._decider.deciding
    state_of(run, "policy:back", "halted")
    assert run.engine._decider.deciding
    if answered:
        run.answer()
        run.deliver()
        netted = run.of(Decision)
        assert [d.status for d in netted if d.snapshot == 21] == ["optimal", "halted", "netted"]
    for t in (WARM + 21, WARM + 22):  # the answers of a bar come too late
        run.deliver()
        run.answers.clear()
        run.bar(t)
    keeper = run.engine.keeper
    assert held(run, "back") == {} and held(run, "trend")
    assert keeper.books.off(run.engine.ledger) == []
    replays(run)


def test_a_halt_by_drawdown_does_not_rest() -> None:
    back = BACK.model_copy(update={"max_drawdown": 0.001})
    run = traded(TREND, back, style="passive", bars=0)
    for t in range(WARM, WARM + 60):
        run.bar(t)
        if books(run)["back"]["state"] == "halted":
            break
    assert books(run)["back"]["state"] == "halted" and held(run, "back") == {}
    closing = next(d for d in run.of(Decision) if d.status == "close")
    orders = [o.order for o in run.of(SubmitOrder) if o.order.client_order_id in closing.orders]
    assert orders and all(order.type is OrderType.MARKET for order in orders)
    assert any(o.order.time_in_force is TimeInForce.GTX for o in run.of(SubmitOrder))
    equal_books(run)
    replays(run)


def test_a_halted_book_that_could_not_be_closed_is_tried_again_with_the_next_decision() -> None:
    run = traded(TREND, BACK, style="passive")
    submit, tries = run.exchange.submit, []

    def refuse(order, wall) -> None:
        tries.append(order)
        run.exchange.order_id += 1
        run.exchange._tell(
            order, str(run.exchange.order_id), OrderStatus.REJECTED, Decimal(0), wall
        )

    run.exchange.submit = refuse
    state_of(run, "policy:back", "halted")
    run.deliver()
    assert held(run, "back") and len(tries) < 20  # no storm
    run.exchange.submit = submit
    run.slow_optimizer = 1.0  # nobody answers, and it is closed all the same
    run.bar(WARM + 20)
    run.bar(WARM + 21)
    assert held(run, "back") == {} and held(run, "trend")
    equal_books(run)
