"""Parents as plain dictionaries for console, API and command line. Pure. Decimals as text."""

from typing import Any

from don.engine.working import Worker
from don.execution.parents import Parent

ENDED_SHOWN = 20


def parents(worker: Worker) -> list[dict[str, Any]]:
    """Those that ended last, then those that work, oldest first."""
    return [_row(worker, p) for p in (*worker.ended[-ENDED_SHOWN:], *worker.parents)]


def _row(worker: Worker, parent: Parent) -> dict[str, Any]:
    request = parent.request
    filled, quote = worker.figures(parent)
    named = ("price", "trigger", "stop", "take", "shown", "callback", "activate")
    terms = {name: getattr(request, name) for name in named}
    return {
        "parent": parent.parent_id,
        "kind": str(request.kind),
        "symbol": request.symbol,
        "side": str(request.side),
        "size": str(request.size),
        "terms": {name: str(value) for name, value in terms.items() if value is not None},
        "reduce_only": request.reduce_only,
        "actor": parent.actor,
        "status": str(parent.status),
        "detail": parent.detail,
        "filled": str(filled),
        "average": str(quote / filled) if filled else None,
        "arrival": None if parent.arrival is None else str(parent.arrival),
        "children": parent.sent,
        "live": [part.client_order_id for part in parent.parts],
        "ts_event": parent.ts_start,
    }
