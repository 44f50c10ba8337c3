"""How far luck carries the best of many trials, whatever the ledger holds of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from don.clock import NS_PER_S
from don.evaluation.assess import Certainty, Counted, certainty
from don.evaluation.course import SUMS, Course
from don.evaluation.sharpe import expected_best, trial_variance
from don.storage.research_ratios import Ratio

DAY_NS = 86_400 * NS_PER_S
DAYS = 730


def course(r: np.ndarray) -> Course:
    return Course(
        name="agent", ts=np.arange(len(r) + 1) * DAY_NS, interval_ns=DAY_NS,
        equity=1e5 * np.r_[1.0, np.cumprod(1.0 + r)], sums=dict.fromkeys(SUMS, 0.0), gross=1.0,
        liquidations=0, breaks=0,
    )  # fmt: skip


RNG = np.random.default_rng(2)
OWN = course(RNG.normal(0.002, 0.02, DAYS))
HOLD = course(RNG.normal(0.0, 0.02, DAYS))


def sure(ratios: list[Ratio], trials: int | None = None) -> Certainty:
    return certainty(OWN, HOLD, Counted(trials=trials or len(ratios) + 1, ratios=tuple(ratios)))


def of(sharpes: list[float] | np.ndarray, days: float = DAYS, returns: int = 1_000) -> list[Ratio]:
    return [Ratio(sharpe=float(s), returns=returns, days=days) for s in sharpes]


def test_short_backtests_count_and_do_not_widen_luck() -> None:
    """Nine backtests of two days, and evaluations, once put the best of luck at 23."""
    nine = [-33.9, 15.4, -12.0, 3.1, -20.5, 8.8, -1.4, 11.2, -27.3]
    alone = sure([], 11)
    assert 1.0 < alone.best_of_luck < 1.3
    for short in (
        of(nine, days=2, returns=2_880),
        of(nine, days=DAYS, returns=12),  # of so few returns any ratio comes out
        of([*nine, 2.0], days=100),
    ):
        assert sure(short, 11).best_of_luck == alone.best_of_luck
    assert sure([], 30).best_of_luck > alone.best_of_luck  # they are trials all the same


def test_shorter_records_are_told_in_their_own_errors() -> None:
    tried = np.random.default_rng(0).normal(0, 1.0, 60)  # wide for two years: luck is 0.7
    half = sure(of(tried * np.sqrt(2), days=DAYS / 2), 70)
    assert half.best_of_luck == pytest.approx(sure(of(tried), 70).best_of_luck)
    longer = sure(of(tried, days=DAYS * 3), 70)  # never told as wider than they are
    assert longer.best_of_luck == pytest.approx(half.best_of_luck)
    assert longer.best_of_luck > 1.2 * sure([], 70).best_of_luck
    as_published = expected_best(70, trial_variance(tried / np.sqrt(365), DAYS)) * np.sqrt(365)
    assert half.best_of_luck == pytest.approx(as_published, rel=0.15)


def test_losing_by_costs_is_no_luck() -> None:
    ruined = of([-20.0, -14.0, -31.0, -9.0, -0.4, 0.5, -25.0, -18.0, 0.2, -11.0, -6.0])
    assert sure(ruined).best_of_luck == sure([], 12).best_of_luck
    gifted = of([4.0, 0.1, 3.0, -2.0, 5.0, 0.3, -4.0, 2.0, -3.0, 1.0, -5.0])
    assert sure(gifted).best_of_luck > 2.5 * sure([], 12).best_of_luck


def test_ratios_of_unknown_records_widen_luck_in_bounds() -> None:
    """Runs that were entered before records were."""
    old = [Ratio(sharpe=s) for s in (-33.9, 15.4, 9.0, -20.0, 7.0, -6.0, 12.0, -8.0, 3.0, -9.0)]
    luck = sure([], 11).best_of_luck
    assert luck < sure(old).best_of_luck < 2 * luck


@given(
    st.lists(
        st.builds(
            lambda s, known, days: Ratio(sharpe=s, returns=100 if known else None,
                                         days=days if known else None),
            st.floats(-40, 40), st.booleans(), st.sampled_from([2.0, 200.0, 400.0, 730.0, 2e3]),
        ), min_size=8, max_size=40,
    ),
    st.integers(0, 50),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_what_is_tried_later_never_makes_a_result_surer(ratios: list[Ratio], more: int) -> None:
    first = max(len(ratios) - 4, 0)
    told = [sure(ratios[:n], more + n + 1) for n in range(first, len(ratios) + 1)]
    luck = [one.best_of_luck for one in told]
    assert luck == sorted(luck)
    deflated = [one.deflated for one in told]
    assert deflated == sorted(deflated, reverse=True)
    assert deflated[0] <= told[0].probabilistic
