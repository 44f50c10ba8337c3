"""What a chart shows of a recorded episode: candles, trades, positions, equity, rewards. Pure.

The episode is run again for it: a record keeps what was done, not what came of it by symbol.
"""

from dataclasses import dataclass

import numpy as np

from don.envs.config import Form
from don.envs.core import BatchEnv
from don.envs.layout import (
    CLOSE,
    FUNDING_X,
    GAIN,
    HIGH,
    LIQUIDATED,
    LOT,
    LOTS,
    LOW,
    OPEN,
    RATE,
    TICK,
    UNLISTED,
    VOLUME,
    Floats,
    Ints,
)  # fmt: skip
from don.envs.layout import STATE as BAR_STATE
from don.envs.market import EnvMarket
from don.envs.record import Episode, Replayed, replay
from don.errors import DataError

MOST_BARS = 50_000  # of an episode that is run again to be shown
MOST_CANDLES = 5_000  # of a symbol
MOST_POINTS = 20_000  # of all symbols
MOST_ACCOUNTS = 32  # that are shown; the others run, too
BEFORE_BARS = 50  # shown ahead of its start


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """What an account's position in a symbol changed by in one step."""

    step: int
    candle: int
    ts_open: int  # ns, of the bar (with several bars a step: of the last of them)
    lots: float  # signed
    size: float  # base, above zero
    price: float | None  # mean, with fees; None where it cannot be told apart from other costs
    liquidated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An account's position in a symbol, signed base; [C], NaN before the start."""

    symbol: str
    size: Floats
    trades: tuple[Trade, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account over the episode."""

    name: str
    equity: Floats  # [C], NaN before the start
    held: tuple[Held, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candles:
    """[C] prices in quote and volume in base; NaN where not listed."""

    symbol: str
    tick: float
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An episode as a chart needs it, C candles."""

    replayed: Replayed
    interval_ns: int  # of a bar
    merged: int  # bars a candle: 1 if nothing was thinned
    ts_open: Ints  # [C] ns
    start_ns: int  # the close on which was decided first
    start: int  # candle of that bar
    candles: tuple[Candles, ...]
    accounts: tuple[Account, ...]
    accounts_of: int  # how many there were
    rewards: dict[str, float]  # agent -> sum over the episode, as recorded


def shown(episode: Episode, market: EnvMarket | None = None) -> Shown:
    """Run an episode again and tell what a chart needs; positions stand as after each step.

    Args:
        episode: recorded.
        market: what it ran on; None: loaded from its source.

    Raises:
        DataError: if it cannot be run again, or is longer than what is shown.
    """
    if market is None:
        if episode.source is None:
            raise DataError("the episode does not say where its market is: name the tape")
        market = episode.source.load()
    bars = len(episode.seen) * episode.config.action.every
    if bars > MOST_BARS:
        raise DataError(f"an episode of up to {MOST_BARS} bars can be shown, was {bars}")
    run = _Run()
    replayed = replay(episode, market, run)
    at = np.array(run.at)
    segment = next(s for s in market.segments if s.start <= at[0] < s.stop)
    first, end = max(segment.start, int(at[0]) - BEFORE_BARS), int(at[-1]) + 1
    most = max(2, min(MOST_CANDLES, MOST_POINTS // len(market.symbols)))
    merged = -(-(end - first) // most)
    place = (at - first) // merged
    edges = np.arange(first, end, merged)
    return Shown(
        replayed=replayed,
        interval_ns=market.interval_ns,
        merged=merged,
        ts_open=market.close_ns[edges] - market.interval_ns,
        start_ns=int(market.close_ns[at[0]]),
        start=int(place[0]),
        candles=tuple(
            _candles(market, n, slice(first, end), edges - first)
            for n in range(len(market.symbols))
        ),
        accounts=tuple(_accounts(run, market, place, len(edges))),
        accounts_of=run.equity[0].shape[0],
        rewards={
            name: float(values[:, a].sum())
            for group, values in episode.rewards.items()
            for a, name in enumerate(run.env.groups[group].agents)
        },
    )


class _Run:
    """Keeps what the environment is like after each step."""

    def __init__(self) -> None:
        self.at: list[int] = []
        self.lots: list[Floats] = []  # [K, n]
        self.equity: list[Floats] = []  # [K]
        self.gain: list[Floats] = []  # [K, n]
        self.flow: list[Floats] = []  # [K, FLOW]

    def __call__(self, env: BatchEnv) -> None:
        self.env = env
        self.at.append(int(env.bar_of[0]))
        self.lots.append(env.dynamics.book[:, :, LOTS].copy())
        self.equity.append(env.equity[0])
        self.gain.append(env.dynamics.share[:, :, GAIN].copy())
        self.flow.append(env.dynamics.flow.copy())


def _candles(market: EnvMarket, n: int, span: slice, edges: Ints) -> Candles:
    rows, spec = market.bars[span, n], market.spec[n]
    there = rows[:, BAR_STATE] != UNLISTED
    any_there = np.logical_or.reduceat(there, edges)
    ends = np.append(edges[1:], len(rows)) - 1

    def price(values: Floats) -> Floats:
        return np.where(any_there, values * spec[TICK], np.nan)

    opened = np.where(there, rows[:, OPEN], np.nan)
    return Candles(
        symbol=market.symbols[n],
        tick=float(spec[TICK]),
        open=price(opened[edges]),
        high=price(np.fmax.reduceat(np.where(there, rows[:, HIGH], np.nan), edges)),
        low=price(np.fmin.reduceat(np.where(there, rows[:, LOW], np.nan), edges)),
        close=price(np.where(there, rows[:, CLOSE], np.nan)[ends]),
        volume=np.add.reduceat(np.where(there, rows[:, VOLUME], 0.0), edges) * spec[LOT],
    )


def _accounts(run: _Run, market: EnvMarket, place: Ints, count: int) -> list[Account]:
    env, found = run.env, []
    lots, equity = np.stack(run.lots), np.stack(run.equity)
    single = env.config.form is Form.SHARED
    for k, columns in enumerate(env.roles.columns[:MOST_ACCOUNTS]):
        agents = [env.roles.agents[a] for a in np.flatnonzero(env.roles.owner == k)]
        held = []
        for j, n in enumerate(columns):
            if n < 0:
                continue
            size = lots[:, k, j] * market.spec[n, LOT]
            held.append(
                Held(
                    symbol=market.symbols[n],
                    size=_spread(size, place, count),
                    trades=tuple(_trades(run, market, k, j, place)),
                )
            )
        name = "account" if single else agents[0] if agents else f"account_{k}"
        values = _spread(equity[:, k], place, count)
        found.append(Account(name=name, equity=values, held=tuple(held)))
    return found


def _spread(values: Floats, place: Ints, count: int) -> Floats:
    """[C] the last value known by each candle's end; NaN before the first."""
    last = np.searchsorted(place, np.arange(count), "right") - 1
    return np.where(last >= 0, values[np.maximum(last, 0)], np.nan)


def _trades(run: _Run, market: EnvMarket, k: int, j: int, place: Ints) -> list[Trade]:
    env, found = run.env, []
    n = int(env.roles.columns[k, j])
    lot = float(market.spec[n, LOT])
    for s in range(1, len(run.at)):
        change = float(run.lots[s][k, j] - run.lots[s - 1][k, j])
        if change == 0:
            continue
        out = bool(run.flow[s][k, LIQUIDATED] > 0)
        found.append(
            Trade(
                step=s - 1,
                candle=int(place[s]),
                ts_open=int(market.close_ns[run.at[s]] - market.interval_ns),
                lots=change,
                size=abs(change) * lot,
                price=None if out else _price(run, market, k, j, s),
                liquidated=out,
            )
        )
    return found


def _price(run: _Run, market: EnvMarket, k: int, j: int, s: int) -> float | None:
    """Mean price of a step's fills: what the position is worth more, less what it gained by it."""
    n = int(run.env.roles.columns[k, j])
    begin, end = run.at[s - 1], run.at[s]
    rates = market.bars[begin + 1 : end + 1, n, RATE]
    value = market.spec[n, TICK] * market.spec[n, LOT]
    before, after = run.lots[s - 1][k, j], run.lots[s][k, j]
    close = market.bars[end, n, CLOSE]
    funding = 0.0
    if end == begin + 1:
        rate = rates[0] * run.env.dynamics.rules[0, FUNDING_X]
        funding = -after * close * value * rate
    elif np.any(rates != 0):
        return None  # paid on what was held between, which nobody kept
    worth = (after * close - before * market.bars[begin, n, CLOSE]) * value
    paid = worth + funding - run.gain[s][k, j]
    return float(paid / ((after - before) * market.spec[n, LOT]))
