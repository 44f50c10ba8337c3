"""What the exchange refuses before an order reaches the book: forms, filters, price bands. Pure.

Codes and messages are those of the real exchange. A check raises `ExchangeRefused` or passes.
"""

import re
from decimal import Decimal
from typing import NoReturn

from don.errors import ExchangeRefused
from don.model.instrument import Instrument
from don.model.order import Side
from don.paper.config import PaperConfig
from don.paper.types import NewOrder, OrderKind

_CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")


def refuse(code: int, message: str) -> NoReturn:
    """Raise the refusal."""
    raise ExchangeRefused(code, message)


def check_form(request: NewOrder) -> None:
    """The parameters that an order kind demands and forbids, and the client order id's shape."""
    if request.client_order_id is not None and not _CLIENT_ID.fullmatch(request.client_order_id):
        if len(request.client_order_id) > 36:
            refuse(-4015, "Client order id length should be less than 36 chars")
        refuse(-4015, "Client order id is not valid.")
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


def check_price(price: Decimal, instrument: Instrument) -> None:
    """Positive, precise and on the PRICE_FILTER grid."""
    if not price.is_finite() or price <= 0:
        refuse(-4001, "Price less than 0.")
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
