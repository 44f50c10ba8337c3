"""When good-till-date orders end. Pure: a heap of tape times."""

from heapq import heappop, heappush


class Expiries:
    """Times at which orders end; those that ended earlier are found out when their time comes."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, int]] = []  # time, order id, algo id: one of the ids is 0

    def __bool__(self) -> bool:
        return bool(self._heap)

    def add(self, ts: int, *, order_id: int = 0, algo_id: int = 0) -> None:
        """End an order or a conditional order at a tape time."""
        heappush(self._heap, (ts, order_id, algo_id))

    def next(self) -> int | None:
        """The earliest time."""
        return self._heap[0][0] if self._heap else None

    def take(self, ts: int) -> list[tuple[int, int]]:
        """(order id, algo id) of what ends at or before a time."""
        taken = []
        while self._heap and self._heap[0][0] <= ts:
            _, order_id, algo_id = heappop(self._heap)
            taken.append((order_id, algo_id))
        return taken
