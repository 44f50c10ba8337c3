"""Risk in the running desk: loss limits as marks move, states and limits by command, fills that do
not come. Pure, over the engine's core.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal

from pydantic import ValidationError

from don.clock import NS_PER_S
from don.engine.core import Core
from don.engine.halt import KillSwitch
from don.errors import DonError, UsageError
from don.model.messages import Command, CommandKind
from don.model.order import DenialCode
from don.risk.change import applied, difference, override, parse_limits, parse_state, said
from don.risk.losses import Breach
from don.risk.states import Standing, TradingState

ACTOR = "risk"


class Guard:
    """Watches over what a decision alone does not see."""

    def __init__(
        self,
        core: Core,
        switch: KillSwitch,
        drop: Callable[[str], None],
        halt_slot: Callable[[str, str], None],
    ) -> None:
        """`drop` ends an open decision, with a reason; `halt_slot` closes one slot's book."""
        self._core = core
        self._halt_slot = halt_slot
        self._switch = switch
        self._drop = drop
        self._short: dict[str, int] = {}  # orders that miss fills -> wall time since when
        self._told: set[str] = set()  # those that were said to be overdue
        for record in core.orders.in_flight():
            self.watch(record.order.client_order_id)

    # ---- losses ---------------------------------------------------------------------------------

    def check(self, *, snapshot: int = 0) -> bool:
        """Hold equity against the loss limits. True if that halted the desk."""
        core = self._core
        if core.halted or not core.ledger.adopted:
            return False
        # every change of books or marks ends in a point of the equity curve
        equity = core.last_equity.equity if core.last_equity else core.equity()
        breach = core.risk.losses.breach(equity)
        if breach is None or self._stands(breach):
            return False
        if breach.state is TradingState.HALTED:
            self._drop(str(breach))
            self._switch.halt(str(breach), snapshot=snapshot, actor=ACTOR, code=breach.code)
            return True
        self._reduce("account", str(breach), ACTOR, breach.code)
        return False

    def would_act(self, marks: Mapping[str, Decimal]) -> bool:
        """True if a loss limit would be reached at these marks."""
        core = self._core
        if core.halted or not core.ledger.adopted or not core.ledger.positions:
            return False
        breach = core.risk.losses.breach(core.ledger.equity({**core.market.marks, **marks}))
        return breach is not None and not self._stands(breach)

    def _stands(self, breach: Breach) -> bool:
        """True if what the breach calls for holds already, by a limit."""
        standing = self._core.states.standings.get("account")
        return standing is not None and standing.state.severity >= breach.state.severity

    # ---- commands -------------------------------------------------------------------------------

    def objection(self, command: Command) -> str:
        """Why a command about limits or states cannot be carried out; "" if it can."""
        try:
            if command.kind is CommandKind.LIMITS:
                self._changed(command.payload)
            elif command.kind is CommandKind.STATE:
                scope, _ = parse_state(command.payload)
                self._core.states.scope(scope)
        except (DonError, ValueError) as error:
            return str(error)
        return ""

    def on_limits(self, command: Command, why: str) -> None:
        """Hold to other limits from now on; on record with what changed."""
        core = self._core
        try:
            overrides = self._changed(command.payload)
        except DonError as error:
            core.record(core.next_decision(), "limits", [why, f"refused: {error}"])
            return
        before = core.config.risk
        core.limit(overrides)
        changes = difference(before, core.config.risk) or ["nothing changed"]
        core.record(core.next_decision(), "limits", [why, *changes])
        self.check()

    def _changed(self, payload: str) -> dict[str, object]:
        core = self._core
        overrides = override(core.limits.overrides, parse_limits(payload))
        limits = applied(core.limits.configured.risk, overrides)
        try:
            core.limits.checked(limits)
        except ValidationError as error:
            raise UsageError(said(error)) from error
        return overrides

    def on_state(self, command: Command, why: str) -> None:
        """Set the state of a scope; on record."""
        core = self._core
        try:
            named, state = parse_state(command.payload)
            scope = core.states.scope(named)
        except (DonError, ValueError) as error:
            core.record(core.next_decision(), "state", [why, f"refused: {error}"])
            return
        if state is TradingState.HALTED and core.states.concerns(scope):
            self._drop(why)
            self._switch.halt(why, scope=scope, actor=command.actor)
            return
        if state is TradingState.REDUCING and core.states.concerns(scope) and not core.halted:
            self._reduce(scope, why, command.actor, None)
            return
        before = core.states.standings.get(scope)
        core.states.put(scope, Standing(state=state, reason=why, actor=command.actor))
        if (slot := core.states.slot(scope)) and state is TradingState.HALTED:
            self._halt_slot(slot, why)
            return
        if core.halted and core.states.state is not TradingState.HALTED:
            self._switch.resume(why)
            return
        if before is not None and before.automatic and core.states.concerns(scope):
            core.risk.rebase(core.equity())  # a person has seen these losses
        core.record(core.next_decision(), "state", [why, f"{scope} is {state}"])

    def _reduce(self, scope: str, why: str, actor: str, code: DenialCode | None) -> None:
        """Let only reductions pass; resting orders that could enlarge a position go."""
        core = self._core
        standing = Standing(state=TradingState.REDUCING, reason=why, actor=actor, code=code)
        core.states.put(scope, standing)
        going = [
            r
            for r in core.orders.in_flight()
            if r.rests and not r.status.final and not r.order.reduce_only and not r.protects
        ]
        for record in going:
            core.cancel(record, why)
        core.record(
            core.next_decision(),
            "reducing",
            [why, f"{scope} is reducing", f"{len(going)} resting orders cancelled"],
        )

    # ---- fills that do not come -----------------------------------------------------------------

    def watch(self, client_order_id: str) -> None:
        """An order was reported on: note since when fills that it tells of are missing."""
        record = self._core.orders.get(client_order_id)
        if record is None or not record.missing:
            self._short.pop(client_order_id, None)
            self._told.discard(client_order_id)
        else:
            self._short.setdefault(client_order_id, self._core.wall)

    def overdue(self, wall: int) -> list[str]:
        """Orders whose fills have been missing for too long, and nobody was told yet."""
        limit = int(self._core.config.risk.fills_timeout_s * NS_PER_S)
        return [
            i for i, since in self._short.items() if wall - since >= limit and i not in self._told
        ]

    def on_time(self) -> None:
        """Stop believing the books if a reported fill has not come for too long."""
        core = self._core
        late = self.overdue(core.wall)
        if not late:
            return
        reasons = []
        for client_id in late:
            self._told.add(client_id)
            record = core.orders.get(client_id)
            if record is None:
                continue
            core.difference(
                f"fills {client_id}", record.filled, record.reported, core.market.ts_event
            )
            reasons.append(
                f"{client_id}: {record.reported} {record.order.symbol} reported as filled, fills "
                f"of {record.filled} came within {core.config.risk.fills_timeout_s:g} s"
            )
        core.reconciled = core.ledger_equal = False
        why = "UNRECONCILED: reported fills do not come"
        self._drop(why)
        core.record(core.next_decision(), "unreconciled", [why, *reasons])

    def give_up(self) -> None:
        """A person adopts the exchange's account: fills that never came are in it."""
        for client_id in list(self._told):
            self._core.orders.give_up(client_id)
            self.watch(client_id)
