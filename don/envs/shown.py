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
    Bools,
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
MOST_VALUES = 200_000  # of all curves of these
MOST_TRADES = 10_000  # of these; more are told together
BEFORE_BARS = 50  # shown ahead of its start


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """What an account's position in a symbol changed by in one step, or in several to one side."""

    step: int  # the last
    candle: int  # of the last
    ts_open: int  # ns, of the last bar
    lots: float  # signed
    size: float  # base, above zero
    price: float | None  # mean, with fees; None where it cannot be told apart from other costs
    liquidated: bool
    count: int  # steps: 1 if nothing was put together


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An account's position in a symbol, signed base; [C], NaN before the start."""

    symbol: str
    size: Floats
    trades: tuple[Trade, ...]
    merged: int  # candles of which what was bought is one trade, and what was sold; 0: none are


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
    columns = run.env.roles.columns[:MOST_ACCOUNTS]
    curves = columns.size + len(columns)
    most = max(2, min(MOST_CANDLES, MOST_POINTS // len(market.symbols), MOST_VALUES // curves))
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
        accounts_of=len(run.env.roles.columns),
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
        self.out: list[Bools] = []  # [K] liquidated

    def __call__(self, env: BatchEnv) -> None:
        self.env = env
        self.at.append(int(env.bar_of[0]))
        self.lots.append(env.dynamics.book[:MOST_ACCOUNTS, :, LOTS].copy())
        self.equity.append(env.equity[0][:MOST_ACCOUNTS].copy())
        self.gain.append(env.dynamics.share[:MOST_ACCOUNTS, :, GAIN].copy())
        self.out.append(env.dynamics.flow[:MOST_ACCOUNTS, LIQUIDATED] > 0)


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
    lots, equity, gain = np.stack(run.lots), np.stack(run.equity), np.stack(run.gain)
    at, out = np.array(run.at), np.stack(run.out)
    single = env.config.form is Form.SHARED
    columns = env.roles.columns[:MOST_ACCOUNTS]
    groups = _groups(lots, columns, place)
    for k, own in enumerate(columns):
        agents = [env.roles.agents[a] for a in np.flatnonzero(env.roles.owner == k)]
        held = []
        for j, n in enumerate(own):
            if n < 0:
                continue
            traded = _Traded(
                market=market, n=int(n), at=at, lots=lots[:, k, j], gain=gain[:, k, j],
                out=out[:, k], rate=float(env.dynamics.rules[0, FUNDING_X]),
            )  # fmt: skip
            held.append(
                Held(
                    symbol=market.symbols[n],
                    size=_spread(lots[:, k, j] * market.spec[n, LOT], place, count),
                    trades=tuple(traded.trades(place, groups)),
                    merged=groups,
                )
            )
        name = "account" if single else agents[0] if agents else f"account_{k}"
        values = _spread(equity[:, k], place, count)
        found.append(Account(name=name, equity=values, held=tuple(held)))
    return found


def _groups(lots: Floats, columns: Ints, place: Ints) -> int:
    """How many candles have their trades told together; 0 if each can be told alone."""
    step, k, j = np.nonzero(np.diff(lots, axis=0))
    side = lots[step + 1, k, j] > lots[step, k, j]
    merged, found = 0, len(step)
    while found > MOST_TRADES and merged <= place[-1]:  # else each symbol has one a side
        merged = max(1, merged * 2)
        key = (place[step + 1] // merged, k, j, side)
        found = len(np.unique(np.ravel_multi_index(key, [int(x.max()) + 1 for x in key])))
    return merged


def _spread(values: Floats, place: Ints, count: int) -> Floats:
    """[C] the last value known by each candle's end; NaN before the first."""
    last = np.searchsorted(place, np.arange(count), "right") - 1
    return np.where(last >= 0, values[np.maximum(last, 0)], np.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Traded:
    """An account's course in a symbol, before the first step and after each of S."""

    market: EnvMarket
    n: int  # symbol
    at: Ints  # [S + 1] bar
    lots: Floats
    gain: Floats  # by the position, in the step
    out: Bools  # liquidated in the step
    rate: float  # of funding, times what the bars say

    def trades(self, place: Ints, merged: int) -> list[Trade]:
        """What was traded, put together by so many candles and side (0: not at all)."""
        steps = np.flatnonzero(np.diff(self.lots)) + 1
        change, price = self.lots[steps] - self.lots[steps - 1], self._prices()[steps]
        out = self.out[steps]
        price[out] = np.nan
        if merged:
            key = np.stack([place[steps] // merged, change > 0, out])
            _, group = np.unique(key, axis=1, return_inverse=True)
            group = np.reshape(group, -1)
        else:
            group = np.arange(len(steps))
        count = np.bincount(group)
        last = np.zeros(len(count), np.int64)
        np.maximum.at(last, group, np.arange(len(steps)))
        lots = np.bincount(group, change, len(count))
        paid = np.bincount(group, change * price, len(count))
        mean = np.where(count == 1, price[last], paid / lots) if len(steps) else price
        lot = float(self.market.spec[self.n, LOT])
        opened = self.market.close_ns[self.at] - self.market.interval_ns
        return [
            Trade(
                step=int(steps[last[g]]) - 1,
                candle=int(place[steps[last[g]]]),
                ts_open=int(opened[steps[last[g]]]),
                lots=float(lots[g]),
                size=abs(float(lots[g])) * lot,
                price=float(mean[g]) if np.isfinite(mean[g]) else None,
                liquidated=bool(out[last[g]]),
                count=int(count[g]),
            )
            for g in np.argsort(last, kind="stable")
        ]

    def _prices(self) -> Floats:
        """[S + 1] mean price of a step's fills, NaN where it cannot be told.

        What the position is worth more, less what it gained by it.
        """
        bars, spec = self.market.bars[:, self.n], self.market.spec[self.n]
        begin, end = self.at[:-1], self.at[1:]
        value = spec[TICK] * spec[LOT]
        before, after = self.lots[:-1], self.lots[1:]
        close = bars[self.at, CLOSE]
        # of several bars it is paid on what was held between, which nobody kept
        paying = np.concatenate([[0], np.cumsum(bars[:, RATE] != 0)])
        one = end == begin + 1
        funding = np.where(one, -after * close[1:] * value * (bars[end, RATE] * self.rate), 0.0)
        funding[~one & (paying[end + 1] > paying[begin + 1])] = np.nan
        worth = (after * close[1:] - before * close[:-1]) * value
        paid = worth + funding - self.gain[1:]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.concatenate([[np.nan], paid / ((after - before) * spec[LOT])])
