"""History of any exchange through ccxt, a page at a time. Does I/O through its connection.

A page says what was found, from where to go on, and whether that was all. Rows are in the channels'
schema, origin `history`. The newest bar an exchange shows may still change: it is left out until
another follows it.
"""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from don.clock import NS_PER_MS, NS_PER_S, iso
from don.errors import DataError, UsageError
from don.exchanges.ccxt_history import CcxtHistory
from don.model.channels import complete, conform

NAN = float("nan")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What to fetch: a channel of a symbol."""

    channel: str
    symbol: str  # canonical
    interval_ns: int = 0  # of bars, marks and open interest; 0 for the others


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """From where to go on."""

    cursor_ns: int  # everything before it is known
    after_id: int | None = None  # of the last trade, where the exchange pages by id


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An answer."""

    table: pa.Table  # in the channel's schema; may be empty
    place: Place
    done: bool  # the end was reached, or there is nothing newer yet
    notes: tuple[str, ...] = field(default=())  # what may be missing


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
        kept = [r for r in rows[:-1] if r[0] * NS_PER_MS + series.interval_ns <= end_ns]
        kept = [r for r in kept if r[0] * NS_PER_MS >= place.cursor_ns]
        table = pa.table(
            {
                "ts_event": [int(r[0]) * NS_PER_MS + series.interval_ns for r in kept],
                "interval_ns": pa.array([series.interval_ns] * len(kept), pa.int64()),
                **{
                    name: [_number(r[i]) for r in kept]
                    for i, name in enumerate(("open", "high", "low", "close", "volume"), 1)
                },
            }
        )
        last_open = int(kept[-1][0]) * NS_PER_MS if kept else None
        newer = await self._newer(self._at.ccxt.fetch_ohlcv, series, place, last_open)
        return self._timed_page(series, table, rows, last_open, newer, place, end_ns)

    async def _marks(self, series: Series, place: Place, end_ns: int) -> Page:
        rows = await self._candles(self._at.ccxt.fetch_mark_ohlcv, series, place)
        index: dict[int, float] = {}
        if rows and self._at.has("fetchIndexOHLCV"):
            found = await self._candles(self._at.ccxt.fetch_index_ohlcv, series, place)
            index = {int(r[0]): _number(r[4]) for r in found}
        kept = [
            r
            for r in rows[:-1]
            if place.cursor_ns <= r[0] * NS_PER_MS <= end_ns - series.interval_ns
        ]
        table = pa.table(
            {
                "ts_event": [int(r[0]) * NS_PER_MS + series.interval_ns for r in kept],
                "mark": [_number(r[4]) for r in kept],
                "index": pa.array([index.get(int(r[0]), NAN) for r in kept], pa.float64()),
            }
        )
        last_open = int(kept[-1][0]) * NS_PER_MS if kept else None
        newer = await self._newer(self._at.ccxt.fetch_mark_ohlcv, series, place, last_open)
        return self._timed_page(series, table, rows, last_open, newer, place, end_ns)

    async def _candles(self, fetch: Any, series: Series, place: Place) -> list[Sequence[Any]]:
        rows = await self._at.call(
            fetch,
            self._at.listed[series.symbol],
            self._at.timeframe(series.interval_ns),
            _ms(place.cursor_ns),
            self._pages,
        )
        return sorted(rows, key=lambda row: row[0])

    async def _newer(self, fetch: Any, series: Series, place: Place, last_open: int | None) -> bool:
        """After a page without rows: whether the exchange has closed bars behind the place."""
        if last_open is not None:
            return True
        rows = await self._at.call(
            fetch,
            self._at.listed[series.symbol],
            self._at.timeframe(series.interval_ns),
            None,
            2,
        )
        return len(rows) > 1 and min(row[0] for row in rows) * NS_PER_MS >= place.cursor_ns

    def _timed_page(
        self,
        series: Series,
        table: pa.Table,
        rows: Sequence[Any],
        last_open: int | None,
        newer: bool,
        place: Place,
        end_ns: int,
    ) -> Page:
        """`rows`: all that came; `last_open`: of those kept; `newer`: there is more behind."""
        notes = []
        if last_open is not None:
            cursor = last_open + series.interval_ns
            first = int(rows[0][0]) * NS_PER_MS
            if first > place.cursor_ns + series.interval_ns:
                notes.append(f"the exchange has nothing before {iso(first)}")
            done = cursor + series.interval_ns > end_ns or self._newest(rows)
        else:
            # nothing: before the listing, or after the newest bar
            cursor = place.cursor_ns + self._pages * series.interval_ns
            done = cursor >= end_ns or not newer
            cursor = place.cursor_ns if done else cursor
        return Page(
            table=self._conform(series, table),
            place=Place(cursor_ns=cursor),
            done=done,
            notes=tuple(notes),
        )

    async def _trades(self, series: Series, place: Place, end_ns: int) -> Page:
        by_id = place.after_id is not None
        rows = await self._at.call(
            self._at.ccxt.fetch_trades,
            self._at.listed[series.symbol],
            None if by_id else _ms(place.cursor_ns),
            self._pages,
            {"fromId": (place.after_id or 0) + 1} if by_id else {},
        )
        rows = sorted(rows, key=lambda row: (row["timestamp"], _trade_id(row)))
        times = [int(row["timestamp"]) * NS_PER_MS for row in rows]
        kept = [r for r, ts in zip(rows, times, strict=True) if place.cursor_ns <= ts < end_ns]
        table = pa.table(
            {
                "ts_event": pa.array([int(r["timestamp"]) * NS_PER_MS for r in kept], pa.int64()),
                "id": pa.array([_trade_id(r) for r in kept], pa.int64()),
                "price": pa.array([_number(r["price"]) for r in kept], pa.float64()),
                "size": pa.array([_number(r["amount"]) for r in kept], pa.float64()),
                "buy": pa.array([_buys(r, self._at.exchange) for r in kept], pa.bool_()),
            }
        )
        notes: tuple[str, ...] = ()
        pages_by_id = self._at.id in _FROM_SINCE
        if not rows:
            cursor = place.cursor_ns if by_id else place.cursor_ns + _TRADES_SPAN_NS
            after, done = place.after_id, by_id or cursor >= end_ns
        else:
            cursor, after = max(times[-1], place.cursor_ns), None
            done = times[-1] >= end_ns
            if pages_by_id:
                after = _trade_id(rows[-1])
                done = done or (by_id and self._newest(rows))
            elif cursor <= place.cursor_ns:
                # a whole page of one millisecond: this interface cannot tell what else was in it
                full = len(rows) >= min(self._pages, 100)
                notes = (f"more trades than a page in the ms {_ms(cursor)}",) if full else ()
                cursor = place.cursor_ns + (NS_PER_MS if full else _TRADES_SPAN_NS)
                done = cursor >= end_ns
        if done and rows and times[-1] >= end_ns:
            cursor = end_ns
        return Page(
            table=self._conform(series, table),
            place=Place(cursor_ns=min(cursor, end_ns), after_id=after),
            done=done,
            notes=notes,
        )

    async def _funding(self, series: Series, place: Place, end_ns: int) -> Page:
        rows = await self._at.call(
            self._at.ccxt.fetch_funding_rate_history,
            self._at.listed[series.symbol],
            _ms(place.cursor_ns),
            min(self._pages, 1_000),
        )
        return self._plain_page(
            series,
            rows,
            {"rate": [_number(r["fundingRate"]) for r in rows]},
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
            _ms(place.cursor_ns),
            limit,
        )
        columns = {
            "size": [_number(r["openInterestAmount"]) for r in rows],
            "notional": [_number(r["openInterestValue"]) for r in rows],
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
            cursor, done = newest + NS_PER_MS, newest >= end_ns or self._newest(rows)
        else:
            cursor = place.cursor_ns + span_ns
            done = newest >= end_ns or cursor >= end_ns or self._at.id in _FROM_SINCE
            cursor = place.cursor_ns if done else cursor
        return Page(
            table=self._conform(series, table.take(pa.array(kept, pa.int64())).sort_by("ts_event")),
            place=Place(cursor_ns=min(cursor, end_ns)),
            done=done or cursor >= end_ns,
        )

    # ---- helpers --------------------------------------------------------------------------------

    def _newest(self, rows: Sequence[Any]) -> bool:
        """Whether a page that is not full means that there is nothing newer."""
        return self._at.id in _FROM_SINCE and len(rows) < min(self._pages, 500)

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


def _ms(ns: int) -> int:
    return ns // NS_PER_MS


def _number(value: Any) -> float:
    """A float; NaN for what the exchange leaves out (refused later where it must be known)."""
    return NAN if value is None else float(value)


def _trade_id(row: Mapping[str, Any]) -> int:
    """The exchange's number, or one made of its name for the trade."""
    text = str(row["id"] or "")
    if text.isdigit() and len(text) < 19:
        return int(text)
    known = text or f"{row['timestamp']}/{row['price']}/{row['amount']}/{row['side']}"
    return int.from_bytes(hashlib.sha256(known.encode()).digest()[:8]) >> 1


def _buys(row: Mapping[str, Any], exchange: str) -> bool:
    if row["side"] not in ("buy", "sell"):
        raise DataError(f"{exchange}: trade {row['id']} does not say who was the aggressor")
    return bool(row["side"] == "buy")
