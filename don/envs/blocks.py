"""Features of a market in the shape that windows are copied from, whole and of longer bars. Pure.

A row of a block is known at the close of its bar. A frame of length L holds bars of L market bars,
closed on multiples of their length; at bar t the last *closed* one is shown, never the forming one.
Bars that no symbol has are no rows: a desk is not shown them either, and sees the last one until
then. Segments share nothing: features, normalisation and longer bars begin anew in each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from don.envs.config import ObservationConfig
from don.envs.layout import Bools, Floats, Ints
from don.envs.market import EnvMarket, Segment
from don.envs.normalize import Normalizer, NormalizerState
from don.errors import ConfigError, DataError
from don.features.sets import FeatureSet


@dataclass(frozen=True, kw_only=True)
class Block:
    """Normalised features of one timeframe; R rows."""

    length: int  # bars of the market
    values: NDArray[np.float32]  # [N, R, F], cannot be written
    known: Bools  # [R, N] all features of the row are known
    row_of: Ints  # [T] the last row that is known at a bar, -1: none
    first: Ints  # [T] the first row of the bar's segment
    state: NormalizerState  # after the last row


def make_blocks(
    market: EnvMarket, config: ObservationConfig, states: Sequence[NormalizerState] = ()
) -> tuple[Block, ...]:
    """The market's own bars first, then each frame.

    Args:
        market: bars.
        config: features, frames, scaling.
        states: of the normalisers to go on from, one a block; none: they begin anew.
    """
    lengths = (1, *config.frames)
    if states and len(states) != len(lengths):
        raise DataError(f"normaliser states must be {len(lengths)}, were {len(states)}")
    return tuple(
        _block(market, config, length, states[i] if states else None)
        for i, length in enumerate(lengths)
    )


def _block(
    market: EnvMarket, config: ObservationConfig, length: int, state: NormalizerState | None
) -> Block:
    features = _set(market, config, length)
    columns = market.columns()
    T = len(market.bars)
    row_of, first = np.full(T, -1, np.int64), np.zeros(T, np.int64)
    parts: list[Floats] = []
    known: list[Bools] = []
    base = 0
    last = state
    for segment in market.segments:
        rows, at = _rows(market, segment, length)
        raw = _features(features, market, columns, rows, length)
        one = Normalizer(
            config.scaling, features.names, market.symbols, half_life=config.half_life,
            clip=config.clip, state=state,
        )  # fmt: skip
        scaled = one.batch(raw)
        last = one.state()
        parts.append(scaled)
        known.append(np.asarray(np.isfinite(scaled).all(axis=2), np.bool_))
        own = slice(segment.start, segment.stop)
        row_of[own] = np.where(at >= 0, at + base, -1)
        first[own] = base
        base += len(rows)
    values = np.concatenate(parts)
    assert last is not None
    filled = np.where(np.isfinite(values), values, 0.0).astype(np.float32)
    owned = np.ascontiguousarray(filled.transpose(1, 0, 2))
    owned.flags.writeable = False
    return Block(
        length=length, values=owned, known=np.concatenate(known), row_of=row_of, first=first,
        state=last,
    )  # fmt: skip


def _set(market: EnvMarket, config: ObservationConfig, length: int) -> FeatureSet:
    try:
        return config.feature_set(market.interval_ns * length)
    except ConfigError as error:
        if length == 1:
            raise
        raise ConfigError(f"frames of {length} bars: {error}") from error


def _rows(market: EnvMarket, segment: Segment, length: int) -> tuple[Ints, Ints]:
    """Last bars of the rows, and for each bar of the segment the row that closed last, or -1."""
    own = slice(segment.start, segment.stop)
    seen = np.concatenate([[0], np.cumsum(market.recorded[own])])
    number = market.close_ns[own] // market.interval_ns
    ends = np.flatnonzero(number % length == 0)
    ends = ends[ends >= length - 1]  # whole ones only
    ends = ends[seen[ends + 1] > seen[ends + 1 - length]]
    at = np.searchsorted(ends, np.arange(segment.stop - segment.start), side="right") - 1
    return ends + segment.start, np.asarray(at, np.int64)


def _joined(market: EnvMarket, columns: dict[str, Floats], bars: Ints) -> dict[str, Floats]:
    """Columns [R, N] of longer bars, of the market's bars [R, L]; those that are none left out."""
    if bars.shape[1] == 1:
        return {name: values[bars[:, 0]] for name, values in columns.items()}
    there = market.recorded[bars]
    first = bars[np.arange(len(bars)), np.argmax(there, axis=1)]
    out = there[:, :, None]
    joined: dict[str, Floats] = {}
    for name, values in columns.items():
        match name:
            case "open":
                joined[name] = values[first]
            case "high":
                joined[name] = np.where(out, values[bars], -np.inf).max(axis=1)
            case "low":
                joined[name] = np.where(out, values[bars], np.inf).min(axis=1)
            case "volume":
                joined[name] = values[bars].sum(axis=1)
            case _:
                joined[name] = values[bars[:, -1]]
    return joined


def _features(
    features: FeatureSet, market: EnvMarket, columns: dict[str, Floats], rows: Ints, length: int
) -> Floats:
    """[R, N, F] features of bars of L market bars that end with `rows`; NaN where not listed."""
    N = len(market.symbols)
    out = np.full((len(rows), N, len(features.names)), np.nan)
    bars = rows[:, None] + np.arange(1 - length, 1)
    joined = _joined(market, columns, bars)
    listed = np.asarray(market.listed[bars].all(axis=1))
    for n in range(N):
        own = np.flatnonzero(listed[:, n])
        if not len(own):
            continue
        lean = {name: np.ascontiguousarray(values[own, n]) for name, values in joined.items()}
        for place, feature in features.features:
            wanted = {name: lean.get(name, np.full(len(own), np.nan)) for name in feature.inputs}
            out[own, n, place] = feature.batch(wanted)
    for place, of, cross in features.cross:
        out[:, :, place] = cross.across(out[:, :, of])
    return out


def never_known(market: EnvMarket, config: ObservationConfig) -> dict[str, str]:
    """Features that have no value for some symbol, however long one waits, and why, by name."""
    features = _set(market, config, 1)
    columns = market.columns()
    rows = np.concatenate([_rows(market, segment, 1)[0] for segment in market.segments])
    known = np.isfinite(_features(features, market, columns, rows, 1)).any(axis=0)
    dead = np.asarray(~known.all(axis=0))
    lacking = {name for name, v in columns.items() if not np.isfinite(v[rows]).any(axis=0).all()}
    why = {}
    for place, feature in features.features:
        if dead[place]:
            needs = [c for c in feature.inputs if c in lacking or c not in columns]
            why[feature.name] = (
                f"needs {' and '.join(needs)}" if needs
                else f"needs {features.warm_ups[feature.name]} bars of each symbol before"
            )  # fmt: skip
    for place, of, cross in features.cross:
        if dead[place]:
            why[cross.name] = f"compares {features.names[of]}"
    return {name: why[name] for name in features.names if name in why}
