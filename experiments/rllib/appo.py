"""APPO fed by the batched runner: whole arrays of trajectories, updates where they are asked for.

Sampling goes on while the learner learns, so what it learns from may be older than the policy is;
V-trace weighs that. The loss, its clipping and the target networks are RLlib's. Its pipeline, which
works step by step in Python lists, and its learner thread, which hangs for ever if a loss fails,
are not used.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import ray
import torch
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.appo.torch.appo_torch_learner import APPOTorchLearner
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import TARGET_NETWORK_ACTION_DIST_INPUTS, TargetNetworkAPI
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics import NUM_ENV_STEPS_TRAINED_LIFETIME
from torch import Tensor, nn

from experiments.rllib.modules import ValueModule
from experiments.training_config import AppoConfig

_MINIBATCH = "minibatch"
_WAIT_S = 0.05  # for samples of runners, before it is looked again
# Log-probability of what was not done: V-trace then takes the value of the state as it is. With
# RLlib's own filling the last value of each trajectory is taken back again, as if all ended there.
_NEVER = 60.0


class TraceModule(ValueModule, TargetNetworkAPI):
    """With a value, and a copy of itself from before the last updates."""

    def make_target_networks(self) -> None:
        """The copy."""
        self.old = make_target_network(self.net)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Network and copy."""
        return [(self.net, self.old)]

    def get_non_inference_attributes(self) -> list[str]:
        """The copy too."""
        return [*super().get_non_inference_attributes(), "old"]

    def forward_target(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """What the copy would do."""
        return {TARGET_NETWORK_ACTION_DIST_INPUTS: self.old(batch[Columns.OBS])[0]}


class Trajectories(ConnectorV2):
    """Chunks of episodes as rows of one length, `steps` and what was seen after the last one.

    Rows follow each other in one axis, as the loss takes them; what fills up shorter chunks is
    masked.

    Args:
        steps: the longest chunk.
    """

    def __init__(
        self, observation_space: Any = None, action_space: Any = None, *, steps: int, **rest: Any
    ) -> None:
        super().__init__(observation_space, action_space, **rest)
        self._row = steps + 1

    def __call__(
        self, *, episodes: Sequence[SingleAgentEpisode], **_: Any
    ) -> dict[str, dict[str, Tensor]]:
        """The batch of each policy."""
        of: dict[str, dict[int, list[SingleAgentEpisode]]]
        of = defaultdict(lambda: defaultdict(list))
        for episode in episodes:
            if len(episode):
                of[str(episode.module_id)][len(episode)].append(episode)
        found = {}
        for policy, lengths in of.items():
            parts = [self._rows(group, length) for length, group in lengths.items()]
            found[policy] = {
                name: torch.from_numpy(np.concatenate([part[name] for part in parts]))
                for name in parts[0]
            }
        return found

    def _rows(self, episodes: list[SingleAgentEpisode], length: int) -> dict[str, Any]:
        n, T = len(episodes), self._row
        seen = np.stack([e.observations.data for e in episodes])
        logps = np.stack([e.extra_model_outputs[Columns.ACTION_LOGP].data for e in episodes])
        told = {
            Columns.OBS: (seen, 0.0),
            Columns.ACTIONS: (np.stack([e.actions.data for e in episodes]), 0),
            Columns.REWARDS: (np.stack([e.rewards.data for e in episodes]), 0.0),
            Columns.ACTION_LOGP: (logps, _NEVER),
            Columns.LOSS_MASK: (np.ones((n, length), np.bool_), False),
        }
        found = {}
        for name, (values, rest) in told.items():
            whole = np.full((n, T, *values.shape[2:]), rest, values.dtype)
            whole[:, : values.shape[1]] = values
            found[name] = whole.reshape(n * T, *values.shape[2:])
        ends = np.zeros((n, T), np.bool_)
        ends[:, length - 1] = [e.is_terminated for e in episodes]
        found[Columns.TERMINATEDS] = ends.reshape(n * T)
        return found


class TraceLearner(APPOTorchLearner):
    """RLlib's, updating in the caller's thread over rows of `Trajectories`."""

    def build(self) -> None:
        """As RLlib does."""
        super().build()
        self._updates = 0
        rows = self.config.copy(copy_frozen=False)
        rows.rollout_fragment_length += 1
        self._of_rows = rows

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: Any, fwd_out: Any
    ) -> Tensor:
        """RLlib's loss, told how long rows are."""
        return super().compute_loss_for_module(
            module_id=module_id, config=self._of_rows, batch=batch, fwd_out=fwd_out
        )

    def update(
        self, training_data: Any, *, timesteps: dict[str, Any], return_state: bool = False,
        num_epochs: int = 1, **_: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Learn from one batch; the target networks follow every so many of them."""
        training_data.solve_refs()
        if not training_data.episodes:  # their runner died with them
            return {}
        self._updates += 1
        # RLlib counts trained steps an epoch and minibatch each
        trained = self._updates * self.config.train_batch_size_per_learner
        result: dict[str, Any] = Learner.update(
            self, training_data=training_data, num_epochs=num_epochs,
            minibatch_size=self.config.learner_config_dict[_MINIBATCH],
            timesteps={**timesteps, NUM_ENV_STEPS_TRAINED_LIFETIME: trained},
        )  # fmt: skip
        if return_state:
            names = [f"{COMPONENT_RL_MODULE}/{policy}" for policy in self.module.keys()]
            state = self.get_state(components=names, inference_only=True)
            state[COMPONENT_RL_MODULE] = ray.put(state[COMPONENT_RL_MODULE])
            result["_rl_module_state_after_update"] = state
        return result


def appo(algorithm: AppoConfig, *, copies: int, least: int) -> APPOConfig:
    """RLlib's configuration.

    Args:
        algorithm: ours.
        copies: environments of a runner.
        least: agents of the policy that has the fewest.
    """
    row = algorithm.fragment + 1
    rows = copies * row * least
    made = APPOConfig().training(
        train_batch_size_per_learner=copies * algorithm.fragment,  # what a runner sends at once
        num_epochs=algorithm.epochs,
        lr=algorithm.lr,
        gamma=algorithm.gamma,
        clip_param=algorithm.clip,
        entropy_coeff=algorithm.entropy,
        vf_loss_coeff=algorithm.value,
        grad_clip=algorithm.grad_clip,
        grad_clip_by="global_norm",
        use_kl_loss=False,
        use_circular_buffer=False,
        circular_buffer_num_batches=1,
        circular_buffer_iterations_per_batch=1,
        target_network_update_freq=algorithm.target_every,
        tau=1.0,
        broadcast_interval=0,  # weights go to the runners after every batch
        timeout_s_sampler_manager=_WAIT_S,
    )
    made.learners(
        learner_class=TraceLearner,
        learner_connector=partial(_trajectories, algorithm.fragment),
        add_default_connectors_to_learner_pipeline=False,
        learner_config_dict={_MINIBATCH: max(min(algorithm.minibatch, rows) // row, 1) * row},
    )
    return made


def _trajectories(steps: int, seen: Any, actions: Any, *_: Any) -> Trajectories:
    return Trajectories(seen, actions, steps=steps)
