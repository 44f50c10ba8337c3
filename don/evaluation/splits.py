"""Splits of bars into what is trained on and what is tested on. Pure.

Bars are numbered 0 to T - 1 in time order. What is decided at a bar is settled some bars later, and
features look back: so bars beside a test set are taken out of training. *Purged* are bars whose
outcome reaches into the test set (before it) or whose features look into it (after it); the
*embargo* takes out further bars, because series remember longer than any one window.

Source: López de Prado, Advances in Financial Machine Learning (2018), ch. 7 (purging, embargo) and
ch. 12 (combinatorial purged cross-validation).
"""

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from don.errors import DataError, UsageError

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A walk-forward window: bars [train_start, train_stop), then [test_start, test_stop)."""

    train_start: int
    train_stop: int
    test_start: int
    test_stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.train_start < self.train_stop <= self.test_start < self.test_stop:
            raise ValueError(f"training must come before the test, was {self}")


def walk_forward(
    bars: int, *, train: int, test: int, step: int | None = None, anchored: bool = False,
    purge: int = 0, embargo: int = 0,
) -> list[Window]:  # fmt: skip
    """Windows that go through time: train, leave a gap, test, move on.

    Between training and test lie `purge` + `embargo` bars in no set. The last test may be shorter,
    if there are at least half of `test` bars for it.

    Args:
        bars: T.
        train: bars of the first training set, gap not counted; of each one unless `anchored`.
        test: bars of a test set.
        step: bars from one test to the next; None: `test`, so that tests tile the time.
        anchored: training always begins at bar 0 and grows; else it rolls along.
        purge: bars whose outcome would reach into the test.
        embargo: further bars of distance.

    Raises:
        UsageError: if a length is out of range.
        DataError: if there is no window in so few bars.
    """
    step = test if step is None else step
    for name, value, least in (("train", train, 1), ("test", test, 1), ("step", step, 1),
                               ("purge", purge, 0), ("embargo", embargo, 0)):  # fmt: skip
        if value < least:
            raise UsageError(f"{name} must be {least} or more bars, was {value}")
    gap = purge + embargo
    found = []
    begin = train + gap
    while bars - begin >= max(test // 2, 1):
        stop = begin - gap
        found.append(
            Window(
                train_start=0 if anchored else stop - train,
                train_stop=stop,
                test_start=begin,
                test_stop=min(begin + test, bars),
            )
        )
        begin += step
    if not found:
        raise DataError(
            f"too little history: {train} bars to train, {gap} between and {test} to test need "
            f"{train + gap + max(test // 2, 1)} bars at least, there are {bars}"
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Bars to train on and bars to test on, both in order; `groups` names the tested ones."""

    train: Ints
    test: Ints
    groups: tuple[int, ...]


def purged_folds(bars: int, folds: int, *, purge: int = 0, embargo: int = 0) -> list[Split]:
    """K-fold with purging and embargo: each stretch of bars is the test set once.

    Raises:
        UsageError, DataError: as of `combinatorial`.
    """
    return combinatorial(bars, folds, 1, purge=purge, embargo=embargo)


def combinatorial(
    bars: int, groups: int, tests: int = 2, *, purge: int = 0, embargo: int = 0
) -> list[Split]:
    """Every choice of `tests` of `groups` stretches as the test set (CPCV).

    Of each stretch of tested bars, `purge` bars before it and `purge` + `embargo` bars after it
    are taken out of training.

    Args:
        bars: T.
        groups: stretches that the bars are cut into, as equal as can be; the first ones are longer.
        tests: stretches tested at once, 1 to groups - 1.
        purge: bars taken out on either side.
        embargo: further bars taken out after a test.

    Raises:
        UsageError: if a number is out of range.
        DataError: if a split leaves nothing to train on.
    """
    if not 2 <= groups <= bars:
        raise UsageError(f"groups must be from 2 to the {bars} bars, was {groups}")
    if not 1 <= tests < groups:
        raise UsageError(f"tests must be from 1 to {groups - 1}, was {tests}")
    if purge < 0 or embargo < 0:
        raise UsageError(f"purge and embargo must be 0 or more, were {purge} and {embargo}")
    edges = group_edges(bars, groups)
    found = []
    for chosen in combinations(range(groups), tests):
        tested = np.zeros(bars, np.bool_)
        near = np.zeros(bars, np.bool_)
        for group in chosen:
            begin, stop = int(edges[group]), int(edges[group + 1])
            tested[begin:stop] = True
            near[max(begin - purge, 0) : stop + purge + embargo] = True
        train = np.flatnonzero(~near)
        if not len(train):
            raise DataError(f"no bar is left to train on beside test groups {chosen}: purge less")
        found.append(Split(train=train, test=np.flatnonzero(tested), groups=chosen))
    return found


def group_edges(bars: int, groups: int) -> Ints:
    """[groups + 1] where stretches begin and end."""
    least, more = divmod(bars, groups)
    sizes = np.full(groups, least, np.int64)
    sizes[:more] += 1
    return np.concatenate([[0], np.cumsum(sizes)])


def paths(groups: int, tests: int) -> NDArray[np.int64]:
    """[path, group] which split of `combinatorial` each path takes a group's test result from.

    Each group is tested in C(groups - 1, tests - 1) splits; the n-th of them belongs to path n, so
    that many whole histories come of results out of sample.
    """
    count = comb(groups - 1, tests - 1)
    out = np.zeros((count, groups), np.int64)
    seen = np.zeros(groups, np.int64)
    for split, chosen in enumerate(combinations(range(groups), tests)):
        for group in chosen:
            out[seen[group], group] = split
            seen[group] += 1
    return out
