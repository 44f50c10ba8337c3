"""Worst-case exposure: what the account would hold if the fills came that enlarge it most. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from don.execution.orders import OrderBookkeeper
from don.ledger import Ledger
from don.model.order import Order, Side
from don.model.portfolio import ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """What risk looks at: the account as the desk knows it, priced at marks."""

    ledger: Ledger
    orders: OrderBookkeeper
    marks: Mapping[str, Decimal]  # last known mark of every symbol with one
    lasts: Mapping[str, Decimal]  # last traded price: about where a market order would fill
    taker_fees: Mapping[str, Decimal]
    equity: Decimal


def worst_size(book: Book, symbol: str, order: Order | None = None) -> Decimal:
    """Largest |position|, base, that the symbol can reach with its working orders and `order`.

    Any subset of the orders may fill. |p + b - s| is convex in what is bought and sold, so the
    worst is at one of the ends: all buys and no sells, or the other way round. Reduce-only orders
    never count.
    """
    position = book.ledger.position(symbol).size
    buys, sells = book.orders.worst_sizes(symbol)
    if order is not None and order.symbol == symbol and not order.reduce_only:
        if order.side is Side.BUY:
            buys += order.size
        else:
            sells += order.size
    return max(abs(position + buys), abs(position - sells), abs(position))


def worst_gross(book: Book, order: Order | None = None) -> Decimal:
    """Sum over symbols of the worst |position| at mark, quote. A symbol without mark counts at
    entry.
    """
    symbols = set(book.ledger.positions) | book.orders.symbols()
    if order is not None:
        symbols.add(order.symbol)
    total = ZERO
    for symbol in sorted(symbols):
        mark = book.marks.get(symbol) or abs(book.ledger.position(symbol).entry_price)
        total += worst_size(book, symbol, order) * mark
    return total


def worst_cost(book: Book, orders: Iterable[tuple[Order, Decimal]], slippage: Decimal) -> Decimal:
    """Upper bound of what filling the orders takes from equity at mark: fees and a worse price.

    Args:
        book: the account.
        orders: (order, size that may still fill).
        slippage: how far from mark a market order may fill, as a fraction.
    """
    total = ZERO
    for order, size in orders:
        mark = book.marks.get(order.symbol)
        if mark is None:
            continue
        price = order.price
        if price is None:
            price = mark * (1 + slippage * order.side.sign)
        adverse = max((price - mark) * order.side.sign, ZERO)
        fee = max(book.taker_fees.get(order.symbol, ZERO), ZERO)
        total += size * (adverse + fee * max(price, mark))
    return total


def closable(book: Book, order: Order) -> Decimal:
    """How much of the position an order on that side can still close, base, zero or more.

    Working orders of the same side come first: two orders must not close the same position twice.
    """
    position = book.ledger.position(order.symbol).size
    held = max(-position * order.side.sign, ZERO)
    same_side = sum(
        (r.remaining for r in book.orders.in_flight(order.symbol) if r.order.side is order.side),
        ZERO,
    )
    return max(held - same_side, ZERO)
