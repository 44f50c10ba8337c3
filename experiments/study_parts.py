"""The parts of a walk-forward study: what each training sees, and what it is tested on. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from don.clock import iso
from don.envs import EnvMarket
from don.envs.layout import Bools
from don.envs.market import Segment
from don.errors import DataError
from don.evaluation.splits import combinatorial, group_edges, paths, walk_forward
from experiments.evaluation_config import Scheme, WalkForwardConfig, WindowConfig

DAY_NS = 86_400 * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One training and what it is tested on."""

    key: str  # names its folder
    seed: int
    market: EnvMarket  # to train on
    trained: str  # in words
    tests: tuple[tuple[int, int], ...]  # bars [start, stop) of the whole market
    places: tuple[tuple[int, int], ...]  # (path, stretch) that each test is of, beside the seed
    validated: tuple[int, int] | None = None  # bars [start, stop) that the choice is made on


def parts(config: WalkForwardConfig, market: EnvMarket) -> list[Part]:
    """Every part, windows innermost.

    Raises:
        DataError: if there is too little history for a window.
        UsageError: if the windows do not fit.
    """
    found: list[Part] = []
    for seed in config.seeds:
        found += _seed_parts(config.windows, market, seed)
    return found


def _seed_parts(windows: WindowConfig, market: EnvMarket, seed: int) -> list[Part]:
    bars, closes = len(market.close_ns), market.close_ns
    if windows.scheme is Scheme.COMBINATORIAL:
        splits = combinatorial(
            bars, windows.groups, windows.tests, purge=windows.purge_bars,
            embargo=windows.embargo_bars,
        )  # fmt: skip
        edges, of_path = group_edges(bars, windows.groups), paths(windows.groups, windows.tests)
        found = []
        for n, split in enumerate(splits):
            runs = np.split(split.train, np.flatnonzero(np.diff(split.train) > 1) + 1)
            stretches = tuple(Segment(start=int(r[0]), stop=int(r[-1]) + 1) for r in runs)
            found.append(
                Part(
                    key=f"s{seed}-c{n:03d}",
                    seed=seed,
                    market=replace(market, segments=_within(market.segments, stretches)),
                    trained=f"without stretches {', '.join(str(g + 1) for g in split.groups)}",
                    tests=tuple((int(edges[g]), int(edges[g + 1])) for g in split.groups),
                    places=tuple(
                        (int(np.flatnonzero(of_path[:, g] == n)[0]), g) for g in split.groups
                    ),
                )
            )
        return found
    step = market.interval_ns
    cut = walk_forward(
        bars,
        train=max(round(windows.train_days * DAY_NS / step), 1),
        test=max(round(windows.test_days * DAY_NS / step), 1),
        anchored=windows.scheme is Scheme.ANCHORED,
        purge=windows.purge_bars,
        embargo=windows.embargo_bars,
    )
    own = round(windows.validate_days * DAY_NS / step)
    gap = windows.purge_bars + windows.embargo_bars if own else 0
    found = []
    for n, w in enumerate(cut):
        stop = w.train_stop - own - gap
        if stop <= w.train_start:
            raise DataError(
                f"too little history: of {w.train_stop - w.train_start} bars to train on {own} are "
                f"for validation and {gap} lie between: nothing is left to train on"
            )
        ends = int(closes[w.train_start]), int(closes[stop - 1])
        found.append(
            Part(
                key=f"s{seed}-w{n:03d}",
                seed=seed,
                market=market.part(ends[0] - 1, ends[1]),
                trained=f"{iso(ends[0])[:10]} to {iso(ends[1])[:10]}",
                tests=((w.test_start, w.test_stop),),
                places=((0, n),),
                validated=(w.train_stop - own, w.train_stop) if own else None,
            )
        )
    return found


def check_tests(todo: Sequence[Part], able: Bools, market: EnvMarket) -> None:
    """Make sure that agents can decide somewhere in each test.

    Args:
        todo: parts.
        able: [T] bars at which they can.
        market: bars.

    Raises:
        DataError: naming the part.
    """
    for part in todo:
        for start, stop in part.tests:
            if not able[max(start - 1, 0) : stop - 1].any():
                raise DataError(
                    f"too little history: in the test of {part.key}, from "
                    f"{iso(int(market.close_ns[start]))} to {iso(int(market.close_ns[stop - 1]))}, "
                    "no bar can be observed: features and windows need more bars in a row before it"
                )


def _within(whole: Sequence[Segment], chosen: Sequence[Segment]) -> tuple[Segment, ...]:
    """The chosen stretches, cut where the market's own segments end."""
    cut = [
        (max(a.start, b.start), min(a.stop, b.stop)) for a in whole for b in chosen
        if max(a.start, b.start) < min(a.stop, b.stop)
    ]  # fmt: skip
    return tuple(Segment(start=a, stop=b) for a, b in sorted(cut))
