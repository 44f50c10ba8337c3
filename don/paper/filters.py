"""What the exchange refuses before an order reaches the book: forms, filters, price bands. Pure.

Codes and messages are those of the real exchange. A check raises `ExchangeRefused` or passes.
"""

import re
from decimal import Decimal
from typing import NoReturn

from don.clock import NS_PER_MS, NS_PER_S
from don.errors import ExchangeRefused
from don.model.instrument import Instrument
from don.model.order import Side, TimeInForce
from don.paper.algo import AlgoKind, NewAlgo
from don.paper.config import PaperConfig
from don.paper.types import NewOrder, OrderKind

_MIN_LIFE_NS = 600 * NS_PER_S
_LAST_DATE_NS = 253_402_300_799_000 * NS_PER_MS
_CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")


def refuse(code: int, message: str) -> NoReturn:
    """Raise the refusal."""
    raise ExchangeRefused(code, message)


def check_form(request: NewOrder) -> None:
    """The parameters that an order kind demands and forbids, and the client order id's shape."""
    check_client_id(request.client_order_id)
    if request.kind is OrderKind.LIMIT:
        for name, value in (("timeInForce", request.time_in_force), ("price", request.price)):
            if value is None:
                refuse(
                    -1102,
                    f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.",
                )
    elif request.kind is OrderKind.MARKET:
        for name, value in (("timeInForce", request.time_in_force), ("price", request.price)):
            if value is not None:
                refuse(-1106, f"Parameter '{name}' sent when not required.")
    else:
        refuse(-1116, "Invalid orderType.")
    _check_date(request.time_in_force, request.good_till)


def check_client_id(name: str | None) -> None:
    """The shape of a client's own id."""
    if name is None or _CLIENT_ID.fullmatch(name):
        return
    if len(name) > 36:
        refuse(-4015, "Client order id length should be less than 36 chars")
    refuse(-4015, "Client order id is not valid.")


def check_algo_form(request: NewAlgo) -> None:
    """The parameters that a conditional order kind demands and forbids."""
    trailing, limit = request.kind is AlgoKind.TRAILING_STOP_MARKET, request.kind.limit
    for name, value, needed, allowed in (
        ("quantity", request.size, not request.close_position, True),
        ("price", request.price, limit, limit),
        ("triggerPrice", request.trigger, not trailing, not trailing),
        ("callbackRate", request.callback, trailing, trailing),
        ("activatePrice", request.activate, False, trailing),
    ):
        if value is None and needed:
            refuse(
                -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
            )
        if value is not None and not allowed:
            refuse(-1106, f"Parameter '{name}' sent when not required.")
    if request.close_position:
        if request.kind not in (AlgoKind.STOP_MARKET, AlgoKind.TAKE_PROFIT_MARKET):
            refuse(
                -4136,
                f"Target strategy invalid for orderType {request.kind.value},closePosition true",
            )
        if request.size is not None:
            refuse(-4137, "Quantity must be zero with closePosition equals true.")
    _check_date(request.time_in_force, request.good_till)


def _check_date(time_in_force: TimeInForce | None, good_till: int) -> None:
    dated = time_in_force is TimeInForce.GTD
    if dated and not good_till:
        refuse(
            -1102, "Mandatory parameter 'goodTillDate' was not sent, was empty/null, or malformed."
        )
    if good_till and not dated:
        refuse(-1106, "Parameter 'goodTillDate' sent when not required.")


def check_good_till(time_in_force: TimeInForce | None, good_till: int, now: int) -> None:
    """A date at which an order ends must be a while away, in tape time."""
    if time_in_force is TimeInForce.GTD and not now + _MIN_LIFE_NS < good_till < _LAST_DATE_NS:
        refuse(
            -5040,
            "The goodTillDate timestamp must be greater than the current time plus 600 seconds and "
            "smaller than 253402300799000.",
        )


def check_size(size: Decimal, instrument: Instrument) -> None:
    """Positive, precise, on the LOT_SIZE grid and inside its bounds."""
    if not size.is_finite() or size <= 0:
        refuse(-4003, "Quantity less than or equal to zero.")
    _check_precision(size, instrument.lot_size)
    if size % instrument.lot_size:
        refuse(-4023, "Qty not increased by step size.")
    if size < instrument.min_size:
        refuse(-4004, "Quantity less than min quantity.")
    if size > instrument.max_size:
        refuse(-4005, "Quantity greater than max quantity.")


def check_price(
    price: Decimal,
    instrument: Instrument,
    too_low: tuple[int, str] = (-4001, "Price less than 0."),
) -> None:
    """Positive, precise and on the PRICE_FILTER grid."""
    if not price.is_finite() or price <= 0:
        refuse(*too_low)
    _check_precision(price, instrument.tick_size)
    if price < instrument.tick_size:
        refuse(-4013, "Price less than min price.")
    if price % instrument.tick_size:
        refuse(-4014, "Price not increased by tick size.")


def check_band(side: Side, price: Decimal, mark: Decimal, config: PaperConfig) -> None:
    """PERCENT_PRICE of limit orders: buys not too far above the mark, sells not too far below.

    A mark of 0 (nothing is known about the market yet) sets no band.
    """
    if not mark:
        return
    if side is Side.BUY and price > mark * config.percent_up:
        refuse(-4016, f"Limit price can't be higher than {mark * config.percent_up}.")
    if side is Side.SELL and price < mark * config.percent_down:
        refuse(-4024, f"Limit price can't be lower than {mark * config.percent_down}.")


def check_counterparty(side: Side, best: Decimal, mark: Decimal, config: PaperConfig) -> None:
    """PERCENT_PRICE of market orders, on the best price that they would meet."""
    too_high = side is Side.BUY and best > mark * config.percent_up
    too_low = side is Side.SELL and best < mark * config.percent_down
    if mark and (too_high or too_low):
        refuse(-4131, "The counterparty's best price does not meet the PERCENT_PRICE filter limit.")


def check_notional(notional: Decimal, instrument: Instrument) -> None:
    """MIN_NOTIONAL; reduce-only orders are exempt."""
    if notional < instrument.min_notional:
        refuse(
            -4164,
            f"Order's notional must be no smaller than {instrument.min_notional} "
            "(unless you choose reduce only).",
        )


def _check_precision(value: Decimal, step: Decimal) -> None:
    if _places(value) > _places(step):
        refuse(-1111, "Precision is over the maximum defined for this asset.")


def _places(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
