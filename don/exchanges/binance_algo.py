"""Conditional orders of Binance USD-M futures on the wire: orders to requests, rows to reports.

Pure. Since 2025-12 they belong to the exchange's Algo Service: own calls, ids and events, until a
price sets one off; then it becomes an ordinary order, and that order's reports tell the rest.
"""

from decimal import Decimal

from don.clock import NS_PER_MS
from don.exchanges.binance_wire import Row, Symbols, WireError, order_report, plain
from don.model.messages import OrderReport
from don.model.order import Order, OrderStatus, OrderType, TriggerPrice
from don.model.portfolio import ZERO

_TYPES = {
    OrderType.STOP_MARKET: "STOP_MARKET",
    OrderType.STOP_LIMIT: "STOP",
    OrderType.TAKE_PROFIT_MARKET: "TAKE_PROFIT_MARKET",
    OrderType.TAKE_PROFIT_LIMIT: "TAKE_PROFIT",
    OrderType.TRAILING_STOP: "TRAILING_STOP_MARKET",
}
_WORKING = {TriggerPrice.LAST: "CONTRACT_PRICE", TriggerPrice.MARK: "MARK_PRICE"}
_STATUS = {
    "NEW": OrderStatus.OPEN,
    "TRIGGERING": OrderStatus.OPEN,
    "TRIGGERED": OrderStatus.OPEN,
    "CANCELED": OrderStatus.CANCELLED,
    "EXPIRED": OrderStatus.EXPIRED,
    "REJECTED": OrderStatus.REJECTED,
}
_PERCENT = Decimal(100)


def algo_request(order: Order, symbol: str) -> dict[str, str]:
    """Parameters of a new conditional order."""
    request = {
        "algoType": "CONDITIONAL",
        "symbol": symbol,
        "side": order.side.value.upper(),
        "type": _TYPES[order.type],
        "workingType": _WORKING[order.trigger_by],
        "clientAlgoId": order.client_order_id,
    }
    if order.type.priced:
        request["timeInForce"] = order.time_in_force.value
    for name, value in (
        ("quantity", None if order.close_position else order.size),
        ("price", order.price),
        ("triggerPrice", order.trigger),
        ("activatePrice", order.activate),
        ("callbackRate", None if order.callback is None else (order.callback * _PERCENT)),
    ):
        if value is not None:
            request[name] = plain(value.normalize() if name == "callbackRate" else value)
    for name, flag in (("reduceOnly", order.reduce_only), ("closePosition", order.close_position)):
        if flag:
            request[name] = "true"
    if order.good_till:
        request["goodTillDate"] = str(order.good_till // NS_PER_MS)
    return request


def actual_order(row: Row) -> str:
    """The id of the order that a conditional one became; "" while it has not."""
    return str(row.get("actualOrderId") or "")


def algo_from_rest(row: Row, symbol: str, ts_recv: int, ts_sent: int = 0) -> OrderReport:
    """A report of a REST row of a conditional order that has not become an order."""
    return _report(
        client_order_id=str(row["clientAlgoId"]),
        ident=str(row["algoId"]),
        actual=actual_order(row),
        status=str(row["algoStatus"]),
        symbol=symbol,
        detail=str(row.get("rm") or ""),
        ts_event=int(row["updateTime"]) * NS_PER_MS,
        ts_recv=ts_recv,
        ts_sent=ts_sent,
    )


def algo_event(event: Row, symbols: Symbols, ts_recv: int) -> list[OrderReport]:
    """What an ALGO_UPDATE event tells; nothing once the order that it became tells itself.

    Example: {"e":"ALGO_UPDATE","T":1750515742297,"E":1750515742303,"o":{"caid":"don-a-1-0",
    "aid":2148719,"at":"CONDITIONAL","o":"STOP_MARKET","s":"BTCUSDT","X":"TRIGGERED","ai":"77"}}
    """
    row = event["o"]
    symbol = symbols.ours(str(row["s"]))
    if symbol is None or row["X"] == "FINISHED":
        return []
    return [
        _report(
            client_order_id=str(row["caid"]),
            ident=str(row["aid"]),
            actual=str(row.get("ai") or ""),
            status=str(row["X"]),
            symbol=symbol,
            detail=str(row.get("rm") or ""),
            ts_event=int(event["T"]) * NS_PER_MS,
            ts_recv=ts_recv,
        )
    ]


def _report(
    *,
    client_order_id: str,
    ident: str,
    actual: str,
    status: str,
    symbol: str,
    detail: str,
    ts_event: int,
    ts_recv: int,
    ts_sent: int = 0,
) -> OrderReport:
    if status not in _STATUS:
        raise WireError(f"conditional order status {status!r} is not one of {', '.join(_STATUS)}")
    return order_report(
        client_order_id=client_order_id,
        exchange_order_id=actual or f"algo-{ident}",
        symbol=symbol,
        status=_STATUS[status],
        filled=ZERO,
        detail=detail,
        ts_event=ts_event,
        ts_recv=ts_recv,
        ts_sent=ts_sent,
    )
