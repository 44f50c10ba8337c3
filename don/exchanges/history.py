"""History of any exchange through ccxt, a page at a time. Does I/O through its connection.

A page says what was found, from where to go on, and whether that was all. Rows are in the channels'
schema, origin `history`. The newest bar an exchange shows may still change: it is left out until
another follows it.
"""

import difflib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa

from don.clock import NS_PER_MS, NS_PER_S, iso
from don.errors import UsageError
from don.exchanges.ccxt_history import CcxtHistory
from don.exchanges.history_page import (
    NAN,
    Page,
    Place,
    Series,
    buys,
    ms_of,
    number,
    numbered,
)
from don.model.channels import complete, conform

__all__ = ["CHANNELS", "TIMED", "History", "Page", "Place", "Series"]
CHANNELS = ("bars", "trades", "funding", "open_interest", "marks")
_NEEDS = {
    "bars": "fetchOHLCV",
    "trades": "fetchTrades",
    "funding": "fetchFundingRateHistory",
    "open_interest": "fetchOpenInterestHistory",
    "marks": "fetchMarkOHLCV",
}
TIMED = ("bars", "open_interest", "marks")  # channels that are asked for in an interval
_TRADES_SPAN_NS = 3_600 * NS_PER_S  # that one question for trades covers, at least
_FUNDING_SPAN_NS = 200 * 3_600 * NS_PER_S
# These answer from the time asked for on, without holes, and page trades by id.
_FROM_SINCE = frozenset({"binance", "binanceusdm", "binancecoinm", "binanceus"})


class History:
    """One exchange's history, in pages.

    Args:
        connection: to the exchange; closed by whoever made it.
    """

    def __init__(self, connection: CcxtHistory) -> None:
        self._at = connection
        self._pages = connection.config.page

    @property
    def exchange(self) -> str:
        """Don's name of it."""
        return self._at.exchange

    async def check(self, series: Series) -> None:
        """Refuse what cannot be fetched, before anything is.

        Raises:
            UsageError: an unknown channel, symbol or interval, or one that the exchange lacks.
            DependencyError: if the exchange cannot be asked.
        """
        if series.channel not in CHANNELS:
            raise UsageError(
                f"channel must be one of {', '.join(CHANNELS)}, was {series.channel!r}"
            )
        if not self._at.has(_NEEDS[series.channel]):
            raise UsageError(f"{self._at.exchange} has no history of {series.channel} through ccxt")
        names = await self._at.symbols()
        if series.symbol not in self._at.listed:
            near = difflib.get_close_matches(series.symbol, names, n=3) or names[:5]
            raise UsageError(
                f"symbol {series.symbol!r} is not listed at {self._at.exchange}; "
                f"near: {', '.join(near)}"
            )
        if series.channel in TIMED:
            self._at.timeframe(series.interval_ns)

    async def page(self, series: Series, place: Place, end_ns: int) -> Page:
        """The rows from a place on, before `end_ns`.

        Raises:
            RateLimited, ExchangeUnavailable: ask again later.
            ExchangeRefused: the exchange does not answer this.
            DataError: its answer cannot be valid.
        """
        await self._at.symbols()
        match series.channel:
            case "bars":
                return await self._bars(series, place, end_ns)
            case "marks":
                return await self._marks(series, place, end_ns)
            case "trades":
                return await self._trades(series, place, end_ns)
            case "funding":
                return await self._funding(series, place, end_ns)
            case _:
                return await self._open_interest(series, place, end_ns)

    # ---- channels -------------------------------------------------------------------------------

    async def _bars(self, series: Series, place: Place, end_ns: int) -> Page:
        rows = await self._candles(self._at.ccxt.fetch_ohlcv, series, place)
        newest = await self._newest_open(self._at.ccxt.fetch_ohlcv, series, place, rows, end_ns)
        kept = _closed(series, place, rows, newest, end_ns)
        table = pa.table(
            {
                "ts_event": [int(r[0]) * NS_PER_MS + series.interval_ns for r in kept],
                "interval_ns": pa.array([series.interval_ns] * len(kept), pa.int64()),
                **{
                    name: [number(r[i]) for r in kept]
                    for i, name in enumerate(("open", "high", "low", "close", "volume"), 1)
                },
            }
        )
        last_open = int(kept[-1][0]) * NS_PER_MS if kept else None
        return self._timed_page(series, table, rows, last_open, newest, place, end_ns)

    async def _marks(self, series: Series, place: Place, end_ns: int) -> Page:
        rows = await self._candles(self._at.ccxt.fetch_mark_ohlcv, series, place)
        index: dict[int, float] = {}
        if rows and self._at.has("fetchIndexOHLCV"):
            found = await self._candles(self._at.ccxt.fetch_index_ohlcv, series, place)
            index = {int(r[0]): number(r[4]) for r in found}
        fetch = self._at.ccxt.fetch_mark_ohlcv
        newest = await self._newest_open(fetch, series, place, rows, end_ns)
        kept = _closed(series, place, rows, newest, end_ns)
        table = pa.table(
            {
                "ts_event": [int(r[0]) * NS_PER_MS + series.interval_ns for r in kept],
                "mark": [number(r[4]) for r in kept],
                "index": pa.array([index.get(int(r[0]), NAN) for r in kept], pa.float64()),
            }
        )
        last_open = int(kept[-1][0]) * NS_PER_MS if kept else None
        return self._timed_page(series, table, rows, last_open, newest, place, end_ns)

    async def _candles(self, fetch: Any, series: Series, place: Place) -> list[Sequence[Any]]:
        rows = await self._at.call(
            fetch,
            self._at.listed[series.symbol],
            self._at.timeframe(series.interval_ns),
            ms_of(place.cursor_ns),
            self._pages,
        )
        return sorted(rows, key=lambda row: row[0])

    async def _newest_open(
        self, fetch: Any, series: Series, place: Place, rows: Sequence[Any], end_ns: int
    ) -> int | None:
        """Open of the exchange's newest closed bar, ns, where a page does not begin at its place,
        or is not full (COIN-M answers for as many intervals, whether there are bars in them or
        not); None if it was not asked or there is none.
        """
        from_place = rows and rows[0][0] * NS_PER_MS <= place.cursor_ns
        whole = not self._short(rows) if self._honest else from_place
        if whole and _closed(series, place, rows, None, end_ns):
            return None
        found = await self._at.call(
            fetch,
            self._at.listed[series.symbol],
            self._at.timeframe(series.interval_ns),
            None,
            2,
        )
        return min(int(row[0]) for row in found) * NS_PER_MS if len(found) > 1 else None

    def _timed_page(
        self,
        series: Series,
        table: pa.Table,
        rows: Sequence[Any],
        last_open: int | None,
        newest: int | None,
        place: Place,
        end_ns: int,
    ) -> Page:
        """`rows`: all that came; `last_open`: of those kept; `newest`: see `_newest_open`."""
        notes = []
        newer = newest is not None and newest >= place.cursor_ns
        proven_from = place.cursor_ns
        told = min(end_ns, int(rows[-1][0]) * NS_PER_MS) if rows else place.cursor_ns
        if last_open is not None:
            cursor = last_open + series.interval_ns
            first = int(rows[0][0]) * NS_PER_MS
            if first > place.cursor_ns + series.interval_ns:
                notes.append(f"the exchange has nothing before {iso(first)}")
            if first > place.cursor_ns and not self._honest:
                # It may tell its newest bars whatever it is asked, unless this ends before those.
                if newest is None or int(rows[-1][0]) * NS_PER_MS >= newest:
                    proven_from = first
            done = cursor + series.interval_ns > end_ns or (newest is not None and newest < cursor)
        else:
            # nothing: before the listing, in a hole, or after the newest bar
            cursor = place.cursor_ns + self._pages * series.interval_ns
            done = cursor >= end_ns or not newer
            cursor = place.cursor_ns if done else cursor
            proven_from = place.cursor_ns if self._honest and newer else cursor
        return Page(
            table=self._conform(series, table),
            place=Place(cursor_ns=cursor),
            done=done,
            notes=tuple(notes),
            proven_from=min(proven_from, cursor),
            # it has nothing between the rows that came: those behind the end prove as far as that
            proven_to=max(cursor, told) if last_open is not None else cursor,
        )

    async def _trades(self, series: Series, place: Place, end_ns: int) -> Page:
        by_id = place.after_id is not None
        rows = await self._at.call(
            self._at.ccxt.fetch_trades,
            self._at.listed[series.symbol],
            None if by_id else ms_of(place.cursor_ns),
            self._pages,
            {"fromId": (place.after_id or 0) + 1} if by_id else {},
        )
        rows = numbered(rows)
        times = [int(row["timestamp"]) * NS_PER_MS for row in rows]
        kept = [r for r, ts in zip(rows, times, strict=True) if place.cursor_ns <= ts < end_ns]
        table = pa.table(
            {
                "ts_event": pa.array([int(r["timestamp"]) * NS_PER_MS for r in kept], pa.int64()),
                "id": pa.array([r["number"] for r in kept], pa.int64()),
                "price": pa.array([number(r["price"]) for r in kept], pa.float64()),
                "size": pa.array([number(r["amount"]) for r in kept], pa.float64()),
                "buy": pa.array([buys(r, self._at.exchange) for r in kept], pa.bool_()),
            }
        )
        notes: tuple[str, ...] = ()
        pages_by_id = self._honest
        proven_from = proven_to = place.cursor_ns
        if not rows:
            cursor = place.cursor_ns if by_id else place.cursor_ns + _TRADES_SPAN_NS
            after, done = place.after_id, by_id or cursor >= end_ns
            proven_to = cursor if pages_by_id and not by_id else proven_to
        else:
            proven_from = await self._told_from(series, place, times)
            proven_to = max(proven_from, times[-1])
            if proven_from > place.cursor_ns:
                notes = (f"the exchange told its trades only from {iso(proven_from)} on",)
            cursor, after = max(times[-1], place.cursor_ns), None
            done = times[-1] >= end_ns
            if pages_by_id:
                after = int(rows[-1]["number"])
                done = done or (by_id and self._short(rows))
            elif cursor <= place.cursor_ns:
                # a whole page of one millisecond: this interface cannot tell what else was in it
                full = len(rows) >= min(self._pages, 100)
                if full:
                    notes = (f"more trades than a page in the ms {ms_of(cursor)}",)
                cursor = place.cursor_ns + (NS_PER_MS if full else _TRADES_SPAN_NS)
                done = cursor >= end_ns
        if done and rows and times[-1] >= end_ns:
            cursor = end_ns
        return Page(
            table=self._conform(series, table),
            place=Place(cursor_ns=min(cursor, end_ns), after_id=after),
            done=done,
            notes=notes,
            proven_from=min(proven_from, end_ns),
            proven_to=min(proven_to, end_ns),
        )

    async def _told_from(self, series: Series, place: Place, times: Sequence[int]) -> int:
        """Since when an answer has all trades: the place, if the exchange heeded it.

        It did if the first trade is the one that the last page ended with, if the answer ends
        before the newest trades begin, or if those reach back behind the place.
        """
        if self._honest or ms_of(times[0]) <= ms_of(place.cursor_ns):
            return place.cursor_ns
        newest = await self._at.call(
            self._at.ccxt.fetch_trades, self._at.listed[series.symbol], None, self._pages
        )
        first = min((int(row["timestamp"]) * NS_PER_MS for row in newest), default=None)
        if first is not None and (times[-1] < first or first <= place.cursor_ns):
            return place.cursor_ns
        return times[0]

    async def _funding(self, series: Series, place: Place, end_ns: int) -> Page:
        rows = await self._at.call(
            self._at.ccxt.fetch_funding_rate_history,
            self._at.listed[series.symbol],
            ms_of(place.cursor_ns),
            min(self._pages, 1_000),
        )
        return self._plain_page(
            series,
            rows,
            {"rate": [number(r["fundingRate"]) for r in rows]},
            place,
            end_ns,
            _FUNDING_SPAN_NS,
        )

    async def _open_interest(self, series: Series, place: Place, end_ns: int) -> Page:
        limit = min(self._pages, 500)
        rows = await self._at.call(
            self._at.ccxt.fetch_open_interest_history,
            self._at.listed[series.symbol],
            self._at.timeframe(series.interval_ns),
            ms_of(place.cursor_ns),
            limit,
        )
        columns = {
            "size": [number(r["openInterestAmount"]) for r in rows],
            "notional": [number(r["openInterestValue"]) for r in rows],
        }
        return self._plain_page(series, rows, columns, place, end_ns, limit * series.interval_ns)

    def _plain_page(
        self,
        series: Series,
        rows: Sequence[Mapping[str, Any]],
        columns: dict[str, list[float]],
        place: Place,
        end_ns: int,
        span_ns: int,
    ) -> Page:
        """A page of rows that are final when they appear; `span_ns` is passed over when empty."""
        times = [int(r["timestamp"]) * NS_PER_MS for r in rows]
        table = pa.table(
            {
                "ts_event": pa.array(times, pa.int64()),
                **{name: pa.array(values, pa.float64()) for name, values in columns.items()},
            }
        )
        kept = [i for i, ts in enumerate(times) if place.cursor_ns <= ts < end_ns]
        newest = max(times, default=-1)
        if kept:
            cursor, done = newest + NS_PER_MS, newest >= end_ns or self._short(rows)
        else:
            cursor = place.cursor_ns + span_ns
            done = newest >= end_ns or cursor >= end_ns or self._honest
            cursor = place.cursor_ns if done else cursor
        return Page(
            table=self._conform(series, table.take(pa.array(kept, pa.int64())).sort_by("ts_event")),
            place=Place(cursor_ns=min(cursor, end_ns)),
            done=done or cursor >= end_ns,
            proven_from=min(self._sampled_from(series, place, times), end_ns),
            proven_to=min(max(newest + NS_PER_MS, place.cursor_ns), end_ns),
        )

    def _sampled_from(self, series: Series, place: Place, times: Sequence[int]) -> int:
        """Since when an answer of regular rows is known to be all: one may not be left out."""
        if not times:
            return place.cursor_ns  # and to there: nothing
        every = sorted(times)
        steps = [b - a for a, b in pairwise(every) if b > a]
        step = series.interval_ns or min(steps, default=0)
        heeded = self._honest and series.channel == "funding"
        return place.cursor_ns if heeded or every[0] <= place.cursor_ns + step else every[0]

    # ---- helpers --------------------------------------------------------------------------------

    def _short(self, rows: Sequence[Any]) -> bool:
        """Whether a page is not full, of an exchange that fills pages while it has more."""
        return self._honest and len(rows) < min(self._pages, 500)

    @property
    def _honest(self) -> bool:
        """Whether the exchange answers from the time asked for on."""
        return self._at.id in _FROM_SINCE

    def _conform(self, series: Series, table: pa.Table) -> pa.Table:
        table = complete(
            series.channel,
            table,
            exchange=self._at.exchange,
            symbol=series.symbol,
            origin="history",
            ts_recv=0,
        )
        where = f"{self._at.exchange} {series.symbol} history"
        return conform(series.channel, table, where=where)


def _closed(
    series: Series, place: Place, rows: Sequence[Any], newest: int | None, end_ns: int
) -> Sequence[Any]:
    """Bars of an answer that are closed and asked for; the last may be forming if `newest` does
    not say that it is not.
    """
    over = newest is not None and bool(rows) and rows[-1][0] * NS_PER_MS <= newest
    return [
        row
        for row in (rows if over else rows[:-1])
        if place.cursor_ns <= row[0] * NS_PER_MS <= end_ns - series.interval_ns
    ]
