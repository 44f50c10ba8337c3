"""The kill switch: cancel, flatten, refuse, until a person resumes. Pure."""

from don.clock import NS_PER_S
from don.engine.core import Core
from don.execution.flatten import flatten
from don.execution.orders import OrderRecord
from don.model.order import DenialCode, OrderStatus
from don.risk.states import Standing, TradingState

MAX_BACKOFF = 32  # times `flatten_retry_s`, between tries that closed nothing


class KillSwitch:
    """Brings the account to flat and keeps it there while halted."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._last_try = 0  # wall time
        self._backoff = 1

    def halt(
        self,
        reason: str,
        *,
        snapshot: int = 0,
        scope: str = "account",
        actor: str = "",
        code: DenialCode | None = None,
    ) -> None:
        """Cancel every open order, close every position, refuse everything until `resume`.

        Args:
            reason: why.
            snapshot: version of the one that led to it, 0 if none.
            scope: whose state becomes HALTED.
            actor: who asked for it.
            code: of the limit that asked for it.
        """
        core = self._core
        halted = Standing(state=TradingState.HALTED, reason=reason, actor=actor, code=code)
        core.states.put(scope, halted)
        if not core.halted:
            core.halted, core.halt_reason = True, reason
        self._backoff = 1
        self._sweep()
        self._flatten("halt", [reason], snapshot=snapshot, always=True)

    def resume(self, reason: str) -> None:
        """Trade again. Today's loss counts from here: whoever resumes has seen it."""
        core = self._core
        was = core.halt_reason if core.halted else ""
        core.halted, core.halt_reason = False, ""
        core.states.resume()
        core.risk.rebase(core.equity())
        core.record(
            core.next_decision(),
            "resume",
            [reason, f"was halted: {was}" if was else "was not halted"],
        )

    def on_fill(self) -> None:
        """A late fill may have opened a position again: close it at once."""
        self._backoff = 1
        if self._core.halted:
            self._flatten("flatten", ["a fill while halted left a position"])

    def on_order(self) -> None:
        """An order of ours may have turned up open: cancel it."""
        if self._core.halted:
            self._sweep()

    def due(self, wall: int) -> bool:
        """True if `on_time` at that wall time would send something."""
        core = self._core
        pause = core.config.flatten_retry_s * self._backoff * NS_PER_S
        if not core.halted or wall - self._last_try < pause:
            return False
        left = self._open(again=True) or flatten(core.ledger, core.orders, core.instruments)
        return bool(left)

    def on_time(self, *, snapshot: int = 0) -> bool:
        """Try again, with growing pauses, to close what is left. True if orders went out."""
        core = self._core
        if not self.due(core.wall):
            return False
        self._last_try = core.wall
        self._backoff = min(2 * self._backoff, MAX_BACKOFF)
        self._sweep(again=True)
        return self._flatten("flatten", ["a position is left"], snapshot=snapshot)

    def _open(self, *, again: bool = False) -> list[OrderRecord]:
        """Orders to cancel: open ones, resting ones, and those that may not have left yet
        and would open a position; orders that close one are let through.

        `again` repeats cancellations already asked for: one may have been lost on its way.
        """
        return [
            r
            for r in self._core.orders.in_flight()
            if not r.status.final
            and (again or not r.cancelling)
            and (r.status is OrderStatus.OPEN or r.rests or not r.order.reduce_only)
            and not (r.protects and self._core.ledger.position(r.order.symbol).size)
        ]

    def _sweep(self, *, again: bool = False) -> None:
        for record in self._open(again=again):
            self._core.cancel(record, f"halted: {self._core.halt_reason}")

    def _flatten(
        self, status: str, reasons: list[str], *, snapshot: int = 0, always: bool = False
    ) -> bool:
        core = self._core
        if core.keeper is not None:
            core.keeper.offset()  # what books hold against each other needs no order
        tickets = flatten(core.ledger, core.orders, core.instruments)
        if not tickets and not always:
            return False
        decision = core.next_decision()
        sent, _ = core.submit(tickets, decision, emergency=True)
        self._last_try = core.wall
        core.record(decision, status, reasons, snapshot=snapshot, orders=sent)
        return bool(tickets)
