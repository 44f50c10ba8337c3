"""Keeps protective orders in step with positions. Pure, over the engine's core."""

from don.engine.core import Core
from don.execution.orders import OrderRecord
from don.execution.parents import WOULD_TRIGGER
from don.execution.protect import PROTECT, Upkeep, keep
from don.model.order import OrderStatus, TriggerPrice


class Protector:
    """Looks at a symbol after each bar, and when something happened to its position."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._config = core.config.protect
        self._changed: set[str] = set()  # symbols to look at
        self._refused: dict[str, str] = {}  # symbol -> why a stop was refused since the last bar
        self._any = self._config.on or any(_protects(r) for r in core.orders.in_flight())

    def on_bar(self) -> None:
        """Prices have moved: look at everything."""
        if not self._any:
            return
        core = self._core
        self._refused.clear()
        self._changed = set(core.ledger.positions) | {
            r.order.symbol for r in core.orders.in_flight() if _protects(r)
        }
        self._run(waits=False)

    def on_order(self, client_order_id: str) -> None:
        """Something became of an order."""
        record = self._core.orders.get(client_order_id)
        if record is None or not self._any:
            return
        symbol = record.order.symbol
        if _protects(record) and record.status is OrderStatus.REJECTED:
            self._refused[symbol] = record.detail
        self._changed.add(symbol)

    def run(self) -> None:
        """Look at the symbols to which something happened."""
        if self._changed:
            self._run(waits=True)

    def _run(self, *, waits: bool) -> None:
        core = self._core
        if not core.reconciled:
            return
        sent: list[str] = []
        reasons: list[str] = []
        decision = 0
        for symbol in sorted(self._changed):
            if waits and any(r.unsettled and not _protects(r) for r in core.orders.working(symbol)):
                continue  # more fills come: look when they are in
            self._changed.discard(symbol)
            todo = self._todo(symbol)
            for record, why in todo.cancels:
                core.cancel(record, why)
                reasons.append(f"{symbol}: cancel {record.order.client_order_id}, {why}")
            if todo.places:
                decision = decision or core.next_decision()
                made, _ = core.submit(todo.places, decision, emergency=True, first=len(sent))
                sent += made
                reasons += [
                    f"{symbol}: {t.reason}, {t.side} {t.size}"
                    + (f" from {t.trigger}" if t.trigger is not None else "")
                    for t in todo.places
                ]
        if reasons:
            core.record(decision or core.next_decision(), "protect", reasons, orders=sent)

    def _todo(self, symbol: str) -> Upkeep:
        core = self._core
        records = [r for r in core.orders.in_flight(symbol) if _protects(r)]
        position = core.ledger.position(symbol)
        instrument = core.instruments.get(symbol)
        price = core.market.marks.get(symbol)
        if self._config.trigger_by is TriggerPrice.LAST:
            price = core.market.lasts.get(symbol, price)
        if not self._config.on:
            live = [r for r in records if not r.cancelling and not r.status.final]
            return Upkeep(cancels=[(r, "protection is switched off") for r in live])
        if instrument is None or price is None:
            return Upkeep()
        refused = self._refused.get(symbol, "")
        todo = keep(position, records, price, instrument, self._config, refused=refused)
        if core.halted or (refused and not refused.startswith(WOULD_TRIGGER)):
            # what halts closes the position itself; what was refused is tried after the next bar
            todo.places.clear()
        return todo


def _protects(record: OrderRecord) -> bool:
    return record.order.parent == PROTECT
