"""Closing everything: the orders that bring positions to zero after a halt. Pure."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from don.execution.orders import OrderBookkeeper
from don.execution.planner import Ticket, split
from don.ledger import Ledger
from don.model.instrument import Instrument
from don.model.order import OrderType, Side, TimeInForce
from don.model.portfolio import ZERO

MAX_SLICES = 200  # per symbol and attempt; what is left goes with the next one


def flatten(
    ledger: Ledger, orders: OrderBookkeeper, instruments: Mapping[str, Instrument]
) -> list[Ticket]:
    """Reduce-only market orders for what no working reduce-only order closes already.

    Reduce-only orders cannot overshoot, so the worst that a late fill can do is to leave a rest for
    the next call. Instruments bound the size of an order; a position in one that is no longer
    listed goes in one order.
    """
    tickets: list[Ticket] = []
    for symbol, position in sorted(ledger.positions.items()):
        side = Side.SELL if position.size > 0 else Side.BUY
        covered = sum(
            (
                r.remaining
                for r in orders.in_flight(symbol)
                if r.order.reduce_only and r.order.side is side and not r.protects
            ),
            ZERO,
        )
        open_size = abs(position.size) - covered
        if open_size <= 0:
            continue
        instrument = instruments.get(symbol)
        cap = instrument.round_size(instrument.max_size) if instrument else open_size
        tickets += close_tickets(symbol, side, split(open_size, cap, MAX_SLICES), "flatten")
    return tickets


def close_tickets(
    symbol: str, side: Side, sizes: Iterable[Decimal], reason: str, *, parent: str = ""
) -> list[Ticket]:
    """Reduce-only market orders of these sizes."""
    return [
        Ticket(
            symbol=symbol,
            side=side,
            type=OrderType.MARKET,
            size=size,
            price=None,
            time_in_force=TimeInForce.GTC,
            reduce_only=True,
            reason=reason,
            parent=parent,
        )
        for size in sizes
    ]
