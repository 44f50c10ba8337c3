"""Recorded bars as arrays for a run over closed bars: prices, features, funding. Pure once loaded.

A symbol is there from its first recorded bar to its last; before and after it has no price, so it
is never traded before it was listed. A bar that only some symbols lack is flat at the last close
and calls them stale, as live. A bar that all lack is a hole: the desk is not shown it, as live.
"""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from don.backtest.config import BacktestConfig
from don.backtest.result import Recorded
from don.clock import between, iso
from don.clock import interval_ns as parse_interval
from don.errors import DataError
from don.features.columns import COLUMNS, TIME, Floats, Ints
from don.features.sets import FeatureSet
from don.market.bars import MICRO
from don.paper.funding import DEFAULT_RATE, FundingSchedule, funding_beside, load_funding
from don.paper.sample.make_sample import SAMPLE
from don.paper.tape_data import BarPanel, load_bars


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """S bar slots, N symbols."""

    panel: BarPanel
    funding: tuple[FundingSchedule, ...]
    close_ns: NDArray[np.int64]  # [S] close times
    close: Floats  # [S, N] last known price, NaN where the symbol is not listed
    high: Floats
    low: Floats
    present: NDArray[np.bool_]  # [S, N] a bar of its own
    lots: Floats  # [N] lots in a unit of the base
    payments: dict[int, list[tuple[int, int, Decimal]]]  # slot -> (time, symbol, rate)

    @property
    def shown(self) -> NDArray[np.bool_]:
        """[S] some symbol has a bar of its own; a desk sees no others."""
        return np.asarray(self.present.any(axis=1))

    def volume(self, slot: int) -> Floats:
        """[N] traded in a slot, base; zero where the symbol has no bar of its own."""
        return np.where(self.present[slot], self.panel.volume[slot] / self.lots, 0.0)


def open_market(config: BacktestConfig) -> Market:
    """Load a file of bars and its funding.

    Raises:
        DataError: if it cannot be read, or is no single file of bars.
    """
    files = config.tapes or (SAMPLE,)
    if len(files) != 1 or files[0].suffix == ".gz":
        raise DataError(f"detail bars needs one Parquet file of bars, was {list(map(str, files))}")
    try:
        stated = parse_interval(config.interval) if config.interval is not None else None
    except ValueError as error:
        raise DataError(str(error)) from error
    panel = load_bars(files[0], config.symbols or None, stated)
    names = [i.exchange_symbol for i in panel.instruments]
    schedules = load_funding(config.funding or funding_beside(files[0]), names)
    S = panel.slots
    slots = np.arange(S)[:, None]
    listed = (slots >= panel.first) & (slots <= panel.last)
    # ticks over a power of ten is rounded once: the float that the exact price prints as
    scale = np.array([float(1 / i.tick_size) for i in panel.instruments])
    prices = [
        np.where(listed, side / scale, np.nan) for side in (panel.close, panel.high, panel.low)
    ]
    close_ns = panel.origin_ns + (np.arange(S, dtype=np.int64) + 1) * panel.interval_ns
    return Market(
        panel=panel,
        funding=schedules,
        close_ns=close_ns,
        close=prices[0],
        high=prices[1],
        low=prices[2],
        present=panel.present & listed,
        lots=np.array([float(1 / i.lot_size) for i in panel.instruments]),
        payments=_payments(panel, schedules),
    )


def _payments(
    panel: BarPanel, schedules: tuple[FundingSchedule, ...]
) -> dict[int, list[tuple[int, int, Decimal]]]:
    found: dict[int, list[tuple[int, int, Decimal]]] = {}
    for n, schedule in enumerate(schedules):
        begin = panel.open_ns(int(panel.first[n]))
        end = panel.open_ns(int(panel.last[n]) + 1)
        for ts, rate in schedule.between(begin, end):
            slot = (ts - panel.origin_ns - 1) // panel.interval_ns
            found.setdefault(slot, []).append((ts, n, rate))
    return found


def features_of(market: Market, features: FeatureSet) -> Floats:
    """[S, N, feature] values of the whole history, those that the stream would give bar by bar.

    A slot in which no symbol has a bar is passed over, as live: values stand until the next one.
    """
    panel = market.panel
    S, N = panel.close.shape
    fed = np.flatnonzero(market.shown)
    found = np.full((len(fed), N, len(features.names)), np.nan)
    wanted = {name for _, feature in features.features for name in feature.inputs}
    for n in range(N):
        first, stop = np.searchsorted(fed, [panel.first[n], panel.last[n] + 1]).tolist()
        columns = _columns(market, n, fed[first:stop], wanted)
        for place, feature in features.features:
            found[first:stop, n, place] = feature.batch(columns)
    for place, of, cross in features.cross:
        found[:, :, place] = cross.across(found[:, :, of])
    at = np.searchsorted(fed, np.arange(S), side="right") - 1  # the last slot with bars
    return np.where(np.isfinite(market.close)[:, :, None], found[at], np.nan)


def _columns(market: Market, n: int, slots: Ints, wanted: set[str]) -> dict[str, Floats]:
    """What features read of a symbol's slots. There are no marks: none are recorded with bars."""
    panel = market.panel
    instrument = panel.instruments[n]
    tick, lot = float(1 / instrument.tick_size), float(1 / instrument.lot_size)
    found = {name: np.full(len(slots), np.nan) for name in MICRO if name in wanted}
    found |= {
        name: np.ascontiguousarray(getattr(panel, name)[slots, n] / tick)
        for name in ("open", "high", "low", "close")
    }
    found["volume"] = np.ascontiguousarray(panel.volume[slots, n] / lot)
    found[TIME] = market.close_ns[slots] / 1e9
    if "rate" in wanted:
        found["rate"] = _told(market.funding[n], market.close_ns[slots])
    return {name: found[name] for name in COLUMNS if name in found}


def rates_told(market: Market) -> Floats:
    """[S, N] what of the next funding payment is told at each close: the rate paid last before."""
    return np.stack([_told(each, market.close_ns) for each in market.funding], axis=1)


def _told(schedule: FundingSchedule, ts: Ints) -> Floats:
    rates = np.array([*map(float, schedule.rates), float(DEFAULT_RATE)])  # -1: the default
    told: Floats = rates[schedule.known_at(ts)]
    return told


def recorded(market: Market, begin: int, stop: int) -> tuple[Recorded, ...]:
    """What is recorded of each symbol between two slots; a symbol without a bar is left out."""
    panel = market.panel
    found = []
    for n, instrument in enumerate(panel.instruments):
        own = np.flatnonzero(market.present[begin:stop, n]) + begin
        if not len(own):
            continue
        first, last = int(own[0]), int(own[-1])
        lots = panel.volume[own, n].astype(float)
        worth = lots * panel.close[own, n] * float(instrument.tick_size * instrument.lot_size)
        found.append(
            Recorded(
                symbol=instrument.symbol,
                first_ns=panel.open_ns(first),
                last_ns=panel.open_ns(last + 1),
                bars=len(own),
                missing=last + 1 - first - len(own),
                quote_volume=float(worth.mean()),
            )
        )
    return tuple(found)


def span(
    config: BacktestConfig, market: Market, start: int | None, end: int | None
) -> tuple[int, int]:
    """First slot that is decided on, and the slot after the last.

    Raises:
        DataError: if there is no bar between the two.
    """
    panel = market.panel
    first = int(panel.first.min())
    S = panel.slots
    begin = first + min(config.history_bars, (S - first) // 2)
    if start is not None:
        begin = -(-(start - panel.origin_ns) // panel.interval_ns)
    stop = S - 1  # what is decided on the last bar has none left to be carried out in
    if end is not None:
        stop = min(stop, (end - panel.origin_ns) // panel.interval_ns)
    if not first < begin < stop:
        low, high = iso(panel.open_ns(first + 1)), iso(panel.open_ns(S))
        raise DataError(
            f"start and end must leave bars between {low} and {high}, "
            f"there was none {between(start, end)}"
        )
    return begin, stop
