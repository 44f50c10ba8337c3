"""Checks of market data name what is wrong and let what is right pass."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from don.market.quality import IssueKind, PriceCheck, check_fresh, check_quote

S = 1_000_000_000


def test_fresh_and_stale():
    assert check_fresh("X", 5 * S, 15 * S, 10 * S) is None
    issue = check_fresh("X", 5 * S, 15 * S + 1, 10 * S)
    assert issue.kind is IssueKind.STALE and "silent for 10.0 s, allowed 10.0 s" in issue.detail


@pytest.mark.parametrize(
    ("bid", "ask", "kind"),
    [
        (99.0, 100.0, None),
        (100.0, 100.0, IssueKind.CROSSED),
        (101.0, 100.0, IssueKind.CROSSED),
        (0.0, 100.0, IssueKind.INVALID),
        (99.0, math.inf, IssueKind.INVALID),
        (math.nan, 100.0, IssueKind.INVALID),
    ],
)
def test_quotes(bid, ask, kind):
    issue = check_quote("X", bid, ask, 7)
    assert (issue.kind if issue else None) is kind
    assert issue is None or (issue.symbol, issue.ts_event) == ("X", 7)


@given(st.lists(st.floats(-0.019, 0.019), min_size=1, max_size=200), st.floats(1e-6, 1e6))
def test_prices_within_the_floor_are_never_flagged(moves, start):
    check = PriceCheck("X", floor=0.04)
    assert all(check.check(start * math.exp(move), 0) is None for move in moves)


def test_single_wrong_price_is_flagged_and_does_not_linger():
    check = PriceCheck("X")
    prices = [100 + 0.1 * (i % 5) for i in range(40)]
    assert all(check.check(price, 0) is None for price in prices)
    issue = check.check(1000.0, 9)
    assert issue.kind is IssueKind.OUTLIER and issue.ts_event == 9 and "+898" in issue.detail
    assert check.check(100.2, 0) is None


def test_new_price_level_is_accepted_after_a_while():
    check = PriceCheck("X", accept_after=4)
    for _ in range(40):
        check.check(100.0, 0)
    assert [check.check(50.0, 0) is None for _ in range(6)] == [False] * 4 + [True] * 2


def test_impossible_prices_are_invalid_at_once():
    check = PriceCheck("X")
    for price in (0.0, -1.0, math.nan, math.inf):
        assert check.check(price, 0).kind is IssueKind.INVALID


def test_bad_parameters_are_refused():
    with pytest.raises(ValueError, match="window >= 3"):
        PriceCheck("X", window=2)
