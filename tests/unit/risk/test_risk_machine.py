"""Whatever is asked and whatever fills, no order leaves that could break a limit; nor does review
ever enlarge a target. A state machine against limits worked out anew, fill by fill.
"""

import itertools
from dataclasses import replace
from decimal import Decimal

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from test_risk import FEE, INSTRUMENTS, MARKS, SYMBOLS

from don.execution.orders import OrderBookkeeper
from don.execution.planner import PlannerConfig, plan
from don.ledger import Ledger
from don.model.messages import OrderReport
from don.model.order import Fill, Order, OrderStatus, OrderType, Side, TimeInForce
from don.model.portfolio import ZERO, Position
from don.risk.config import GroupLimits, RiskConfig, SymbolLimits
from don.risk.engine import Gate, RiskEngine
from don.risk.exposure import Book
from don.risk.scenarios import BY_NAME
from don.risk.targets import HEADROOM

GROUP = ("BTC-USDT-PERP", "ETH-USDT-PERP")
CONFIG = RiskConfig(
    max_order_notional=Decimal(9_000),
    max_position_notional=Decimal(15_000),
    max_gross_leverage=Decimal("1.8"),
    max_net_leverage=Decimal("1.2"),
    max_concentration=Decimal("1.1"),
    groups=(GroupLimits(name="majors", symbols=GROUP, max_gross=Decimal("1.5"), max_net=1),),
    symbols=(SymbolLimits(symbol="XRP-USDT-PERP", max_position_notional=Decimal(6_000)),),
    max_margin=Decimal("0.085"),
    min_liquidation_distance=Decimal("0.55"),
    max_stress_loss=Decimal("0.35"),
    scenarios=("covid_hour", "covid_rebound", "october_2025_low", "all_up_10"),
    max_daily_loss=Decimal("0.3"),
    max_open_orders=5,
    max_orders=1_000,
)


class Machine(RuleBasedStateMachine):
    """An account, its orders and the market, moved at random."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = RiskEngine(CONFIG, INSTRUMENTS)
        self.ledger = Ledger()
        self.orders = OrderBookkeeper()
        self.marks = dict(MARKS)
        self.ids = itertools.count()
        self.ledger.adopt(Decimal(10_000), [], 0)
        self.engine.mark_day(0, Decimal(10_000))

    @initialize(lots=st.tuples(*[st.integers(-3, 3)] * 3))
    def hold(self, lots: tuple[int, ...]) -> None:
        held = [
            Position(symbol=s, size=n * 1000 / MARKS[s], cost=Decimal(n * 1000))
            for s, n in zip(SYMBOLS, lots, strict=True)
            if n
        ]
        self.ledger.adopt(Decimal(10_000), held, 0)

    # ---- what comes -----------------------------------------------------------------------------

    @rule(
        symbol=st.sampled_from(SYMBOLS),
        side=st.sampled_from(Side),
        notional=st.integers(10, 9_500),
        off=st.integers(-150, 150),
        kind=st.sampled_from(["ioc", "gtc", "market"]),
        reduce_only=st.booleans(),
    )
    def ask(
        self, symbol: str, side: Side, notional: int, off: int, kind: str, reduce_only: bool
    ) -> None:
        mark = self.marks[symbol]
        price = INSTRUMENTS[symbol].round_price(mark * (1 + Decimal(off) / 10_000), up=False)
        self.submit(
            Order(
                client_order_id=f"c{next(self.ids)}",
                decision=1,
                index=0,
                symbol=symbol,
                side=side,
                type=OrderType.MARKET if kind == "market" else OrderType.LIMIT,
                size=INSTRUMENTS[symbol].round_size(notional / mark),
                price=None if kind == "market" else price,
                time_in_force=TimeInForce.IOC if kind == "ioc" else TimeInForce.GTC,
                reduce_only=reduce_only,
                ts_event=0,
            )
        )

    @rule(weights=st.tuples(*[st.floats(-3, 3)] * 3), reducing=st.booleans())
    def target(self, weights: tuple[float, ...], reducing: bool) -> None:
        asked = np.array(weights)
        equity = self.book().equity
        if equity <= 0:
            return
        held = np.array(
            [float(self.ledger.position(s).size * self.marks[s] / equity) for s in SYMBOLS]
        )
        tradable = np.ones(3, dtype=bool)
        out, _ = self.engine.review(
            asked, equity, held, tradable, reducing="told to" if reducing else ""
        )
        assert (np.abs(out) <= np.abs(asked)).all() and (out * asked >= 0).all()
        if reducing:
            assert (np.abs(out) <= np.abs(held)).all()
        assert np.abs(out).sum() <= float(CONFIG.max_gross_leverage) * HEADROOM + 1e-9
        made = plan(
            symbols=SYMBOLS, weights=out, tradable=tradable, equity=equity, ledger=self.ledger,
            orders=self.orders, marks=self.marks, instruments=INSTRUMENTS,
            config=PlannerConfig(band=ZERO), max_notional=CONFIG.max_order_notional,
        )  # fmt: skip
        gate = Gate(reducing="told to" if reducing else "")
        for t in made.tickets:
            self.submit(
                Order(
                    client_order_id=f"c{next(self.ids)}", decision=1, index=0, symbol=t.symbol,
                    side=t.side, type=t.type, size=t.size, price=t.price,
                    time_in_force=t.time_in_force, reduce_only=t.reduce_only, ts_event=0,
                ),
                gate,
            )  # fmt: skip

    @rule(symbol=st.sampled_from(SYMBOLS), move=st.integers(-900, 900))
    def market_moves(self, symbol: str, move: int) -> None:
        self.marks[symbol] = (self.marks[symbol] * (1 + Decimal(move) / 10_000)).quantize(
            Decimal("0.0001")
        )

    @rule(data=st.data(), part=st.integers(1, 10))
    def some_order_fills(self, data: st.DataObject, part: int) -> None:
        live = self.orders.in_flight()
        if not live:
            return
        record = data.draw(st.sampled_from(live))
        order = record.order
        size = INSTRUMENTS[order.symbol].round_size(record.remaining * part / 10)
        if order.reduce_only:
            size = min(size, closes(self.ledger.position(order.symbol).size, order.side))
        if size <= 0:
            return
        trade = str(next(self.ids))
        price = worst_price(order, self.marks[order.symbol])
        fill = Fill(
            trade_id=trade, client_order_id=order.client_order_id, exchange_order_id="1",
            symbol=order.symbol, side=order.side, price=price, size=size, fee=size * price * FEE,
            realized_pnl=None, maker=False, ts_event=1,
        )  # fmt: skip
        self.ledger.fill(trade, fill)
        self.orders.on_fill(fill)

    @rule(some=st.sampled_from([*SYMBOLS, "all"]))
    def orders_end(self, some: str) -> None:
        for record in self.orders.in_flight(None if some == "all" else some):
            self.orders.on_report(
                OrderReport(
                    key="k", client_order_id=record.order.client_order_id, exchange_order_id="1",
                    symbol=record.order.symbol, status=OrderStatus.CANCELLED,
                    filled=record.filled, detail="", ts_event=1, ts_recv=1,
                )
            )  # fmt: skip

    # ---- what must hold -------------------------------------------------------------------------

    def book(self) -> Book:
        return Book(
            ledger=self.ledger, orders=self.orders, marks=self.marks, lasts=self.marks,
            taker_fees=dict.fromkeys(SYMBOLS, FEE), equity=self.ledger.equity(self.marks),
        )  # fmt: skip

    def submit(self, order: Order, gate: Gate | None = None) -> None:
        if order.size <= 0:
            return
        before = worst_positions(self)
        denial = self.engine.check(order, self.book(), gate or Gate())
        if denial is not None:
            return
        self.orders.intend(order, 0)
        assert order.size * (order.price or self.marks[order.symbol]) <= CONFIG.max_order_notional
        assert self.orders.live <= CONFIG.max_open_orders
        after = worst_positions(self)
        if after[order.symbol] <= before[order.symbol]:
            return  # the order cannot enlarge the position: the way out is never shut
        assert not (gate and gate.reducing), "only reductions may pass"
        for positions, equity in outcomes(self):
            assert_limits(positions, equity, order.symbol)


def closes(position: Decimal, side: Side) -> Decimal:
    return max(-position * side.sign, ZERO)


def worst_price(order: Order, mark: Decimal) -> Decimal:
    return order.price or mark * (1 + CONFIG.price_collar * order.side.sign)


def outcomes(machine: Machine):  # type: ignore[no-untyped-def]
    """(positions in quote at mark, equity) after any of the live orders filled, reductions first
    or last.
    """
    live = machine.orders.in_flight()
    for chosen in itertools.product([False, True], repeat=len(live)):
        for last in (False, True):
            positions = {s: machine.ledger.position(s).size for s in SYMBOLS}
            equity = machine.ledger.equity(machine.marks)
            picked = [r for r, yes in zip(live, chosen, strict=True) if yes]
            for record in sorted(picked, key=lambda r: r.order.reduce_only is last):
                order, size = record.order, record.remaining
                if order.reduce_only:
                    size = min(size, closes(positions[order.symbol], order.side))
                mark = machine.marks[order.symbol]
                price = worst_price(order, mark)
                positions[order.symbol] += size * order.side.sign
                equity -= size * ((price - mark) * order.side.sign + price * FEE)
            yield {s: n * machine.marks[s] for s, n in positions.items()}, equity


def worst_positions(machine: Machine) -> dict[str, Decimal]:
    worst = dict.fromkeys(SYMBOLS, ZERO)
    for positions, _ in outcomes(machine):
        worst = {s: max(worst[s], abs(positions[s])) for s in SYMBOLS}
    return worst


def assert_limits(positions: dict[str, Decimal], equity: Decimal, asked: str) -> None:
    gross = sum(map(abs, positions.values()), ZERO)
    rate = CONFIG.maintenance_rate
    assert abs(positions[asked]) <= CONFIG.max_position_notional
    assert asked != "XRP-USDT-PERP" or abs(positions[asked]) <= 6_000
    assert gross <= CONFIG.max_gross_leverage * equity
    assert abs(sum(positions.values(), ZERO)) <= CONFIG.max_net_leverage * equity
    assert abs(positions[asked]) <= CONFIG.max_concentration * equity
    assert gross * CONFIG.initial_margin_rate <= CONFIG.max_margin * equity
    if gross:
        moved = CONFIG.min_liquidation_distance
        assert equity - moved * gross >= rate * gross * (1 + moved)
    group = CONFIG.groups[0]
    if asked in group.symbols:
        members = [positions[s] for s in group.symbols]
        assert sum(map(abs, members)) <= group.max_gross * equity
        assert abs(sum(members)) <= group.max_net * equity
    for name in CONFIG.scenarios:
        loss = -sum(n * Decimal(repr(BY_NAME[name].shock(s))) for s, n in positions.items())
        assert loss <= CONFIG.max_stress_loss * equity


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_the_machine_would_notice_an_engine_that_lets_everything_pass() -> None:
    """Guards the guard: without limits the same outcomes break them."""
    machine = Machine()
    machine.engine = RiskEngine(
        RiskConfig(max_order_notional=Decimal(10**6), max_gross_leverage=Decimal(100)),
        INSTRUMENTS,
    )
    machine.orders.intend(
        replace(
            Order(
                client_order_id="x", decision=1, index=0, symbol="BTC-USDT-PERP", side=Side.BUY,
                type=OrderType.LIMIT, size=Decimal(5), price=Decimal(4000), ts_event=0,
            )
        ),
        0,
    )  # fmt: skip
    broken = 0
    for positions, equity in outcomes(machine):
        try:
            assert_limits(positions, equity, "BTC-USDT-PERP")
        except AssertionError:
            broken += 1
    assert broken
