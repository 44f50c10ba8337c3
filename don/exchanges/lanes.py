"""Orders and cancels waiting to leave, one lane a symbol. Pure: no clock, no I/O.

Within a symbol cancels leave first, then orders that reduce risk, then the others, each in the
order in which they came. A cancel of an order that has not left yet takes it out of the lane.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from don.exchanges.reconcile import submit_order
from don.model.messages import CancelOrder
from don.model.order import Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An order in a lane, and the monotonic time at which it came."""

    order: Order
    since_ns: int


@dataclass(slots=True)
class Lane:
    """What waits for one symbol. Bounded: `add` says what does not fit."""

    size: int
    cancels: dict[str, CancelOrder] = field(default_factory=dict)
    reduces: deque[Waiting] = field(default_factory=deque)
    opens: deque[Waiting] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self.cancels) + len(self.reduces) + len(self.opens)

    def add(self, orders: Sequence[Order], since_ns: int) -> list[Order]:
        """Queue orders; gives back those for which there is no room."""
        surplus = []
        for order in submit_order(orders):
            if len(self.reduces) + len(self.opens) >= self.size:
                surplus.append(order)
                continue
            queue = self.reduces if order.reduce_only else self.opens
            queue.append(Waiting(order=order, since_ns=since_ns))
        return surplus

    def cancel(self, request: CancelOrder) -> Order | None:
        """Queue a cancel; or take the order out and give it back, if it has not left yet."""
        order = self.take(request.client_order_id)
        if order is None:
            self.cancels[request.client_order_id] = request
        return order

    def take(self, client_order_id: str) -> Order | None:
        """Take an order out that has not left; None if it does not wait here."""
        for queue in (self.reduces, self.opens):
            for waiting in queue:
                if waiting.order.client_order_id == client_order_id:
                    queue.remove(waiting)
                    return waiting.order
        return None

    def holds(self, client_order_id: str) -> bool:
        """Whether an order or a cancel of this id waits here."""
        return client_order_id in self.cancels or any(
            waiting.order.client_order_id == client_order_id
            for waiting in (*self.reduces, *self.opens)
        )

    def next(self) -> CancelOrder | Waiting | None:
        """Take out what leaves next."""
        if self.cancels:
            return self.cancels.pop(next(iter(self.cancels)))
        for queue in (self.reduces, self.opens):
            if queue:
                return queue.popleft()
        return None

    def clear(self) -> list[Order]:
        """Take out all orders that have not left."""
        orders = [waiting.order for waiting in (*self.reduces, *self.opens)]
        self.reduces.clear()
        self.opens.clear()
        return orders
