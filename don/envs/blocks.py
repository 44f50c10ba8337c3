"""Features of a market in the shape that windows are copied from, whole and of longer bars. Pure.

Row t of a block is known at the close of bar t. A frame of length L holds bars of L market bars,
closed on multiples of their length; at bar t the last *closed* one is shown, never the forming one.
Segments share nothing: features, normalisation and longer bars begin anew in each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from don.envs.config import ObservationConfig
from don.envs.layout import STATE, UNLISTED, Bools, Floats, Ints
from don.envs.market import EnvMarket, Segment
from don.envs.normalize import Normalizer, NormalizerState
from don.errors import DataError
from don.features.sets import FeatureSet

SUMS = ("volume",)


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
    features = config.feature_set()
    columns = market.columns()
    T = len(market.bars)
    row_of, first = np.full(T, -1, np.int64), np.zeros(T, np.int64)
    parts: list[Floats] = []
    known: list[Bools] = []
    base = 0
    last = state
    for segment in market.segments:
        rows, at = _rows(market, segment, length)
        raw = _features(features, columns, rows, market.bars[:, :, STATE] != UNLISTED)
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


def _rows(market: EnvMarket, segment: Segment, length: int) -> tuple[list[slice], Ints]:
    """The market's bars of each longer bar, and for each bar of the segment the last closed one."""
    count = segment.stop - segment.start
    if length == 1:
        rows = [slice(t, t + 1) for t in range(segment.start, segment.stop)]
        return rows, np.arange(count, dtype=np.int64)
    number = market.close_ns[segment.start : segment.stop] // market.interval_ns
    ends = np.flatnonzero(number % length == 0)
    ends = ends[ends >= length - 1]  # whole ones only
    rows = [slice(segment.start + e - length + 1, segment.start + e + 1) for e in ends.tolist()]
    at = np.searchsorted(ends, np.arange(count), side="right") - 1
    return rows, np.asarray(at, np.int64)


def _features(
    features: FeatureSet, columns: dict[str, Floats], rows: list[slice], listed: Bools
) -> Floats:
    """[R, N, F] features of bars joined from rows; NaN where a symbol is not listed yet."""
    N = listed.shape[1]
    out = np.full((len(rows), N, len(features.names)), np.nan)
    if not rows:
        return out
    starts = np.array([r.start for r in rows])
    stops = np.array([r.stop for r in rows])
    joined = {}
    for name, values in columns.items():
        own = values[starts[0] : stops[-1]]
        size = stops[0] - starts[0]
        shaped = own[: len(rows) * size].reshape(len(rows), size, N)
        if name == "open":
            joined[name] = shaped[:, 0]
        elif name == "high":
            joined[name] = shaped.max(axis=1)
        elif name == "low":
            joined[name] = shaped.min(axis=1)
        elif name in SUMS:
            joined[name] = shaped.sum(axis=1)
        else:
            joined[name] = shaped[:, -1]
    there = np.array([listed[r].all(axis=0) for r in rows])
    for n in range(N):
        begins = np.flatnonzero(there[:, n])
        if not len(begins):
            continue
        after = slice(int(begins[0]), len(rows))
        lean = {name: np.ascontiguousarray(values[after, n]) for name, values in joined.items()}
        for place, feature in features.features:
            wanted = {name: lean.get(name, np.full(len(lean["close"]), np.nan))
                      for name in feature.inputs}  # fmt: skip
            out[after, n, place] = feature.batch(wanted)
    for place, of, cross in features.cross:
        out[:, :, place] = cross.across(out[:, :, of])
    return out


def never_known(market: EnvMarket, config: ObservationConfig) -> list[str]:
    """Names of features that have no value for some symbol, however long one waits."""
    features = config.feature_set()
    columns = market.columns()
    rows = [slice(t, t + 1) for s in market.segments for t in range(s.start, s.stop)]
    raw = _features(features, columns, rows, market.listed)
    dead = np.asarray(~np.isfinite(raw).any(axis=0), np.bool_).reshape(raw.shape[1:])
    return [name for f, name in enumerate(features.names) if dead[:, f].any()]
