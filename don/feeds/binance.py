"""Binance messages, streams and REST answers parsed into sink calls. Pure: bytes in, calls out.

Parsed here and not by cryptofeed, because its normalised objects lose the exact times, and building
them with `Decimal`s costs more than all the rest of the pipeline.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from don.clock import NS_PER_MS
from don.errors import DataError
from don.feeds.bars import Bar
from don.feeds.copies import Copies
from don.feeds.health import Stream
from don.feeds.sink import Sink
from don.market.book import Level

# What follows `@` in a stream's name, up to the next `@` or `_`, and the channel that it is.
KINDS = {
    "aggTrade": "trades",
    "bookTicker": "quotes",
    "depth": "books",
    "kline": "bars",
    "markPrice": "funding",
    "forceOrder": "liquidations",
}


class _Envelope(msgspec.Struct):
    stream: str
    data: msgspec.Raw


class Trade(msgspec.Struct):
    """An aggregate trade, as streams and REST give it."""

    a: int
    p: float
    q: float
    T: int
    m: bool  # the buyer was the maker: the aggressor sold


class _Quote(msgspec.Struct):
    b: float
    B: float
    a: float
    A: float
    T: int = 0
    E: int = 0
    u: int = 0


class _Depth(msgspec.Struct):
    E: int
    U: int
    u: int
    b: list[Level]
    a: list[Level]
    pu: int = -1
    T: int = 0


class _Kline(msgspec.Struct):
    t: int
    o: float
    h: float
    l: float  # noqa: E741  # the exchange's own name
    c: float
    v: float
    n: int
    x: bool


class _KlineEvent(msgspec.Struct):
    E: int
    k: _Kline


class _Mark(msgspec.Struct):
    E: int
    p: float
    r: str = ""
    T: int = 0


class _Force(msgspec.Struct):
    S: str
    q: float
    p: float
    T: int
    ap: float = 0.0


class _ForceEvent(msgspec.Struct):
    o: _Force


class _Snapshot(msgspec.Struct):
    lastUpdateId: int
    bids: list[Level]
    asks: list[Level]


class _OpenInterest(msgspec.Struct):
    openInterest: float
    time: int = 0


_KlineRow = tuple[int, float, float, float, float, float, int, Any, int, Any, Any, Any]

Route = tuple[Callable[[Any], Any], Callable[[Stream, Any, int], None], Stream]


class BinanceParser:
    """Routes the messages of combined streams to a sink.

    Args:
        sink: where events go.
        interval_ns: length of the subscribed bars.
        copies: tells what another connection has brought, of what has no id.
    """

    def __init__(self, sink: Sink, interval_ns: int, copies: Copies | None = None) -> None:
        self._sink = sink
        self._copies = copies if copies is not None else Copies()
        self._interval_ns = interval_ns
        self._envelope = msgspec.json.Decoder(_Envelope).decode
        self._routes: dict[str, Route] = {}
        self._by_kind: dict[tuple[str, str], Route] = {}
        self._handlers: dict[str, tuple[type, Callable[[Stream, Any, int], None]]] = {
            "trades": (Trade, self._trade),
            "quotes": (_Quote, self._quote),
            "books": (_Depth, self._depth),
            "bars": (_KlineEvent, self._kline),
            "funding": (_Mark, self._mark),
            "liquidations": (_ForceEvent, self._force),
        }

    def add(self, name: str, stream: Stream) -> None:
        """Messages of the exchange's stream `name` belong to `stream`."""
        kind, handler = self._handlers[stream.channel]
        decode: Callable[[Any], Any] = msgspec.json.Decoder(
            kind, strict=False
        ).decode  # numbers come as text
        route = (decode, handler, stream)
        self._routes[name] = route
        self._by_kind[split_name(name)] = route

    def on_message(self, data: bytes, ts_recv: int) -> None:
        """Parse one message and hand its event on.

        Raises:
            DataError: if the message is not what the exchange documents; nothing was changed.
        """
        try:
            envelope = self._envelope(data)
            route = self._routes.get(envelope.stream) or self._find(envelope.stream)
            decode, handler, stream = route
            event = decode(envelope.data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(f"message {data[:200]!r} is not understood: {error}") from error
        handler(stream, event, ts_recv)

    def _find(self, name: str) -> Route:
        """The route of a stream that the exchange names otherwise than it was asked for."""
        route = self._by_kind.get(split_name(name))
        if route is None:
            raise DataError(f"message of stream {name!r}, which was not subscribed")
        self._routes[name] = route
        return route

    def _trade(self, stream: Stream, m: Trade, ts_recv: int) -> None:
        self._sink.trade(stream, m.T * NS_PER_MS, ts_recv, m.a, m.p, m.q, not m.m)

    def _quote(self, stream: Stream, m: _Quote, ts_recv: int) -> None:
        # Spot quotes carry no time of the exchange: the time of arrival is the best there is.
        ts_event = (m.T or m.E) * NS_PER_MS or ts_recv
        self._sink.quote(stream, ts_event, ts_recv, m.b, m.B, m.a, m.A, m.u)

    def _depth(self, stream: Stream, m: _Depth, ts_recv: int) -> None:
        ts_event = (m.T or m.E) * NS_PER_MS
        self._sink.diff(stream, ts_event, ts_recv, m.U, m.u, m.pu, m.b, m.a)

    def _kline(self, stream: Stream, m: _KlineEvent, ts_recv: int) -> None:
        k = m.k
        if k.x:
            ts_close = k.t * NS_PER_MS + self._interval_ns
            self._sink.bar(stream, ts_close, ts_recv, (k.o, k.h, k.l, k.c, k.v, k.n))
        else:
            self._sink.forming(stream, m.E * NS_PER_MS, ts_recv)

    def _mark(self, stream: Stream, m: _Mark, ts_recv: int) -> None:
        rate = float(m.r) if m.r else float("nan")
        ts_event, next_ts = m.E * NS_PER_MS, m.T * NS_PER_MS
        self._sink.funding(stream, ts_event, ts_recv, m.p, rate, next_ts)

    def _force(self, stream: Stream, m: _ForceEvent, ts_recv: int) -> None:
        o = m.o
        price = o.ap or o.p  # the average fill price where there is one
        if stream.copies > 1 and not self._copies.first(stream, hash((o.T, price, o.q, o.S))):
            return
        self._sink.liquidation(stream, o.T * NS_PER_MS, ts_recv, price, o.q, o.S == "BUY")


def split_name(name: str) -> tuple[str, str]:
    """(exchange symbol, kind) of a stream's name: `btcusdt@kline_1m` -> `("BTCUSDT", "kline")`."""
    symbol, _, rest = name.partition("@")
    return symbol.upper(), rest.partition("@")[0].partition("_")[0]


def streams_of(address: str) -> list[str]:
    """Names of the streams in a combined stream's address."""
    return [name for name in address.partition("streams=")[2].split("/") if name]


def parse_klines(rows: Sequence[Any], interval_ns: int) -> list[Bar]:
    """Bars of a `klines` answer, ascending by close time; the last may still be forming.

    Raises:
        DataError: if a row is not what the exchange documents.
    """
    try:
        parsed = msgspec.convert(rows, list[_KlineRow], strict=False)
    except msgspec.ValidationError as error:
        raise DataError(f"klines answer is not understood: {error}") from error
    return [
        Bar(row[0] * NS_PER_MS + interval_ns, row[1], row[2], row[3], row[4], row[5], row[8])
        for row in sorted(parsed, key=lambda row: row[0])
    ]


def parse_snapshot(answer: Any) -> tuple[int, list[Level], list[Level]]:
    """(last update id, bids, asks) of a `depth` answer.

    Raises:
        DataError: if it is not what the exchange documents.
    """
    try:
        snapshot = msgspec.convert(answer, _Snapshot, strict=False)
    except msgspec.ValidationError as error:
        raise DataError(f"depth answer is not understood: {error}") from error
    return snapshot.lastUpdateId, snapshot.bids, snapshot.asks


def parse_trades(answer: Any) -> list[Trade]:
    """Trades of an `aggTrades` answer, ascending by id.

    Raises:
        DataError: if it is not what the exchange documents.
    """
    try:
        parsed = msgspec.convert(answer, list[Trade], strict=False)
    except msgspec.ValidationError as error:
        raise DataError(f"aggTrades answer is not understood: {error}") from error
    return sorted(parsed, key=lambda trade: trade.a)


def parse_open_interest(answer: Any) -> tuple[float, int]:
    """(open contracts, ms) of an `openInterest` answer.

    Raises:
        DataError: if it is not what the exchange documents.
    """
    try:
        parsed = msgspec.convert(answer, _OpenInterest, strict=False)
    except msgspec.ValidationError as error:
        raise DataError(f"openInterest answer is not understood: {error}") from error
    return parsed.openInterest, parsed.time


def klines_params(
    symbol: str,
    interval: str,
    limit: int,
    *,
    start_ns: int | None = None,
    end_ns: int | None = None,
) -> dict[str, str | int]:
    """Query of a `klines` request; the times are of bars' opens, both inclusive."""
    params: dict[str, str | int] = {"symbol": symbol, "interval": interval, "limit": limit}
    if start_ns is not None:
        params["startTime"] = start_ns // NS_PER_MS
    if end_ns is not None:
        params["endTime"] = end_ns // NS_PER_MS
    return params


def snapshot_limit(wanted: int, allowed: Iterable[int]) -> int:
    """The smallest allowed number of book levels that is at least `wanted`, or the largest."""
    limits = sorted(allowed)
    return next((limit for limit in limits if limit >= wanted), limits[-1])
