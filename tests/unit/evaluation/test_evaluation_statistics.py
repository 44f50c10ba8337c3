"""Statistics of evaluation against published figures, plain definitions and peers."""

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from don.backtest.bootstrap import resampled
from don.errors import DataError, UsageError
from don.evaluation.advantage import advantage
from don.evaluation.overfitting import overfitting
from don.evaluation.reality import reality_check
from don.evaluation.sharpe import (
    Moments,
    deflated,
    expected_best,
    minimum_record,
    probabilistic,
    trial_variance,
)
from don.evaluation.splits import combinatorial, paths, purged_folds, walk_forward

DAY = 86_400 * 10**9


# ---- splits --------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(
    bars=st.integers(20, 400), train=st.integers(1, 120), test=st.integers(1, 60),
    step=st.one_of(st.none(), st.integers(1, 60)), anchored=st.booleans(),
    purge=st.integers(0, 9), embargo=st.integers(0, 9),
)  # fmt: skip
def test_training_ends_before_the_test_begins(
    bars: int, train: int, test: int, step: int | None, anchored: bool, purge: int, embargo: int
) -> None:
    how = {"train": train, "test": test, "step": step, "anchored": anchored, "purge": purge,
           "embargo": embargo}  # fmt: skip
    if bars < train + purge + embargo + max(test // 2, 1):
        with pytest.raises(DataError, match=f"at least, there are {bars}"):
            walk_forward(bars, **how)
        return
    windows = walk_forward(bars, **how)
    for n, window in enumerate(windows):
        assert window.test_start - window.train_stop == purge + embargo
        assert window.test_start == train + purge + embargo + n * (step or test)
        assert window.train_start == (0 if anchored else window.train_stop - train)
        assert window.test_stop <= bars
        full = window.test_stop - window.test_start == test
        assert full or (window.test_stop == bars and bars - window.test_start >= test // 2)
    if step is None:  # no bar is tested twice, none between tests is left out
        edges = [(w.test_start, w.test_stop) for w in windows]
        assert all(a[1] == b[0] for a, b in pairwise(edges))


@settings(max_examples=30)
@given(
    bars=st.integers(12, 120), groups=st.integers(2, 7), tests=st.integers(1, 6),
    purge=st.integers(0, 5), embargo=st.integers(0, 5),
)  # fmt: skip
def test_no_trained_bar_is_near_a_tested_one(
    bars: int, groups: int, tests: int, purge: int, embargo: int
) -> None:
    if tests >= groups:
        with pytest.raises(UsageError, match=f"tests must be from 1 to {groups - 1}"):
            combinatorial(bars, groups, tests)
        return
    try:
        splits = combinatorial(bars, groups, tests, purge=purge, embargo=embargo)
    except DataError:
        return
    assert len(splits) == math.comb(groups, tests)
    tested = np.zeros(bars, int)
    for split in splits:
        tested[split.test] += 1
        distance = split.train[:, None] - split.test[None, :]
        assert not ((-purge <= distance) & (distance <= purge + embargo)).any()
        away = np.setdiff1d(np.arange(bars), split.train)[:, None] - split.test[None, :]
        assert ((-purge <= away) & (away <= purge + embargo)).any(axis=1).all()  # and no more
    assert (tested == math.comb(groups - 1, tests - 1)).all()


def test_paths_use_each_result_once() -> None:
    found = paths(6, 2)  # the example of López de Prado, ch. 12: 15 splits, 5 paths
    assert found.shape == (5, 6)
    splits = combinatorial(60, 6, 2)
    used = {(int(split), group) for row in found for group, split in enumerate(row)}
    assert used == {(n, g) for n, split in enumerate(splits) for g in split.groups}


def test_purged_folds_and_bad_lengths() -> None:
    folds = purged_folds(10, 5, purge=1, embargo=1)
    assert folds[2].test.tolist() == [4, 5] and folds[2].train.tolist() == [0, 1, 2, 8, 9]
    with pytest.raises(UsageError, match="train must be 1 or more bars, was 0"):
        walk_forward(10, train=0, test=1)
    with pytest.raises(UsageError, match="groups must be from 2 to the 10 bars, was 11"):
        purged_folds(10, 11)
    with pytest.raises(DataError, match="no bar is left to train on"):
        purged_folds(10, 2, purge=5)


@pytest.mark.parametrize(("groups", "tests", "purge", "embargo"), [(6, 2, 3, 2), (10, 8, 0, 5)])
def test_splits_are_those_of_skfolio(groups: int, tests: int, purge: int, embargo: int) -> None:
    selection = pytest.importorskip("skfolio.model_selection", reason="skfolio is not installed")
    bars = groups * 20
    peer = selection.CombinatorialPurgedCV(
        n_folds=groups, n_test_folds=tests, purged_size=purge, embargo_size=embargo
    )
    mine = combinatorial(bars, groups, tests, purge=purge, embargo=embargo)
    theirs = list(peer.split(np.zeros((bars, 1))))
    assert len(mine) == len(theirs)
    for one, (train, test) in zip(mine, theirs, strict=True):
        assert np.array_equal(one.train, train)
        assert np.array_equal(one.test, np.concatenate(test))
    assert len(paths(groups, tests)) == len(np.unique(peer.get_path_ids()))


# ---- Sharpe ratios -------------------------------------------------------------------------------


def test_published_figures_of_the_deflated_sharpe_ratio() -> None:
    # Bailey & López de Prado (2014), "A numerical example": 2.5 a year, five years of days
    m = Moments(count=1250, sharpe=2.5 / math.sqrt(250), skew=-3.0, kurtosis=10.0)
    assert expected_best(100, 0.5 / 250) == pytest.approx(0.1132, abs=5e-5)
    assert deflated(m, 100, 0.5 / 250) == pytest.approx(0.9004, abs=5e-5)
    assert deflated(m, 46, 0.5 / 250) == pytest.approx(0.9505, abs=5e-5)
    assert probabilistic(m) > 0.9999


@pytest.mark.parametrize(
    ("steps", "skew", "kurtosis", "years"),
    [(250, 0.0, 3.0, 2.73), (52, 0.0, 3.0, 2.83), (12, 0.0, 3.0, 3.24), (12, -0.72, 5.78, 4.99)],
)
def test_published_figures_of_the_minimum_record(
    steps: int, skew: float, kurtosis: float, years: float
) -> None:
    # Bailey & López de Prado (2012): a ratio of 2 a year, to be above 1 with 95 %
    root = math.sqrt(steps)
    m = Moments(count=60, sharpe=2 / root, skew=skew, kurtosis=kurtosis)
    assert minimum_record(m, 1 / root) / steps == pytest.approx(years, abs=0.006)
    at = round(minimum_record(m, 1 / root))
    there = Moments(count=at, sharpe=m.sharpe, skew=skew, kurtosis=kurtosis)
    assert probabilistic(there, 1 / root) == pytest.approx(0.95, abs=2e-3)


def test_sharpe_figures_are_those_of_skfolio() -> None:
    peer = pytest.importorskip("skfolio.measures", reason="skfolio is not installed")
    r = np.random.default_rng(4).standard_t(4, 300) * 0.01 + 0.001
    m = Moments.of(r)
    for benchmark in (0.0, 0.05):
        assert probabilistic(m, benchmark) == pytest.approx(
            peer.probabilistic_sharpe_ratio(r, benchmark), abs=1e-3
        )
    tried = np.random.default_rng(5).normal(0, 0.1, 40)
    mine = deflated(m, 40, trial_variance(tried, len(r)))
    assert mine == pytest.approx(peer.deflated_sharpe_ratio(r, tried), abs=5e-3)


def test_sharpe_figures_of_returns() -> None:
    r = np.random.default_rng(0).gamma(2.0, 0.01, 500) - 0.019
    m = Moments.of(r)
    n, mean = len(r), sum(r) / len(r)
    second = sum((x - mean) ** 2 for x in r) / n
    assert m.sharpe == pytest.approx(mean / math.sqrt(second * n / (n - 1)), rel=1e-12)
    assert m.skew == pytest.approx(sum((x - mean) ** 3 for x in r) / n / second**1.5, rel=1e-9)
    assert m.kurtosis == pytest.approx(sum((x - mean) ** 4 for x in r) / n / second**2, rel=1e-9)
    assert math.isnan(probabilistic(Moments.of(np.zeros(50))))
    assert math.isnan(minimum_record(Moments.of(np.zeros(50))))
    assert minimum_record(Moments.of(-r)) == math.inf or m.sharpe < 0
    with pytest.raises(ValueError, match="trials >= 1"):
        expected_best(0, 1.0)


def test_expected_best_is_the_mean_of_the_best_of_luck() -> None:
    rng = np.random.default_rng(1)
    assert expected_best(1, 1.0) == 0.0
    for trials in (5, 50, 500):
        drawn = rng.normal(0, 0.1, (2_000, trials)).max(axis=1).mean()
        assert expected_best(trials, 0.01) == pytest.approx(drawn, rel=0.05)
    few = [expected_best(n, 1.0) for n in range(1, 40)]
    assert few == sorted(few)


def test_variance_of_trials_is_at_least_that_of_luck() -> None:
    assert trial_variance(np.array([0.1, 0.2]), 101) == pytest.approx(0.01)  # too few to believe
    alike = np.full(20, 0.1) + np.linspace(0, 1e-6, 20)
    assert trial_variance(alike, 101) == pytest.approx(0.01)
    wide = np.random.default_rng(0).normal(0, 1, 50)
    assert trial_variance(wide, 101) == pytest.approx(wide.var(ddof=1))
    assert trial_variance(np.append(wide, np.nan), 101) == pytest.approx(wide.var(ddof=1))


# ---- overfitting ---------------------------------------------------------------------------------


def plain_overfitting(r: np.ndarray, blocks: int) -> list[float]:
    size = len(r) // blocks
    pieces = [r[len(r) - size * blocks :][k * size : (k + 1) * size] for k in range(blocks)]
    logits = []
    for chosen in combinations(range(blocks), blocks // 2):
        rest = [k for k in range(blocks) if k not in chosen]
        ins = np.concatenate([pieces[k] for k in chosen])
        out = np.concatenate([pieces[k] for k in rest])
        best = int(np.argmax(ins.mean(axis=0) / ins.std(axis=0)))
        ratios = out.mean(axis=0) / out.std(axis=0)
        rank = 1 + sum(ratios[n] < ratios[best] for n in range(r.shape[1]) if n != best)
        share = rank / (r.shape[1] + 1)
        logits.append(math.log(share / (1 - share)))
    return logits


def test_overfitting_is_that_of_its_definition() -> None:
    r = np.random.default_rng(0).normal(0, 0.01, (83, 7))
    found = overfitting(r, 6)
    plain = plain_overfitting(r, 6)
    assert np.allclose(found.logits, plain, rtol=1e-12)
    assert found.probability == sum(x <= 0 for x in plain) / len(plain)


def test_overfitting_tells_luck_from_skill() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.01, (1_000, 20))
    lucky = overfitting(noise, 10)
    assert lucky.probability > 0.25 and lucky.slope < 0.3
    skilled = noise.copy()
    skilled[:, 4] += 0.004
    found = overfitting(skilled, 10)
    assert found.probability < 0.01 and found.loss < 0.01
    still = overfitting(np.column_stack([np.zeros(100), rng.normal(-0.01, 0.001, 100)]), 4)
    assert still.probability == 0.0 and (still.chosen_out == 0).all()  # staying out loses nothing
    with pytest.raises(UsageError, match="blocks must be even, from 2 to 20, was 7"):
        overfitting(noise, 7)
    with pytest.raises(DataError, match="8 blocks need 16 returns, were 10"):
        overfitting(noise[:10], 8)
    with pytest.raises(UsageError, match="two configurations"):
        overfitting(noise[:, :1], 8)


# ---- reality check -------------------------------------------------------------------------------


def test_reality_check_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(5)
    d = rng.normal(0.0004, 0.01, (90, 3)) + np.array([0.001, 0.0, -0.02])
    found = reality_check(d, draws=200, seed=9, block=3.0)
    n, k, q = 90, 3, 1 / 3.0
    mean = [sum(d[:, j]) / n for j in range(k)]
    omega = []
    for j in range(k):
        c = d[:, j] - mean[j]
        total = float((c * c).sum() / n)
        for i in range(1, n):
            kernel = (n - i) / n * (1 - q) ** i + i / n * (1 - q) ** (n - i)
            total += 2 * kernel * float((c[i:] * c[:-i]).sum() / n)
        omega.append(math.sqrt(total))
    draw = np.random.default_rng(9)
    bound = math.sqrt(2 * math.log(math.log(n)))
    centre = [0.0 if math.sqrt(n) * mean[j] / omega[j] <= -bound else mean[j] for j in range(k)]
    tested = max(*(math.sqrt(n) * mean[j] / omega[j] for j in range(k)), 0.0)
    white = spa = 0
    for _ in range(200):
        at = resampled(n, 3.0, draw)
        star = [sum(d[at, j]) / n for j in range(k)]
        white += max(star[j] - mean[j] for j in range(k)) >= max(mean)
        z = max(*(math.sqrt(n) * (star[j] - centre[j]) / omega[j] for j in range(k)), 0.0)
        spa += z >= tested
    assert found.white == white / 200 and found.spa == spa / 200
    assert found.best == 0 and found.spa_lower <= found.spa <= found.spa_upper
    assert centre[2] == 0.0  # the bad one does not count against the others


def test_reality_check_is_rarely_fooled_and_finds_skill() -> None:
    rng = np.random.default_rng(7)
    p = []
    for n in range(30):
        found = reality_check(rng.normal(0, 0.01, (120, 6)), draws=60, seed=n)
        p.append((found.white, found.spa))
    assert (np.array(p) < 0.05).mean(axis=0).max() <= 0.2 and 0.25 < np.mean(p) < 0.75
    skilled = rng.normal(0, 0.01, (300, 6))
    skilled[:, 4] += 0.004
    found = reality_check(skilled, draws=100)
    assert found.spa < 0.02 and found.white < 0.02 and found.best == 4
    same = reality_check(np.zeros((50, 2)), draws=10)
    assert same.spa == 1.0 and same.white == 1.0
    with pytest.raises(DataError, match="needs 30 steps, were 5"):
        reality_check(np.zeros((5, 2)))


# ---- advantage -----------------------------------------------------------------------------------


def test_what_moves_both_cancels() -> None:
    rng = np.random.default_rng(2)
    market = rng.normal(0, 0.03, 800)
    one, other = market + 0.0005 + rng.normal(0, 0.001, 800), market
    found = advantage(one, other, DAY, draws=100)
    assert found.growth == pytest.approx(
        365 * (np.log1p(one).mean() - np.log1p(other).mean()), rel=1e-12
    )
    low, high = found.growth_interval
    assert 0 < low < found.growth < high and found.better == 1.0
    again = advantage(other, one, DAY, draws=100)
    assert again.growth_interval == pytest.approx((-high, -low)) and again.better == 0.0
    same = advantage(one, one, DAY, draws=50)
    assert same.growth_interval == (0.0, 0.0) and same.sharpe_interval == (0.0, 0.0)
    out = advantage(np.zeros(800), market, DAY, draws=50)  # staying out beside the market
    assert math.isfinite(out.sharpe)
    assert math.isnan(advantage(one[:5], other[:5], DAY).growth)
    with pytest.raises(ValueError, match="the same steps"):
        advantage(one, other[:-1], DAY)
