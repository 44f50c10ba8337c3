"""One symbol of the paper exchange: its book, its prices, and what of them is published. Pure."""

from decimal import Decimal

from don.clock import iso
from don.errors import DataError
from don.model.instrument import Instrument
from don.model.order import Side
from don.model.portfolio import ZERO
from don.paper.bars import Bars
from don.paper.config import PaperConfig
from don.paper.events import (
    BookTicker,
    BookUpdate,
    DepthDiff,
    Event,
    MarkPrice,
    Premium,
    PublicTrade,
    TradePrint,
)
from don.paper.matching import ASK, BID, Book
from don.paper.types import BookLevels, DepthSnapshot, MarketRow

LEAP = 1_000_000  # update ids skipped after a crash: more than can have been published unsaved

Levels = tuple[tuple[Decimal, Decimal], ...]


def book_side(side: Side) -> int:
    """The book's name of a side."""
    return BID if side is Side.BUY else ASK


class Market:
    """A symbol's book with its last and mark prices, and the sequence of its depth diffs."""

    def __init__(self, instrument: Instrument, config: PaperConfig) -> None:
        self.instrument = instrument
        self.symbol = instrument.exchange_symbol
        self.book = Book()
        self.bars = Bars(instrument, config)
        self.last = 0  # ticks
        self.changed = False  # since the last `Dirty`
        self._tick, self._lot = instrument.tick_size, instrument.lot_size
        self._mark = self._index = self._rate = ZERO
        self._next_funding_ts = 0
        self._update_id = 0
        self._ticker: tuple[int, ...] = (0, 0, 0, 0)

    # ---- units -----------------------------------------------------------------------------------

    def price(self, ticks: int) -> Decimal:
        """A price from ticks."""
        return ticks * self._tick

    def size(self, lots: int) -> Decimal:
        """A size from lots."""
        return lots * self._lot

    def ticks(self, price: Decimal) -> int:
        """Ticks of a price that is a multiple of the tick size."""
        return _whole(price, self._tick, f"{self.symbol} price", "tick size")

    def lots(self, size: Decimal) -> int:
        """Lots of a size that is a multiple of the lot size."""
        return _whole(size, self._lot, f"{self.symbol} size", "lot size")

    # ---- prices ----------------------------------------------------------------------------------

    @property
    def marked(self) -> bool:
        """True if the tape sends mark prices for this symbol."""
        return bool(self._mark)

    @property
    def mark(self) -> Decimal:
        """Mark price; without one, the last print, else the middle of the book, else 0."""
        if self._mark:
            return self._mark
        if self.last:
            return self.price(self.last)
        bid, ask = self.book.best(BID), self.book.best(ASK)
        if bid and ask:
            return (self.price(bid[0]) + self.price(ask[0])) / 2
        return self.price(bid[0] if bid else ask[0] if ask else 0)

    def on_mark(self, event: MarkPrice) -> None:
        """Take new mark and index prices."""
        self._mark, self._index = event.mark, event.index
        self._rate, self._next_funding_ts = event.rate, event.next_funding_ts
        self.changed = True

    def on_print(self, ticks: int) -> None:
        """Note the price of a print of the tape."""
        self.last, self.changed = ticks, True

    def told(self, event: TradePrint) -> list[Event]:
        """A print of the tape as it is published, and the forming bars that it changes."""
        trade = PublicTrade(
            symbol=event.symbol,
            ts=event.ts,
            id=event.id,
            price=self.price(event.price),
            size=self.size(event.size),
            buy=event.buy,
            count=event.count,
        )
        return [trade, *self.bars.on_print(event)]

    def on_fill(self, price: Decimal) -> None:
        """Note the price of a fill; only before the first print, so that positions have a value."""
        if not self.last:
            self.on_print(self.ticks(price))

    def premium(self, ts: int) -> Premium:
        """Mark price and funding as published."""
        return Premium(
            symbol=self.symbol,
            ts=ts,
            mark=self.mark,
            index=self._index or self.mark,
            rate=self._rate,
            next_funding_ts=self._next_funding_ts,
        )

    # ---- the book as published -------------------------------------------------------------------

    def publish(self, ts: int) -> list[Event]:
        """The depth diff of all changes since the last one, and the best prices if they changed."""
        touched = self.book.take_touched()
        if not touched:
            return []
        sides: tuple[list[tuple[int, int]], ...] = ([], [])
        for side, price, before, size in touched:
            if size != before:
                sides[side].append((price, size))
        count = len(sides[BID]) + len(sides[ASK])
        if not count:
            return []
        self.changed = True
        before, self._update_id = self._update_id, self._update_id + count
        sides[BID].sort(reverse=True)
        sides[ASK].sort()
        diff = DepthDiff(
            symbol=self.symbol,
            ts=ts,
            first_id=before + 1,
            final_id=self._update_id,
            previous_final_id=before,
            bids=self._decimals(sides[BID]),
            asks=self._decimals(sides[ASK]),
        )
        best = self._best()
        if best == self._ticker:
            return [diff]
        self._ticker = best
        return [diff, self.ticker(ts)]

    @property
    def best_known(self) -> tuple[int, ...]:
        """Best bid, its size, best ask, its size, as published; ticks and lots."""
        return self._ticker

    def played(self, changes: int, best: tuple[int, ...]) -> None:
        """Note what book changes that were taken in at once would have published."""
        self._update_id += changes
        self._ticker = best
        self.changed |= changes > 0

    def ticker(self, ts: int) -> BookTicker:
        """Best bid and ask."""
        bid, bid_size, ask, ask_size = self._best()
        return BookTicker(
            symbol=self.symbol,
            ts=ts,
            update_id=self._update_id,
            bid=self.price(bid),
            bid_size=self.size(bid_size),
            ask=self.price(ask),
            ask_size=self.size(ask_size),
        )

    def depth(self, limit: int, ts: int) -> DepthSnapshot:
        """The published book down to `limit` levels a side."""
        bids, asks = (
            self._decimals([(p, size) for p, size, _ in self.book.levels(side, limit)])
            for side in (BID, ASK)
        )
        return DepthSnapshot(
            symbol=self.symbol, ts=ts, last_update_id=self._update_id, bids=bids, asks=asks
        )

    def _best(self) -> tuple[int, ...]:
        return (*(self.book.best(BID) or (0, 0)), *(self.book.best(ASK) or (0, 0)))

    def _decimals(self, levels: list[tuple[int, int]]) -> Levels:
        tick, lot = self._tick, self._lot
        return tuple([(price * tick, size * lot) for price, size in levels])

    # ---- rows ------------------------------------------------------------------------------------

    def row(self) -> MarketRow:
        """What a restart needs besides the book."""
        return MarketRow(
            symbol=self.symbol,
            update_id=self._update_id,
            last=self.last,
            mark=self._mark,
            index=self._index,
            rate=self._rate,
            next_funding_ts=self._next_funding_ts,
        )

    def load(self, row: MarketRow) -> None:
        """Take stored prices and ids back."""
        self._update_id, self.last = row.update_id, row.last
        self._mark, self._index, self._rate = row.mark, row.index, row.rate
        self._next_funding_ts = row.next_funding_ts

    def house(self) -> BookLevels:
        """The tape's own levels."""
        bids, asks = (
            tuple((p, house) for p, _, house in self.book.levels(side) if house)
            for side in (BID, ASK)
        )
        return BookLevels(symbol=self.symbol, bids=bids, asks=asks)

    def settle_restart(self, *, whole: bool) -> None:
        """After orders are back: what is in the book counts as published.

        Args:
            whole: the book was stored too; else it differs from what was last published, and ids
                leap so that no reader can mistake one for the other.
        """
        self.book.take_touched()
        self._ticker = self._best()
        if not whole:
            self._update_id += LEAP


def rows_of(update: BookUpdate) -> list[tuple[int, int, int]]:
    """A book update as (side, price, size) rows, best first; of doubles the last counts.

    Raises:
        DataError: if a price is not positive or a size is negative.
    """
    bids = sorted(((BID, p, z) for p, z in dict(update.bids).items()), reverse=True)
    asks = sorted((ASK, p, z) for p, z in dict(update.asks).items())
    for _, price, size in (*bids, *asks):
        if price <= 0 or size < 0:
            raise DataError(
                f"book update of {update.symbol} at {iso(update.ts)}: price must be positive and "
                f"size not negative, in ticks and lots, were {price} and {size}"
            )
    return [*bids, *asks]


def _whole(value: Decimal, step: Decimal, what: str, name: str) -> int:
    count = value / step
    if count != count.to_integral_value():
        raise DataError(f"{what} must be a multiple of its {name} {step}, was {value}")
    return int(count)
