"""Whether two runs of one market did the same, and what the difference in profit comes from. Pure.

Two runs are the same if decisions, orders, fills and what virtual books got of them are equal, in
order, to the last digit; only numbers that the exchange gives out by arrival (its order ids) may
differ. Where they differ, the difference in profit up to the last common bar is split by cause, and
the parts add up to it exactly: fees and funding are sums; the value of what was traded is split
order by order, at the first run's last mark prices.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

import numpy as np

from don.execution.planner import exact
from don.model.messages import BookEntry, BookKind, Decision, FundingReport
from don.model.order import Fill, Order, OrderStatus
from don.model.portfolio import ZERO

T = TypeVar("T")
Worth = tuple[int, str, bool, float, float]  # time, book, shadow, equity, capital put in
_REFUSED = (OrderStatus.REJECTED, OrderStatus.LOST)
_LATE = ("STALE_DATA", "no target before the next snapshot")
# facts that the exchange numbers, or that are keyed by a wall clock
_NUMBERED = (BookKind.FILL, BookKind.FUNDING, BookKind.LIQUIDATION, BookKind.ADOPTED)


class Cause(StrEnum):
    """What a difference comes from."""

    SIGNAL = "signal"  # another forecast from the same prices
    DATA = "data"  # other prices
    LATENCY = "latency"  # decided or filled at another time, or not in time
    FILL_PRICE = "fill_price"  # the same order filled at the same time for another price or size
    FEE = "fee"
    FUNDING = "funding"
    REJECT = "reject"  # refused by the exchange or by risk in one of the runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What a run did. Orders are keyed by client order id, in the order in which they were sent."""

    symbols: tuple[str, ...]
    decisions: Sequence[Decision]
    orders: Mapping[str, Order]
    statuses: Mapping[str, OrderStatus]
    fills: Sequence[Fill]
    funding: Sequence[FundingReport]
    bars: Mapping[int, tuple[np.ndarray, np.ndarray]]  # close time -> closes and marks [symbol]
    held: Mapping[str, Decimal]  # positions at the beginning, base
    entries: Sequence[BookEntry] = ()  # of virtual books; none where one policy has the account
    worth: Sequence[Worth] = ()  # of virtual books, once a decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """What a comparison found."""

    equal: bool
    until_ns: int  # close of the last bar that both have
    decisions: tuple[int, int, int]  # of the one, of the other, of both equal in place
    orders: tuple[int, int, int]
    fills: tuple[int, int, int]
    books: tuple[int, int, int]  # parts of facts, and values, of virtual books
    first_difference: str  # empty if there is none
    difference: Decimal  # profit of the one less profit of the other, quote
    parts: dict[str, Decimal]  # by cause; they add up to the difference


def compare(one: Course, other: Course) -> Parity:
    """Compare two runs of one market up to the last bar that both took in."""
    common = set(one.bars) & set(other.bars)
    until = max(common, default=0)
    one, other = _cut(one, until), _cut(other, until)
    decisions = _pair(one.decisions, other.decisions, _decision_key)
    orders = _pair(list(one.orders.values()), list(other.orders.values()), repr)
    fills = _pair(_in_order(one.fills), _in_order(other.fills), repr)
    books = _pair(_of_books(one), _of_books(other), repr)
    found = (decisions, orders, fills, books)
    told = next((text for _, text in found if text), "")
    total, parts = _split(one, other, until)
    counts = [numbers for numbers, _ in found]
    return Parity(
        equal=not told and not total,
        until_ns=until,
        decisions=counts[0],
        orders=counts[1],
        fills=counts[2],
        books=counts[3],
        first_difference=told,
        difference=total,
        parts=parts,
    )


def _cut(course: Course, until: int) -> Course:
    """The part of a run up to a bar: its decisions, their orders, and what was filled by then."""
    return replace(
        course,
        decisions=[d for d in course.decisions if d.ts_event <= until and d.status != "stop"],
        orders={name: o for name, o in course.orders.items() if o.ts_event <= until},
        fills=[fill for fill in course.fills if fill.ts_event <= until],
        funding=[paid for paid in course.funding if paid.ts_event <= until],
        entries=[entry for entry in course.entries if entry.ts_event <= until],
        worth=[value for value in course.worth if value[0] <= until],
    )


def _in_order(fills: Iterable[Fill]) -> list[Fill]:
    """Fills by exchange time and symbol, without ids that depend on arrival."""
    plain = [replace(fill, exchange_order_id="", trade_id="") for fill in fills]
    return sorted(plain, key=lambda fill: (fill.ts_event, fill.symbol))  # stable


def _of_books(course: Course) -> list[BookEntry | Worth]:
    """Entries by exchange time and symbol, then values by time and book."""
    entries = []
    for entry in course.entries:
        if entry.kind is BookKind.ADOPTED:
            entry = replace(entry, ts_event=0)
        entries.append(replace(entry, key="") if entry.kind in _NUMBERED else entry)
    entries.sort(key=lambda entry: (entry.ts_event, entry.symbol))  # stable
    return [*entries, *sorted(course.worth)]


def _decision_key(made: Decision) -> str:
    return repr(
        (
            made.decision, made.ts_event, made.policy, made.symbols, made.forecast.tobytes(),
            made.weights.tobytes(), made.status, made.reasons, made.denials, made.orders,
        )
    )  # fmt: skip


def _pair(
    ones: Sequence[T], others: Sequence[T], key: Callable[[T], str]
) -> tuple[tuple[int, int, int], str]:
    """Counts, how many are equal in place, and the first difference in words."""
    told, equal = "", 0
    for place in range(max(len(ones), len(others))):
        a = ones[place] if place < len(ones) else None
        b = others[place] if place < len(others) else None
        if a is not None and b is not None and key(a) == key(b):
            equal += 1
        elif not told:
            told = f"{a or 'nothing'}\nagainst\n{b or 'nothing'}"
    return (len(ones), len(others), equal), told


# ---- profit --------------------------------------------------------------------------------------


def _split(one: Course, other: Course, until: int) -> tuple[Decimal, dict[str, Decimal]]:
    parts = {str(cause): ZERO for cause in Cause}
    ours, theirs = _marks(one, until), _marks(other, until)
    parts[Cause.FEE] = _sum(f.fee for f in other.fills) - _sum(f.fee for f in one.fills)
    parts[Cause.FUNDING] = _sum(p.amount for p in one.funding) - _sum(
        p.amount for p in other.funding
    )
    at_end = dict(other.held)
    for fill in other.fills:
        at_end[fill.symbol] = at_end.get(fill.symbol, ZERO) + fill.size * fill.side.sign
    parts[Cause.DATA] += _sum(
        size * (ours.get(symbol, ZERO) - theirs.get(symbol, ZERO))
        for symbol, size in at_end.items()
    )
    causes = _causes(one, other)
    names = dict.fromkeys([f.client_order_id for f in (*one.fills, *other.fills)])
    by_one, by_other = _by_order(one.fills), _by_order(other.fills)
    for name in names:
        mine, yours = by_one.get(name, []), by_other.get(name, [])
        worth = _worth(mine, ours) - _worth(yours, ours)
        if worth:
            parts[_cause(name, one, other, mine, yours, causes)] += worth
    total = _profit(one, ours) - _profit(other, theirs)
    moved = _sum(
        size * (ours.get(symbol, ZERO) - theirs.get(symbol, ZERO))
        for symbol, size in one.held.items()
    )
    total += moved  # what was held from before is valued at each run's own marks
    if sum(parts.values(), ZERO) != total:
        raise AssertionError(f"parts {parts} must add up to {total}")
    return total, parts


def _profit(course: Course, marks: Mapping[str, Decimal]) -> Decimal:
    """What trading and funding earned, positions at marks; those held before are left out."""
    fees, paid = _sum(f.fee for f in course.fills), _sum(p.amount for p in course.funding)
    return _worth(course.fills, marks) - fees + paid


def _worth(fills: Iterable[Fill], marks: Mapping[str, Decimal]) -> Decimal:
    return _sum(f.side.sign * f.size * (marks.get(f.symbol, ZERO) - f.price) for f in fills)


def _marks(course: Course, until: int) -> dict[str, Decimal]:
    if until not in course.bars:
        return {}
    _, marks = course.bars[until]
    return {
        symbol: exact(mark)
        for symbol, mark in zip(course.symbols, marks.tolist(), strict=True)
        if np.isfinite(mark)
    }


def _by_order(fills: Iterable[Fill]) -> dict[str, list[Fill]]:
    found: dict[str, list[Fill]] = {}
    for fill in fills:
        found.setdefault(fill.client_order_id, []).append(fill)
    return found


def _cause(
    name: str,
    one: Course,
    other: Course,
    mine: Sequence[Fill],
    yours: Sequence[Fill],
    causes: Mapping[int, Cause],
) -> Cause:
    """Why the fills of one order differ."""
    a, b = one.orders.get(name), other.orders.get(name)
    if a is not None and a == b:
        if one.statuses.get(name) in _REFUSED or other.statuses.get(name) in _REFUSED:
            return Cause.REJECT
        same = {fill.ts_event for fill in mine} == {fill.ts_event for fill in yours}
        return Cause.FILL_PRICE if same else Cause.LATENCY
    order = a or b
    return Cause.SIGNAL if order is None else causes.get(order.ts_event, Cause.LATENCY)


def _causes(one: Course, other: Course) -> dict[int, Cause]:
    """For each bar, why the orders decided on it differ: what is new there, or what went before."""
    theirs = {d.ts_event: d for d in other.decisions if d.snapshot}
    ours = {d.ts_event: d for d in one.decisions if d.snapshot}
    found: dict[int, Cause] = {}
    last = Cause.LATENCY
    for ts in sorted(set(ours) | set(theirs)):
        last = found[ts] = _new_cause(ts, one, other, ours.get(ts), theirs.get(ts)) or last
    return found


def _new_cause(
    ts: int, one: Course, other: Course, a: Decision | None, b: Decision | None
) -> Cause | None:
    seen, known = one.bars.get(ts), other.bars.get(ts)
    if seen is None or known is None:
        return Cause.DATA
    if not all(np.array_equal(x, y, equal_nan=True) for x, y in zip(seen, known, strict=True)):
        return Cause.DATA
    if a is None or b is None or _late(a) != _late(b):
        return Cause.LATENCY
    if a.denials != b.denials:
        return Cause.REJECT
    return Cause.SIGNAL if a.forecast.tobytes() != b.forecast.tobytes() else None


def _late(made: Decision) -> bool:
    return made.status == "skipped" and any(r.startswith(_LATE) for r in made.reasons)


def _sum(values: Iterable[Decimal]) -> Decimal:
    return sum(values, ZERO)
