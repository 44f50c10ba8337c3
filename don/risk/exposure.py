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


def reach(book: Book, symbol: str, order: Order | None = None) -> tuple[Decimal, Decimal]:
    """The (lowest, highest) position, base, that the symbol can reach with its working orders and
    `order`: any of them may fill, in any order.

    A reduce-only order can only bring the position nearer to zero, but it makes room for another
    order on its side to go further beyond.
    """
    held = book.ledger.positions.get(symbol)
    position = ZERO if held is None else held.size
    asked = [(r.order, r.remaining) for r in book.orders.in_flight(symbol)]
    if order is not None and order.symbol == symbol:
        asked.append((order, order.size))
    if not asked:
        return position, position
    buys = sells = closing_buys = closing_sells = ZERO
    for item, size in asked:
        if item.reduce_only or item.close_position:
            if item.close_position:
                size = abs(position)
            if item.side is Side.BUY:
                closing_buys += size
            else:
                closing_sells += size
        elif item.side is Side.BUY:
            buys += size
        else:
            sells += size
    if closing_buys and position < 0:
        buys += min(closing_buys, -position)
    if closing_sells and position > 0:
        sells += min(closing_sells, position)
    return position - sells, position + buys


def worst_size(book: Book, symbol: str, order: Order | None = None) -> Decimal:
    """Largest |position|, base, that the symbol can reach with its working orders and `order`."""
    low, high = reach(book, symbol, order)
    return max(-low, high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a symbol's position can come to, in quote at mark."""

    symbol: str
    now: Decimal
    low: Decimal
    high: Decimal

    @property
    def gross(self) -> Decimal:
        """The largest absolute value."""
        return max(-self.low, self.high)


def reaches(book: Book, order: Order | None = None) -> list[Reach]:
    """Every symbol with a position or working orders, sorted. Without mark: at entry price."""
    symbols = set(book.ledger.positions) | book.orders.symbols()
    if order is not None:
        symbols.add(order.symbol)
    found = []
    for symbol in sorted(symbols):
        position = book.ledger.position(symbol)
        mark = book.marks.get(symbol) or abs(position.entry_price)
        low, high = reach(book, symbol, order)
        found.append(
            Reach(symbol=symbol, now=position.size * mark, low=low * mark, high=high * mark)
        )
    return found


def worst_gross(book: Book, order: Order | None = None) -> Decimal:
    """Sum over symbols of the worst |position| at mark, quote. A symbol without mark counts at
    entry.
    """
    asked = book.orders.symbols()
    if order is not None:
        asked.add(order.symbol)
    total = ZERO
    for symbol, position in book.ledger.positions.items():
        if symbol not in asked:  # nothing is under way: as it is
            total += abs(position.size) * (book.marks.get(symbol) or abs(position.entry_price))
    for symbol in asked:
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
            price = (order.trigger or mark) * (1 + slippage * order.side.sign)
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
