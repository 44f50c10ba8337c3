"""The desk in one process: the very engine, feature cache and optimizer, without wires. No waiting.

What the actors send each other is called here, in the order in which it happens on the tape: a bar
closes, the desk decides, its requests leave, the exchange answers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from don.backtest.account import LocalAccount
from don.engine import Engine
from don.model.messages import (
    BookEntry,
    BookPoint,
    CancelOrder,
    Decision,
    Difference,
    Equity,
    FeatureSnapshot,
    FillReport,
    FundingReport,
    Input,
    OptimizeRequest,
    OrderReport,
    Output,
    SubmitOrder,
    Timer,
)
from don.model.order import Fill, Order
from don.paper.events import Event
from don.portfolio.optimizer import PortfolioOptimizer, target_of


@dataclass(slots=True)
class Record:
    """What came of a run, gathered on the way."""

    decisions: list[Decision] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    states: dict[str, OrderReport] = field(default_factory=dict)  # the last of each order
    fills: list[Fill] = field(default_factory=list)
    funding: list[FundingReport] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    entries: list[BookEntry] = field(default_factory=list)  # of virtual books
    points: list[BookPoint] = field(default_factory=list)  # of virtual books
    equity_ts: list[int] = field(default_factory=list)
    equity: list[float] = field(default_factory=list)
    closes_ts: list[int] = field(default_factory=list)
    closes: list[np.ndarray] = field(default_factory=list)  # [symbol]
    marks: list[np.ndarray] = field(default_factory=list)  # [symbol]

    def take(self, message: object) -> None:
        """Keep a message of the engine, into it or out of it, if it is of the kinds kept."""
        match message:
            case OrderReport():
                self.states[message.client_order_id] = message
            case FillReport():
                self.fills.append(message.fill)
            case FundingReport():
                self.funding.append(message)
            case Equity():
                self.equity_ts.append(message.ts_event)
                self.equity.append(float(message.equity))
            case Decision():
                self.decisions.append(message)
            case SubmitOrder(order=order):
                self.orders[order.client_order_id] = order
            case Difference():
                self.differences.append(message)
            case BookEntry():
                self.entries.append(message)
            case BookPoint():
                self.points.append(message)
            case _:
                pass


class LocalDesk:
    """Engine and optimizer; takes snapshots in and acts on what the engine says.

    Args:
        engine: at the session's start.
        optimizer: answers its questions, at once.
        account: where its requests go.
        session: name in keys.
        wall: wall time now.
        on_events: takes what the exchange published because of a request.
        hold_requests: requests leave only with `release`: the caller knows when they arrive.
    """

    def __init__(
        self,
        engine: Engine,
        optimizer: PortfolioOptimizer,
        account: LocalAccount,
        session: str,
        wall: Callable[[], int],
        on_events: Callable[[list[Event]], None],
        *,
        hold_requests: bool = False,
    ) -> None:
        self.engine, self.record = engine, Record()
        self._optimizer, self._account, self._session = optimizer, account, session
        self._wall, self._on_events = wall, on_events
        self._hold = hold_requests
        self._cancels: list[CancelOrder] = []
        self._orders: list[Order] = []

    @property
    def waiting(self) -> bool:
        """True if requests wait for `release`."""
        return bool(self._cancels or self._orders)

    @property
    def waiting_symbols(self) -> set[str]:
        """Symbols of the requests that wait."""
        return {c.symbol for c in self._cancels} | {o.symbol for o in self._orders}

    def release(self) -> None:
        """Let the requests that wait reach the exchange."""
        cancels, self._cancels = self._cancels, []
        orders, self._orders = self._orders, []
        self._on_events(self._account.send(cancels, orders))

    def take(self, message: Input) -> None:
        """Take in one message and everything that follows from it at this moment."""
        self._step(message)
        self.deliver()

    def take_snapshot(self, snapshot: FeatureSnapshot) -> None:
        """Take in a snapshot, after the timer that may have been due before it."""
        wall = self._wall()
        if self.engine.timer_due(wall):
            self._step(Timer(key=f"timer:{self._session}:{wall}", ts_recv=wall))
        self.record.closes_ts.append(snapshot.ts_event)
        self.record.closes.append(snapshot.close)
        self.record.marks.append(snapshot.mark)
        self.take(replace(snapshot, ts_taken=wall))

    def take_bars(
        self, ts: np.ndarray, close: np.ndarray, present: np.ndarray, wall: np.ndarray
    ) -> None:
        """Take in bars at once on which nothing is to be done, as of `Engine.observe`."""
        curve, outputs = self.engine.observe(ts, close, present, wall)
        self.record.equity_ts += ts.tolist()
        self.record.equity += curve.tolist()
        self._act(outputs)

    def deliver(self) -> None:
        """Take in what the exchange has reported."""
        reports = self._account.reports
        while reports:
            self._step(reports.popleft())

    def check_account(self, *, final: bool = False) -> None:
        """Compare the books with the exchange's account."""
        self.deliver()
        self._step(self._account.account(final=final))

    def _step(self, message: Input) -> None:
        self.record.take(message)
        self._act(self.engine.step(message))

    def _act(self, outputs: list[Output]) -> None:
        cancels: list[CancelOrder] = []
        orders: list[Order] = []
        requests: list[OptimizeRequest] = []
        for output in outputs:
            self.record.take(output)
            match output:
                case SubmitOrder(order=order):
                    orders.append(order)
                case CancelOrder():
                    cancels.append(output)
                case OptimizeRequest():
                    requests.append(output)
                case _:
                    pass
        if self._hold:
            self._cancels += cancels
            self._orders += orders
        elif cancels or orders:
            self._on_events(self._account.send(cancels, orders))
        for request in requests:
            solution = self._optimizer.solve(request)
            self._step(
                target_of(
                    request, solution, session=self._session, solve_ms=0.0, ts_recv=self._wall()
                )
            )
