"""From the exchange's public events to the batches that a feed would have sent. Pure.

The same rows as over the sockets, in the same order, at most one batch a bar: the streams' own
conflation included (mark prices once in three seconds), depth as it stands when the bar closes.
Live batches hold as many book rows as wall time allowed, so features of books differ between any
two runs; all others do not.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from don.clock import NS_PER_MS
from don.model.schema import DEPTH, SCHEMAS, MarketBatch
from don.paper.columns import BUY, PRICE, SIZE_OF, SOURCE, Columns
from don.paper.events import BookTicker, Event, ForceOrder, Kline, Premium, PublicTrade
from don.paper.ladder import Ints
from don.paper.merged import Merged, Stretches
from don.paper.stretch import Stretch
from don.paper.types import DepthSnapshot

MARK_EVERY_NS = 3_000 * NS_PER_MS  # of the mark price stream
_PAD = [math.nan] * DEPTH
Rows = tuple[Ints, Ints, tuple[np.ndarray, ...]]  # symbol, place among the tape's steps, columns


class MarketTap:
    """Collects rows; `batch` hands them on.

    Args:
        names: canonical symbol of each exchange symbol that the desk trades; others are left out.
        interval: of the bars.
        source: name of the batches.
        depth: the book of an exchange symbol as published; None leaves books out.
        units: tick and lot size of each exchange symbol, powers of ten.
        grace_ns: by which a bar may be late; then its set closes without it.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        interval: str,
        source: str,
        depth: Callable[[str], DepthSnapshot] | None,
        units: Mapping[str, tuple[Decimal, Decimal]],
        grace_ns: int,
    ) -> None:
        self._grace = grace_ns
        self._units: dict[str, tuple[float, float]] = {
            name: (float(1 / tick), float(1 / lot)) for name, (tick, lot) in units.items()
        }
        self._names, self._interval, self._source, self._depth = names, interval, source, depth
        self._rows: dict[str, list[tuple[Any, ...]]] = {}
        self._parts: dict[str, list[pa.Table]] = {}  # what came before those, in order
        # between the two: names, and columns of which the first has places in them
        self._pieces: dict[str, list[tuple[list[str], tuple[np.ndarray, ...]]]] = {}
        self._marked: dict[str, int] = {}
        self._empty: set[str] = set()  # symbols whose book lacks a side
        self._seq = 0
        self._closed, self._close = 0, 0  # bars of the set that closes, and when it does

    def take(self, events: Sequence[Event], wall: int) -> bool:
        """Take in events; true once every symbol's bar of a moment is in, or its grace is over."""
        over = False
        for event in events:
            over |= self._closed > 0 and event.ts >= self._close + self._grace
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
        return over or self._closed >= len(self._names)

    def batch(self, wall: int) -> MarketBatch:
        """Everything since the last batch."""
        if self._depth is not None:
            for name in self._names:
                self._book(self._depth(name), wall)
        tables = {}
        for channel, rows in self._rows.items():
            self._close_part(channel, rows)
            parts = self._parts[channel]
            tables[channel] = parts[0] if len(parts) == 1 else pa.concat_tables(parts)
            tables[channel] = tables[channel].combine_chunks()
        self._rows, self._parts = {}, {}
        self._closed = 0
        self._seq += 1
        return MarketBatch(source=self._source, seq=self._seq, tables=tables)

    def take_stretch(
        self, columns: Columns | Merged, done: Stretch | Stretches, wall: Callable[[Ints], Ints]
    ) -> None:
        """Take in steps of a recording that were played at once, as `take` their events.

        Args:
            columns: the recording.
            done: which steps, and the best prices that changed.
            wall: wall time at tape times.
        """
        all_of = columns.columns if isinstance(columns, Merged) else (columns,)
        places = columns.places if isinstance(columns, Merged) else (None,)
        parts = done.parts if isinstance(done, Stretches) else (done,)
        trades: list[Rows] = []
        quotes: list[Rows] = []
        for n, (own, part) in enumerate(zip(all_of, parts, strict=True)):
            if own.symbol in self._names:
                trades.append(self._trades(own, part, places[n], n))
                quotes.append(self._quotes(own, part, places[n], n))
        names = [self._names.get(one.symbol, "") for one in all_of]
        if trades and (told := _in_order(trades)) is not None:
            number, _, (ts, *rest) = told
            self._put("trades", names, number, ts, wall(ts), *rest)
        if not quotes or (told := _in_order(quotes)) is None:
            return
        number, _, (ts, bid, bids, ask, asks) = told
        if any(own.symbol in self._empty for own in all_of) or not (bid * ask).all():
            symbols = [all_of[n].symbol for n in number.tolist()]
            rows = (ts, wall(ts), bid, bids, ask, asks)
            for symbol, *row in zip(symbols, *(one.tolist() for one in rows), strict=True):
                self._sides(symbol, *row)
            return
        self._put("quotes", names, number, ts, wall(ts), bid, bids, ask, asks)

    def _trades(self, own: Columns, part: Stretch, places: Ints | None, n: int) -> Rows:
        per_tick, per_lot = self._units[own.symbol]
        trades = own.trades(part.start, part.stop)
        rows = own.steps[trades]
        values = (
            own.ts[trades], own.ids[rows[:, SOURCE]], rows[:, PRICE] / per_tick,
            rows[:, SIZE_OF] / per_lot, rows[:, BUY] > 0,
        )  # fmt: skip
        return np.full(len(trades), n), trades if places is None else places[trades], values

    def _quotes(self, own: Columns, part: Stretch, places: Ints | None, n: int) -> Rows:
        per_tick, per_lot = self._units[own.symbol]
        steps = part.best[:, 0]
        sides = [part.best[:, k] / (per_tick if k % 2 else per_lot) for k in range(1, 5)]
        return (
            np.full(len(steps), n),
            steps if places is None else places[steps],
            (own.ts[steps], *sides),
        )

    def _put(self, channel: str, names: list[str], *columns: np.ndarray) -> None:
        """Rows as columns, after those that came before; the first has places in `names`."""
        rows = self._rows.setdefault(channel, [])
        pieces = self._pieces.get(channel)
        if rows or (pieces and pieces[-1][0] != names):
            self._close_part(channel, rows)
            rows.clear()
        self._pieces.setdefault(channel, []).append((names, columns))

    def _close_part(self, channel: str, rows: list[tuple[Any, ...]]) -> None:
        """Make tables of what came as columns, then of the rows after it."""
        parts, schema = self._parts.setdefault(channel, []), SCHEMAS[channel]
        pieces = self._pieces.pop(channel, [])
        if pieces:
            columns = [np.concatenate(one) for one in zip(*(own for _, own in pieces), strict=True)]
            names = pa.array(pieces[0][0], pa.string())
            arrays = [names.take(pa.array(columns[0]))]
            arrays += [
                pa.array(column, type=field.type)
                for column, field in zip(columns[1:], list(schema)[1:], strict=True)
            ]
            parts.append(pa.Table.from_arrays(arrays, schema=schema))
        if rows:
            parts.append(_table(channel, rows))

    def _add(self, channel: str, symbol: str, *row: object) -> None:
        name = self._names.get(symbol)
        if name is not None:
            self._rows.setdefault(channel, []).append((name, *row))

    def _bar(self, bar: Kline, wall: int) -> None:
        if not bar.closed or bar.interval != self._interval or bar.symbol not in self._names:
            return
        if bar.close_time != self._close:
            self._closed, self._close = 0, bar.close_time
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
        sizes = float(event.bid_size), float(event.ask_size)
        bid, ask = float(event.bid), float(event.ask)
        self._sides(event.symbol, event.ts, wall, bid, sizes[0], ask, sizes[1])

    def _sides(
        self, symbol: str, ts: int, wall: int, bid: float, bids: float, ask: float, asks: float
    ) -> None:
        if not bid or not ask:
            if (bid or ask) and symbol not in self._empty:
                self._empty.add(symbol)
                side = "ask" if bid else "bid"
                self._status(symbol, ts, wall, "stale", f"the {side} side is empty")
            return
        if symbol in self._empty:
            self._empty.discard(symbol)
            self._status(symbol, ts, wall, "live", "")
        self._add("quotes", symbol, ts, wall, bid, bids, ask, asks)

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


def _in_order(rows: Sequence[Rows]) -> Rows | None:
    """Rows of several symbols in the order of the tape; None if there are none."""
    number, place = (np.concatenate([one[k] for one in rows]) for k in (0, 1))
    if not len(place):
        return None
    values = tuple(np.concatenate(column) for column in zip(*(one[2] for one in rows), strict=True))
    if len(rows) == 1:
        return number, place, values
    order = np.argsort(place)
    return number[order], place[order], tuple(column[order] for column in values)


def _table(channel: str, rows: list[tuple[Any, ...]]) -> pa.Table:
    return pa.Table.from_arrays(
        [
            pa.array(column, type=field.type)
            for column, field in zip(zip(*rows, strict=True), SCHEMAS[channel], strict=True)
        ],
        schema=SCHEMAS[channel],
    )
