"""Recorded bars from Parquet as a panel of integer ticks and lots. Reads files; no clock, no
randomness.

A tape file has one row a bar: `symbol, timestamp (open time, UTC), open, high, low, close,
volume`, prices in the quote currency and volume in base units. Instruments are derived from the
data: the tick from the decimals of the prices, the lot from the decimals of the volumes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from don.errors import DataError
from don.model.hints import meant_perpetual, meant_symbol
from don.model.instrument import Instrument, perpetual_symbol, split_symbol

EXCHANGE = "BINANCE_FUTURES"
QUOTE = "USDT"
NS_PER_MS = 1_000_000
NS_PER_S = 1_000 * NS_PER_MS
MIN_NOTIONAL = Decimal(5)
MAX_LEVERAGE = 20
MAKER_FEE = Decimal("0.0002")
TAKER_FEE = Decimal("0.0005")
PRICES = ("open", "high", "low", "close")
BAR_COLUMNS = ("symbol", "timestamp", *PRICES, "volume")
_MAX_DECIMALS = 8
_TICK_SHARE = 0.8  # some venues print a few off-tick prices: the tick is what most prices keep to
_LOT_SHARE = 0.99
_MAX_QUOTE = 2.0**62  # ticks * lots of a bar must fit an int64
_LOT_DECIMALS = 5  # volumes with more decimals are not sizes but sums of a venue without a lot size

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class BarPanel:
    """Bars of several symbols on one grid of slots; S slots, N symbols.

    Where a symbol has no recorded bar (`present` is false) the bar is flat at the last close with
    no volume, as an exchange publishes it. Before `first[n]` the values of symbol n mean nothing.
    """

    source: str  # file name, for messages
    instruments: tuple[Instrument, ...]
    interval_ns: int
    origin_ns: int  # open time of slot 0
    open: Ints  # [S, N] ticks
    high: Ints
    low: Ints
    close: Ints
    volume: Ints  # [S, N] lots
    present: NDArray[np.bool_]  # [S, N]
    first: Ints  # [N] slot of the first recorded bar
    last: Ints  # [N] slot of the last recorded bar

    @property
    def slots(self) -> int:
        """Number of bar slots, S."""
        return int(self.open.shape[0])

    def open_ns(self, slot: int) -> int:
        """Open time of a slot."""
        return self.origin_ns + slot * self.interval_ns


def exchange_symbol(name: str) -> str:
    """The paper exchange's name (`BTCUSDT`) of `BTCUSD`, `BTCUSDT` or `BTC-USDT-PERP`.

    Raises:
        DataError: if the name is none of these.
    """
    text = name.strip().upper()
    if text.endswith("-PERP"):
        try:
            base, quote = split_symbol(text)
        except ValueError as error:
            raise DataError(str(error)) from error
        text = base + quote
    base = text.removesuffix("T").removesuffix("USD")
    if not base.isalnum() or base == text.removesuffix("T") or not base.isascii():
        raise DataError(
            f"symbol must be like BTC-USDT-PERP, BTCUSDT or BTCUSD, was {name!r}"
            f"{meant_perpetual(name)}"
        )
    return f"{base}{QUOTE}"


def make_instrument(symbol: str, tick_size: Decimal, lot_size: Decimal) -> Instrument:
    """An instrument of the paper exchange; `symbol` is the exchange's name."""
    base = symbol.removesuffix(QUOTE)
    return Instrument(
        symbol=perpetual_symbol(base, QUOTE),
        exchange=EXCHANGE,
        exchange_symbol=symbol,
        base=base,
        quote=QUOTE,
        tick_size=tick_size,
        lot_size=lot_size,
        min_size=lot_size,
        max_size=lot_size * 10**12,
        min_notional=MIN_NOTIONAL,
        max_leverage=MAX_LEVERAGE,
        maker_fee=MAKER_FEE,
        taker_fee=TAKER_FEE,
    )


def read_table(path: Path, columns: Sequence[str], what: str) -> pa.Table:
    """A Parquet file's columns, checked for presence, type and nulls.

    Raises:
        DataError: naming the file, the column and what is expected.
    """
    if not path.is_file():
        raise DataError(f"{what} {path} does not exist or is not a file; expected a Parquet file")
    try:
        schema = pq.read_schema(path)
        absent = [name for name in columns if name not in schema.names]
        if absent:
            raise DataError(
                f"{what} {path} lacks column {absent[0]!r}; expected columns {', '.join(columns)}, "
                f"found {', '.join(schema.names)}"
            )
        table = pq.read_table(path, columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{what} {path} is not a readable Parquet file: {error}") from error
    for name in columns:
        kind = table.schema.field(name).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if name == "symbol":
            fits, expected = pa.types.is_string(kind) or pa.types.is_large_string(kind), "text"
        elif name == "timestamp":
            fits, expected = pa.types.is_timestamp(kind), "timestamp (UTC)"
        elif name.startswith("is_"):
            fits, expected = pa.types.is_boolean(kind), "true or false"
        else:
            fits = pa.types.is_floating(kind) or pa.types.is_integer(kind)
            expected = "a number"
        if not fits:
            raise DataError(f"{what} {path}, column {name!r}: expected {expected}, was {kind}")
        if table[name].null_count:
            raise DataError(f"{what} {path}, column {name!r}: {table[name].null_count} nulls")
    if table.num_rows == 0:
        raise DataError(f"{what} {path} has no rows")
    return table


def times_ns(table: pa.Table) -> Ints:
    """Column `timestamp` as ns since the epoch; a time without a zone is taken as UTC."""
    return np.asarray(
        table["timestamp"].cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_numpy(), np.int64
    )


def rows_by_symbol(table: pa.Table, path: Path, what: str) -> dict[str, Ints]:
    """Row numbers of each symbol, in the file's order, keyed by the exchange's name."""
    encoded = table["symbol"].combine_chunks()
    if not pa.types.is_dictionary(encoded.type):
        encoded = encoded.dictionary_encode()
    codes = np.asarray(encoded.indices.to_numpy(zero_copy_only=False))
    found: dict[str, Ints] = {}
    for code, name in enumerate(encoded.dictionary.to_pylist()):
        rows = np.flatnonzero(codes == code)
        if not len(rows):
            continue
        symbol = exchange_symbol(name)
        if symbol in found:
            raise DataError(
                f"{what} {path}, column 'symbol': two names mean {symbol}, one {name!r}"
            )
        found[symbol] = rows
    return found


def choose(path: Path, wanted: Sequence[str] | None, available: Sequence[str]) -> tuple[str, ...]:
    """The exchange symbols to load: those wanted, in their order, or all.

    Raises:
        DataError: if one is not in the file or named twice.
    """
    if wanted is None:
        return tuple(sorted(available))
    names = tuple(exchange_symbol(name) for name in wanted)
    if not names or len(set(names)) != len(names):
        raise DataError(f"symbols must be one or more different names, were {list(wanted)}")
    for name, given in zip(names, wanted, strict=True):
        if name not in available:
            listed = [perpetual_symbol(one.removesuffix(QUOTE), QUOTE) for one in available]
            hint = meant_symbol(given, listed)
            raise DataError(
                f"tape {path} has no symbol {given!r}{hint or ';'} available: "
                f"{', '.join(sorted(available))}"
            )
    return names


def decimals(values: Floats, share: float, most: int = _MAX_DECIMALS) -> int | None:
    """Fewest decimals with which at least a share of the values are written exactly, or None."""
    for places in range(most + 1):
        scale = 10.0**places
        if np.mean(np.rint(values * scale) / scale == values) >= share:
            return places
    return None


def step(places: int) -> Decimal:
    """The smallest number with so many decimals."""
    return Decimal(1).scaleb(-places)


def _lot_places(volume: Floats, close: Floats) -> int:
    """Decimals of the lot: those of the volumes, or so that a lot is worth at most one quote."""
    traded = volume[volume > 0]
    places = decimals(traded, _LOT_SHARE, _LOT_DECIMALS) if len(traded) else None
    if places is not None:
        return places
    return int(np.clip(np.ceil(np.log10(np.median(close))), 0, _MAX_DECIMALS))


def _checked(path: Path, table: pa.Table) -> dict[str, Floats]:
    columns = {name: np.asarray(table[name].to_numpy(), np.float64) for name in (*PRICES, "volume")}
    for name, values in columns.items():
        low = 0.0 if name == "volume" else np.nextafter(0.0, 1.0)
        bad = ~(np.isfinite(values) & (values >= low))
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(
                f"tape {path}, column {name!r}, row {row}: expected a finite number "
                f"{'>= 0' if name == 'volume' else '> 0'}, was {values[row]}"
            )
    for name, bad in (
        ("high", columns["high"] < np.maximum(columns["open"], columns["close"])),
        ("low", columns["low"] > np.minimum(columns["open"], columns["close"])),
    ):
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(
                f"tape {path}, column {name!r}, row {row}: {columns[name][row]} is inside open "
                f"{columns['open'][row]} and close {columns['close'][row]}"
            )
    return columns


def _interval(path: Path, times: Sequence[Ints], stated: int | None) -> int:
    steps = np.concatenate([np.diff(np.sort(each)) for each in times])
    if len(steps) == 0:
        if stated is None:
            raise DataError(f"tape {path} has one bar a symbol: its interval must be given")
        return stated
    if steps.min() == 0:
        raise DataError(f"tape {path}, column 'timestamp': a symbol has the same time twice")
    found = int(np.gcd.reduce(steps))
    if found % NS_PER_MS or found != int(steps.min()):
        raise DataError(
            f"tape {path}, column 'timestamp': steps are no multiples of one interval "
            f"(smallest {steps.min() / NS_PER_S:g} s, common divisor {found / NS_PER_S:g} s)"
        )
    return found


def required_lots(o: Ints, h: Ints, low: Ints, c: Ints) -> Ints:
    """Fewest trades that touch open, high, low and close in an order that the bridge can take."""
    rises = (c >= o).astype(np.int64)
    first = np.where(rises == 1, low, h)  # an up bar visits its low first, a down bar its high
    second = np.where(rises == 1, h, low)
    return 1 + (first != o) + (second != first) + (c != second)


def load_bars(path: Path, symbols: Sequence[str] | None, interval_ns: int | None) -> BarPanel:
    """Read a tape file into a panel.

    Args:
        path: Parquet file of bars.
        symbols: names to load, in any of the accepted spellings; None for all.
        interval_ns: length of a bar if the file cannot tell; otherwise it must agree.

    Raises:
        DataError: if the file or a symbol is missing, or the content is not as expected.
    """
    table = read_table(path, BAR_COLUMNS, "tape")
    rows = rows_by_symbol(table, path, "tape")
    names = choose(path, symbols, list(rows))
    columns, times = _checked(path, table), times_ns(table)
    stamps = [times[rows[name]] for name in names]
    interval = _interval(path, stamps, interval_ns)
    if interval_ns is not None and interval_ns != interval:
        raise DataError(
            f"interval must be that of the bars in {path} ({interval_name(interval)}), was "
            f"{interval_name(interval_ns)!r}"
        )
    origin = min(int(each.min()) for each in stamps)
    if origin % interval or any(np.any((each - origin) % interval) for each in stamps):
        raise DataError(
            f"tape {path}, column 'timestamp': open times are not on the grid of "
            f"{interval / NS_PER_S:g} s"
        )
    shape = (1 + (max(int(each.max()) for each in stamps) - origin) // interval, len(names))
    grid = {name: np.zeros(shape, np.int64) for name in (*PRICES, "volume")}
    present = np.zeros(shape, np.bool_)
    instruments: list[Instrument] = []
    for n, (name, stamp) in enumerate(zip(names, stamps, strict=True)):
        own = {key: values[rows[name]] for key, values in columns.items()}
        tick = decimals(np.concatenate([own[key] for key in PRICES]), _TICK_SHARE)
        if tick is None:
            tick = _MAX_DECIMALS
        lot = _lot_places(own["volume"], own["close"])
        largest = float(np.max(own["high"] * own["volume"])) * 10.0**tick
        while lot > 0 and largest * 10.0**lot > _MAX_QUOTE:
            lot -= 1
        instruments.append(make_instrument(name, step(tick), step(lot)))
        slot = (stamp - origin) // interval
        present[slot, n] = True
        for key in PRICES:
            grid[key][slot, n] = np.maximum(np.rint(own[key] * 10.0**tick), 1)
        grid["volume"][slot, n] = np.rint(own["volume"] * 10.0**lot)
    return _panel(path.name, instruments, interval, origin, grid, present)


def _panel(
    source: str,
    instruments: Sequence[Instrument],
    interval: int,
    origin: int,
    grid: dict[str, Ints],
    present: NDArray[np.bool_],
) -> BarPanel:
    """Fill holes with flat bars, and give each bar that moved the lots its trades need."""
    o, h, low, c, v = (grid[key] for key in (*PRICES, "volume"))
    moved = present & ((v > 0) | (h > low))
    v[:] = np.where(moved, np.maximum(v, required_lots(o, h, low, c)), v)
    rows = np.arange(len(present))[:, None]
    known = np.maximum.accumulate(np.where(present, rows, -1), axis=0)
    last_close = np.take_along_axis(c, np.maximum(known, 0), axis=0)
    for values in (o, h, low, c):
        values[:] = np.where(present, values, last_close)
    return BarPanel(
        source=source,
        instruments=tuple(instruments),
        interval_ns=interval,
        origin_ns=origin,
        open=o,
        high=h,
        low=low,
        close=c,
        volume=v,
        present=present,
        first=np.argmax(present, axis=0).astype(np.int64),
        last=(len(present) - 1 - np.argmax(present[::-1], axis=0)).astype(np.int64),
    )


def interval_name(interval_ns: int) -> str:
    """`30m` of 30 minutes in ns: in the largest unit that divides it."""
    seconds, rest = divmod(interval_ns, NS_PER_S)
    if rest or seconds <= 0:
        raise DataError(f"bar interval must be whole seconds, was {interval_ns / NS_PER_S:g} s")
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
