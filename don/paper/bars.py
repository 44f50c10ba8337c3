"""Forming bars of the paper exchange, from the tape's prints. Pure.

Closed bars are the tape's own (`BarClose`), passed through unchanged; what forms here is only what
a stream shows in between.
"""

from dataclasses import replace
from decimal import Decimal

import numpy as np

from don.clock import interval_ns
from don.model.instrument import Instrument
from don.paper.columns import BUY, PRICE, SIZE_OF, SOURCE, Columns
from don.paper.config import PaperConfig
from don.paper.events import BarClose, Kline, TradePrint
from don.paper.ladder import Ints
from don.paper.types import FormingBar


class Bars:
    """Forming bars of one symbol, one per interval."""

    def __init__(self, instrument: Instrument, config: PaperConfig) -> None:
        self._symbol = instrument.exchange_symbol
        self._tick, self._lot = instrument.tick_size, instrument.lot_size
        self._lengths = {interval: interval_ns(interval) for interval in config.intervals}
        self._every = config.kline_every_ns
        self._bars: dict[str, FormingBar] = {}
        self._shown: dict[str, int] = {}  # interval -> ts of the last update that was published

    def on_print(self, event: TradePrint) -> list[Kline]:
        """Fold a print in; the updates that are due."""
        due = []
        for interval, length in self._lengths.items():
            open_time = event.ts - event.ts % length
            bar = self._bars.get(interval)
            fresh = bar is None or bar.open_time != open_time
            if bar is None or bar.open_time != open_time:
                bar = FormingBar(
                    symbol=self._symbol,
                    interval=interval,
                    open_time=open_time,
                    open=event.price,
                    high=event.price,
                    low=event.price,
                    close=event.price,
                    volume=0,
                    quote_volume=0,
                    trades=0,
                    buy_volume=0,
                    buy_quote_volume=0,
                )
            bought = event.size if event.buy else 0
            bar = replace(
                bar,
                high=max(bar.high, event.price),
                low=min(bar.low, event.price),
                close=event.price,
                volume=bar.volume + event.size,
                quote_volume=bar.quote_volume + event.size * event.price,
                trades=bar.trades + event.count,
                buy_volume=bar.buy_volume + bought,
                buy_quote_volume=bar.buy_quote_volume + bought * event.price,
            )
            self._bars[interval] = bar
            if fresh or event.ts - self._shown.get(interval, 0) >= self._every:
                self._shown[interval] = event.ts
                due.append(self._kline(bar, event.ts))
        return due

    def fold(self, columns: Columns, trades: Ints) -> None:
        """Fold prints in, steps of a recording, without telling the updates."""
        rows = columns.steps[trades]
        price, size, buy = rows[:, PRICE], rows[:, SIZE_OF], rows[:, BUY] > 0
        count, stamps = columns.counts[rows[:, SOURCE]], columns.ts[trades]
        for interval, length in self._lengths.items():
            opens = stamps - stamps % length
            open_time = int(opens[-1])
            known = self._bars.get(interval)
            shown, forming = self._shown.get(interval, 0), known.open_time if known else -1
            for ts, opened in zip(stamps.tolist(), opens.tolist(), strict=True):
                if opened != forming or ts - shown >= self._every:
                    shown, forming = ts, opened
            self._shown[interval] = shown
            own = slice(int(np.searchsorted(opens, open_time)), None)
            p, q = price[own], size[own]
            bought = q * buy[own]
            before = known if known is not None and known.open_time == open_time else None
            self._bars[interval] = FormingBar(
                symbol=self._symbol,
                interval=interval,
                open_time=open_time,
                open=before.open if before else int(p[0]),
                high=max(before.high if before else 0, int(p.max())),
                low=min(before.low, int(p.min())) if before else int(p.min()),
                close=int(p[-1]),
                volume=(before.volume if before else 0) + int(q.sum()),
                quote_volume=(before.quote_volume if before else 0) + int((q * p).sum()),
                trades=(before.trades if before else 0) + int(count[own].sum()),
                buy_volume=(before.buy_volume if before else 0) + int(bought.sum()),
                buy_quote_volume=(before.buy_quote_volume if before else 0)
                + int((bought * p).sum()),
            )

    def on_close(self, event: BarClose) -> Kline:
        """The tape's closed bar as it is published."""
        open_time = event.ts - interval_ns(event.interval)
        bar = self._bars.get(event.interval)
        if bar is not None and bar.open_time <= open_time:
            del self._bars[event.interval]
        return Kline(
            symbol=self._symbol,
            ts=event.ts,
            interval=event.interval,
            open_time=open_time,
            close_time=event.ts,
            open=event.open * self._tick,
            high=event.high * self._tick,
            low=event.low * self._tick,
            close=event.close * self._tick,
            volume=event.volume * self._lot,
            quote_volume=event.quote_volume,
            trades=event.trades,
            buy_volume=event.buy_volume * self._lot,
            buy_quote_volume=event.buy_quote_volume,
            closed=True,
        )

    def forming(self, interval: str, ts: int) -> Kline | None:
        """The unfinished bar of an interval, None before its first print."""
        bar = self._bars.get(interval)
        return self._kline(bar, ts) if bar is not None else None

    def dump(self) -> tuple[FormingBar, ...]:
        """All unfinished bars."""
        return tuple(self._bars.values())

    def load(self, bar: FormingBar) -> None:
        """Take an unfinished bar back, unless its interval is no longer configured."""
        if bar.interval in self._lengths:
            self._bars[bar.interval] = bar

    def _kline(self, bar: FormingBar, ts: int) -> Kline:
        value: Decimal = self._tick * self._lot
        return Kline(
            symbol=self._symbol,
            ts=ts,
            interval=bar.interval,
            open_time=bar.open_time,
            close_time=bar.open_time + self._lengths[bar.interval],
            open=bar.open * self._tick,
            high=bar.high * self._tick,
            low=bar.low * self._tick,
            close=bar.close * self._tick,
            volume=bar.volume * self._lot,
            quote_volume=bar.quote_volume * value,
            trades=bar.trades,
            buy_volume=bar.buy_volume * self._lot,
            buy_quote_volume=bar.buy_quote_volume * value,
            closed=False,
        )
