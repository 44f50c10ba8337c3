"""Orders by hand: commands of kind ORDER, with who and why on record. Pure, over the core."""

from don.engine.core import Core
from don.engine.working import Worker
from don.errors import UsageError
from don.execution.parents import Parent
from don.execution.requests import (
    OrderAction,
    OrderCommand,
    OrderRequest,
    amended,
    manual_id,
    read_command,
)
from don.model.messages import Command

ALL = "all"


class Manual:
    """Takes commands about orders; each ends in a decision on record, carried out or refused."""

    def __init__(self, core: Core, worker: Worker) -> None:
        self._core, self._worker = core, worker

    def objection(self, command: Command) -> str:
        """Why a command cannot be carried out; "" if it can, as far as is known before."""
        try:
            self._check(read_command(command.payload))
        except UsageError as error:
            return str(error)
        return ""

    def on_command(self, command: Command, why: str) -> None:
        """Carry a command out."""
        core = self._core
        try:
            told = read_command(command.payload)
            self._check(told)
        except UsageError as error:
            core.record(core.next_decision(), "order", [why, f"refused: {error}"])
            return
        match told.action:
            case OrderAction.PLACE if told.request is not None:
                self._place(command, told.request, why)
            case OrderAction.AMEND:
                parent = self._parent(told.parent)
                self._worker.change(parent.parent_id, amended(parent.request, told), why)
            case OrderAction.CANCEL:
                self._cancel(told.parent, why)

    def _check(self, told: OrderCommand) -> None:
        core = self._core
        if told.action is OrderAction.PLACE and told.request is not None:
            self._fits(told.request)
            if core.halted:
                raise UsageError(f"no order is taken while halted: {core.halt_reason}")
            if core.stopping:
                raise UsageError("no order is taken while the session is stopping")
        elif told.action is OrderAction.AMEND:
            parent = self._parent(told.parent)
            if parent.request.kind.algorithm and told.size is None and told.price is None:
                raise UsageError(f"{parent.request.kind} orders have no trigger")
            request = amended(parent.request, told)
            self._fits(request)
            filled, _ = self._worker.figures(parent)
            if request.size < filled:
                raise UsageError(f"size must be at least what is filled, {filled}, was {told.size}")
        elif told.parent != ALL and not self._child(told.parent):
            self._parent(told.parent)

    def _fits(self, request: OrderRequest) -> None:
        core = self._core
        if request.symbol not in core.symbols:
            raise UsageError(
                f"symbol must be one of {', '.join(core.symbols)}, was {request.symbol!r}"
            )
        request.checked(core.instruments[request.symbol])

    def _parent(self, parent_id: str) -> Parent:
        for parent in self._worker.parents:
            if parent.parent_id == parent_id:
                return parent
        raise UsageError(f"no order {parent_id!r} is under way: see `don order list`")

    def _child(self, client_order_id: str) -> bool:
        record = self._core.orders.get(client_order_id)
        return record is not None and not record.status.final

    def _place(self, command: Command, request: OrderRequest, why: str) -> None:
        core, symbol = self._core, request.symbol
        self._worker.drop(why, symbols=[symbol])  # the policy leaves it alone from here on
        for record in core.orders.working(symbol):
            if record.rests and not record.status.final and not record.order.parent:
                core.cancel(record, why)
        parent_id = manual_id(command.key)
        self._worker.open(parent_id, request, actor=command.actor)
        self._worker.look(parent_id, why, "order")

    def _cancel(self, name: str, why: str) -> None:
        core = self._core
        record = core.orders.get(name)
        if name == ALL:
            manual = [p.parent_id for p in self._worker.parents if p.actor]
            count = self._worker.drop(why, only=manual)
            core.record(core.next_decision(), "cancel", [why, f"{count} orders cancelled"])
            return
        parent_id = name if record is None else record.order.parent
        if record is not None and all(p.parent_id != parent_id for p in self._worker.parents):
            core.cancel(record, why)
        else:
            self._worker.drop(why, only=[parent_id])
        core.record(core.next_decision(), "cancel", [why, f"{name} cancelled"])
