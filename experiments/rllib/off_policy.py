"""SAC and DQN over `Memory`: RLlib's losses, target networks and schedules, Don's networks."""

from typing import Any

import torch
from ray.rllib.algorithms.dqn import DQN
from ray.rllib.algorithms.dqn.dqn_learner import (
    QF_NEXT_PREDS,
    QF_PREDS,
    QF_TARGET_NEXT_PREDS,
)
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.algorithms.sac import SAC
from ray.rllib.algorithms.sac.default_sac_rl_module import DefaultSACRLModule
from ray.rllib.algorithms.sac.torch.default_sac_torch_rl_module import DefaultSACTorchRLModule
from ray.rllib.algorithms.sac.torch.sac_torch_learner import SACTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchSquashedGaussian
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.models.base import ENCODER_OUT
from ray.rllib.core.rl_module.apis import QNetAPI, TargetNetworkAPI
from torch import Tensor, nn

from don.learning.nets import Encoder, PolicyNet
from experiments.rllib.memory import Memory
from experiments.rllib.modules import Drawn, PolicyModule, draw, greedy

_LOG_STD = (-5.0, 2.0)  # as RLlib's squashed distribution bounds it
_LEAST_LOGIT = -30.0  # below the greatest: probabilities stay above zero, their logarithms finite
_UNUSED = "AddNextObservationsFromEpisodesToTrainBatch"  # our batches hold them already


def _memory(config: dict[str, Any]) -> Memory:
    told = config["replay_buffer_config"]
    return Memory(int(told["capacity"]), int(config.get("seed") or 0))


def _clear(pipeline: Any) -> None:
    """Take out what RLlib put in, once or twice, to look for episodes."""
    while any(type(piece).__name__ == _UNUSED for piece in pipeline.connectors):
        pipeline.remove(_UNUSED)


class MemoryDQN(DQN):
    """DQN that learns from a `Memory`."""

    def _create_local_replay_buffer_if_necessary(self, config: Any) -> Memory:
        return _memory(config)


class MemorySAC(SAC):
    """SAC that learns from a `Memory`."""

    def _create_local_replay_buffer_if_necessary(self, config: Any) -> Memory:
        return _memory(config)


class MemoryDQNLearner(DQNTorchLearner):
    """Takes batches of a `Memory`."""

    def build(self) -> None:
        """As RLlib does, without what would look for episodes."""
        super().build()
        _clear(self._learner_connector)


class MemorySACLearner(SACTorchLearner):
    """Takes batches of a `Memory`."""

    def build(self) -> None:
        """As RLlib does, without what would look for episodes."""
        super().build()
        _clear(self._learner_connector)


class QModule(PolicyModule, QNetAPI, TargetNetworkAPI):
    """Values of choices; the greatest is taken. `model_config["explore"]`: from, to, steps."""

    def make_target_networks(self) -> None:
        """A slow copy."""
        self.target = make_target_network(self.net)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Network and copy."""
        return [(self.net, self.target)]

    def get_non_inference_attributes(self) -> list[str]:
        """The copy."""
        return [*super().get_non_inference_attributes(), "target"]

    def forward_target(self, batch: dict[str, Any]) -> Tensor:
        """Values of the slow copy."""
        return self.target(batch[Columns.OBS])[0]

    def compute_q_values(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Values of all choices."""
        return {QF_PREDS: self.net(batch[Columns.OBS])[0]}

    def decide(self, obs: Tensor, state: Tensor | None, *, explore: bool) -> Drawn:
        """The best choices; a share of others that falls, to explore."""
        values, _, _ = self.net(obs)
        best = greedy(values, self.action)
        if explore:
            first, last, steps = self.model_config["explore"]
            share = first + (last - first) * min(self.steps / steps, 1.0)
            other = torch.randint(0, values.shape[-1], best.shape)
            best = torch.where(torch.rand(best.shape) < share, other, best)
        return best, values, values.new_zeros(len(values)), None

    def _forward_train(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {
            QF_PREDS: self.net(batch[Columns.OBS])[0],
            QF_NEXT_PREDS: self.net(batch[Columns.NEXT_OBS])[0],
            QF_TARGET_NEXT_PREDS: self.forward_target({Columns.OBS: batch[Columns.NEXT_OBS]}),
        }


class Critic(nn.Module):
    """Values of all choices, or of one action in a box: [R, n] or [R, 1]."""

    def __init__(self, module: PolicyModule) -> None:
        super().__init__()
        config, action = module.net_config, module.action
        self.encoder = Encoder(module.shape, config)
        self.box = not action.parts
        if self.box:
            self.register_buffer("reach", torch.tensor(action.high).clamp_min(1e-6))
        widths = (self.encoder.size + len(action.low), *config.hidden)
        layers: list[nn.Module] = []
        for i in range(len(config.hidden)):
            layers += [nn.Linear(widths[i], widths[i + 1]), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], sum(action.parts) or 1))

    def forward(self, batch: dict[str, Any]) -> Tensor:
        """Of observations, and of actions in a box."""
        x = self.encoder(batch[Columns.OBS])
        if self.box:
            x = torch.cat([x, batch[Columns.ACTIONS] / self.reach], -1)
        return self.layers(x)


class Whole(nn.Module):
    """An encoder that hands on what it got: the network behind it has its own."""

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch."""
        return {ENCODER_OUT: batch}


class Head(nn.Module):
    """The policy's distribution inputs, as SAC's losses call for them."""

    def __init__(self, net: PolicyNet) -> None:
        super().__init__()
        self.of = net

    def forward(self, batch: dict[str, Any]) -> Tensor:
        """[R, P]."""
        inputs, _, _ = self.of(batch[Columns.OBS])
        if not self.of.action.parts:
            return inputs
        return (inputs - inputs.amax(-1, keepdim=True)).clamp_min(_LEAST_LOGIT)


class SoftModule(PolicyModule, QNetAPI, TargetNetworkAPI):
    """A policy and two critics, for SAC."""

    twin_q = True

    def setup(self) -> None:
        """Build the networks."""
        super().setup()
        action = self.action
        if not action.parts:
            low, high = action.low[0], action.high[0]
            self.action_dist_cls = TorchSquashedGaussian.get_partial_dist_cls(low=low, high=high)
        self.pi_encoder = Whole()
        if not self.inference_only:
            self.qf_encoder, self.qf_twin_encoder = Whole(), Whole()
            self.qf, self.qf_twin = Critic(self), Critic(self)

    @property
    def pi(self) -> Head:
        """The policy as SAC calls for it."""
        return Head(self.net)

    make_target_networks = DefaultSACRLModule.make_target_networks
    get_target_network_pairs = DefaultSACRLModule.get_target_network_pairs
    forward_target = DefaultSACTorchRLModule.forward_target
    compute_q_values = DefaultSACTorchRLModule.compute_q_values
    _qf_forward_train_helper = DefaultSACTorchRLModule._qf_forward_train_helper
    _forward_train_discrete = DefaultSACTorchRLModule._forward_train_discrete
    _forward_train_continuous = DefaultSACTorchRLModule._forward_train_continuous

    def get_non_inference_attributes(self) -> list[str]:
        """The critics."""
        critics = DefaultSACRLModule.get_non_inference_attributes(self)
        return [*super().get_non_inference_attributes(), *critics]

    def decide(self, obs: Tensor, state: Tensor | None, *, explore: bool) -> Drawn:
        """Actions squashed into the box, or choices."""
        inputs, _, _ = self.net(obs)
        if self.action.parts:
            chosen = draw(inputs, self.action)[0] if explore else greedy(inputs, self.action)
            return chosen, inputs, inputs.new_zeros(len(inputs)), None
        value, log_std = inputs.chunk(2, -1)
        if explore:
            value = value + torch.randn_like(value) * log_std.clamp(*_LOG_STD).exp()
        low, high = torch.tensor(self.action.low), torch.tensor(self.action.high)
        value = low + (torch.tanh(value) + 1.0) / 2.0 * (high - low)
        return value, inputs, inputs.new_zeros(len(inputs)), None

    def _forward_train(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        if self.action.parts:
            return self._forward_train_discrete(batch)
        return self._forward_train_continuous(batch)
