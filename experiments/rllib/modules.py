"""Don's networks as RLlib modules. Pure; imports torch and RLlib.

The fast runner calls `decide`, which draws actions with a few tensor operations; RLlib's own runner
calls the forward methods. Both see the same distributions.
"""

from collections.abc import Mapping
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchCategorical,
    TorchDiagGaussian,
    TorchMultiCategorical,
)
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from don.learning.config import NetConfig
from don.learning.nets import PolicyNet
from don.learning.shapes import ActionShape, ObservationShape

STATE = "don_state"  # of a network with memory, before the first step of each row
_LOG_2PI = 1.8378770664093453
Drawn = tuple[Tensor, Tensor, Tensor, Tensor | None]


class PolicyModule(TorchRLModule, InferenceOnlyAPI):
    """A network that acts. `model_config`: `observation` and `net` as plain values."""

    value = False  # whether learners ask for one
    steps = 0  # of the environments until now; for exploration that changes

    def setup(self) -> None:
        """Build the networks."""
        told: Mapping[str, Any] = self.model_config
        self.shape = ObservationShape.model_validate(told["observation"])
        self.net_config = NetConfig.model_validate(told["net"])
        self.action = ActionShape.of(self.action_space)
        self.net = self._net(value=self.value and not self.inference_only)
        self.state_size = self.net.state_size
        self.action_dist_cls = distribution(self.action)

    def _net(self, *, value: bool) -> PolicyNet:
        return PolicyNet(self.shape, self.action, self.net_config, value=value)

    def get_non_inference_attributes(self) -> list[str]:
        """Parameters that only learners need."""
        own = {name for name, _ in self.net.named_parameters()}
        needed = {name for name, _ in self._net(value=False).named_parameters()}
        return [f"net.{name}" for name in sorted(own - needed)]

    def decide(self, obs: Tensor, state: Tensor | None, *, explore: bool) -> Drawn:
        """Actions [R, ...], distribution inputs [R, P], log-probabilities [R], next state."""
        inputs, _, after = self.net(obs, state, value=False)
        if not explore:
            return greedy(inputs, self.action), inputs, inputs.new_zeros(len(inputs)), after
        actions, logp = draw(inputs, self.action)
        return actions, inputs, logp, after

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        inputs, _, _ = self.net(batch[Columns.OBS], batch.get(STATE))
        return {Columns.ACTION_DIST_INPUTS: inputs}


class ValueModule(PolicyModule, ValueFunctionAPI):
    """With a value, for PPO."""

    value = True

    def _forward_train(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        inputs, value, _ = self.net(batch[Columns.OBS], batch.get(STATE))
        return {Columns.ACTION_DIST_INPUTS: inputs, Columns.EMBEDDINGS: value}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """Values of observations; those of the same forward pass are handed on."""
        if embeddings is not None:
            return embeddings
        return self.net(batch[Columns.OBS], batch.get(STATE))[1]


def distribution(action: ActionShape) -> Any:
    """RLlib's class for an action."""
    if not action.parts:
        return TorchDiagGaussian
    if action.scalar:
        return TorchCategorical
    return TorchMultiCategorical.get_partial_dist_cls(input_lens=list(action.parts))


def draw(inputs: Tensor, action: ActionShape) -> tuple[Tensor, Tensor]:
    """Actions from distribution inputs [R, P], and their log-probabilities [R]."""
    if not action.parts:
        mean, log_std = inputs.chunk(2, -1)
        noise = torch.randn_like(mean)
        logp = (-0.5 * (noise * noise + _LOG_2PI) - log_std).sum(-1)
        return mean + noise * log_std.exp(), logp
    chosen, logps = [], []
    for logits in inputs.split(list(action.parts), -1):
        logps.append(torch.log_softmax(logits, -1))
        # the greatest of logits plus Gumbel noise is a draw (Gumbel, 1954)
        gumbel = torch.empty_like(logits).exponential_().clamp_min_(1e-20).log_()
        chosen.append((logits - gumbel).argmax(-1, keepdim=True))
    parts = zip(logps, chosen, strict=True)
    logp = torch.cat([p.gather(-1, c) for p, c in parts], -1).sum(-1)
    actions = torch.cat(chosen, -1)
    return (actions[..., 0] if action.scalar else actions), logp


def greedy(inputs: Tensor, action: ActionShape) -> Tensor:
    """The likeliest actions."""
    if not action.parts:
        return inputs.chunk(2, -1)[0]
    best = [logits.argmax(-1, keepdim=True) for logits in inputs.split(list(action.parts), -1)]
    return best[0][..., 0] if action.scalar else torch.cat(best, -1)
