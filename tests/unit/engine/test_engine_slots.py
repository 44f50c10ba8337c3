"""Several policies on one account: books sum to it, replays are equal, one slot halts alone."""

import json
import random
from dataclasses import replace
from decimal import Decimal

import pytest
from desk_harness import Bars, Desk, session, start_desk
from fake_exchange import FakeExchange

from don.books.config import AllocationConfig, Mode, SlotConfig
from don.engine import Engine, EngineConfig
from don.errors import ConfigError
from don.execution.planner import PlannerConfig
from don.model import codec
from don.model.messages import (
    RULES,
    BookEntry,
    BookKind,
    BookPoint,
    Command,
    CommandKind,
    Decision,
    Difference,
    FillReport,
    FundingReport,
    OptimizeRequest,
    SubmitOrder,
)
from don.model.order import Fill, Side
from don.model.portfolio import Position

WARM = 200
SLOTS = (
    SlotConfig(name="trend", policy="momentum"),
    SlotConfig(name="back", policy="mean_reversion"),
    SlotConfig(name="tiny", policy="hold", mode="canary"),
    SlotConfig(name="ghost", policy="inverse_volatility", mode="shadow", share=0.5),
)


def config(*slots: SlotConfig, style: str = "limit_ioc", **allocation: object) -> EngineConfig:
    return EngineConfig(
        planner=PlannerConfig(style=style, band="0.002"),
        allocation=AllocationConfig(**{"every": 20, "min_history": 15, **allocation}),
        slots=slots or SLOTS,
    )


def desk(*slots: SlotConfig, bars: int = 300, **more: object) -> Desk:
    made = session(config=config(*slots, **more), policy="several")
    return start_desk(made, bars=bars, warm=WARM)


def books(of: Desk) -> dict[str, dict]:
    return {row["book"]: row for row in of.engine.view()["slots"]}


def equal_books(of: Desk) -> None:
    """Virtual books against the account, and against the exchange's own positions."""
    keeper, ledger = of.engine.keeper, of.engine.ledger
    assert keeper is not None and keeper.books.off(ledger) == []
    marks = of.exchange.marks
    whole = sum(b.equity(marks) for b in keeper.books.books.values())
    assert whole == ledger.equity(marks)
    for symbol in of.start.symbols:
        held = of.exchange.positions.get(symbol)
        if not of.exchange.mail:
            assert keeper.books.total(symbol) == (held.size if held else 0)


def command(of: Desk, kind: CommandKind, payload: str) -> list:
    wall = of.tick()
    return of.step(
        Command(
            key=f"command:{wall}", kind=kind, actor="test", reason="test", ts_recv=wall,
            payload=payload,
        )
    )  # fmt: skip


def taken_over(made: EngineConfig) -> tuple[Desk, Decimal]:
    """A desk on an account that holds a bitcoin, paid for with half of what it is worth."""
    bars = Bars.load(260)
    market = FakeExchange(random.Random(1))
    market.now, market.marks = int(bars.ts[WARM - 1]), bars.marks(WARM - 1)
    paid = market.marks["BTC-USDT-PERP"] / 2
    market.positions["BTC-USDT-PERP"] = Position(symbol="BTC-USDT-PERP", size=Decimal(1), cost=paid)
    run = Desk(session(config=made), market, bars)
    run.history(WARM)
    return run, paid


def state_of(of: Desk, scope: str, state: str) -> list:
    return command(of, CommandKind.STATE, json.dumps({"scope": scope, "state": state}))


@pytest.mark.parametrize("style", ["limit_ioc"])
def test_books_sum_to_the_exchange_and_a_replay_is_equal(style: str) -> None:
    run = desk(style=style)
    run.slow_optimizer = 0.1
    for t in range(WARM, WARM + 60):
        run.bar(t, shuffled=True)
        equal_books(run)
        run.check()
    run.answer()
    run.deliver()
    run.check(final=True)
    equal_books(run)
    assert run.of(Difference) == [] and run.engine.ledger.positions == run.exchange.positions
    entries = run.of(BookEntry)
    kinds = {entry.kind for entry in entries}
    assert kinds >= {BookKind.FILL, BookKind.CAPITAL, BookKind.PAPER, BookKind.FUNDING}
    fees = sum(e.fee for e in entries if not e.shadow)
    assert fees == run.exchange.fees
    assert len(run.of(BookPoint)) == 60
    if style == "limit_ioc":
        crosses = [e for e in entries if e.kind is BookKind.CROSS]
        assert crosses and sum(e.size for e in crosses) == 0 and not any(e.fee for e in crosses)
    again = Engine(run.start)
    for kind, taken, outputs in run.journal:
        assert [codec.encode(o) for o in again.step(codec.decode(kind, taken))] == outputs
    assert again.state() == run.engine.state()


def test_each_slot_asks_within_its_capital_and_a_shadow_orders_nothing() -> None:
    run = desk(bars=260)
    for t in range(WARM, WARM + 20):
        run.bar(t)
    rows = books(run)
    assert rows["tiny"]["mode"] == "canary" and 0 < rows["tiny"]["share"] < 0.06
    assert rows["ghost"]["mode"] == "shadow" and rows["ghost"]["capital"] == "50000.00000000"
    assert rows["ghost"]["positions"] and Decimal(rows["ghost"]["fees"]) > 0
    asked = [r for r in run.of(OptimizeRequest) if r.ts_event == run.bars.ts[WARM + 5]]
    assert len(asked) == 4
    of_bar = [d for d in run.of(Decision) if d.snapshot == 6]
    assert [d.policy for d in of_bar] == ["trend", "back", "tiny", "ghost", "several"]
    assert all(not d.orders for d in of_bar[:-1])
    assert {e.book for e in run.of(BookEntry) if e.shadow} == {"ghost"}


def test_a_shadow_changes_nothing_of_what_the_others_do() -> None:
    alone, beside = desk(*SLOTS[:3]), desk(*SLOTS)
    for run in (alone, beside):
        for t in range(WARM, WARM + 30):
            run.bar(t)
    one, other = (
        [replace(o.order, client_order_id="", decision=0) for o in run.of(SubmitOrder)]
        for run in (alone, beside)
    )
    assert one and one == other


def test_halting_one_slot_closes_its_book_alone() -> None:
    run = desk()
    for t in range(WARM, WARM + 20):
        run.bar(t)
    run.exchange.partial = 0.0
    keeper = run.engine.keeper
    assert keeper is not None
    trend = keeper.books.books["trend"]
    before = {s: p.size for s, p in trend.positions.items()}
    assert before and books(run)["trend"]["positions"]
    out = state_of(run, "policy:back", "halted")
    run.deliver()
    equal_books(run)
    assert not run.engine.halted and books(run)["back"]["state"] == "halted"
    assert any(isinstance(o, Decision) and o.status == "halt" for o in out)
    assert books(run)["back"]["positions"] == []
    assert {s: p.size for s, p in trend.positions.items()} == before
    for t in range(WARM + 20, WARM + 25):
        run.bar(t)
    assert books(run)["back"]["positions"] == [] and books(run)["trend"]["positions"]
    refused = state_of(run, "policy:unknown", "halted")
    assert "must be one of policy:trend" in str(refused[-1].reasons)
    run.command(CommandKind.RESUME)
    for t in range(WARM + 25, WARM + 35):
        run.bar(t)
    assert books(run)["back"]["state"] == "active" and books(run)["back"]["positions"]


def test_halting_the_account_flattens_every_book() -> None:
    run = desk()
    for t in range(WARM, WARM + 20):
        run.bar(t)
    run.command(CommandKind.HALT)
    run.deliver()
    equal_books(run)
    assert run.engine.ledger.positions == {}
    assert all(not r["positions"] for r in books(run).values() if r["mode"] != "shadow")


def test_a_reducing_slot_only_shrinks_its_book() -> None:
    run = desk()
    for t in range(WARM, WARM + 20):
        run.bar(t)
    state_of(run, "policy:back", "reducing")
    keeper = run.engine.keeper
    held = {s: p.size for s, p in keeper.books.books["back"].positions.items()}
    for t in range(WARM + 20, WARM + 40):
        run.bar(t)
        now = {s: p.size for s, p in keeper.books.books["back"].positions.items()}
        assert all(0 < now[s] / held[s] <= 1 for s in now)
        held = now


def test_drawdown_of_a_book_halts_its_slot() -> None:
    run = desk(SLOTS[0], SlotConfig(name="back", policy="mean_reversion", max_drawdown=0.001))
    for t in range(WARM, WARM + 60):
        run.bar(t)
    rows = books(run)
    assert rows["back"]["state"] == "halted" and rows["trend"]["state"] == "active"
    assert any("DRAWDOWN: the book of back" in r for d in run.of(Decision) for r in d.reasons)
    assert not run.engine.halted


def test_orders_by_hand_stay_the_desks() -> None:
    run = desk()
    for t in range(WARM, WARM + 5):
        run.bar(t)
    symbol = run.start.symbols[0]
    order = {"kind": "market", "symbol": symbol, "side": "buy", "size": "1.5"}
    command(run, CommandKind.ORDER, json.dumps({"action": "place", "request": order}))
    run.deliver()
    run.bar(WARM + 5)
    run.bar(WARM + 6)
    equal_books(run)
    held = {p["symbol"]: p["size"] for p in books(run)["desk"]["positions"]}
    assert {name: Decimal(size) for name, size in held.items()} == {symbol: Decimal("1.5")}


def test_a_liquidation_is_divided_over_those_who_held() -> None:
    run = desk()
    for t in range(WARM, WARM + 10):
        run.bar(t)
    symbol, position = next(iter(run.engine.ledger.positions.items()))
    fill = Fill(
        trade_id="99999", client_order_id="autoclose-1", exchange_order_id="9", symbol=symbol,
        side=Side.SELL if position.size > 0 else Side.BUY, price=run.exchange.marks[symbol],
        size=abs(position.size), fee=Decimal("1.00000001"), realized_pnl=None, maker=False,
        ts_event=run.exchange.now,
    )  # fmt: skip
    run.step(FillReport(key=f"fill:{symbol}:99999", fill=fill, ts_recv=run.tick()))
    keeper = run.engine.keeper
    assert keeper.books.total(symbol) == 0 and keeper.books.off(run.engine.ledger) == []
    assert keeper.books.desk.size(symbol) == 0


def test_books_are_carried_over_and_a_slot_that_is_gone_is_closed() -> None:
    run = desk()
    for t in range(WARM, WARM + 20):
        run.bar(t)
    assert books(run)["back"]["positions"]
    slots = (SLOTS[0], replace_mode(SLOTS[1]), SLOTS[2])
    start = replace(
        session("s2", config=config(*slots), policy="several"),
        state=run.engine.state(),
        ts_recv=run.tick(),
    )
    later = Desk(start, run.exchange, run.bars)
    later.wall = run.wall
    assert books(later)["back"]["mode"] == "closing" and books(later)["trend"]["positions"]
    equal_books(later)
    later.check()
    later.exchange.partial = 0.0
    for t in range(WARM + 20, WARM + 24):
        later.bar(t)
        equal_books(later)
    rows = later.engine.view()["slots"]
    closing = next(r for r in rows if r["mode"] == "closing")
    assert closing["positions"] == [] and Decimal(closing["equity"]) == 0
    shadow = next(r for r in rows if r["mode"] == "shadow" and r["book"] == "back")
    assert shadow["positions"] and later.of(Difference) == []


def replace_mode(slot: SlotConfig) -> SlotConfig:
    return slot.model_copy(update={"mode": Mode.SHADOW})


@pytest.mark.parametrize("rules", [0, RULES])
def test_positions_of_a_single_policy_go_to_the_first_slot(rules: int) -> None:
    single = start_desk(session(), bars=260, warm=WARM)
    for t in range(WARM, WARM + 10):
        single.bar(t)
    held = dict(single.engine.ledger.positions)
    begun = session("s2", config=config(*SLOTS), policy="several", rules=rules)
    start = replace(begun, state=single.engine.state(), ts_recv=single.wall)
    run = Desk(start, single.exchange, single.bars)
    keeper = run.engine.keeper
    assert keeper is not None and keeper.books.off(run.engine.ledger) == []
    of_heir = keeper.books.books["trend"].positions
    if rules == 0:  # as it was recorded: at what was paid, with the profit made before
        assert of_heir == held and Decimal(books(run)["trend"]["pnl"]) != 0
        return
    assert {s: p.size for s, p in of_heir.items()} == {s: p.size for s, p in held.items()}
    no_profit(run)
    assert Decimal(books(run)["trend"]["equity"]) == Decimal(run.engine.view()["equity"])
    run.exchange.balance += 5  # paid while nobody was there, and the market has moved
    paid = FundingReport(
        key="funding:late", symbol=next(iter(held)), amount=Decimal(5),
        ts_event=int(run.bars.ts[WARM + 12]), ts_recv=run.tick(),
    )  # fmt: skip
    run.step(paid)
    run.check()
    run.step(run.snapshot(WARM + 14))
    run.exchange.marks = run.bars.marks(WARM + 14)
    no_profit(run)
    assert Decimal(books(run)["trend"]["equity"]) == Decimal(run.engine.view()["equity"])
    assert sum(e.amount for e in run.of(BookEntry) if e.kind is BookKind.FUNDING) == 5
    assert begun_with(run) == 0
    run.bar(WARM + 15)
    equal_books(run)
    assert Decimal(books(run)["trend"]["pnl"]) != 0


def test_books_begin_without_the_profit_of_what_an_account_held() -> None:
    run, paid = taken_over(config(*SLOTS))
    run.check()
    no_profit(run)
    run.bar(WARM)
    equal_books(run)
    made = run.engine.view()
    assert Decimal(made["books"]["inherited"]) == run.exchange.marks["BTC-USDT-PERP"] - paid
    assert begun_with(run) == 0
    for t in range(WARM + 1, WARM + 15):
        run.bar(t)
        equal_books(run)
        run.check()
    own = [row for row in run.engine.view()["slots"] if row["mode"] != "shadow"]
    ledger = run.engine.ledger
    assert cash_of_entries(run) == ledger.balance - sum(p.cost for p in ledger.positions.values())
    earned = sum(Decimal(row["pnl"]) for row in own)
    assert earned and earned == Decimal(run.engine.view()["counts"]["pnl"])
    assert run.of(Difference) == []
    again = Engine(run.start)
    for kind, taken, outputs in run.journal:
        assert [codec.encode(o) for o in again.step(codec.decode(kind, taken))] == outputs
    assert again.state() == run.engine.state()
    older = Engine(replace(run.start, rules=0))  # a journal from before stays what it was
    for kind, taken, _ in run.journal:
        older.step(codec.decode(kind, taken))
        if kind == "FeatureSnapshot":
            break
    assert Decimal(older.view()["counts"]["pnl"]) == Decimal(made["books"]["inherited"])


def cash_of_entries(run: Desk) -> Decimal:
    """What the record of the books says of the account's cash, from its first entry on."""
    own = [e for e in run.of(BookEntry) if not e.shadow]
    return sum((e.amount - e.fee - e.size * e.price for e in own), Decimal(0))


def no_profit(run: Desk) -> None:
    keeper = run.engine.keeper
    assert keeper is not None and keeper.books.off(run.engine.ledger) == []
    assert [Decimal(row["pnl"]) for row in books(run).values()] == [0] * len(books(run))


def begun_with(run: Desk) -> Decimal:
    """Profit of all books when they were marked first."""
    return sum((abs(one.pnl) for one in run.of(BookPoint)[0].values), Decimal(0))


def test_a_slot_with_an_unknown_policy_is_named() -> None:
    with pytest.raises(ConfigError, match="slot bad: policy must be one of"):
        Engine(session(config=config(SlotConfig(name="bad", policy="nothing"))))
