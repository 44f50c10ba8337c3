"""Halt, resume, stop, silence, limits of the whole desk."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from desk_harness import Desk, session, start_desk
from fake_exchange import INSTRUMENTS, SYMBOLS

from don.engine import EngineConfig
from don.execution.planner import PlannerConfig
from don.model.messages import (
    CancelOrder,
    CommandKind,
    Decision,
    Difference,
    OptimizeRequest,
    SubmitOrder,
)
from don.model.order import OrderStatus, OrderType
from don.risk.config import RiskConfig

WARM = 200
PASSIVE = EngineConfig(planner=PlannerConfig(style="passive"))


def trading(bars: int = 20, **start: object) -> Desk:
    """A desk that holds positions."""
    desk = start_desk(session(**start), seed=4)
    for t in range(WARM, WARM + bars):
        desk.bar(t)
        desk.check()
    assert desk.engine.ledger.positions
    return desk


def last(desk: Desk) -> Decision:
    return desk.of(Decision)[-1]


def submitted(outputs: list) -> list:
    return [o.order for o in outputs if isinstance(o, SubmitOrder)]


# ---- halt ---------------------------------------------------------------------------------------


def test_halt_flattens_with_reduce_only_market_orders_and_refuses_the_rest() -> None:
    desk = trading()
    held = dict(desk.engine.ledger.positions)
    orders = submitted(desk.command(CommandKind.HALT, "enough"))
    assert {o.symbol: o.size * o.side.sign for o in orders} == {s: -p.size for s, p in held.items()}
    assert all(o.reduce_only and o.type is OrderType.MARKET for o in orders)
    assert last(desk).status == "halt" and "enough" in last(desk).reasons[0]
    desk.deliver()
    desk.check()
    assert desk.engine.ledger.positions == {} == desk.exchange.positions
    for t in range(WARM + 20, WARM + 25):
        desk.bar(t)
        assert last(desk).status == "skipped" and last(desk).reasons[0].startswith("halted")
    assert desk.engine.ledger.positions == {}
    assert desk.of(Difference) == []


def test_halt_takes_back_orders_that_may_not_have_left() -> None:
    desk = start_desk(session(), seed=4)
    t = WARM
    while not desk.engine.orders.in_flight():  # decide, but let nothing reach the exchange
        desk.tick(10**9)
        desk.step(desk.snapshot(t))
        desk.answer()
        t += 1
    waiting = {r.order.client_order_id for r in desk.engine.orders.in_flight()}
    desk.exchange.mail.clear()
    out = desk.command(CommandKind.HALT)
    cancelled = {o.client_order_id for o in out if isinstance(o, CancelOrder)}
    assert cancelled == waiting


def test_a_superseded_snapshot_is_not_decided_on() -> None:
    desk = trading()
    before = len(desk.of(OptimizeRequest))
    desk.bar(WARM + 20, superseded=True)
    assert len(desk.of(OptimizeRequest)) == before
    assert "later bar" in last(desk).reasons[0]
    desk.bar(WARM + 21)
    assert len(desk.of(OptimizeRequest)) == before + 1


def test_halt_is_carried_into_the_next_session_until_resumed() -> None:
    desk = trading()
    desk.command(CommandKind.HALT)
    desk.deliver()
    after = Desk(session("s2", state=desk.engine.state()), desk.exchange, desk.bars)
    after.wall = desk.wall
    after.check()
    assert after.engine.halted
    after.bar(WARM + 21)
    assert after.of(SubmitOrder) == []
    after.command(CommandKind.RESUME)
    after.bar(WARM + 22)
    assert not after.engine.halted and after.of(SubmitOrder) != []


def test_halt_before_the_flattening_was_journalled_is_finished_by_the_next_session() -> None:
    """Killed right after the halt: the orders are in flight or lost; nothing is closed twice."""
    desk = trading()
    desk.exchange.rejecting = False
    desk.command(CommandKind.HALT)
    sent = [r.order.client_order_id for r in desk.engine.orders.in_flight()]
    desk.exchange.mail.clear()  # pretend that nothing arrived
    after = Desk(session("s2", state=desk.engine.state()), desk.exchange, desk.bars)
    after.wall = desk.wall
    assert after.timer(60) == []  # covered by the orders in flight
    assert sorted(after.engine.orders.open_ids()) == sorted(sent)


def test_halt_chunks_by_the_largest_order_size() -> None:
    small = tuple(replace(i, max_size=Decimal(i.lot_size * 5000)) for i in INSTRUMENTS)
    desk = trading(instruments=small)
    held = dict(desk.engine.ledger.positions)
    orders = submitted(desk.command(CommandKind.HALT))
    for symbol, position in held.items():
        sizes = [o.size for o in orders if o.symbol == symbol]
        cap = next(i.max_size for i in small if i.symbol == symbol)
        assert sum(sizes) == abs(position.size) and max(sizes) <= cap


def test_fill_that_arrives_while_halted_is_closed_again() -> None:
    desk = trading()
    desk.step(desk.snapshot(WARM + 60))
    desk.answer()
    assert not desk.engine.idle
    desk.command(CommandKind.HALT)
    desk.deliver(shuffled=True)
    for _ in range(5):
        desk.timer(60)
        desk.deliver()
    desk.check(final=True)
    assert desk.exchange.positions == {} == desk.engine.ledger.positions
    assert desk.of(Difference) == []


def test_halt_cancels_resting_orders_even_when_seen_late() -> None:
    desk = start_desk(session(config=PASSIVE))
    desk.step(desk.snapshot(WARM))
    desk.answer()
    resting = set(desk.exchange.resting)
    assert resting
    late = list(desk.exchange.mail)
    desk.exchange.mail.clear()
    cancels = [o for o in desk.command(CommandKind.HALT) if isinstance(o, CancelOrder)]
    assert {c.client_order_id for c in cancels} == resting
    desk.exchange.mail.extendleft(reversed(late))
    desk.deliver()
    assert desk.exchange.resting == {} and desk.engine.idle


def test_cancellation_that_was_lost_is_asked_for_again() -> None:
    desk = start_desk(session(config=PASSIVE))
    desk.step(desk.snapshot(WARM))
    desk.answer()
    desk.deliver()
    held_back, desk.exchange.resting = desk.exchange.resting, {}
    desk.command(CommandKind.HALT)  # the exchange never hears of it
    desk.exchange.resting = held_back
    for _ in range(5):
        desk.timer(3)
        desk.deliver()
    assert desk.exchange.resting == {} and desk.engine.idle


def test_flattening_that_fails_is_tried_again_with_growing_pauses() -> None:
    desk = trading()
    held, desk.exchange.positions = desk.exchange.positions, {}  # the exchange refuses every close
    desk.command(CommandKind.HALT)
    desk.deliver()
    for _ in range(300):
        desk.timer(1)
        desk.deliver()
    tries = [d for d in desk.of(Decision) if d.status in ("halt", "flatten")]
    assert 4 < len(tries) < 12
    desk.exchange.positions = held
    for _ in range(70):
        desk.timer(1)
        desk.deliver()
    assert desk.engine.ledger.positions == {}


def test_halting_twice_is_the_same_as_once() -> None:
    desk = trading()
    desk.command(CommandKind.HALT, "first")
    assert submitted(desk.command(CommandKind.HALT, "second")) == []
    desk.deliver()
    assert desk.engine.ledger.positions == {}
    assert "first" in desk.engine.view()["halt_reason"]


def test_a_daily_loss_halts_and_a_resume_counts_from_there() -> None:
    limits = EngineConfig(risk=RiskConfig(max_daily_loss=Decimal("0.01")))
    desk = trading(bars=3, config=limits)
    crash = desk.bars.close[WARM + 3] * np.array(
        [0.9 if desk.engine.ledger.position(s).size > 0 else 1.1 for s in SYMBOLS]
    )
    desk.step(desk.snapshot(WARM + 3, close=crash, mark=crash))
    assert desk.engine.halted and "DAILY_LOSS" in desk.engine.view()["halt_reason"]
    assert last(desk).status == "halt" and last(desk).snapshot == desk.version
    desk.deliver()
    assert desk.engine.ledger.positions == {}
    desk.command(CommandKind.RESUME)
    desk.step(desk.snapshot(WARM + 4))
    assert (
        not desk.engine.halted
        and desk.of(OptimizeRequest)[-1].decision == desk.engine.view()["decision"]["decision"] + 1
    )


# ---- stop, silence, lateness --------------------------------------------------------------------


def test_stop_cancels_resting_orders_keeps_positions_and_decides_no_more() -> None:
    desk = start_desk(session(config=PASSIVE), seed=4)
    for t in range(WARM, WARM + 20):
        desk.bar(t)
    assert desk.engine.ledger.positions and desk.exchange.resting
    held = dict(desk.engine.ledger.positions)
    desk.command(CommandKind.STOP)
    desk.deliver()
    assert desk.exchange.resting == {} and desk.engine.idle and desk.engine.stopping
    count = len(desk.of(SubmitOrder))
    desk.step(desk.snapshot(WARM + 20))
    desk.answer()
    assert len(desk.of(SubmitOrder)) == count
    assert desk.engine.ledger.positions == held
    desk.check(final=True)
    assert desk.engine.view()["ledger_equal"] is True


def test_silence_makes_data_stale_and_takes_resting_orders_back() -> None:
    desk = start_desk(session(config=PASSIVE))
    desk.step(desk.snapshot(WARM))
    desk.answer()
    assert desk.exchange.resting
    assert desk.timer(100) == []
    out = desk.timer(100)
    assert {type(o) for o in out} == {CancelOrder, Decision}
    assert last(desk).status == "stale"
    desk.deliver()
    assert desk.exchange.resting == {}
    assert desk.timer(100) == []  # said once
    desk.bar(WARM + 1)
    assert desk.exchange.resting  # data are back


def test_market_data_that_reached_the_desk_late_are_not_traded_on() -> None:
    desk = start_desk()
    late = desk.snapshot(WARM)
    desk.step(replace(late, ts_taken=late.ts_recv + 11 * 10**9))
    assert last(desk).status == "skipped" and "STALE_DATA" in last(desk).reasons[0]
    assert desk.of(OptimizeRequest) == []


def test_target_that_comes_late_is_not_traded_on() -> None:
    desk = start_desk()
    desk.step(desk.snapshot(WARM))
    desk.tick(11 * 10**9)
    desk.answer()
    assert desk.of(SubmitOrder) == []
    assert last(desk).status == "skipped" and "STALE_DATA" in last(desk).reasons[-1]


def test_target_of_an_older_decision_changes_nothing() -> None:
    desk = start_desk()
    desk.step(desk.snapshot(WARM))
    old = desk.answers.popleft()
    desk.step(desk.snapshot(WARM + 1))
    desk.answers.appendleft(old)
    before = len(desk.outputs)
    request = desk.answers.popleft()
    newer = desk.answers.popleft()
    desk.answers.append(request)
    desk.answer()
    assert len(desk.outputs) == before
    desk.answers.append(newer)
    desk.answer()
    assert last(desk).orders


def test_snapshot_that_is_not_newer_changes_nothing() -> None:
    desk = start_desk()
    first = desk.snapshot(WARM)
    desk.step(first)
    state = desk.engine.state()
    assert desk.step(first) == [] and desk.engine.state() == state


def test_stale_symbols_and_warming_features_are_left_alone() -> None:
    desk = start_desk()
    values = desk.bars.values(WARM).copy()
    values[SYMBOLS.index("XRP-USDT-PERP"), 0] = np.nan
    desk.bar(WARM, stale=("BTC-USDT-PERP",), values=values)
    assert "not tradable: BTC-USDT-PERP, XRP-USDT-PERP" in last(desk).reasons
    traded = {o.order.symbol for o in desk.of(SubmitOrder)}
    assert traded and traded.isdisjoint({"BTC-USDT-PERP", "XRP-USDT-PERP"})


def test_all_symbols_stale_means_no_request() -> None:
    desk = start_desk()
    desk.bar(WARM, stale=SYMBOLS)
    assert desk.of(OptimizeRequest) == [] and last(desk).status == "skipped"


def test_too_little_history_means_warming_up() -> None:
    desk = start_desk(warm=10)
    desk.bar(10)
    assert last(desk).reasons[0].startswith("warming up: 10 of 24")


def test_orders_that_the_exchange_rejects_are_not_repeated_before_the_next_bar() -> None:
    desk = start_desk()
    desk.exchange.rejecting = True
    desk.bar(WARM)
    sent = len(desk.of(SubmitOrder))
    assert 0 < sent <= 5
    assert all(r.status is OrderStatus.REJECTED for r in desk.engine.orders)
    desk.timer(1)
    desk.deliver()
    assert len(desk.of(SubmitOrder)) == sent


def test_exchange_that_fills_nothing_gets_no_second_order_while_the_first_works() -> None:
    """The answer is lost for several bars: the same difference is never traded twice."""
    desk = start_desk()
    desk.step(desk.snapshot(WARM))
    desk.answer()
    first = desk.of(SubmitOrder)
    for t in range(WARM + 1, WARM + 5):
        desk.step(desk.snapshot(t))
        desk.answer()
        assert any("working orders" in reason for reason in last(desk).reasons)
    busy = [o.order.symbol for o in first]
    assert len(set(busy)) == len(busy)
    later = [o.order.symbol for o in desk.of(SubmitOrder)[len(first) :]]
    assert set(later).isdisjoint(busy)


def test_wrong_symbols_in_a_snapshot_are_an_error() -> None:
    desk = start_desk()
    with pytest.raises(ValueError, match="snapshot must have the symbols BTC-USDT-PERP"):
        desk.step(desk.snapshot(WARM, symbols=("A-USDT-PERP", *SYMBOLS[1:])))
