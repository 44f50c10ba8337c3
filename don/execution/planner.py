"""Target weights to exact orders: the one place where float64 estimates become Decimal sizes. Pure.

Rules: sizes are rounded toward zero, so an order is never larger than the difference it closes;
what working orders may still do counts as done, and a symbol whose working orders do not fit is
left alone until they are gone, so the same difference is never traded twice; reductions go first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

import numpy as np
from pydantic import Field

from don.execution.orders import OrderBookkeeper, OrderRecord
from don.ledger import Ledger
from don.model.instrument import Instrument
from don.model.order import OrderType, Side, TimeInForce, TriggerPrice
from don.model.portfolio import ZERO
from don.model.section import Section


class Style(StrEnum):
    """How differences are traded."""

    LIMIT_IOC = (
        "limit_ioc"  # marketable limit at a price cap, the rest expires: slippage is bounded
    )
    MARKET = "market"
    PASSIVE = "passive"  # post-only limit away from mark, rests until the next decision
    # these work the difference over time: see `don.execution.algos`
    TWAP = "twap"
    VWAP = "vwap"
    POV = "pov"
    SHORTFALL = "shortfall"
    CHASE = "chase"

    @property
    def works(self) -> bool:
        """True if differences are worked by an algorithm instead of sent at once."""
        return self not in (Style.LIMIT_IOC, Style.MARKET, Style.PASSIVE)


class PlannerConfig(Section):
    """How targets become orders."""

    style: Style = Style.LIMIT_IOC
    slippage: Decimal = Field(default=Decimal("0.005"), ge=0, lt=1)  # price cap, from mark
    passive_offset: Decimal = Field(default=Decimal("0.0002"), ge=0, lt=1)  # from mark, away
    band: Decimal = Field(default=Decimal("0.01"), ge=0)  # of equity: smaller trades wait
    max_slices: int = Field(default=20, ge=1)  # per symbol and decision
    # of the styles that work over time, in exchange time; a bar gives one slice
    horizon_s: float = Field(default=3_600.0, gt=0)
    participation: float = Field(default=0.05, gt=0, le=1)  # of POV: part of the market's volume
    urgency: float = Field(default=2.0, ge=0, le=50)  # of SHORTFALL: 0 is TWAP


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """An order before it has an id."""

    symbol: str
    side: Side
    type: OrderType
    size: Decimal
    price: Decimal | None
    time_in_force: TimeInForce
    reduce_only: bool
    reason: str
    trigger: Decimal | None = None  # these as in `don.model.order.Order`
    trigger_by: TriggerPrice = TriggerPrice.LAST
    callback: Decimal | None = None
    activate: Decimal | None = None
    close_position: bool = False
    good_till: int = 0
    parent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to send and cancel, and why some differences are left open."""

    tickets: tuple[Ticket, ...]
    cancels: tuple[str, ...]  # client order ids
    waiting: tuple[str, ...]  # symbols to plan again when their working orders are gone
    reasons: tuple[str, ...]
    drops: tuple[str, ...] = ()  # symbols whose algorithm is to end: it goes somewhere else


def exact(value: float) -> Decimal:
    """The decimal that a float prints as: the shortest one that reads back as the same float."""
    return Decimal(repr(float(value)))


def plan(
    *,
    symbols: Sequence[str],
    weights: np.ndarray,
    tradable: np.ndarray,
    equity: Decimal,
    ledger: Ledger,
    orders: OrderBookkeeper,
    marks: Mapping[str, Decimal],
    instruments: Mapping[str, Instrument],
    config: PlannerConfig,
    max_notional: Decimal,
    planned: Mapping[str, Decimal] | None = None,
    sizes: Mapping[str, Decimal] | None = None,
) -> Plan:
    """The orders that lead from the positions to the target.

    Args:
        symbols: of the target.
        weights: [symbol] fractions of equity, finite.
        tradable: [symbol] bool; others are left as they are.
        equity: quote, positive.
        ledger: positions held.
        orders: working orders.
        marks: price per tradable symbol.
        instruments: rules per symbol.
        config: style and thresholds.
        max_notional: quote; larger orders are split.
        planned: what algorithms are still to send, signed, base, by symbol.
        sizes: positions wanted, signed, base, by symbol, instead of weights: whoever says so has
            weighed already whether a difference is worth trading, so every one is traded.
    """
    planned = planned or {}
    drops: list[str] = []
    tickets: list[Ticket] = []
    cancels: list[str] = []
    waiting: list[str] = []
    reasons: list[str] = []
    for i, symbol in enumerate(symbols):
        if not tradable[i]:
            continue
        mark = marks[symbol]
        held = ledger.position(symbol).size
        target = exact(weights[i]) * equity / mark if sizes is None else sizes[symbol]
        working, coming = orders.working(symbol), planned.get(symbol, ZERO)
        if working or coming:
            rest = target - held - orders.net_remaining(symbol) - coming
            if abs(rest) * mark <= config.band * equity and not _crosses(working):
                reasons.append(f"{symbol}: working orders suffice")
                continue
            if coming:
                drops.append(symbol)
        if working:
            # asked for again on each decision: a cancellation may have been lost on its way
            cancels += [r.order.client_order_id for r in working if r.rests]
            waiting.append(symbol)
            reasons.append(f"{symbol}: waits for working orders to end")
            continue
        made, why = _tickets(
            symbol,
            target - held,
            held,
            mark,
            equity,
            instruments[symbol],
            config,
            max_notional,
            closing=weights[i] == 0.0 or sizes is not None,
        )
        tickets += made
        reasons += why
    # reductions free margin for the rest; within a kind the order of symbols is kept
    tickets.sort(key=lambda t: not t.reduce_only)
    return Plan(
        tickets=tuple(tickets),
        cancels=tuple(cancels),
        waiting=tuple(waiting),
        reasons=tuple(reasons),
        drops=tuple(drops),
    )


def _crosses(working: Sequence[OrderRecord]) -> bool:
    """True if orders work on both sides: a net that happens to fit is no reason to keep them."""
    return len({r.order.side for r in working}) > 1


def _tickets(
    symbol: str,
    delta: Decimal,
    held: Decimal,
    mark: Decimal,
    equity: Decimal,
    instrument: Instrument,
    config: PlannerConfig,
    max_notional: Decimal,
    *,
    closing: bool,
) -> tuple[list[Ticket], list[str]]:
    size = instrument.round_size(abs(delta))
    if size == 0:
        return [], []
    if not closing and size * mark < config.band * equity:
        return [], [f"{symbol}: difference of {size * mark:.2f} is inside the no-trade band"]
    side = Side.BUY if delta > 0 else Side.SELL
    reduces = held != 0 and (held > 0) != (delta > 0) and size <= abs(held)
    price = limit_price(mark, side, instrument, config)
    if not reduces and size * min(price or mark, mark) < instrument.min_notional:
        return [], [f"{symbol}: difference of {size * mark:.2f} is below the least notional"]
    if size < instrument.min_size:
        return [], [f"{symbol}: difference of {size} is below the least size"]
    cap = instrument.round_size(min(instrument.max_size, max_notional / max(price or mark, mark)))
    if cap < instrument.min_size:
        return [], [f"{symbol}: the least size is above the largest order notional"]
    slices = [size] if config.style.works else split(size, cap, config.max_slices)
    # a last slice too small to stand alone is left for the next decision
    usable = [
        s
        for s in slices
        if s >= instrument.min_size
        and (reduces or s * min(price or mark, mark) >= instrument.min_notional)
    ]
    kind, force = _TERMS.get(config.style, _TERMS[Style.LIMIT_IOC])
    return [
        Ticket(
            symbol=symbol,
            side=side,
            type=kind,
            size=part,
            price=price,
            time_in_force=force,
            reduce_only=reduces,
            reason="reduce" if reduces else "rebalance",
        )
        for part in usable
    ], []


_TERMS = {
    Style.LIMIT_IOC: (OrderType.LIMIT, TimeInForce.IOC),
    Style.MARKET: (OrderType.MARKET, TimeInForce.GTC),
    Style.PASSIVE: (OrderType.LIMIT, TimeInForce.GTX),
}


def limit_price(
    mark: Decimal, side: Side, instrument: Instrument, config: PlannerConfig
) -> Decimal | None:
    """The price of an order: never beyond the cap, rounded to the side that costs less."""
    if config.style is Style.MARKET:
        return None
    offset = -config.passive_offset if config.style is Style.PASSIVE else config.slippage
    return instrument.round_price(mark * (1 + offset * side.sign), up=side is Side.SELL)


def split(size: Decimal, cap: Decimal, most: int) -> list[Decimal]:
    """A size in parts of at most `cap`, at most `most` of them; what is beyond is left out."""
    parts: list[Decimal] = []
    rest = size
    while rest > ZERO and len(parts) < most:
        parts.append(min(rest, cap))
        rest -= parts[-1]
    return parts
