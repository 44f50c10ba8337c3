"""Don's decision core: a fold over the desk's inputs. Pure and deterministic.

`Engine(start)` is a function of the session's first entry, `step(message)` of all entries so far:
no clock, no I/O, no randomness. The desk journals each input before it steps, so the same log gives
the same outputs bit for bit, and restarting is replaying. Wall time is what inputs were stamped
with.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from don.clock import NS_PER_S
from don.engine import quiet
from don.engine import state as carried
from don.engine.books import Keeper
from don.engine.core import Core
from don.engine.decide import Decider
from don.engine.guard import Guard
from don.engine.halt import KillSwitch
from don.engine.manual import Manual
from don.engine.opening import value
from don.engine.parentview import parents
from don.engine.protecting import Protector
from don.engine.reports import Reporter
from don.engine.riskview import RiskView
from don.engine.sequence import Fact, Sequencer
from don.engine.slots import SlotDecider
from don.engine.state import EngineState
from don.engine.view import view
from don.engine.working import Worker
from don.execution.orders import OrderBookkeeper
from don.ledger import Cursors, Ledger
from don.model.messages import (
    AccountReport,
    Command,
    CommandKind,
    FeatureSnapshot,
    FillReport,
    FundingReport,
    History,
    Input,
    MarkUpdate,
    OrderReport,
    Output,
    SessionStart,
    Target,
    Timer,
)
from don.model.order import OrderStatus


class Engine:
    """One account's desk, without its wires."""

    def __init__(self, start: SessionStart) -> None:
        """Take up where the carried state left off.

        Raises:
            ConfigError: if configuration, policy, symbols, instruments or features do not fit
            together.
            JournalError: if the carried state cannot be read.
        """
        self._core = Core(start)
        self._worker = Worker(self._core, self._core.parents_before)
        self._manual = Manual(self._core, self._worker)
        self._protector = Protector(self._core)
        keeper = self._core.keeper
        self._decider: Decider | SlotDecider = (
            Decider(self._core, self._worker)
            if keeper is None
            else SlotDecider(self._core, self._worker, keeper)
        )
        self._reports = Reporter(self._core)
        self._switch = KillSwitch(self._core)
        self._guard = Guard(self._core, self._switch, self._decider.drop, self._decider.halt)
        self._risk_view = RiskView(self._core)
        config = self._core.config
        self._sequence = Sequencer(start.interval_ns, int(config.hold_s * NS_PER_S))
        self._decide_every_ns = config.decide_every * start.interval_ns
        self._heard = start.ts_recv  # wall time of the last snapshot
        self._valuer = quiet.Valuer(self._core)
        self._pace = 0  # wall time between the last two, at most a bar's length

    @property
    def ledger(self) -> Ledger:
        """The account's books; for reading."""
        return self._core.ledger

    @property
    def orders(self) -> OrderBookkeeper:
        """The account's orders; for reading."""
        return self._core.orders

    @property
    def keeper(self) -> Keeper | None:
        """The virtual books of several policies, for reading; None where there is one."""
        return self._core.keeper

    @property
    def equity(self) -> Decimal:
        """Balance plus unrealised profit at the last marks, quote."""
        return self._core.equity()

    @property
    def halted(self) -> bool:
        """True from a halt until a person resumes, across sessions."""
        return self._core.halted

    @property
    def reconciled(self) -> bool:
        """True while the books are known to equal the exchange's account; else nothing trades."""
        return self._core.reconciled

    @property
    def stopping(self) -> bool:
        """True once the session was told to stop."""
        return self._core.stopping

    @property
    def idle(self) -> bool:
        """True if nothing is in flight: every order is final and all its fills are counted."""
        return not self._core.orders.in_flight()

    @property
    def settled(self) -> bool:
        """True if nothing is in flight but orders that stay at the exchange to protect."""
        return all(
            record.protects and record.status is OrderStatus.OPEN
            for record in self._core.orders.in_flight()
        )

    def cursors(self) -> Cursors:
        """Up to where the books know the exchange's fills and payments."""
        return self._core.ledger.cursors()

    def step(self, message: Input) -> list[Output]:
        """Take in the next input; what comes out is to be journalled, then acted on, in this order.

        Raises:
            ValueError: if the message cannot be part of a running session.
        """
        core = self._core
        core.out = []
        taken = message.ts_recv
        if isinstance(message, FeatureSnapshot):
            taken = max(taken, message.ts_taken)
        passed = taken - core.wall
        core.pass_time(taken)
        match message:
            case FeatureSnapshot():
                self._on_snapshot(message)
            case Target():
                self._decider.on_target(message)
            case OrderReport() | FillReport() | FundingReport():
                self._sequence.put(message, core.wall)
                if core.halted:
                    self._catch_up()  # nothing is decided, and what is open must be closed
            case AccountReport():
                self._on_account(message)
            case Command():
                self._catch_up()
                self._on_command(message)
            case Timer():
                if message.resumed:
                    core.without_don(passed)
                self._on_timer()
            case MarkUpdate():
                core.market.on_marks(message.marks)
                core.equity_point(message.ts_event)
                self._guard.check()
            case History():
                core.market.on_history(message)
                self._decider.on_history(message)
            case _:
                raise ValueError(f"a running session cannot take in a {type(message).__name__}")
        self._settle()
        return core.out

    def quiet(self, ts: np.ndarray, close: np.ndarray) -> int:
        """How many of the next bars may be taken in by `observe`; see `don.engine.quiet`."""
        if self._decider.deciding or len(self._sequence) or self._worker.active:
            return 0
        if self._decider.watching:
            return 0
        return quiet.quiet(self._core, ts, close, self._decide_every_ns)

    def observe(
        self, ts: np.ndarray, close: np.ndarray, present: np.ndarray, wall: np.ndarray
    ) -> tuple[np.ndarray, list[Output]]:
        """Take in bars that `quiet` allows at once.

        Returns:
            Equity [bar], exact ones as floats, and what comes of reports that waited for the last.
        """
        core = self._core
        core.out = []
        curve = self._valuer.curve(close)
        if len(ts):
            self._decider.drop("a bar on which nothing is decided")
            self._pace = quiet.pace(wall, self._heard, core.start.interval_ns)
            self._heard = int(wall[-1])
            quiet.observe(core, ts, close, present, wall)
            self._settle()
        return curve, core.out

    def timer_due(self, wall: int) -> bool:
        """True if a `Timer` stamped `wall` would change anything; if not, spare the journal."""
        return (
            self._silent_for(wall) > 0
            or self._switch.due(wall)
            or self._sequence.overdue(wall)
            or bool(self._guard.overdue(wall))
        )

    def marks_due(self, marks: Mapping[str, Decimal]) -> bool:
        """True if marks between bars reach a loss limit: then a `MarkUpdate` is to be taken in."""
        return self._guard.would_act(marks)

    def objection(self, command: Command) -> str:
        """Why a command cannot be carried out; "" if it can, as far as is known before."""
        if command.kind is CommandKind.ORDER:
            return self._manual.objection(command)
        return self._guard.objection(command)

    def state(self) -> str:
        """JSON to carry into the next session's `SessionStart.state`.

        Reports that wait for their turn are counted first: nobody will tell them again.
        """
        self._catch_up()
        core = self._core
        return carried.dump(
            EngineState(
                ledger=core.ledger.dump(),
                orders=core.orders.carried(),
                parents=self._worker.parents,
                halted=core.halted,
                halt_reason=core.halt_reason,
                target=core.target,
                marks=core.market.marks,
                day=core.risk.day,
                covariance=core.market.covariance.dump(),
                losses=core.risk.losses.dump(),
                states=core.states.standings,
                limits=json.dumps(core.limits.overrides, sort_keys=True),
                books=None if core.keeper is None else core.keeper.books.dump(),
                wall=max(core.wall, core.before),
                unprotected=core.unprotected,
            )
        )

    def view(self) -> dict[str, Any]:
        """The engine as a JSON-able dictionary, see `don.engine.view`."""
        return {
            **view(self._core, self._risk_view.view()),
            "parents": parents(self._worker),
        }

    def _on_snapshot(self, snapshot: FeatureSnapshot) -> None:
        """Price the account, then decide: in the end one decision on record per snapshot."""
        core = self._core
        if snapshot.version <= core.market.version:
            return
        self._decider.drop("no target before the next snapshot")
        self._release()  # what happened before this bar's close, now that no target is waited for
        if core.market.version:
            self._pace = min(core.wall - self._heard, core.start.interval_ns)
        core.take_bar(snapshot)
        value(core)
        self._decider.watch(snapshot)
        self._heard = core.wall
        if core.ledger.adopted:
            equity = core.equity_point(snapshot.ts_event)
            core.risk.mark_day(snapshot.ts_event, equity)
            if self._guard.check(snapshot=snapshot.version):
                return
        if core.halted and self._switch.on_time(snapshot=snapshot.version):
            return
        self._worker.on_snapshot(snapshot)
        self._protector.on_bar()
        if snapshot.ts_event % self._decide_every_ns == 0:
            self._decider.on_snapshot(snapshot)

    def _settle(self) -> None:
        """End of a step: reports whose turn has come, and what stands to be done about them."""
        self._release()
        if self._core.halted and self._worker.active:
            self._worker.drop(f"halted: {self._core.halt_reason}")
        self._protector.run()
        if self._core.keeper is not None:
            self._core.keeper.flush()

    def _release(self) -> None:
        """Take in the reports whose turn it is."""
        core = self._core
        while True:
            bar_ts = core.market.ts_event if core.market.version else None
            fact = self._sequence.take(bar_ts, core.wall, deciding=self._decider.deciding)
            if fact is None:
                return
            self._on_fact(fact)

    def _catch_up(self) -> None:
        """Take in every report that waits."""
        while (fact := self._sequence.pop()) is not None:
            self._on_fact(fact)

    def _on_fact(self, fact: Fact) -> None:
        match fact:
            case OrderReport():
                settled = self._reports.on_order(fact)
                self._guard.watch(fact.client_order_id)
                self._moved(fact.client_order_id)
                self._switch.on_order()
                if settled:
                    self._decider.on_settled(fact.symbol)
            case FillReport():
                counted, settled = self._reports.on_fill(fact)
                self._guard.watch(fact.fill.client_order_id)
                self._moved(fact.fill.client_order_id)
                if counted:
                    self._switch.on_fill()
                    self._guard.check()
                if settled:
                    self._decider.on_settled(fact.fill.symbol)
            case FundingReport():
                self._reports.on_funding(fact)
                self._guard.check()

    def _moved(self, client_order_id: str) -> None:
        """Something became of an order: of a parent's child, or of a position to protect."""
        self._worker.on_order(client_order_id)
        self._protector.on_order(client_order_id)

    def _on_account(self, report: AccountReport) -> None:
        """Compare the books, once everything that the report contains is in them."""
        if report.final or not self._core.ledger.adopted or self._core.adopt_next:
            self._catch_up()
        elif len(self._sequence):
            return  # it counts what still waits for its turn here; the next one comes soon
        if self._core.adopt_next:
            self._guard.give_up()
        self._reports.on_account(report)
        self._switch.on_time()

    def _on_command(self, command: Command) -> None:
        core = self._core
        why = f"{command.kind} by {command.actor}: {command.reason}"
        match command.kind:
            case CommandKind.HALT:
                self._decider.drop(why)
                self._switch.halt(why, actor=command.actor)
            case CommandKind.RESUME:
                self._switch.resume(why)
            case CommandKind.STOP:
                core.stopping = True
                self._decider.drop(why)
                self._worker.drop(why, symbols=core.symbols)
                waiting = core.cancel_resting(why)
                core.record(
                    core.next_decision(), "stop", [why, f"{waiting} resting orders cancelled"]
                )
            case CommandKind.ORDER:
                self._manual.on_command(command, why)
            case CommandKind.LIMITS:
                self._guard.on_limits(command, why)
            case CommandKind.STATE:
                self._guard.on_state(command, why)
            case CommandKind.ADOPT:
                core.adopt_next = True
                core.record(core.next_decision(), "adopt", [why])

    def _on_timer(self) -> None:
        """Notice silence; try again to close what a halt left open."""
        core = self._core
        quiet = self._silent_for(core.wall)
        if quiet > 0:
            core.market.silent = True
            why = f"STALE_DATA: no snapshot for {quiet:.0f} s"
            self._decider.drop(why)
            waiting = core.cancel_resting(why)
            core.record(core.next_decision(), "stale", [why, f"{waiting} resting orders cancelled"])
        self._guard.on_time()
        self._switch.on_time()

    def _silent_for(self, wall: int) -> float:
        """Seconds without a snapshot, if that is too long and not on record yet; else 0.

        Long bars come at long intervals: silence begins when the next one is due.
        """
        quiet = (wall - self._heard) / NS_PER_S
        late = (
            quiet > self._core.config.silence_s + self._pace / NS_PER_S
            and not self._core.market.silent
        )
        return quiet if late else 0.0
