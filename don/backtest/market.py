"""From the exchange's public events to the batches that a feed would have sent. Pure.

The same rows as over the sockets, in the same order, at most one batch a bar: the streams' own
conflation included (mark prices once in three seconds), depth as it stands when the bar closes.
Live batches hold as many book rows as wall time allowed, so features of books differ between any
two runs; all others do not.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from don.clock import NS_PER_MS
from don.model.schema import DEPTH, SCHEMAS, MarketBatch
from don.paper.events import BookTicker, Event, ForceOrder, Kline, Premium, PublicTrade
from don.paper.types import DepthSnapshot

MARK_EVERY_NS = 3_000 * NS_PER_MS  # of the mark price stream
_PAD = [math.nan] * DEPTH


class MarketTap:
    """Collects rows; `batch` hands them on.

    Args:
        names: canonical symbol of each exchange symbol that the desk trades; others are left out.
        interval: of the bars.
        source: name of the batches.
        depth: the book of an exchange symbol as published; None leaves books out.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        interval: str,
        source: str,
        depth: Callable[[str], DepthSnapshot] | None,
    ) -> None:
        self._names, self._interval, self._source, self._depth = names, interval, source, depth
        self._rows: dict[str, list[tuple[Any, ...]]] = {}
        self._marked: dict[str, int] = {}
        self._empty: set[str] = set()  # symbols whose book lacks a side
        self._seq = 0
        self._closed = 0

    def take(self, events: Sequence[Event], wall: int) -> bool:
        """Take in events; true once every symbol's bar of this moment is in."""
        for event in events:
            if isinstance(event, BookTicker):
                self._quote(event, wall)
            elif isinstance(event, PublicTrade):
                self._add(
                    "trades", event.symbol, event.ts, wall,
                    event.id, float(event.price), float(event.size), event.buy,
                )  # fmt: skip
            elif isinstance(event, Kline):
                self._bar(event, wall)
            elif isinstance(event, Premium):
                self._mark(event, wall)
            elif isinstance(event, ForceOrder):
                order = event.order
                price, size = float(order.average or order.price), float(order.filled)
                buy = order.side.sign > 0
                self._add("liquidations", event.symbol, event.ts, wall, price, size, buy)
        return self._closed >= len(self._names)

    def batch(self, wall: int) -> MarketBatch:
        """Everything since the last batch."""
        if self._depth is not None:
            for name in self._names:
                self._book(self._depth(name), wall)
        tables = {
            channel: pa.Table.from_arrays(
                [
                    pa.array(column, type=field.type)
                    for column, field in zip(zip(*rows, strict=True), SCHEMAS[channel], strict=True)
                ],
                schema=SCHEMAS[channel],
            )
            for channel, rows in self._rows.items()
        }
        self._rows = {}
        self._closed = 0
        self._seq += 1
        return MarketBatch(source=self._source, seq=self._seq, tables=tables)

    def _add(self, channel: str, symbol: str, *row: object) -> None:
        name = self._names.get(symbol)
        if name is not None:
            self._rows.setdefault(channel, []).append((name, *row))

    def _bar(self, bar: Kline, wall: int) -> None:
        if not bar.closed or bar.interval != self._interval or bar.symbol not in self._names:
            return
        self._closed += 1
        prices = (float(bar.open), float(bar.high), float(bar.low), float(bar.close))
        volume = float(bar.volume)
        self._add(
            "bars", bar.symbol, bar.close_time, wall, *prices, volume, bar.trades, "stream"
        )  # fmt: skip

    def _mark(self, event: Premium, wall: int) -> None:
        period = event.ts // MARK_EVERY_NS
        if self._marked.get(event.symbol) != period:
            self._marked[event.symbol] = period
            mark, rate = float(event.mark), float(event.rate)
            self._add("funding", event.symbol, event.ts, wall, mark, rate, event.next_funding_ts)

    def _quote(self, event: BookTicker, wall: int) -> None:
        bid, ask = float(event.bid), float(event.ask)
        symbol = event.symbol
        if not bid or not ask:
            if (bid or ask) and symbol not in self._empty:
                self._empty.add(symbol)
                side = "ask" if bid else "bid"
                self._status(symbol, event.ts, wall, "stale", f"the {side} side is empty")
            return
        if symbol in self._empty:
            self._empty.discard(symbol)
            self._status(symbol, event.ts, wall, "live", "")
        sizes = float(event.bid_size), float(event.ask_size)
        self._add("quotes", symbol, event.ts, wall, bid, sizes[0], ask, sizes[1])

    def _status(self, symbol: str, ts: int, wall: int, state: str, detail: str) -> None:
        self._add("status", symbol, ts, wall, "quotes", state, detail, ts)

    def _book(self, book: DepthSnapshot, wall: int) -> None:
        sides = []
        for levels in (book.bids, book.asks):
            prices = [float(price) for price, _ in levels]
            sizes = [float(size) for _, size in levels]
            sides += [(prices + _PAD)[:DEPTH], (sizes + _PAD)[:DEPTH]]
        if np.isfinite(sides[0][0]) or np.isfinite(sides[2][0]):
            self._add("books", book.symbol, book.ts, wall, *sides)
