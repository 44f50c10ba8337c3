"""Whatever is lost and however answers and streams interleave: each bar once, closed, no hole."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from don.feeds.bars import Bar, BarKeeper, BarVerdict

MINUTE = 60_000_000_000
PARTIAL = -1.0


def bar(number: int, *, closed: bool) -> Bar:
    return Bar(number * MINUTE, 1.0, 1.0, 1.0, 1.0 if closed else PARTIAL, 1.0, 1)


class World:
    """An exchange that closes bars, a stream that may lose them, and answers that travel."""

    def __init__(self, absent: set[int], shows_forming: bool) -> None:
        self.keeper = BarKeeper(["X"], MINUTE)
        self.now = 0  # closed bars on the exchange: 1 .. now
        self.seen_ns = 0  # exchange time that the stream has shown
        self.absent = absent
        self.shows_forming = shows_forming
        self.sent: list[int] = []
        self.told_absent: list[int] = []
        self.flying: list[tuple[list[Bar], int]] = []

    def close_bar(self, delivered: bool) -> None:
        self.now += 1
        if self.now in self.absent or not delivered:
            return
        self.seen_ns = self.now * MINUTE
        if self.keeper.on_stream("X", self.now * MINUTE) is not BarVerdict.KNOWN:
            self.sent.append(self.now)

    def ask(self) -> None:
        start = self.keeper.wanted_from("X")
        first = self.now - 5 if start is None else start // MINUTE
        rows = [
            bar(n, closed=True) for n in range(max(1, first), self.now + 1) if n not in self.absent
        ]
        if self.shows_forming and self.now + 1 >= first and self.now + 1 not in self.absent:
            rows.append(bar(self.now + 1, closed=False))
        self.flying.append((rows, self.seen_ns))

    def answer(self) -> None:
        rows, closed_by = self.flying.pop(0)
        repair = self.keeper.on_repair("X", rows, closed_by)
        assert all(row.close != PARTIAL for row in repair.bars)
        self.sent += [row.ts // MINUTE for row in repair.bars]
        self.told_absent += [ts // MINUTE for ts in repair.absent]


steps = st.sampled_from(["deliver", "deliver", "lose", "trade", "ask", "answer"])


@example(["deliver", *["lose"] * 7, "ask"], set(), False)  # the first answer does not reach back
@settings(max_examples=400, deadline=None)
@given(st.lists(steps, max_size=60), st.sets(st.integers(1, 40), max_size=5), st.booleans())
def test_each_bar_once_closed_and_without_hole(script, absent, shows_forming):
    world = World(absent, shows_forming)
    for step in script:
        if step == "ask" and not world.flying:  # one request at a time
            world.ask()
        elif step == "answer" and world.flying:
            world.answer()
        elif step == "trade":  # shows the exchange's time, not the bars
            world.seen_ns = world.now * MINUTE + 1
        elif step in ("deliver", "lose"):
            world.close_bar(step == "deliver")
    while world.flying:
        world.answer()
    # In the end the stream shows a bar again and repairs go on until nothing is missing.
    world.absent = {n for n in world.absent if n <= world.now}
    world.close_bar(delivered=True)
    for _ in range(3):
        world.ask()
        world.answer()
        if not world.keeper.has_holes("X"):
            break
    assert not world.keeper.has_holes("X")
    assert len(set(world.sent)) == len(world.sent)
    expected = [n for n in range(min(world.sent), world.now + 1) if n not in world.absent]
    assert sorted(world.sent) == expected
    assert set(world.told_absent) <= world.absent
    assert len(set(world.told_absent)) == len(world.told_absent)


def test_bar_is_overdue_once_its_close_has_passed_and_until_rest_was_asked():
    keeper = BarKeeper(["X"], MINUTE)
    assert keeper.overdue("X", 10 * MINUTE) is None  # nothing known yet: the first repair's work
    keeper.on_repair("X", [bar(1, closed=True), bar(2, closed=False)], MINUTE)
    assert keeper.overdue("X", 2 * MINUTE - 1) is None
    assert keeper.overdue("X", 2 * MINUTE) == 2 * MINUTE
    keeper.on_repair("X", [], 2 * MINUTE + 5)  # the exchange has none
    assert keeper.overdue("X", 2 * MINUTE + 6) is None
    assert keeper.overdue("X", 3 * MINUTE) == 3 * MINUTE
    assert keeper.wanted_from("X") == 2 * MINUTE  # should it come late after all
