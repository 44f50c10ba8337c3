"""Risk in the running desk: limits and states by command, marks between bars, missing fills."""

import json
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from desk_harness import Desk, session, start_desk
from fake_exchange import SYMBOLS, S

from don.engine import Engine, EngineConfig
from don.errors import ConfigError
from don.execution.planner import PlannerConfig
from don.model import codec
from don.model.messages import (
    CancelOrder,
    Command,
    CommandKind,
    Decision,
    Difference,
    FillReport,
    MarkUpdate,
    SubmitOrder,
    Timer,
)
from don.model.order import DenialCode, OrderStatus
from don.model.portfolio import Position
from don.portfolio.config import Bound, PortfolioConfig, Rounding
from don.risk.config import RiskConfig

WARM = 200


def tell(desk: Desk, kind: CommandKind, **payload: object) -> list:
    return desk.step(
        Command(
            key=f"command:{kind}:{desk.wall}",
            kind=kind,
            actor="cli",
            reason="test",
            ts_recv=desk.tick(),
            payload=json.dumps(payload),
        )
    )


def last(out: list) -> Decision:
    return next(o for o in reversed(out) if isinstance(o, Decision))


def gross(desk: Desk) -> Decimal:
    marks = desk.exchange.marks
    return sum((abs(p.size) * marks[s] for s, p in desk.engine.ledger.positions.items()), Decimal())


def trading(bars: int = 5, **changes: object) -> Desk:
    desk = start_desk(session(**changes))
    for t in range(WARM, WARM + bars):
        desk.bar(t)
    assert desk.engine.ledger.positions
    return desk


def replayed(desk: Desk) -> Engine:
    """The journal folded anew gives the same outputs, byte for byte."""
    engine = Engine(desk.start)
    for kind, told, caused in desk.journal:
        assert [codec.encode(o) for o in engine.step(codec.decode(kind, told))] == caused
    return engine


def test_limits_change_by_command_on_record_across_restarts_and_replay() -> None:
    desk = trading()
    before = gross(desk) / desk.engine.equity
    assert before > Decimal("0.3")
    made = last(tell(desk, CommandKind.LIMITS, max_gross_leverage="0.2"))
    assert made.status == "limits"
    assert made.reasons == (
        "limits by cli: test",
        "max_gross_leverage: 3 became 0.2",
    )
    for t in range(WARM + 5, WARM + 9):
        desk.bar(t)
    assert gross(desk) / desk.engine.equity < Decimal("0.21")
    assert any(
        "gross leverage is limited to 0.2" in r for d in desk.of(Decision) for r in d.reasons
    )
    assert replayed(desk).state() == desk.engine.state()
    follower = Engine(session("s2", state=desk.engine.state()))
    risk = follower.view()["risk"]
    assert risk["limits"]["max_gross_leverage"] == "0.2"
    assert risk["changed"] == {"max_gross_leverage": "0.2"}
    tell(desk, CommandKind.LIMITS, max_gross_leverage="default")
    assert desk.engine.view()["risk"]["limits"]["max_gross_leverage"] == "3"


def test_limits_that_do_not_fit_change_nothing_and_say_why() -> None:
    desk = trading(1)
    for wrong in (
        {"max_slippage": "0.001"},  # below the planner's own
        {"max_cvar": "0.01", "max_var": "0.02"},
        {"max_order_notional": "1"},
        {"leverage": "1"},
    ):
        payload = json.dumps(wrong)
        asked = Command(
            key="k", kind=CommandKind.LIMITS, actor="api", reason="", ts_recv=1, payload=payload
        )
        objection = desk.engine.objection(asked)
        made = last(tell(desk, CommandKind.LIMITS, **wrong))
        assert objection and made.reasons[1] == f"refused: {objection}"
    assert desk.engine.view()["risk"]["changed"] == {}


def test_reducing_lets_positions_shrink_and_nothing_else() -> None:
    desk = trading()
    made = last(tell(desk, CommandKind.STATE, scope="policy", state="reducing"))
    assert made.status == "reducing"
    held = {s: p.size for s, p in desk.engine.ledger.positions.items()}
    for t in range(WARM + 5, WARM + 30):
        desk.bar(t)
        for symbol in SYMBOLS:
            now = desk.engine.ledger.position(symbol).size
            was = held.get(symbol, Decimal(0))
            assert abs(now) <= abs(was) and now * was >= 0
            held[symbol] = now
    assert any("reducing only" in r for d in desk.of(Decision) for r in d.reasons)
    tell(desk, CommandKind.STATE, scope="policy", state="active")
    assert desk.engine.view()["risk"]["states"] == {}
    replayed(desk)


def test_a_halted_system_is_flat_and_stays_so_over_a_restart() -> None:
    desk = trading()
    out = tell(desk, CommandKind.STATE, scope="system", state="halted")
    assert all(o.order.reduce_only for o in out if isinstance(o, SubmitOrder))
    desk.deliver()
    assert not desk.engine.ledger.positions
    follower = Engine(session("s2", state=desk.engine.state()))
    assert follower.halted and "system" in follower.view()["risk"]["states"]
    other = Engine(session("s3", state=desk.engine.state(), policy="mean_reversion"))
    assert other.halted
    tell(desk, CommandKind.STATE, scope="system", state="active")
    assert not desk.engine.halted


def test_marks_between_bars_reach_the_daily_loss() -> None:
    config = EngineConfig(risk=RiskConfig(max_daily_loss=Decimal("0.02")))
    desk = trading(config=config)
    marks = dict(desk.exchange.marks)
    assert not desk.engine.marks_due(marks)
    worse = {
        s: marks[s] * (Decimal("0.5") if p.size > 0 else Decimal("1.5"))
        for s, p in desk.engine.ledger.positions.items()
    }
    assert desk.engine.marks_due(worse)
    out = desk.step(
        MarkUpdate(key="m", marks=worse, ts_event=desk.exchange.now + 1, ts_recv=desk.tick())
    )
    assert last(out).reasons[0].startswith("DAILY_LOSS: down")
    assert desk.engine.halted and not desk.engine.marks_due(worse)
    replayed(desk)


def test_a_drawdown_first_reduces_then_halts_and_a_resume_forgives() -> None:
    config = EngineConfig(
        risk=RiskConfig(
            reduce_at_drawdown=Decimal("0.005"),
            max_drawdown=Decimal("0.01"),
            max_daily_loss=Decimal(1),
        )
    )
    desk = start_desk(session(config=config), bars=700)
    seen = []
    for t in range(WARM, 690):
        desk.bar(t)
        state = desk.engine.view()["risk"]["state"]
        if not seen or seen[-1] != state:
            seen.append(state)
        if state == "halted":
            break
    assert seen == ["active", "reducing", "halted"]
    assert desk.engine.view()["halt_reason"].startswith("DRAWDOWN")
    desk.deliver()
    desk.command(CommandKind.RESUME)
    assert desk.engine.view()["risk"]["state"] == "active"
    assert desk.engine.view()["risk"]["figures"]["drawdown"] == 0.0
    replayed(desk)


def test_fills_that_never_come_stop_trading_and_a_person_can_go_on() -> None:
    desk = start_desk()
    desk.exchange.partial = 0.0
    kept = []
    for t in range(WARM, WARM + 10):
        desk.tick(S)
        desk.exchange.bar(int(desk.bars.ts[t]), desk.bars.marks(t), desk.wall)
        desk.deliver()
        desk.step(desk.snapshot(t))
        desk.answer()
        lost = [m for m in desk.exchange.mail if isinstance(m, FillReport)]
        if lost and not kept:
            kept = [m for m in lost if m.fill.client_order_id == lost[0].fill.client_order_id]
            for message in kept:
                desk.exchange.mail.remove(message)
            break
    desk.deliver()
    assert kept and desk.engine.reconciled
    assert not [o for o in desk.timer(30.0) if isinstance(o, Difference)]
    out = desk.timer(31.0)
    assert last(out).status == "unreconciled" and not desk.engine.reconciled
    assert [o.what for o in out if isinstance(o, Difference)] == [
        f"fills {kept[0].fill.client_order_id}"
    ]
    desk.command(CommandKind.ADOPT, "the exchange has them")
    desk.check()
    assert desk.engine.reconciled and desk.engine.idle
    assert desk.engine.ledger.balance == desk.exchange.balance
    replayed(desk)


def test_positions_in_other_symbols_use_up_leverage_and_are_flattened_by_a_halt() -> None:
    outside = Position(symbol="DOGE-USDT-PERP", size=Decimal(1_000_000), cost=Decimal(260_000))
    desk = start_desk()
    desk.exchange.positions["DOGE-USDT-PERP"] = outside
    fresh = Desk(session("s9"), desk.exchange, desk.bars)
    fresh.history(WARM)
    fresh.check()
    for t in range(WARM, WARM + 4):
        fresh.bar(t)
    inside = sum(abs(p.size) * fresh.exchange.marks[s]
                 for s, p in fresh.engine.ledger.positions.items() if s in SYMBOLS)  # fmt: skip
    assert inside + 260_000 <= 3 * fresh.engine.equity
    assert any("gross leverage is limited" in r for d in fresh.of(Decision) for r in d.reasons)
    out = fresh.engine.step(
        Command(key="c", kind=CommandKind.HALT, actor="t", reason="", ts_recv=fresh.tick())
    )
    closing = [o.order for o in out if isinstance(o, SubmitOrder)]
    assert ("DOGE-USDT-PERP", Decimal(1_000_000)) in [(o.symbol, o.size) for o in closing]


def test_time_without_don_counts_what_no_stop_protects() -> None:
    desk = trading()
    notional = gross(desk)
    state = desk.engine.state()
    later = desk.wall + 100 * S
    follower = Engine(session("s2", state=state, ts_recv=later))
    told = follower.view()["risk"]["unprotected"]
    assert Decimal(told["notional_s"]) == pytest.approx(notional * 100, rel=Decimal("1e-9"))
    follower.step(Timer(key="t", ts_recv=later + 10 * S, resumed=True))
    again = follower.view()["risk"]["unprotected"]
    assert Decimal(again["notional_s"]) == pytest.approx(notional * 110, rel=Decimal("1e-9"))
    quiet = Engine(session("s3", state=follower.state(), ts_recv=later))
    assert Decimal(quiet.view()["risk"]["unprotected"]["notional_s"]) == Decimal(
        again["notional_s"]
    )


def test_value_at_risk_and_the_stress_of_history_bound_positions() -> None:
    config = EngineConfig(
        risk=RiskConfig(max_cvar=Decimal("0.002"), max_stress_loss=Decimal("0.05"))
    )
    desk = start_desk(session(config=config))
    for t in range(WARM, WARM + 40):
        desk.bar(t)
        figures = desk.engine.view()["risk"]["figures"]
        assert figures["stress_loss"] < 0.06
    assert any("cvar of a bar" in r for d in desk.of(Decision) for r in d.reasons)
    replayed(desk)


def test_the_optimizer_gets_what_its_configuration_needs() -> None:
    config = EngineConfig(
        portfolio=PortfolioConfig(rounding=Rounding.TOWARD_ZERO, max_margin=0.5),
    )
    desk = start_desk(session(config=config))
    asked: list = []
    answer = desk.answer
    desk.answer = lambda: (asked.extend(desk.answers), answer())  # type: ignore[method-assign]
    for t in range(WARM, WARM + 3):
        desk.bar(t)
    inputs = asked[-1].inputs
    marks, equity = desk.engine.view()["equity"], desk.engine.equity
    assert marks and inputs.scenarios is None and inputs.carry is None
    btc = float(Decimal("0.001") * desk.bars.marks(WARM + 2)[SYMBOLS[0]] / equity)
    assert inputs.lot[0] == pytest.approx(btc, rel=0.02)
    np.testing.assert_allclose(inputs.least, 5 / float(equity), rtol=0.02)
    np.testing.assert_array_equal(inputs.margin, np.full(5, 0.05))
    plain = trading(1)
    assert all(o.inputs is None for o in plain.of(type(asked[-1])))


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (
            EngineConfig(
                portfolio=PortfolioConfig(bounds=(Bound(symbol="X", lower=0, upper=0.1),))
            ),
            "portfolio.bounds",
        ),
        (EngineConfig(risk=RiskConfig(max_order_notional=Decimal(1))), "least notional"),
    ],
)
def test_an_engine_is_not_built_on_limits_that_make_no_sense(
    config: EngineConfig, why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        Engine(session(config=config))


def test_a_planner_whose_every_order_would_be_refused_is_refused() -> None:
    with pytest.raises(ValueError, match="every order would be refused"):
        EngineConfig(planner=PlannerConfig(slippage=Decimal("0.05")))
    with pytest.raises(ValueError, match="every order would be refused"):
        EngineConfig(
            planner=PlannerConfig(style="market"), risk=RiskConfig(max_slippage=Decimal("0.01"))
        )


def test_resting_orders_that_could_enlarge_go_when_only_reductions_pass() -> None:
    config = EngineConfig(planner=PlannerConfig(style="passive"))
    desk = start_desk(session(config=config))
    desk.exchange.touch = 0.0
    desk.bar(WARM)
    resting = [r for r in desk.engine.orders.in_flight() if r.status is OrderStatus.OPEN]
    assert resting
    out = tell(desk, CommandKind.STATE, scope="account", state="reducing")
    assert {o.client_order_id for o in out if isinstance(o, CancelOrder)} == {
        r.order.client_order_id for r in resting
    }
    desk.deliver()
    denials = [d for made in desk.of(Decision) for d in made.denials]
    assert all(d.code is DenialCode.REDUCING for d in denials)
    assert replace(resting[0], status=OrderStatus.CANCELLED).status.final
