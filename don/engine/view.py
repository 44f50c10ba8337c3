"""The engine as a plain dictionary for console and API. Pure. Decimals as text, times in ns."""

from decimal import Decimal
from typing import Any

from don.engine.books import shown
from don.engine.core import Core
from don.execution.orders import OrderRecord
from don.model.portfolio import ZERO


def view(core: Core, risk: dict[str, Any]) -> dict[str, Any]:
    """Everything a reader may want to know at this moment; JSON-able. `risk`: see `riskview`.

    Amounts are exact and therefore text; weights and forecasts are estimates and therefore numbers.
    """
    ledger, marks = core.ledger, core.market.marks
    equity = core.equity()
    return {
        "session": core.session,
        "account": core.start.account,
        "policy": core.policy_name,
        "symbols": list(core.symbols),
        "ts_event": core.market.ts_event,
        "ts_wall": core.wall,
        "snapshot": core.market.version,
        "halted": core.halted,
        "halt_reason": core.halt_reason,
        "stopping": core.stopping,
        "reconciled": core.reconciled,
        "ledger_equal": core.ledger_equal,
        "stale": sorted(core.market.stale_now()),
        "equity": str(equity),
        "balance": str(ledger.balance),
        "unrealized": str(ledger.unrealized(marks)),
        "books": {
            "deposits": str(ledger.deposits),
            "realized": str(ledger.realized),
            "fees": str(ledger.fees),
            "funding": str(ledger.funding),
            "liquidation": str(ledger.liquidation),
            "adjustments": str(ledger.adjustments),
            "inherited": str(ledger.inherited),
            "pnl": str(core.pnl()),
        },
        "counts": {
            "orders": core.counts.orders,
            "fills": core.counts.fills,
            "denials": core.counts.denials,
            "decisions": core.counts.decisions,
            "differences": core.counts.differences,
            "fees": str(ledger.fees - core.fees_before),
            "funding": str(ledger.funding - core.funding_before),
            "pnl": str(core.pnl() - core.pnl_before),
        },
        "positions": _positions(core, equity),
        "open_orders": [_order(r) for r in core.orders.in_flight()],
        "targets": dict(core.target),
        "decision": _decision(core),
        "slots": [] if core.keeper is None else shown(core.keeper, marks),
        "risk": risk,
    }


def _positions(core: Core, equity: Decimal) -> list[dict[str, Any]]:
    rows = []
    for symbol, position in sorted(core.ledger.positions.items()):
        mark = core.market.marks.get(symbol)
        notional = position.size * mark if mark is not None else None
        rows.append(
            {
                "symbol": symbol,
                "size": str(position.size),
                "entry_price": str(position.entry_price),
                "mark": None if mark is None else str(mark),
                "unrealized": str(position.unrealized(mark) if mark is not None else ZERO),
                "notional": None if notional is None else str(notional),
                "weight": float(notional / equity) if notional is not None and equity > 0 else None,
            }
        )
    return rows


def _order(record: OrderRecord) -> dict[str, Any]:
    order = record.order
    return {
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "side": str(order.side),
        "type": str(order.type),
        "time_in_force": str(order.time_in_force),
        "reduce_only": order.reduce_only,
        "size": str(order.size),
        "price": None if order.price is None else str(order.price),
        "trigger": None if order.trigger is None else str(order.trigger),
        "reason": order.reason,
        "parent": order.parent,
        "filled": str(record.filled),
        "status": str(record.status),
        "cancelling": record.cancelling,
        "decision": order.decision,
        "ts_event": order.ts_event,
    }


def _decision(core: Core) -> dict[str, Any] | None:
    made = core.last_decision
    if made is None:
        return None
    return {
        "decision": made.decision,
        "ts_event": made.ts_event,
        "snapshot": made.snapshot,
        "status": made.status,
        "reasons": list(made.reasons),
        "denials": [
            {"code": str(d.code), "symbol": d.symbol, "detail": d.detail} for d in made.denials
        ],
        "orders": list(made.orders),
        "forecast": dict(zip(made.symbols, made.forecast.tolist(), strict=True)),
        "weights": dict(zip(made.symbols, made.weights.tolist(), strict=True)),
    }
