"""When a replayed market pays funding, and at which rate. Reads one Parquet file; otherwise pure.

A funding file has columns `symbol, timestamp, funding_rate`; its timestamps carry some
milliseconds of jitter and are rounded to the minute. Where there is no record, the rate is what
Binance's formula gives for a premium of zero: the interest of 0.01 % per 8 hours, paid at 00:00,
08:00 and 16:00 UTC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from don.clock import NS_PER_S
from don.errors import DataError
from don.paper.tape_data import read_table, rows_by_symbol, times_ns

DEFAULT_RATE = Decimal("0.0001")
DEFAULT_PERIOD_NS = 8 * 3600 * NS_PER_S
_ROUND_NS = 60 * NS_PER_S
_COLUMNS = ("symbol", "timestamp", "funding_rate")
_RATE = Decimal("0.00000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingSchedule:
    """Payments of one symbol: recorded ones, and before and after them the default."""

    times: NDArray[np.int64]  # ns, rising
    rates: tuple[Decimal, ...]

    def next_after(self, ts: int) -> tuple[int, Decimal]:
        """Time and rate of the first payment later than `ts`."""
        default = (ts // DEFAULT_PERIOD_NS + 1) * DEFAULT_PERIOD_NS
        if not len(self.times) or ts >= self.times[-1]:
            return default, DEFAULT_RATE
        at = int(self.times.searchsorted(ts, side="right"))
        if at == 0 and default < self.times[0]:
            return default, DEFAULT_RATE
        return int(self.times[at]), self.rates[at]

    def known_at(self, ts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of the last payment before each time; -1 where it was a default one."""
        if not len(self.times):
            return np.full(len(ts), -1, np.int64)
        at = np.searchsorted(self.times, ts, side="left") - 1
        default = (ts - 1) // DEFAULT_PERIOD_NS * DEFAULT_PERIOD_NS  # the last one, if paid
        at[default > self.times[-1]] = -1
        return at.astype(np.int64)

    def known(self, ts: int) -> Decimal:
        """Rate of the last payment before `ts`: what of the next one can be told without looking
        ahead. Real exchanges tell a running estimate that comes to the rate at its payment.
        """
        at = int(self.times.searchsorted(ts)) - 1
        later = (ts - 1) // DEFAULT_PERIOD_NS * DEFAULT_PERIOD_NS
        return DEFAULT_RATE if at < 0 or later > self.times[-1] else self.rates[at]

    def between(self, start: int, end: int) -> list[tuple[int, Decimal]]:
        """Payments later than `start`, up to and at `end`."""
        found: list[tuple[int, Decimal]] = []
        moment, rate = self.next_after(start)
        while moment <= end:
            found.append((moment, rate))
            if len(self.times) and self.times[0] <= moment < self.times[-1]:  # the recorded ones
                first, stop = self.times.searchsorted([moment, end], side="right").tolist()
                found += zip(self.times[first:stop].tolist(), self.rates[first:stop], strict=True)
                if stop < len(self.times):
                    break
                moment = found[-1][0]
            moment, rate = self.next_after(moment)
        return found


def load_funding(path: Path | None, symbols: Sequence[str]) -> tuple[FundingSchedule, ...]:
    """A schedule for each exchange symbol; without a file, or for symbols not in it, the default.

    Raises:
        DataError: if the file is missing or its content is not as expected.
    """
    default = FundingSchedule(times=np.empty(0, np.int64), rates=())
    if path is None:
        return tuple(default for _ in symbols)
    table = read_table(path, _COLUMNS, "funding file")
    rows = rows_by_symbol(table, path, "funding file")
    stamps = (times_ns(table) + _ROUND_NS // 2) // _ROUND_NS * _ROUND_NS
    rates = np.asarray(table["funding_rate"].to_numpy(), np.float64)
    found: list[FundingSchedule] = []
    for symbol in symbols:
        if symbol not in rows:
            found.append(default)
            continue
        order = rows[symbol][np.argsort(stamps[rows[symbol]], kind="stable")]
        if np.any(np.diff(stamps[order]) <= 0) or not np.all(np.abs(rates[order]) < 1):
            raise DataError(
                f"funding file {path}, symbol {symbol}: expected one payment a minute at most, "
                "each rate a fraction between -1 and 1"
            )
        exact = tuple(Decimal(repr(float(rate))).quantize(_RATE) for rate in rates[order])
        found.append(FundingSchedule(times=stamps[order], rates=exact))
    return tuple(found)


def funding_beside(tape: Path) -> Path | None:
    """The funding file that belongs to a tape file of bars by its name, if there is one.

    `binance_usdm_ohlcv_1m_2025spring.parquet` goes with `binance_usdm_funding_2025spring.parquet`,
    or else with `binance_usdm_funding.parquet`.
    """
    market, marker, rest = tape.stem.partition("_ohlcv_")
    if not marker:
        return None
    _, _, period = rest.partition("_")
    for name in (f"{market}_funding_{period}.parquet", f"{market}_funding.parquet"):
        if (tape.parent / name).is_file():
            return tape.parent / name
    return None
