"""The measured offset of clocks: within its bound, robust, and a refusal past what is safe."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from don.clock import NS_PER_MS, NS_PER_S
from don.errors import RateLimited
from don.exchanges.clock_offset import ClockOffset, ClockUnsafe, Comparison


def comparison(true_ahead_ms: float, there_ms: float, back_ms: float, at_ms: float = 1e9):
    """Our clock is ahead by so much; the request takes so long there and back."""
    server = at_ms - true_ahead_ms + there_ms
    return Comparison(
        sent_ns=round(at_ms * NS_PER_MS),
        round_trip_ns=round((there_ms + back_ms) * NS_PER_MS),
        server_ns=round(server * NS_PER_MS),
    )


LEGS = st.lists(st.tuples(st.floats(0, 400), st.floats(0, 400)), min_size=1, max_size=8)


@given(st.floats(-10_000, 10_000), LEGS)
def test_the_truth_lies_within_the_stated_error(ahead, legs):
    reading = ClockOffset().add([comparison(ahead, *leg) for leg in legs], 1)
    assert abs(reading.ahead_ns - ahead * NS_PER_MS) <= reading.error_ns + 3


def test_slow_round_trips_do_not_count():
    good = [comparison(250, 1, 1), comparison(250, 1, 2), comparison(250, 2, 1)]
    bad = [comparison(250, 900, 1), comparison(250, 1, 700)]
    reading = ClockOffset().add([*bad, *good], 1)
    assert abs(reading.ahead_ns - 250 * NS_PER_MS) < NS_PER_MS


def test_drift_is_told_when_enough_is_known():
    offset = ClockOffset()
    for minute in range(10):
        ahead = 5 + minute * 60 * 0.02  # 20 ppm
        reading = offset.add([comparison(ahead, 1, 1)], minute * 60 * NS_PER_S)
    assert reading.drift_ppm == pytest.approx(20, rel=0.01)
    assert "drift +20.0 ppm" in reading.text() and "ahead of the exchange" in reading.text()


def test_past_the_bound_nothing_may_be_signed_and_the_message_says_what_to_do():
    offset = ClockOffset()
    offset.check(1.0)  # nothing known yet
    offset.add([comparison(-900, 1, 1)], 1)
    offset.check(1.0)
    offset.add([comparison(-6_200, 1, 1)], 2)
    with pytest.raises(ClockUnsafe, match=r"6200\.\d ms behind.*not signed beyond 5 s.*chronyc"):
        offset.check(5.0)
    assert issubclass(ClockUnsafe, RateLimited), "certainly not sent: it may be sent again"


def test_an_uncertain_reading_does_not_stop_trading():
    offset = ClockOffset()
    offset.add([comparison(0, 12_000, 1)], 1)
    offset.check(5.0)
