"""Changing the price and size of an open limit order. Pure.

Less size at the same price keeps the order's place in its queue; everything else goes to the back,
and takes what it meets on the way. As on the exchange, an order that is amended to no more than
what is filled is cancelled, and so is a post-only order whose new price would take.
"""

from dataclasses import replace
from decimal import Decimal

from don.model.order import TimeInForce
from don.paper import filters, placement
from don.paper.clearing import Clearing
from don.paper.filters import refuse
from don.paper.market import Market, book_side
from don.paper.types import OrderKind, OrderState, Status


def check(market: Market, order: OrderState, size: Decimal, price: Decimal) -> None:
    """What can be told of a request without looking at the market.

    Raises:
        ExchangeRefused: -5025 for other than limit orders, or what the filters say.
    """
    if order.kind is not OrderKind.LIMIT:
        refuse(-5025, "Only limit order is supported.")
    filters.check_size(size, market.instrument)
    filters.check_price(price, market.instrument)


def amend(clearing: Clearing, order: OrderState, size: Decimal, price: Decimal) -> None:
    """Give an open limit order another size and price.

    Raises:
        ExchangeRefused: the order stays as it is.
    """
    market, account = clearing.markets[order.symbol], clearing.accounts[order.account]
    if (size, price) == (order.size, order.price):
        refuse(-5027, "No need to modify the order.")
    if size <= order.filled:
        clearing.end(order, Status.CANCELED)
        return
    filters.check_band(order.side, price, market.mark, clearing.config)
    left = size - order.filled
    if order.reduce_only:
        left = min(left, account.closable(order.symbol, order.side))
        size = order.filled + left
    else:
        filters.check_notional(price * size, market.instrument)
        freed = order.left * order.price
        placement.check_margin(clearing, account, market, order.side, price, left, freed)
    limit, lots = market.ticks(price), market.lots(left)
    if price == order.price and left <= order.left:
        market.book.reduce(order.order_id, lots)
        clearing.amended(order, replace(order, size=size, ts_updated=clearing.now))
        return
    market.book.cancel(order.order_id)
    if order.time_in_force is TimeInForce.GTX and market.book.fillable(
        book_side(order.side), limit
    ):
        clearing.end(order, Status.CANCELED)
        return
    changed = replace(order, size=size, price=price, ts_updated=clearing.now)
    clearing.amended(order, changed)
    placement.execute(clearing, changed, limit)
