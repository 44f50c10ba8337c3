"""Whether a training fits its data: all that can be refused before it is counted. Needs no Ray."""

from dataclasses import replace

import numpy as np

from don.envs import BatchEnv, EnvConfig, EnvMarket
from don.envs.config import Scaling
from don.envs.randomize import variants
from don.envs.rewards import code_hash
from don.errors import ConfigError
from don.learning.config import NetConfig
from don.learning.model import Model
from experiments.training_config import TrainConfig
from experiments.tune_config import TuneConfig, corners, training

COPIES, STEPS = 4, 50  # of a rehearsal


def fitting(config: TrainConfig, market: EnvMarket) -> tuple[BatchEnv, dict[str, str]]:
    """An environment of a training, and agent -> policy.

    Raises:
        DataError: if the bars cannot be observed, or are too few.
        ConfigError: if features, rewards, policies or network do not fit.
    """
    trained_on(market, config)
    env = environment(config.env, market)
    mapping = policy_map(config, env)
    Model.untrained(env, network(config), mapping)
    rehearse(env)
    return env, mapping


def rehearse(env: BatchEnv) -> None:
    """Take some steps in rewards of one's own: a process that samples and fails is begun anew.

    Raises:
        ConfigError: if one of them fails in these episodes, whatever it did on made-up steps.
    """
    if not code_hash(env.config.reward):
        return
    tried = BatchEnv(env.market, env.config, COPIES, states=env.began_with)
    tried.reset(env.config.seed)
    for group in tried.groups.values():
        group.action_space.seed(env.config.seed)
    for _ in range(STEPS):
        if tried.done.all():
            tried.reset(which=tried.done)
        actions = {
            name: np.array([[group.action_space.sample() for _ in group.agents]
                            for _ in range(COPIES)])
            for name, group in tried.groups.items()
        }  # fmt: skip
        tried.step(actions, observe=False)


def trained_on(market: EnvMarket, config: TrainConfig) -> EnvMarket:
    """The bars that agents learn from: the market, and what is made up of it.

    Raises:
        DataError: if too little of it has all symbols.
    """
    return market if config.variants is None else variants(market, config.variants)


def environment(config: EnvConfig, market: EnvMarket) -> BatchEnv:
    """One environment; where its scaling is fitted, it is fitted to this market.

    Raises:
        DataError: if the bars cannot be observed, or are too few.
        ConfigError: if features do not fit.
    """
    seen = config.observation
    if seen.scaling is not Scaling.FITTED:
        return BatchEnv(market, config, 1)
    passing = seen.model_copy(update={"scaling": Scaling.EXPANDING})
    known = BatchEnv(market, config.model_copy(update={"observation": passing}), 1).states
    states = [replace(state, scaling=Scaling.FITTED) for state in known]
    return BatchEnv(market, config, 1, states=states)


def check_search(config: TuneConfig, market: EnvMarket) -> None:
    """Make sure that every value of a search's space fits the data.

    Raises:
        DataError, ConfigError: as `fitting`.
    """
    seen = set()
    for point in corners(config):
        made = training(config, point)
        told = made.model_dump_json(include={"env", "net", "policies"}) + made.algorithm.name
        if told not in seen:
            seen.add(told)
            fitting(made, market)


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
