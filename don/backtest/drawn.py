"""The paper exchange where only bars are known: a book drawn around a price of the bar. Pure.

Matching, fees, margin, funding and liquidation are the paper exchange's own; only the book that
orders meet is made here, from the bar and the stated assumptions.
"""

from decimal import Decimal

import numpy as np

from don.backtest.config import BarFillConfig, BarFills
from don.backtest.panel import Market
from don.clock import NS_PER_MS
from don.model.instrument import Instrument
from don.paper.config import PaperConfig
from don.paper.events import (
    BookUpdate,
    Event,
    FundingRate,
    MarkPrice,
    TapeEvent,
    TradePrint,
)
from don.paper.exchange import PaperExchange


class DrawnExchange:
    """Bars into events of the paper exchange, for those symbols that matter."""

    def __init__(
        self,
        market: Market,
        instruments: tuple[Instrument, ...],
        config: PaperConfig,
        fills: BarFillConfig,
    ) -> None:
        # nobody but the account reads what it tells
        self.exchange = PaperExchange(instruments, config, listened=False)
        self._market, self._panel, self._fills = market, market.panel, fills
        self._names = [i.exchange_symbol for i in instruments]
        self._ticks = [i.tick_size for i in instruments]
        self._due: list[tuple[int, Decimal] | None] = [None] * len(instruments)  # next payments
        self._prints = 0

    def arrive_ns(self, slot: int) -> int:
        """When requests decided on the close before a slot arrive."""
        length = self._panel.interval_ns
        return self._panel.open_ns(slot) + int(length * self._fills.after)

    def draw(self, slot: int, wanted: list[int], held: list[int], ts: int) -> list[Event]:
        """Books of the symbols wanted, as orders that arrive at `ts` in a slot find them, and marks
        of these and of those held besides.
        """
        tape: list[TapeEvent] = [self._mark(n, ts, self._path(slot, n)[0]) for n in held]
        for n in wanted:
            if not self._market.present[slot, n]:  # nobody trades there
                tape.append(
                    BookUpdate(symbol=self._names[n], ts=ts, bids=(), asks=(), snapshot=True)
                )
                continue
            path, low, high = self._path(slot, n)
            tape.append(self._mark(n, ts, path))
            if self._fills.price is not BarFills.PESSIMISTIC:
                low = high = path
            tape.append(self._book(slot, n, ts, low, high))
        return self.exchange.apply_all(tape)

    def worst(self, slot: int, longs: list[int], shorts: list[int]) -> list[Event]:
        """All positions at their worst price of the bar at once: what is due is liquidated."""
        panel, ts = self._panel, self._panel.open_ns(slot + 1) - NS_PER_MS
        prices = [(n, int(panel.low[slot, n])) for n in longs]
        prices += [(n, int(panel.high[slot, n])) for n in shorts]
        tape: list[TapeEvent] = [self._book(slot, n, ts, price, price) for n, price in prices]
        tape += [self._mark(n, ts, price) for n, price in prices]
        return self.exchange.apply_all(tape)

    def through(self, slot: int, symbols: list[int]) -> list[Event]:
        """Let the bar's extremes trade against resting orders that they go through."""
        panel, ts = self._panel, self._panel.open_ns(slot + 1) - 2 * NS_PER_MS
        events: list[Event] = []
        for n in symbols:
            size = int(panel.volume[slot, n] * self._fills.participation)
            if not self._market.present[slot, n] or size <= 0:
                continue
            rising = panel.close[slot, n] >= panel.open[slot, n]
            ends = [(int(panel.low[slot, n]) + 1, False), (int(panel.high[slot, n]) - 1, True)]
            for price, buy in ends if rising else ends[::-1]:
                if price <= 0:
                    continue
                self._prints += 1
                events += self.exchange.apply(
                    TradePrint(
                        symbol=self._names[n], ts=ts, id=self._prints,
                        price=price, size=size, buy=buy,
                    )
                )  # fmt: skip
        return events

    def close(self, slot: int, symbols: list[int], ts: int | None = None) -> list[Event]:
        """Marks of symbols at a slot's close."""
        moment = self._panel.open_ns(slot + 1) if ts is None else ts
        closes = self._panel.close[slot].tolist()
        return self.exchange.apply_all([self._mark(n, moment, int(closes[n])) for n in symbols])

    def pay(self, slot: int, held: set[int]) -> list[Event]:
        """Funding that falls into a slot, on the close; what is due after it is liquidated."""
        ts = self.exchange.now
        return self.exchange.apply_all(
            [
                FundingRate(symbol=self._names[n], ts=ts, rate=rate)
                for _, n, rate in self._market.payments.get(slot, ())
                if n in held
            ]
        )

    def _path(self, slot: int, n: int) -> tuple[int, int, int]:
        """Price on the bar's path when orders arrive, and the least and greatest until then."""
        panel, f = self._panel, self._fills.after
        o, h, low, c = (
            int(side[slot, n]) for side in (panel.open, panel.high, panel.low, panel.close)
        )
        if self._fills.price is BarFills.OPEN:
            return o, o, o
        way = [o, low, h, c] if c >= o else [o, h, low, c]
        at = f * 3
        whole = min(int(at), 2)
        price = round(way[whole] + (way[whole + 1] - way[whole]) * (at - whole))
        seen = [*way[: whole + 1], price]
        return price, min(seen), max(seen)

    def _mark(self, n: int, ts: int, ticks: int) -> MarkPrice:
        price = ticks * self._ticks[n]
        due = self._due[n]
        if due is None or due[0] < ts:
            due = self._due[n] = self._market.funding[n].next_after(ts - 1)
        return MarkPrice(
            symbol=self._names[n], ts=ts, mark=price, index=price, rate=due[1],
            next_funding_ts=due[0],
        )  # fmt: skip

    def _book(self, slot: int, n: int, ts: int, low: int, high: int) -> BookUpdate:
        """Bids below `low`, asks above `high`, sizes from the bar's volume."""
        fills = self._fills
        total = int(self._panel.volume[slot, n] * fills.participation)
        lots = total // fills.levels
        count = fills.levels if lots else min(total, fills.levels)
        half = max(1, round(high * fills.half_spread))
        step = max(1, round(high * fills.step))
        offsets = [half + k * step for k in range(count)]
        size = max(lots, 1)
        return BookUpdate(
            symbol=self._names[n],
            ts=ts,
            bids=tuple((low - off, size) for off in offsets if low - off > 0),
            asks=tuple((high + off, size) for off in offsets),
            snapshot=True,
        )


def worst_margins(
    market: Market, slots: slice, size: np.ndarray, cost: float, balance: float, rate: float
) -> np.ndarray:
    """[bar] margin balance less maintenance margin with all positions at their worst of the bar."""
    held = np.flatnonzero(size)
    s = size[held]
    prices = np.where(s > 0, market.low[slots][:, held], market.high[slots][:, held])
    worth = prices * s
    return np.asarray(balance - cost + worth.sum(axis=1) - rate * np.abs(worth).sum(axis=1))
