"""Own orders that were open at the exchange when a session went on, as its backtest begins. Pure.

Plain orders are queued right after the books are displayed as they stand: behind all that is shown
at their price, since nobody recorded what was ahead of them. Conditional orders stand from the
beginning. What took effect only after the backtest begins waits until then.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from don.engine.state import load as load_state
from don.errors import UsageError
from don.exchanges import binance_wire as wire
from don.exchanges.binance_algo import algo_request
from don.execution.orders import OrderBookkeeper, OrderRecord
from don.model.evolve import evolve
from don.model.messages import AccountReport, FillReport, OrderReport, SessionStart
from don.model.order import TimeInForce
from don.model.portfolio import ZERO
from don.paper.algo import AlgoState
from don.paper.config import PaperConfig
from don.paper.delay import Delay
from don.paper.server.order_params import new_algo, new_order
from don.paper.server.params import Params
from don.paper.types import NewOrder, OrderState, Pending, PendingKind, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What was open, as the exchange keeps it."""

    orders: tuple[OrderState, ...]
    algos: tuple[AlgoState, ...]
    waiting: tuple[Pending, ...]


def carried(
    start: SessionStart, told: Sequence[object], config: PaperConfig, now: int, last_id: int
) -> Carried:
    """The orders that were open before the first bar.

    Args:
        start: the session's first entry; its state has the orders as they were intended.
        told: what the exchange told before the first bar, in order.
        config: the exchange's; its first interval is the session's.
        now: tape time at which the backtest begins, ns.
        last_id: ids above this one are free.

    Raises:
        UsageError: if one is of a symbol that the session did not trade.
    """
    names = {i.symbol: i.exchange_symbol for i in start.instruments}
    delay, account = Delay(config), config.accounts[0]
    orders: list[OrderState] = []
    algos: list[AlgoState] = []
    waiting: list[Pending] = []
    for ident, record in enumerate(_standing(start, told), last_id + 1):
        order = record.order
        symbol = names.get(order.symbol)
        if symbol is None:
            raise UsageError(
                f"session {start.session} had order {order.client_order_id} open in "
                f"{order.symbol}, which it did not trade: the backtest has no market for it"
            )
        due = delay.due(order.ts_event) or order.ts_event
        asked = None
        if order.type.conditional:
            algos.append(_algo(record, symbol, account, ident, due, waits=due > now))
            place, cancel = PendingKind.ALGO_PLACE, PendingKind.ALGO_CANCEL
        else:
            due = max(due, now + 1)  # after the books as they stand
            asked, state = _order(record, symbol, account, ident, due)
            orders.append(state)
            place, cancel = PendingKind.PLACE, PendingKind.CANCEL
        if due > now:
            waiting.append(
                Pending(
                    kind=place, account=account, symbol=symbol, due=due, order_id=ident, order=asked
                )
            )
        ends = delay.due(now + start.interval_ns - 1)
        if record.cancelling and ends is not None:
            # asked for by the session before; had it taken effect, that would have been told
            waiting.append(
                Pending(kind=cancel, account=account, symbol=symbol, due=ends, order_id=ident)
            )
    return Carried(orders=tuple(orders), algos=tuple(algos), waiting=tuple(waiting))


def _standing(start: SessionStart, told: Sequence[object]) -> list[OrderRecord]:
    """Own orders on record that the last account names and nothing has ended since."""
    keeper = OrderBookkeeper(load_state(start.state).orders)
    named: frozenset[str] = frozenset()
    seen: set[str] = set()
    for report in told:
        match report:
            case AccountReport():
                named = frozenset(report.open_orders)
            case OrderReport() if keeper.get(report.client_order_id) is not None:
                keeper.on_report(report)
            case FillReport() if (
                report.key not in seen and keeper.get(report.fill.client_order_id) is not None
            ):
                seen.add(report.key)
                keeper.on_fill(report.fill)
            case _:
                pass
    return [
        record
        for record in keeper.in_flight()
        if record.order.client_order_id in named and not record.status.final
    ]


def _order(
    record: OrderRecord, symbol: str, account: str, ident: int, due: int
) -> tuple[NewOrder, OrderState]:
    """A plain order that takes effect at a time, and what asks for it."""
    asked = new_order(Params(wire.order_request(record.order, symbol)), symbol, account)
    filled, quote = record.filled, record.quote
    if asked.reduce_only:  # cut to the position when it takes effect: only the rest may count
        asked, filled, quote = evolve(asked, size=record.remaining), ZERO, ZERO
    return asked, OrderState(
        account=account,
        symbol=symbol,
        order_id=ident,
        client_order_id=record.order.client_order_id,
        side=asked.side,
        kind=asked.kind,
        time_in_force=asked.time_in_force or TimeInForce.GTC,
        reduce_only=asked.reduce_only,
        price=asked.price or ZERO,
        size=asked.size,
        filled=filled,
        quote=quote,
        status=Status.PARTIALLY_FILLED if filled else Status.NEW,
        ts_created=due,
        ts_updated=due,
        waiting=True,
        good_till=asked.good_till,
    )


def _algo(
    record: OrderRecord, symbol: str, account: str, ident: int, due: int, *, waits: bool
) -> AlgoState:
    """A conditional order that was not set off, armed or still waiting; one that trails anew."""
    asked = new_algo(Params(algo_request(record.order, symbol)), symbol, account)
    state = AlgoState.accepted(asked, account, ident, due, waiting=waits)
    return state if asked.size is None else evolve(state, size=record.remaining)
