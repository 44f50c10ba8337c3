"""Transaction cost analysis: what each order cost against three prices. Pure.

Slippage is in basis points of the benchmark, positive when it cost money: (average - benchmark) /
benchmark * side * 10^4. The benchmarks, all from what the desk itself saw:

- arrival: the mark when the order was decided (implementation shortfall, Perold 1988); of a
  conditional order its trigger, or the mark before its first fill if it trailed;
- vwap: the market's volume-weighted average of closes over the bars from the decision (of a
  conditional order, from its first fill) to the last fill; without volumes the plain average;
- close: the last close of the UTC day of the last fill, or the last one that was seen.

Children of one parent count as one order. Fees are apart, in basis points of what was traded.
`missed` is what an unfilled rest would have cost or saved: (close - arrival) * side, in quote.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from don.clock import NS_PER_S
from don.errors import UsageError
from don.execution.protect import PROTECT
from don.execution.requests import manual_id, read_command
from don.model.messages import Command, CommandKind, FeatureSnapshot, FillReport, SubmitOrder
from don.model.order import Fill, Order
from don.model.portfolio import ZERO

DAY_NS = 86_400 * NS_PER_S
BPS = 10_000.0


@dataclass(slots=True)
class Prices:
    """What the desk saw of one symbol, oldest first."""

    ts: list[int] = field(default_factory=list)  # bar close times
    mark: list[float] = field(default_factory=list)
    close: list[float] = field(default_factory=list)
    volume: list[float] = field(default_factory=list)

    def at(self, ts: int) -> float | None:
        """The mark known at a time."""
        place = bisect_right(self.ts, ts)
        return self.mark[place - 1] if place else None

    def vwap(self, start: int, end: int) -> float | None:
        """Volume-weighted average of the closes of the bars in (start, end], or of the next bar."""
        first, last = bisect_right(self.ts, start), bisect_left(self.ts, end) + 1
        closes, volumes = self.close[first:last], self.volume[first:last]
        if not closes:
            return None
        total = sum(volumes)
        if total <= 0:
            return sum(closes) / len(closes)
        return sum(c * v for c, v in zip(closes, volumes, strict=True)) / total

    def day_close(self, ts: int) -> float | None:
        """The last close of the UTC day of a time."""
        end = (ts // DAY_NS + 1) * DAY_NS
        place = bisect_right(self.ts, end)
        return self.close[place - 1] if place else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCost:
    """What one order cost. Prices and basis points are estimates: float64; None: not known."""

    order: str  # the parent's id, or the client order id of an order without one
    symbol: str
    side: str
    kind: str
    actor: str  # who gave it by hand; "" otherwise
    decision: int
    ts_event: int  # exchange time of the decision
    ts_done: int  # exchange time of the last fill; 0 if nothing filled
    children: int
    fills: int
    size: Decimal  # base; as asked for, or of the children sent at first
    filled: Decimal
    average: Decimal | None
    fees: Decimal
    maker: float | None  # part of what filled that rested
    arrival: float | None
    vwap: float | None
    close: float | None
    arrival_bps: float | None
    vwap_bps: float | None
    close_bps: float | None
    fee_bps: float | None
    missed: float | None  # quote


@dataclass(slots=True)
class _Group:
    orders: list[Order] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)


class CostAnalysis:
    """Takes in a session's messages in the journal's order."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._of: dict[str, str] = {}  # client order id -> group
        self._prices: dict[str, Prices] = {}
        self._asked: dict[str, tuple[str, str, Decimal]] = {}  # id -> actor, kind, size

    def take(self, message: object) -> None:
        """Take in a message; those that say nothing about costs are passed over."""
        match message:
            case FeatureSnapshot():
                self._snapshot(message)
            case SubmitOrder(order=order):
                self.order(order)
            case FillReport(fill=fill):
                self.fill(fill)
            case Command(kind=CommandKind.ORDER):
                self._command(message)

    def order(self, order: Order) -> None:
        """Take in an order that was sent."""
        lone = not order.parent or order.parent == PROTECT
        name = order.client_order_id if lone else order.parent
        self._groups.setdefault(name, _Group()).orders.append(order)
        self._of[order.client_order_id] = name

    def fill(self, fill: Fill) -> None:
        """Take in a fill; those of orders that were not sent here are passed over."""
        group = self._groups.get(self._of.get(fill.client_order_id, ""))
        if group is not None:
            group.fills.append(fill)

    def _command(self, command: Command) -> None:
        try:
            request = read_command(command.payload).request
        except UsageError:
            return  # it was refused, and nothing came of it
        if request is not None:
            told = (command.actor, str(request.kind), request.size)
            self._asked[manual_id(command.key)] = told

    def _snapshot(self, snapshot: FeatureSnapshot) -> None:
        for n, symbol in enumerate(snapshot.symbols):
            mark, close = float(snapshot.mark[n]), float(snapshot.close[n])
            if not (mark > 0 and close > 0):
                continue
            prices = self._prices.setdefault(symbol, Prices())
            prices.ts.append(snapshot.ts_event)
            prices.mark.append(mark)
            prices.close.append(close)
            volume = 0.0 if snapshot.volume is None else float(snapshot.volume[n])
            prices.volume.append(volume if volume > 0 else 0.0)

    def rows(self) -> list[OrderCost]:
        """One a parent or lone order, in the order in which they were decided."""
        return [self._row(name, group) for name, group in self._groups.items()]

    def _row(self, name: str, group: _Group) -> OrderCost:
        first, fills = group.orders[0], group.fills
        sign, prices = first.side.sign, self._prices.get(first.symbol, Prices())
        own = [f for f in fills if f.side is first.side]  # a bracket's exits are not its entry
        actor, kind, size = self._asked.get(name, ("", "", ZERO))
        filled = sum((f.size for f in own), ZERO)
        quote = sum((f.price * f.size for f in own), ZERO)
        fees = sum((f.fee for f in fills), ZERO)
        done = max((f.ts_event for f in own), default=0)
        average = quote / filled if filled else None
        arrival, start = prices.at(first.ts_event), first.ts_event
        if first.type.conditional:
            # it waited: what counts is what it cost from the moment at which the price set it off
            start = min((f.ts_event for f in own), default=start + 1) - 1
            arrival = float(first.trigger) if first.trigger is not None else prices.at(start)
        vwap = prices.vwap(start, done) if done else None
        close = prices.day_close(done or first.ts_event)
        size = size or max(sum((o.size for o in _same(group.orders)), ZERO), filled)
        rest = float(size - filled)

        def bps(benchmark: float | None) -> float | None:
            if average is None or not benchmark:
                return None
            return (float(average) / benchmark - 1.0) * sign * BPS

        missed = None
        if arrival is not None and close is not None and rest > 0:
            missed = (close - arrival) * sign * rest
        return OrderCost(
            order=name,
            symbol=first.symbol,
            side=str(first.side),
            kind=kind or (first.reason if first.parent else str(first.type)),
            actor=actor,
            decision=first.decision,
            ts_event=first.ts_event,
            ts_done=done,
            children=len(group.orders),
            fills=len(own),
            size=size,
            filled=filled,
            average=average,
            fees=fees,
            maker=float(sum((f.size for f in own if f.maker), ZERO) / filled) if filled else None,
            arrival=arrival,
            vwap=vwap,
            close=close,
            arrival_bps=bps(arrival),
            vwap_bps=bps(vwap),
            close_bps=bps(close),
            fee_bps=float(sum((f.fee for f in own), ZERO) / quote) * BPS if quote else None,
            missed=missed,
        )


def _same(orders: Sequence[Order]) -> list[Order]:
    """Orders of the first one's decision, side and part: what was asked for at once."""
    first = orders[0]
    return [
        o
        for o in orders
        if (o.decision, o.side, o.reason) == (first.decision, first.side, first.reason)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTotal:
    """Costs of all orders, weighted by what they traded."""

    orders: int
    traded: Decimal  # quote
    fees: Decimal
    arrival_bps: float | None
    vwap_bps: float | None
    close_bps: float | None
    fee_bps: float | None


def total(rows: Iterable[OrderCost]) -> CostTotal:
    """The sum of all orders that filled."""
    found = [r for r in rows if r.average is not None]
    worth = [float(r.average * r.filled) for r in found if r.average is not None]

    def mean(name: str) -> float | None:
        pairs = [
            (getattr(r, name), w)
            for r, w in zip(found, worth, strict=True)
            if getattr(r, name) is not None
        ]
        weight = sum(w for _, w in pairs)
        return sum(v * w for v, w in pairs) / weight if weight else None

    return CostTotal(
        orders=len(found),
        traded=sum((r.average * r.filled for r in found if r.average is not None), ZERO),
        fees=sum((r.fees for r in found), ZERO),
        arrival_bps=mean("arrival_bps"),
        vwap_bps=mean("vwap_bps"),
        close_bps=mean("close_bps"),
        fee_bps=mean("fee_bps"),
    )


def analyse(messages: Iterable[object]) -> list[OrderCost]:
    """Costs of every order in a session's messages."""
    analysis = CostAnalysis()
    for message in messages:
        analysis.take(message)
    return analysis.rows()
