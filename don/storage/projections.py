"""From messages to rows: the read models that API and console look at. Pure: gives statements back.

They are written in the transaction that journals the message, so that a reader never sees one
without the other. Every statement may be repeated: its row is named by the message's own key or by
its journal number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from don.model.messages import (
    BookEntry,
    BookPoint,
    CancelOrder,
    Decision,
    Difference,
    Equity,
    FillReport,
    FundingReport,
    OrderReport,
    SessionStart,
    SubmitOrder,
)
from don.storage import book_rows

Statement = tuple[str, Sequence[Any]]


PROJECTED = frozenset(
    cls.__name__
    for cls in (
        BookEntry,
        BookPoint,
        CancelOrder,
        Decision,
        Difference,
        Equity,
        FillReport,
        FundingReport,
        OrderReport,
        SessionStart,
        SubmitOrder,
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in the journal a message stands."""

    account: str
    session: str
    seq: int
    ts_recv: int


def project(at: Place, message: object) -> list[Statement]:
    """The statements that bring the read models up to date with a message; none for most kinds."""
    match message:
        case SubmitOrder():
            return [_submit(at, message)]
        case OrderReport():
            return [_order_report(at, message)]
        case FillReport():
            return [_fill(at, message)]
        case Equity():
            return [_equity(at, message)]
        case Decision():
            return _decision(at, message)
        case CancelOrder():
            return [(_CANCEL, (message.reason, at.account, message.client_order_id))]
        case FundingReport():
            return [_funding(at, message)]
        case Difference():
            return [_difference(at, message)]
        case SessionStart():
            return [_session(message)]
        case BookEntry():
            return [book_rows.entry(at.account, at.session, at.seq, message)]
        case BookPoint():
            return book_rows.point(at.account, at.session, at.seq, message)
    return []


_SESSION = """
INSERT INTO session (id, account, policy, symbols, interval_ns, config, ts_start, status)
VALUES (%s, %s, %s, %s, %s, %s::jsonb, %s, 'running') ON CONFLICT (id) DO NOTHING
"""

_SUBMIT = """
INSERT INTO orders (account, client_order_id, session, seq, decision, index, symbol, side, type,
    size, price, time_in_force, reduce_only, reason, status, exchange_order_id, filled, detail,
    cancel_reason, ts_event, ts_recv, ts_sent, ts_update)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'intended', '', 0, '', '', %s, %s,
    0, %s)
ON CONFLICT (account, client_order_id) DO NOTHING
"""

# A final status stays (reports may overtake each other), unless the order was taken for lost.
_ORDER_REPORT = """
UPDATE orders SET
    status = CASE WHEN status IN ('intended', 'open', 'lost') THEN %s ELSE status END,
    detail = CASE WHEN status IN ('intended', 'open', 'lost') THEN %s ELSE detail END,
    exchange_order_id = CASE WHEN %s = '' THEN exchange_order_id ELSE %s END,
    filled = greatest(filled, %s),
    ts_sent = CASE WHEN ts_sent = 0 THEN %s ELSE ts_sent END,
    ts_update = greatest(ts_update, %s)
WHERE account = %s AND client_order_id = %s
"""

_CANCEL = "UPDATE orders SET cancel_reason = %s WHERE account = %s AND client_order_id = %s"

_FILL = """
INSERT INTO fills (account, symbol, trade_id, session, seq, client_order_id, exchange_order_id,
    side, price, size, fee, realized_pnl, maker, ts_event, ts_recv)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (account, symbol, trade_id) DO NOTHING
"""

_FUNDING = """
INSERT INTO funding_payments (account, key, session, kind, symbol, amount, ts_event, ts_recv)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (account, key) DO NOTHING
"""

_EQUITY = """
INSERT INTO equity (account, seq, session, ts_event, equity, balance, unrealized)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (account, seq) DO NOTHING
"""

_DECISION = """
INSERT INTO decisions (account, seq, session, decision, snapshot, policy, status, symbols, forecast,
    weights, reasons, orders, denials, ts_event, ts_recv)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (account, seq) DO NOTHING
"""

_DENIAL = """
INSERT INTO denials (account, seq, index, session, decision, code, symbol, detail, ts_event)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (account, seq, index) DO NOTHING
"""

_DIFFERENCE = """
INSERT INTO differences (account, seq, session, what, ledger, exchange, ts_event)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (account, seq) DO NOTHING
"""


def _session(start: SessionStart) -> Statement:
    return _SESSION, (
        start.session,
        start.account,
        start.policy,
        list(start.symbols),
        start.interval_ns,
        start.config or "{}",
        start.ts_recv,
    )


def _submit(at: Place, message: SubmitOrder) -> Statement:
    order = message.order
    return _SUBMIT, (
        at.account,
        order.client_order_id,
        at.session,
        at.seq,
        order.decision,
        order.index,
        order.symbol,
        order.side.value,
        order.type.value,
        order.size,
        order.price,
        order.time_in_force.value,
        order.reduce_only,
        order.reason,
        order.ts_event,
        at.ts_recv,
        order.ts_event,
    )


def _order_report(at: Place, report: OrderReport) -> Statement:
    return _ORDER_REPORT, (
        report.status.value,
        report.detail,
        report.exchange_order_id,
        report.exchange_order_id,
        report.filled,
        report.ts_sent,
        report.ts_event,
        at.account,
        report.client_order_id,
    )


def _fill(at: Place, report: FillReport) -> Statement:
    fill = report.fill
    return _FILL, (
        at.account,
        fill.symbol,
        fill.trade_id,
        at.session,
        at.seq,
        fill.client_order_id,
        fill.exchange_order_id,
        fill.side.value,
        fill.price,
        fill.size,
        fill.fee,
        fill.realized_pnl,
        fill.maker,
        fill.ts_event,
        report.ts_recv,
    )


def _funding(at: Place, report: FundingReport) -> Statement:
    return _FUNDING, (
        at.account,
        report.key,
        at.session,
        report.kind.value,
        report.symbol,
        report.amount,
        report.ts_event,
        report.ts_recv,
    )


def _equity(at: Place, point: Equity) -> Statement:
    return _EQUITY, (
        at.account,
        at.seq,
        at.session,
        point.ts_event,
        point.equity,
        point.balance,
        point.unrealized,
    )


def _decision(at: Place, made: Decision) -> list[Statement]:
    row: Statement = (
        _DECISION,
        (
            at.account,
            at.seq,
            at.session,
            made.decision,
            made.snapshot,
            made.policy,
            made.status,
            list(made.symbols),
            made.forecast.tolist(),
            made.weights.tolist(),
            list(made.reasons),
            list(made.orders),
            len(made.denials),
            made.ts_event,
            at.ts_recv,
        ),
    )
    refused: list[Statement] = [
        (
            _DENIAL,
            (
                at.account,
                at.seq,
                index,
                at.session,
                made.decision,
                denial.code.value,
                denial.symbol,
                denial.detail,
                made.ts_event,
            ),
        )
        for index, denial in enumerate(made.denials)
    ]
    return [row, *refused]


def _difference(at: Place, found: Difference) -> Statement:
    return _DIFFERENCE, (
        at.account,
        at.seq,
        at.session,
        found.what,
        found.ledger,
        found.exchange,
        found.ts_event,
    )
