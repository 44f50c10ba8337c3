"""What the board's readers are told of a message. Pure: a message in, a plain event out."""

from typing import Any

from don.model.messages import Decision, Equity, FillReport, Input, Output, SubmitOrder


def event_of(message: Input | Output) -> dict[str, Any] | None:
    """The event for `Board.emit`, None for messages that readers need not see one by one."""
    match message:
        case FillReport(fill=fill):
            return {
                "kind": "fill",
                "trade_id": fill.trade_id,
                "client_order_id": fill.client_order_id,
                "symbol": fill.symbol,
                "side": fill.side.value,
                "price": str(fill.price),
                "size": str(fill.size),
                "fee": str(fill.fee),
                "realized_pnl": None if fill.realized_pnl is None else str(fill.realized_pnl),
                "maker": fill.maker,
                "ts_event": fill.ts_event,
            }
        case Decision():
            return {
                "kind": "decision",
                "decision": message.decision,
                "ts_event": message.ts_event,
                "policy": message.policy,
                "status": message.status,
                "weights": _by_symbol(message.symbols, message.weights.tolist()),
                "forecast": _by_symbol(message.symbols, message.forecast.tolist()),
                "reasons": list(message.reasons),
                "denials": [
                    {"code": each.code.value, "symbol": each.symbol, "detail": each.detail}
                    for each in message.denials
                ],
                "orders": list(message.orders),
            }
        case SubmitOrder(order=order):
            return {
                "kind": "order",
                "client_order_id": order.client_order_id,
                "decision": order.decision,
                "symbol": order.symbol,
                "side": order.side.value,
                "type": order.type.value,
                "time_in_force": order.time_in_force.value,
                "reduce_only": order.reduce_only,
                "size": str(order.size),
                "price": None if order.price is None else str(order.price),
                "status": "intended",
                "reason": order.reason,
                "ts_event": order.ts_event,
            }
        case Equity():
            return {
                "kind": "equity",
                "ts_event": message.ts_event,
                "equity": str(message.equity),
                "balance": str(message.balance),
                "unrealized": str(message.unrealized),
            }
    return None


def _by_symbol(symbols: tuple[str, ...], values: list[float]) -> dict[str, float]:
    return dict(zip(symbols, values, strict=True))
