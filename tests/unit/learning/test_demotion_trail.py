"""A model is judged where it trades, over its whole life, with nothing that is held growing."""

from decimal import Decimal

import pytest

from don.books.book import Book, BookState
from don.books.config import CANARY_SHARE, Mode
from don.books.rules import DemotionConfig
from don.errors import UsageError
from don.learning.card import ModelCard
from don.learning.resolve import slot_name, slots_of, traded
from don.learning.stages import Stage, Version, find, nearest
from don.learning.trail import Trail, Worth
from don.risk.states import TradingState

RULES = DemotionConfig(max_drawdown=0.15, max_drift=0.05, min_points=3)
ACTIVE, HALTED = TradingState.ACTIVE, TradingState.HALTED


def version(name: str, number: int, stage: Stage, content: str = "") -> Version:
    return Version(
        name=name, version=number, id=content or f"{name}-{number}",
        card=ModelCard.model_construct(name=name), stage=stage, who="", why="", ts=1, source="",
    )  # fmt: skip


def broken(trail: Trail, config: DemotionConfig = RULES) -> list[str]:
    return [one.rule for one in trail.breaches("s", config)]


def lost(trail: Trail, count: int, each: float, begin: float = 100_000.0) -> None:
    for n in range(count):
        trail.add(Worth(equity=begin - each * n, pnl=-each * n), None)


def test_no_curve_is_too_long_to_be_judged() -> None:
    trail = Trail(None, None, ACTIVE)
    lost(trail, 20_000, 1.0)  # 20 % in all, 2 % over the newest 2,000
    (one,) = trail.breaches("s", RULES)
    assert (one.rule, one.value) == ("drawdown", pytest.approx(0.19999))


def test_a_fall_and_a_drift_are_told() -> None:
    def fallen(config: DemotionConfig) -> list[str]:
        trail = Trail(None, None, ACTIVE)
        for equity in (100.0, 100.0, 80.0):
            steady = Worth(equity=100.0, pnl=0.0)
            trail.add(Worth(equity=equity, pnl=equity - 100.0), steady)
        return [one.why for one in trail.breaches("s", config)]

    assert fallen(RULES) == ["drawdown 0.2000 is beyond 0.15", "drift 0.2000 is beyond 0.05"]
    assert fallen(DemotionConfig(max_drawdown=None, max_drift=0.05, min_points=4)) == []
    assert fallen(DemotionConfig(max_drawdown=None, max_drift=None)) == []


def test_capital_is_neither_gain_nor_loss() -> None:
    trail = Trail(None, None, ACTIVE)
    for equity, pnl in ((100, 0), (110, 10), (55, 10), (44, -1)):  # half of it was taken out
        trail.add(Worth(equity=equity, pnl=pnl), None)
    (one,) = trail.breaches("s", RULES)
    assert one.value == pytest.approx(0.2)


def test_growth_and_peak_go_on_from_the_session_before() -> None:
    book = Book(BookState(name="s", capital=Decimal(1000)))
    for equity in (1000, 1100, 1000):
        book.realized = Decimal(equity - 1000)
        book.mark({})
    carried = book.dump()
    trail = Trail(carried, None, ACTIVE)
    trail.add(Worth(equity=950.0, pnl=-50.0), None)  # alone it is 5 %, from the peak 13.6 %
    assert broken(trail) == []
    book.move(Decimal(1000))
    trail.add(Worth(equity=1850.0, pnl=-150.0), None)  # 1,000 were put in: no gain
    (one,) = trail.breaches("s", RULES)
    book.realized = Decimal(-50)
    assert one.value == pytest.approx(1 - 950 / 1100 * 1850 / 1950)


def test_drift_is_counted_over_sessions_from_where_both_are_known() -> None:
    own = BookState(name="s", returns=(0.5, 0.0, -0.04), growth=1.44, peak=1.5, since=Decimal(100))
    twin = BookState(name="s.paper", returns=(0.0, 0.0), growth=1.0, since=Decimal(100))
    trail = Trail(own, twin, ACTIVE)
    assert broken(trail) == []  # what was before the twin does not count
    trail.add(Worth(equity=98.0, pnl=98.0), Worth(equity=100.0, pnl=100.0))
    assert broken(trail) == ["drift"]
    trail.only(0)
    assert broken(trail) == []


def test_who_sets_a_slot_going_again_has_seen_the_loss() -> None:
    trail = Trail(None, None, ACTIVE)
    lost(trail, 3, 10_000.0)
    assert broken(trail) == ["drawdown"]
    trail.stand(HALTED)
    trail.add(Worth(equity=79_000.0, pnl=-21_000.0), Worth(equity=100_000.0, pnl=0.0))
    assert broken(trail) == []  # it is halted already
    trail.stand(ACTIVE)
    trail.add(Worth(equity=75_000.0, pnl=-25_000.0), Worth(equity=110_000.0, pnl=10_000.0))
    assert broken(trail) == []
    trail.add(Worth(equity=65_000.0, pnl=-35_000.0), Worth(equity=110_000.0, pnl=10_000.0))
    assert broken(trail) == ["drawdown"]


def test_long_names_have_slots_of_their_own() -> None:
    names = [slot_name(f"momentum-hourly-perp-{which}", 1) for which in "ab"]
    assert len(set(names)) == 2 and all(len(name) + len(".paper") <= 32 for name in names)
    assert slot_name("trend", 3) == "trend.v3"
    assert len(slot_name("m" * 60, 123_456_789) + ".paper") <= 32


@pytest.mark.parametrize("count", [1, 3, 10])
def test_canaries_together_have_the_bound_of_one(count: int) -> None:
    versions = [version("main", 1, Stage.LIVE), version("watched", 1, Stage.SHADOW)]
    versions += [version(f"bird-{n}", 1, Stage.CANARY) for n in range(count)]
    slots = slots_of(versions)
    bounds = [Decimal(repr(one.max_share)) for one in slots if one.mode is Mode.CANARY]
    assert len(bounds) == count and len(set(bounds)) == 1
    assert Decimal("0.0499") < sum(bounds) <= Decimal(repr(CANARY_SHARE))
    assert [one.max_share for one in slots if one.mode is not Mode.CANARY] == [1.0] * (3 + count)
    (alone,) = (s for s in slots_of(versions, "bird-0") if s.mode is Mode.CANARY)
    assert alone.max_share == CANARY_SHARE


def test_a_session_tells_where_its_models_trade() -> None:
    refs = {"model:trend@3": {"id": "trend-3"}, "model:runs/ppo": {"id": "other"}}
    config = {
        "policies": {"models": refs},
        "slots": [
            {"name": "x", "policy": "model:trend@3#agent_1", "mode": "live"},
            {"name": "x.paper", "policy": "model:trend@3#agent_1", "mode": "shadow"},
            {"name": "y", "policy": "model:runs/ppo", "mode": "canary"},
            {"name": "m", "policy": "momentum", "mode": "live"},
        ],
    }
    # promote trend@4 has retired what trades in x
    versions = [version("trend", 3, Stage.RETIRED), version("trend", 4, Stage.LIVE)]
    places = [one.known(versions) for one in traded("x+y+m", config)]
    assert [(p.name, p.mode, p.label) for p in places] == [
        ("x", Mode.LIVE, "trend@3"), ("y", Mode.CANARY, "model:runs/ppo"),
    ]  # fmt: skip
    assert places[0].version.stage is Stage.RETIRED and places[1].version is None
    (alone,) = traded("model:trend@3", {"policies": {"models": refs}, "slots": []})
    assert not alone.slotted and alone.known(versions).label == "trend@3"
    assert traded("momentum", {}) == ()


@pytest.mark.parametrize("which", ["²", "٣", "0", "9" * 5_000, "1²"])
def test_a_version_is_a_number_as_one_writes_it(which: str) -> None:
    one = version("m", 1, Stage.LIVE)
    with pytest.raises(UsageError, match="m@"):
        find({("m", 1): one}, f"m@{which}")
    assert find({("m", 1): one}, "m@01") is one


def test_a_name_means_the_live_version_or_the_nearest() -> None:
    versions = [version("a", 1, Stage.SHADOW), version("a", 2, Stage.CANDIDATE),
                version("b", 1, Stage.LIVE), version("b", 2, Stage.CANARY)]  # fmt: skip
    assert {name: one.version for name, one in nearest(versions).items()} == {"a": 1, "b": 1}
