"""Execution algorithms: a size worked over time by children that cross, or that rest. Pure.

Time is exchange time and moves with the bars, so that a backtest and a paper session send the same
children. TWAP, VWAP and SHORTFALL follow a curve (`don.execution.schedule`), POV the volume seen;
each sends immediate-or-cancel children no worse than the slippage allows and, with a `price`, never
worse than that. What a child leaves comes with the next. CHASE rests one post-only child near the
market and moves it when the market has gone.
"""

from decimal import Decimal

from don.clock import NS_PER_S
from don.execution import schedule
from don.execution.parents import NOTHING_TO_REDUCE, Look, ParentStatus, crossing_price, largest
from don.execution.planner import split
from don.execution.requests import OrderKind, OrderRequest
from don.model.instrument import Instrument
from don.model.order import OrderStatus, OrderType, Side, TimeInForce
from don.model.portfolio import ZERO

SLICE, REST, LAST = "slice", "rest", "last"
MAX_SLICES = 1_000
LATE = 5  # slices after the end for which what is left is tried again
MAX_CHILDREN = 20  # in a bar


def curve_of(
    request: OrderRequest, start_ns: int, interval_ns: int, profile: tuple[float, ...]
) -> tuple[float, ...]:
    """The parts due by each slice, one slice a bar; empty for algorithms without a schedule."""
    bars = int(request.duration_s * NS_PER_S) // interval_ns
    slices = max(1, min(bars, MAX_SLICES))
    match request.kind:
        case OrderKind.TWAP:
            return schedule.twap(slices)
        case OrderKind.VWAP:
            return schedule.vwap(start_ns, request.duration_s, slices, profile)
        case OrderKind.SHORTFALL:
            return schedule.shortfall(slices, request.urgency)
    return ()


def advance(look: Look) -> None:
    """Carry an algorithm on by what was seen."""
    parent, request, seen = look.parent, look.parent.request, look.seen
    if look.filled() >= request.size:
        return look.end(ParentStatus.DONE)
    gone = [e for e in look.ended if e.detail.startswith(NOTHING_TO_REDUCE)]
    if request.reduce_only and gone:
        return look.end(ParentStatus.CANCELLED, "nothing left to close")
    look.note(traded=parent.traded + seen.volume)
    passed = 1.0 if not request.duration_s else _passed(look)
    endless = not request.duration_s  # POV and CHASE may go on until they are done
    if passed >= 1 and not endless:
        return _end(look)
    if request.kind is OrderKind.CHASE:
        return _chase(look)
    if request.kind is OrderKind.POV:
        wanted = Decimal(repr(request.participation * look.parent.traded))
    else:
        wanted = request.size * Decimal(repr(schedule.due(parent.curve, passed)))
    _take(look, min(wanted, request.size), SLICE)
    return None


def _passed(look: Look) -> float:
    return (look.seen.now - look.parent.ts_start) / (look.parent.request.duration_s * NS_PER_S)


def _take(look: Look, wanted: Decimal, leg: str) -> None:
    """Send what is due and neither filled nor under way; once in a bar."""
    request, seen = look.parent.request, look.seen
    if look.parent.placed >= seen.now:
        return
    price = crossing_price(look, request.side)
    reduces, cap = request.reduce_only, largest(look, price)
    missing = seen.instrument.round_size(min(wanted - look.filled() - look.open(), look.room()))
    rest = look.room() - missing
    if rest and not usable(seen.instrument, rest, price, reduces=reduces):
        missing = look.room()  # what would be left could not stand alone: it comes along
    for size in split(missing, cap, MAX_CHILDREN):
        if usable(seen.instrument, size, price, reduces=reduces):
            look.place(leg, size, OrderType.LIMIT, price=price, force=TimeInForce.IOC)
    if look.places:
        look.note(placed=seen.now)


def usable(instrument: Instrument, size: Decimal, price: Decimal, *, reduces: bool) -> bool:
    """Whether the exchange takes an order of that size."""
    if size < instrument.min_size or size <= ZERO:
        return False
    return reduces or size * price >= instrument.min_notional


def _end(look: Look) -> None:
    """The time is over: cross for the rest if it was asked for, then say how it ended."""
    request, seen = look.parent.request, look.seen
    if any(leg == REST for leg, _ in look.live):
        look.cancel("its time is over", REST)
        return None
    if look.live:
        return None
    end = look.parent.ts_start + int(request.duration_s * NS_PER_S)
    slices = max(len(look.parent.curve), 1)
    late = seen.now - end > LATE * int(request.duration_s * NS_PER_S / slices)
    if request.finish and not late:
        _take(look, request.size, LAST)
        if look.places or look.parent.placed >= seen.now:
            return None
    return look.end(ParentStatus.EXPIRED, f"{look.filled()} of {request.size} by its end")


def _chase(look: Look) -> None:
    """One post-only child, moved when the market has left it."""
    request, seen, instrument = look.parent.request, look.seen, look.seen.instrument
    price = _join_price(look)
    for _, record in look.live:
        resting = record.order.price or ZERO
        gone = (price - resting) * request.side.sign
        # half the offset of patience: a market that breathes does not cost the place in the queue
        if gone > seen.last * look.terms.offset / 2:
            look.cancel(f"the market has left {resting}", REST)
    if look.live or any(e.status is OrderStatus.REJECTED for e in look.ended):
        return
    size = instrument.round_size(min(look.room(), largest(look, price)))
    if usable(instrument, size, price, reduces=request.reduce_only):
        look.place(REST, size, OrderType.LIMIT, price=price, force=TimeInForce.GTX)
    elif look.room():
        look.end(ParentStatus.EXPIRED, f"{look.room()} is too small to rest")


def _join_price(look: Look) -> Decimal:
    request, seen = look.parent.request, look.seen
    side = request.side
    price = seen.instrument.round_price(
        seen.last * (1 - look.terms.offset * side.sign), up=side is Side.SELL
    )
    if request.price is None:
        return price
    return min(price, request.price) if side is Side.BUY else max(price, request.price)
