"""Parents: orders that Don carries out by child orders, and the steps by which it does. Pure.

A parent is a value: what was asked, which children live, what ended children filled, and the little
memory that its type needs. It is part of the engine's carried state, so it survives restarts. What
children did is read from the order records; a parent never guesses. The bound that no step may
break: what a parent's children filled and may still fill never exceeds its size, leg by leg.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum

from don.execution.orders import OrderBookkeeper, OrderRecord
from don.execution.planner import Ticket
from don.execution.requests import OrderRequest
from don.model.instrument import Instrument
from don.model.order import OrderStatus, OrderType, Side, TimeInForce
from don.model.portfolio import ZERO

WOULD_TRIGGER, NOTHING_TO_REDUCE = "-2021", "-2022"  # how Binance's refusals begin
MISSES = 10  # children in a row that risk or exchange refused, before a parent gives up


class ParentStatus(StrEnum):
    """Where a parent is in its life; all but the first two are final."""

    WORKING = "working"
    ENDING = "ending"  # no more children; waits for those that live
    DONE = "done"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUSED = "refused"

    @property
    def final(self) -> bool:
        """True if nothing more can happen."""
        return self not in (ParentStatus.WORKING, ParentStatus.ENDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A child that lives."""

    client_order_id: str
    leg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A child that has ended: all its fills are counted."""

    leg: str
    status: OrderStatus
    filled: Decimal
    size: Decimal
    ours: bool  # we had asked for its cancellation
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """An order of any type under way."""

    parent_id: str
    request: OrderRequest
    actor: str = ""  # who gave it by hand; "" if the policy's target did
    decision: int = 0
    ts_start: int  # exchange time, ns
    status: ParentStatus = ParentStatus.WORKING
    ending: ParentStatus = ParentStatus.DONE  # what ENDING becomes
    detail: str = ""
    parts: tuple[Part, ...] = ()
    done: dict[str, Decimal] = field(default_factory=dict)  # leg -> filled by ended children
    quote: Decimal = ZERO  # sum of price * size of those
    sent: int = 0  # children so far
    misses: int = 0  # refusals in a row
    paused: int = 0  # exchange time of the last one: no look until the market has moved on
    placed: int = 0  # exchange time of the last slice: one a bar
    ended: tuple[Ended, ...] = ()  # children that ended since the last look
    arrival: Decimal | None = None  # mark when it came
    fired: str = ""  # what the price set off: "stop", "take", "trigger"; "" nothing yet
    best: Decimal | None = None  # of a trailing stop that Don follows
    traded: float = 0.0  # base volume of the market since it came
    curve: tuple[float, ...] = ()  # part of the size due by the end of each slice, rising to 1

    def filled_by_ended(self) -> Decimal:
        """What ended children filled, base, entry and exits together."""
        return sum(self.done.values(), ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The market of a parent's symbol, at a look."""

    now: int  # exchange time, ns
    instrument: Instrument
    last: Decimal
    mark: Decimal
    high: Decimal  # of the bar that closed since the last look; `last` if none did
    low: Decimal
    volume: float  # base, of that bar; 0 if none closed or nobody says
    fresh: bool  # prices are not stale


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Prices that children are given; from configuration."""

    slippage: Decimal = Decimal("0.005")  # how far from mark a child may cross
    offset: Decimal = Decimal("0.0002")  # how far from the last price a passive child rests
    max_notional: Decimal = Decimal(50_000)  # of one child
    emulate: tuple[str, ...] = ()  # kinds that Don carries out though the exchange has them


@dataclass(slots=True)
class Look:
    """One look at a parent: what is known, and what is to be done about it."""

    parent: Parent
    live: Sequence[tuple[str, OrderRecord]]  # (leg, record)
    seen: Seen
    terms: Terms
    places: list[Ticket] = field(default_factory=list)
    cancels: list[tuple[str, str]] = field(default_factory=list)  # (client order id, why)

    # ---- figures --------------------------------------------------------------------------------

    @property
    def ended(self) -> tuple[Ended, ...]:
        """Children that ended since the last look."""
        return self.parent.ended

    def filled(self, *legs: str) -> Decimal:
        """Filled by these legs, or by all."""
        ended = sum((s for leg, s in self.parent.done.items() if not legs or leg in legs), ZERO)
        return ended + sum((r.filled for leg, r in self.live if not legs or leg in legs), ZERO)

    def open(self, *legs: str) -> Decimal:
        """What live children of these legs, or of all, may still fill."""
        return sum((r.remaining for leg, r in self.live if not legs or leg in legs), ZERO)

    def room(self, *legs: str) -> Decimal:
        """How much a new child of these legs may have at most."""
        return max(self.parent.request.size - self.filled(*legs) - self.open(*legs), ZERO)

    # ---- acts -----------------------------------------------------------------------------------

    def place(
        self,
        leg: str,
        size: Decimal,
        kind: OrderType,
        *,
        side: Side | None = None,
        price: Decimal | None = None,
        force: TimeInForce = TimeInForce.GTC,
        reduce_only: bool | None = None,
        trigger: Decimal | None = None,
        good_till: int = 0,
    ) -> None:
        """Send a child; sizes are the caller's to bound."""
        request = self.parent.request
        native = kind.conditional and kind is not OrderType.TRAILING_STOP
        trailing = kind is OrderType.TRAILING_STOP
        self.places.append(
            Ticket(
                symbol=request.symbol,
                side=side or request.side,
                type=kind,
                size=size,
                price=price,
                time_in_force=force,
                reduce_only=request.reduce_only if reduce_only is None else reduce_only,
                reason=leg,
                trigger=(trigger or request.trigger) if native else None,
                trigger_by=request.trigger_by,
                callback=request.callback if trailing else None,
                activate=request.activate if trailing else None,
                close_position=request.close_position and kind.conditional,
                good_till=good_till,
                parent=self.parent.parent_id,
            )
        )

    def cancel(self, why: str, *legs: str) -> None:
        """Ask for the end of live children of these legs, or of all; asks once."""
        for leg, record in self.live:
            if (not legs or leg in legs) and not record.cancelling and not record.status.final:
                self.cancels.append((record.order.client_order_id, why))

    def end(self, status: ParentStatus, detail: str = "") -> None:
        """No more children; those that live are cancelled."""
        self.cancel(detail or f"order {self.parent.parent_id} is {status}")
        final = status if not self.live else ParentStatus.ENDING
        self.parent = replace(
            self.parent, status=final, ending=status, detail=detail or self.parent.detail
        )

    def note(self, **changes: object) -> None:
        """Change the parent's memory."""
        self.parent = replace(self.parent, **changes)  # type: ignore[arg-type]


def settle(parent: Parent, records: OrderBookkeeper) -> Parent:
    """Fold children that have ended into the parent: all their fills are counted by now."""
    kept, ended, done, quote = [], list(parent.ended), dict(parent.done), parent.quote
    misses = parent.misses
    for part in parent.parts:
        record = records.get(part.client_order_id)
        if record is None:
            raise AssertionError(f"order {part.client_order_id} of {parent.parent_id} is not known")
        if record.in_flight:
            kept.append(part)
            continue
        done[part.leg] = done.get(part.leg, ZERO) + record.filled
        quote += record.quote
        detail = record.detail
        missed = record.status in (OrderStatus.REJECTED, OrderStatus.LOST)
        if missed and not detail.startswith(WOULD_TRIGGER):
            misses += 1
        elif record.filled:
            misses = 0
        ended.append(
            Ended(
                leg=part.leg,
                status=record.status,
                filled=record.filled,
                size=record.order.size,
                ours=record.cancelling and record.status is OrderStatus.CANCELLED,
                detail=detail,
            )
        )
    if len(kept) == len(parent.parts):
        return parent
    return replace(
        parent, parts=tuple(kept), ended=tuple(ended), done=done, quote=quote, misses=misses
    )


def live_of(parent: Parent, records: OrderBookkeeper) -> list[tuple[str, OrderRecord]]:
    """(leg, record) of the children that live, oldest first."""
    found = ((part.leg, records.get(part.client_order_id)) for part in parent.parts)
    return [(leg, record) for leg, record in found if record is not None]


def crossing_price(look: Look, side: Side) -> Decimal:
    """Limit price of a child that crosses: within the slippage of mark, and within the parent's."""
    seen, limit = look.seen, look.parent.request.price
    price = seen.mark * (1 + look.terms.slippage * side.sign)
    price = seen.instrument.round_price(price, up=side is Side.SELL)
    if limit is None or not look.parent.request.kind.algorithm:
        return price
    return min(price, limit) if side is Side.BUY else max(price, limit)


def largest(look: Look, price: Decimal) -> Decimal:
    """Largest size of one child, base."""
    instrument = look.seen.instrument
    cap = min(instrument.max_size, look.terms.max_notional / max(price, look.seen.mark))
    return instrument.round_size(cap)
