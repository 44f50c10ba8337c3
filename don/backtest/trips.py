"""Round trips and what each symbol brought, from exact fills and payments. Pure.

A round trip lasts from flat to flat; a fill that turns a position round ends one trip and begins
the next, and its fee is split between the two by size. Payments belong to the trip during which
they fell due. Everything is decimal, so that the parts sum to the whole.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from don.backtest.result import BacktestResult
from don.model.messages import FundingReport, PaymentKind
from don.model.order import Fill, Side
from don.model.portfolio import ZERO, Position, apply_fill, money

_PARTS = ("realized", "fees", "funding", "liquidation", "traded")
ACCOUNT = ""  # the row of payments that belong to no symbol, such as a liquidation's fee


@dataclass(slots=True, kw_only=True)
class RoundTrip:
    """A position from its opening to its end, or to the end of the run."""

    symbol: str
    side: Side
    opened_ns: int
    closed_ns: int | None = None  # None: still open
    size: Decimal = ZERO  # base, all that was opened
    opened: Decimal = ZERO  # quote, paid or received when opening, positive
    closed_size: Decimal = ZERO
    closed: Decimal = ZERO  # quote, likewise when closing
    realized: Decimal = ZERO  # before fees
    fees: Decimal = ZERO
    funding: Decimal = ZERO  # received; negative was paid
    liquidation: Decimal = ZERO  # charged to it beside fills, negative
    fills: int = 0

    @property
    def entry(self) -> Decimal:
        """Average price of what was opened."""
        return self.opened / self.size if self.size else ZERO

    @property
    def exit(self) -> Decimal:
        """Average price of what was closed."""
        return self.closed / self.closed_size if self.closed_size else ZERO

    @property
    def pnl(self) -> Decimal:
        """Realised profit after fees, funding and what a liquidation charged."""
        return self.realized - self.fees + self.funding + self.liquidation


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """What a symbol brought, quote; `symbol` is "" for payments of the account as a whole."""

    symbol: str
    realized: Decimal
    unrealized: Decimal
    fees: Decimal
    funding: Decimal
    liquidation: Decimal  # charged beside fills, negative, less what a fund made up
    traded: Decimal  # notional of its fills

    @property
    def pnl(self) -> Decimal:
        """Profit after fees, funding and liquidation."""
        kept = self.realized + self.unrealized - self.fees
        return kept + self.funding + self.liquidation


def round_trips(result: BacktestResult) -> tuple[RoundTrip, ...]:
    """All trips by opening time, those still open last.

    Args:
        result: of a run that began without positions.
    """
    books: dict[str, _Book] = {}
    done: list[RoundTrip] = []
    for event in _by_time(result.fills, result.funding):
        book = books.setdefault(event.symbol, _Book(event.symbol))
        if isinstance(event, FundingReport):
            if book.trip is None:
                continue
            if event.kind is PaymentKind.LIQUIDATION:
                book.trip.liquidation += event.amount
            else:
                book.trip.funding += event.amount
        else:
            done += book.fill(event)
    done.sort(key=lambda trip: (trip.opened_ns, trip.symbol))
    return (*done, *(book.trip for _, book in sorted(books.items()) if book.trip is not None))


def attribution(result: BacktestResult) -> tuple[Attribution, ...]:
    """One row a symbol, and one for the account if it was paid or charged as a whole.

    Their profits sum to the profit of the books, exactly, if the run began without positions.
    """
    positions: dict[str, Position] = {s: Position(symbol=s) for s in result.symbols}
    parts = {s: dict.fromkeys(_PARTS, ZERO) for s in positions}
    for fill in result.fills:
        own = parts[fill.symbol]
        positions[fill.symbol], realized = apply_fill(
            positions[fill.symbol], fill.side, fill.price, fill.size
        )
        own["realized"] += realized
        own["fees"] += fill.fee
        own["traded"] += fill.price * fill.size
    for payment in result.funding:
        own = parts.setdefault(payment.symbol, dict.fromkeys(_PARTS, ZERO))
        kind = "liquidation" if payment.kind is PaymentKind.LIQUIDATION else "funding"
        own[kind] += payment.amount
    marks = last_marks(result)
    return tuple(
        Attribution(
            symbol=symbol,
            unrealized=(
                positions[symbol].unrealized(marks[symbol])
                if symbol in positions and positions[symbol].size
                else ZERO
            ),
            **own,
        )
        for symbol, own in parts.items()
    )


def last_marks(result: BacktestResult) -> dict[str, Decimal]:
    """The last known mark price of each symbol that had one."""
    found: dict[str, Decimal] = {}
    for n, symbol in enumerate(result.symbols):
        known = np.flatnonzero(np.isfinite(result.marks[:, n]))
        if len(known):
            found[symbol] = Decimal(repr(float(result.marks[known[-1], n])))
    return found


class _Book:
    """The position of one symbol and the trip it is on."""

    def __init__(self, symbol: str) -> None:
        self.position = Position(symbol=symbol)
        self.trip: RoundTrip | None = None

    def fill(self, fill: Fill) -> list[RoundTrip]:
        """Book a fill; the trip that it ended, if any."""
        held = self.position.size * fill.side.sign
        closing = min(fill.size, max(-held, ZERO))
        ended: list[RoundTrip] = []
        fee = fill.fee
        if closing:
            part = fee if closing == fill.size else money(fee * closing / fill.size)
            fee -= part
            self.position, realized = apply_fill(self.position, fill.side, fill.price, closing)
            trip = self.trip
            assert trip is not None, "a position is always on a trip"
            trip.closed_size += closing
            trip.closed += closing * fill.price
            trip.realized += realized
            trip.fees += part
            trip.fills += 1
            if not self.position.size:
                trip.closed_ns = fill.ts_event
                ended.append(trip)
                self.trip = None
        opening = fill.size - closing
        if opening:
            self.position, _ = apply_fill(self.position, fill.side, fill.price, opening)
            if self.trip is None:
                self.trip = RoundTrip(symbol=fill.symbol, side=fill.side, opened_ns=fill.ts_event)
            self.trip.size += opening
            self.trip.opened += opening * fill.price
            self.trip.fees += fee
            self.trip.fills += 1
        return ended


def _by_time(
    fills: Iterable[Fill], payments: Iterable[FundingReport]
) -> list[Fill | FundingReport]:
    """Fills and payments by time; of one moment fills come first, in the exchange's order."""
    keyed: list[tuple[int, int, int, Fill | FundingReport]] = [
        (fill.ts_event, 0, n, fill) for n, fill in enumerate(fills)
    ]
    keyed += [(one.ts_event, 1, n, one) for n, one in enumerate(payments)]
    return [item[3] for item in sorted(keyed, key=lambda item: item[:3])]
