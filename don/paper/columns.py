"""A recording as arrays, for steps taken many at a time. Pure.

A step is one book change or one trade, in the order of exchange time, then of arrival, trades
before books where both are the same: the order in which the tape tells them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from don.paper.book_rows import BookRows
from don.paper.events import BookUpdate, TradePrint
from don.paper.ladder import ASK, BID, Ints

BOOK, TRADE = 0, 1
KIND, BEGIN, END, WHOLE, SOURCE = 0, 1, 2, 3, 4  # columns of a step that is a book change
PRICE, SIZE_OF, BUY = 1, 2, 3  # of one that is a trade


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Steps of one symbol."""

    symbol: str
    ts: Ints  # [M] ns
    arrival: Ints  # [M] order of steps at one time, also among recordings
    steps: Ints  # [M, 5] BOOK, first level, end, is a snapshot, n; TRADE, price, size, buy, n
    levels: Ints  # [L, 3] side, price, size: bids best first, then asks best first, each price once
    ids: Ints  # of trades
    counts: Ints  # of trades
    trade_steps: Ints  # numbers of the steps that are trades
    books: Sequence[BookUpdate]

    def trades(self, start: int, stop: int) -> Ints:
        """Numbers of the trades among some steps."""
        a, b = np.searchsorted(self.trade_steps, [start, stop])
        return self.trade_steps[a:b]

    def event(self, step: int) -> BookUpdate | TradePrint:
        """A step as the tape's event."""
        kind, price, size, buy, n = self.steps[step].tolist()
        if kind == BOOK:
            return self.books[n]
        return TradePrint(
            symbol=self.symbol,
            ts=int(self.ts[step]),
            id=int(self.ids[n]),
            price=price,
            size=size,
            buy=bool(buy),
            count=int(self.counts[n]),
        )


def columns_of(
    symbol: str,
    books: Sequence[BookUpdate],
    book_arrival: Ints,
    trades: tuple[Ints, Ints, Ints, Ints, Ints, NDArray[np.bool_], Ints],
) -> Columns | None:
    """Arrays of a recording.

    Args:
        symbol: the exchange's name.
        books: in order.
        book_arrival: of each.
        trades: columns ts, arrival, id, price, size, buy, count.

    Returns:
        None if it has no books or numbers that the exchange refuses: those are for it to name.
    """
    ts, arrival, ids, price, size, buy, counts = trades
    if not books:
        return None
    rows = BookRows.of(symbol, books)
    levels, ends = _levels(rows)
    if (levels[:, 1] <= 0).any() or (levels[:, 2] < 0).any() or (price <= 0).any():
        return None
    if (size <= 0).any():
        return None
    T, K = len(ts), len(books)
    made = np.zeros((T + K, 5), np.int64)
    made[:T, KIND] = TRADE
    for column, values in ((PRICE, price), (SIZE_OF, size), (BUY, buy), (SOURCE, np.arange(T))):
        made[:T, column] = values
    made[T:, BEGIN], made[T:, END] = np.append(0, ends[:-1]), ends
    made[T:, WHOLE] = rows.whole
    made[T:, SOURCE] = np.arange(K)
    stamps = np.concatenate([ts, rows.ts])
    arrivals = np.concatenate([arrival, book_arrival])
    order = np.lexsort((arrivals, stamps))  # stable
    steps = np.ascontiguousarray(made[order])
    return Columns(
        symbol=symbol,
        ts=stamps[order],
        arrival=arrivals[order],
        steps=steps,
        levels=levels,
        ids=ids,
        counts=counts,
        trade_steps=np.flatnonzero(steps[:, KIND] == TRADE),
        books=rows,
    )


def _levels(books: BookRows) -> tuple[Ints, Ints]:
    """All levels [L, 3] as `market.rows_of` orders each book's, and where each book's end."""
    flat, ends = books.rows, books.ends.reshape(-1)
    counts = np.diff(ends, prepend=0)
    which = np.repeat(np.arange(len(counts)), counts)  # even: bids, odd: asks
    side = which % 2
    key = np.where(side == BID, -flat[:, 0], flat[:, 0])
    order = np.lexsort((key, which))  # stable: of doubles the last comes last
    last = np.ones(len(flat), np.bool_)
    same = (which[order][1:] == which[order][:-1]) & (key[order][1:] == key[order][:-1])
    last[:-1] = ~same
    kept = order[last]
    levels = np.column_stack([np.where(side[kept] == BID, BID, ASK), flat[kept]])
    bounds = np.cumsum(np.bincount(which[kept] // 2, minlength=len(books)))
    return np.ascontiguousarray(levels, np.int64), bounds.astype(np.int64)
