"""Request parameters of new orders, plain and conditional, as the exchange reads them. Pure."""

from collections.abc import Mapping
from typing import TypeVar

from don.errors import ExchangeRefused
from don.model.order import Side, TimeInForce
from don.paper.algo import AlgoKind, NewAlgo, Working
from don.paper.server import codes
from don.paper.server.params import Params
from don.paper.server.routes import NS_PER_MS
from don.paper.types import NewOrder, OrderKind

T = TypeVar("T")
# an order with one of these would be another order than the one this exchange can carry out
_UNSUPPORTED = ("stopPrice", "activationPrice", "callbackRate", "priceMatch", "icebergQty")
_ALGO_UNSUPPORTED = ("stopPrice", "priceMatch", "icebergQuantity")


def new_order(params: Params, symbol: str, account: str) -> NewOrder:
    """The order that the parameters describe.

    Raises:
        ExchangeRefused: if they are malformed, or ask for what this exchange does not have.
    """
    side = _side(params)
    if params.text("type") in AlgoKind.__members__:
        raise ExchangeRefused(
            -4120,
            "Order type not supported for this endpoint. Please use the Algo Order API endpoints "
            "instead.",
        )
    kinds = {kind.value: kind for kind in (OrderKind.LIMIT, OrderKind.MARKET)}
    kind = _word(params.text("type"), kinds, -1116, "Invalid orderType.")
    _refuse_sent(params, _UNSUPPORTED, ("closePosition", "priceProtect"))
    in_force: TimeInForce | None = None
    if "timeInForce" in params:
        if kind is OrderKind.MARKET:
            raise ExchangeRefused(-1106, "Parameter 'timeInForce' sent when not required.")
        in_force = _in_force(params)
    elif kind is OrderKind.LIMIT:
        raise codes.missing("timeInForce")
    size, price = params.decimal("quantity"), params.decimal("price")
    if size is None:
        raise codes.missing("quantity")
    if price is None and kind is OrderKind.LIMIT:
        raise codes.missing("price")
    if price is not None and kind is OrderKind.MARKET:
        raise ExchangeRefused(-1106, "Parameter 'price' sent when not required.")
    return NewOrder(
        symbol=symbol,
        side=side,
        kind=kind,
        size=size,
        price=price,
        time_in_force=in_force,
        reduce_only=params.flag("reduceOnly"),
        good_till=params.integer("goodTillDate", 0) * NS_PER_MS,
        client_order_id=params.text("newClientOrderId", "") or None,
        account=account,
    )


def new_algo(params: Params, symbol: str, account: str) -> NewAlgo:
    """The conditional order that the parameters describe.

    Raises:
        ExchangeRefused: if they are malformed, or ask for what this exchange does not have.
    """
    side = _side(params)
    params.choice("algoType", ("CONDITIONAL",))
    kind = _word(params.text("type"), AlgoKind.__members__, -1116, "Invalid orderType.")
    _refuse_sent(params, _ALGO_UNSUPPORTED, ("priceProtect",))
    close = params.flag("closePosition")
    if close and params.flag("reduceOnly"):
        raise ExchangeRefused(-1106, "Parameter 'reduceOnly' sent when not required.")
    activate = params.decimal("activatePrice")
    return NewAlgo(
        symbol=symbol,
        side=side,
        kind=kind,
        size=params.decimal("quantity"),
        trigger=params.decimal("triggerPrice"),
        price=params.decimal("price"),
        time_in_force=_in_force(params) if "timeInForce" in params else TimeInForce.GTC,
        working=Working(
            params.choice("workingType", tuple(Working.__members__), Working.CONTRACT_PRICE.value)
        ),
        reduce_only=params.flag("reduceOnly"),
        close_position=close,
        activate=activate if activate is not None else params.decimal("activationPrice"),
        callback=params.decimal("callbackRate"),
        good_till=params.integer("goodTillDate", 0) * NS_PER_MS,
        client_algo_id=params.text("clientAlgoId", "") or None,
        account=account,
    )


def _side(params: Params) -> Side:
    if params.text("positionSide", "BOTH") != "BOTH":
        raise ExchangeRefused(
            codes.POSITION_SIDE_MISMATCH, "Order's position side does not match user's setting."
        )
    return _word(params.text("side"), Side.__members__, -1117, "Invalid side.")


def _in_force(params: Params) -> TimeInForce:
    return _word(params.text("timeInForce"), TimeInForce.__members__, -1115, "Invalid timeInForce.")


def _refuse_sent(params: Params, words: tuple[str, ...], flags: tuple[str, ...]) -> None:
    for name in words:
        if params.text(name, "NONE") not in ("NONE", "0"):
            raise ExchangeRefused(-1106, f"Parameter '{name}' sent when not required.")
    for name in flags:
        if params.flag(name):
            raise ExchangeRefused(-1106, f"Parameter '{name}' sent when not required.")


def _word(text: str, allowed: Mapping[str, T], code: int, message: str) -> T:
    if text not in allowed:
        raise ExchangeRefused(code, message)
    return allowed[text]
