"""The desk actor: one account's engine. Order matters, so sync; journal first, then act."""

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import ray
from ray.exceptions import PendingCallsLimitExceeded, RayError

from actors import events
from actors.delivery import RESTART, restart_if_away
from actors.runtime import Probe, find
from actors.spec import SessionSpec
from don.clock import NS_PER_S, SystemClock
from don.engine import Engine
from don.errors import DonError, JournalError
from don.exchanges.base import KnownOrder, KnownState
from don.log import configure_actor, get_logger
from don.model.messages import (
    CancelOrder,
    Command,
    Decision,
    Difference,
    FeatureSnapshot,
    FillReport,
    Input,
    MarkUpdate,
    OptimizeRequest,
    OrderReport,
    Output,
    SessionStart,
    SubmitOrder,
    Timer,
)
from don.model.order import OrderStatus
from don.observe.lateness import Lateness
from don.observe.sample import sample
from don.session import carry_over, fold
from don.storage.database import Database
from don.storage.journal import Journal, Record

TICK_S = 1.0
RESOLVE_AFTER_S = 3  # an intent without an answer for so long is looked up at the exchange
KEYS_KEPT = 20_000  # spares the journal a question; forgetting one costs that question
VIEW_EVERY_NS = NS_PER_S // 10


class Desk:
    """Every message is an input: stamped, journalled with what it causes, and only then acted on.

    Repeats are told by their key and change nothing. A restart folds the journal through a fresh
    engine and checks that it comes to the same outputs; what was decided but perhaps never sent is
    looked up at the exchange, never sent again.
    """

    def __init__(self, spec: SessionSpec, start: SessionStart) -> None:
        configure_actor(spec.home, actor="desk", session=spec.session, level=spec.config.log.level)
        self._log = get_logger("don.desk")
        self._clock = SystemClock()
        self._spec = spec
        self._journal = Journal(Database(spec.database_url), spec.account, spec.session)
        self._seen: dict[str, None] = {}  # the newest keys taken in; older ones are in the journal
        self._last_snapshot = 0
        self._last_view = 0
        self._lateness = Lateness(spec.interval_ns)
        self._resolve_all = True
        with restart_if_away("rebuild the desk"):
            self._journal.acquire()  # from here on no older desk can write
            self._engine, recovered = self._recover(start)
        if recovered:  # nobody watched over the positions meanwhile: that is counted
            now = self._clock.now_ns()
            self.take(Timer(key=f"timer:{spec.session}:{now}", ts_recv=now, resumed=True))
        self._me = ray.get_runtime_context().current_actor
        threading.Thread(target=self._tick_for_ever, daemon=True, name="desk timer").start()

    # ---- what others ask ------------------------------------------------------------------------

    def ping(self) -> Probe:
        """Who answers. A desk whose books differ is alive: a person must be able to command it."""
        engine, lateness = self._engine, self._lateness
        detail = "" if engine.reconciled else "not trading: the books are not known to be equal"
        said = ["halted" if engine.halted else detail, lateness.text]
        late = {"stream": "decisions", "state": "late", "detail": lateness.text}
        bars = lateness.bars
        return Probe(
            pid=os.getpid(),
            detail="; ".join(filter(None, said)),
            streams=(late,) if lateness.late else (),
            metrics=() if bars is None else (sample("desk_decision_lateness_bars", bars),),
        )

    def snapshot_version(self) -> int:
        """The last feature snapshot taken in: the cache sends what follows."""
        return self._last_snapshot

    def known(self) -> KnownState:
        """What the journal knows: where an execution actor that starts goes on from."""
        cursors = self._engine.cursors()
        return KnownState(
            orders=tuple(
                KnownOrder(
                    client_order_id=record.order.client_order_id,
                    symbol=record.order.symbol,
                    acknowledged=record.status is not OrderStatus.INTENDED,
                    filled=record.filled,
                    ts_event=record.order.ts_event,
                )
                for record in self._engine.orders.in_flight()
            ),
            last_trade=cursors.trades,
            last_funding_ts=cursors.funding_ts,
            since_ts=max(self._engine.ledger.adopted_ts, 0),
        )

    def view(self) -> Mapping[str, Any]:
        """The engine's plain view, as the board shows it."""
        return self._engine.view()

    def idle(self) -> bool:
        """True if no order is unfinished but those that stay to protect, and no fill is missing."""
        return self._engine.settled

    # ---- what moves the ring --------------------------------------------------------------------

    def take(self, message: Input) -> None:
        """Take in one message; returns when it and its consequences are journalled and sent on."""
        self.take_all([message])

    def take_all(self, messages: Sequence[Input]) -> None:
        """Take in messages in order, in one transaction. Repeats are acknowledged and ignored.

        Raises:
            JournalError: if another desk took the journal over. The process must end then.
            DatabaseError: if the database stays away: nothing was acted on.
        """
        fresh = self._unknown(messages)
        if not fresh:
            return
        records: list[Record] = []
        outputs: list[Output] = []
        try:
            for message in fresh:
                caused = self._engine.step(message)
                records.append(Record.of(message))
                now = self._clock.now_ns()  # when it was decided, for the record alone
                records += [Record.of(output, key="", ts_recv=now) for output in caused]
                outputs += caused
            if not self._journal.append(records):
                raise JournalError(f"key {fresh[0].key} was journalled by somebody else")
        except Exception:
            # The engine is ahead of the journal now, or stopped half-way. Whatever the reason, it
            # must not take in another message: the restart reads what is true.
            self._log.exception("input not journalled, restarting the desk")
            os._exit(RESTART)
        self._remember([message.key for message in fresh])
        for message in fresh:
            if isinstance(message, FeatureSnapshot):
                self._last_snapshot = message.version
        self._act(outputs)
        self._time(fresh, outputs)
        self._show(fresh, outputs)

    def command(self, command: Command) -> str:
        """Take in a person's command; or say why it cannot be carried out, with nothing taken."""
        objection = self._engine.objection(command)
        if objection and command.key not in self._seen:
            return objection
        self.take(command)
        return ""

    def watch(self, marks: Mapping[str, float], ts_event: int) -> None:
        """Marks between two bars: journalled only if they reach a loss limit, which acts at once.

        They do not wait for the bar that a backtest would see next: safety comes before being
        repeatable from bars alone. The journal has them, so a replay repeats it.
        """
        exact = {symbol: Decimal(repr(float(mark))) for symbol, mark in marks.items() if mark > 0}
        if self._engine.marks_due(exact):
            now = self._clock.now_ns()
            key = f"marks:{self._spec.session}:{now}"
            self.take(MarkUpdate(key=key, marks=exact, ts_event=ts_event, ts_recv=now))

    def tick(self) -> None:
        """Wall time passing: journalled only when the engine has something to do about it."""
        now = self._clock.now_ns()
        if self._engine.timer_due(now):
            self.take(Timer(key=f"timer:{self._spec.session}:{now}", ts_recv=now))
        late = any(
            record.status is OrderStatus.INTENDED
            and now - record.ts_recv > RESOLVE_AFTER_S * NS_PER_S
            for record in self._engine.orders.in_flight()
        )
        if late or self._resolve_all:
            self._resolve_all = not self._send(
                lambda: find("execution").resolve.remote(self.known()), "resolve"
            )
        if now - self._last_view >= VIEW_EVERY_NS:
            self._show((), ())

    # ---- inside ---------------------------------------------------------------------------------

    def _recover(self, start: SessionStart) -> tuple[Engine, bool]:
        """The engine as the journal has it, and whether the session had begun before; its first
        entry is written if it had not.
        """
        so_far = fold(self._journal.read(self._spec.session))
        if so_far is not None:
            if so_far.difference is not None:
                raise JournalError(
                    f"journal entry {so_far.difference.seq} does not follow from its inputs, so "
                    f"nothing is traded: see `don session replay {self._spec.session}`"
                )
            self._last_snapshot = so_far.last_snapshot
            self._log.info("desk rebuilt", inputs=so_far.inputs, outputs=so_far.outputs)
            return so_far.engine, True
        previous = self._journal.last_session()
        carried = fold(self._journal.read(previous)) if previous else None
        if carried is not None and carried.difference is not None:
            # The code may have changed since: the books come from reports, not from decisions, and
            # the exchange's account is compared with them before anything is traded.
            self._log.warning(
                "the last session does not replay with this version",
                previous=previous, entry=carried.difference.seq,
            )  # fmt: skip
        first = carry_over(start, carried)
        engine = Engine(first)
        self._journal.append([Record.of(first)])
        self._log.info("session begins", previous=previous or "none", policy=first.policy)
        return engine, False

    def _unknown(self, messages: Sequence[Input]) -> list[Input]:
        """Stamp what was never taken in; a report may be known from an earlier session."""
        fresh = {m.key: self._stamped(m) for m in messages if not self._is_repeat(m)}
        # snapshots are known by their version and timers are new: the rest may be from long ago
        asked = [key for key, m in fresh.items() if not isinstance(m, FeatureSnapshot | Timer)]
        if asked:
            repeated = self._journal.known(asked)
            self._remember(repeated)
            fresh = {key: message for key, message in fresh.items() if key not in repeated}
        return list(fresh.values())

    def _is_repeat(self, message: Input) -> bool:
        if isinstance(message, FeatureSnapshot):
            return message.version <= self._last_snapshot
        return message.key in self._seen

    def _remember(self, keys: Iterable[str]) -> None:
        self._seen.update(dict.fromkeys(keys))
        while len(self._seen) > KEYS_KEPT:
            del self._seen[next(iter(self._seen))]

    def _stamped(self, message: Input) -> Input:
        now = self._clock.now_ns()
        if isinstance(message, FeatureSnapshot):
            return replace(message, ts_taken=now)
        return replace(message, ts_recv=now)

    def _act(self, outputs: Sequence[Output]) -> None:
        """Send on what was decided, cancels first: they can only reduce risk."""
        cancels = [output for output in outputs if isinstance(output, CancelOrder)]
        orders = [output.order for output in outputs if isinstance(output, SubmitOrder)]
        if cancels:
            self._send(lambda: find("execution").cancel.remote(cancels), "cancel")
        if orders:
            self._send(lambda: find("execution").submit.remote(orders), "submit")
        requests = [output for output in outputs if isinstance(output, OptimizeRequest)]
        for request in requests:  # those of the last bar, one a policy, supersede the others
            if request.ts_event == requests[-1].ts_event:
                self._send(partial(_solve, request), "optimize")

    def _send(self, call: Callable[[], Any], what: str) -> bool:
        """One-way. What is not sent stays in the journal and is looked up, never sent again."""
        try:
            call()
        except (DonError, PendingCallsLimitExceeded) as error:
            self._log.warning("receiver away", what=what, error=str(error))
            return False
        return True

    def _time(self, messages: Sequence[Input], outputs: Sequence[Output]) -> None:
        """Notice when decisions come too late for their bars, and when that is over."""
        now, was = self._clock.now_ns(), self._lateness.late
        for item in (*messages, *outputs):
            self._lateness.take(item, now)
        if self._lateness.late and not was:
            self._log.warning("decisions come late", detail=self._lateness.text)
        elif was and not self._lateness.late:
            self._log.info("decisions come in time again", bars=self._lateness.bars)

    def _show(self, messages: Sequence[Input], outputs: Sequence[Output]) -> None:
        for item in (*messages, *outputs):
            self._tell(item)
        told = events.of(messages, outputs, self._engine.orders)
        now = self._clock.now_ns()
        try:
            board = find("board")
            if told:
                board.emit.remote(told)
            if told or now - self._last_view >= VIEW_EVERY_NS:
                self._last_view = now
                board.put.remote("desk", self._engine.view())
        except (DonError, PendingCallsLimitExceeded) as error:
            self._log.debug("board away", error=str(error))

    def _tell(self, item: Input | Output) -> None:
        match item:
            case Decision():
                codes = [str(denial.code) for denial in item.denials]
                self._log.info(
                    "decision", decision=item.decision, status=item.status,
                    orders=len(item.orders), denials=codes, reasons=list(item.reasons),
                )  # fmt: skip
            case SubmitOrder(order=order):
                self._log.info(
                    "order intended", decision=order.decision, order=order.client_order_id,
                    symbol=order.symbol, side=order.side, size=order.size, price=order.price,
                )  # fmt: skip
            case OrderReport():
                self._log.info(
                    "order report", order=item.client_order_id, status=item.status,
                    filled=item.filled, detail=item.detail,
                )  # fmt: skip
            case FillReport(fill=fill):
                self._log.info(
                    "fill", order=fill.client_order_id, symbol=fill.symbol, side=fill.side,
                    price=fill.price, size=fill.size, fee=fill.fee, trade=fill.trade_id,
                )  # fmt: skip
            case Difference():
                self._log.error(
                    "ledger and exchange differ", what=item.what, ledger=item.ledger,
                    exchange=item.exchange,
                )  # fmt: skip
            case _:
                self._log.debug("taken", kind=type(item).__name__)

    def _tick_for_ever(self) -> None:
        """Time reaches the desk as every message does: through its queue, one at a time."""
        pause = threading.Event()
        while not pause.wait(TICK_S):
            try:
                ray.get(self._me.tick.remote(), timeout=60)
            except (RayError, TimeoutError):
                self._log.exception("desk timer failed")


def _solve(request: OptimizeRequest) -> None:
    find("optimizer").solve.remote(request)
