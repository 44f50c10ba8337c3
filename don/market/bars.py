"""Per-symbol sums of trades, quotes and books by bar, in exchange time. Pure; compiled with numba.

An event belongs to the bar `[open, close)` that its exchange time falls into, whenever it arrives.
Mark prices are read at the close: one stamped exactly at a close belongs to the bar that closes
there.

A bar is a function of its own events alone: changes from the bar before are not counted in.
Columns of a finished bar, per symbol (NaN where nothing was seen):

- `buy_volume`, `sell_volume`: base units by aggressor;
- `impact_xy`, `impact_xx`: sums over trades of r*x and x*x, where r is the log return from the
trade
  before and x the signed notional of the trade in millions of quote; Kyle's lambda is their ratio;
- `spread`: mean of (ask - bid) / mid over quotes; `microprice`: mean of (microprice - mid) / mid,
the
  microprice weighing each price with the other side's size; `quote_imbalance`: mean of
  (bid size - ask size) / (bid size + ask size);
- `ofi`: order-flow imbalance of the best quotes (Cont, Kukanov, Stoikov 2014), over mean best size;
- `book_imbalance`, `book_depth`: mean over books of (bids - asks) / (bids + asks) in quote, and of
  bids + asks in quote, all levels given;
- `mark`, `rate`: last mark price and funding rate, carried on from bar to bar;
- `trade_count`, `quote_count`: how many there were;
- `trade_var`, `trade_bipower`, `trade_cov`: sums over trades of r*r, |r|*|r before| and
  r*(r before), with r as above; `mid_var`: sum over quotes of the squared log change of mid;
- `best_depth`: mean over quotes of bid * its size + ask * its size, in quote.

Columns are only ever added at the end: stored bars and checkpoints of older versions have fewer.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit
from numpy.typing import NDArray

from don.model.schema import DEPTH

MICRO = (
    "buy_volume",
    "sell_volume",
    "impact_xy",
    "impact_xx",
    "spread",
    "microprice",
    "quote_imbalance",
    "ofi",
    "book_imbalance",
    "book_depth",
    "mark",
    "rate",
    "trade_count",
    "quote_count",
    "trade_var",
    "trade_bipower",
    "trade_cov",
    "mid_var",
    "best_depth",
)
STANDING = slice(MICRO.index("mark"), MICRO.index("rate") + 1)  # known without events of the bar
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# fields of a slot's sums, per symbol
_TRADES, _OPEN, _HIGH, _LOW, _CLOSE, _VOLUME, _BUY, _XY, _XX = range(9)
_QUOTES, _SPREAD, _MICRO, _QIMB, _OFI, _BEST = range(9, 15)
_BOOKS, _BIMB, _DEPTH = range(15, 18)
_MARK, _RATE = range(18, 20)
_LAST_BID, _LAST_BID_SIZE, _LAST_ASK, _LAST_ASK_SIZE = range(20, 24)
_VAR, _BIPOWER, _COV, _LAST_R, _MID_VAR, _BEST_DEPTH = range(24, 30)
_FIELDS = 30


@njit(cache=True)
def _add_trades(
    sums: Floats, code: Ints, price: Floats, size: Floats, buy: NDArray[np.bool_]
) -> None:
    for i in range(len(code)):
        n, p, q = code[i], price[i], size[i]
        s = sums[n]
        if s[_TRADES] == 0.0:
            s[_OPEN], s[_HIGH], s[_LOW] = p, p, p
        else:
            x = p * q * (1e-6 if buy[i] else -1e-6)
            r = np.log(p / s[_CLOSE])
            s[_XY] += r * x
            s[_XX] += x * x
            s[_VAR] += r * r
            s[_BIPOWER] += abs(r) * abs(s[_LAST_R])
            s[_COV] += r * s[_LAST_R]
            s[_LAST_R] = r
        s[_HIGH], s[_LOW] = max(s[_HIGH], p), min(s[_LOW], p)
        s[_CLOSE] = p
        s[_TRADES] += 1.0
        s[_VOLUME] += q
        if buy[i]:
            s[_BUY] += q


@njit(cache=True)
def _add_quotes(sums: Floats, code: Ints, bid: Floats, bs: Floats, ask: Floats, az: Floats) -> None:
    for i in range(len(code)):
        n, b, a, sb, sa = code[i], bid[i], ask[i], bs[i], az[i]
        s = sums[n]
        if not (b > 0.0 and a > b and sb + sa > 0.0):
            continue
        mid = 0.5 * (a + b)
        s[_QUOTES] += 1.0
        s[_SPREAD] += (a - b) / mid
        s[_MICRO] += ((b * sa + a * sb) / (sb + sa) - mid) / mid
        s[_QIMB] += (sb - sa) / (sb + sa)
        s[_BEST] += 0.5 * (sb + sa)
        s[_BEST_DEPTH] += b * sb + a * sa
        if s[_QUOTES] > 1.0:
            change = np.log(mid / (0.5 * (s[_LAST_ASK] + s[_LAST_BID])))
            s[_MID_VAR] += change * change
            if b >= s[_LAST_BID]:
                s[_OFI] += sb
            if b <= s[_LAST_BID]:
                s[_OFI] -= s[_LAST_BID_SIZE]
            if a <= s[_LAST_ASK]:
                s[_OFI] -= sa
            if a >= s[_LAST_ASK]:
                s[_OFI] += s[_LAST_ASK_SIZE]
        s[_LAST_BID], s[_LAST_BID_SIZE], s[_LAST_ASK], s[_LAST_ASK_SIZE] = b, sb, a, sa


@njit(cache=True)
def _add_books(
    sums: Floats, code: Ints, row: Ints, bp: Floats, bs: Floats, ap: Floats, az: Floats
) -> None:
    for i in range(len(code)):
        s = sums[code[i]]
        bids = asks = 0.0
        for k in range(bp.shape[1]):
            if bp[row[i], k] > 0.0:  # unused levels are NaN
                bids += bp[row[i], k] * bs[row[i], k]
            if ap[row[i], k] > 0.0:
                asks += ap[row[i], k] * az[row[i], k]
        if bids + asks > 0.0:
            s[_BOOKS] += 1.0
            s[_BIMB] += (bids - asks) / (bids + asks)
            s[_DEPTH] += bids + asks


class BarSums:
    """Sums of the bars that are still open, N symbols. Rows of other symbols are passed over."""

    def __init__(self, symbols: Sequence[str], interval_ns: int) -> None:
        self._symbols = pa.array(list(symbols), pa.string())
        self._count = len(symbols)
        self._interval = interval_ns
        self._slots: dict[int, Floats] = {}  # number of the bar since the epoch -> sums
        self._last_quotes = np.zeros((self._count, 2))
        self._standing = np.full((self._count, 2), np.nan)  # mark and rate at the last close
        self._floor = -(2**62)  # bars before this one are finished
        self.late = 0  # events that came after their bar was finished

    def __setstate__(self, state: dict[str, Any]) -> None:
        """State as it was stored, perhaps by a version that kept fewer sums of an open bar."""
        vars(self).update(state)
        self._slots = {number: _widened(sums) for number, sums in self._slots.items()}

    # ---- in --------------------------------------------------------------------------------------

    def add(self, channel: str, table: pa.Table) -> None:
        """Take in a table of `don.model.schema`; channels without sums are passed over."""
        adder = {
            "trades": self._trades,
            "quotes": self._quotes,
            "books": self._books,
            "funding": self._funding,
        }.get(channel)
        if adder is None or table.num_rows == 0:
            return
        code = self.codes(table)
        at_close = 1 if channel == "funding" else 0
        slot = (ints(table, "ts_event") - at_close) // self._interval
        known = code >= 0
        late = known & (slot < self._floor)
        if channel != "funding":
            self.late += int(late.sum())
        known &= ~late
        for number in np.unique(slot[known]).tolist():
            rows = np.flatnonzero(known & (slot == number))
            sums = self._slots.get(number)
            if sums is None:
                sums = self._slots[number] = np.zeros((self._count, _FIELDS))
                sums[:, [_MARK, _RATE]] = np.nan
            adder(sums, code[rows], rows, table)

    def codes(self, table: pa.Table) -> Ints:
        """Index of each row's symbol, -1 where it is not one of ours."""
        found = pc.fill_null(pc.index_in(table["symbol"], value_set=self._symbols), -1)
        return np.asarray(found.to_numpy(), np.int64)

    def _trades(self, sums: Floats, code: Ints, rows: Ints, table: pa.Table) -> None:
        buy = np.asarray(table["buy"].to_numpy())[rows]
        price, size = floats(table, "price")[rows], floats(table, "size")[rows]
        _add_trades(sums, code, price, size, buy)

    def _quotes(self, sums: Floats, code: Ints, rows: Ints, table: pa.Table) -> None:
        names = ("bid", "bid_size", "ask", "ask_size")
        bid, bid_size, ask, ask_size = (floats(table, name)[rows] for name in names)
        _add_quotes(sums, code, bid, bid_size, ask, ask_size)
        self._last_quotes[code, 0], self._last_quotes[code, 1] = bid, ask  # the last row wins

    def _books(self, sums: Floats, code: Ints, rows: Ints, table: pa.Table) -> None:
        names = ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")
        levels = [
            np.asarray(table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False))
            for name in names
        ]
        _add_books(sums, code, rows, *(values.reshape(-1, DEPTH) for values in levels))

    def _funding(self, sums: Floats, code: Ints, rows: Ints, table: pa.Table) -> None:
        for field, name in ((_MARK, "mark"), (_RATE, "rate")):
            values = floats(table, name)[rows]
            seen = np.isfinite(values)
            sums[code[seen], field] = values[seen]  # the last row of a symbol wins

    # ---- out -------------------------------------------------------------------------------------

    def finish(self, close_ns: int) -> Floats:
        """Columns `MICRO`, [N, column], of the bar that closes at `close_ns`; older are dropped."""
        number = close_ns // self._interval - 1
        for old in sorted(slot for slot in self._slots if slot < number):
            self._stand(self._slots.pop(old))
        sums = self._slots.pop(number, None)
        self._floor = max(self._floor, number + 1)
        out = np.full((self._count, len(MICRO)), np.nan)
        if sums is not None:
            self._stand(sums)
            with np.errstate(invalid="ignore", divide="ignore"):
                quotes, books = sums[:, _QUOTES], sums[:, _BOOKS]
                traded = sums[:, _TRADES] > 0
                out[:, 0] = np.where(traded, sums[:, _BUY], np.nan)
                out[:, 1] = np.where(traded, sums[:, _VOLUME] - sums[:, _BUY], np.nan)
                out[:, 2] = np.where(traded, sums[:, _XY], np.nan)
                out[:, 3] = np.where(traded, sums[:, _XX], np.nan)
                for column, field in ((4, _SPREAD), (5, _MICRO), (6, _QIMB)):
                    out[:, column] = sums[:, field] / quotes  # 0 / 0 is NaN: nothing seen
                out[:, 7] = sums[:, _OFI] / (sums[:, _BEST] / quotes)
                out[:, 8] = sums[:, _BIMB] / books
                out[:, 9] = sums[:, _DEPTH] / books
                for column, field in ((12, _TRADES), (14, _VAR), (15, _BIPOWER), (16, _COV)):
                    out[:, column] = np.where(traded, sums[:, field], np.nan)
                quoted = quotes > 0
                out[:, 13] = np.where(quoted, quotes, np.nan)
                out[:, 17] = np.where(quoted, sums[:, _MID_VAR], np.nan)
                out[:, 18] = sums[:, _BEST_DEPTH] / quotes
        out[:, STANDING] = self._standing
        return out

    def stand(self, symbol: int, mark: float, rate: float) -> None:
        """Set the mark price and rate of a symbol, as a restart or a history brings them."""
        for field, value in enumerate((mark, rate)):
            if np.isfinite(value):
                self._standing[symbol, field] = value

    def skip(self, close_ns: int) -> None:
        """Bars up to `close_ns` are known from elsewhere: what still comes of them is late."""
        self._floor = max(self._floor, close_ns // self._interval)
        for old in sorted(slot for slot in self._slots if slot < self._floor):
            self._stand(self._slots.pop(old))

    def _stand(self, sums: Floats) -> None:
        newer = sums[:, [_MARK, _RATE]]
        self._standing = np.where(np.isfinite(newer), newer, self._standing)

    def forming(self) -> list[tuple[int, int, float, float, float, float, float]]:
        """Newest open bar by trades: (symbol, open ns, open, high, low, close, volume)."""
        newest: dict[int, tuple[int, int, float, float, float, float, float]] = {}
        for number in sorted(self._slots):
            sums = self._slots[number]
            for n in np.flatnonzero(sums[:, _TRADES] > 0).tolist():
                prices = sums[n, _OPEN : _VOLUME + 1].tolist()
                newest[n] = (n, number * self._interval, *prices)
        return list(newest.values())

    def closes(self, end_ns: int) -> list[int]:
        """Close times of unfinished bars that have events, up to `end_ns`."""
        times = ((slot + 1) * self._interval for slot in self._slots)
        return sorted(time for time in times if time <= end_ns)

    def trade_bar(self, close_ns: int) -> Floats:
        """[N, 6] open, high, low, close, volume, trades of a bar by its trades; NaN without."""
        sums = self._slots.get(close_ns // self._interval - 1)
        out = np.full((self._count, 6), np.nan)
        if sums is not None:
            seen = sums[:, _TRADES] > 0
            out[seen, :5] = sums[seen, _OPEN : _VOLUME + 1]
            out[seen, 5] = sums[seen, _TRADES]
        return out

    def quotes(self) -> Floats:
        """Last bid and ask of each symbol, [N, 2]; 0 where none was seen."""
        return self._last_quotes.copy()

    def marks(self) -> Floats:
        """Newest mark price of each symbol, [N]; NaN where none was seen."""
        marks = self._standing[:, 0].copy()
        for number in sorted(self._slots):
            newer = self._slots[number][:, _MARK]
            marks = np.where(np.isfinite(newer), newer, marks)
        return marks


def _widened(sums: Floats) -> Floats:
    """Sums with fields that an older version did not keep: unknown for the bar that was open."""
    missing = _FIELDS - sums.shape[1]
    return np.pad(sums, ((0, 0), (0, missing)), constant_values=np.nan) if missing > 0 else sums


def floats(table: pa.Table, name: str) -> Floats:
    """A column as float64; nulls become NaN."""
    return np.asarray(table[name].to_numpy(), np.float64)


def ints(table: pa.Table, name: str) -> Ints:
    """A column of int64 without nulls."""
    return np.asarray(table[name].to_numpy(), np.int64)
