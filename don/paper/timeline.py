"""What happens at a tape time without an event of the tape: dates that come, requests that waited.

Pure. At one time the orders whose date has come end first, then requests take effect.
"""

from dataclasses import replace

from don.errors import ExchangeRefused
from don.paper import amendment, conditional, placement
from don.paper.algo import AlgoStatus
from don.paper.clearing import Clearing
from don.paper.types import Pending, PendingKind, Status


def next_due(clearing: Clearing) -> int | None:
    """The earliest time at which something happens."""
    times = (clearing.delay.next(), clearing.expiries.next())
    return min((ts for ts in times if ts is not None), default=None)


def run(clearing: Clearing, due: int) -> None:
    """Move on to a time and do what is due then."""
    clearing.now = max(clearing.now, due)
    for order_id, algo_id in clearing.expiries.take(due):
        _expire(clearing, order_id, algo_id)
    for request in clearing.delay.take(due):
        _carry_out(clearing, request)


def _expire(clearing: Clearing, order_id: int, algo_id: int) -> None:
    if order_id:
        order = clearing.records.peek(order_id)
        if order is not None and not order.status.final:
            clearing.end(order, Status.EXPIRED)
        return
    algo = clearing.algos.peek(algo_id)
    if algo is not None and algo.status is AlgoStatus.NEW:
        conditional.end(clearing, algo, AlgoStatus.EXPIRED)


def _carry_out(clearing: Clearing, request: Pending) -> None:
    """Let a request that waited take effect; nothing happens to orders that have ended since."""
    match request.kind:
        case PendingKind.CANCEL_ALL:
            for order in clearing.records.open_orders(request.account, request.symbol):
                if not order.waiting:  # those came after it
                    clearing.end(order, Status.CANCELED)
        case PendingKind.ALGO_CANCEL_ALL:
            conditional.end_all(clearing, request.account, request.symbol, waiting=False)
        case PendingKind.ALGO_PLACE | PendingKind.ALGO_CANCEL:
            _carry_out_algo(clearing, request)
        case _:
            _carry_out_order(clearing, request)


def _carry_out_order(clearing: Clearing, request: Pending) -> None:
    order = clearing.records.get(request.order_id)
    if order.status.final:
        return
    if request.kind is PendingKind.CANCEL:
        clearing.end(order, Status.CANCELED)
    elif request.kind is PendingKind.AMEND:
        try:
            amendment.amend(clearing, order, request.size, request.price)
        except ExchangeRefused as refused:  # the order stays as it is, and says why
            reason = f"{refused.code} {refused.message}"
            clearing.amended(order, replace(order, reason=reason, ts_updated=clearing.now))
    elif request.order is not None:
        placement.enter(clearing, order, request.order)


def _carry_out_algo(clearing: Clearing, request: Pending) -> None:
    algo = clearing.algos.get(request.order_id)
    if algo.status is not AlgoStatus.NEW:
        return
    if request.kind is PendingKind.ALGO_CANCEL:
        conditional.end(clearing, algo, AlgoStatus.CANCELED)
    else:
        conditional.arm(clearing, algo)
