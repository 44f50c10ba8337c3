"""The figures of a backtest: returns, drawdowns, turnover, exposure, costs, trades. Pure.

Ratios are taken on the equity at each bar's close and annual by 365 days, as in
`don.performance`, where their formulas and sources stand. Money is exact.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from don.backtest import bootstrap
from don.backtest.capacity import Capacity, capacity
from don.backtest.result import BacktestResult
from don.backtest.summary import columns, equity_at_bars
from don.backtest.trips import Attribution, RoundTrip, attribution, round_trips
from don.clock import NS_PER_S
from don.performance import YEAR_NS

Floats = NDArray[np.float64]
DRAWDOWNS = 5  # told at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawdown:
    """A fall from a peak, its lowest point, and when the peak was reached again."""

    depth: float  # positive fraction of the peak
    peak_ns: int
    trough_ns: int
    recovered_ns: int | None  # None: not by the end


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Positions at bar closes as fractions of equity."""

    mean_gross: float
    max_gross: float
    mean_net: float
    in_market: float  # part of the bars with a position


@dataclass(frozen=True, slots=True, kw_only=True)
class TripFigures:
    """Round trips that have ended."""

    count: int
    hit_rate: float  # part with a profit after fees and funding
    profit_factor: float  # profits over losses
    mean_win: float  # quote
    mean_loss: float
    mean_holding_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Where the profit went, quote; `pnl` = realized + unrealized - fees + funding +
    liquidation.
    """

    realized: Decimal
    unrealized: Decimal
    fees: Decimal
    funding: Decimal
    liquidation: Decimal  # what the exchange charged or made up beside fills
    pnl: Decimal
    fee_drag: float  # a year, fraction of mean equity
    funding_drag: float  # likewise; negative was paid


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Everything that the report tells in figures."""

    columns: dict[str, dict[str, float]]  # the policy first, then benchmarks
    intervals: dict[str, tuple[float, float]]  # 95 % by block bootstrap, by name of figure
    block: float  # bars in a block, mean
    drawdowns: tuple[Drawdown, ...]  # deepest first
    turnover: float  # a year: traded notional over mean equity
    exposure: Exposure
    trips: TripFigures
    costs: Costs
    capacity: Capacity
    attribution: tuple[Attribution, ...]
    round_trips: tuple[RoundTrip, ...]
    months: dict[int, Floats]  # year -> [12] return, NaN where the run has no bar


def metrics(result: BacktestResult, *, draws: int = 1_000, seed: int = 0) -> Metrics:
    """All figures of a result.

    Args:
        result: of a run that began without positions.
        draws: of the bootstrap.
        seed: of the bootstrap.
    """
    curve = equity_at_bars(result)
    step = result.interval_ns
    sound = len(curve) > 1 and bool((curve > 0).all())
    r = curve[1:] / curve[:-1] - 1.0 if sound else np.empty(0)
    bounds, block = bootstrap.intervals(r, step, draws=draws, seed=seed)
    trips = round_trips(result)
    years = max(result.end_ns - result.start_ns, 1) / YEAR_NS
    mean = float(curve.mean()) if len(curve) else float("nan")
    parts = attribution(result)
    traded = float(sum((part.traded for part in parts), Decimal(0)))
    books = result.books
    return Metrics(
        columns=columns(result),
        intervals=bounds,
        block=block,
        drawdowns=drawdowns(result.closes_ts, curve)[:DRAWDOWNS],
        turnover=_over(traded, mean) / years,
        exposure=exposure(result, curve),
        trips=trip_figures(trips),
        costs=Costs(
            realized=books.realized,
            unrealized=books.unrealized,
            fees=books.fees,
            funding=books.funding,
            liquidation=books.liquidation,
            pnl=books.pnl,
            fee_drag=_over(float(books.fees), mean) / years,
            funding_drag=_over(float(books.funding), mean) / years,
        ),
        capacity=capacity(result),
        attribution=parts,
        round_trips=trips,
        months=months(result.closes_ts, curve),
    )


def drawdowns(ts: NDArray[np.int64], curve: Floats) -> tuple[Drawdown, ...]:
    """Every fall from a peak to its recovery, or to the end, deepest first.

    Args:
        ts: [bar] times.
        curve: [bar] equity, the first one positive.
    """
    if not len(curve):
        return ()
    peak = np.maximum.accumulate(curve)
    under = curve < peak
    edges = np.flatnonzero(np.diff(np.concatenate([[False], under, [False]]).astype(np.int8)))
    found = []
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        trough = begin + int(np.argmin(curve[begin:end]))
        found.append(
            Drawdown(
                depth=float(1.0 - curve[trough] / peak[trough]),
                peak_ns=int(ts[begin - 1]),
                trough_ns=int(ts[trough]),
                recovered_ns=int(ts[end]) if end < len(curve) else None,
            )
        )
    return tuple(sorted(found, key=lambda one: -one.depth))


def positions(result: BacktestResult) -> Floats:
    """[bar, symbol] base held when each bar had closed, from the fills."""
    place = {symbol: n for n, symbol in enumerate(result.symbols)}
    moved = np.zeros((len(result.closes_ts) + 1, len(place)))
    if result.fills:
        ts = np.array([fill.ts_event for fill in result.fills])
        at = np.searchsorted(result.closes_ts, ts, side="left")
        symbols = np.array([place[fill.symbol] for fill in result.fills])
        signed = [float(fill.size) * fill.side.sign for fill in result.fills]
        np.add.at(moved, (at, symbols), signed)
    held = np.cumsum(moved[:-1], axis=0)
    # sums of floats leave dust where a position was closed
    dust = 1e-12 * np.maximum(np.abs(held).max(axis=0, initial=0.0), 1e-300)
    return np.where(np.abs(held) <= dust, 0.0, held)


def weights(result: BacktestResult, curve: Floats) -> Floats:
    """[bar, symbol] value of each position at the last mark, fraction of equity."""
    held = positions(result)
    marks = _filled(result.marks)
    worth = np.where(held != 0, held * marks, 0.0)
    return np.divide(worth, curve[:, None], out=np.zeros_like(worth), where=curve[:, None] > 0)


def exposure(result: BacktestResult, curve: Floats) -> Exposure:
    """How much was held."""
    if not len(curve):
        return Exposure(mean_gross=0.0, max_gross=0.0, mean_net=0.0, in_market=0.0)
    w = weights(result, curve)
    gross = np.abs(w).sum(axis=1)
    return Exposure(
        mean_gross=float(gross.mean()),
        max_gross=float(gross.max()),
        mean_net=float(w.sum(axis=1).mean()),
        in_market=float((gross > 0).mean()),
    )


def trip_figures(trips: tuple[RoundTrip, ...]) -> TripFigures:
    """Figures of the trips that have ended."""
    ended = [trip for trip in trips if trip.closed_ns is not None]
    pnl = np.array([float(trip.pnl) for trip in ended])
    held = np.array([(trip.closed_ns or 0) - trip.opened_ns for trip in ended])
    won, lost = pnl[pnl > 0], pnl[pnl < 0]
    nan = float("nan")
    return TripFigures(
        count=len(ended),
        hit_rate=len(won) / len(ended) if ended else nan,
        profit_factor=_over(float(won.sum()), float(-lost.sum())),
        mean_win=float(won.mean()) if len(won) else nan,
        mean_loss=float(lost.mean()) if len(lost) else nan,
        mean_holding_s=float(held.mean()) / NS_PER_S if ended else nan,
    )


def months(ts: NDArray[np.int64], curve: Floats) -> dict[int, Floats]:
    """Returns by calendar month, UTC; the first one counts from the first bar.

    A bar that closes at midnight of the first belongs to the month that it ends.
    """
    found: dict[int, Floats] = {}
    if not len(curve):
        return found
    stamps = ((ts - 1) // NS_PER_S).astype("datetime64[s]").astype("datetime64[M]")
    ends = np.append(np.flatnonzero(stamps[1:] != stamps[:-1]), len(stamps) - 1)
    before = curve[0]
    for end in ends.tolist():
        moment = datetime.fromtimestamp((int(ts[end]) - 1) // NS_PER_S, UTC)
        row = found.setdefault(moment.year, np.full(12, np.nan))
        row[moment.month - 1] = curve[end] / before - 1.0 if before > 0 else np.nan
        before = curve[end]
    return found


def _filled(prices: Floats) -> Floats:
    """Prices with unknown ones at the last known."""
    rows = np.arange(len(prices))[:, None]
    known = np.maximum.accumulate(np.where(np.isfinite(prices), rows, -1), axis=0)
    return np.asarray(np.take_along_axis(prices, np.maximum(known, 0), axis=0))


def _over(over: float, under: float) -> float:
    return over / under if under > 0 else float("nan")
