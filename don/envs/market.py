"""The arrays that environments run over: bars, listings, funding, features. Reads tape files.

A market is made of segments, stretches of consecutive bars; an episode stays inside one, and so do
its windows. Bars are labelled by their close: row t holds what is known at `close_ns[t]`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from don.backtest.config import BacktestConfig, Detail
from don.backtest.panel import Market, open_market, rates_told
from don.clock import between, iso
from don.envs.layout import (
    ABSENT,
    BAR,
    CLOSE,
    HIGH,
    LEVERAGE,
    LOT,
    LOW,
    MAKER,
    MAX_LOTS,
    MIN_LOTS,
    MIN_NOTIONAL,
    OPEN,
    PRESENT,
    RATE,
    SPEC,
    STATE,
    TAKER,
    TICK,
    TOLD,
    UNLISTED,
    VOLUME,
    Bools,
    Floats,
    Ints,
    aligned,
)  # fmt: skip
from don.errors import DataError
from don.features.columns import TIME
from don.model.instrument import Instrument

DEFAULT_LEVERAGE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Bars [start, stop) that follow each other."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"segment must be 0 <= start < stop, was {self.start}, {self.stop}")


@dataclass(frozen=True, kw_only=True)
class EnvMarket:
    """T bars of N symbols. Arrays are copies of what they were made of, and cannot be written."""

    symbols: tuple[str, ...]  # canonical
    interval_ns: int
    close_ns: Ints  # [T] when a bar is known
    bars: Floats  # [T, N, BAR], prices in ticks, volume in lots; see `don.envs.layout`
    spec: Floats  # [N, SPEC]
    segments: tuple[Segment, ...]
    tape: Path | None = None  # file that they were read from; no part of the hash

    def __post_init__(self) -> None:
        T, N = len(self.close_ns), len(self.symbols)
        for name, shape in (("bars", (T, N, BAR)), ("spec", (N, SPEC))):
            if getattr(self, name).shape != shape:
                raise DataError(f"{name} must be {shape}, was {getattr(self, name).shape}")
        if not self.segments or self.segments[-1].stop > T:
            raise DataError(f"segments must lie inside the {T} bars, were {self.segments}")
        for name in ("close_ns", "bars", "spec"):
            given = np.asarray(getattr(self, name))
            owned = aligned(given.shape) if name == "bars" else np.empty_like(given, order="C")
            owned[...] = given
            owned.flags.writeable = False
            object.__setattr__(self, name, owned)
        check_bars(self.bars, self.symbols)

    @property
    def listed(self) -> Bools:
        """[T, N] bool."""
        return np.asarray(self.bars[:, :, STATE] != UNLISTED)

    @property
    def recorded(self) -> Bools:
        """[T] bool: some symbol has a bar of its own; features pass over the others, as live."""
        return np.asarray((self.bars[:, :, STATE] == PRESENT).any(axis=1))

    @cached_property
    def hash(self) -> str:
        """Of everything in it."""
        digest = hashlib.sha256(repr((self.symbols, self.interval_ns, self.segments)).encode())
        for values in (self.close_ns, self.bars, self.spec):
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()[:16]

    def columns(self) -> dict[str, Floats]:
        """Columns [T, N] that features read, in quote and base units; NaN where not listed.

        Marks and micro-structure are not among them: bars do not have them.
        """
        found: dict[str, Floats] = {}
        units = {OPEN: TICK, HIGH: TICK, LOW: TICK, CLOSE: TICK, VOLUME: LOT}
        names = {OPEN: "open", HIGH: "high", LOW: "low", CLOSE: "close", VOLUME: "volume"}
        for place, unit in units.items():
            # over a power of ten: the float that the exact price prints as
            scale = np.rint(1.0 / self.spec[:, unit])
            exact = np.abs(scale * self.spec[:, unit] - 1.0) < 1e-9
            values = np.where(
                exact, self.bars[:, :, place] / scale, self.bars[:, :, place] * self.spec[:, unit]
            )
            found[names[place]] = np.where(self.listed, values, np.nan)
        found["rate"] = np.where(self.listed, self.bars[:, :, TOLD], np.nan)
        found[TIME] = np.where(self.listed, self.close_ns[:, None] / 1e9, np.nan)
        return found

    def close(self) -> Floats:
        """[T, N] closes in quote, NaN where not listed."""
        return self.columns()["close"]

    def part(self, start_ns: int | None = None, end_ns: int | None = None) -> "EnvMarket":
        """The bars that close in (start, end]: what a split trains or tests on.

        Raises:
            DataError: if there is none.
        """
        first = 0 if start_ns is None else int(np.searchsorted(self.close_ns, start_ns, "right"))
        last = len(self.close_ns)
        if end_ns is not None:
            last = int(np.searchsorted(self.close_ns, end_ns, "right"))
        segments = tuple(
            Segment(start=max(s.start, first) - first, stop=min(s.stop, last) - first)
            for s in self.segments
            if max(s.start, first) < min(s.stop, last)
        )
        if not segments:
            raise DataError(
                f"no bar closes {between(start_ns, end_ns)}: they close from "
                f"{iso(int(self.close_ns[0]))} to {iso(int(self.close_ns[-1]))}"
            )
        own = slice(first, last)
        return replace(self, close_ns=self.close_ns[own], bars=self.bars[own], segments=segments)


def check_bars(bars: Floats, symbols: Sequence[str]) -> None:
    """Refuse prices and volumes that no bar can have.

    Raises:
        DataError: naming symbol, bar and column.
    """
    listed = bars[:, :, STATE] != UNLISTED
    names = {OPEN: "open", HIGH: "high", LOW: "low", CLOSE: "close", VOLUME: "volume", RATE: "rate"}
    for place, name in names.items():
        values = bars[:, :, place]
        bad = listed & ~np.isfinite(values)
        if place in (OPEN, HIGH, LOW, CLOSE):
            bad |= listed & (values < 1)
        elif place == VOLUME:
            bad |= listed & (values < 0)
        else:
            bad |= listed & (np.abs(values) >= 1)
        _refuse(bad, values, symbols, name)
    told = bars[:, :, TOLD]
    _refuse(listed & ~(np.abs(np.nan_to_num(told)) < 1), told, symbols, "told_rate")
    body = np.stack([bars[:, :, OPEN], bars[:, :, CLOSE]])
    _refuse(listed & (bars[:, :, HIGH] < body.max(axis=0)), bars[:, :, HIGH], symbols, "high")
    _refuse(listed & (bars[:, :, LOW] > body.min(axis=0)), bars[:, :, LOW], symbols, "low")


def _refuse(bad: Bools, values: Floats, symbols: Sequence[str], name: str) -> None:
    if bad.any():
        t, n = (int(x) for x in np.argwhere(bad)[0])
        raise DataError(
            f"bar {t} of {symbols[n]}: {name} must be finite and possible, was {values[t, n]}"
        )


def specs(instruments: Sequence[Instrument], leverage: int = DEFAULT_LEVERAGE) -> Floats:
    """[N, SPEC] of what an exchange lists."""
    out = np.zeros((len(instruments), SPEC))
    for n, i in enumerate(instruments):
        out[n, TICK], out[n, LOT] = float(i.tick_size), float(i.lot_size)
        out[n, MIN_LOTS] = float(i.min_size / i.lot_size)
        out[n, MAX_LOTS] = float(i.max_size / i.lot_size)
        out[n, MIN_NOTIONAL] = float(i.min_notional)
        out[n, LEVERAGE] = min(leverage, i.max_leverage)
        out[n, MAKER], out[n, TAKER] = float(i.maker_fee), float(i.taker_fee)
    return out


def from_market(market: Market, *, leverage: int = DEFAULT_LEVERAGE) -> EnvMarket:
    """The bars of a backtest as an environment's market."""
    panel = market.panel
    S, N = panel.close.shape
    bars = np.zeros((S, N, BAR))
    for place, values in (
        (OPEN, panel.open), (HIGH, panel.high), (LOW, panel.low), (CLOSE, panel.close),
        (VOLUME, panel.volume),
    ):  # fmt: skip
        bars[:, :, place] = values
    slots = np.arange(S)[:, None]
    bars[:, :, STATE] = np.where(market.present, PRESENT, ABSENT)
    bars[:, :, TOLD] = rates_told(market)
    bars[(slots < panel.first) | (slots > panel.last)] = 0.0  # UNLISTED: nothing is known of it
    for slot, payments in market.payments.items():
        for _, n, rate in payments:
            bars[slot, n, RATE] += float(rate)
    return EnvMarket(
        symbols=tuple(i.symbol for i in panel.instruments),
        interval_ns=panel.interval_ns,
        close_ns=market.close_ns,
        bars=bars,
        spec=specs(panel.instruments, leverage),
        segments=(Segment(start=0, stop=S),),
    )


def load_market(
    tape: Path | None,
    symbols: Sequence[str] = (),
    *,
    funding: Path | None = None,
    leverage: int = DEFAULT_LEVERAGE,
) -> EnvMarket:
    """A file of bars (see `don.paper.tape_data`), with its funding; None: Don's sample.

    Raises:
        DataError: if it cannot be read.
    """
    config = BacktestConfig(tape=tape, symbols=tuple(symbols), funding=funding, detail=Detail.BARS)
    return replace(from_market(open_market(config), leverage=leverage), tape=tape)


def from_arrays(
    columns: Mapping[str, Floats],
    symbols: Sequence[str],
    *,
    interval_ns: int,
    start_ns: int = 0,
    tick: float = 0.01,
    lot: float = 0.001,
    maker: float = 0.0002,
    taker: float = 0.0005,
    min_notional: float = 5.0,
    leverage: int = DEFAULT_LEVERAGE,
) -> EnvMarket:
    """A market of made-up bars: open, high, low, close, volume, and rate if there is funding.

    `rate` is what is paid in a bar, `told_rate` what of the next payment is told at its close; left
    out it is the last rate other than 0 that was paid in an earlier bar, unknown without `rate`.

    Args:
        columns: name -> [T, N], in quote and base units; rounded to tick and lot.
        symbols: [N] names.
        interval_ns: length of a bar.
        start_ns: open time of the first bar.
        tick: price step.
        lot: size step, also the least size.
        maker: fee, fraction.
        taker: fee, fraction.
        min_notional: quote.
        leverage: initial margin is 1 / leverage.

    Raises:
        DataError: if a column is missing or a bar is impossible.
    """
    T, N = np.shape(columns["close"]) if "close" in columns else (0, 0)
    bars = np.zeros((T, N, BAR))
    names = {"open": OPEN, "high": HIGH, "low": LOW, "close": CLOSE}
    for name, place in names.items():
        if np.shape(columns.get(name, ())) != (T, N):
            raise DataError(f"column {name!r} must be [T, N] = {(T, N)}, was "
                            f"{np.shape(columns.get(name, ()))}")  # fmt: skip
        bars[:, :, place] = np.maximum(np.rint(np.asarray(columns[name]) / tick), 1)
    if np.shape(columns.get("volume", ())) != (T, N):
        raise DataError(f"column 'volume' must be [T, N] = {(T, N)}")
    bars[:, :, VOLUME] = np.rint(np.asarray(columns["volume"]) / lot)
    bars[:, :, STATE] = PRESENT
    if "rate" in columns:
        bars[:, :, RATE] = columns["rate"]
    paid = _paid_last(bars[:, :, RATE]) if "rate" in columns else np.full((T, N), np.nan)
    bars[:, :, TOLD] = columns.get("told_rate", paid)
    spec = np.tile(np.array([tick, lot, 1.0, 1e12, min_notional, leverage, maker, taker]), (N, 1))
    return EnvMarket(
        symbols=tuple(symbols),
        interval_ns=interval_ns,
        close_ns=start_ns + (np.arange(T, dtype=np.int64) + 1) * interval_ns,
        bars=bars,
        spec=spec,
        segments=(Segment(start=0, stop=max(T, 1)),),
    )


def _paid_last(paid: Floats) -> Floats:
    """[T, N] rate of the last payment in an earlier bar; 0 before the first."""
    at = np.where(paid != 0, np.arange(1, len(paid) + 1)[:, None], 0)  # 0: none yet
    before = np.maximum.accumulate(np.vstack([np.zeros_like(at[:1]), at[:-1]]), axis=0)
    held = np.vstack([np.zeros_like(paid[:1]), paid])
    return np.asarray(np.take_along_axis(held, before, axis=0))
