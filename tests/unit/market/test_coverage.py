"""Ranges of minutes: later knowledge settles earlier, by one rule, minute by minute."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from don.market.coverage import (
    KEPT,
    MINUTE_NS,
    Range,
    State,
    overlay,
    settle,
    shares_of,
    without,
)

LAST = 30


def made(start: int, end: int, state: State, reason: str = "") -> Range:
    return Range(
        exchange="BINANCE",
        channel="trades",
        symbol="BTC-USDT",
        start=start * MINUTE_NS,
        end=end * MINUTE_NS,
        state=state,
        reason=reason,
    )


@st.composite
def claims(draw: st.DrawFn) -> Range:
    start = draw(st.integers(0, LAST - 1))
    end = draw(st.integers(start + 1, LAST))
    return made(start, end, draw(st.sampled_from(list(State))), draw(st.sampled_from(["", "why"])))


@given(st.lists(claims(), max_size=12), st.booleans())
def test_overlaying_ranges_is_settling_each_minute(given: list[Range], anew: bool) -> None:
    minutes: list[State | None] = [None] * LAST
    found: list[Range] = []
    for claim in given:
        found = overlay(found, [claim], anew=anew)
        for at in range(claim.start // MINUTE_NS, claim.end // MINUTE_NS):
            was = minutes[at]
            explained = was is State.DOWN and claim.state is State.GAP
            if anew and not explained and claim.state is not State.FILLED:
                was = None
            minutes[at] = settle(was, claim.state)
    assert found == overlay([], given, anew=anew)
    flat: list[State | None] = [None] * LAST
    for each in found:
        for at in range(each.start // MINUTE_NS, each.end // MINUTE_NS):
            assert flat[at] is None  # no overlap
            flat[at] = each.state
    assert flat == minutes
    assert [each.start for each in found] == sorted(each.start for each in found)
    for one, two in pairwise(found):
        assert (one.end, one.state, one.reason) != (two.start, two.state, two.reason)
    shares = shares_of(found, 0, LAST * MINUTE_NS)
    assert shares.unknown == minutes.count(None)
    assert sum(shares.fractions().values()) == pytest.approx(1)


@given(st.lists(claims(), max_size=8))
def test_claiming_again_changes_nothing(given: list[Range]) -> None:
    found = overlay([], given)
    kept = [each for each in found if each.state in KEPT]
    assert overlay(found, kept) == found


@pytest.mark.parametrize(
    ("known", "claim", "settled"),
    [
        (None, State.FILLED, State.COMPLETE),
        (State.GAP, State.FILLED, State.REPAIRED),
        (State.DOWN, State.FILLED, State.REPAIRED),
        (State.SYNTHETIC, State.FILLED, State.SYNTHETIC),
        (State.GAP, State.COMPLETE, State.COMPLETE),  # ids prove that nothing was missed
        (State.REPAIRED, State.COMPLETE, State.REPAIRED),
        (State.COMPLETE, State.GAP, State.GAP),  # a hole found later
        (State.REPAIRED, State.GAP, State.GAP),
        (State.DOWN, State.GAP, State.DOWN),
        (State.GAP, State.DOWN, State.DOWN),
        (State.COMPLETE, State.REPAIRED, State.COMPLETE),
        (State.GAP, State.SYNTHETIC, State.SYNTHETIC),
        (State.COMPLETE, State.SYNTHETIC, State.COMPLETE),
    ],
)
def test_later_knowledge_settles_earlier(known: State | None, claim: State, settled: State) -> None:
    assert settle(known, claim) is settled


def test_an_audit_says_what_is_there_now() -> None:
    known = [made(0, 5, State.REPAIRED), made(5, 8, State.DOWN, "maintenance")]
    audited = overlay(known, [made(2, 7, State.GAP, "bars missing")], anew=True)
    assert audited == [
        made(0, 2, State.REPAIRED),
        made(2, 5, State.GAP, "bars missing"),
        made(5, 8, State.DOWN, "maintenance"),
    ]
    assert overlay(audited, [made(0, 5, State.COMPLETE)], anew=True)[0] == made(
        0, 5, State.COMPLETE
    )


@pytest.mark.parametrize(("start", "end"), [(0, 0), (2, 1), (0.5, 2)])
def test_ranges_are_whole_minutes(start: float, end: float) -> None:
    with pytest.raises(ValueError, match="whole minutes and start < end"):
        Range(
            exchange="X", channel="trades", symbol="S", state=State.GAP,
            start=int(start * MINUTE_NS), end=int(end * MINUTE_NS),
        )  # fmt: skip


@given(given=st.lists(claims(), max_size=8), missing=st.lists(claims(), max_size=4))
def test_nothing_is_claimed_complete_of_which_something_is_missing(
    given: list[Range], missing: list[Range]
) -> None:
    def minutes(ranges: list[Range]) -> list[tuple[int, State]]:
        return [
            (at, each.state)
            for each in ranges
            for at in range(each.start // MINUTE_NS, each.end // MINUTE_NS)
        ]

    bad = {at for at, _ in minutes(missing)}
    expected = [(at, s) for at, s in minutes(given) if s is not State.COMPLETE or at not in bad]
    assert minutes(without(given, missing)) == expected
