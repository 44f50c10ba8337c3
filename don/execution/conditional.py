"""The conditional-order engine: everything that an exchange lacks, made of what it has. Pure.

One function a type, called whenever prices moved or a child ended. What is guaranteed:

- children of one leg never exceed what the leg may fill;
- an iceberg, an emulated stop and an OCO that may open a position have one child at a time: nothing
  can fill beyond the order. The price of that is that the stop waits for the cancellation;
- exits (an OCO that only reduces, a bracket's) stand at the exchange both at once, so that they
  protect when Don is down. Both are reduce-only: together they never turn the position round, but
  both can fill when the price jumps across both within the time that a cancellation takes; then a
  position that is larger than the order is reduced by up to twice its size.
"""

from decimal import Decimal

from don.execution.parents import NOTHING_TO_REDUCE, WOULD_TRIGGER, Look, ParentStatus
from don.execution.requests import OrderKind
from don.model.order import OrderStatus, OrderType, Side, TimeInForce, TriggerPrice
from don.model.portfolio import ZERO

ENTRY, STOP, TAKE, TRIGGER, WHOLE, SHOWN = "entry", "stop", "take", "trigger", "order", "shown"
_PLAIN = (OrderKind.MARKET, OrderKind.LIMIT)
_STOPS = (OrderKind.STOP_MARKET, OrderKind.STOP_LIMIT)


def advance(look: Look) -> None:
    """Carry a conditional or simple parent on by what was seen."""
    request = look.parent.request
    match request.kind:
        case OrderKind.OCO if request.reduce_only:
            _exits(look, request.size, request.side)
            _finish(look, request.size, STOP, TAKE)
        case OrderKind.OCO:
            _sequenced(look)
        case OrderKind.BRACKET:
            _bracket(look)
        case OrderKind.ICEBERG:
            _iceberg(look)
        case _ if request.kind.native is None or request.kind.value in look.terms.emulate:
            _emulated(look) if request.kind not in _PLAIN else _native(look)
        case _:
            _native(look)


# ---- one child of the exchange's own type --------------------------------------------------------


def _native(look: Look) -> None:
    request, native = look.parent.request, look.parent.request.kind.native
    if native is None:
        raise AssertionError(f"{request.kind} has no native type")
    if look.live or _over(look, WHOLE):
        return
    size = look.room(WHOLE)
    if not size and not request.close_position:
        return look.end(ParentStatus.DONE)
    if request.close_position and look.ended and look.ended[-1].filled:
        return look.end(ParentStatus.DONE)
    till = request.good_till_s * 10**9 if request.time_in_force is TimeInForce.GTD else 0
    look.place(
        WHOLE,
        size,
        native,
        price=request.price if native.priced else None,
        force=request.time_in_force,
        good_till=look.parent.ts_start + till if till else 0,
    )
    return None


def _over(look: Look, *legs: str) -> bool:
    """End the parent if a child ended in a way that is not ours to repeat."""
    for ended in look.ended:
        if legs and ended.leg not in legs:
            continue
        if ended.status is OrderStatus.FILLED or ended.ours or ended.filled >= ended.size > 0:
            continue
        status = {
            OrderStatus.EXPIRED: ParentStatus.EXPIRED,
            OrderStatus.CANCELLED: ParentStatus.CANCELLED,
        }.get(ended.status, ParentStatus.REFUSED)
        look.end(status, f"{ended.leg} {ended.status}: {ended.detail}".rstrip(": "))
        return True
    return False


# ---- stops, takes and trailing stops that Don watches --------------------------------------------


def _emulated(look: Look) -> None:
    """Watch the price, then send what the order becomes."""
    request = look.parent.request
    if not look.parent.fired and not _fires(look):
        return
    if look.live:
        return
    if _over(look, TRIGGER):
        return
    size = look.room(TRIGGER)
    if not size:
        return look.end(ParentStatus.DONE)
    limit = request.kind in (OrderKind.STOP_LIMIT, OrderKind.TAKE_PROFIT_LIMIT)
    if limit:
        look.place(TRIGGER, size, OrderType.LIMIT, price=request.price, force=request.time_in_force)
    else:
        look.place(TRIGGER, size, OrderType.MARKET)
    return None


def _fires(look: Look) -> bool:
    """Whether the price has set the parent off; remembers what it must."""
    request = look.parent.request
    if request.kind is OrderKind.TRAILING_STOP:
        return _trails(look)
    if request.trigger is None:
        raise AssertionError(f"{request.kind} has no trigger")
    up = (request.side is Side.BUY) == (request.kind in _STOPS)
    if not crossed(look, request.trigger, request.trigger_by, up=up):
        return False
    look.note(fired=TRIGGER)
    return True


def _trails(look: Look) -> bool:
    """A trailing stop: the best price since it follows, and whether the price turned enough.

    Within a bar nobody says which of high and low came first: the low is held against the best of
    the bars before, the close against the bar's own high.
    """
    request, seen, best = look.parent.request, look.seen, look.parent.best
    callback = request.callback or ZERO
    sell = request.side is Side.SELL
    far, near, now = (seen.high, seen.low, seen.last) if sell else (seen.low, seen.high, seen.last)
    if best is None:
        started = request.activate is None or (
            far >= request.activate if sell else far <= request.activate
        )
        if not started:
            return False
        # the bar's other end may lie before the activation
        look.note(best=far if request.activate is not None else now)
        return False
    turned = _turned(near, best, callback, sell=sell)
    best = max(best, far) if sell else min(best, far)
    turned = turned or _turned(now, best, callback, sell=sell)
    look.note(best=best, fired=TRIGGER if turned else "")
    return turned


def _turned(price: Decimal, best: Decimal, callback: Decimal, *, sell: bool) -> bool:
    return price <= best * (1 - callback) if sell else price >= best * (1 + callback)


def crossed(look: Look, level: Decimal, by: TriggerPrice, *, up: bool) -> bool:
    """Whether a price has come to a level since the last look."""
    seen = look.seen
    if by is TriggerPrice.MARK:
        return seen.mark >= level if up else seen.mark <= level
    return seen.high >= level if up else seen.low <= level


# ---- several legs --------------------------------------------------------------------------------


def _exits(look: Look, target: Decimal, side: Side) -> None:
    """Keep a reduce-only stop and a reduce-only limit at the exchange, each for what is left."""
    request = look.parent.request
    left = max(target - look.filled(STOP, TAKE), ZERO)
    passed = any(
        e.leg == STOP and e.status is OrderStatus.REJECTED and e.detail.startswith(WOULD_TRIGGER)
        for e in look.ended
    )
    for leg, kind in ((STOP, OrderType.STOP_MARKET), (TAKE, OrderType.LIMIT)):
        covered = look.open(leg)
        if leg == TAKE and (look.filled(STOP) or passed):
            look.cancel("the stop was reached", TAKE)
        elif leg == STOP and passed and covered < left:
            # the price is beyond the stop: what it would have become is sent at once
            look.place(leg, left - covered, OrderType.MARKET, side=side, reduce_only=True)
        elif covered > left:
            look.cancel(f"{left} left to close", leg)
        elif covered < left and not any(r.cancelling for name, r in look.live if name == leg):
            look.place(
                leg,
                left - covered,
                kind,
                side=side,
                price=request.take if leg == TAKE else None,
                trigger=request.stop if leg == STOP else None,
                reduce_only=True,
            )


def _finish(look: Look, target: Decimal, *legs: str) -> None:
    """End the parent when its legs filled what they should, or when nothing is left to close."""
    if look.filled(*legs) >= target:
        return look.end(ParentStatus.DONE)
    gone = [e for e in look.ended if e.leg in legs and _nothing_to_close(e.status, e.detail)]
    if gone:
        last = gone[-1].detail
        look.places.clear()
        look.end(ParentStatus.CANCELLED, f"nothing left to close: {last}".rstrip(": "))
    return None


def _nothing_to_close(status: OrderStatus, detail: str) -> bool:
    """An exchange ends reduce-only orders when the position is gone."""
    return status is OrderStatus.EXPIRED or (
        status is OrderStatus.REJECTED and detail.startswith(NOTHING_TO_REDUCE)
    )


def _sequenced(look: Look) -> None:
    """An OCO that may open a position: the limit rests, the stop is watched, never both."""
    request, stop = look.parent.request, look.parent.request.stop
    if stop is None:
        raise AssertionError("an OCO has a stop")
    left = look.room()
    if look.filled() >= request.size:
        return look.end(ParentStatus.DONE)
    if not look.parent.fired:
        if crossed(look, stop, request.trigger_by, up=request.side is Side.BUY):
            look.note(fired=STOP)
        elif not look.live:
            if _over(look, TAKE):
                return None
            look.place(TAKE, left, OrderType.LIMIT, price=request.take)
    if look.parent.fired:
        if look.live:
            look.cancel("the stop was reached", TAKE)
        elif not _over(look, STOP):
            look.place(STOP, left, OrderType.MARKET)
    return None


def _bracket(look: Look) -> None:
    """An entry; around what it filled, exits by the other side."""
    request = look.parent.request
    entered = look.filled(ENTRY)
    other = Side.SELL if request.side is Side.BUY else Side.BUY
    entry_over = not any(leg == ENTRY for leg, _ in look.live) and any(
        e.leg == ENTRY and not e.ours for e in look.ended
    )
    if entry_over or look.parent.fired:
        look.note(fired=ENTRY)  # the entry has ended, and is not sent again
    elif not look.live or not any(leg == ENTRY for leg, _ in look.live):
        if look.room(ENTRY) and not look.filled(STOP, TAKE):
            kind = OrderType.MARKET if request.price is None else OrderType.LIMIT
            look.place(ENTRY, look.room(ENTRY), kind, price=request.price)
    if look.filled(STOP, TAKE) and not look.parent.fired:
        look.cancel("an exit was reached", ENTRY)
        look.note(fired=ENTRY)
    if entered:
        _exits(look, entered, other)
    if look.parent.fired and not any(leg == ENTRY for leg, _ in look.live):
        if not entered:
            look.end(_entry_status(look))
        else:
            _finish(look, entered, STOP, TAKE)


def _entry_status(look: Look) -> ParentStatus:
    refused = any(e.status in (OrderStatus.REJECTED, OrderStatus.LOST) for e in look.ended)
    return ParentStatus.REFUSED if refused else ParentStatus.CANCELLED


def _iceberg(look: Look) -> None:
    """One visible part at a time."""
    request = look.parent.request
    if look.live or _over(look, SHOWN):
        return
    left = look.room()
    if not left:
        return look.end(ParentStatus.DONE)
    shown = request.shown or left
    look.place(SHOWN, min(shown, left), OrderType.LIMIT, price=request.price)
    return None
