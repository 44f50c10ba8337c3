"""From the exchange's events to the streams' messages. No waiting; writes only to the hub.

Keeps what the streams need besides the event itself: diffs that wait for their period, the last
mark price sent, larger bars, and the last trades for the REST calls.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from don.paper.events import (
    AccountUpdate,
    AlgoUpdate,
    BookTicker,
    DepthDiff,
    Event,
    ForceOrder,
    Kline,
    LeverageUpdate,
    OrderUpdate,
    Premium,
    PublicTrade,
)
from don.paper.server import wire_account, wire_algo, wire_market
from don.paper.server.conflate import NS_PER_MS, DepthStream, KlineStream
from don.paper.server.hub import Hub
from don.paper.server.names import Channel, StreamName, parse_stream
from don.paper.server.text import ms

RECENT_TRADES = 1_000  # per symbol, what `aggTrades` and `trades` can give at most

_encode = msgspec.json.Encoder().encode


class Publisher:
    """Sends every event to the streams that carry it.

    Args:
        hub: readers of the streams.
        symbols: the listed ones.
        base: the tape's own interval.
        history: closed bars of the tape: (symbol, count) -> the last ones, oldest first.
        schedule: asks for `flush_depth` after so many seconds of wall time; a tape that rests
            between two events must not keep a diff back.
    """

    def __init__(
        self,
        hub: Hub,
        symbols: Sequence[str],
        base: str,
        history: Callable[[str, int], Sequence[Kline]],
        schedule: Callable[[float], None],
    ) -> None:
        self._hub = hub
        self._symbols = frozenset(symbols)
        self._base = base
        self._history = history
        self._schedule = schedule
        self._streams: dict[tuple[str, Channel], list[StreamName]] = {}
        self._depth: dict[str, DepthStream] = {}
        self._klines: dict[str, KlineStream] = {}
        self._marked: dict[str, int] = {}  # stream -> period in which it was last sent
        self._keys: dict[str, list[str]] = {}
        self.recent: dict[str, deque[PublicTrade]] = {
            symbol: deque(maxlen=RECENT_TRADES) for symbol in symbols
        }
        self._handlers: dict[type, Callable[[Any], None]] = {
            PublicTrade: self._trade,
            DepthDiff: self._diff,
            BookTicker: self._ticker,
            Kline: self._bar,
            Premium: self._mark,
            ForceOrder: self._force,
            OrderUpdate: self._account(wire_account.order_event),
            AlgoUpdate: self._account(wire_algo.algo_event),
            AccountUpdate: self._account(wire_account.account_event),
            LeverageUpdate: self._account(wire_account.leverage_event),
        }

    def set_listen_keys(self, keys: dict[str, list[str]]) -> None:
        """Name the listen keys of each account."""
        self._keys = keys

    def subscriptions_changed(self) -> None:
        """Note which streams have readers now; to be called when the hub's readers change."""
        keys = {key for keys in self._keys.values() for key in keys}
        self._streams = {}
        names = self._hub.streams - keys
        for name in names:
            stream = parse_stream(name, self._symbols)
            self._streams.setdefault((stream.symbol, stream.channel), []).append(stream)
            if stream.channel is Channel.DEPTH:
                self._depth.setdefault(name, DepthStream(stream.period_ms))
            elif stream.channel is Channel.KLINE and stream.interval != self._base:
                if name not in self._klines:
                    self._klines[name] = self._larger(stream)
        for kept in (self._depth, self._klines, self._marked):
            for name in [n for n in kept if n not in names]:
                del kept[name]

    def publish(self, events: Iterable[Event]) -> None:
        """Queue all messages of these events at the hub."""
        for event in events:
            self._handlers[type(event)](event)

    def remember(self, events: Iterable[Event]) -> None:
        """Take in trades that were published before a restart."""
        for event in events:
            if isinstance(event, PublicTrade):
                self.recent[event.symbol].append(event)

    def flush_depth(self) -> None:
        """Queue the diffs that still wait for their period."""
        for name, stream in self._depth.items():
            self._send_diff(name, stream.take())

    def _larger(self, stream: StreamName) -> KlineStream:
        length = stream.period_ms * NS_PER_MS
        closed = self._history(stream.symbol, stream.period_ms // 60_000)
        return KlineStream(stream.interval, length, closed)

    def _named(self, symbol: str, channel: Channel) -> list[StreamName]:
        return self._streams.get((symbol, channel), [])

    def _trade(self, trade: PublicTrade) -> None:
        self.recent[trade.symbol].append(trade)
        for stream in self._named(trade.symbol, Channel.AGG_TRADE):
            self._hub.publish(stream.name, _encode(wire_market.trade_event(trade)))

    def _diff(self, diff: DepthDiff) -> None:
        for stream in self._named(diff.symbol, Channel.DEPTH):
            waiting = self._depth[stream.name]
            was_pending = waiting.pending
            self._send_diff(stream.name, waiting.add(diff))
            if waiting.pending and not was_pending:
                self._schedule(stream.period_ms / 1_000)

    def _send_diff(self, name: str, diff: DepthDiff | None) -> None:
        if diff is not None:
            self._hub.publish(name, _encode(wire_market.depth_update(diff)))

    def _ticker(self, ticker: BookTicker) -> None:
        for stream in self._named(ticker.symbol, Channel.BOOK_TICKER):
            self._hub.publish(stream.name, _encode(wire_market.book_ticker_event(ticker)))

    def _bar(self, bar: Kline) -> None:
        for stream in self._named(bar.symbol, Channel.KLINE):
            larger = self._klines.get(stream.name)
            shown = bar if larger is None else larger.add(bar)
            self._hub.publish(stream.name, _encode(wire_market.kline_event(shown)))

    def _mark(self, premium: Premium) -> None:
        for stream in self._named(premium.symbol, Channel.MARK_PRICE):
            period = ms(premium.ts) // stream.period_ms
            if self._marked.get(stream.name) != period:
                self._marked[stream.name] = period
                self._hub.publish(stream.name, _encode(wire_market.mark_event(premium)))

    def _force(self, event: ForceOrder) -> None:
        for stream in self._named(event.symbol, Channel.FORCE_ORDER):
            self._hub.publish(stream.name, _encode(wire_market.force_order(event)))

    def _account(self, write: Callable[[Any], dict[str, Any]]) -> Callable[[Any], None]:
        def send(event: OrderUpdate | AlgoUpdate | AccountUpdate | LeverageUpdate) -> None:
            keys = self._keys.get(event.account)
            if keys:
                payload = _encode(write(event))
                for key in keys:
                    self._hub.publish(key, payload)

        return send
