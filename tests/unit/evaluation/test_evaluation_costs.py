"""Costs of tests: always on, whatever a training was told, and the same for all."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.envs import market
from support.evaluated import SETTINGS, SHORT, fixed

from don.backtest.config import BarFillConfig
from don.envs import EnvConfig
from don.envs.config import CostConfig
from don.envs.layout import MAKER
from don.errors import ConfigError
from don.evaluation.agent import run_agent, window
from don.evaluation.baselines import HOLD, run_baselines
from don.evaluation.costs import DEARER, DEARER_FILLS, charged, dearest, together, told_of
from don.evaluation.course import out_of_sample

CHEAP: dict[str, Any] = {
    "taker": 0.0, "maker": -5.0, "funding": 0.0, "liquidation_fee": 0.0, "maintenance": 1e-6,
    "percent_up": 1.00001, "percent_down": 0.99999,
    "fills": {"price": "open", "half_spread": 0.0, "participation": 1.0, "step": 1e-9, "after": 0.0,
              "levels": 1},
}  # fmt: skip
DEAR: dict[str, Any] = {
    "taker": 3.0, "maker": 2.0, "liquidation_fee": 0.05, "maintenance": 0.01, "percent_up": 1.2,
    "percent_down": 0.8,
    "fills": {"half_spread": 0.001, "participation": 0.01, "step": 0.001, "after": 0.5,
              "levels": 9},
}  # fmt: skip


def env_of(**costs: Any) -> EnvConfig:
    return EnvConfig.model_validate({**SETTINGS, "costs": costs})


def test_costs_are_always_on() -> None:
    made = market(bars=150)
    free = {"costs": {"taker": 0.0, "maker": 0.0, "funding": 0.0}, "random": {"taker": [0, 0]}}
    config = out_of_sample(EnvConfig.model_validate({**SETTINGS, **free}), made)
    assert (config.costs.taker, config.costs.maker, config.costs.funding) == (1.0, 1.0, 1.0)
    assert config.random.taker == (1.0, 1.0) and config.episode.length is None
    assert out_of_sample(env_of(taker=3.0), made).costs.taker == 3.0
    swing = np.array([[0.9, 0, 0], [-0.9, 0, 0]])
    model = fixed(made, swing, **free)
    part, begin = window(made, model.card, int(made.close_ns[49]), None)
    assert run_agent(model, part, begin, name="a")[0].sums["fees"] > 0


def test_no_cost_is_below_the_defaults() -> None:
    made = market(bars=60)
    assert out_of_sample(env_of(**CHEAP), made).costs == CostConfig()
    dear = CostConfig.model_validate(DEAR)
    assert out_of_sample(env_of(**DEAR), made).costs == dear
    # a higher factor of funding pays whoever is paid more: it is what was recorded
    assert out_of_sample(env_of(funding=50.0), made).costs.funding == 1.0
    # no field is forgotten
    assert set(DEARER) | {"spot", "funding", "fills"} == set(CostConfig.model_fields)
    assert set(DEARER_FILLS) == set(BarFillConfig.model_fields)
    assert set(CHEAP) | {"spot"} == set(CostConfig.model_fields)
    assert set(CHEAP["fills"]) == set(BarFillConfig.model_fields)
    spec = made.spec.copy()
    spec[1, MAKER] = -0.0001  # a rebate is not multiplied
    assert charged(CostConfig(maker=9.0), replace(made, spec=spec)).maker == 1.0


@pytest.mark.parametrize("name", [*CHEAP, *CHEAP["fills"]])
def test_no_cheap_setting_earns_anything(name: str) -> None:
    """An agent that trades and pays the same, whichever cost its training was let off."""
    made = market(bars=120)
    given = {name: CHEAP[name]} if name in CHEAP else {"fills": {name: CHEAP["fills"][name]}}
    swing = np.array([[0.9, 0.3, 0], [-0.9, 0, 0.3]])
    ends = []
    for costs in (given, {}):
        model = fixed(made, swing, costs=costs)
        part, begin = window(made, model.card, int(made.close_ns[49]), None)
        ends.append(run_agent(model, part, begin, name="a")[0].equity[-1])
    assert ends[0] == ends[1]


def test_all_pay_the_dearest_whatever_their_order() -> None:
    made = market(bars=160)
    several = [env_of(taker=3.0), env_of(fills={"half_spread": 0.002}), env_of()]
    orders = (several, several[::-1], [several[1], several[0], several[2]])
    one, two, three = (together(order, made) for order in orders)
    assert one == two == three
    assert (one.costs.taker, one.costs.fills.half_spread) == (3.0, 0.002)
    assert dearest([several[0].costs, several[1].costs]) == one.costs
    holds = [run_baselines(made, env, 60, SHORT)[HOLD].equity[-1] for env in (several[2], one)]
    assert holds[1] < holds[0] - 200  # 0.1 % of the price and twice the fee more
    plain, charged_ = (
        run_agent(fixed(made, np.full((1, 3), 0.3)), made, 60, name="a", costs=costs)[0]
        for costs in (None, one.costs)
    )
    assert charged_.sums["fees"] == pytest.approx(3 * plain.sums["fees"], rel=0.05)
    said = told_of([env.costs for env in several], made)
    assert said == told_of([env.costs for env in several[::-1]], made)
    assert any("differ in fills.half_spread, taker: all of them" in line for line in said)
    (cheap,) = told_of([CostConfig(taker=0.0)], made)
    assert cheap == "It was trained with other costs: taker 0.0 in training, 1.0 here."
    assert not told_of([CostConfig()], made)
    with pytest.raises(ConfigError, match=r"env\.costs\.spot of what is compared must be the same"):
        together([env_of(), env_of(spot=True)], made)
    # who has more capital moves the price more
    rich = EnvConfig.model_validate({**SETTINGS, "episode": {"capital": 5e5}})
    form = EnvConfig.model_validate({**SETTINGS, "form": "single", "action": {}})
    assert together([form, rich], made).episode.capital == 5e5
    assert together([form, env_of()], made).episode.capital == 3e5
