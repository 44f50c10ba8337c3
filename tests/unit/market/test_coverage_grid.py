"""The heat map says of each cell what its minutes are."""

from hypothesis import given
from hypothesis import strategies as st

from don.market.coverage import MINUTE_NS, WORST, Range, State, StreamKey, overlay
from don.market.coverage_grid import grid

KEY = StreamKey("X", "trades", "S")


def made(start: int, end: int, state: State, reason: str = "") -> Range:
    return Range(
        exchange="X", channel="trades", symbol="S", start=start * MINUTE_NS,
        end=end * MINUTE_NS, state=state, reason=reason,
    )  # fmt: skip


@given(
    st.lists(
        st.tuples(st.integers(0, 300), st.integers(1, 200), st.sampled_from(WORST)), max_size=12
    ),
    st.integers(0, 300),
    st.integers(1, 400),
    st.integers(2, 90),
)
def test_each_cell_tells_its_minutes(
    claims: list[tuple[int, int, State]], start: int, length: int, columns: int
) -> None:
    known = overlay([], [made(low, low + n, state) for low, n, state in claims])
    end = start + length
    shown = grid([KEY], {KEY: known}, start * MINUTE_NS, end * MINUTE_NS, columns)
    assert shown.columns <= columns and shown.start <= start * MINUTE_NS
    of_minute = {
        at: each.state
        for each in known
        for at in range(each.start // MINUTE_NS, each.end // MINUTE_NS)
    }
    cells = {}
    for run in shown.rows[0].runs:
        for at in range(run.first, run.last + 1):
            assert at not in cells
            cells[at] = run
    step = shown.step_ns // MINUTE_NS
    for column in range(shown.columns):
        low = shown.start // MINUTE_NS + column * step
        inside = [of_minute[m] for m in range(low, min(low + step, end)) if m in of_minute]
        if not inside:
            assert column not in cells
            continue
        run = cells[column]
        assert run.state is next(state for state in WORST if state in inside)
        if sum(run.minutes.values()) == len(inside):
            assert {s: inside.count(s) for s in set(inside)} == {
                s: n for s, n in run.minutes.items() if n
            }
        else:  # the last column may be cut by the end
            assert column == shown.columns - 1 and set(run.minutes) == set(inside)


def test_columns_are_round_and_a_year_fits() -> None:
    year = grid([KEY], {KEY: [made(0, 525_600, State.COMPLETE)]}, 0, 525_600 * MINUTE_NS, 240)
    assert year.step_ns // MINUTE_NS == 2_880 and year.columns == 183
    assert len(year.rows[0].runs) == 1
    assert year.rows[0].shares.share(State.COMPLETE) == 1.0
    gap = grid([KEY], {KEY: [made(7, 9, State.GAP, "away")]}, 0, 600 * MINUTE_NS, 60)
    (run,) = gap.rows[0].runs
    assert (run.first, run.minutes, run.reason) == (0, {State.GAP: 2}, "away")
