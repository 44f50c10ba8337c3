"""Recorded book changes as arrays, told one by one only where somebody asks for one. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import overload

import numpy as np
from numpy.typing import NDArray

from don.paper.events import BookUpdate
from don.paper.ladder import Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class BookRows(Sequence[BookUpdate]):
    """Book changes of one symbol, in order; K of them with L levels in all."""

    symbol: str
    ts: Ints  # [K] ns
    whole: NDArray[np.bool_]  # [K] a snapshot
    ends: Ints  # [K, 2] where each one's bids, then its asks, end among the levels
    rows: Ints  # [L, 2] price, size: as recorded

    @classmethod
    def of(cls, symbol: str, books: Sequence[BookUpdate]) -> "BookRows":
        """The same changes as arrays."""
        if isinstance(books, BookRows):
            return books
        sides = [side for book in books for side in (book.bids, book.asks)]
        counts = np.array([len(side) for side in sides], np.int64)
        flat: Iterable[int] = chain.from_iterable(chain.from_iterable(sides))
        return cls(
            symbol=symbol,
            ts=np.array([book.ts for book in books], np.int64),
            whole=np.array([book.snapshot for book in books], np.bool_),
            ends=np.cumsum(counts).reshape(-1, 2).astype(np.int64),
            rows=np.fromiter(flat, np.int64, 2 * int(counts.sum())).reshape(-1, 2),
        )

    def __len__(self) -> int:
        return len(self.ts)

    @overload
    def __getitem__(self, at: int) -> BookUpdate: ...
    @overload
    def __getitem__(self, at: slice) -> "tuple[BookUpdate, ...]": ...
    def __getitem__(self, at: int | slice) -> "BookUpdate | tuple[BookUpdate, ...]":
        if isinstance(at, slice):
            return tuple(self._made(i) for i in range(*at.indices(len(self))))
        if not -len(self) <= at < len(self):
            raise IndexError(f"book must be among {len(self)}, was {at}")
        return self._made(at % len(self))

    def __iter__(self) -> Iterator[BookUpdate]:
        return (self._made(i) for i in range(len(self)))

    def _made(self, i: int) -> BookUpdate:
        middle, end = self.ends[i].tolist()
        begin = int(self.ends[i - 1, 1]) if i else 0
        return BookUpdate(
            symbol=self.symbol,
            ts=int(self.ts[i]),
            bids=tuple([(price, size) for price, size in self.rows[begin:middle].tolist()]),
            asks=tuple([(price, size) for price, size in self.rows[middle:end].tolist()]),
            snapshot=bool(self.whole[i]),
        )
