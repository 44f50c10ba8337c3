"""Books against the exchange's account: opening, comparing, differences, strangers."""

from dataclasses import replace
from decimal import Decimal

import pytest
from desk_harness import Desk, session, start_desk
from fake_exchange import SYMBOLS

from don.engine import Engine, EngineConfig
from don.errors import ConfigError, JournalError
from don.execution.planner import PlannerConfig
from don.model.messages import (
    CancelOrder,
    CommandKind,
    Decision,
    Difference,
    Equity,
    FillReport,
    FundingReport,
    OrderReport,
    PaymentKind,
    SubmitOrder,
)
from don.model.order import Fill, OrderStatus, Side
from don.model.portfolio import Position

WARM = 200


def ready() -> Desk:
    desk = start_desk(seed=4)
    for t in range(WARM, WARM + 10):
        desk.bar(t)
        desk.check()
    assert desk.engine.reconciled and desk.engine.idle
    return desk


def test_nothing_trades_before_the_account_was_seen() -> None:
    desk = start_desk()
    fresh = Desk(session("s2"), desk.exchange, desk.bars)
    fresh.history(WARM)
    fresh.bar(WARM)
    assert fresh.of(SubmitOrder) == []
    assert fresh.of(Decision)[-1].reasons[0].startswith("UNRECONCILED")


def test_opening_takes_balance_and_positions_over() -> None:
    desk = start_desk()
    desk.exchange.positions = {
        "BTC-USDT-PERP": Position(
            symbol="BTC-USDT-PERP", size=Decimal("0.5"), cost=Decimal("1900.123")
        )
    }
    fresh = Desk(session("s2"), desk.exchange, desk.bars)
    fresh.check()
    assert fresh.engine.ledger.deposits == desk.exchange.balance == fresh.engine.ledger.balance
    assert fresh.engine.ledger.positions == desk.exchange.positions
    assert fresh.engine.reconciled and fresh.of(Decision)[-1].status == "adopted"


@pytest.mark.parametrize("traded", [False, True])
def test_profit_begins_with_the_first_marks_of_what_is_taken_over(traded: bool) -> None:
    symbol, desk = "BTC-USDT-PERP", start_desk()
    paid = desk.exchange.marks[symbol] / 2
    desk.exchange.positions = {symbol: Position(symbol=symbol, size=Decimal(2), cost=2 * paid)}
    fresh = Desk(session("s2"), desk.exchange, desk.bars)
    fresh.history(WARM)
    fresh.check()
    assert fresh.of(Equity) == []  # nobody knows yet what it is worth
    price = desk.exchange.marks[symbol]
    due = FundingReport(
        key="funding:1", symbol=symbol, amount=Decimal(3), ts_event=fresh.exchange.now + 1,
        ts_recv=fresh.tick(),
    )  # fmt: skip
    fresh.step(due)
    if traded:  # a part is sold before the first bar: its price says it
        fill = Fill(
            trade_id="1", client_order_id="by-hand", exchange_order_id="1", symbol=symbol,
            side=Side.SELL, price=price, size=Decimal(1), fee=Decimal(0), realized_pnl=price - paid,
            maker=False, ts_event=fresh.exchange.now + 2,
        )  # fmt: skip
        fresh.step(FillReport(key="fill:1", fill=fill, ts_recv=fresh.tick()))
    fresh.step(fresh.snapshot(WARM))
    bar = fresh.bars.marks(WARM)[symbol]
    view = fresh.engine.view()
    assert Decimal(view["counts"]["pnl"]) == (bar - price if traded else 0)
    assert Decimal(view["books"]["pnl"]) == Decimal(view["counts"]["pnl"])
    made = fresh.of(Equity)[-1]
    assert made.equity == fresh.engine.ledger.balance + made.unrealized and made.unrealized > 0
    later = Desk(
        session("s3", state=fresh.engine.state(), ts_recv=fresh.wall), desk.exchange, desk.bars
    )
    later.step(later.snapshot(WARM + 1))
    gained = (1 if traded else 2) * (later.bars.marks(WARM + 1)[symbol] - bar)
    assert Decimal(later.engine.view()["counts"]["pnl"]) == gained


def test_history_of_fills_before_the_opening_is_not_counted_twice() -> None:
    """A service that starts from nothing tells every old fill: the opening account has them."""
    desk = ready()
    fills = [m for kind, m in recorded(desk) if kind == "FillReport"]
    fresh = Desk(session("s2"), desk.exchange, desk.bars)
    fresh.wall = desk.wall
    for early in fills[: len(fills) // 2]:
        fresh.step(early)
    fresh.check()
    for late in fills:
        fresh.step(late)
    fresh.check()
    assert fresh.engine.ledger.balance == desk.exchange.balance
    assert fresh.of(Difference) == [] and fresh.engine.view()["ledger_equal"]


def test_difference_counts_when_seen_twice_and_closes_the_desk() -> None:
    desk = ready()
    desk.exchange.balance += Decimal("0.00000001")
    desk.check()
    assert desk.of(Difference) == [] and desk.engine.reconciled
    desk.check()
    (found,) = desk.of(Difference)
    assert found.what == "balance" and not desk.engine.reconciled
    assert Decimal(found.exchange) - Decimal(found.ledger) == Decimal("0.00000001")
    desk.bar(WARM + 10)
    assert desk.of(Decision)[-1].reasons[0].startswith("UNRECONCILED")
    desk.check()
    desk.check()
    assert len(desk.of(Difference)) == 1  # said once as long as it is the same
    desk.exchange.balance -= Decimal("0.00000001")
    desk.check()
    assert desk.engine.reconciled


def test_payment_on_its_way_is_no_difference() -> None:
    """The account holds a payment whose own report comes later."""
    desk = ready()
    desk.exchange.bar(
        int(desk.bars.ts[WARM + 10]) // (16 * 1800 * 10**9) * 16 * 1800 * 10**9 + 16 * 1800 * 10**9,
        desk.exchange.marks,
        desk.wall,
    )
    assert desk.exchange.mail
    desk.check()
    desk.deliver()
    desk.check()
    assert desk.of(Difference) == [] and desk.engine.reconciled


def test_report_older_than_a_fill_is_passed_over() -> None:
    desk = ready()
    old = desk.exchange.account(desk.wall)
    t = WARM + 10
    while desk.exchange.account(desk.wall).balance == old.balance:
        desk.bar(t)
        t += 1
    desk.step(old)
    desk.step(replace(old, key="again"))
    assert desk.of(Difference) == [] and desk.engine.reconciled


def test_final_report_decides_at_once() -> None:
    desk = ready()
    desk.exchange.balance += 1
    desk.check(final=True)
    assert [d.what for d in desk.of(Difference)] == ["balance"]
    assert desk.engine.view()["ledger_equal"] is False


def test_positions_costs_and_open_orders_are_compared() -> None:
    desk = ready()
    (symbol, position), *_ = desk.exchange.positions.items()
    other = next(s for s in SYMBOLS if s not in desk.exchange.positions or s != symbol)
    desk.exchange.positions[symbol] = replace(position, cost=position.cost + 1)
    desk.exchange.positions[other] = Position(symbol=other, size=Decimal(7), cost=Decimal(7))
    desk.exchange.resting["someone-else"] = (None, "1")
    desk.check(final=True)
    assert {d.what for d in desk.of(Difference)} == {
        f"cost {symbol}",
        f"position {other}",
        "open orders",
    }


def test_cost_may_be_rounded_where_the_exchange_rounds_it() -> None:
    config = EngineConfig(cost_tolerance=Decimal("0.00000001"))
    desk = start_desk(session(config=config), seed=4)
    for t in range(WARM, WARM + 10):
        desk.bar(t)
    for off, equal in ((1, True), (2, False)):
        account = desk.exchange.account(desk.tick(), final=True)
        nudged = tuple(
            replace(p, cost=p.cost + off * Decimal("0.00000001")) for p in account.positions
        )
        desk.step(replace(account, positions=nudged))
        assert desk.engine.view()["ledger_equal"] is equal


def test_adopting_on_command_is_on_record_and_reopens_the_desk() -> None:
    desk = ready()
    desk.exchange.balance += 500
    desk.check()
    desk.check()
    assert not desk.engine.reconciled
    desk.command(CommandKind.ADOPT, "deposit of 500")
    desk.check()
    made = desk.of(Decision)[-1]
    assert made.status == "adopted" and any("balance" in reason for reason in made.reasons[1:])
    assert desk.engine.reconciled and desk.engine.ledger.adjustments == 500
    assert desk.engine.ledger.balance == desk.exchange.balance
    desk.bar(WARM + 10)
    desk.check()
    assert desk.engine.view()["ledger_equal"]


def test_books_are_compared_while_orders_rest() -> None:
    """A new session that finds its orders resting opens the desk, and replaces them."""
    config = EngineConfig(planner=PlannerConfig(style="passive"))
    desk = start_desk(session(config=config), seed=4)
    desk.exchange.touch = 0.0
    for t in range(WARM, WARM + 10):
        desk.bar(t)
        desk.check()
    assert desk.exchange.resting and desk.engine.view()["ledger_equal"]
    state = desk.engine.state()
    after = Desk(session("s2", config=config, state=state), desk.exchange, desk.bars)
    after.wall = desk.wall
    after.check()
    assert after.engine.reconciled and after.of(Difference) == []
    before = set(after.exchange.resting)
    after.exchange.touch = 0.5
    for t in range(WARM + 10, WARM + 20):
        after.bar(t)
        after.check()
    assert not before & set(after.exchange.resting)
    assert after.of(Difference) == [] and after.engine.view()["ledger_equal"]


def test_fill_of_a_stranger_is_counted_and_told() -> None:
    desk = ready()
    balance = desk.engine.ledger.balance
    made = fill(desk, client_order_id="web-1")
    desk.step(FillReport(key="fill:BTC-USDT-PERP:x1", fill=made, ts_recv=desk.tick()))
    (found,) = desk.of(Difference)
    assert found.what == "fill BTC-USDT-PERP x1" and "web-1" in found.exchange
    assert desk.engine.ledger.balance != balance


@pytest.mark.parametrize(
    ("client_id", "says"),
    [
        ("autoclose-1", "liquidation"),
        ("adl_autoclose", "auto-deleveraging"),
        ("settlement_autoclose-77", "settlement"),
    ],
)
def test_what_the_exchange_forces_is_booked_and_explained(client_id: str, says: str) -> None:
    desk = ready()
    balance = desk.engine.ledger.balance
    made = fill(desk, client_order_id=client_id)
    desk.step(FillReport(key="fill:BTC-USDT-PERP:x1", fill=made, ts_recv=desk.tick()))
    assert desk.of(Difference) == [] and desk.engine.ledger.balance != balance
    told = desk.of(Decision)[-1]
    assert told.status == "forced" and told.reasons[0].startswith(f"{says} by the exchange")


def test_a_liquidations_fee_is_no_funding() -> None:
    desk = ready()
    before = desk.engine.ledger.dump()
    for n, (kind, amount) in enumerate(((PaymentKind.FUNDING, 3), (PaymentKind.LIQUIDATION, -7))):
        desk.step(
            FundingReport(
                key=f"funding:x{n}", symbol="", amount=Decimal(amount), kind=kind,
                ts_event=desk.engine.ledger.activity_ts + 1, ts_recv=desk.tick(),
            )
        )  # fmt: skip
    after = desk.engine.ledger
    assert after.funding - before.funding == 3
    assert after.liquidation - before.liquidation == -7
    books = desk.engine.view()["books"]
    assert books["liquidation"] == str(after.liquidation)


def test_realized_profit_that_differs_is_told() -> None:
    desk = ready()
    cid = next(iter(desk.engine.orders)).order.client_order_id
    told = fill(desk, client_order_id=cid, realized_pnl=Decimal(12345))
    desk.step(FillReport(key="fill:BTC-USDT-PERP:x1", fill=told, ts_recv=desk.tick()))
    assert "realized BTC-USDT-PERP" in {d.what for d in desk.of(Difference)}
    assert f"order {cid}" in {d.what for d in desk.of(Difference)}  # overfilled


def test_open_order_of_a_lost_session_is_cancelled_but_not_a_strangers() -> None:
    desk = ready()
    report = OrderReport(
        key="order:don-old-3-0:open:0",
        client_order_id="don-old-3-0",
        exchange_order_id="9",
        symbol="BTC-USDT-PERP",
        status=OrderStatus.OPEN,
        filled=Decimal(0),
        detail="",
        ts_event=1,
        ts_recv=desk.tick(),
    )
    assert [type(o) for o in desk.step(report)] == [CancelOrder]
    assert desk.step(replace(report, client_order_id="mine-by-hand")) == []


def test_order_taken_for_lost_and_found_open_is_told_and_cancelled() -> None:
    desk = start_desk()
    desk.step(desk.snapshot(WARM))
    desk.answer()
    desk.exchange.mail.clear()
    order = desk.of(SubmitOrder)[0].order
    report = OrderReport(
        key="order:x:lost:0",
        client_order_id=order.client_order_id,
        exchange_order_id="",
        symbol=order.symbol,
        status=OrderStatus.LOST,
        filled=Decimal(0),
        detail="",
        ts_event=order.ts_event,
        ts_recv=desk.tick(),
    )
    desk.step(report)
    out = desk.step(replace(report, key="order:x:open:0", status=OrderStatus.OPEN))
    assert {type(o) for o in out} == {Difference, CancelOrder}


def test_cursors_say_where_to_resume() -> None:
    desk = ready()
    fills = [m.fill for kind, m in recorded(desk) if kind == "FillReport"]
    latest = {f.symbol: f.trade_id for f in fills}
    assert desk.engine.cursors().trades == latest


def test_wrong_beginnings_are_clear_errors() -> None:
    with pytest.raises(ConfigError, match="DOGE-USDT-PERP not among BTC-USDT-PERP"):
        Engine(session(symbols=("DOGE-USDT-PERP",)))
    with pytest.raises(ConfigError, match="policy must be one of hold, inverse_volatility"):
        Engine(session(policy="moonshot"))
    with pytest.raises(ConfigError, match="policy momentum needs the features return_48"):
        Engine(session(features=("rsi_14",)))
    with pytest.raises(JournalError, match="carried state cannot be read"):
        Engine(session(state="{]"))
    with pytest.raises(JournalError, match="carried state has format 99"):
        Engine(session(state='{"format":99}'))
    broken = replace(session(), config=EngineConfig().model_dump_json()[:-1] + ',"x":1}')
    with pytest.raises(ConfigError, match="engine config: x"):
        Engine(broken)


def fill(desk: Desk, **changes: object) -> Fill:
    made = Fill(
        trade_id="x1",
        client_order_id="autoclose-1",
        exchange_order_id="1",
        symbol="BTC-USDT-PERP",
        side=Side.SELL,
        price=Decimal(4000),
        size=Decimal("0.1"),
        fee=Decimal(1),
        realized_pnl=None,
        maker=False,
        ts_event=desk.exchange.now + 1,
    )
    return replace(made, **changes)


def recorded(desk: Desk) -> list:
    from don.model import codec

    return [(kind, codec.decode(kind, taken)) for kind, taken, _ in desk.journal]
