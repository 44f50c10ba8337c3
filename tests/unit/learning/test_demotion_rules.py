"""Rules that take a model down look at what its book did, not at capital that came or went."""

import pytest

from don.books.rules import DemotionConfig, Point, breaches, drawdown, growth


def curve(*steps: tuple[float, float]) -> list[Point]:
    return [Point(ts=n, equity=equity, pnl=pnl) for n, (equity, pnl) in enumerate(steps)]


def test_capital_is_neither_gain_nor_loss() -> None:
    points = curve((100, 0), (110, 10), (55, 10), (44, -1))  # half of it was taken out
    assert growth(points) == pytest.approx([1.0, 1.1, 1.1, 1.1 * 0.8])
    assert drawdown(growth(points)) == pytest.approx(0.2)
    assert growth([]) == [] and drawdown([]) == 0.0


def test_a_fall_and_a_drift_are_told() -> None:
    config = DemotionConfig(max_drawdown=0.15, max_drift=0.05, min_points=3)
    fallen = curve((100, 0), (100, 0), (80, -20))
    steady = curve((100, 0), (100, 0), (100, 0))
    told = breaches({"a.v1": fallen, "a.v1.paper": steady, "b.v2": steady}, config)
    assert [(b.slot, b.rule) for b in told] == [("a.v1", "drawdown"), ("a.v1", "drift")]
    assert told[0].why == "drawdown 0.2000 is beyond 0.15"
    assert breaches({"a.v1.paper": fallen}, config) == []  # paper alone is the shadow's twin
    few = DemotionConfig(max_drawdown=None, max_drift=0.05, min_points=4)
    assert breaches({"a.v1": fallen, "a.v1.paper": steady}, few) == []
    off = DemotionConfig(max_drawdown=None, max_drift=None)
    assert breaches({"a.v1": fallen, "a.v1.paper": steady}, off) == []


def test_drift_begins_where_both_are_known() -> None:
    config = DemotionConfig(max_drawdown=None, max_drift=0.05, min_points=2)
    traded = curve((100, 0), (150, 50), (151.5, 51.5))
    paper = traded[1:]
    assert breaches({"a": traded, "a.paper": paper}, config) == []
