"""Pre-trade risk: targets only shrink, accepted orders never break a limit, refusals are typed."""

from dataclasses import replace
from decimal import Decimal
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from don.execution.orders import OrderBookkeeper
from don.execution.planner import PlannerConfig, plan
from don.ledger import Ledger
from don.model.instrument import Instrument
from don.model.order import DenialCode, Fill, Order, OrderType, Side, TimeInForce
from don.model.portfolio import Position
from don.risk.config import RiskConfig
from don.risk.engine import DAY_NS, DayState, Gate, RiskEngine
from don.risk.exposure import Book, worst_gross

S = 1_000_000_000
SYMBOLS = ("BTC-USDT-PERP", "ETH-USDT-PERP", "XRP-USDT-PERP")
MARKS = {
    "BTC-USDT-PERP": Decimal("4000"),
    "ETH-USDT-PERP": Decimal("200"),
    "XRP-USDT-PERP": Decimal("0.25"),
}
FEE = Decimal("0.0004")


def instrument(symbol: str) -> Instrument:
    base = symbol.split("-")[0]
    return Instrument(
        symbol=symbol,
        exchange="BINANCE_FUTURES",
        exchange_symbol=f"{base}USDT",
        base=base,
        quote="USDT",
        tick_size=Decimal("0.0001"),
        lot_size=Decimal("0.001"),
        min_size=Decimal("0.001"),
        max_size=Decimal(1_000_000),
        min_notional=Decimal(5),
        max_leverage=20,
        maker_fee=Decimal("0.0002"),
        taker_fee=FEE,
    )


INSTRUMENTS = {s: instrument(s) for s in SYMBOLS}


def book(sizes: dict[str, str] | None = None, *, balance: str = "10000") -> Book:
    ledger = Ledger()
    ledger.adopt(
        Decimal(balance),
        [
            Position(symbol=s, size=Decimal(n), cost=Decimal(n) * MARKS[s])
            for s, n in (sizes or {}).items()
        ],
        0,
    )
    return Book(
        ledger=ledger,
        orders=OrderBookkeeper(),
        marks=MARKS,
        lasts=MARKS,
        taker_fees=dict.fromkeys(SYMBOLS, FEE),
        equity=ledger.equity(MARKS),
    )


def order(size: str, side: Side = Side.BUY, symbol: str = SYMBOLS[0], **changes: object) -> Order:
    made = Order(
        client_order_id="c",
        decision=1,
        index=0,
        symbol=symbol,
        side=side,
        type=OrderType.LIMIT,
        size=Decimal(size),
        price=MARKS[symbol],
        time_in_force=TimeInForce.IOC,
        ts_event=0,
    )
    return replace(made, **changes)


def risk(**limits: object) -> RiskEngine:
    return RiskEngine(RiskConfig(**limits), INSTRUMENTS)


# ---- targets ------------------------------------------------------------------------------------

weight = st.floats(-20, 20, allow_nan=False)
three = st.tuples(weight, weight, weight).map(np.array)
masks = st.sampled_from([np.array(m) for m in product([True, False], repeat=3)])


@settings(deadline=None)
@given(three, three, masks, st.integers(100, 10**6))
def test_review_never_enlarges_and_keeps_the_limits(
    w: np.ndarray, held: np.ndarray, tradable: np.ndarray, equity: int
) -> None:
    engine = risk(max_gross_leverage=Decimal(2), max_position_notional=Decimal(50_000))
    out, reasons = engine.review(w, Decimal(equity), held, tradable)
    assert (np.abs(out) <= np.abs(w)).all()
    assert (out * w >= 0).all()
    assert bool(reasons) == (not np.array_equal(out, w))
    assert (np.abs(out) * equity <= 50_000 + 1e-6).all()
    pinned = np.abs(held[~tradable]).sum()
    assert np.abs(out[tradable]).sum() <= max(2 - pinned, 0) + 1e-9


def test_target_that_is_not_finite_is_refused_whole() -> None:
    out, reasons = risk().review(
        np.array([0.1, np.nan, 0.1]), Decimal(100), np.zeros(3), np.ones(3, dtype=bool)
    )
    assert not out.any() and "not finite" in reasons[0]


# ---- orders -------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    three,
    st.tuples(*[st.integers(-4, 4)] * 3),
    st.sampled_from(["limit_ioc", "market", "passive"]),
    st.randoms(use_true_random=False),
)
def test_gross_leverage_never_passes_the_limit_for_any_target(
    w: np.ndarray, lots: tuple[int, ...], style: str, rng: object
) -> None:
    """Whatever is asked for and whichever of the accepted orders fill, at the worst prices allowed.

    Marks stand still; an account that starts above the limit never gets further above it.
    """
    limit = Decimal(2)
    engine = risk(
        max_gross_leverage=limit,
        max_position_notional=Decimal(10**9),
        max_order_notional=Decimal(10**9),
    )
    held = {s: str(n * 2000 / MARKS[s]) for s, n in zip(SYMBOLS, lots, strict=True) if n}
    before = book(held)
    start = worst_gross(before) / before.equity
    made = plan(
        symbols=SYMBOLS,
        weights=w,
        tradable=np.ones(3, dtype=bool),
        equity=before.equity,
        ledger=before.ledger,
        orders=before.orders,
        marks=MARKS,
        instruments=INSTRUMENTS,
        config=PlannerConfig(style=style, band=Decimal(0)),
        max_notional=Decimal(10**9),
    )
    accepted = []
    for n, t in enumerate(made.tickets):
        asked = Order(
            client_order_id=f"c{n}",
            decision=1,
            index=n,
            symbol=t.symbol,
            side=t.side,
            type=t.type,
            size=t.size,
            price=t.price,
            time_in_force=t.time_in_force,
            reduce_only=t.reduce_only,
            ts_event=0,
        )
        if engine.check(asked, before, Gate()) is None:
            before.orders.intend(asked, 0)
            accepted.append(asked)
    rng.shuffle(accepted)  # type: ignore[attr-defined]
    for n, done in enumerate(accepted):
        if rng.random() < 0.3:  # type: ignore[attr-defined]
            continue
        collar = engine.config.price_collar
        price = done.price or MARKS[done.symbol] * (1 + collar * done.side.sign)
        fee = done.size * price * FEE
        made_fill = Fill(
            trade_id=str(n),
            client_order_id=done.client_order_id,
            exchange_order_id="1",
            symbol=done.symbol,
            side=done.side,
            price=price,
            size=done.size,
            fee=fee,
            realized_pnl=None,
            maker=False,
            ts_event=1,
        )
        before.ledger.fill(str(n), made_fill)
        equity = before.ledger.equity(MARKS)
        gross = sum(abs(p.size) * MARKS[s] for s, p in before.ledger.positions.items())
        assert gross <= max(limit, start) * equity


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (order("13"), DenialCode.ORDER_NOTIONAL),
        (order("0.001", price=Decimal("4000")), DenialCode.MIN_NOTIONAL),
        (order("0.0005"), DenialCode.ORDER_SIZE),
        (order("0.0015"), DenialCode.ORDER_SIZE),
        (order("2000000", symbol="XRP-USDT-PERP"), DenialCode.ORDER_SIZE),
        (order("1", price=Decimal("4080.1")), DenialCode.PRICE_COLLAR),
        (order("1", price=Decimal("3919.9")), DenialCode.PRICE_COLLAR),
        (order("1", price=Decimal("4000.00001")), DenialCode.PRICE_COLLAR),
        (order("6"), DenialCode.POSITION_NOTIONAL),
        (order("4.9"), DenialCode.GROSS_LEVERAGE),
    ],
)
def test_refusals_are_typed(asked: Order, code: DenialCode) -> None:
    engine = risk(
        max_order_notional=Decimal(50_000),
        max_position_notional=Decimal(20_000),
        max_gross_leverage=Decimal("1.5"),
    )
    denial = engine.check(asked, book(), Gate())
    assert denial is not None and denial.code is code and denial.symbol == asked.symbol


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        (Gate(halted=True), DenialCode.HALTED),
        (Gate(reconciled=False), DenialCode.UNRECONCILED),
        (Gate(stale=frozenset({"BTC-USDT-PERP"})), DenialCode.STALE_DATA),
    ],
)
def test_closed_desk_refuses_even_reductions(gate: Gate, code: DenialCode) -> None:
    account = book({"BTC-USDT-PERP": "1"})
    for asked in (order("0.5"), order("0.5", Side.SELL, reduce_only=True)):
        denial = risk().check(asked, account, gate)
        assert denial is not None and denial.code is code


def test_reductions_pass_where_enlargements_do_not() -> None:
    """Above every limit already, the only way is out: closing passes, flipping and adding don't."""
    engine = risk(max_position_notional=Decimal(5_000), max_gross_leverage=Decimal(1))
    account = book({"BTC-USDT-PERP": "4"})
    assert engine.check(order("4", Side.SELL), account, Gate()) is None
    assert engine.check(order("1", Side.SELL, reduce_only=True), account, Gate()) is None
    for asked in (order("0.1"), order("4.001", Side.SELL)):
        denial = engine.check(asked, account, Gate())
        assert denial is not None and denial.code is DenialCode.POSITION_NOTIONAL


def test_two_orders_cannot_close_the_same_position_twice() -> None:
    engine = risk(max_position_notional=Decimal(5_000))
    account = book({"BTC-USDT-PERP": "4"})
    first = order("4", Side.SELL)
    assert engine.check(first, account, Gate()) is None
    account.orders.intend(first, 0)
    denial = engine.check(order("4", Side.SELL, client_order_id="d"), account, Gate())
    assert denial is not None and denial.code is DenialCode.POSITION_NOTIONAL


def test_market_order_is_refused_where_the_market_left_the_mark() -> None:
    asked = order("0.1", type=OrderType.MARKET, price=None, time_in_force=TimeInForce.GTC)
    away = replace(book(), lasts={**MARKS, "BTC-USDT-PERP": Decimal(4100)})
    denial = risk().check(asked, away, Gate())
    assert denial is not None and denial.code is DenialCode.PRICE_COLLAR
    assert risk().check(asked, book(), Gate()) is None


def test_working_orders_count_toward_the_limits() -> None:
    engine = risk(max_gross_leverage=Decimal(1))
    account = book()
    first = order("1.5")
    assert engine.check(first, account, Gate()) is None
    account.orders.intend(first, 0)
    denial = engine.check(order("30", symbol="ETH-USDT-PERP", client_order_id="d"), account, Gate())
    assert denial is not None and denial.code is DenialCode.GROSS_LEVERAGE


def test_order_rate_counts_wall_time() -> None:
    engine = risk(max_orders=3, order_window_s=10.0)
    account = book()
    for n in range(3):
        assert engine.check(order("0.01"), account, Gate(ts_wall=n * S)) is None
    denial = engine.check(order("0.01"), account, Gate(ts_wall=9 * S))
    assert denial is not None and denial.code is DenialCode.ORDER_RATE
    assert engine.check(order("0.01"), account, Gate(ts_wall=10 * S)) is None


def test_daily_loss_refuses_enlargements_until_the_day_of_exchange_time_ends() -> None:
    engine = risk(max_daily_loss=Decimal("0.1"))
    engine.mark_day(5, Decimal(11_200))
    account = book({"BTC-USDT-PERP": "1"})
    denial = engine.check(order("0.1"), account, Gate())
    assert denial is not None and denial.code is DenialCode.DAILY_LOSS
    assert engine.check(order("0.1", Side.SELL), account, Gate()) is None
    engine.mark_day(DAY_NS - 1, Decimal(10_000))
    assert engine.day == DayState(day=0, reference=Decimal(11_200))
    engine.mark_day(DAY_NS, Decimal(10_000))
    assert engine.check(order("0.1"), account, Gate()) is None
    engine.rebase(Decimal(9_000))
    assert engine.loss(Decimal(8_100)) == Decimal("0.1")
