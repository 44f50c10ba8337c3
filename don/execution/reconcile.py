"""Comparing the books with the exchange's account, exactly. Pure.

A report that disagrees may only be early or late: a payment that the account already holds and
whose own report is still under way. So a difference counts once two reports in a row, with nothing
counted between them, say the same; a final report counts at once.
"""

from dataclasses import dataclass
from decimal import Decimal

from don.execution.orders import OrderBookkeeper
from don.ledger import Ledger
from don.model.messages import AccountReport, Difference
from don.model.portfolio import ZERO, Position


def compare(
    report: AccountReport,
    ledger: Ledger,
    orders: OrderBookkeeper,
    cost_tolerance: Decimal = ZERO,
) -> tuple[Difference, ...]:
    """Every difference between the report and the books, to the last digit.

    `cost_tolerance` (quote) is for exchanges that tell entry prices rounded; sizes and balance have
    none.
    """
    found: list[Difference] = []

    def note(what: str, ours: object, theirs: object) -> None:
        found.append(
            Difference(what=what, ledger=str(ours), exchange=str(theirs), ts_event=report.ts_event)
        )

    if report.balance != ledger.balance:
        note("balance", ledger.balance, report.balance)
    theirs = {p.symbol: p for p in report.positions if p.size}
    for symbol in sorted(set(theirs) | set(ledger.positions)):
        mine, other = ledger.position(symbol), theirs.get(symbol, Position(symbol=symbol))
        if mine.size != other.size:
            note(f"position {symbol}", mine.size, other.size)
        elif abs(mine.cost - other.cost) > cost_tolerance:
            note(f"cost {symbol}", mine.cost, other.cost)
    open_orders = tuple(sorted(report.open_orders))
    if open_orders != orders.open_ids():
        note("open orders", " ".join(orders.open_ids()), " ".join(open_orders))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """A mismatch seen once, waiting for a second look."""

    key: str  # of the report
    activity: int  # facts counted by then
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one account report says about the books."""

    matched: bool | None  # None: cannot be said yet
    differences: tuple[Difference, ...] = ()  # to be raised now
    suspicion: Suspicion | None = None


def judge(
    report: AccountReport,
    ledger: Ledger,
    orders: OrderBookkeeper,
    *,
    activity: int,
    before: Suspicion | None,
    cost_tolerance: Decimal = ZERO,
) -> Verdict:
    """Whether the books agree with a report, disagree, or must be looked at again.

    Args:
        report: the exchange's account.
        ledger: the books.
        orders: working orders.
        activity: a number that rises with each fill, payment or order event counted.
        before: the suspicion left by the report before, if any.
        cost_tolerance: see `compare`.
    """
    if not report.final:
        if any(record.unsettled for record in orders.in_flight()):
            return Verdict(matched=None)
        if report.ts_event < ledger.activity_ts:
            return Verdict(matched=None, suspicion=before)  # taken before what we know already
    differences = compare(report, ledger, orders, cost_tolerance)
    if not differences:
        return Verdict(matched=True)
    if report.final:
        return Verdict(matched=False, differences=differences)
    same = (
        before is not None
        and before.key != report.key
        and before.activity == activity
        and _told(before.differences) == _told(differences)
    )
    if same:
        return Verdict(matched=False, differences=differences, suspicion=before)
    return Verdict(
        matched=None,
        suspicion=Suspicion(key=report.key, activity=activity, differences=differences),
    )


def _told(differences: tuple[Difference, ...]) -> tuple[tuple[str, str, str], ...]:
    return tuple((d.what, d.ledger, d.exchange) for d in differences)
