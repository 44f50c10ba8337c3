"""What positions would suffer without Don: exposure with no protection at the exchange. Pure."""

from collections.abc import Mapping
from decimal import Decimal

from don.clock import NS_PER_S
from don.execution.orders import OrderBookkeeper
from don.ledger import Ledger
from don.model.order import OrderStatus, OrderType, Side
from don.model.portfolio import ZERO

_STOPS = (OrderType.STOP_MARKET, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP)


def unprotected(
    ledger: Ledger, orders: OrderBookkeeper, marks: Mapping[str, Decimal]
) -> dict[str, Decimal]:
    """Notional by symbol that no stop at the exchange would close, quote at mark (else at entry).

    Only orders that the exchange has acknowledged count, and only those that limit a loss: a
    take-profit does not.
    """
    found = {}
    for symbol, position in sorted(ledger.positions.items()):
        side = Side.SELL if position.size > 0 else Side.BUY
        covered = ZERO
        for record in orders.in_flight(symbol):
            order = record.order
            stands = order.protective and record.status is OrderStatus.OPEN
            if stands and order.side is side and order.type in _STOPS:
                covered += abs(position.size) if order.close_position else record.remaining
        bare = max(abs(position.size) - covered, ZERO)
        if bare:
            found[symbol] = bare * (marks.get(symbol) or abs(position.entry_price))
    return found


def exposure(notional: Mapping[str, Decimal], ns: int) -> Decimal:
    """Notional × seconds of a time without Don, quote seconds."""
    return sum(notional.values(), ZERO) * max(ns, 0) / NS_PER_S
