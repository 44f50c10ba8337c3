"""Placing an order: every check in the exchange's order, then matching and resting. Pure."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from don.errors import ExchangeRefused
from don.model.order import Side, TimeInForce
from don.model.portfolio import ZERO
from don.paper import filters
from don.paper.accounts import Account
from don.paper.algo import AlgoState
from don.paper.clearing import Clearing
from don.paper.filters import refuse
from don.paper.market import Market, book_side
from don.paper.matching import ANY_PRICE
from don.paper.types import NewOrder, OrderKind, OrderState, Status

_RESTING = (TimeInForce.GTC, TimeInForce.GTX, TimeInForce.GTD)
_SLIPPAGE = Decimal("1.0005")  # by which a market buy's margin is reckoned above the best ask


def place(clearing: Clearing, account: Account, market: Market, request: NewOrder) -> OrderState:
    """Check, accept, match and rest an order; its state after all that.

    Raises:
        ExchangeRefused: nothing has changed then.
    """
    return execute(clearing, *accept(clearing, account, market, request))


def accept(
    clearing: Clearing,
    account: Account,
    market: Market,
    request: NewOrder,
    algo: AlgoState | None = None,
) -> tuple[OrderState, int]:
    """Check and accept an order, neither matched nor queued; and its limit in ticks.

    Raises:
        ExchangeRefused: nothing has changed then.
    """
    _check_request(clearing, account, market, request)
    if algo is None:
        filters.check_good_till(request.time_in_force, request.good_till, clearing.now)
    size, limit = _check_market(clearing, account, market, request)
    price = _price(market, request, limit)
    return _open(clearing, account, market, request, size, price, algo=algo), limit


def take_in(
    clearing: Clearing, account: Account, market: Market, request: NewOrder, due: int
) -> OrderState:
    """Accept an order that takes effect later; checks what does not depend on the market.

    Raises:
        ExchangeRefused: nothing has changed then.
    """
    _check_request(clearing, account, market, request)
    price = request.price if request.price is not None else ZERO
    return _open(clearing, account, market, request, request.size, price, due)


def enter(clearing: Clearing, order: OrderState, request: NewOrder) -> OrderState:
    """Let an order that waited take effect: check it against the market, match and rest it.

    One that is refused now ends as REJECTED, with the code in its reason.
    """
    account, market = clearing.accounts[order.account], clearing.markets[order.symbol]
    try:
        filters.check_good_till(request.time_in_force, request.good_till, clearing.now)
        size, limit = _check_market(clearing, account, market, request)
    except ExchangeRefused as refused:
        return clearing.end(order, Status.REJECTED, f"{refused.code} {refused.message}")
    size = market.size(market.lots(size))
    order = clearing.enter(order, size, _price(market, request, limit))
    return execute(clearing, order, limit)


def _price(market: Market, request: NewOrder, limit: int) -> Decimal:
    return market.price(limit) if request.price is not None else ZERO


def _open(
    clearing: Clearing,
    account: Account,
    market: Market,
    request: NewOrder,
    size: Decimal,
    price: Decimal,
    due: int | None = None,
    algo: AlgoState | None = None,
) -> OrderState:
    return clearing.open(
        account.name,
        market.symbol,
        side=request.side,
        kind=request.kind,
        time_in_force=request.time_in_force or TimeInForce.GTC,
        reduce_only=request.reduce_only,
        price=price,
        size=market.size(market.lots(size)),
        client_order_id=request.client_order_id,
        due=due,
        good_till=request.good_till,
        algo=algo,
    )


def _check_request(clearing: Clearing, account: Account, market: Market, request: NewOrder) -> None:
    """What can be told of a request without looking at the market."""
    filters.check_form(request)
    if request.client_order_id is not None and clearing.records.open_with_client_id(
        account.name, request.client_order_id
    ):
        refuse(-4116, "ClientOrderId is duplicated.")
    filters.check_size(request.size, market.instrument)
    if request.price is not None:
        filters.check_price(request.price, market.instrument)


def _check_market(
    clearing: Clearing, account: Account, market: Market, request: NewOrder
) -> tuple[Decimal, int]:
    """What depends on the market and the account; the size that is left, and the limit in ticks."""
    instrument, config = market.instrument, clearing.config
    if request.price is not None:
        filters.check_band(request.side, request.price, market.mark, config)
        if _resting(clearing, account, market) >= config.max_open_orders:
            refuse(-2025, "Reach max open order limit.")
    size = _reducible(account, request) if request.reduce_only else request.size
    best = market.book.best(1 - book_side(request.side))
    if request.price is None and best is not None:
        filters.check_counterparty(request.side, market.price(best[0]), market.mark, config)
    value = request.price if request.price is not None else market.mark
    if value and not request.reduce_only:
        filters.check_notional(value * size, instrument)
    limit = _limit(clearing, market, request)
    _check_immediate(clearing, account, market, request, size, limit)
    if not request.reduce_only:
        price = request.price if request.price is not None else _market_price(market, request.side)
        check_margin(clearing, account, market, request.side, price, request.size)
    return size, limit


def _resting(clearing: Clearing, account: Account, market: Market) -> int:
    """Open orders that have taken effect."""
    opened = clearing.records.open_orders(account.name, market.symbol)
    return sum(not order.waiting for order in opened)


def execute(clearing: Clearing, order: OrderState, limit: int) -> OrderState:
    """Match an order that was announced, and rest or end what is left of it."""
    order = clearing.match(order, limit)
    if order.status.final:
        return order
    if order.kind is OrderKind.LIMIT and order.time_in_force in _RESTING:
        clearing.rest(order)
        return order
    return clearing.end(order, Status.EXPIRED)


def _reducible(account: Account, request: NewOrder) -> Decimal:
    """The size of a reduce-only order: at most the position, which it must be able to reduce."""
    closable = account.closable(request.symbol, request.side)
    if not closable:
        refuse(-2022, "ReduceOnly Order is rejected.")
    return min(request.size, closable)


def _limit(clearing: Clearing, market: Market, request: NewOrder) -> int:
    """The worst price in ticks that an order may meet; market orders stop at the price band."""
    if request.price is not None:
        return market.ticks(request.price)
    mark, tick, config = market.mark, market.instrument.tick_size, clearing.config
    if request.side is Side.BUY:
        steps = (mark * config.percent_up / tick).to_integral_value(ROUND_FLOOR)
        return int(steps) if mark else ANY_PRICE
    return int((mark * config.percent_down / tick).to_integral_value(ROUND_CEILING))


def _check_immediate(
    clearing: Clearing,
    account: Account,
    market: Market,
    request: NewOrder,
    size: Decimal,
    limit: int,
) -> None:
    """Post-only orders must not take, fill-or-kill orders must be able to take all."""
    side = book_side(request.side)
    if request.time_in_force is TimeInForce.GTX and market.book.fillable(side, limit):
        refuse(
            -5022,
            "Due to the order could not be executed as maker, the Post Only order will be "
            "rejected. The order will not be recorded in the order history",
        )
    if request.time_in_force is TimeInForce.FOK:
        there = market.book.fillable(side, limit, house_only=True)
        if there < market.lots(size):
            there += market.lots(_users_offer(clearing, account, market, request))
        if there < market.lots(size):
            refuse(
                -5021,
                "Due to the order could not be filled immediately, the FOK order has been "
                "rejected. The order will not be recorded in the order history",
            )


def _users_offer(
    clearing: Clearing, account: Account, market: Market, request: NewOrder
) -> Decimal:
    """What users' orders would give an aggressor, minding that fills cut reduce-only orders."""
    price = request.price
    assert price is not None, "only limit orders are fill-or-kill"
    sign = request.side.sign
    offers = [
        order
        for order in clearing.records.all_open()
        if order.symbol == market.symbol
        and order.side is not request.side
        and not order.waiting
        and order.price * sign <= price * sign
    ]
    total = ZERO
    closable: dict[str, Decimal] = {}
    for order in sorted(offers, key=lambda o: (o.price * sign, o.order_id)):
        size = order.left
        if order.account != account.name:  # the taker's own fills balance each other
            owner = clearing.accounts[order.account]
            room = closable.setdefault(order.account, owner.closable(order.symbol, order.side))
            size = min(size, max(room, ZERO)) if order.reduce_only else size
            closable[order.account] = room - size
        total += size
    return total


def _market_price(market: Market, side: Side) -> Decimal:
    """What a market order's margin is reckoned at: the best price, a buy 0.05 % above it."""
    best = market.book.best(1 - book_side(side))
    price = market.price(best[0]) if best is not None else market.mark
    return price * (_SLIPPAGE if side is Side.BUY else 1)


def check_margin(
    clearing: Clearing,
    account: Account,
    market: Market,
    side: Side,
    price: Decimal,
    size: Decimal,
    freed: Decimal = ZERO,
) -> None:
    """The margin that an order adds, and the loss it would open with, must be available.

    An order that adds no margin (it reduces) always passes. `freed` is the notional of the order
    that it takes the place of.
    """
    mark, symbol = market.mark, market.symbol
    before = sum(account.initial_margin(symbol, mark))
    extra = price * size - freed
    after = sum(account.initial_margin(symbol, mark, side=side, extra=extra))
    if after <= before:
        return
    opening = max(ZERO, size - account.closable(symbol, side))
    loss = max(ZERO, (price - mark) * side.sign * opening) if mark else ZERO
    if after - before + loss > account.free(clearing.marks):
        raise ExchangeRefused(-2019, "Margin is insufficient.")
