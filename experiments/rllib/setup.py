"""From a training's configuration to RLlib's. Pure but for RLlib's registry of environments."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.registry import register_env

from don.envs import BatchEnv
from don.errors import ConfigError
from don.learning.config import NetConfig
from don.learning.model import card_of
from experiments.rllib.connectors import Advantages
from experiments.rllib.modules import ValueModule
from experiments.rllib.runner import BatchRunner
from experiments.rllib.stock import make_stock
from experiments.training_config import PpoConfig, Runner, TrainConfig

ENV = "don-trading"


def policy_map(config: TrainConfig, env: BatchEnv) -> dict[str, str]:
    """Agent -> policy.

    Raises:
        ConfigError: if the mapping leaves an agent out, names one that is not there, or gives one
            policy to agents with different spaces.
    """
    groups = env.groups.values()
    agents = [agent for group in groups for agent in group.agents]
    if config.policies == "separate":
        return {agent: policy_name(agent) for agent in agents}
    if config.policies == "shared":
        return {agent: group.name for group in groups for agent in group.agents}
    given = dict(config.policies)
    missing, unknown = [a for a in agents if a not in given], sorted(set(given) - set(agents))
    if missing or unknown:
        raise ConfigError(
            f"policies must map each of {', '.join(agents)} to a policy; missing: "
            f"{', '.join(missing) or 'none'}; not there: {', '.join(unknown) or 'none'}"
        )
    for policy in set(given.values()):
        of = sorted({group.name for group in groups for a in group.agents if given[a] == policy})
        if len(of) > 1:
            raise ConfigError(f"policies: {policy!r} cannot act for {' and '.join(of)}: their "
                              "observations and actions differ")  # fmt: skip
    return given


def policy_name(agent: str) -> str:
    """A policy's name for one agent: it names folders."""
    return "".join(c if c.isalnum() or c in "_-." else "_" for c in agent)


def network(config: TrainConfig) -> NetConfig:
    """The network's shape, with what the algorithm asks of it."""
    if config.algorithm.name == "sac":
        return config.net.model_copy(update={"squash": True, "free_log_std": False})
    return config.net


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
        "reward_scale": algorithm.reward_scale,
        "resumed": resumed,
    }
    register_env(ENV, make_stock)
    made = _ppo(config, algorithm, len(mapping)) if isinstance(algorithm, PpoConfig) else None
    if made is None:
        raise ConfigError(f"algorithm {algorithm.name!r} is not available")
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
    made.rl_module(rl_module_spec=_modules(config, env, mapping, ValueModule))
    made.learners(num_learners=0)
    made.fault_tolerance(restart_failed_env_runners=True)
    made.debugging(seed=config.seed, log_level="ERROR")
    made.reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=0)
    return made


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
                "algorithm": config.algorithm.model_dump(mode="json"),
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
