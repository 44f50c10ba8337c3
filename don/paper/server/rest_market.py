"""Market data calls of the REST interface. No awaiting; answers are plain values."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import islice, takewhile
from typing import Any

from don.clock import NS_PER_MS
from don.errors import ExchangeRefused
from don.paper.events import Kline, PublicTrade
from don.paper.exchange import PaperExchange
from don.paper.server import codes, wire_market
from don.paper.server.conflate import join, kline_of
from don.paper.server.limits import RateLimits
from don.paper.server.names import INTERVALS_MS
from don.paper.server.params import Params
from don.paper.server.publisher import RECENT_TRADES, Publisher
from don.paper.server.routes import Call, Route, by_limit, by_symbol
from don.paper.server.text import ms, number
from don.paper.store import Store
from don.paper.tape import Tape

Json = dict[str, Any]
_DAY_NS = 86_400 * 10**9
_DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)
_DEPTH_WEIGHT = ((50, 2), (100, 5), (500, 10), (1000, 20))
_KLINE_WEIGHT = ((99, 1), (499, 2), (1000, 5), (10_000, 10))


class MarketCalls:
    """Public calls. Times in answers are tape time, but for `time` and `exchangeInfo`."""

    def __init__(
        self,
        exchange: PaperExchange,
        tape: Tape,
        publisher: Publisher,
        store: Store,
        limits: RateLimits,
    ) -> None:
        self._exchange = exchange
        self._tape = tape
        self._publisher = publisher
        self._store = store
        self._limits = limits

    def routes(self) -> list[Route]:
        """All public calls."""
        v1 = "/fapi/v1/"
        price = by_symbol(1, 2)
        calls: list[tuple[str, Callable[[Call], Any], int, Callable[[Params], int] | None]] = [
            ("ping", lambda call: {}, 1, None),
            ("time", lambda call: {"serverTime": call.now_ms}, 1, None),
            ("exchangeInfo", self._exchange_info, 1, None),
            ("depth", self._depth, 0, by_limit(_DEPTH_WEIGHT, 500)),
            ("trades", self._trades, 5, None),
            ("aggTrades", self._agg_trades, 20, None),
            ("klines", self._klines, 0, by_limit(_KLINE_WEIGHT, 500)),
            ("markPriceKlines", self._price_klines, 0, by_limit(_KLINE_WEIGHT, 500)),
            ("indexPriceKlines", self._index_klines, 0, by_limit(_KLINE_WEIGHT, 500)),
            ("premiumIndex", self._premium_index, 0, by_symbol(1, 10)),
            ("fundingRate", self._funding_rate, 1, None),
            ("fundingInfo", lambda call: [], 0, None),
            ("ticker/24hr", self._day, 0, by_symbol(1, 40)),
            ("ticker/price", self._price, 0, price),
            ("ticker/bookTicker", self._book_ticker, 0, by_symbol(2, 5)),
        ]
        routes = [
            Route(method="GET", path=v1 + name, run=run, weight=weight, weigh=weigh)
            for name, run, weight, weigh in calls
        ]
        v2 = Route(method="GET", path="/fapi/v2/ticker/price", run=self._price, weigh=price)
        return [*routes, v2]

    # ---- helpers -------------------------------------------------------------------------------

    def _symbol(self, call: Call) -> str:
        symbol = call.params.text("symbol")
        if symbol not in self._exchange.instruments:
            raise codes.bad_symbol()
        return symbol

    def _each(self, call: Call, entry: Callable[[str], Json]) -> Json | list[Json]:
        """One entry for the symbol asked for, or all."""
        if "symbol" in call.params:
            return entry(self._symbol(call))
        return [entry(symbol) for symbol in self._exchange.instruments]

    def bars(self, symbol: str, interval: str, last_open: int, limit: int) -> list[Kline]:
        """Bars, oldest first, the forming one included, that open at or before `last_open`, ns."""
        length = INTERVALS_MS[interval] * NS_PER_MS
        instrument = self._exchange.instruments[symbol]
        end = min(self._exchange.now, last_open + length)
        closed = self._tape.history(symbol, interval, end, limit)
        bars = [kline_of(bar, instrument, length) for bar in closed]
        forming = self._forming(symbol, interval, length)
        if forming is not None and forming.open_time <= last_open:
            bars = [bar for bar in bars if bar.open_time < forming.open_time]
            bars.append(forming)
        return [bar for bar in bars if bar.open_time <= last_open][-limit:]

    def _last(self, symbol: str) -> Decimal:
        """Price of the last trade; before the first one the close of the history."""
        last = self._exchange.last_price(symbol)
        if not last:
            tick = self._exchange.instruments[symbol].tick_size
            for bar in self._tape.history(symbol, self._tape.interval, self._exchange.now, 1):
                last = bar.close * tick
        return last

    def _forming(self, symbol: str, interval: str, length: int) -> Kline | None:
        base = self._tape.interval
        forming = self._exchange.forming(symbol, base)
        if interval == base:
            return forming
        now = self._exchange.now
        instrument = self._exchange.instruments[symbol]
        within = [
            kline_of(bar, instrument, self._tape.interval_ns)
            for bar in self._tape.history(symbol, base, now, length // self._tape.interval_ns)
        ]
        if forming is not None:
            within = [bar for bar in within if bar.open_time < forming.open_time]
            within.append(forming)
        whole = join((b for b in within if b.open_time >= now - now % length), interval, length)
        return None if whole is None or whole.closed else whole

    # ---- calls ---------------------------------------------------------------------------------

    def _exchange_info(self, call: Call) -> Json:
        config = self._exchange.config
        return {
            "timezone": "UTC",
            "serverTime": call.now_ms,
            "futuresType": "U_MARGINED",
            "rateLimits": self._limits.listing(),
            "exchangeFilters": [],
            "assets": [{"asset": config.asset, "marginAvailable": True, "autoAssetExchange": "0"}],
            "symbols": [
                wire_market.symbol_info(instrument, config)
                for instrument in self._exchange.instruments.values()
            ],
        }

    def _depth(self, call: Call) -> Json:
        symbol, limit = self._symbol(call), call.params.integer("limit", 500)
        if limit not in _DEPTH_LIMITS:
            raise ExchangeRefused(
                -4021, f"Valid limit is {', '.join(map(str, _DEPTH_LIMITS))}; was {limit}."
            )
        return wire_market.depth(self._exchange.depth(symbol, limit))

    def _found_trades(self, call: Call, default: int) -> list[PublicTrade]:
        symbol = self._symbol(call)
        limit = call.params.limit(default, RECENT_TRADES)
        start, end = call.span()
        from_id = call.params.optional_integer("fromId")
        recent = self._publisher.recent[symbol]
        if from_id is not None:
            start = end = None
        elif start is None:
            trades = [t for t in recent if end is None or t.ts <= end]
            return trades[-limit:]
        known = recent and (
            recent[0].id <= from_id if from_id is not None else recent[0].ts < (start or 0)
        )
        found = iter(recent) if known else self._older(symbol, from_id, start)
        fitting = (
            t
            for t in found
            if (from_id is None or t.id >= from_id) and (start is None or t.ts >= start)
        )
        return list(islice(takewhile(lambda t: end is None or t.ts <= end, fitting), limit))

    def _older(self, symbol: str, from_id: int | None, start: int | None) -> Iterator[PublicTrade]:
        """From the tape, as far as it has been told."""
        instrument = self._exchange.instruments[symbol]
        recent = self._publisher.recent[symbol]
        last = recent[-1].id if recent else None
        for event in self._tape.trades(symbol, from_id=from_id, start_ns=start):
            if event.id > last if last is not None else event.ts >= self._exchange.now:
                return
            yield PublicTrade(
                symbol=symbol,
                ts=event.ts,
                id=event.id,
                price=event.price * instrument.tick_size,
                size=event.size * instrument.lot_size,
                buy=event.buy,
                count=event.count,
            )

    def _trades(self, call: Call) -> list[Json]:
        return [wire_market.recent_trade(t) for t in self._found_trades(call, 500)]

    def _agg_trades(self, call: Call) -> list[Json]:
        return [wire_market.agg_trade(t) for t in self._found_trades(call, 500)]

    def _klines(self, call: Call) -> list[list[Any]]:
        symbol, interval = self._symbol(call), call.params.text("interval")
        length = INTERVALS_MS.get(interval, 0) * NS_PER_MS
        if not length or length % self._tape.interval_ns:
            raise ExchangeRefused(codes.BAD_INTERVAL, "Invalid interval.")
        limit = call.params.limit(500, 1500)
        start, end = call.span()
        last_open = self._exchange.now if end is None else min(end, self._exchange.now)
        if start is None:
            return [wire_market.kline(b) for b in self.bars(symbol, interval, last_open, limit)]
        # as the exchange does: from the first bar that there is on, and as many as there are
        # behind a hole too
        found: list[Kline] = []
        first_open = -(-max(start, self._tape.first_ns) // length) * length
        while (lacking := limit - len(found)) and first_open <= last_open:
            until = min(last_open, first_open + (lacking - 1) * length)
            bars = self.bars(symbol, interval, until, lacking)
            found += [bar for bar in bars if bar.open_time >= first_open]
            first_open = (until // length + 1) * length
        return [wire_market.kline(bar) for bar in found]

    def _price_klines(self, call: Call) -> list[list[Any]]:
        """Mark price bars: the mark price is the last trade's, and has no volume."""
        rows = self._klines(call)
        for row in rows:
            row[5] = row[7] = row[9] = row[10] = "0"
        return rows

    def _index_klines(self, call: Call) -> list[list[Any]]:
        """Index price bars, asked for by `pair`; here the index is the mark price."""
        names = ("interval", "limit", "startTime", "endTime")
        given = {name: call.params.text(name) for name in names if name in call.params}
        named = Params({**given, "symbol": call.params.text("pair")})
        return self._price_klines(replace(call, params=named))

    def _premium_index(self, call: Call) -> Json | list[Json]:
        return self._each(
            call, lambda symbol: wire_market.premium_index(self._exchange.premium(symbol))
        )

    def _funding_rate(self, call: Call) -> list[Json]:
        symbol = self._symbol(call) if "symbol" in call.params else None
        start, end = call.span()
        limit = call.params.limit(100, 1000)
        rows = self._store.funding(symbol, start, end or self._exchange.now, limit)
        return [
            {
                "symbol": row.symbol,
                "fundingRate": row.rate,
                "fundingTime": ms(row.ts),
                "markPrice": row.mark,
            }
            for row in rows
        ]

    def _price(self, call: Call) -> Json | list[Json]:
        return self._each(
            call,
            lambda symbol: {
                "symbol": symbol,
                "price": number(self._last(symbol)),
                "time": ms(self._exchange.now),
            },
        )

    def _book_ticker(self, call: Call) -> Json | list[Json]:
        return self._each(
            call, lambda symbol: wire_market.book_ticker(self._exchange.ticker(symbol))
        )

    def _day(self, call: Call) -> Json | list[Json]:
        return self._each(call, self._day_of)

    def _day_of(self, symbol: str) -> Json:
        """Rolling day: the tape's bars that opened in the last 24 hours."""
        now = self._exchange.now
        count = max(1, _DAY_NS // self._tape.interval_ns)
        bars = self.bars(symbol, self._tape.interval, now, count)
        bars = [bar for bar in bars if bar.open_time > now - _DAY_NS]
        last = self._last(symbol)
        trades = self._publisher.recent[symbol]
        opening = bars[0].open if bars else last
        volume = sum((bar.volume for bar in bars), start=last * 0)
        quote = sum((bar.quote_volume for bar in bars), start=last * 0)
        return {
            "symbol": symbol,
            "priceChange": number(last - opening),
            "priceChangePercent": f"{(last - opening) / opening * 100 if opening else 0:.3f}",
            "weightedAvgPrice": f"{quote / volume if volume else last:.8f}",
            "lastPrice": number(last),
            "lastQty": number(trades[-1].size) if trades else "0",
            "openPrice": number(opening),
            "highPrice": number(max((bar.high for bar in bars), default=last)),
            "lowPrice": number(min((bar.low for bar in bars), default=last)),
            "volume": number(volume),
            "quoteVolume": number(quote),
            "openTime": ms(bars[0].open_time if bars else now),
            "closeTime": ms(now),
            "firstId": -1,
            "lastId": trades[-1].id if trades else -1,
            "count": sum(bar.trades for bar in bars),
        }
