"""The life of every order: one record each, moved by reports and fills in whatever order they come.
Pure.

A record is the join of all that was told about the order: the furthest status, the highest
cumulative fill, the sum of the fills counted. Repeats and reversals therefore end in the same
record. A final status is never left; a report that contradicts it is returned as a problem, not
swallowed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from don.model.evolve import evolve
from don.model.messages import OrderReport
from don.model.order import Fill, Order, OrderStatus, OrderType, Side, TimeInForce
from don.model.portfolio import ZERO

FINAL_KEPT = 1_000  # settled orders kept for the console and late repeats
RETIRE_BATCH = 100  # forgotten that many at a time, so that settling an order stays cheap


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """What is known of an order."""

    order: Order
    status: OrderStatus = OrderStatus.INTENDED
    exchange_order_id: str = ""
    reported: Decimal = ZERO  # highest cumulative fill in reports, base
    filled: Decimal = ZERO  # fills counted, base
    quote: Decimal = ZERO  # sum of price * size of the fills counted
    detail: str = ""
    cancelling: bool = False
    ts_recv: int = 0  # wall time of the intent

    @property
    def missing(self) -> Decimal:
        """Reported as filled, but the fill itself has not come yet; base."""
        return max(self.reported - self.filled, ZERO)

    @property
    def remaining(self) -> Decimal:
        """What may still change the position, base: the open rest plus missing fills."""
        if self.status.final:
            return self.missing
        return max(self.order.size - self.filled, ZERO)

    @property
    def in_flight(self) -> bool:
        """True until the order is final and all its fills are counted."""
        return not self.status.final or self.missing > 0

    @property
    def unsettled(self) -> bool:
        """True while reports are surely under way; false also for an order that rests, all told."""
        if self.status is OrderStatus.OPEN and self.rests:
            return self.missing > 0
        return self.in_flight

    @property
    def protects(self) -> bool:
        """True if it stands at the exchange to close a position; plans are made around it."""
        return self.order.protective and self.missing == 0

    @property
    def rests(self) -> bool:
        """True if the order stays on the book until it is filled or cancelled."""
        order = self.order
        if order.type.conditional:
            return True
        return order.type is OrderType.LIMIT and order.time_in_force in (
            TimeInForce.GTC,
            TimeInForce.GTD,
            TimeInForce.GTX,
        )

    @property
    def average_price(self) -> Decimal:
        """Average price of the fills counted, zero before the first."""
        return self.quote / self.filled if self.filled else ZERO


class OrderBookkeeper:
    """All orders of the account that can still matter, by client order id."""

    def __init__(self, records: Iterable[OrderRecord] = ()) -> None:
        self._records: dict[str, OrderRecord] = {r.order.client_order_id: r for r in records}
        self._live: dict[str, None] = {}  # ids in flight, oldest first; and the same by symbol
        self._of: dict[str, dict[str, None]] = {}
        for record in self._records.values():
            if record.in_flight:
                self._track(record.order)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[OrderRecord]:
        return iter(self._records.values())

    def get(self, client_order_id: str) -> OrderRecord | None:
        """The record of an order, or None if it is not ours or long settled."""
        return self._records.get(client_order_id)

    def in_flight(self, symbol: str | None = None) -> list[OrderRecord]:
        """Orders not settled, oldest first; of one symbol if given."""
        ids = self._live if symbol is None else self._of.get(symbol, {})
        return [self._records[client_id] for client_id in ids]

    @property
    def live(self) -> int:
        """How many orders are not settled."""
        return len(self._live)

    def working(self, symbol: str) -> list[OrderRecord]:
        """Orders of a symbol not settled, oldest first, without those that stand to protect."""
        return [r for r in self.in_flight(symbol) if not r.protects]

    def symbols(self) -> set[str]:
        """Symbols with orders not settled."""
        return {symbol for symbol, ids in self._of.items() if ids}

    def open_ids(self) -> tuple[str, ...]:
        """Client order ids of the orders not known to be final, sorted."""
        return tuple(sorted(i for i in self._live if not self._records[i].status.final))

    def net_remaining(self, symbol: str) -> Decimal:
        """Signed sum of what the symbol's working orders may still do to its position, base."""
        return sum((r.remaining * r.order.side.sign for r in self.working(symbol)), ZERO)

    def intend(self, order: Order, ts_recv: int) -> OrderRecord:
        """Record an order about to be sent.

        Raises:
            ValueError: if its id was used before: ids are never reused.
        """
        client_id = order.client_order_id
        if client_id in self._records:
            raise ValueError(f"client order id must be new, was {client_id!r}")
        self._records[client_id] = record = OrderRecord(order=order, ts_recv=ts_recv)
        self._track(order)
        return record

    def mark_cancelling(self, client_order_id: str) -> None:
        """Remember that a cancellation was asked for."""
        self._put(evolve(self._records[client_order_id], cancelling=True))

    def on_report(self, report: OrderReport) -> list[str]:
        """Take in a report about one of our orders.

        Returns:
            Problems: contradictions that need a person's eye; empty when all is well.

        Raises:
            KeyError: if the order is unknown; ask `get` first.
        """
        record = self._records[report.client_order_id]
        status, told = record.status, report.status
        problems: list[str] = []
        if status.final:
            if told.final and told is not status:
                problems.append(f"{told} reported after {status}")
            elif status is OrderStatus.LOST and told is OrderStatus.OPEN:
                problems.append("found open after it was taken for lost")
        elif told.final or told is OrderStatus.OPEN:
            status = told
        if report.filled > record.order.size and not record.order.close_position:
            problems.append(f"filled {report.filled} of {record.order.size}")
        record = evolve(
            record,
            status=status,
            exchange_order_id=record.exchange_order_id or report.exchange_order_id,
            reported=max(record.reported, report.filled),
            detail=report.detail or record.detail,
        )
        self._put(record)
        return problems

    def on_fill(self, fill: Fill) -> list[str]:
        """Take in a fill of one of our orders, once; the caller removes repeats by key.

        Returns:
            Problems, as of `on_report`.

        Raises:
            KeyError: if the order is unknown; ask `get` first.
        """
        record = self._records[fill.client_order_id]
        order, status = record.order, record.status
        filled = record.filled + fill.size
        problems: list[str] = []
        if fill.side is not order.side or fill.symbol != order.symbol:
            problems.append(f"fill is {fill.side} {fill.symbol}, order {order.side} {order.symbol}")
        if filled > order.size and not order.close_position:
            problems.append(f"overfilled: {filled} of {order.size}")
        if status in (OrderStatus.LOST, OrderStatus.REJECTED):
            problems.append(f"filled after it was {status}")
        if not status.final:
            # only the exchange knows how much there is to close
            done = filled >= order.size and not order.close_position
            status = OrderStatus.FILLED if done else OrderStatus.OPEN
        record = evolve(
            record,
            status=status,
            exchange_order_id=record.exchange_order_id or fill.exchange_order_id,
            filled=filled,
            quote=record.quote + fill.price * fill.size,
        )
        self._put(record)
        return problems

    def give_up(self, client_order_id: str) -> None:
        """Wait no longer for fills that were reported: a person took the account as it is."""
        record = self._records.get(client_order_id)
        if record is not None:
            self._put(evolve(record, reported=min(record.reported, record.filled)))

    def carried(self) -> tuple[OrderRecord, ...]:
        """The records that the next session needs: those still in flight."""
        return tuple(self.in_flight())

    def worst_sizes(self, symbol: str) -> tuple[Decimal, Decimal]:
        """(buys, sells) that may still enlarge the position, base; reduce-only orders cannot."""
        buys = sells = ZERO
        for record in self.in_flight(symbol):
            if record.order.reduce_only:
                continue
            if record.order.side is Side.BUY:
                buys += record.remaining
            else:
                sells += record.remaining
        return buys, sells

    def _put(self, record: OrderRecord) -> None:
        client_id = record.order.client_order_id
        self._records[client_id] = record
        if record.in_flight:
            self._track(record.order)
        elif client_id in self._live:
            del self._live[client_id], self._of[record.order.symbol][client_id]
            self._retire()

    def _track(self, order: Order) -> None:
        self._live[order.client_order_id] = None
        self._of.setdefault(order.symbol, {})[order.client_order_id] = None

    def _retire(self) -> None:
        """Forget the oldest settled orders beyond what is kept."""
        excess = len(self._records) - len(self._live) - FINAL_KEPT
        if excess < RETIRE_BATCH:
            return
        for client_id in [i for i in self._records if i not in self._live][:excess]:
            del self._records[client_id]
