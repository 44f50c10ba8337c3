"""What the exchange tells: order states, fills, payments, the account. Pure, over the engine's
core.
"""

from don.engine.core import Core
from don.engine.opening import priced, value_at
from don.execution.forced import forced_by
from don.execution.reconcile import compare, judge
from don.model.messages import (
    AccountReport,
    CancelOrder,
    Difference,
    FillReport,
    FundingReport,
    OrderReport,
)
from don.model.order import OrderStatus
from don.model.portfolio import ZERO

OURS = "don-"  # how our client order ids begin


class Reporter:
    """Takes reports into orders and books."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def on_order(self, report: OrderReport) -> bool:
        """Move an order. True if that settled it: final, and all its fills counted.

        An order that we do not know, open under an id of ours, was left by a lost session: it is
        cancelled. Other people's orders are left alone; the comparison of accounts shows them.
        """
        core = self._core
        record = core.orders.get(report.client_order_id)
        if record is None:
            if report.status is OrderStatus.OPEN and report.client_order_id.startswith(OURS):
                core.out.append(
                    CancelOrder(
                        client_order_id=report.client_order_id,
                        symbol=report.symbol,
                        reason="open order of a session that is not on record",
                    )
                )
            return False
        core.activity += 1
        for problem in core.orders.on_report(report):
            core.difference(
                f"order {report.client_order_id}", record.status, problem, report.ts_event
            )
            if report.status is OrderStatus.OPEN:
                core.cancel(record, problem)
        after = core.orders.get(report.client_order_id)
        return record.in_flight and (after is None or not after.in_flight)

    def on_fill(self, report: FillReport) -> tuple[bool, bool]:
        """Count a fill once. Returns (counted, it settled its order)."""
        core, fill = self._core, report.fill
        if core.ledger.knows(report.key):
            return False, False
        record = core.orders.get(fill.client_order_id)
        before_books = not core.ledger.adopted or fill.ts_event <= core.ledger.adopted_ts
        if record is None and before_books:
            core.ledger.skip(report.key, fill)  # the account that opened the books contains it
            return False, False
        core.activity += 1
        value_at(core, fill.symbol, fill.price)
        held = core.ledger.position(fill.symbol).size
        realized = core.ledger.fill(report.key, fill)
        core.risk.losses.traded(
            fill.symbol,
            held,
            core.ledger.position(fill.symbol).size,
            realized or ZERO,
            fill.fee,
        )
        core.counts.fills += 1
        if core.keeper is not None:
            core.keeper.on_fill(report, record)
        settled = False
        by = forced_by(fill.client_order_id) if record is None else ""
        if by:
            core.record(
                core.next_decision(),
                "forced",
                [
                    f"{by} by the exchange: {fill.side} {fill.size} {fill.symbol} at {fill.price}, "
                    f"fee {fill.fee}, realized {realized}"
                ],
            )
        elif record is None:
            core.difference(
                f"fill {fill.symbol} {fill.trade_id}",
                "no such order",
                f"{fill.side} {fill.size} at {fill.price} for order {fill.client_order_id!r}",
                fill.ts_event,
            )
        else:
            for problem in core.orders.on_fill(fill):
                core.difference(
                    f"order {fill.client_order_id}", record.status, problem, fill.ts_event
                )
            after = core.orders.get(fill.client_order_id)
            settled = after is None or not after.in_flight
        if fill.realized_pnl is not None and fill.realized_pnl != realized:
            core.difference(f"realized {fill.symbol}", realized, fill.realized_pnl, fill.ts_event)
        core.equity_point(fill.ts_event)
        return True, settled

    def on_funding(self, report: FundingReport) -> None:
        """Count a payment once; those before the books were opened are in the opening balance."""
        core = self._core
        if not core.ledger.adopted or report.ts_event <= core.ledger.adopted_ts:
            return
        if core.ledger.pay(report.key, report.amount, report.ts_event, report.kind, report.symbol):
            core.activity += 1
            if core.keeper is not None:
                core.keeper.on_payment(report)
            core.equity_point(report.ts_event)

    def on_account(self, report: AccountReport) -> None:
        """Open the books with the account, or compare them with it."""
        core = self._core
        if not core.ledger.adopted or core.adopt_next:
            self._adopt(report)
            return
        verdict = judge(
            report,
            core.ledger,
            core.orders,
            activity=core.activity,
            before=core.suspicion,
            cost_tolerance=core.config.cost_tolerance,
        )
        core.suspicion = verdict.suspicion
        if verdict.matched is None:
            return
        if verdict.matched and not core.reconciled:
            core.record(
                core.next_decision(),
                "reconciled",
                [f"books equal the exchange's account: balance {report.balance}"],
            )
        core.reconciled = core.ledger_equal = verdict.matched
        self._raise(verdict.differences)

    def _adopt(self, report: AccountReport) -> None:
        """Take the account as the truth; with orders of ours under way, wait for a later report."""
        core = self._core
        first = not core.ledger.adopted
        if any(r.unsettled for r in core.orders.in_flight()) and not report.final:
            return
        differences = () if first else compare(report, core.ledger, core.orders)
        marks = None
        if core.start.rules:
            marks = priced(core) if first else core.market.marks
        core.ledger.adopt(report.balance, report.positions, report.ts_event, marks)
        if core.keeper is not None:
            core.keeper.adopt(report.key, report.ts_event)
        core.adopt_next = False
        core.reconciled = core.ledger_equal = True
        core.suspicion, core.told = None, frozenset()
        held = ", ".join(f"{p.symbol} {p.size}" for p in report.positions) or "no positions"
        core.record(
            core.next_decision(),
            "adopted",
            [
                f"{'opening balance' if first else 'balance'} {report.balance}, {held}",
                *(f"{d.what}: {d.ledger} became {d.exchange}" for d in differences),
            ],
        )
        if not core.ledger.unvalued:  # else the first bar says what the account is worth
            core.equity_point(report.ts_event)

    def _raise(self, differences: tuple[Difference, ...]) -> None:
        """Put differences on record, each once for as long as it stays the same."""
        core = self._core
        now = frozenset((d.what, d.ledger, d.exchange) for d in differences)
        for d in differences:
            if (d.what, d.ledger, d.exchange) not in core.told:
                core.difference(d.what, d.ledger, d.exchange, d.ts_event)
        core.told = now
