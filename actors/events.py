"""From the desk's messages to the board's events: what the console shows the moment it happens."""

from collections.abc import Sequence
from typing import Any

from don.execution.orders import OrderBookkeeper, OrderRecord
from don.model.messages import (
    Decision,
    Equity,
    FillReport,
    Input,
    OrderReport,
    Output,
    SubmitOrder,
)
from don.model.order import Fill


def of(
    messages: Sequence[Input], outputs: Sequence[Output], orders: OrderBookkeeper
) -> list[dict[str, Any]]:
    """Events of kinds fill, order, decision and equity, in order; money as text, times in ns."""
    events: list[dict[str, Any]] = []
    for item in (*messages, *outputs):
        match item:
            case FillReport(fill=fill):
                events.append(_fill(fill))
            case OrderReport() | SubmitOrder():
                name = (
                    item.client_order_id
                    if isinstance(item, OrderReport)
                    else item.order.client_order_id
                )
                record = orders.get(name)
                if record is not None:
                    events.append(_order(record))
            case Decision():
                events.append(_decision(item))
            case Equity():
                events.append(
                    {
                        "kind": "equity",
                        "ts_event": item.ts_event,
                        "equity": str(item.equity),
                        "balance": str(item.balance),
                        "unrealized": str(item.unrealized),
                    }
                )
    return events


def _fill(fill: Fill) -> dict[str, Any]:
    return {
        "kind": "fill",
        "trade_id": fill.trade_id,
        "client_order_id": fill.client_order_id,
        "symbol": fill.symbol,
        "side": str(fill.side),
        "price": str(fill.price),
        "size": str(fill.size),
        "fee": str(fill.fee),
        "realized_pnl": None if fill.realized_pnl is None else str(fill.realized_pnl),
        "maker": fill.maker,
        "ts_event": fill.ts_event,
    }


def _order(record: OrderRecord) -> dict[str, Any]:
    order = record.order
    return {
        "kind": "order",
        "client_order_id": order.client_order_id,
        "exchange_order_id": record.exchange_order_id,
        "decision": order.decision,
        "symbol": order.symbol,
        "side": str(order.side),
        "type": str(order.type),
        "time_in_force": str(order.time_in_force),
        "reduce_only": order.reduce_only,
        "size": str(order.size),
        "filled": str(record.filled),
        "price": None if order.price is None else str(order.price),
        "status": str(record.status),
        "reason": order.reason,
        "detail": record.detail,
        "ts_event": order.ts_event,
    }


def _decision(made: Decision) -> dict[str, Any]:
    return {
        "kind": "decision",
        "decision": made.decision,
        "ts_event": made.ts_event,
        "policy": made.policy,
        "status": made.status,
        "weights": dict(zip(made.symbols, made.weights.tolist(), strict=True)),
        "forecast": dict(zip(made.symbols, made.forecast.tolist(), strict=True)),
        "reasons": list(made.reasons),
        "denials": [
            {"code": str(d.code), "symbol": d.symbol, "detail": d.detail} for d in made.denials
        ],
        "orders": list(made.orders),
    }
