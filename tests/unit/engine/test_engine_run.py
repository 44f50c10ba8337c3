"""Hundreds of decisions against a fake exchange: books equal, replays equal, sessions join."""

import random
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from desk_harness import (
    FEATURES,
    Bars,
    Desk,
    FakeExchange,
    session,
    start_desk,
)

from don.engine import Engine, EngineConfig
from don.execution.planner import PlannerConfig
from don.model import codec
from don.model.messages import Decision, Difference, Equity, OptimizeRequest, SubmitOrder

WARM = 200


def config(**planner: object) -> EngineConfig:
    return EngineConfig(planner=PlannerConfig(**planner))


@pytest.fixture(scope="module")
def long_run() -> Desk:
    """300 decisions with late, repeated and reordered reports, partial fills, late optimizers."""
    desk = start_desk(session(config=config(band="0.002")), bars=520, warm=WARM)
    desk.slow_optimizer = 0.1
    for t in range(WARM, WARM + 300):
        desk.bar(t, shuffled=True)
        desk.check()
    desk.answer()
    desk.deliver()
    desk.check(final=True)
    return desk


def test_hundreds_of_orders_leave_the_books_equal_to_the_exchange(long_run: Desk) -> None:
    engine, exchange = long_run.engine, long_run.exchange
    assert engine.view()["counts"]["orders"] > 200
    assert engine.ledger.balance == exchange.balance
    assert engine.ledger.positions == exchange.positions
    assert engine.ledger.fees == exchange.fees
    assert long_run.of(Difference) == []
    assert engine.view()["ledger_equal"] is True
    assert engine.idle


def test_equity_is_balance_plus_unrealized_to_the_last_digit(long_run: Desk) -> None:
    marks = long_run.exchange.marks
    unrealized = sum(p.size * marks[s] - p.cost for s, p in long_run.exchange.positions.items())
    assert Decimal(long_run.engine.view()["equity"]) == long_run.exchange.balance + unrealized
    curve = long_run.of(Equity)
    assert len(curve) >= 300
    assert all(point.equity == point.balance + point.unrealized for point in curve)


def test_each_snapshot_ends_in_exactly_one_decision(long_run: Desk) -> None:
    versions = [d.snapshot for d in long_run.of(Decision) if d.snapshot]
    assert sorted(versions) == list(range(1, 301))
    numbers = [d.decision for d in long_run.of(Decision)]
    assert len(set(numbers)) == len(numbers) == max(numbers)
    late = [d for d in long_run.of(Decision) if "no target before the next snapshot" in d.reasons]
    assert late and all(not d.orders for d in late)


def test_order_ids_are_a_function_of_session_decision_and_index(long_run: Desk) -> None:
    for output in long_run.of(SubmitOrder):
        order = output.order
        assert order.client_order_id == f"don-s1-{order.decision}-{order.index}"
    of_decisions = [i for d in long_run.of(Decision) for i in d.orders]
    assert of_decisions == [o.order.client_order_id for o in long_run.of(SubmitOrder)]


def test_replay_from_journalled_bytes_gives_the_same_bytes(long_run: Desk) -> None:
    """The fold over the decoded journal repeats every output, and ends in the same state."""
    engine = Engine(codec.decode("SessionStart", codec.encode(long_run.start)))
    for kind, taken, given in long_run.journal:
        out = engine.step(codec.decode(kind, taken))
        assert [codec.encode(o) for o in out] == given
    assert engine.state() == long_run.engine.state()
    assert engine.view() == long_run.engine.view()


def test_outputs_survive_the_codec(long_run: Desk) -> None:
    for output in long_run.outputs:
        data = codec.encode(output)
        assert codec.encode(codec.decode(codec.kind_of(output), data)) == data


def test_repeating_every_input_changes_nothing(long_run: Desk) -> None:
    """At-least-once delivery: each message twice in a row gives outputs once.

    Account reports are left out: a repeat is a look at the account of its own right.
    """
    engine = Engine(long_run.start)
    for kind, taken, given in long_run.journal:
        message = codec.decode(kind, taken)
        assert [codec.encode(o) for o in engine.step(message)] == given
        if kind != "AccountReport":
            assert engine.step(message) == []
    assert engine.state() == long_run.engine.state()


def test_next_session_goes_on_exactly() -> None:
    """A run cut in two sessions makes the same decisions as the run in one."""

    def run(cut: int | None) -> tuple[list, Desk]:
        desk = start_desk(seed=5, bars=300, warm=WARM)
        asked = []
        for t in range(WARM, WARM + 80):
            if t == cut:
                state = desk.engine.state()
                follower = Desk(session("s2", state=state), desk.exchange, desk.bars)
                follower.wall = desk.wall
                desk = follower
                assert desk.engine.state() == state
                desk.check()
            before = len(desk.of(OptimizeRequest))
            desk.bar(t)
            desk.check()
            asked += desk.of(OptimizeRequest)[before:]
        return asked, desk

    whole, one = run(None)
    parts, two = run(WARM + 37)
    assert [codec.encode(replace(r, decision=0)) for r in whole] == [
        codec.encode(replace(r, decision=0)) for r in parts
    ]
    assert one.engine.ledger.balance == two.engine.ledger.balance
    assert one.engine.ledger.positions == two.engine.ledger.positions
    assert two.engine.view()["counts"]["orders"] < one.engine.view()["counts"]["orders"]
    assert two.engine.view()["books"]["pnl"] == one.engine.view()["books"]["pnl"]


def test_next_session_takes_over_orders_in_flight() -> None:
    """Killed between sending and hearing: the next session hears the rest and the books agree."""
    desk = start_desk(seed=2)
    for t in range(WARM, WARM + 20):
        desk.bar(t)
    desk.step(desk.snapshot(WARM + 60))
    desk.answer()
    assert desk.exchange.mail and not desk.engine.idle
    after = Desk(session("s2", state=desk.engine.state()), desk.exchange, desk.bars)
    after.wall = desk.wall
    assert not after.engine.idle
    after.check()
    assert not after.engine.reconciled  # in flight: nothing can be said yet
    after.deliver()
    assert after.engine.idle
    after.check()
    assert after.engine.reconciled and after.of(Difference) == []
    assert after.engine.ledger.balance == after.exchange.balance


@pytest.mark.parametrize("style", ["limit_ioc", "market", "passive"])
@pytest.mark.parametrize("policy", ["momentum", "mean_reversion", "inverse_volatility", "hold"])
def test_every_policy_and_style_keeps_equal_books(policy: str, style: str) -> None:
    desk = start_desk(session(policy=policy, config=config(style=style)), seed=7, bars=260)
    for t in range(WARM, WARM + 40):
        desk.bar(t, shuffled=True)
        desk.check()
    assert desk.of(Difference) == []
    assert desk.engine.view()["counts"]["fills"] >= 5
    assert desk.engine.ledger.balance == desk.exchange.balance


def test_default_policy_trades_within_sixty_real_bars() -> None:
    """What a person sees in the first minute of the default run, in several markets."""
    for offset in (0, 4_000, 9_000):
        bars = Bars.load(WARM + 61, offset)
        desk = Desk(session(), FakeExchange(random.Random(3), partial=0.0), bars)
        desk.history(WARM)
        desk.exchange.now = int(bars.ts[WARM - 1])
        desk.check()
        for t in range(WARM, WARM + 60):
            desk.bar(t)
            desk.check()
        assert desk.engine.view()["counts"]["orders"] >= 20
        assert desk.of(Difference) == []


def test_observed_spread_is_what_trading_is_thought_to_cost() -> None:
    desk = start_desk()
    values = np.hstack([desk.bars.values(WARM), np.full((5, 1), 0.003)])
    values[2, 3] = np.nan
    desk.step(desk.snapshot(WARM, names=(*FEATURES, "spread"), values=values))
    (request,) = desk.of(OptimizeRequest)
    expected = np.full(5, 0.0004 + 0.0015)
    expected[2] = 0.0004 + 0.0001
    np.testing.assert_allclose(request.cost, expected)
