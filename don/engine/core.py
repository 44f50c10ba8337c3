"""The engine's shared state and the few acts that change it: submit, cancel, record. Pure.

The parts of the engine (`decide`, `reports`, `halt`) hold one `Core` and no
state that matters besides. Outputs gather in `out`, in the order in which they came about.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from don.books.config import slot_policies
from don.engine import state as carried
from don.engine.books import Keeper, Slot
from don.engine.config import EngineConfig, parse_config
from don.engine.limits import Limits
from don.engine.market import MarketView
from don.errors import ConfigError
from don.execution.orders import OrderBookkeeper, OrderRecord
from don.execution.planner import Ticket
from don.execution.reconcile import Suspicion
from don.ledger import Ledger
from don.model.instrument import Instrument
from don.model.messages import (
    CancelOrder,
    Decision,
    Difference,
    Equity,
    FeatureSnapshot,
    Output,
    SessionStart,
    SubmitOrder,
)
from don.model.order import Denial, Order, client_order_id
from don.model.portfolio import ZERO
from don.policies import Watcher, check_features
from don.risk.change import Overrides
from don.risk.engine import Gate
from don.risk.exposure import Book
from don.risk.portfolio import Window
from don.risk.protection import exposure, unprotected


@dataclass(slots=True)
class Counts:
    """What happened in this session."""

    orders: int = 0
    fills: int = 0
    denials: int = 0
    decisions: int = 0
    differences: int = 0


class Core:
    """Everything the engine knows. A pure function of the session's first entry, then moved by
    inputs.
    """

    def __init__(self, start: SessionStart) -> None:
        """Check the first entry and take up the carried state.

        Raises:
            ConfigError: if configuration, policy, symbols and instruments do not fit together.
            JournalError: if the carried state cannot be read.
        """
        known = [i.symbol for i in start.instruments]
        absent = [s for s in start.symbols if s not in known]
        if absent or not start.symbols:
            raise ConfigError(
                f"symbols must be listed by the exchange, {', '.join(absent) or 'none given'} "
                f"not among {', '.join(known)}"
            )
        self.start = start
        config = parse_config(start.config)
        policies = slot_policies(start.policy, config)
        self.policy = policies[0]  # where one has the account
        self.policy_name = start.policy if config.slots else self.policy.name
        listed = {i.symbol: i for i in start.instruments}
        for policy in policies:
            if start.features:
                check_features(policy, start.features)
            if isinstance(policy, Watcher):
                policy.begin([listed[s] for s in start.symbols], start.interval_ns)
        self.session = start.session
        self.symbols = start.symbols
        self.instruments: Mapping[str, Instrument] = {i.symbol: i for i in start.instruments}
        self._fees = {i.symbol: i.taker_fee for i in start.instruments}

        state = carried.load(start.state)
        self.limits = Limits(start, config, state, self.instruments)
        self.ledger = Ledger(state.ledger)
        self.orders = OrderBookkeeper(state.orders)
        self.parents_before = state.parents
        self.market = MarketView(
            start.symbols,
            start.interval_ns,
            config.covariance,
            marks=state.marks,
            covariance=state.covariance,
            window_bars=self.config.risk.window_bars,
        )
        self.risk, self.states = self.limits.risk, self.limits.states
        halted = self.limits.halt_reason()
        self.halted, self.halt_reason = halted is not None, halted or ""
        self.unprotected = state.unprotected
        self.before = state.wall  # wall time at which the session before ended, 0 if none
        if state.wall:
            self.without_don(start.ts_recv - state.wall)
        self.target: dict[str, float] = dict(state.target)

        self.wall = start.ts_recv
        self.elapsed = start.ts_recv  # rises with wall or exchange time, whichever passes faster
        self._passed = 0  # wall time since the last bar
        self.reconciled = False
        self.stopping = False
        self.adopt_next = False
        self.suspicion: Suspicion | None = None
        self.ledger_equal: bool | None = None  # what the last comparison said
        self.told: frozenset[tuple[str, str, str]] = frozenset()  # differences already raised
        self.activity = 0  # facts counted, to see that nothing happened between two reports
        self.counts = Counts()
        self.decision = 0
        self.last_decision: Decision | None = None
        self.last_equity: Equity | None = None
        self.out: list[Output] = []
        self._valued: tuple[int, int, Decimal] = (-1, -1, ZERO)  # see `unrealized`
        self.fees_before = self.ledger.fees
        self.funding_before = self.ledger.funding
        self.pnl_before = self.pnl() if self.ledger.adopted else ZERO
        self.keeper: Keeper | None = None  # of virtual books; None where one policy has it all
        if config.slots:
            pairs = zip(config.slots, policies, strict=True)
            slots = tuple(Slot(config=slot, policy=policy) for slot, policy in pairs)
            self.keeper = Keeper(self, slots, state.books)

    # ---- limits ---------------------------------------------------------------------------------

    @property
    def config(self) -> EngineConfig:
        """What shapes decisions, with the risk limits that hold now."""
        return self.limits.config

    def limit(self, overrides: Overrides) -> None:
        """Change risk limits: see `Limits.change`."""
        self.limits.change(overrides)
        self.market.closes.resize(self.config.risk.window_bars)

    def without_don(self, ns: int) -> None:
        """Nobody watched over the positions for so long."""
        if ns <= 0:
            return
        bare = unprotected(self.ledger, self.orders, self.market.marks)
        self.unprotected += exposure(bare, ns)

    def window(self) -> Window | None:
        """Recent returns, if a limit asks for them."""
        if not self.risk.portfolio.needs_window:
            return None
        return Window(symbols=self.symbols, returns=self.market.closes.returns())

    def outside(self, equity: Decimal) -> float:
        """Sum of |positions| in symbols that the session does not trade, as a part of equity."""
        gross = sum(
            (
                abs(p.size) * (self.market.marks.get(p.symbol) or abs(p.entry_price))
                for p in self.ledger.positions.values()
                if p.symbol not in self.symbols
            ),
            ZERO,
        )
        return float(gross / equity)

    # ---- time -----------------------------------------------------------------------------------

    def pass_time(self, wall: int) -> None:
        """Wall time has come to `wall`, or is later already."""
        passed = max(wall - self.wall, 0)
        self.wall += passed
        self.elapsed += passed
        self._passed += passed

    def take_bar(self, snapshot: FeatureSnapshot) -> None:
        """Take in a snapshot's prices. Where a market is replayed faster than wall time, the time
        between two bars counts for rates of orders as long as it is in the market.
        """
        before = self.market.ts_event
        self.market.on_snapshot(snapshot)
        self.settle_time(self.market.ts_event - before if before else 0)

    def settle_time(self, in_market: int) -> None:
        """Bars have come that are `in_market` ns of exchange time later than the last one."""
        self.elapsed += max(in_market - self._passed, 0)
        self._passed = 0

    # ---- figures --------------------------------------------------------------------------------

    def equity(self) -> Decimal:
        """Balance plus unrealised profit at the last marks."""
        return self.ledger.balance + self.unrealized()

    def unrealized(self) -> Decimal:
        """Unrealised profit at the last marks; added up once for as long as nothing moves."""
        markets, moves, found = self._valued
        if markets != self.market.moves or moves != self.ledger.moves:
            found = self.ledger.unrealized(self.market.marks)
            self._valued = self.market.moves, self.ledger.moves, found
        return found

    def pnl(self) -> Decimal:
        """Profit since the account's beginning: equity less what was put in."""
        return self.equity() - self.ledger.put_in

    def weights_now(self, equity: Decimal) -> np.ndarray:
        """[symbol] positions as fractions of equity; orders about to fill count as filled."""
        weights = np.zeros(len(self.symbols))
        moving = self.ledger.positions.keys() | self.orders.symbols()
        for i, symbol in enumerate(self.symbols):
            if symbol not in moving:
                continue
            size = self._expected(symbol)
            if size:
                weights[i] = float(size * self.market.marks.get(symbol, ZERO) / equity)
        return weights

    def book(self) -> Book:
        """What risk looks at."""
        return Book(
            ledger=self.ledger,
            orders=self.orders,
            marks=self.market.marks,
            lasts=self.market.lasts,
            taker_fees=self._fees,
            equity=self.equity(),
        )

    def gate(self) -> Gate:
        """Whether the desk as a whole may send orders."""
        stale = self.market.stale_now()
        if self.market.age_s(self.wall) > self.config.max_snapshot_age_s:
            stale = frozenset(self.symbols)
        reducing, code = self.limits.reducing()
        return Gate(
            halted=self.halted,
            reconciled=self.reconciled,
            stale=stale,
            ts_wall=self.elapsed,
            reducing=reducing,
            reducing_code=code,
        )

    # ---- acts -----------------------------------------------------------------------------------

    def next_decision(self) -> int:
        """A new decision number."""
        self.decision += 1
        return self.decision

    def submit(
        self,
        tickets: Iterable[Ticket],
        decision: int,
        *,
        emergency: bool = False,
        first: int = 0,
        claims: Sequence[Mapping[str, Decimal]] = (),
    ) -> tuple[list[str], list[Denial]]:
        """Send orders through the risk checks; `emergency` orders, which only reduce, skip them.

        `first` is the index of the first ticket within the decision; `claims`, one a ticket, say
        which books an order is for.

        Returns:
            Client order ids of those sent, and the refusals of the others.
        """
        sent: list[str] = []
        denials: list[Denial] = []
        book, gate = self.book(), self.gate()  # `book.orders` grows with each order that passes
        window = None if emergency else self.window()
        for index, ticket in enumerate(tickets, first):
            order = Order(
                client_order_id=client_order_id(self.session, decision, index),
                decision=decision,
                index=index,
                symbol=ticket.symbol,
                side=ticket.side,
                type=ticket.type,
                size=ticket.size,
                price=ticket.price,
                time_in_force=ticket.time_in_force,
                reduce_only=ticket.reduce_only,
                ts_event=self.market.ts_event,
                reason=ticket.reason,
                trigger=ticket.trigger,
                trigger_by=ticket.trigger_by,
                callback=ticket.callback,
                activate=ticket.activate,
                close_position=ticket.close_position,
                good_till=ticket.good_till,
                parent=ticket.parent,
            )
            if not emergency:
                denial = self.risk.check(order, book, gate, window)
                if denial is not None:
                    denials.append(denial)
                    continue
            self.orders.intend(order, self.wall)
            if claims and self.keeper is not None:
                self.keeper.books.claim(order.client_order_id, claims[index - first])
            self.out.append(SubmitOrder(order=order))
            sent.append(order.client_order_id)
        self.counts.orders += len(sent)
        self.counts.denials += len(denials)
        return sent, denials

    def cancel(self, record: OrderRecord, reason: str) -> None:
        """Ask for the cancellation of one of our orders."""
        order = record.order
        self.orders.mark_cancelling(order.client_order_id)
        self.out.append(
            CancelOrder(client_order_id=order.client_order_id, symbol=order.symbol, reason=reason)
        )

    def cancel_resting(self, reason: str) -> int:
        """Ask for the cancellation of every order that rests; others end by themselves, and those
        that protect a position stay.
        """
        resting = [
            r
            for r in self.orders.in_flight()
            if r.rests and not r.status.final and not r.order.protective
        ]
        for record in resting:
            self.cancel(record, reason)
        return len(resting)

    def record(
        self,
        decision: int,
        status: str,
        reasons: Sequence[str],
        *,
        snapshot: int = 0,
        forecast: np.ndarray | None = None,
        weights: np.ndarray | None = None,
        denials: Sequence[Denial] = (),
        orders: Sequence[str] = (),
        policy: str = "",
    ) -> None:
        """Put on record why the desk did what it did; `policy` where it is one slot's."""
        nothing = np.zeros(len(self.symbols))
        made = Decision(
            decision=decision,
            ts_event=self.market.ts_event,
            snapshot=snapshot,
            policy=policy or self.policy_name,
            symbols=self.symbols,
            forecast=nothing if forecast is None else forecast,
            weights=nothing if weights is None else weights,
            status=status,
            reasons=tuple(reasons),
            denials=tuple(denials),
            orders=tuple(orders),
        )
        self.last_decision = made
        self.counts.decisions += 1
        self.out.append(made)

    def difference(self, what: str, ours: object, theirs: object, ts_event: int) -> None:
        """Put on record that books and exchange disagree."""
        self.counts.differences += 1
        self.out.append(
            Difference(what=what, ledger=str(ours), exchange=str(theirs), ts_event=ts_event)
        )

    def equity_point(self, ts_event: int) -> Decimal:
        """Add a point to the equity curve."""
        balance, unrealized = self.ledger.balance, self.unrealized()
        self.last_equity = Equity(
            ts_event=ts_event,
            equity=balance + unrealized,
            balance=balance,
            unrealized=unrealized,
        )
        self.out.append(self.last_equity)
        return self.last_equity.equity

    def _expected(self, symbol: str) -> Decimal:
        """Position size once the orders that do not rest are through."""
        size = self.ledger.position(symbol).size
        for r in self.orders.in_flight(symbol):
            size += (r.missing if r.rests else r.remaining) * r.order.side.sign
        return size
