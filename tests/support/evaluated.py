"""Agents that act as they are told, and courses that are made up, for evaluation tests."""

from typing import Any

import numpy as np
from support.envs import HOUR

from don.envs import BatchEnv, EnvConfig, EnvMarket
from don.evaluation.config import BaselineConfig
from don.evaluation.course import Course
from don.learning.card import ModelCard
from don.learning.config import NetConfig
from don.learning.model import card_of

SETTINGS: dict[str, Any] = {
    "action": {"kind": "long_short"},
    "observation": {"features": ["log_return_1", "zscore_24"], "window": 2},
}
SHORT = BaselineConfig(
    rebalance_hours=4, volatility_days=1, momentum_days=1, moments_days=2, gross=1.0
)


class Fixed:
    """Acts as it was told: the weights of one bar after the other."""

    def __init__(self, env: BatchEnv, actions: np.ndarray) -> None:
        self.card: ModelCard = card_of(env, NetConfig(), name="fixed")
        self.states = env.states
        self.steps, self.actions = 0, actions

    def act(
        self, observations: Any, state: Any = None, *, rng: np.random.Generator | None = None
    ) -> tuple[dict[str, np.ndarray], Any]:
        B, A = observations["agents"].shape[:2]
        asked = self.actions[self.steps % len(self.actions)]
        chosen = np.broadcast_to(asked, (B, A, asked.shape[-1])).copy()
        if rng is not None:
            chosen += rng.normal(0, 0.1, chosen.shape)
        self.steps += 1
        return {"agents": chosen}, None


def fixed(made: EnvMarket, actions: np.ndarray, **more: object) -> Fixed:
    return Fixed(BatchEnv(made, EnvConfig.model_validate({**SETTINGS, **more}), 1), actions)


def course(name: str, r: np.ndarray, interval_ns: int = 24 * HOUR) -> Course:
    equity = 1e5 * np.concatenate([[1.0], np.cumprod(1 + r)])
    return Course(
        name=name, interval_ns=interval_ns, ts=np.arange(len(equity)) * interval_ns,
        equity=equity, gross=1.0, liquidations=0, breaks=0,
        sums=dict.fromkeys(["price profit", "fees", "slippage", "funding", "liquidation",
                            "turnover", "fills"], 0.0),
    )  # fmt: skip
