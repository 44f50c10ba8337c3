"""The paper exchange driven through the same bars as an environment, with exact decimals."""

from decimal import Decimal

import numpy as np

from don.envs import EnvMarket
from don.envs.layout import CLOSE, HIGH, LOW, OPEN, PRESENT, RATE, STATE, VOLUME
from don.errors import ExchangeRefused
from don.model.instrument import Instrument
from don.model.order import Side, TimeInForce
from don.paper.config import PaperConfig
from don.paper.events import BookUpdate, ForceOrder, FundingRate, MarkPrice, TradePrint
from don.paper.exchange import PaperExchange
from don.paper.tape_data import make_instrument
from don.paper.types import NewOrder, OrderKind

HALF, STEP, LEVELS, PART, AFTER = 0.0001, 0.0004, 5, 0.1, 0.25


class Twin:
    """One account at the paper exchange."""

    def __init__(self, market: EnvMarket, deposit: Decimal = Decimal(100_000)) -> None:
        self.market = market
        self.names = [s.replace("-", "").removesuffix("PERP") for s in market.symbols]
        self.instruments: list[Instrument] = [
            make_instrument(n, Decimal("0.01"), Decimal("0.001")) for n in self.names
        ]
        self.exchange = PaperExchange(self.instruments, PaperConfig(deposit=deposit))
        self.dead, self.denied, self.prints = False, 0, 0

    @property
    def equity(self) -> Decimal:
        account = self.exchange.account()
        return account.wallet + account.unrealized

    @property
    def lots(self) -> list[int]:
        held = {p.symbol: p.size for p in self.exchange.account().positions}
        return [int(held.get(n, Decimal(0)) / Decimal("0.001")) for n in self.names]

    def step(self, t: int, orders: np.ndarray) -> None:
        """The bar after bar t; orders [n, 3] are signed lots, limit in ticks, kind."""
        u, market = t + 1, self.market
        self.ts = int(market.close_ns[t])
        bars = market.bars[u]
        path = [_path(bar) for bar in bars]
        self._books(u, [(low, high) for _, low, high in path])
        self._marks([price for price, _, _ in path])
        if not self.dead:
            self._orders(orders)
        for n in range(len(self.names)):
            self._prints(n, bars[n])
            self.exchange.cancel_all(self.names[n])
        self._worst(u)
        close = [int(bar[CLOSE]) for bar in bars]
        self._books(u, [(c, c) for c in close])
        self._marks(close)
        for n, name in enumerate(self.names):
            if bars[n, RATE] and not self.dead:
                rate = Decimal(repr(float(bars[n, RATE])))
                self._apply(FundingRate(symbol=name, ts=self.ts, rate=rate))

    def _orders(self, orders: np.ndarray) -> None:
        held = self.lots
        order = [n for n in range(len(held)) if orders[n, 0]]
        reduces = {
            n for n in order if orders[n, 0] * held[n] < 0 and abs(orders[n, 0]) <= abs(held[n])
        }
        for n in sorted(order, key=lambda n: (n not in reduces, n)):
            if self.dead:
                return
            size, price, kind = (float(x) for x in orders[n])
            target = kind == 0
            limited = kind >= 2
            force = TimeInForce.GTX if kind == 3 else TimeInForce.GTC
            request = NewOrder(
                symbol=self.names[n],
                side=Side.BUY if size > 0 else Side.SELL,
                kind=OrderKind.LIMIT if limited else OrderKind.MARKET,
                size=Decimal(int(abs(size))) * Decimal("0.001"),
                price=Decimal(int(price)) * Decimal("0.01") if limited else None,
                time_in_force=force if limited else None,
                reduce_only=target and n in reduces,
            )
            try:
                _, events = self.exchange.place(request)
            except ExchangeRefused:
                self.denied += 1
                continue
            self._look(events)

    def _prints(self, n: int, bar: np.ndarray) -> None:
        size = int(bar[VOLUME] * PART)
        if bar[STATE] < PRESENT or size <= 0:
            return
        ends = [(int(bar[LOW]) + 1, False), (int(bar[HIGH]) - 1, True)]
        for price, buy in ends if bar[CLOSE] >= bar[OPEN] else ends[::-1]:
            self.prints += 1
            self._apply(
                TradePrint(
                    symbol=self.names[n],
                    ts=self.ts,
                    id=self.prints,
                    price=price,
                    size=size,
                    buy=buy,
                )
            )  # fmt: skip

    def _worst(self, u: int) -> None:
        sides = [(n, lots) for n, lots in enumerate(self.lots) if lots]
        ordered = [n for n, lots in sides if lots > 0] + [n for n, lots in sides if lots < 0]
        longs = {n for n, lots in sides if lots > 0}
        prices = {n: int(self.market.bars[u, n, LOW if n in longs else HIGH]) for n in ordered}
        for n in ordered:
            self._book(u, n, prices[n], prices[n])
        for n in ordered:
            self._mark(n, prices[n])

    def _books(self, u: int, sides: list[tuple[int, int]]) -> None:
        for n, (low, high) in enumerate(sides):
            self._book(u, n, low, high)

    def _book(self, u: int, n: int, low: int, high: int) -> None:
        bar = self.market.bars[u, n]
        total = int(bar[VOLUME] * PART) if bar[STATE] == PRESENT else 0
        lots = total // LEVELS
        count = LEVELS if lots else min(total, LEVELS)
        half, step = max(1, round(high * HALF)), max(1, round(high * STEP))
        offsets = [half + k * step for k in range(count)]
        size = max(lots, 1)
        self._apply(
            BookUpdate(
                symbol=self.names[n], ts=self.ts, snapshot=True,
                bids=tuple((low - off, size) for off in offsets if low - off > 0),
                asks=tuple((high + off, size) for off in offsets),
            )
        )  # fmt: skip

    def _marks(self, prices: list[int]) -> None:
        for n, price in enumerate(prices):
            self._mark(n, price)

    def _mark(self, n: int, ticks: int) -> None:
        price = ticks * Decimal("0.01")
        self._apply(
            MarkPrice(
                symbol=self.names[n], ts=self.ts, mark=price, index=price, rate=Decimal(0),
                next_funding_ts=self.ts + 1,
            )
        )  # fmt: skip

    def _apply(self, event: object) -> None:
        self._look(self.exchange.apply(event))  # type: ignore[arg-type]

    def _look(self, events: list) -> None:
        self.dead = self.dead or any(isinstance(e, ForceOrder) for e in events)


def _path(bar: np.ndarray) -> tuple[int, int, int]:
    o, h, low, c = (int(bar[i]) for i in (OPEN, HIGH, LOW, CLOSE))
    way = [o, low, h, c] if c >= o else [o, h, low, c]
    at = AFTER * 3
    price = round(way[0] + (way[1] - way[0]) * at)
    return price, min(o, price), max(o, price)
