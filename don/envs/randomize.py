"""Made-up histories from a real one: bootstraps, shuffled regimes, gaps, crashes. Pure; seeded.

Each variant is a segment of its own behind the real one, so that an episode, its windows and its
features stay inside one history. All symbols are moved together: what happened at one time stays
together, and so do correlations.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from don.envs.config import VariantConfig
from don.envs.layout import (
    ABSENT,
    BAR,
    CLOSE,
    HIGH,
    LOW,
    OPEN,
    RATE,
    STATE,
    UNLISTED,
    VOLUME,
    Floats,
    Ints,
)  # fmt: skip
from don.envs.market import EnvMarket, Segment
from don.errors import DataError

PRICES = [OPEN, HIGH, LOW, CLOSE]


def variants(market: EnvMarket, config: VariantConfig) -> EnvMarket:
    """The market with made-up histories behind it, each a segment.

    Times of a variant are made up too: they follow the last real bar. Only stretches in which all
    symbols are listed are resampled.

    Raises:
        DataError: if fewer than two bars of all symbols follow each other.
    """
    rng = np.random.default_rng(config.seed)
    rows = _common(market)
    parts: list[Floats] = [market.bars] if config.keep_real else []
    makers: list[Callable[[], Ints]] = [
        lambda: stationary_bootstrap(len(rows), config.block, rng)
    ] * config.bootstraps
    makers += [lambda: shuffle_regimes(_volatility(market, rows, config), config, rng)
               ] * config.shuffles  # fmt: skip
    made = []
    for make in makers:
        bars = chained(market.bars[rows], make())
        bars = with_crashes(bars, config, rng)
        made.append(with_gaps(bars, config, rng))
    parts += made
    segments = list(market.segments) if config.keep_real else []
    at = len(market.bars) if config.keep_real else 0
    for each in made:
        segments.append(Segment(start=at, stop=at + len(each)))
        at += len(each)
    first = int(market.close_ns[0])
    times = first + np.arange(at, dtype=np.int64) * market.interval_ns
    if config.keep_real:
        times[: len(market.bars)] = market.close_ns
        after = int(market.close_ns[-1]) + market.interval_ns
        rest = at - len(market.bars)
        times[len(market.bars) :] = after + np.arange(rest) * market.interval_ns
    return replace(market, close_ns=times, bars=np.concatenate(parts), segments=tuple(segments))


def stationary_bootstrap(count: int, block: float, rng: np.random.Generator) -> Ints:
    """[count] places: blocks of geometric length begin anywhere, and go around the end.

    Source: Politis & Romano, "The stationary bootstrap", JASA 89(428), 1994.
    """
    anew = rng.uniform(size=count) < 1.0 / block
    anew[0] = True
    begins = rng.integers(0, count, count)
    number = np.cumsum(anew) - 1
    begin_at = np.flatnonzero(anew)
    return np.asarray((begins[number] + np.arange(count) - begin_at[number]) % count, np.int64)


def shuffle_regimes(volatility: Floats, config: VariantConfig, rng: np.random.Generator) -> Ints:
    """[count] places: runs of bars in one volatility regime, in another order."""
    edges = np.quantile(volatility, np.linspace(0, 1, config.regimes + 1)[1:-1])
    regime = np.searchsorted(edges, volatility)
    cuts = np.flatnonzero(np.diff(regime)) + 1
    runs = np.split(np.arange(len(volatility)), cuts)
    order = rng.permutation(len(runs))
    return np.concatenate([runs[i] for i in order]).astype(np.int64)


def chained(bars: Floats, places: Ints) -> Floats:
    """[S, N, BAR] bars at these places, one behind the other without a jump.

    Each bar keeps its own open, high, low and close relative to the close before it; prices start
    where the history starts and are rounded to ticks.
    """
    closes = bars[:, :, CLOSE]
    before = np.vstack([bars[:1, :, OPEN], closes[:-1]])
    relative = bars[:, :, PRICES] / before[:, :, None]
    out = bars[places].copy()
    growth = relative[places][:, :, PRICES.index(CLOSE)]
    level = before[:1] * np.vstack([np.ones_like(growth[:1]), np.cumprod(growth, axis=0)[:-1]])
    out[:, :, PRICES] = np.maximum(np.rint(relative[places] * level[:, :, None]), 1.0)
    # the level that a bar is relative to is the rounded close before it but for half a tick
    out[:, :, HIGH] = out[:, :, PRICES].max(axis=2)
    out[:, :, LOW] = out[:, :, PRICES].min(axis=2)
    assert out.shape[2] == BAR
    return out


def with_crashes(bars: Floats, config: VariantConfig, rng: np.random.Generator) -> Floats:
    """All prices fall inside a bar and partly come back; later bars stay at the new level."""
    hit = rng.uniform(size=len(bars)) < config.crashes
    out = bars.copy()
    for t in np.flatnonzero(hit).tolist():
        fall = rng.uniform(*config.crash)
        stay = 1.0 - fall * (1.0 - config.rebound)
        low = np.minimum(out[t, :, LOW], out[t, :, OPEN] * (1.0 - fall))
        out[t, :, LOW] = np.maximum(np.rint(np.minimum(low, out[t, :, CLOSE] * stay)), 1.0)
        out[t, :, CLOSE] = np.maximum(np.rint(out[t, :, CLOSE] * stay), out[t, :, LOW])
        for place in PRICES:
            out[t + 1 :, :, place] = np.maximum(np.rint(out[t + 1 :, :, place] * stay), 1.0)
    return out


def with_gaps(bars: Floats, config: VariantConfig, rng: np.random.Generator) -> Floats:
    """Bars in which nobody trades: flat at the close before, no volume; prices jump after them."""
    out = bars.copy()
    for t in np.flatnonzero(rng.uniform(size=len(bars)) < config.gaps).tolist():
        length = int(rng.integers(config.gap[0], config.gap[1] + 1))
        own = slice(max(t, 1), min(t + length, len(bars)))
        if own.start >= own.stop:
            continue
        out[own][:, :, PRICES] = out[own.start - 1, :, CLOSE][None, :, None]
        out[own, :, VOLUME] = out[own, :, RATE] = 0.0
        out[own, :, STATE] = ABSENT
    return out


def _common(market: EnvMarket) -> Ints:
    listed = (market.bars[:, :, STATE] != UNLISTED).all(axis=1)
    rows = [np.flatnonzero(listed[s.start : s.stop]) + s.start for s in market.segments]
    longest = max(rows, key=len)
    if len(longest) < 2:
        raise DataError("variants need at least two bars in a row in which all symbols are listed")
    return longest


def _volatility(market: EnvMarket, rows: Ints, config: VariantConfig) -> Floats:
    closes = market.bars[rows][:, :, CLOSE]
    moves = np.abs(np.diff(np.log(closes), axis=0, prepend=np.log(closes[:1]))).mean(axis=1)
    window = min(config.regime_window, len(moves))
    total = np.cumsum(np.concatenate([[0.0], moves]))
    at = np.arange(1, len(moves) + 1)
    begin = np.maximum(at - window, 0)
    return np.asarray((total[at] - total[begin]) / (at - begin))
