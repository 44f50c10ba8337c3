"""A tape over recorded bars, expanded by the seeded bridge. Pure once its data are loaded.

Stated simplifications: the mark price and the index are the last trade price of the tape; where a
symbol's bar is missing nothing was recorded, and nothing is told: no bar, no trades, its book and
mark stand still (a quiet time is a bar of volume 0, which is told as exchanges tell it); the tape
covers the time for which all its symbols are recorded.
"""

from collections.abc import Sequence
from itertools import compress

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from don.clock import interval_ns as parse_interval
from don.errors import DataError
from don.model.section import Section
from don.paper import bridge
from don.paper.events import BarClose, BookUpdate, TapeEvent, TradePrint
from don.paper.funding import FundingSchedule
from don.paper.slots import Side, SlotTape
from don.paper.tape_data import NS_PER_MS, BarPanel


class BridgeConfig(Section):
    """How bars are expanded."""

    trades_per_bar: int = Field(default=16, ge=4, le=900)  # mean, per symbol
    levels: int = Field(default=10, ge=1, le=bridge.MAX_LEVELS)  # of the book, a side
    levels_per_range: int = Field(default=30, ge=1)  # book levels in a symbol's median bar range
    marks_per_bar: int = Field(default=4, ge=1, le=1000)  # mark prices, the last at the close


class BarTape(SlotTape):
    """Replays a `BarPanel`. See the module for simplifications, `slots` for order and positions."""

    def __init__(
        self,
        panel: BarPanel,
        funding: Sequence[FundingSchedule],
        *,
        seed: int = 0,
        start_ns: int | None = None,
        config: BridgeConfig | None = None,
    ) -> None:
        self._panel = panel
        self._config = config or BridgeConfig()
        first, last = int(panel.first.max()), int(panel.last.min())
        symbols = tuple(i.exchange_symbol for i in panel.instruments)
        if first > last:
            raise DataError(f"tape {panel.source}: {', '.join(symbols)} share no time")
        self._base = panel.origin_ns // panel.interval_ns  # number of the panel's first slot
        self._bar_ms = panel.interval_ns // NS_PER_MS
        if 2 * self._config.trades_per_bar > self._bar_ms:
            raise DataError(
                f"trades_per_bar must be at most {self._bar_ms // 2} in bars of {self._bar_ms} ms, "
                f"was {self._config.trades_per_bar}"
            )
        super().__init__(
            panel.source,
            panel.instruments,
            panel.interval_ns,
            funding,
            (self._base + first, self._base + last),
            start_ns,
            self._config.marks_per_bar,
        )
        self._keys = _symbol_keys(seed, symbols)
        self._told = panel.present
        self._opens = panel.origin_ns + np.arange(panel.slots, dtype=np.int64) * panel.interval_ns
        before = np.vstack([panel.open[:1], panel.close[:-1]])
        # [slot, symbol, 6]: open, high, low, close, volume, last close before
        self._bars = np.stack(
            [panel.open, panel.high, panel.low, panel.close, panel.volume, before], axis=2
        )
        self._counts = bridge.trade_counts(
            self._keys,
            self._opens,
            *(self._bars[:, :, i] for i in range(5)),
            self._config.trades_per_bar,
        )
        self._ids = np.cumsum(self._counts, axis=0) - self._counts  # trades before each bar
        self._grids = np.array(
            [self._grid(panel, n) for n in range(len(self.symbols))], dtype=np.int64
        )

    def _grid(self, panel: BarPanel, n: int) -> int:
        """Distance of a symbol's book levels in ticks: fine where bars are calm, one at least."""
        own = slice(panel.first[n], panel.last[n] + 1)
        median = float(np.median(panel.high[own, n] - panel.low[own, n]))
        return max(1, round(median / self._config.levels_per_range))

    # ---- history ---------------------------------------------------------------------------------

    def history(self, symbol: str, interval: str, end_ns: int, limit: int = 500) -> list[BarClose]:
        """Bars of a symbol that closed at or before `end_ns`, oldest first, at most `limit`.

        Args:
            symbol: exchange or canonical name.
            interval: the tape's own or a multiple; larger bars are over, start on the epoch grid,
                and are made of the bars that there are.
            end_ns: tape time.
            limit: most bars, >= 1.

        Raises:
            DataError: if the symbol or the interval is not on this tape.
        """
        n = self.index(symbol)
        try:
            length = parse_interval(interval)
        except ValueError as error:
            raise DataError(str(error)) from error
        step, rest = divmod(length, self.interval_ns)
        if rest or not step:
            raise DataError(f"interval must be a multiple of {self.interval}, was {interval!r}")
        origin, first = self._panel.origin_ns, int(self._panel.first[n])
        stop = min((end_ns // length * length - origin) // self.interval_ns, self._panel.slots)
        stop = min(stop, int(self._panel.last[n]) + 1)
        stop -= ((origin // self.interval_ns) + stop) % step
        first += -((origin // self.interval_ns) + first) % step
        begin, there = stop, np.zeros((0, step), np.bool_)
        while (lacking := limit - int(there.any(axis=1).sum())) > 0 and begin > first:
            begin = max(begin - lacking * step, first)
            there = self._told[begin:stop, n].reshape(-1, step)
        return self._closed(n, begin, stop, step, interval) if there.any() else []

    def _closed(self, n: int, begin: int, stop: int, step: int, interval: str) -> list[BarClose]:
        bars, counts = self._bars[begin:stop, n], self._counts[begin:stop, n]
        sums = bridge.totals(
            self._keys[n], self._opens[begin:stop], bars, counts, self._bar_ms
        ).reshape(-1, step, 3)
        parts = bars.reshape(-1, step, 6)
        there = self._told[begin:stop, n].reshape(-1, step)
        opened = parts[np.arange(len(parts)), np.argmax(there, axis=1), 0]
        high = np.where(there, parts[:, :, 1], 0).max(axis=1)
        low = np.where(there, parts[:, :, 2], np.iinfo(np.int64).max).min(axis=1)
        quote, bought, bought_quote = (
            sums.astype(object).sum(axis=1).T.tolist()
        )  # Python's integers: no overflow
        columns = (
            (self._opens[begin:stop:step] + step * self.interval_ns).tolist(),
            opened.tolist(),
            high.tolist(),
            low.tolist(),
            parts[:, -1, 3].tolist(),
            parts[:, :, 4].sum(axis=1).tolist(),
            counts.reshape(-1, step).sum(axis=1).tolist(),
            quote,
            bought,
            bought_quote,
        )
        value = self._values[n]
        return [
            BarClose(
                symbol=self.symbols[n],
                ts=ts,
                interval=interval,
                open=o,
                high=h,
                low=low,
                close=c,
                volume=v,
                quote_volume=q * value,
                trades=m,
                buy_volume=b,
                buy_quote_volume=bq * value,
            )
            for ts, o, h, low, c, v, m, q, b, bq in compress(
                zip(*columns, strict=True), np.asarray(there.any(axis=1))
            )
        ]

    # ---- events ----------------------------------------------------------------------------------

    def market_events(self, slot: int) -> tuple[list[TapeEvent], list[BarClose]]:
        """Trades and books of a slot, symbol by symbol, and its closed bars."""
        slot -= self._base
        bars, counts = self._bars[slot], self._counts[slot]
        tape, books, rows = bridge.expand(
            self._keys,
            self._panel.open_ns(slot),
            self._bar_ms,
            bars,
            counts,
            self._grids,
            self._config.levels,
        )
        levels = tuple(zip(rows[0].tolist(), rows[1].tolist(), strict=True))
        book_rows, trade_rows = zip(*books.tolist(), strict=True), zip(*tape.tolist(), strict=True)
        events: list[TapeEvent] = []
        closes: list[BarClose] = []
        for n, symbol in enumerate(self.symbols):
            count = int(counts[n])
            trade_id = int(self._ids[slot, n])
            quote = bought = bought_quote = 0
            for i in range(count + 1 if count else 0):
                ts, a, b, c = next(book_rows)
                events.append(
                    BookUpdate(
                        symbol=symbol, ts=ts, bids=levels[a:b], asks=levels[b:c], snapshot=i == 0
                    )
                )
                if i < count:
                    ts, price, lots, buy = next(trade_rows)
                    trade_id += 1
                    quote += price * lots
                    if buy:
                        bought += lots
                        bought_quote += price * lots
                    events.append(
                        TradePrint(
                            symbol=symbol,
                            ts=ts,
                            id=trade_id,
                            price=price,
                            size=lots,
                            buy=bool(buy),
                        )
                    )
            if not self._told[slot, n]:
                continue
            value = self._values[n]
            o, h, low, c, v, _ = bars[n].tolist()
            closes.append(
                BarClose(
                    symbol=symbol,
                    ts=self._panel.open_ns(slot + 1),
                    interval=self.interval,
                    open=o,
                    high=h,
                    low=low,
                    close=c,
                    volume=v,
                    quote_volume=quote * value,
                    trades=count,
                    buy_volume=bought,
                    buy_quote_volume=bought_quote * value,
                )
            )
        return events, closes

    def slot_of_trade(self, n: int, trade_id: int) -> int:
        """The slot of a symbol's trade, or of the next one that there is."""
        return self._base + max(int(np.searchsorted(self._ids[:, n], trade_id)) - 1, 0)

    def last_price(self, slot: int, n: int) -> int:
        """The last close."""
        return int(self._bars[slot - self._base, n, 5])

    def book_before(self, slot: int, n: int) -> tuple[Side, Side]:
        """The book that the last bar with trades left; empty if there is none."""
        first, last = int(self._panel.first[n]), slot - self._base - 1
        while last >= first and not self._counts[last, n]:
            last -= 1
        if last < first:
            return {}, {}
        bids, asks = bridge.closing_image(
            self._keys[n],
            self._panel.open_ns(last),
            self._bars[last, n],
            int(self._counts[last, n]),
            int(self._grids[n]),
            self._config.levels,
        ).tolist()
        return (
            {p: q for p, q in zip(*bids, strict=True) if p},
            {p: q for p, q in zip(*asks, strict=True) if p},
        )


def _symbol_keys(seed: int, symbols: Sequence[str]) -> NDArray[np.uint64]:
    """A random key for each symbol: FNV-1a of its name, mixed with the seed."""
    keys = []
    for symbol in symbols:
        value = 0xCBF29CE484222325
        for byte in symbol.encode():
            value = (value ^ byte) * 0x100000001B3 % 2**64
        keys.append(value ^ (seed * 0x9E3779B97F4A7C15 % 2**64))
    return np.array(keys, np.uint64)
