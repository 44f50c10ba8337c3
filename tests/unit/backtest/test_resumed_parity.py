"""A session that goes on where another stopped is found equal to its backtest, whatever the
exchange paid and filled before its first bar.
"""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from don.backtest import BacktestConfig
from don.backtest.account import LocalAccount
from don.backtest.desk import LocalDesk
from don.backtest.market import MarketTap
from don.backtest.parity import Parity
from don.backtest.replay import Replay, TapeClock
from don.backtest.run import bars_before, first_entry, open_config_tape
from don.backtest.session import parity_of
from don.clock import parse_iso
from don.engine import Engine
from don.engine.state import load as load_state
from don.features.cache import FeatureCache
from don.features.config import FeatureConfig
from don.model.messages import (
    AccountReport,
    FeatureSnapshot,
    FillReport,
    FundingReport,
    Input,
    Output,
)
from don.model.order import Side
from don.paper.exchange import PaperExchange
from don.paper.server.config import PaperServerConfig
from don.paper.types import NewOrder, OrderKind
from don.portfolio.optimizer import PortfolioOptimizer

DAY = "2018-12-01T"
SYMBOLS = ("BTC-USDT-PERP", "ETH-USDT-PERP")
STOP = "06:10"  # of the session before, in the bar from 06:00 to 06:30
PAID = ("04:00", "06:05", "06:15", "06:25", "06:40", "07:05", "07:20", "07:30", "08:00")


def at(time: str) -> int:
    return parse_iso(f"{DAY}{time}:00Z")


class Kept(LocalDesk):
    """A desk that keeps what it took in and what came of it."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.journal: list[Input | Output] = [self.first]

    def _step(self, message: Input) -> None:
        self.journal.append(message)
        super()._step(message)

    def _act(self, outputs: list[Output]) -> None:
        self.journal.extend(outputs)
        super()._act(outputs)


@pytest.fixture(scope="module")
def funding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        {"symbol": symbol, "timestamp": at(time) // 10**6, "funding_rate": 0.0005 + n / 10_000}
        for n, time in enumerate(PAID)
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    path = tmp_path_factory.mktemp("market") / "funding.parquet"
    times = pa.timestamp("ms", tz="UTC")
    schema = pa.schema({"symbol": pa.string(), "timestamp": times, "funding_rate": pa.float64()})
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    return path


class Market:
    """An exchange that stays while sessions come and go."""

    def __init__(self, funding: Path, engine: dict[str, object] | None = None) -> None:
        self.config = BacktestConfig.model_validate(
            {
                "start": f"{DAY}00:00:00Z", "symbols": SYMBOLS, "funding": funding,
                "exchange": {"order_latency": 0.25}, "policy": "inverse_volatility",
                "engine": engine or {"planner": {"band": "0.002"}}, "speed": None,
            }
        )  # fmt: skip
        self.tape = open_config_tape(self.config)
        self.instruments = self.tape.instruments()
        paper = self.config.exchange.model_copy(update={"intervals": (self.tape.interval,)})
        self.exchange = PaperExchange(self.instruments, paper)
        self.exchange.position = self.tape.start

    def session(
        self,
        name: str,
        end: str,
        state: str = "",
        absent_until: str = "",
        stranger: bool = False,
    ) -> Kept:
        """Run a session; the market goes on without it until a time, if one is given."""
        exchange, tape, config = self.exchange, self.tape, self.config
        config = config.model_copy(update={"session": name})
        wall = max(exchange.now, at("00:00"))
        first = replace(first_entry(config, self.instruments, tape.interval_ns, wall), state=state)
        account = LocalAccount(exchange, self.instruments, config.latency, 0, lambda: wall)
        if absent_until:
            if stranger:
                self._stranger()
            standing = exchange.position
            for position, event in tape.events(standing):
                if event.ts > at(absent_until):
                    break
                if position > standing:
                    account.hear(exchange.apply(event, position))
        clock = TapeClock(exchange, exchange.now, wall, None)
        cache = FeatureCache(
            FeatureConfig.model_validate_json(first.feature_config), first.symbols, name
        )
        names = {i.exchange_symbol: i.symbol for i in self.instruments}
        ticks = {i.exchange_symbol: (i.tick_size, i.lot_size) for i in self.instruments}
        tap = MarketTap(
            names, tape.interval, name, lambda one: exchange.depth(one, 10), ticks,
            tape.interval_ns // 4,
        )  # fmt: skip
        replay = Replay(exchange, account, tap, cache, clock, account_bars=config.account_bars)
        optimizer = PortfolioOptimizer(config.engine.portfolio)
        Kept.first = first
        desk = Kept(Engine(first), optimizer, account, name, clock.now, replay.published)
        desk.check_account()
        known = max(exchange.now, at("00:00")) // tape.interval_ns * tape.interval_ns
        cache.warm_up(bars_before(tape, names, known, 100, wall, "history"))
        desk.take(cache.history())
        replay.run(tape, desk, exchange.position, at(end), lambda ts: None)
        return desk

    def _stranger(self) -> None:
        """An order by hand while no session runs; it takes effect at 06:37:30."""
        self.exchange.place(
            NewOrder(
                symbol="ETHUSDT", side=Side.SELL, kind=OrderKind.MARKET, size=Decimal("0.5"),
                client_order_id="web_1",
            )
        )  # fmt: skip

    def parity(self, desk: Kept) -> Parity:
        server = PaperServerConfig(
            symbols=SYMBOLS, start=self.config.start, funding=self.config.funding, speed="max",
            exchange=self.config.exchange,
        )  # fmt: skip
        return parity_of(desk.journal[0], desk.journal, server)


@pytest.mark.parametrize(("absent_until", "stranger"), [("07:10", True), ("06:20", False)])
def test_what_came_before_the_first_bar_is_told_again(
    funding: Path, absent_until: str, stranger: bool
) -> None:
    market = Market(funding)
    before = market.session("one", STOP)
    assert market.parity(before).equal
    assert before.record.fills and before.record.funding
    desk = market.session("two", "09:00", before.engine.state(), absent_until, stranger)
    kinds = [type(message) for message in desk.journal]
    account, bar = kinds.index(AccountReport), kinds.index(FeatureSnapshot)
    paid = [n for n, kind in enumerate(kinds) if kind is FundingReport]
    assert paid[0] < account < bar < paid[-1]
    assert any(account < n < bar for n in paid)  # between the first look and the first bar
    fills = [n for n, kind in enumerate(kinds) if kind is FillReport]
    assert (fills[0] < account) is stranger
    assert desk.engine.reconciled and desk.record.orders
    found = market.parity(desk)
    assert found.first_difference == ""
    assert found.equal and not found.difference
    for what in (found.decisions, found.orders, found.fills):
        assert len(set(what)) == 1 and what[0]


@pytest.mark.parametrize(
    ("offset", "stop", "end", "absent_until", "ends"),
    [
        ("0.006", "0.008", "04:40", "04:50", {("limit", "filled"), ("stop_market", "filled")}),
        ("0.004", "0.006", "05:40", "05:50", {("limit", "cancelled")}),
    ],
)
def test_orders_left_open_between_the_sessions_are_at_the_exchange(
    funding: Path,
    offset: str,
    stop: str,
    end: str,
    absent_until: str,
    ends: set[tuple[str, str]],
) -> None:
    planner = {"band": "0.0005", "style": "passive", "passive_offset": offset}
    market = Market(funding, {"planner": planner, "protect": {"stop": stop}})
    before = market.session("one", end)
    state = before.engine.state()
    left = {r.order.client_order_id: r.order for r in load_state(state).orders}
    assert {order.type.value for order in left.values()} == {"limit", "stop_market"}
    desk = market.session("two", "09:00", state, absent_until)
    first = next(m.ts_event for m in desk.journal if isinstance(m, FeatureSnapshot))
    reports = [desk.record.states[name] for name in left if name in desk.record.states]
    assert all(report.ts_event > first for report in reports)
    assert {(left[r.client_order_id].type.value, r.status.value) for r in reports} == ends
    found = market.parity(desk)
    assert found.first_difference == ""
    assert found.equal and not found.difference
    for what in (found.decisions, found.orders, found.fills):
        assert len(set(what)) == 1 and what[0]
