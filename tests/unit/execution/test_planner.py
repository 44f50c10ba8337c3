"""Targets to orders: exact, never larger than asked, never the same difference twice."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from don.execution.flatten import flatten
from don.execution.orders import OrderBookkeeper
from don.execution.planner import Plan, PlannerConfig, Style, exact, plan, split
from don.ledger import Ledger
from don.model.instrument import Instrument
from don.model.order import Order, OrderType, Side, TimeInForce
from don.model.portfolio import Position

SYMBOLS = ("BTC-USDT-PERP", "ETH-USDT-PERP")
MARKS = {"BTC-USDT-PERP": Decimal("4000.1"), "ETH-USDT-PERP": Decimal("200.05")}


def instrument(symbol: str, tick: str, lot: str) -> Instrument:
    base = symbol.split("-")[0]
    return Instrument(
        symbol=symbol,
        exchange="BINANCE_FUTURES",
        exchange_symbol=f"{base}USDT",
        base=base,
        quote="USDT",
        tick_size=Decimal(tick),
        lot_size=Decimal(lot),
        min_size=Decimal(lot),
        max_size=Decimal(1000),
        min_notional=Decimal(5),
        max_leverage=20,
        maker_fee=Decimal("0.0002"),
        taker_fee=Decimal("0.0004"),
    )


INSTRUMENTS = {
    "BTC-USDT-PERP": instrument("BTC-USDT-PERP", "0.1", "0.001"),
    "ETH-USDT-PERP": instrument("ETH-USDT-PERP", "0.01", "0.01"),
}


def ledger(**sizes: str) -> Ledger:
    books = Ledger()
    positions = [
        Position(
            symbol=f"{base}-USDT-PERP",
            size=Decimal(size),
            cost=Decimal(size) * MARKS[f"{base}-USDT-PERP"],
        )
        for base, size in sizes.items()
    ]
    books.adopt(Decimal(10_000), positions, 0)
    return books


def made(
    weights: list[float],
    books: Ledger | None = None,
    orders: OrderBookkeeper | None = None,
    *,
    tradable: tuple[bool, bool] = (True, True),
    max_notional: str = "50000",
    **config: object,
) -> Plan:
    return plan(
        symbols=SYMBOLS,
        weights=np.array(weights),
        tradable=np.array(tradable),
        equity=Decimal(10_000),
        ledger=books or ledger(),
        orders=orders or OrderBookkeeper(),
        marks=MARKS,
        instruments=INSTRUMENTS,
        config=PlannerConfig(**config),
        max_notional=Decimal(max_notional),
    )


def working(symbol: str, side: Side, size: str, *, rests: bool = False) -> OrderBookkeeper:
    book = OrderBookkeeper()
    book.intend(
        Order(
            client_order_id="w",
            decision=1,
            index=0,
            symbol=symbol,
            side=side,
            type=OrderType.LIMIT,
            size=Decimal(size),
            price=MARKS[symbol],
            time_in_force=TimeInForce.GTX if rests else TimeInForce.IOC,
            ts_event=0,
        ),
        0,
    )
    return book


weights = st.floats(-3, 3, allow_nan=False)
sizes = st.integers(-5000, 5000).map(lambda lots: str(Decimal(lots) * Decimal("0.001")))


@settings(deadline=None)
@given(weights, sizes, st.sampled_from(list(Style)))
def test_orders_never_exceed_the_difference_they_close(w: float, held: str, style: Style) -> None:
    made_ = made([w, 0.0], ledger(BTC=held), style=style, band="0")
    mine = [t for t in made_.tickets if t.symbol == "BTC-USDT-PERP"]
    delta = exact(w) * 10_000 / MARKS["BTC-USDT-PERP"] - Decimal(held)
    total = sum((t.size * t.side.sign for t in mine), Decimal(0))
    assert abs(total) <= abs(delta) and total * delta >= 0
    rules = INSTRUMENTS["BTC-USDT-PERP"]
    least = max(rules.min_size, rules.min_notional / MARKS["BTC-USDT-PERP"] * 2)
    sliced_away = (len(mine) > 1 and least) or Decimal(0)
    if abs(delta) >= least:
        assert abs(delta) - abs(total) < rules.lot_size + sliced_away
    for t in mine:
        assert t.size % rules.lot_size == 0 and rules.min_size <= t.size <= rules.max_size
        if t.price is not None:
            cap = MARKS[t.symbol] * (1 + PlannerConfig().slippage * t.side.sign)
            assert t.price % rules.tick_size == 0
            assert (cap - t.price) * t.side.sign >= 0


@settings(deadline=None)
@given(weights, weights, sizes, st.integers(-500, 500).map(lambda n: str(Decimal(n) / 10)))
def test_reductions_come_first_and_only_they_are_reduce_only(
    w1: float, w2: float, btc: str, eth: str
) -> None:
    books = ledger(BTC=btc, ETH=eth)
    tickets = made([w1, w2], books).tickets
    flags = [t.reduce_only for t in tickets]
    assert flags == sorted(flags, reverse=True)
    for symbol in SYMBOLS:
        held = books.position(symbol).size
        change = sum((t.size * t.side.sign for t in tickets if t.symbol == symbol), Decimal(0))
        for t in (t for t in tickets if t.symbol == symbol):
            assert t.reduce_only == (held * t.side.sign < 0 and abs(change) <= abs(held))


def test_closing_leaves_nothing_behind() -> None:
    (ticket,) = made([0.0, 0.0], ledger(BTC="0.001")).tickets
    assert (ticket.side, ticket.size, ticket.reduce_only) == (Side.SELL, Decimal("0.001"), True)


def test_differences_inside_the_band_wait() -> None:
    plan_ = made([0.004, 0.006], band="0.005")
    assert [t.symbol for t in plan_.tickets] == ["ETH-USDT-PERP"]
    assert "BTC-USDT-PERP: difference of 36.00 is inside the no-trade band" in plan_.reasons


def test_least_notional_is_respected_except_to_reduce() -> None:
    plan_ = made([0.0, 0.0004], band="0")
    assert plan_.tickets == () and "below the least notional" in plan_.reasons[0]
    (ticket,) = made([0.0004, 0.0], ledger(BTC="0.002"), band="0").tickets
    assert ticket.reduce_only and ticket.size == Decimal("0.001")


def test_symbols_that_cannot_be_traded_are_left_alone() -> None:
    plan_ = made([0.5, 0.5], tradable=(False, True))
    assert {t.symbol for t in plan_.tickets} == {"ETH-USDT-PERP"}


def test_large_orders_are_split_below_the_notional_limit() -> None:
    tickets = made([1.0, 0.0], max_notional="3000").tickets
    assert len(tickets) == 4
    assert all(t.size * t.price <= 3000 for t in tickets)
    assert sum(t.size for t in tickets) == Decimal("2.499")


@pytest.mark.parametrize(
    ("style", "kind", "force", "buy", "sell"),
    [
        ("limit_ioc", OrderType.LIMIT, TimeInForce.IOC, "4020.1", "199.05"),
        ("passive", OrderType.LIMIT, TimeInForce.GTX, "3999.2", "200.10"),
        ("market", OrderType.MARKET, TimeInForce.GTC, None, None),
    ],
)
def test_styles(
    style: str, kind: OrderType, force: TimeInForce, buy: str | None, sell: str | None
) -> None:
    first, second = made([0.5, -0.5], style=style).tickets
    assert (first.type, first.time_in_force) == (kind, force)
    assert (first.side, second.side) == (Side.BUY, Side.SELL)
    assert first.price == (buy and Decimal(buy)) and second.price == (sell and Decimal(sell))


def test_working_order_that_suffices_is_left_alone() -> None:
    plan_ = made([0.4, 0.0], orders=working("BTC-USDT-PERP", Side.BUY, "1.0", rests=True))
    assert plan_.tickets == () == plan_.cancels == plan_.waiting


@pytest.mark.parametrize("rests", [True, False])
def test_working_order_that_does_not_fit_is_ended_first(rests: bool) -> None:
    plan_ = made([-0.4, 0.0], orders=working("BTC-USDT-PERP", Side.BUY, "1.0", rests=rests))
    assert plan_.tickets == () and plan_.waiting == ("BTC-USDT-PERP",)
    assert plan_.cancels == (("w",) if rests else ())


def test_split_stops_at_the_most_parts() -> None:
    assert split(Decimal(10), Decimal(3), 20) == [3, 3, 3, 1]
    assert split(Decimal(10), Decimal(3), 2) == [3, 3]
    assert split(Decimal(0), Decimal(3), 2) == []


def test_flatten_counts_what_is_closing_already() -> None:
    books = ledger(BTC="2", ETH="-30")
    book = OrderBookkeeper()
    book.intend(
        Order(
            client_order_id="f",
            decision=1,
            index=0,
            symbol="BTC-USDT-PERP",
            side=Side.SELL,
            type=OrderType.MARKET,
            size=Decimal("1.5"),
            reduce_only=True,
            ts_event=0,
        ),
        0,
    )
    tickets = flatten(books, book, INSTRUMENTS)
    assert [(t.symbol, t.side, t.size) for t in tickets] == [
        ("BTC-USDT-PERP", Side.SELL, Decimal("0.5")),
        ("ETH-USDT-PERP", Side.BUY, Decimal(30)),
    ]
    small = {s: replace(i, max_size=Decimal(7)) for s, i in INSTRUMENTS.items()}
    eth = [t.size for t in flatten(books, book, small) if t.symbol == "ETH-USDT-PERP"]
    assert eth == [7, 7, 7, 7, 2]
    assert flatten(ledger(), book, INSTRUMENTS) == []
