"""Courses: what an account was worth, bar by bar, while somebody acted in an environment. Pure.

Everything that is compared runs here: agents and baselines through the same compiled dynamics, over
the same bars, with costs on.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from don.backtest.bootstrap import NAMES, statistics
from don.clock import iso
from don.envs.config import EnvConfig, Form, RandomConfig, RewardConfig
from don.envs.core import BatchEnv
from don.envs.layout import (
    CLOSE,
    EQUITY,
    FEES,
    FILLS,
    FUNDING,
    LIQUIDATED,
    LIQUIDATION,
    LOT,
    LOTS,
    PNL,
    SLIPPAGE,
    START,
    TICK,
    TURNOVER,
    Bools,
    Floats,
    Ints,
)  # fmt: skip
from don.envs.market import EnvMarket
from don.envs.observe import Observation
from don.errors import DataError, UsageError
from don.evaluation.costs import charged
from don.performance import YEAR_NS

SUMS = {
    "price profit": PNL, "fees": FEES, "slippage": SLIPPAGE, "funding": FUNDING,
    "liquidation": LIQUIDATION, "turnover": TURNOVER, "fills": FILLS,
}  # fmt: skip
Actions = Mapping[str, NDArray[np.generic]]
# (observations by group, environment, [B] slots whose episode begins) -> actions by group
Decide = Callable[[Mapping[str, Observation], BatchEnv, NDArray[np.bool_]], Actions]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """An account's course over S steps; several accounts of one strategy are one."""

    name: str
    interval_ns: int
    ts: Ints  # [S + 1] closes
    equity: Floats  # [S + 1] quote; the first is the capital
    sums: Mapping[str, float]  # quote; "price profit" less the others but turnover = profit
    gross: float  # mean of sum |position| over equity
    liquidations: int
    breaks: int  # times that bars could not be observed and all was sold without cost

    @property
    def returns(self) -> Floats:
        """[S] simple returns; -1 at the step that lost everything, 0 after it."""
        before, after = self.equity[:-1], self.equity[1:]
        return np.divide(after, before, out=np.ones_like(after), where=before > 0) - 1.0

    def figures(self) -> dict[str, float]:
        """Figures of performance and of cost, annual where it says so."""
        r = self.returns
        told = dict(zip(NAMES, statistics(r, self.interval_ns).tolist(), strict=True))
        if not np.any(r):  # it stayed out: that is no error
            told = dict.fromkeys(NAMES, 0.0)
        years = max(len(r) * self.interval_ns / YEAR_NS, 1e-12)
        mean = max(float(self.equity.mean()), 1e-12)
        return {
            "total_return": float(self.equity[-1] / self.equity[0] - 1.0),
            **told,
            "turnover": self.sums["turnover"] / mean / years,
            "fees": self.sums["fees"] / mean / years,
            "slippage": self.sums["slippage"] / mean / years,
            "funding": self.sums["funding"] / mean / years,
            "gross": self.gross,
            "fills": self.sums["fills"],
            "liquidations": float(self.liquidations),
        }


def out_of_sample(config: EnvConfig, market: EnvMarket) -> EnvConfig:
    """An environment's configuration for a test: one episode in order, nothing drawn, costs on.

    Whatever a training set below what the exchange takes is raised to it: see `charged`. A test
    looks at equity alone: it has no rewards of the training's, and needs no module of theirs.
    """
    episode = config.episode.model_copy(update={"length": None, "random_start": False})
    return config.model_copy(
        update={
            "costs": charged(config.costs, market), "random": RandomConfig(), "episode": episode,
            "reward": RewardConfig(),
        }
    )  # fmt: skip


def first_bar(able: Bools, market: EnvMarket, begin: int) -> int:
    """The first bar from `begin` on at which can be decided.

    Args:
        able: [T] bars at which can be decided.
        market: bars.
        begin: one of them.

    Raises:
        DataError: if there is none.
    """
    found = np.flatnonzero(able[begin:])
    if not len(found):
        closes = market.close_ns
        raise DataError(
            f"too little history: no bar from {iso(int(closes[min(begin, len(closes) - 1)]))} on "
            "can be observed: features and windows need more bars before or after it"
        )
    return begin + int(found[0])


def play(
    env: BatchEnv, decide: Decide, names: Sequence[str], begin: int, *, seed: int = 0,
    able: Bools | None = None, wait: bool = False,
) -> list[Course]:  # fmt: skip
    """Act from a bar to the end of the market, in every slot of a batch.

    Where bars cannot be observed (a gap in the data) positions are worth what they were, and a new
    episode goes on behind the gap, each account with its own money. Who is ruined or liquidated
    stays out.

    Args:
        env: its episodes must have no length.
        decide: what to do.
        names: [B] of the courses.
        begin: bar at whose close is first decided.
        seed: of what the environment draws.
        able: [T] bars at which all that is compared can decide; elsewhere nobody does, as in a gap.
        wait: whether to hold cash from `begin` to the first bar that can be decided at; else it
            must be one: who cannot act in a falling market seems skilled.

    Returns:
        [B] courses over the same bars.

    Raises:
        DataError: if nothing can be decided at `begin`, or, with `wait`, from it on.
    """
    B, market = env.batch, env.market
    if env.config.action.every != 1:
        raise UsageError(f"action.every must be 1 in what is played, was {env.config.action.every}")
    able = env.observer.ready if able is None else env.observer.ready & able
    stop = market.segments[-1].stop - 1  # the last bar that is traded
    money, K = env.dynamics.money, len(env.dynamics.columns)
    first = first_bar(able, market, begin)
    if first > begin and not wait:
        raise DataError(
            f"too little history: nothing can be decided at {iso(int(market.close_ns[begin]))}, "
            f"the first time is {iso(int(market.close_ns[first]))}"
        )
    seen: Mapping[str, Observation] = env.reset(seed=seed, starts=np.full(B, first))
    capital = money[:, START].reshape(B, K).copy()
    curve = np.zeros((stop - begin + 1, B))
    curve[: first - begin + 1] = capital.sum(axis=1)
    scale = np.ones((B, K))  # what an account's money is worth, after the episodes before
    sums = np.zeros((B, len(SUMS)))
    columns = list(SUMS.values())
    gross = np.zeros(B)
    out: Bools = np.zeros(B, np.bool_)
    liquidations, breaks = np.zeros(B, np.int64), 0
    fresh = np.ones(B, np.bool_)
    t = first
    while t < stop:
        active = ~env.done
        step = env.step(decide(seen, env, fresh), observe=True)
        seen, fresh = step.observations, np.zeros(B, np.bool_)
        t += 1
        flow = env.dynamics.flow.reshape(B, K, -1)
        paid = (flow[:, :, columns] * scale[:, :, None]).sum(axis=1)
        sums += np.where(active[:, None], paid, 0.0)
        liquidations += np.where(active, flow[:, :, LIQUIDATED].sum(axis=1), 0.0).astype(np.int64)
        worth = money[:, EQUITY].reshape(B, K) * scale
        total = worth.sum(axis=1)
        curve[t - begin] = total
        held = (_held(env, t) * scale).sum(axis=1) / np.maximum(total, 1e-12)
        gross += np.where(active & (total > 0), held, 0.0)
        if t < stop and (step.done.all() or not able[t]):
            # a dead account stays out; the others go on where can be decided again
            dead = env.whole.dead.copy()
            out = np.asarray(dead.reshape(B, K).all(axis=1))
            following = np.flatnonzero(able[t:stop])
            if out.all() or not len(following):
                curve[t - begin :] = curve[t - begin]
                break
            nearest = t + int(following[0])
            curve[t - begin : nearest - begin + 1] = curve[t - begin]
            left = np.maximum(worth, 0.0)
            if env.config.form is Form.ALLOCATED:  # money goes from one account to the others
                left = capital * (left.sum(axis=1) / capital.sum(axis=1))[:, None]
            scale = np.where(out[:, None], scale, left / capital)
            breaks += 1
            t, fresh = nearest, ~out
            seen = env.reset(which=~out, starts=np.full(B, nearest))
            env.whole.dead[:] = dead
    steps = max(stop - begin, 1)
    return [
        Course(
            name=names[b],
            interval_ns=market.interval_ns,
            ts=np.array(market.close_ns[begin : stop + 1]),
            equity=np.maximum(curve[:, b], 0.0),
            sums=dict(zip(SUMS, sums[b].tolist(), strict=True)),
            gross=float(gross[b]) / steps,
            liquidations=int(liquidations[b]),
            breaks=breaks,
        )
        for b in range(B)
    ]


def idle(name: str, market: EnvMarket, begin: int, capital: float) -> Course:
    """The course of who does nothing, as `play` gives those of others."""
    ts = np.array(market.close_ns[begin : market.segments[-1].stop])
    return Course(
        name=name, interval_ns=market.interval_ns, ts=ts, equity=np.full(len(ts), float(capital)),
        sums=dict.fromkeys(SUMS, 0.0), gross=0.0, liquidations=0, breaks=0,
    )  # fmt: skip


def _held(env: BatchEnv, t: int) -> Floats:
    """[B, K] sum of |position| of each account at the close of bar t, quote."""
    d = env.dynamics
    columns = d.columns  # [K, n]
    worth = d.bars[t, columns, CLOSE] * d.spec[columns, TICK] * d.spec[columns, LOT]
    lots = np.abs(d.book[:, :, LOTS]).reshape(env.batch, *columns.shape)
    return np.asarray((lots * np.where(columns >= 0, worth, 0.0)).sum(axis=2))


def since(course: Course, ts: int) -> Course:
    """The course from a close on, before which nothing was done.

    Raises:
        ValueError: if something was done before.
    """
    at = int(np.searchsorted(course.ts, ts))
    if np.any(course.equity[: at + 1] != course.equity[0]):
        raise ValueError(f"{course.name} has traded before {iso(ts)}")
    share = (len(course.ts) - 1) / max(len(course.ts) - 1 - at, 1)
    return replace(course, ts=course.ts[at:], equity=course.equity[at:], gross=course.gross * share)


def joined(courses: Sequence[Course]) -> Course:
    """Courses one after the other as one: each goes on with what the one before ended with.

    Raises:
        ValueError: if there is none, or they are not in order of time.
    """
    if not courses:
        raise ValueError("need at least one course")
    first = courses[0]
    equity, ts = [first.equity[:1]], [first.ts[:1]]
    sums, worth, steps, gross = dict.fromkeys(SUMS, 0.0), 1.0, 0, 0.0
    for course in courses:
        if len(ts) > 1 and course.ts[0] < ts[-1][-1]:
            raise ValueError(f"courses must follow each other, {course.name} begins too early")
        factor = worth * first.equity[0] / course.equity[0]
        equity.append(course.equity[1:] * factor)
        ts.append(course.ts[1:])
        for name in sums:
            sums[name] += course.sums[name] * (1.0 if name == "fills" else factor)
        worth *= float(course.equity[-1] / course.equity[0])
        steps += len(course.ts) - 1
        gross += course.gross * (len(course.ts) - 1)
    return replace(
        first,
        ts=np.concatenate(ts),
        equity=np.concatenate(equity),
        sums=sums,
        gross=gross / max(steps, 1),
        liquidations=sum(c.liquidations for c in courses),
        breaks=sum(c.breaks for c in courses),
    )


def mixed(courses: Sequence[Course], name: str) -> Course:
    """Equal capital put into each of several courses of the same bars once, and never evened out.

    Who has lost everything stays at nothing: returns averaged bar by bar would give it a part of
    what the others still have, again and again, without a cost. What was paid is paid of equal
    parts; `gross` is weighted by the capital that each had, the mean over time.

    Raises:
        ValueError: if they are not of the same bars.
    """
    first = courses[0]
    if any(not np.array_equal(c.ts, first.ts) for c in courses):
        raise ValueError("courses must be of the same bars")
    if len(courses) == 1:
        return replace(first, name=name)
    start = float(first.equity[0])
    growth = np.array([c.equity / c.equity[0] for c in courses])  # [n, S + 1] capital may differ
    worth = growth.mean(axis=1)
    return replace(
        first,
        name=name,
        equity=start * growth.mean(axis=0),
        sums={
            k: math.fsum(
                c.sums[k] * (1.0 if k == "fills" else start / float(c.equity[0])) for c in courses
            )
            / len(courses)
            for k in SUMS
        },
        gross=float(np.average([c.gross for c in courses], weights=worth)),
        liquidations=sum(c.liquidations for c in courses),
        breaks=max(c.breaks for c in courses),
    )
