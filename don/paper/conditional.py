"""Conditional orders: accepted, armed, set off by a price, ended. Pure.

A stop waits for the price to move its own way (a buy for it to rise), a take-profit for the other
way, a trailing stop for a turn by its callback rate from the best price since it is active. Which
price counts is the order's own choice: the last trade of the tape or the mark price. What a price
sets off becomes an ordinary order at once, in the order of ids, before anything else happens; it is
checked then like any other, and REJECTED if it cannot be (margin, nothing to reduce).
"""

from dataclasses import replace
from decimal import Decimal

from don.errors import ExchangeRefused
from don.paper import filters, placement
from don.paper.accounts import Account
from don.paper.algo import AlgoKind, AlgoState, AlgoStatus, NewAlgo, Working
from don.paper.clearing import Clearing
from don.paper.events import AlgoUpdate
from don.paper.filters import refuse
from don.paper.market import Market
from don.paper.types import NewOrder, OrderKind

_PERCENT = Decimal(100)
_CALLBACKS = (Decimal("0.1"), Decimal(10))  # percent


def working_price(market: Market, working: Working) -> Decimal:
    """The price that sets orders off; 0 when nothing is known about the market yet."""
    if working is Working.CONTRACT_PRICE and market.last:
        return market.price(market.last)
    return market.mark


# ---- in ------------------------------------------------------------------------------------------


def place(
    clearing: Clearing, account: Account, market: Market, request: NewAlgo, due: int | None = None
) -> AlgoState:
    """Accept a conditional order and arm it; with `due` it is armed at that time, by `arm`.

    Raises:
        ExchangeRefused: nothing has changed then.
    """
    _check_form(clearing, account, market, request)
    algos, now = clearing.algos, clearing.now if due is None else due
    if due is None:
        _check_market(clearing, account, market, request)
    algo = AlgoState.accepted(request, account.name, algos.next_id(), now, waiting=due is not None)
    algos.put(algo)
    return algo if due is not None else _armed(clearing, market, algo)


def arm(clearing: Clearing, algo: AlgoState) -> None:
    """Let one that waited take effect; refused now, it ends as REJECTED."""
    account, market = clearing.accounts[algo.account], clearing.markets[algo.symbol]
    try:
        _check_market(clearing, account, market, _request(algo))
    except ExchangeRefused as refused:
        _change(clearing, algo, AlgoStatus.REJECTED, reason=f"{refused.code} {refused.message}")
        return
    _armed(clearing, market, replace(algo, waiting=False))


def _armed(clearing: Clearing, market: Market, algo: AlgoState) -> AlgoState:
    if algo.good_till:
        clearing.expiries.add(algo.good_till, algo_id=algo.algo_id)
    if algo.kind is AlgoKind.TRAILING_STOP_MARKET:
        algo = _follow(algo, working_price(market, algo.working))
    clearing.algos.put(algo)
    _announce(clearing, algo)
    return algo


def _request(algo: AlgoState) -> NewAlgo:
    return NewAlgo(
        symbol=algo.symbol,
        side=algo.side,
        kind=algo.kind,
        size=algo.size or None,
        trigger=algo.trigger or None,
        price=algo.price or None,
        time_in_force=algo.time_in_force,
        working=algo.working,
        reduce_only=algo.reduce_only,
        close_position=algo.close_position,
        activate=algo.activate or None,
        callback=algo.callback or None,
        good_till=algo.good_till,
    )


# ---- checks --------------------------------------------------------------------------------------


def _check_form(clearing: Clearing, account: Account, market: Market, request: NewAlgo) -> None:
    """What can be told of a request without looking at the market."""
    name, instrument = request.client_algo_id, market.instrument
    filters.check_client_id(name)
    filters.check_algo_form(request)
    if name is not None:
        known = clearing.algos.find(account.name, None, name)
        if known is not None and not known.status.final:
            refuse(-4116, "ClientOrderId is duplicated.")
    if request.size is not None:
        filters.check_size(request.size, instrument)
    for price in (request.trigger, request.activate):
        if price is not None:
            filters.check_price(price, instrument, too_low=(-4006, "Stop price less than zero."))
    if request.price is not None:
        filters.check_price(request.price, instrument)
    low, high = _CALLBACKS
    if request.callback is not None and not low <= request.callback <= high:
        refuse(-2007, "Invalid callBack rate.")


def _check_market(clearing: Clearing, account: Account, market: Market, request: NewAlgo) -> None:
    """What depends on the market and the account; margins are looked at when it is set off."""
    filters.check_good_till(request.time_in_force, request.good_till, clearing.now)
    armed = [a for a in clearing.algos.open(account.name, market.symbol) if not a.waiting]
    if len(armed) >= clearing.config.max_algo_orders:
        refuse(-4045, "Reach max stop order limit.")
    if request.close_position and any(
        a.close_position and a.side is request.side and a.kind.stop == request.kind.stop
        for a in armed
    ):
        refuse(
            -4130,
            "An open stop or take profit order with GTE and closePosition in the direction is "
            "existing.",
        )
    price = working_price(market, request.working)
    if not price:
        return
    sign = request.side.sign
    if request.kind is AlgoKind.TRAILING_STOP_MARKET:
        if request.activate is not None and (request.activate - price) * sign >= 0:
            refuse(-2021, "Order would immediately trigger.")
    elif request.trigger is not None and _reached(request.kind, sign, request.trigger, price):
        refuse(-2021, "Order would immediately trigger.")


def _reached(kind: AlgoKind, sign: int, trigger: Decimal, price: Decimal) -> bool:
    """Whether a price is at or beyond the trigger."""
    beyond = (price - trigger) * sign
    return beyond >= 0 if kind.stop or kind is AlgoKind.TRAILING_STOP_MARKET else beyond <= 0


# ---- prices --------------------------------------------------------------------------------------


def on_price(clearing: Clearing, market: Market, working: Working) -> None:
    """Follow a new price, and set off what it reaches."""
    armed = clearing.algos.armed(market.symbol, working)
    if not armed:
        return
    price = working_price(market, working)
    for algo in armed:
        if algo.kind is AlgoKind.TRAILING_STOP_MARKET:
            followed = _follow(algo, price)
            if followed is not algo:
                clearing.algos.put(followed)
                algo = followed
            if not algo.extreme:
                continue
        if _reached(algo.kind, algo.side.sign, algo.trigger, price):
            _fire(clearing, market, algo)


def _follow(algo: AlgoState, price: Decimal) -> AlgoState:
    """A trailing stop after a price: activated, or its trigger moved with the best price."""
    sign = algo.side.sign
    if not price:
        return algo
    if not algo.extreme and algo.activate and (price - algo.activate) * sign > 0:
        return algo  # not active yet
    if algo.extreme and (price - algo.extreme) * sign >= 0:
        return algo  # no better
    trigger = price * (1 + sign * algo.callback / _PERCENT)
    return replace(algo, extreme=price, trigger=trigger)


def _fire(clearing: Clearing, market: Market, algo: AlgoState) -> None:
    """Turn a conditional order into an order."""
    account = clearing.accounts[algo.account]
    algo = _change(clearing, algo, AlgoStatus.TRIGGERING)
    size = account.closable(algo.symbol, algo.side) if algo.close_position else algo.size
    limit = algo.kind.limit
    request = NewOrder(
        symbol=algo.symbol,
        side=algo.side,
        kind=OrderKind.LIMIT if limit else OrderKind.MARKET,
        size=size,
        price=algo.price if limit else None,
        time_in_force=algo.time_in_force if limit else None,
        reduce_only=algo.reduce_only,
        good_till=algo.good_till if limit else 0,
        client_order_id=algo.client_algo_id,
        account=algo.account,
    )
    try:
        if not size:
            refuse(-2022, "ReduceOnly Order is rejected.")
        order, worst = placement.accept(clearing, account, market, request, algo)
    except ExchangeRefused as refused:
        _change(clearing, algo, AlgoStatus.REJECTED, reason=f"{refused.code} {refused.message}")
        return
    _change(clearing, algo, AlgoStatus.TRIGGERED, order_id=order.order_id)
    placement.execute(clearing, order, worst)


# ---- out -----------------------------------------------------------------------------------------


def end(clearing: Clearing, algo: AlgoState, status: AlgoStatus) -> AlgoState:
    """Cancel or expire one that was not set off."""
    return _change(clearing, algo, status)


def end_all(
    clearing: Clearing, account: str, symbol: str | None = None, *, waiting: bool = True
) -> None:
    """Cancel all of an account that were not set off."""
    for algo in clearing.algos.open(account, symbol):
        if waiting or not algo.waiting:
            _change(clearing, algo, AlgoStatus.CANCELED)


def finish(clearing: Clearing) -> None:
    """Tell of those whose order has ended since the last step."""
    ended, clearing.algos.ended = clearing.algos.ended, []
    for ident in ended:
        _change(clearing, clearing.algos.get(ident), AlgoStatus.FINISHED)


def _change(
    clearing: Clearing,
    algo: AlgoState,
    status: AlgoStatus,
    *,
    order_id: int | None = None,
    reason: str = "",
) -> AlgoState:
    changed = replace(
        algo,
        status=status,
        order_id=algo.order_id if order_id is None else order_id,
        ts_triggered=clearing.now if status is AlgoStatus.TRIGGERING else algo.ts_triggered,
        ts_updated=clearing.now,
        reason=reason,
        waiting=False,
    )
    clearing.algos.put(changed)
    _announce(clearing, changed)
    return changed


def _announce(clearing: Clearing, algo: AlgoState) -> None:
    order = clearing.records.peek(algo.order_id) if algo.order_id else None
    clearing.events.append(
        AlgoUpdate(account=algo.account, ts=clearing.now, algo=algo, order=order)
    )
