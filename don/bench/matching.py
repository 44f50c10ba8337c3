"""Bench of the matching engine: orders per second through the compiled core. Reads only a timer.

The flow is a mixed one near the touch: limit orders that mostly rest, cancels of recent orders,
and aggressors. The peer runs the same messages and must give the same fills.
"""

import heapq
import statistics
import time
from typing import Any

import numpy as np

from don.paper.kernels import ASK, BID, CANCEL, LIMIT, TAKE, Ints
from don.paper.matching import Book

_RUNS = 5
_PEER_MESSAGES = 200_000


def rows(full: bool) -> list[dict[str, Any]]:
    """The row `matching.orders`: messages (add, cancel, take) per second of one core's own time.

    CPU time, not wall time: the figure is per core, whatever else the machine is doing.

    The peer, `plain-python`, keeps a dict of queues per price and a heap of prices per side: what
    one writes without a compiler.
    """
    messages = flow(5_000_000 if full else 1_000_000, seed=7)
    fills = np.zeros((1 << 16, 3), np.int64)
    _run(messages[:1000], fills)  # compiles
    rates = []
    for _ in range(_RUNS):
        start = time.process_time()
        _run(messages, fills)
        rates.append(len(messages) / (time.process_time() - start))
    part = messages[:_PEER_MESSAGES]
    batch = part.tolist()
    peer_rates = []
    for _ in range(_RUNS):
        peer = PlainBook()
        start = time.process_time()
        for message in batch:
            peer.process(message)
        peer_rates.append(len(batch) / (time.process_time() - start))
    if (ours := _run(part, fills)) != (peer.fills, peer.volume):
        raise AssertionError(f"the peer must fill the same, {ours} and {peer.fills, peer.volume}")
    value, peer_value = statistics.median(rates), statistics.median(peer_rates)
    return [
        {
            "area": "matching",
            "name": "matching.orders",
            "value": value,
            "unit": "orders/s",
            "n": len(messages),
            "min": min(rates),
            "max": max(rates),
            "peer": "plain-python",
            "peer_value": peer_value,
            "ratio": value / peer_value,
        }
    ]


def flow(count: int, seed: int) -> Ints:
    """Messages (kind, id, side, price, size) around a slowly wandering price: 46 % limit orders
    (one in twelve crosses), 44 % cancels of one of the last 20,000 orders, 10 % aggressors.
    """
    rng = np.random.default_rng(seed)
    kind = rng.choice(np.array([LIMIT, CANCEL, TAKE]), count, p=[0.46, 0.44, 0.10])
    side = rng.integers(0, 2, count)
    middle = 1_000_000 + np.cumsum(rng.normal(0, 0.05, count))
    distance = rng.geometric(0.08, count) - 1  # ticks behind the touch
    sign = np.where(side == BID, 1, -1)
    price = np.rint(middle - sign * distance).astype(np.int64)
    price = np.where(kind == TAKE, price + sign * 40, price)
    number = np.arange(1, count + 1)
    victim = np.maximum(1, number - rng.integers(1, 20_000, count))
    ident = np.where(kind == CANCEL, victim, number)
    size = rng.integers(1, 50, count) * np.where(kind == TAKE, 3, 1)
    return np.column_stack([kind, ident, side, price, size]).astype(np.int64)


def _run(messages: Ints, fills: Ints) -> tuple[int, int]:
    """(fills, filled volume) of a fresh book."""
    count = volume = 0
    for chunk in Book(capacity=1 << 15).process(messages, fills):
        count += len(chunk)
        volume += int(chunk[:, 2].sum())
    return count, volume


class PlainBook:
    """The same matching in plain Python: a dict of queues per price, a heap of prices per side."""

    def __init__(self) -> None:
        self.fills = self.volume = 0
        self._levels: tuple[dict[int, dict[int, int]], ...] = ({}, {})
        self._heaps: tuple[list[int], ...] = ([], [])
        self._where: dict[int, tuple[int, int]] = {}

    def process(self, message: list[int]) -> None:
        """Run one message; see `kernels.process`."""
        kind, ident, side, price, size = message
        if kind == CANCEL:
            found = self._where.pop(ident, None)
            if found is not None:
                del self._levels[found[0]][found[1]][ident]
            return
        left = self._take(side, price, size)
        if kind == LIMIT and left:
            key = -price if side == BID else price
            level = self._levels[side].get(key)
            if level is None:
                level = self._levels[side][key] = {}
                heapq.heappush(self._heaps[side], key)
            level[ident] = left
            self._where[ident] = (side, key)

    def _take(self, side: int, limit: int, left: int) -> int:
        other = 1 - side
        heap, levels = self._heaps[other], self._levels[other]
        bound = limit if other == ASK else -limit
        while left and heap and heap[0] <= bound:
            queue = levels[heap[0]]
            while left and queue:
                maker, size = next(iter(queue.items()))
                amount = min(size, left)
                left -= amount
                self.fills += 1
                self.volume += amount
                if amount == size:
                    del queue[maker], self._where[maker]
                else:
                    queue[maker] = size - amount
            if not queue:
                del levels[heapq.heappop(heap)]
        return left
