"""The end of a session: stop deciding, let orders settle, compare the books, sum up."""

import threading
from decimal import Decimal
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors.runtime import Progress
from actors.spec import SessionSpec
from actors.supervisor import Supervisor
from don.books.config import slots_name
from don.clock import NS_PER_S, Clock
from don.log import get_logger
from don.model.messages import Command, CommandKind
from don.storage.database import Database
from don.storage.queries import Queries
from don.storage.rows import Latency
from don.storage.sessions import end_session

SETTLE_S = 15.0
CALL_S = 30.0


def close_session(
    spec: SessionSpec,
    actors: dict[str, ActorHandle],
    supervisor: Supervisor,
    clock: Clock,
    progress: Progress,
) -> dict[str, Any]:
    """Close the books of a session.

    Market data stop first, so that nothing new is decided; then resting orders are cancelled and
    what is in flight settles; then the exchange's account is compared with the ledger.

    Returns:
        The summary: plain JSON values, money as text.
    """
    log = get_logger("don.closing")
    started = clock.monotonic_ns()
    progress("session", "closing", 0.0)
    problems: list[str] = []

    def ask(what: str, call: Any) -> Any:
        try:
            return ray.get(call(), timeout=CALL_S)
        except (RayError, TimeoutError) as error:
            log.exception("closing step failed", step=what)
            problems.append(f"{what}: {type(error).__name__}")
            return None

    ask("stop the feed", lambda: actors["feed"].close.remote())
    ask("close the recording", lambda: actors["cache"].close.remote())
    stop = Command(
        key=f"stop:{spec.session}:{clock.now_ns()}",
        kind=CommandKind.STOP,
        actor="supervisor",
        reason="the session ends",
        ts_recv=clock.now_ns(),
    )
    ask("tell the desk to stop", lambda: actors["desk"].take.remote(stop))
    end = clock.monotonic_ns() + SETTLE_S * NS_PER_S
    pause = threading.Event()
    while not ask("wait for orders", lambda: actors["desk"].idle.remote()):
        if clock.monotonic_ns() > end:
            problems.append("orders were still in flight")
            break
        pause.wait(0.05)
    before = len(problems)
    ask("compare the account", lambda: actors["execution"].check_account.remote(True))
    compared = len(problems) == before
    view = ask("read the desk", lambda: actors["desk"].view.remote()) or {}
    supervisor.stop()  # from here on parts may go away
    ask("close execution", lambda: actors["execution"].close.remote())
    summary = summarise(spec, view, supervisor.restarts, problems, compared=compared)
    with Database(spec.database_url) as db:
        end_session(db, spec.session, ts_end=clock.now_ns(), status="ended", summary=summary)
    progress("session", "closed", (clock.monotonic_ns() - started) / NS_PER_S)
    return summary


def summarise(
    spec: SessionSpec,
    view: dict[str, Any],
    restarts: dict[str, int],
    problems: list[str],
    *,
    compared: bool,
) -> dict[str, Any]:
    """What a session came to, from the desk's view and the database."""
    with Database(spec.database_url) as db:
        queries = Queries(db)
        counts = queries.counts(spec.session)
        differences = queries.differences(spec.session)
        decision, order = (
            queries.decision_latency(spec.session),
            queries.order_latency(spec.session),
        )
    session = view.get("counts", {})
    return {
        "session": spec.session,
        "policy": slots_name(spec.config.policy, spec.config.engine),
        "symbols": list(spec.symbols),
        "decisions": counts.decisions,
        "orders": counts.orders,
        "fills": counts.fills,
        "denials": counts.denials,
        "equity": view.get("equity"),
        "pnl": session.get("pnl"),
        "fees": str(counts.fees.quantize(Decimal("0.00000001"))),
        "funding": str(counts.funding.quantize(Decimal("0.00000001"))),
        "liquidation": str(counts.liquidation.quantize(Decimal("0.00000001"))),
        "positions": {
            p["symbol"]: p["size"] for p in view.get("positions", ()) if p["size"] != "0"
        },
        "halted": view.get("halted"),
        "books": [
            {key: book[key] for key in ("book", "mode", "equity", "pnl", "share")}
            for book in view.get("slots", ())
        ],
        # notional x seconds while Don was off, over the account's life, and what would count now
        "unprotected": view.get("risk", {}).get("unprotected"),
        "ledger_equal": compared and view.get("ledger_equal") is True and not differences,
        "ledger_differences": [
            {"what": d.what, "ledger": d.ledger, "exchange": d.exchange} for d in differences
        ],
        "gaps": counts.gaps,
        "restarts": sum(restarts.values()),
        "restarts_by_part": {name: n for name, n in restarts.items() if n},
        "bars": counts.bars,
        "market_batches": counts.batches,
        "decision_ms": _delay(decision),
        "tick_to_order_ms": _delay(order),
        "problems": problems,
    }


def _delay(latency: Latency) -> dict[str, Any]:
    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 3)

    shares = {name: rounded(getattr(latency, name)) for name in ("min", "p50", "p99", "max")}
    return {"n": latency.n, **shares}
