"""The gates of honest evaluation, and each mistake found in peers' environments, by name.

Most are tested beside what they test; here is the list, held to what is there, and what was
missing.
"""

import ast
from pathlib import Path

import numpy as np
import pytest
from support.envs import HOUR, SYMBOLS, columns

from don.envs import BatchEnv, EnvConfig, from_arrays
from don.envs.layout import (
    COST,
    EQUITY,
    FEES,
    LIQUIDATED,
    LIQUIDATION,
    LOT,
    LOTS,
    TICK,
    WALLET,
)  # fmt: skip

TESTS = Path(__file__).resolve().parents[2]
ENV_GATES, VIEWS = "unit/envs/test_env_gates.py", "unit/envs/test_env_views.py"
PARITY, COURSES = "unit/envs/test_env_parity.py", "unit/evaluation/test_evaluation_courses.py"
HERE, COSTS = (f"unit/evaluation/test_evaluation_{each}.py" for each in ("gates", "costs"))

GATES = {
    "equity change is profit less all costs": (ENV_GATES, "test_money_is_conserved"),
    "a higher fee never raises equity": (ENV_GATES, "test_a_higher_fee_never_raises_equity"),
    "the future changes nothing": (ENV_GATES, "test_the_future_changes_nothing"),
    "nor in an evaluation": (COURSES, "test_bars_after_the_window_change_nothing"),
    "scalar equals vector": (VIEWS, "test_scalar_is_vector_to_the_bit"),
    "both equal the exchange": (PARITY, "test_environment_equals_the_exchange"),
    "seeds reproduce": (VIEWS, "test_seeds_reproduce_and_differ"),
    "evaluations reproduce": (COURSES, "test_a_course_adds_up_and_trades_the_whole_window"),
    "callers' arrays are untouched": (ENV_GATES, "test_callers_arrays_are_untouched"),
    "costs are always on": (COSTS, "test_costs_are_always_on"),
}
MISTAKES = {
    "interest assigned instead of accrued": (ENV_GATES, "test_funding_accrues"),
    "reset(seed) not reproducible": (VIEWS, "test_seeds_reproduce_and_differ"),
    "windows showing rows of another episode": (ENV_GATES,
                                                "test_windows_never_show_another_segment"),
    "fees missing from the reward": (ENV_GATES,
                                     "test_fees_are_in_the_reward_and_holding_is_rewarded"),
    "no reward while a position is held": (ENV_GATES,
                                           "test_fees_are_in_the_reward_and_holding_is_rewarded"),
    "negative cash: fee left out of the affordable size": (HERE, "test_fees_are_part_of_what_a_buy"
                                                           "_can_afford"),
    "caller's arrays changed": (ENV_GATES, "test_callers_arrays_are_untouched"),
    "liquidation tested on close only": (
        ENV_GATES, "test_liquidation_is_tested_inside_the_bar_and_booked_where_the_book_is"),
    "liquidation booked through a gap at the wrong price": (
        HERE, "test_a_gap_is_not_liquidated_at_the_price_that_was_jumped_over"),
    "coarse bars labelled by their start": (ENV_GATES,
                                            "test_longer_bars_are_known_at_their_close_only"),
    "features in training but not in backtest": (ENV_GATES,
                                                 "test_features_are_those_of_the_stream_that_trades"
                                                 ),
    "account state in training but not in backtest": (
        "unit/learning/test_learning_desk.py",
        "test_the_desk_observes_and_acts_like_the_environment",
    ),
    "account state in training but not in evaluation": (
        HERE, "test_account_state_is_in_every_test"),
}  # fmt: skip


@pytest.mark.parametrize(("file", "name"), [*GATES.values(), *MISTAKES.values()])
def test_each_gate_has_its_test(file: str, name: str) -> None:
    tree = ast.parse((TESTS / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("factor", [1.0, 40.0])
def test_fees_are_part_of_what_a_buy_can_afford(factor: float) -> None:
    made = from_arrays(
        {name: v[:, :1] for name, v in columns(bars=80, depth=1e3).items()}, SYMBOLS[:1],
        interval_ns=HOUR,
    )  # fmt: skip
    env = BatchEnv(
        made,
        EnvConfig.model_validate(
            {
                "costs": {"spot": True, "taker": factor},
                "observation": {"features": ["log_return_1"]},
            }
        ),
        1,
    )
    env.reset(0, starts=np.array([10]))
    env.step(np.ones((1, 1, 1)))
    d = env.dynamics
    cash = d.money[0, WALLET] - d.book[0, 0, COST]
    worth = d.book[0, 0, LOTS] * d.bars[11, 0, 3] * d.spec[0, TICK] * d.spec[0, LOT]
    assert cash >= 0.0 and d.flow[0, FEES] > 0
    assert worth > 0.95 * d.money[0, EQUITY] and cash < 0.05 * 1e5  # and not less than it can


def test_a_gap_is_not_liquidated_at_the_price_that_was_jumped_over() -> None:
    still = np.full((60, 1), 100.0)
    still[40:] = 70.0  # opens there: no price between was traded
    told = {name: still for name in ("open", "high", "low", "close")}
    made = from_arrays(
        {**told, "volume": np.full((60, 1), 1e7)}, SYMBOLS[:1], interval_ns=HOUR, leverage=20
    )
    env = BatchEnv(
        made,
        EnvConfig.model_validate(
            {"action": {"gross": 5.0}, "observation": {"features": ["log_return_1"]}}
        ),
        1,
    )
    env.reset(0, starts=np.array([37]))
    for _ in range(3):
        env.step(np.ones((1, 1, 1)))
    flow = env.dynamics.flow[0]
    assert flow[LIQUIDATED] == 1
    # at the trigger (about 80) a fifth of nothing would be left; at 70 the account owes half of
    # what it had, and the fund pays that
    assert env.equity[0, 0] == 0.0 and flow[LIQUIDATION] < -0.4e5


def test_account_state_is_in_every_test() -> None:
    """An observation in a test has the parts and the size that the model was trained on."""
    from don.evaluation.course import out_of_sample
    from don.learning.config import NetConfig
    from don.learning.model import card_of
    from don.learning.shapes import observation_shapes

    made = from_arrays(columns(bars=120), SYMBOLS, interval_ns=HOUR)
    config = EnvConfig.model_validate({"form": "shared", "episode": {"length": 20}})
    card = card_of(BatchEnv(made, config, 1), NetConfig(), name="m")
    tested = BatchEnv(made, out_of_sample(card.env, made), 1)
    assert observation_shapes(tested)["agents"] == card.policies["agents"].observation
    seen = tested.reset(0)["agents"]
    tested.step(np.ones((1, 3, 1)))
    assert not np.array_equal(tested.observe()["agents"], seen)
    names = [slot.name for slot in tested.observer.slots]
    assert "account" in names and tested.config.costs == config.costs
