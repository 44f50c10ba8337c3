"""Several policies whose orders rest or are worked over time: books and ledger agree all along.

The exchange is the one that backtests and paper trading share; the optimizer answers late, so that
reports wait for their turn while a decision is open, and some decisions come to nothing.
"""

import random
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from importlib import import_module

import pytest

from don.backtest import BacktestConfig, BacktestResult
from don.backtest.desk import LocalDesk
from don.engine import Engine
from don.execution.planner import exact
from don.model import codec
from don.model.messages import (
    BookKind,
    Decision,
    FeatureSnapshot,
    Input,
    OptimizeRequest,
    Output,
    SessionStart,
)
from don.model.order import OrderStatus
from don.model.portfolio import ZERO
from don.portfolio.optimizer import target_of

backtest_run = import_module("don.backtest.run")  # the name is also that of a function
SPAN = {"start": "2018-11-14T12:00:00Z", "end": "2018-11-15T18:00:00Z"}  # falls by a tenth
BAND = Decimal("0.02")
SLOTS = [
    {
        "name": "back",
        "policy": "mean_reversion",
        "policies": {"mean_reversion": {"entry": 0.5, "information": 0.3}},
    },
    {"name": "trend", "policy": "momentum", "policies": {"momentum": {"information": 0.3}}},
    {"name": "even", "policy": "inverse_volatility", "share": 0.2},
]


def config(style: str) -> BacktestConfig:
    engine = {
        "decide_every": 2,
        "planner": {"style": style, "band": BAND, "horizon_s": 7_200, "passive_offset": "0.002"},
        "risk": {"max_order_notional": "2000000", "max_position_notional": "20000000"},
        "slots": SLOTS,
        "allocation": {"every": 5, "min_history": 4},
    }
    return BacktestConfig.model_validate(
        {
            **SPAN,
            "symbols": ["BTC-USDT-PERP", "ETH-USDT-PERP"],
            "engine": engine,
            "exchange": {"order_latency": 0.3, "deposit": "10000000"},
            "account_bars": 3,
        }
    )


class Watched(LocalDesk):
    """A desk with a slow optimizer, whose books are looked at after every input."""

    start: SessionStart  # of the engine that works now
    restarts: dict[int, str]  # bar -> "crash" or "session"

    def __init__(self, engine: Engine, *args, **kwargs) -> None:
        super().__init__(engine, *args, **kwargs)
        self.rng = random.Random(3)
        self.asked: list[OptimizeRequest] = []
        self.patience = 0  # reports until the optimizer answers
        self.journal: list[tuple[bytes, str, list[bytes], bytes]] = []
        self.marks: dict[str, Decimal] = {}
        self.bars = self.restarted = 0
        self.held = 0  # most reports that waited at a time
        self.partly = 0  # times that an order was seen filled in part
        self.regarded = 0  # orders that a decision left to work
        self.asked_in_vain = 0

    def take_snapshot(self, snapshot: FeatureSnapshot) -> None:
        self.asked_in_vain += bool(self.asked)
        self.asked.clear()  # whoever has not answered by now need not any more
        self.bars += 1
        pairs = zip(snapshot.symbols, snapshot.mark.tolist(), strict=True)
        self.marks = {symbol: exact(mark) for symbol, mark in pairs}
        if kind := self.restarts.get(self.bars):
            self._restart(kind)
        super().take_snapshot(snapshot)

    def deliver(self) -> None:
        super().deliver()
        self.patience -= 1
        if self.patience < 0:
            self._answer()

    def _step(self, message: Input) -> None:
        self.record.take(message)
        outputs = self.engine.step(message)
        keeper = self.engine.keeper
        assert keeper is not None and keeper.books.off(self.engine.ledger) == []
        books = codec.encode(keeper.books.dump())
        told = [codec.encode(output) for output in outputs]
        self.journal.append((codec.encode(message), codec.kind_of(message), told, books))
        self.held = max(self.held, len(self.engine._sequence))
        working = self.engine.orders.in_flight()
        self.partly += sum(ZERO < record.filled < record.order.size for record in working)
        for output in outputs:
            if isinstance(output, Decision) and output.status == "netted":
                self._look_at_claims(output.decision)
        self._act(outputs)

    def _look_at_claims(self, decision: int) -> None:
        """What was left to work goes, when it fills, to books that want it."""
        keeper, engine = self.engine.keeper, self.engine
        assert keeper is not None
        lacks: dict[str, dict[str, Decimal]] = defaultdict(dict)  # symbol -> book -> signed
        for slot in keeper.live:
            book, capital = keeper.book(slot), keeper.capital(slot, engine.equity)
            for symbol, weight in book.target.items():
                mark = self.marks[symbol]
                missing = exact(weight) * capital - book.size(symbol) * mark
                if not weight or abs(missing) > BAND * capital:
                    lacks[symbol][slot.name] = missing
        for record in engine.orders.in_flight():
            order = record.order
            claims = keeper.books.pending(order.client_order_id)
            if not record.rests or record.cancelling or order.decision == decision:
                continue
            assert sum(claims.values(), ZERO) == record.remaining
            side = order.side.sign
            wanting = {n for n, size in lacks[order.symbol].items() if size * side > 0}
            self.regarded += 1
            assert not wanting or {n for n, size in claims.items() if size} <= wanting

    def _act(self, outputs: list[Output]) -> None:
        asked = [output for output in outputs if isinstance(output, OptimizeRequest)]
        super()._act([output for output in outputs if not isinstance(output, OptimizeRequest)])
        if asked:
            for request in asked:
                self.record.take(request)
            self.asked, self.patience = asked, self.rng.choice((0, 0, 0, 1))

    def _answer(self) -> None:
        asked, self.asked = self.asked, []
        for request in asked:
            solution = self._optimizer.solve(request)
            self._step(
                target_of(
                    request, solution, session=self._session, solve_ms=0.0, ts_recv=self._wall()
                )
            )

    def _restart(self, kind: str) -> None:
        """The engine anew: from its journal, or as the next session's."""
        before = self.engine
        if kind == "crash":
            self.engine = fold(self.start, self.journal)
            assert self.engine.state() == before.state()
        else:
            state, wall = before.state(), self._wall()
            changes = {"session": "s2", "key": "start:s2", "state": state, "ts_recv": wall}
            Watched.start = replace(self.start, **changes)
            self.engine, self.journal = Engine(self.start), []
            assert books_of(self.engine) == books_of(before)
            self.check_account()
        self.restarted += 1


def books_of(engine: Engine) -> bytes:
    assert engine.keeper is not None
    return codec.encode(engine.keeper.books.dump())


def fold(start: SessionStart, journal) -> Engine:
    """A fresh engine after all inputs; each comes to the same, and so do the books after each."""
    engine = Engine(start)
    for text, kind, told, books in journal:
        outputs = engine.step(codec.decode(kind, text))
        assert [codec.encode(output) for output in outputs] == told
        assert books_of(engine) == books
    return engine


def run(
    style: str, monkeypatch: pytest.MonkeyPatch, restarts: dict[int, str]
) -> tuple[BacktestResult, Watched]:
    desks: list[Watched] = []

    def made(engine: Engine, *args, **kwargs) -> Watched:
        desks.append(Watched(engine, *args, **kwargs))
        return desks[-1]

    def begun(start: SessionStart) -> Engine:
        Watched.start = start
        return Engine(start)

    Watched.restarts = restarts
    monkeypatch.setattr(backtest_run, "LocalDesk", made)
    monkeypatch.setattr(backtest_run, "Engine", begun)
    result = backtest_run.run(config(style))
    return result, desks[0]


@pytest.mark.parametrize("style", ["passive", "twap"])
def test_books_and_ledger_agree_all_along(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through partial fills, cancellations, late answers, two crashes and a new session."""
    result, desk = run(style, monkeypatch, {17: "crash", 25: "session", 41: "crash"})
    assert desk.restarted == 3 and result.differences == () and len(result.fills) > 10
    assert desk.partly and desk.held and (desk.regarded or style == "twap")
    statuses = {one.status for one in result.orders}
    assert {OrderStatus.CANCELLED, OrderStatus.EXPIRED} & statuses and desk.asked_in_vain
    entries = [entry for entry in result.entries if not entry.shadow]
    assert {BookKind.FILL, BookKind.CROSS, BookKind.FUNDING} <= {entry.kind for entry in entries}
    fills = [entry for entry in entries if entry.kind is BookKind.FILL]
    assert {entry.book for entry in fills} == {"back", "trend", "even"}  # none is the desk's
    of_fills: dict[tuple[str, int], Decimal] = defaultdict(lambda: ZERO)
    for entry in fills:
        of_fills[entry.symbol, entry.ts_event] += entry.size
    for fill in result.fills:
        of_fills[fill.symbol, fill.ts_event] -= fill.size * fill.side.sign
    assert not any(of_fills.values())
    assert sum((entry.fee for entry in entries), ZERO) == result.books.fees
