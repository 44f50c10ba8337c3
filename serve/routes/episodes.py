"""Recorded episodes of environments: which there are, and what a chart shows of one."""

import math
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Response
from pydantic import Field

from don.model.order import Side
from serve.episodes import EpisodeTold
from serve.ports import Reader
from serve.problems import ApiError
from serve.schemas import Estimate, Time, View

if TYPE_CHECKING:
    from don.envs.layout import Floats
    from don.envs.shown import Account, Shown

Curve = tuple[float | None, ...]


class EpisodeRow(View):
    """A file with a recorded episode."""

    name: str = Field(examples=["trend.parquet"])
    ts_written: Time
    problem: str  # why it cannot be shown; empty if it can be read
    symbols: tuple[str, ...]  # none in records of older versions
    ts_start: Time | None  # null in records of older versions
    steps: int | None
    capital: float | None  # of each account at the start
    final_equity: tuple[Estimate, ...]  # by account


class Episodes(View):
    """Newest first."""

    episodes: tuple[EpisodeRow, ...]


class EpisodeCandles(View):
    """Prices in quote, volume in base; null where the symbol was not listed."""

    symbol: str
    tick: float
    open: Curve
    high: Curve
    low: Curve
    close: Curve
    volume: Curve


class EpisodeTrade(View):
    """What a position changed by in one step, or to one side in several that are near."""

    step: int  # the last
    candle: int  # of the last
    ts_open: Time  # of the last bar
    side: Side
    size: float  # base
    price: Estimate  # mean, with fees; null where it cannot be told apart from other costs
    liquidated: bool
    count: int  # steps: 1 unless `merged`


class EpisodeHeld(View):
    """Position in a symbol by candle, signed base; null before the start."""

    symbol: str
    size: Curve
    trades: tuple[EpisodeTrade, ...]
    merged: int  # candles of which the buys are one trade and the sells another; 0: none are


class EpisodeAccount(View):
    """An account by candle."""

    name: str
    equity: Curve
    held: tuple[EpisodeHeld, ...]


class EpisodeShown(View):
    """An episode, run again. If `same` is false its course differs from what was recorded."""

    episode: EpisodeRow
    same: bool
    equal: int  # steps
    first_difference: int | None
    what: str
    interval_s: float
    merged: int  # bars a candle
    ts_start: Time
    ts_open: tuple[Time, ...]
    start: int  # candle
    candles: tuple[EpisodeCandles, ...]
    accounts: tuple[EpisodeAccount, ...]
    accounts_of: int  # how many there were; the first are shown
    rewards: dict[str, float]  # agent -> sum


def build(reader: Reader) -> APIRouter:
    """The router."""
    router = APIRouter(prefix="/v1/episodes", tags=["training"])

    @router.get("")
    async def listed() -> Episodes:
        """Recorded episodes in the state folder's `episodes/`, newest first."""
        return Episodes(episodes=tuple(_row(told) for told in await reader.episodes()))

    @router.get("/{name}", response_model=EpisodeShown)
    async def one(
        name: Annotated[str, Path(max_length=255, examples=["trend.parquet"])],
    ) -> Response:
        """An episode run again: candles, trades, positions, equity and rewards.

        Both are bounded: of a long one several bars are a candle, of many trades those of several
        candles one.
        """
        found = await reader.episode(name, _written)
        if found is None:
            raise ApiError(404, "not_found", "path.name", f"was {name!r}: see /v1/episodes")
        return Response(found, media_type="application/json")

    return router


def _written(told: EpisodeTold, found: "Shown") -> bytes:
    """The answer; for a thread, as it takes a while."""
    return _shown(told, found).model_dump_json().encode()


def _row(told: EpisodeTold) -> EpisodeRow:
    return EpisodeRow(
        name=told.name,
        ts_written=told.written_ns,
        problem=told.problem,
        symbols=told.symbols,
        ts_start=told.start_ns,
        steps=told.steps,
        capital=told.capital,
        final_equity=told.final_equity,
    )


def _shown(told: EpisodeTold, found: "Shown") -> EpisodeShown:
    return EpisodeShown(
        episode=_row(told),
        same=found.replayed.same,
        equal=found.replayed.equal,
        first_difference=found.replayed.first_difference,
        what=found.replayed.what,
        interval_s=found.interval_ns / 1e9,
        merged=found.merged,
        ts_start=found.start_ns,
        ts_open=tuple(int(ns) for ns in found.ts_open),
        start=found.start,
        candles=tuple(
            EpisodeCandles(
                symbol=each.symbol,
                tick=each.tick,
                open=_curve(each.open),
                high=_curve(each.high),
                low=_curve(each.low),
                close=_curve(each.close),
                volume=_curve(each.volume),
            )
            for each in found.candles
        ),
        accounts=tuple(_account(each) for each in found.accounts),
        accounts_of=found.accounts_of,
        rewards=found.rewards,
    )


def _account(told: "Account") -> EpisodeAccount:
    return EpisodeAccount(
        name=told.name,
        equity=_curve(told.equity),
        held=tuple(
            EpisodeHeld(
                symbol=each.symbol,
                size=_curve(each.size),
                trades=tuple(
                    EpisodeTrade(
                        step=trade.step,
                        candle=trade.candle,
                        ts_open=trade.ts_open,
                        side=Side.BUY if trade.lots > 0 else Side.SELL,
                        size=trade.size,
                        price=trade.price,
                        liquidated=trade.liquidated,
                        count=trade.count,
                    )
                    for trade in each.trades
                ),
                merged=each.merged,
            )
            for each in told.held
        ),
    )


def _curve(values: "Floats") -> Curve:
    return tuple(float(f"{x:.12g}") if math.isfinite(x) else None for x in values.tolist())
