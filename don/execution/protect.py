"""Protective orders: what stands at the exchange to close a position when Don does not. Pure.

For each position a reduce-only stop, a take-profit, or both, native to the exchange and kept in
step with the position: a new order is there before the old one is cancelled, so that there is no
moment without one. Reduce-only orders are cut to the position by the exchange, so one that is too
large does no harm and stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Self

from pydantic import Field, model_validator

from don.execution.flatten import close_tickets
from don.execution.orders import OrderRecord
from don.execution.parents import WOULD_TRIGGER
from don.execution.planner import Ticket, split
from don.model.instrument import Instrument
from don.model.order import OrderStatus, OrderType, Side, TimeInForce, TriggerPrice
from don.model.portfolio import ZERO, Position
from don.model.section import Section

PROTECT = "protect"  # `Order.parent` of protective orders
STOP, TAKE, CLOSE = "protective stop", "protective take", "stop was passed"
MAX_PIECES = 3  # stops of one position, before one takes the place of all


class ProtectConfig(Section):
    """Exchange-side protection of every position; off by default. Distances are parts of the entry
    price.
    """

    stop: Decimal | None = Field(default=None, gt=0, lt=1)  # loss at which to close
    take: Decimal | None = Field(default=None, gt=0)  # gain at which to close
    trail: Decimal | None = Field(default=None, ge=Decimal("0.001"), le=Decimal("0.1"))
    trigger_by: TriggerPrice = TriggerPrice.MARK
    drift: Decimal = Field(default=Decimal("0.001"), gt=0, lt=1)  # of a trigger, before it moves

    @property
    def on(self) -> bool:
        """True if positions are protected."""
        return any(x is not None for x in (self.stop, self.take, self.trail))

    @model_validator(mode="after")
    def _one_stop(self) -> Self:
        if self.stop is not None and self.trail is not None:
            raise ValueError(f"stop or trail, not both, were {self.stop} and {self.trail}")
        return self


@dataclass(slots=True)
class Upkeep:
    """What brings the protection of a position in step with it."""

    places: list[Ticket] = field(default_factory=list)
    cancels: list[tuple[OrderRecord, str]] = field(default_factory=list)


def keep(
    position: Position,
    records: Sequence[OrderRecord],
    price: Decimal,
    instrument: Instrument,
    config: ProtectConfig,
    *,
    refused: str = "",
) -> Upkeep:
    """Protective orders to place and to cancel.

    Args:
        position: held, or flat.
        records: protective orders of the symbol in flight.
        price: of the kind that sets the orders off.
        instrument: the symbol's rules.
        config: distances.
        refused: detail of the exchange's last refusal of a stop for this position.
    """
    todo = Upkeep()
    if not position.size:
        todo.cancels = [(r, "the position is closed") for r in _standing(records)]
        return todo
    long = position.size > 0
    side = Side.SELL if long else Side.BUY
    for leg, kind, distance in (
        (STOP, OrderType.STOP_MARKET, config.stop),
        (STOP, OrderType.TRAILING_STOP, config.trail),
        (TAKE, OrderType.TAKE_PROFIT_MARKET, config.take),
    ):
        if distance is None:
            continue
        below = long == (leg == STOP)
        trigger = None
        if kind is not OrderType.TRAILING_STOP:
            level = position.entry_price * (1 - distance if below else 1 + distance)
            trigger = instrument.round_price(level, up=below)  # toward the entry
            passed = price <= trigger if below else price >= trigger
            standing = [r for r in records if r.order.type is kind and r.order.side is side]
            if passed or (leg == STOP and refused.startswith(WOULD_TRIGGER)):
                # one that stands is being set off by the exchange; a new one would be refused
                if leg == STOP and not any(r.status is OrderStatus.OPEN for r in standing):
                    _close(todo, position, records, side, instrument)
                continue
        mine = [r for r in records if r.order.type is kind and not r.status.final]
        _step(todo, position, mine, side, trigger, leg, kind, instrument, config)
    wanted = {side}
    todo.cancels += [
        (r, "the position has turned") for r in _standing(records) if r.order.side not in wanted
    ]
    return todo


def _step(
    todo: Upkeep,
    position: Position,
    mine: Sequence[OrderRecord],
    side: Side,
    trigger: Decimal | None,
    leg: str,
    kind: OrderType,
    instrument: Instrument,
    config: ProtectConfig,
) -> None:
    size = abs(position.size)
    same = [r for r in mine if r.order.side is side and not r.cancelling]
    good = [r for r in same if _near(r.order.trigger, trigger, config.drift)]
    covered = sum((r.remaining for r in good), ZERO)
    pieces = len(good)
    if covered < size:
        whole = pieces >= MAX_PIECES
        missing = size if whole else size - covered
        cap = instrument.round_size(instrument.max_size)
        todo.places += [
            _ticket(position.symbol, side, part, kind, trigger, leg, config)
            for part in split(missing, cap, MAX_PIECES)
        ]
        return
    # the new ones must stand before the old ones go
    standing = [r for r in good if r.status is OrderStatus.OPEN]
    held = sum((r.remaining for r in standing), ZERO)
    if held < size:
        return
    todo.cancels += [(r, "the position's entry has moved") for r in same if r not in good]
    for record in standing:
        if held - record.remaining >= size:
            held -= record.remaining
            todo.cancels.append((record, "another one covers the position"))


def _close(
    todo: Upkeep,
    position: Position,
    records: Sequence[OrderRecord],
    side: Side,
    instrument: Instrument,
) -> None:
    """The price is beyond the stop: close at market, unless that is under way."""
    if any(r.order.type is OrderType.MARKET for r in records):
        return
    cap = instrument.round_size(instrument.max_size)
    sizes = split(abs(position.size), cap, MAX_PIECES)
    todo.places += close_tickets(position.symbol, side, sizes, CLOSE, parent=PROTECT)


def _ticket(
    symbol: str,
    side: Side,
    size: Decimal,
    kind: OrderType,
    trigger: Decimal | None,
    leg: str,
    config: ProtectConfig,
) -> Ticket:
    return Ticket(
        symbol=symbol,
        side=side,
        type=kind,
        size=size,
        price=None,
        time_in_force=TimeInForce.GTC,
        reduce_only=True,
        reason=leg,
        trigger=trigger,
        trigger_by=config.trigger_by,
        callback=config.trail if kind is OrderType.TRAILING_STOP else None,
        parent=PROTECT,
    )


def _near(level: Decimal | None, wanted: Decimal | None, drift: Decimal) -> bool:
    if level is None or wanted is None:
        return level is wanted
    return abs(level - wanted) <= drift * wanted


def _standing(records: Sequence[OrderRecord]) -> list[OrderRecord]:
    return [r for r in records if r.order.protective and not r.cancelling and not r.status.final]
