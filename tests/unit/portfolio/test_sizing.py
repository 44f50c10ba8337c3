"""Sizing rules by hand, and the law that neither composing nor rounding enlarges risk."""

import math
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from don.model.instrument import Instrument
from don.portfolio.sizing import (
    Setting,
    atr_units,
    drawdown_scaled,
    fixed_fraction,
    fixed_risk,
    fractional_kelly,
    scaled,
    smallest,
    to_size,
    volatility_target,
)


def instrument(lot: str = "0.001", least: str = "5", largest: str = "1000") -> Instrument:
    return Instrument(
        symbol="BTC-USDT-PERP",
        exchange="BINANCE_FUTURES",
        exchange_symbol="BTCUSDT",
        base="BTC",
        quote="USDT",
        tick_size=Decimal("0.1"),
        lot_size=Decimal(lot),
        min_size=Decimal(lot),
        max_size=Decimal(largest),
        min_notional=Decimal(least),
        max_leverage=20,
        maker_fee=Decimal("0.0002"),
        taker_fee=Decimal("0.0005"),
    )


HERE = Setting(price=100.0, sigma=0.02, atr=4.0, stop=95.0, edge=4e-4, edge_error=4e-4)


@pytest.mark.parametrize(
    ("rule", "fraction"),
    [
        (fixed_fraction(0.25), 0.25),
        (fixed_risk(0.01), 0.2),  # the stop is 5 % away
        (volatility_target(0.005), 0.25),
        (atr_units(0.01, 2.0), 0.125),  # two ranges are 8 %
        (fractional_kelly(0.5), 0.25),  # half of half of 4e-4 / 0.02^2
        (smallest([fixed_fraction(0.3), fixed_risk(0.01)]), 0.2),
        (scaled(fixed_fraction(0.3), 0.5), 0.15),
    ],
)
def test_rules_by_hand(rule: object, fraction: float) -> None:
    assert rule(HERE) == pytest.approx(fraction)  # type: ignore[operator]


def test_drawdown_takes_size_away_until_nothing_is_left() -> None:
    rule = drawdown_scaled(fixed_fraction(0.4), limit=0.2)
    sizes = [rule(Setting(price=1.0, drawdown=d)) for d in (0.0, 0.05, 0.1, 0.2, 0.5)]
    assert sizes == pytest.approx([0.4, 0.3, 0.2, 0.0, 0.0])
    kept = drawdown_scaled(fixed_fraction(0.4), limit=0.2, floor=0.25)
    assert kept(Setting(price=1.0, drawdown=0.9)) == pytest.approx(0.1)


def test_kelly_without_edge_is_nothing_and_doubt_only_lessens() -> None:
    kelly = fractional_kelly(1.0)
    assert kelly(Setting(price=1.0, sigma=0.1, edge=-1e-3)) == 0.0
    sizes = [kelly(Setting(price=1.0, sigma=0.1, edge=1e-3, edge_error=e)) for e in (0, 1e-3, 1e-2)]
    assert sizes[0] == pytest.approx(0.1) and sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (fixed_risk(0.01), "distance to the stop"),
        (volatility_target(0.01), "sigma must be"),
        (atr_units(0.01), "atr must be"),
        (fractional_kelly(0.5), "edge must be"),
    ],
)
def test_what_a_rule_needs_and_is_not_there_is_an_error(rule: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rule(Setting(price=100.0, stop=100.0 if "stop" in message else math.nan))  # type: ignore[operator]


def test_impossible_settings_are_errors() -> None:
    for made in (
        lambda: fixed_fraction(0.0),
        lambda: scaled(fixed_fraction(0.1), 1.5),
        lambda: smallest([]),
        lambda: drawdown_scaled(fixed_fraction(0.1), limit=0.1, floor=2.0),
        lambda: Setting(price=0.0),
        lambda: Setting(price=1.0, drawdown=1.5),
        lambda: to_size(math.nan, Decimal(1), Decimal(1), instrument()),
        lambda: to_size(-0.1, Decimal(1), Decimal(1), instrument()),
        lambda: to_size(0.1, Decimal(1), Decimal(0), instrument()),
    ):
        with pytest.raises(ValueError, match=r"must be|needs"):
            made()


def test_below_the_least_notional_nothing_is_held() -> None:
    made = instrument()
    assert to_size(0.0004, Decimal(10_000), Decimal(50_000), made) == 0
    assert to_size(0.5, Decimal(10_000), Decimal(50_000), made) == Decimal("0.1")
    assert to_size(0.5, Decimal(-1), Decimal(50_000), made) == 0


@settings(deadline=None, max_examples=300)
@given(
    st.floats(0, 20),
    st.decimals("0.01", "1e9", places=2),
    st.decimals("0.00001", "200000", places=5),
    st.sampled_from(["0.001", "1", "0.00001", "10", "0.3"]),
)
def test_rounding_never_enlarges_risk(
    fraction: float, equity: Decimal, price: Decimal, lot: str
) -> None:
    made = instrument(lot, largest="1000000000")
    size = to_size(fraction, equity, price, made)
    assert size * price <= Decimal(fraction) * equity
    assert size % made.lot_size == 0
    assert size == 0 or (size >= made.min_size and size * price >= made.min_notional)


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 2), min_size=1, max_size=5), st.floats(0, 1), st.floats(0, 1))
def test_composing_never_enlarges_risk(
    fractions: list[float], factor: float, drawdown: float
) -> None:
    rules = [fixed_fraction(f) for f in fractions]
    here = Setting(price=1.0, drawdown=drawdown)
    made = drawdown_scaled(scaled(smallest(rules), factor), limit=0.3)
    assert all(made(here) <= rule(here) for rule in rules)
