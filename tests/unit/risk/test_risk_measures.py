"""Tails, correlations, scenarios and losses against plain definitions."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from test_risk import INSTRUMENTS, SYMBOLS, book

from don.errors import ConfigError, UsageError
from don.model.order import DenialCode
from don.model.portfolio import ZERO
from don.risk.change import applied, override, parse_limits, parse_state
from don.risk.config import RiskConfig, SymbolLimits, VarMethod
from don.risk.engine import check_limits
from don.risk.exposure import reaches
from don.risk.losses import LossWatch
from don.risk.measures import CloseWindow, correlation_break, empirical, filtered, tail
from don.risk.portfolio import liquidation_distance, worst_stress
from don.risk.scenarios import BY_NAME, SCENARIOS
from don.risk.states import Standing, States, TradingState

RNG = np.random.default_rng(7)
RETURNS = RNG.normal(0.0, 0.01, (400, 3)) @ np.array(
    [[1.0, 0.8, 0.5], [0.0, 0.6, 0.2], [0.0, 0.0, 0.4]]
)


@given(st.lists(st.floats(-1, 1), min_size=30, max_size=60), st.sampled_from([0.9, 0.95, 0.99]))
def test_empirical_tail_minimises_the_rockafellar_uryasev_function(
    losses: list[float], level: float
) -> None:
    x = np.array(losses)
    said = empirical(x, level)
    grid = [v + np.maximum(x - v, 0).mean() / (1 - level) for v in x]
    assert said.cvar == pytest.approx(max(min(grid), 0.0), abs=1e-9)
    assert said.cvar >= said.var >= 0.0


def test_parametric_tail_of_normal_returns_is_near_the_historical_one() -> None:
    w = np.array([0.5, -0.3, 0.4])
    many = np.random.default_rng(1).multivariate_normal(np.zeros(3), np.cov(RETURNS.T), size=40_000)
    history = tail(w, many, RiskConfig(var_level=0.95))
    normal = tail(w, many, RiskConfig(var_level=0.95, var_method=VarMethod.PARAMETRIC))
    assert history is not None and normal is not None
    assert normal.var == pytest.approx(history.var, rel=0.03)
    assert normal.cvar == pytest.approx(history.cvar, rel=0.03)


def test_filtered_returns_follow_the_volatility_of_now() -> None:
    calm, wild = RETURNS[:200], 5 * RETURNS[200:]
    now_wild = filtered(np.vstack([calm, wild]), 20.0)
    now_calm = filtered(np.vstack([wild, calm]), 20.0)
    ratio = now_wild.std() / now_calm.std()
    assert 3.0 < ratio < 8.0
    assert tail(np.ones(3), RETURNS[:20], RiskConfig()) is None


def test_correlation_break_sees_pairs_that_turn_over() -> None:
    turned = np.vstack([RETURNS, RETURNS[-60:] * np.array([1.0, -1.0, 1.0])])
    same, broken = correlation_break(RETURNS, 60), correlation_break(turned, 60)
    assert same is not None and broken is not None and same < 0.2 < 0.5 < broken
    assert correlation_break(RETURNS[:, :1], 60) is None
    assert correlation_break(RETURNS[:80], 60) is None


@settings(max_examples=30)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 2**31))
def test_closes_in_blocks_are_closes_one_by_one(blocks: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, many = CloseWindow(3, 40), CloseWindow(3, 40)
    ts = 0
    for size in blocks:
        close = np.where(rng.random((size, 3)) < 0.2, np.nan, rng.uniform(1, 2, (size, 3)))
        times = np.arange(ts + 1, ts + size + 1)
        many.update_many(times, close)
        for n in range(size):
            one.update(int(times[n]), close[n])
        ts += size
    assert one.ts == many.ts
    np.testing.assert_array_equal(one.returns(), many.returns())
    one.resize(10)
    many.resize(10)
    assert len(one.returns()) <= 10
    np.testing.assert_array_equal(one.returns(), many.returns())


def test_liquidation_distance_is_where_equity_meets_the_margin_to_keep() -> None:
    d = liquidation_distance(Decimal(1_000), Decimal(5_000), Decimal("0.004"))
    assert d is not None
    equity, gross = 1_000 - d * 5_000, 5_000 * (1 + d)
    assert abs(equity - Decimal("0.004") * gross) < Decimal("1e-20")
    assert liquidation_distance(Decimal(1_000), ZERO, Decimal("0.004")) is None


def test_scenarios_are_facts_with_names_and_cost_what_the_shocks_say() -> None:
    assert len(BY_NAME) == len(SCENARIOS)
    assert all(s.date or s.source == "-" for s in SCENARIOS)
    assert all(-1 < v < 1 for s in SCENARIOS for v in (*s.shocks.values(), s.others))
    account = book({"BTC-USDT-PERP": "1", "ETH-USDT-PERP": "-10"})
    name, loss = worst_stress(RiskConfig(scenarios=("may_2021_hour",)), reaches(account))
    assert (name, loss) == (
        "may_2021_hour",
        4000 * Decimal("0.0943") - 2000 * Decimal("0.1434"),
    )


def test_a_streak_counts_trades_from_flat_to_flat() -> None:
    watch = LossWatch(RiskConfig(max_loss_streak=2))
    one, fee = Decimal(1), Decimal("0.5")
    watch.traded("A", ZERO, one, ZERO, fee)
    watch.traded("A", one, 2 * one, ZERO, fee)
    watch.traded("A", 2 * one, one, Decimal(-1), fee)
    assert watch.streak == 0 and watch.breach(Decimal(1)) is None
    watch.traded("A", one, -one, Decimal(1), fee)  # turned: lost 1 - 1 + 4 * 0.5 of fees
    assert watch.streak == 1
    watch.traded("A", -one, ZERO, ZERO, fee)
    breach = watch.breach(Decimal(1))
    assert breach is not None
    assert (breach.code, breach.state) == (DenialCode.LOSS_STREAK, TradingState.REDUCING)
    again = LossWatch(watch.config, watch.day, watch.dump())
    again.traded("B", ZERO, one, ZERO, ZERO)
    again.traded("B", one, ZERO, one, ZERO)
    assert again.streak == 0


def test_drawdown_first_reduces_then_halts() -> None:
    config = RiskConfig(
        reduce_at_drawdown=Decimal("0.1"), max_drawdown=Decimal("0.2"), max_daily_loss=Decimal(1)
    )
    watch = LossWatch(config)
    for equity in (100, 120, 110):
        watch.mark(0, Decimal(equity))
    assert watch.peak == 120 and watch.breach(Decimal(110)) is None
    reduced, halted = watch.breach(Decimal(108)), watch.breach(Decimal(96))
    assert reduced is not None and reduced.state is TradingState.REDUCING
    assert halted is not None and halted.state is TradingState.HALTED
    watch.rebase(Decimal(96))
    assert watch.breach(Decimal(96)) is None


def test_the_most_severe_scope_holds_and_a_resume_keeps_what_a_person_set() -> None:
    states = States("momentum")
    by_hand = Standing(state=TradingState.REDUCING, reason="holiday", actor="cli")
    by_limit = Standing(
        state=TradingState.REDUCING, reason="x", actor="risk", code=DenialCode.DRAWDOWN
    )
    halt = Standing(state=TradingState.HALTED, reason="y", actor="cli")
    states.put(states.scope("policy"), by_hand)
    states.put("account", by_limit)
    states.put("system", halt)
    states.put("policy:other", halt)
    assert states.worst() is halt
    states.resume()
    assert states.worst() is by_hand and "policy:momentum" in states.standings
    with pytest.raises(ValueError, match="scope must be"):
        states.scope("world")


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"max_slippage": "0.05"}, "price_collar"),
        ({"reduce_at_drawdown": "0.3", "max_drawdown": "0.2"}, "halt before it reduces"),
        ({"reduce_at_daily_loss": "0.3"}, "max_daily_loss"),
        ({"max_var": "0.2", "max_cvar": "0.1"}, "never below VaR"),
        ({"maintenance_rate": "0.1"}, "initial_margin_rate"),
        ({"correlation_bars": 600}, "window_bars"),
        ({"scenarios": ["never_happened"]}, "covid_hour"),
        ({"max_stress_loss": "0.1", "scenarios": []}, "needs scenarios"),
        ({"groups": [{"name": "a", "symbols": ["X"]}]}, "max_gross or a max_net"),
    ],
)
def test_limits_that_contradict_each_other_are_refused(limits: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        RiskConfig.model_validate(limits)
    with pytest.raises(UsageError, match=why):
        applied(RiskConfig(), limits)


def test_limits_that_limit_nothing_or_everything_are_refused() -> None:
    listed = list(INSTRUMENTS.values())
    own = RiskConfig(symbols=(SymbolLimits(symbol="DOGE-USDT-PERP", max_order_size=Decimal(1)),))
    for config, why in (
        (own, "DOGE-USDT-PERP"),
        (RiskConfig(max_order_notional=Decimal(4)), "below the least notional"),
        (RiskConfig(max_order_size=Decimal("0.0001")), "below the least size"),
    ):
        with pytest.raises(ConfigError, match=why):
            check_limits(config, SYMBOLS, listed)
    check_limits(RiskConfig(), SYMBOLS, listed)


def test_changes_are_read_merged_and_taken_back() -> None:
    changes = parse_limits('{"max_var": "0.02", "max_orders": 5}')
    overrides = override({"max_var": "0.05", "price_collar": "0.01"}, changes)
    config = applied(RiskConfig(), overrides)
    assert (config.max_var, config.max_orders) == (Decimal("0.02"), 5)
    assert override(overrides, {"max_var": "default"}) == {
        "max_orders": 5, "price_collar": "0.01",
    }  # fmt: skip
    assert applied(config, {"max_var": None}).max_var is None
    assert parse_state('{"scope": "policy", "state": "reducing"}') == ("policy", "reducing")
    for wrong in ("[]", "{}", "x", '{"gross": 1}'):
        with pytest.raises(UsageError):
            parse_limits(wrong)
    for wrong in ('{"state": "asleep"}', '{"state": "active", "more": 1}'):
        with pytest.raises(UsageError):
            parse_state(wrong)
