"""Conflation of what streams send: depth diffs over a period, bars of larger intervals. Pure."""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from don.model.instrument import Instrument
from don.paper.events import BarClose, DepthDiff, Kline

NS_PER_MS = 1_000_000


class DepthStream:
    """Diffs of one symbol, joined over a period of tape time; `U`, `u`, `pu` stay a chain."""

    def __init__(self, period_ms: int) -> None:
        self._period_ns = period_ms * NS_PER_MS
        self._last = 0  # tape time of the last message
        self._bids: dict[Decimal, Decimal] = {}
        self._asks: dict[Decimal, Decimal] = {}
        self._first: DepthDiff | None = None
        self._latest: DepthDiff | None = None

    @property
    def pending(self) -> bool:
        """True if changes wait to be sent."""
        return self._latest is not None

    def add(self, diff: DepthDiff) -> DepthDiff | None:
        """Take a diff in; the message to send now, if it is time for one."""
        if self._latest is None and diff.ts - self._last >= self._period_ns:
            self._last = diff.ts
            return diff  # nothing waits: no need to join
        self._first = self._first or diff
        self._latest = diff
        self._bids.update(diff.bids)
        self._asks.update(diff.asks)
        return self.take() if diff.ts - self._last >= self._period_ns else None

    def take(self) -> DepthDiff | None:
        """What waits, joined; None if nothing does."""
        if self._first is None or self._latest is None:
            return None
        joined = replace(
            self._latest,
            first_id=self._first.first_id,
            previous_final_id=self._first.previous_final_id,
            bids=tuple(sorted(self._bids.items(), reverse=True)),
            asks=tuple(sorted(self._asks.items())),
        )
        self._last = self._latest.ts
        self._first = self._latest = None
        self._bids, self._asks = {}, {}
        return joined


def kline_of(bar: BarClose, instrument: Instrument, interval_ns: int) -> Kline:
    """A closed bar of the tape in quote and base units."""
    tick, lot = instrument.tick_size, instrument.lot_size
    return Kline(
        symbol=bar.symbol,
        ts=bar.ts,
        interval=bar.interval,
        open_time=bar.ts - interval_ns,
        close_time=bar.ts,
        open=bar.open * tick,
        high=bar.high * tick,
        low=bar.low * tick,
        close=bar.close * tick,
        volume=bar.volume * lot,
        quote_volume=bar.quote_volume,
        trades=bar.trades,
        buy_volume=bar.buy_volume * lot,
        buy_quote_volume=bar.buy_quote_volume,
        closed=True,
    )


def join(bars: Iterable[Kline], interval: str, interval_ns: int) -> Kline | None:
    """One bar of a larger interval from the smaller ones within it, oldest first."""
    whole: Kline | None = None
    for bar in bars:
        if whole is None:
            open_time = bar.open_time - bar.open_time % interval_ns
            whole = replace(
                bar,
                interval=interval,
                open_time=open_time,
                close_time=open_time + interval_ns,
                closed=bar.closed and bar.close_time == open_time + interval_ns,
            )
            continue
        whole = replace(
            whole,
            ts=bar.ts,
            high=max(whole.high, bar.high),
            low=min(whole.low, bar.low),
            close=bar.close,
            volume=whole.volume + bar.volume,
            quote_volume=whole.quote_volume + bar.quote_volume,
            trades=whole.trades + bar.trades,
            buy_volume=whole.buy_volume + bar.buy_volume,
            buy_quote_volume=whole.buy_quote_volume + bar.buy_quote_volume,
            closed=bar.closed and bar.close_time == whole.close_time,
        )
    return whole


class KlineStream:
    """Bars of a larger interval, fed with the tape's own; updates as those update."""

    def __init__(self, interval: str, interval_ns: int, closed: Iterable[Kline] = ()) -> None:
        self._interval = interval
        self._interval_ns = interval_ns
        self._part: Kline | None = None  # the closed smaller bars of the running interval
        for bar in closed:
            self.add(bar)

    def add(self, bar: Kline) -> Kline:
        """Take a bar of the tape in, forming or closed; the larger bar as it stands."""
        open_time = bar.open_time - bar.open_time % self._interval_ns
        if self._part is not None and self._part.open_time != open_time:
            self._part = None
        parts = [bar] if self._part is None else [self._part, bar]
        whole = join(parts, self._interval, self._interval_ns)
        assert whole is not None
        if bar.closed:
            self._part = whole
        return whole
