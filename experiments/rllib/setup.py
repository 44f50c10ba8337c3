"""From a training's configuration to RLlib's. Pure but for RLlib's registry of environments."""

import math
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.registry import register_env

from don.envs import BatchEnv
from don.envs.config import ActionKind
from don.learning.model import card_of
from experiments.fitting import network, policy_map
from experiments.rllib.appo import TraceModule, appo
from experiments.rllib.connectors import Advantages
from experiments.rllib.memory import FromMemory
from experiments.rllib.modules import ValueModule
from experiments.rllib.off_policy import (
    MemoryDQN,
    MemoryDQNLearner,
    MemorySAC,
    MemorySACLearner,
    QModule,
    SoftModule,
)
from experiments.rllib.runner import BatchRunner
from experiments.rllib.stock import make_stock
from experiments.training_config import (
    AppoConfig,
    DqnConfig,
    PpoConfig,
    Runner,
    SacConfig,
    TrainConfig,
)

ENV = "don-trading"


def _of(mapping: Mapping[str, str], agent: str, *_: Any, **__: Any) -> str:
    return mapping[agent]


def build_config(
    config: TrainConfig, env: BatchEnv, market: Path, *, resumed: int = 0
) -> AlgorithmConfig:
    """RLlib's configuration.

    Args:
        config: of the training.
        env: any environment of it, for the spaces.
        market: file of the bars.
        resumed: iterations that were done before.
    """
    mapping = policy_map(config, env)
    algorithm, workers = config.algorithm, config.workers
    settings = {
        "market": str(market),
        "env": config.env.model_dump(mode="json"),
        "states": [state.dump() for state in env.began_with],
        "reward_scale": algorithm.reward_scale,
        "resumed": resumed,
    }
    register_env(ENV, make_stock)
    kind: type = ValueModule
    if isinstance(algorithm, PpoConfig):
        made: AlgorithmConfig = _ppo(config, algorithm, len(mapping))
    elif isinstance(algorithm, AppoConfig):
        made, kind = _appo(config, algorithm, mapping), TraceModule
    elif isinstance(algorithm, SacConfig):
        made, kind = _sac(config, algorithm), SoftModule
    else:
        made, kind = _dqn(config, algorithm), QModule
    made.environment(ENV, env_config=settings, disable_env_checking=True)
    made.env_runners(
        num_env_runners=workers.runners,
        num_cpus_per_env_runner=1,
        num_envs_per_env_runner=workers.copies,
        rollout_fragment_length=algorithm.fragment,
        batch_mode="truncate_episodes",
    )
    if config.runner is Runner.FAST:
        made.env_runners(
            env_runner_cls=BatchRunner,
            add_default_connectors_to_env_to_module_pipeline=False,
            add_default_connectors_to_module_to_env_pipeline=False,
        )
    made.multi_agent(
        policies=set(mapping.values()),
        policy_mapping_fn=partial(_of, mapping),
        count_steps_by="agent_steps",
    )
    made.rl_module(rl_module_spec=_modules(config, env, mapping, kind))
    made.learners(num_learners=0)
    made.fault_tolerance(restart_failed_env_runners=True)
    made.debugging(seed=config.seed, log_level="ERROR")
    made.reporting(
        min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=_least(config, len(mapping))
    )
    return made


def _least(config: TrainConfig, agents: int) -> int:
    """Agent-steps of an iteration at least.

    With APPO, runners send when they have something: an iteration is what all of them sample once.
    """
    if not isinstance(config.algorithm, AppoConfig):
        return 0
    workers = config.workers
    return workers.copies * config.algorithm.fragment * agents * max(workers.runners, 1)


def _modules(
    config: TrainConfig, env: BatchEnv, mapping: Mapping[str, str], kind: type
) -> MultiRLModuleSpec:
    card, specs = card_of(env, network(config), mapping, name="training"), {}
    for policy, told in card.policies.items():
        group = env.groups[told.group]
        specs[policy] = RLModuleSpec(
            module_class=kind,
            observation_space=group.observation_space,
            action_space=group.action_space,
            model_config={
                "observation": told.observation.model_dump(mode="json"),
                "net": told.net.model_dump(mode="json"),
                "explore": _explore(config.algorithm),
            },
        )
    return MultiRLModuleSpec(rl_module_specs=specs)


def _ppo(config: TrainConfig, algorithm: PpoConfig, agents: int) -> PPOConfig:
    copies = config.workers.copies * max(config.workers.runners, 1)
    rows = copies * algorithm.fragment * agents
    minibatch = min(algorithm.minibatch, rows)
    if config.net.memory:  # rows are sequences
        minibatch = max(1, minibatch // algorithm.sequence)
    made = PPOConfig().training(
        train_batch_size_per_learner=rows,
        minibatch_size=minibatch,
        num_epochs=algorithm.epochs,
        lr=algorithm.lr,
        gamma=algorithm.gamma,
        lambda_=algorithm.gae_lambda,
        clip_param=algorithm.clip,
        entropy_coeff=algorithm.entropy,
        vf_loss_coeff=algorithm.value,
        vf_clip_param=float("inf"),
        use_kl_loss=algorithm.kl_target is not None,
        kl_target=algorithm.kl_target or 0.01,
        grad_clip=algorithm.grad_clip,
        grad_clip_by="global_norm",
    )
    if config.runner is Runner.FAST:
        connector = partial(_advantages, algorithm.gamma, algorithm.gae_lambda, algorithm.sequence)
        made.learners(learner_connector=connector, add_default_connectors_to_learner_pipeline=False)
    return made


def _advantages(
    gamma: float, lambda_: float, sequence: int, seen: Any, actions: Any, *_: Any
) -> Advantages:
    return Advantages(seen, actions, gamma=gamma, lambda_=lambda_, sequence=sequence)


def _appo(config: TrainConfig, algorithm: AppoConfig, mapping: Mapping[str, str]) -> APPOConfig:
    fewest = min(Counter(mapping.values()).values())
    return appo(algorithm, copies=config.workers.copies, least=fewest)


def _sac(config: TrainConfig, algorithm: SacConfig) -> SACConfig:
    made = SACConfig(algo_class=MemorySAC)
    entropy: float | str = "auto"
    if config.env.action.kind is ActionKind.DISCRETE:
        entropy = algorithm.entropy_part * math.log(len(config.env.action.levels))
    made.training(
        actor_lr=algorithm.lr,
        critic_lr=algorithm.lr,
        alpha_lr=algorithm.lr,
        lr=None,
        tau=algorithm.tau,
        initial_alpha=algorithm.alpha,
        target_entropy=entropy,
        twin_q=True,
        n_step=1,
    )
    return _replay(made, config, algorithm, MemorySACLearner)


def _dqn(config: TrainConfig, algorithm: DqnConfig) -> DQNConfig:
    made = DQNConfig(algo_class=MemoryDQN)
    made.training(
        lr=algorithm.lr,
        tau=algorithm.tau,
        double_q=True,
        dueling=False,
        num_atoms=1,
        n_step=1,
    )
    return _replay(made, config, algorithm, MemoryDQNLearner)


def _replay(made: Any, config: TrainConfig, algorithm: Any, learner: type) -> Any:
    workers = config.workers
    sampled = algorithm.fragment * workers.copies * (workers.runners + 1)
    made.training(
        gamma=algorithm.gamma,
        grad_clip=algorithm.grad_clip,
        grad_clip_by="global_norm",
        train_batch_size_per_learner=algorithm.batch,
        training_intensity=algorithm.updates * algorithm.batch / sampled,  # `updates` a fragment
        num_steps_sampled_before_learning_starts=algorithm.warm_up,
        target_network_update_freq=0,
        replay_buffer_config={
            "type": "MultiAgentEpisodeReplayBuffer",
            "capacity": algorithm.memory,
        },
    )
    made.learners(
        learner_class=learner,
        learner_connector=_from_memory,
        add_default_connectors_to_learner_pipeline=False,
    )
    return made


def _from_memory(seen: Any, actions: Any, *_: Any) -> FromMemory:
    return FromMemory(seen, actions)


def _explore(algorithm: Any) -> tuple[float, float, int] | None:
    if isinstance(algorithm, DqnConfig):
        return algorithm.explore_from, algorithm.explore_to, algorithm.explore_steps
    return None
