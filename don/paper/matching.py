"""A price-time-priority limit order book over compiled steps. Pure: integer ticks and lots.

Users' orders and the house (the tape's displayed levels) share one book. The book matches and keeps
queues; it knows neither accounts nor money. It notes which levels changed, for depth publication.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from don.paper import display, kernels, ladder, play
from don.paper.kernels import ANY_PRICE
from don.paper.ladder import ASK, BID, HOUSE_ID, KEY, SIDE, SIZE, TOTAL, USED, Ints

__all__ = ["ANY_PRICE", "ASK", "BID", "HOUSE_ID", "Book", "Fill"]

_NO_MEMO: Ints = np.empty(0, np.int64)
_BUFFER = 256  # fills of one compiled call


class Fill(NamedTuple):
    """One match. `maker` is the resting order's id, `HOUSE_ID` for the tape's own liquidity."""

    maker: int
    price: int  # ticks
    size: int  # lots


class Book:
    """One symbol's book. Sides are BID (0) and ASK (1): of resting orders, or of an aggressor."""

    def __init__(self, capacity: int = 1024) -> None:
        self._store = ladder.make_store(capacity)
        self._fills: Ints = np.zeros((_BUFFER, 3), np.int64)
        self._room: Ints = np.empty((0, 3), np.int64)
        self._memo: Ints = np.empty(0, np.int64)
        # (side, price) -> size before, of levels that changed and were not taken yet
        self.touched: dict[tuple[int, int], int] = {}

    # ---- users' orders ---------------------------------------------------------------------------

    def add(self, ident: int, side: int, price: int, size: int) -> None:
        """Queue an order at the back of its level; it must not cross (take first).

        Raises:
            ValueError: if the id is taken, a number is not positive, or the order crosses.
        """
        if ident <= 0 or price <= 0 or size <= 0:
            raise ValueError(f"id, price and size must be positive, were {ident}, {price}, {size}")
        if ladder.node_of(self._store, ident) >= 0:
            raise ValueError(f"order {ident} is in the book already")
        best = self.best(1 - side)
        if best is not None and (price >= best[0] if side == BID else price <= best[0]):
            raise ValueError(f"order {ident} at {price} crosses the other side at {best[0]}")
        self._reserve(1)
        self._touch(side, price)
        kernels.add(self._store, ident, side, price, size)

    def cancel(self, ident: int) -> int:
        """Remove an order; the size it still had, 0 if it is not in the book."""
        return self.reduce(ident, 0)

    def reduce(self, ident: int, size: int) -> int:
        """Cut an order to `size` where it stands in its queue; how much was taken off."""
        node = ladder.node_of(self._store, ident)
        if node < 0:
            return 0
        row = self._store.orders[node]
        excess = int(row[SIZE]) - size
        if excess <= 0:
            return 0
        self._touch(int(row[SIDE]), abs(int(row[KEY])))
        kernels.shrink(self._store, node, excess)
        return excess

    def size_of(self, ident: int) -> int:
        """What is left of an order in the book, 0 if it is not there."""
        node = ladder.node_of(self._store, ident)
        return int(self._store.orders[node, SIZE]) if node >= 0 else 0

    def price_of(self, ident: int) -> int:
        """The price of an order in the book, 0 if it is not there."""
        node = ladder.node_of(self._store, ident)
        return abs(int(self._store.orders[node, KEY])) if node >= 0 else 0

    # ---- matching --------------------------------------------------------------------------------

    def take(self, side: int, limit: int, size: int) -> tuple[list[Fill], int]:
        """Match an aggressor of a side up to a limit price, until a user's order was filled or
        nothing more can be. Call again with what is left after settling; no fills means the end.

        Returns:
            (fills in order, the last may be a user's; size left).
        """
        n, left = kernels.take(self._store, side, limit, size, True, self._fills, 0)
        return self._read(n, 1 - side), int(left)

    def sweep(self, side: int, price: int, size: int) -> tuple[list[Fill], int]:
        """Let a print of the tape fill better-priced users' orders, then its level's queue.

        What the house has ahead of users in that queue lets them advance, but stays displayed.
        Same protocol as `take`; fills are of users' orders only.
        """
        self._reserve(1)
        n, left = kernels.sweep(self._store, side, price, size, self._fills)
        return self._read(n, 1 - side), int(left)

    def fillable(self, side: int, limit: int, *, house_only: bool = False) -> int:
        """Size that an aggressor of a side could take up to a limit price."""
        return int(kernels.fillable(self._store, side, limit, house_only))

    def process(self, messages: Ints, fills: Ints) -> Iterator[Ints]:
        """Run a batch of messages (kind, id, side, price, size); see `kernels.process`.

        Levels that change this way are not noted as touched.

        Yields:
            (k, 3) rows of (maker id, price, size): views of `fills`, valid until the next one.

        Raises:
            ValueError: if `fills` is too small to hold what one message may fill.
        """
        start = 0
        while start < len(messages):
            start, n = kernels.process(self._store, messages, start, fills)
            if n:
                yield fills[:n]
            elif start < len(messages) and len(fills) <= self._store.meta[USED]:
                raise ValueError(f"fills needs more rows than resting orders, had {len(fills)}")
            if self._store.meta[USED] == len(self._store.orders):
                self._store = ladder.grow_store(self._store)

    # ---- the house -------------------------------------------------------------------------------

    def display(
        self, rows: Iterable[tuple[int, int, int]] | Ints, *, snapshot: bool = False
    ) -> "Displayed":
        """Set absolute house sizes, rows of (side, price, size); iterate the result to the end.

        Each item is a crossing: (side, price, size) of a displayed level that stands against users'
        orders; the caller matches it with `take` and hands the rest back with `settle`.
        """
        array = rows if isinstance(rows, np.ndarray) else np.array([*rows], np.int64)
        return Displayed(self, array.reshape(-1, 3), snapshot)

    def play(
        self,
        levels: Ints,
        steps: Ints,
        start: int,
        stop: int,
        bid: int,
        ask: int,
        best: Ints,
        told: Ints,
    ) -> tuple[int, int, int]:
        """Take in recorded steps that meet no user's order, see `play.play`; what it changes
        counts as published.
        """
        room = 3 * len(self._store.orders)
        if len(self._room) < room:
            self._room = np.empty((room, 3), np.int64)
            self._memo = np.empty(len(self._store.orders), np.int64)
        at, rows, changed = play.play(
            self._store, levels, steps, start, stop, bid, ask, best, told, self._room, self._memo
        )
        return int(at), int(rows), int(changed)

    def make_room(self, count: int) -> bool:
        """Grow if there is no room for so many more orders; True if it grew."""
        before = len(self._store.orders)
        self._reserve(count)
        return len(self._store.orders) > before

    def house(self, side: int, price: int) -> int:
        """The house's size at a price, lots."""
        return int(display.house_size(self._store, side, price))

    # ---- views -----------------------------------------------------------------------------------

    def best(self, side: int) -> tuple[int, int] | None:
        """(price, size) of the best level, None when the side is empty."""
        store = self._store
        n = store.meta[side]
        if n == 0:
            return None
        key, level = store.ladder[side, n - 1]
        return abs(int(key)), int(store.levels[level, TOTAL])

    def size_at(self, side: int, price: int) -> int:
        """Total size at a price, 0 when there is no level."""
        store = self._store
        level = ladder.level_of(store, side, price if side == BID else -price)
        return int(store.levels[level, TOTAL]) if level >= 0 else 0

    def levels(self, side: int, limit: int | None = None) -> list[tuple[int, int, int]]:
        """(price, size, house's part) of the best levels, best first."""
        most = int(self._store.meta[side] + self._store.meta[ladder.FAR + side])
        out: Ints = np.empty((most if limit is None else min(limit, most), 3), np.int64)
        n = display.top_levels(self._store, side, len(out), out)
        return [(price, size, house) for price, size, house in out[:n].tolist()]

    def queue(self, side: int, price: int) -> list[tuple[int, int]]:
        """(order id, size) at a price, first in line first; the house has id 0."""
        out: Ints = np.empty((int(self._store.meta[USED]), 2), np.int64)
        n = display.queue(self._store, side, price, out)
        return [(ident, size) for ident, size in out[:n].tolist()]

    def take_touched(self) -> list[tuple[int, int, int, int]]:
        """(side, price, size before, size) of the levels that were touched since the last call."""
        if not self.touched:
            return []
        rows: Ints = np.zeros((len(self.touched), 3), np.int64)
        rows[:, :2] = list(self.touched)
        display.sizes(self._store, rows)
        found = [
            (side, price, before, size)
            for (side, price, size), before in zip(
                rows.tolist(), self.touched.values(), strict=True
            )
        ]
        self.touched.clear()
        return found

    # ---- inside ----------------------------------------------------------------------------------

    def _reserve(self, count: int) -> None:
        while self._store.meta[USED] + count > len(self._store.orders):
            self._store = ladder.grow_store(self._store)

    def _touch(self, side: int, price: int) -> None:
        """Remember a level as it is, before it changes."""
        if (side, price) not in self.touched:
            self.touched[side, price] = self.size_at(side, price)

    def _read(self, n: int, side: int) -> list[Fill]:
        if n == 0:
            return []
        fills = [Fill(*row) for row in self._fills[:n].tolist()]
        taken: dict[int, int] = {}
        for fill in fills:
            taken[fill.price] = taken.get(fill.price, 0) + fill.size
        for price, size in taken.items():
            if (side, price) not in self.touched:
                self.touched[side, price] = self.size_at(side, price) + size
        return fills

    def _note(self, touched: Ints, n: int) -> None:
        known = self.touched
        for side, price, before in touched[:n].tolist():
            known.setdefault((side, price), before)


class Displayed:
    """An update of the house in progress; see `Book.display`."""

    def __init__(self, book: Book, rows: Ints, snapshot: bool) -> None:
        self._book, self._rows, self._at = book, rows, 0
        book._reserve(len(rows))
        store = book._store
        n = 2 * len(rows) + display.level_count(store)
        self._buffer: Ints = np.empty((n, 3), np.int64)
        book._note(self._buffer, display.withdraw(store, rows, self._buffer, _NO_MEMO))
        if snapshot:
            book._note(self._buffer, display.withdraw_unnamed(store, rows, self._buffer))

    def __iter__(self) -> "Displayed":
        return self

    def __next__(self) -> tuple[int, int, int]:
        """The next level that crosses users' orders."""
        store = self._book._store
        self._at, n, _ = display.deposit(store, self._rows, self._at, self._buffer, 0, _NO_MEMO)
        self._book._note(self._buffer, n)
        if self._at == len(self._rows):
            raise StopIteration
        side, price, size = self._rows[self._at]
        return int(side), int(price), int(size)

    def settle(self, left: int) -> None:
        """What is left of the crossing level after matching becomes the house's size there."""
        side, price, _ = self._rows[self._at].tolist()
        self._book._touch(side, price)
        if left:
            display.raise_house(self._book._store, side, price, left)
        self._at += 1
