"""What a model says of itself: stored beside its weights, shown by the registry. Pure."""

import hashlib
import json

from pydantic import Field

from don.envs.config import EnvConfig
from don.errors import ConfigError
from don.features.columns import TIME
from don.learning.config import NetConfig
from don.learning.shapes import ActionShape, ObservationShape
from don.model.section import Section

# What environments feed features with: 2 has times of closes, the rate that was told instead of the
# one paid in a bar, and no mark prices; before, features of these were constant or other numbers.
COLUMNS = 2
FORMAT = 1  # of the folder; rises when an older Don could not read it rightly


class PolicySpec(Section):
    """One network, and what it reads and says."""

    group: str  # of agents, as the environment names it
    net: NetConfig
    observation: ObservationShape
    action: ActionShape


class Trained(Section):
    """How much a model was trained."""

    steps: int = Field(default=0, ge=0)  # agent-steps
    seconds: float = Field(default=0.0, ge=0)
    started_ns: int = 0
    ended_ns: int = 0


class ModelCard(Section):
    """Where a model comes from, and what it needs."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    version: int = Field(default=0, ge=0)  # in the registry; 0: not registered
    env: EnvConfig
    policies: dict[str, PolicySpec] = Field(min_length=1)
    agents: dict[str, dict[str, str]]  # group -> agent, in order -> policy
    features: tuple[str, ...]
    feature_hash: str  # of `env.observation.feature_set()` where it was trained
    symbols: tuple[str, ...]  # canonical, in order
    leverage: tuple[float, ...]  # of each symbol; margin used is reckoned with it
    interval_ns: int = Field(gt=0)
    data_hash: str  # of the market it was trained on
    data_source: str = ""  # "file", or exchange and channel of the store
    # shares: of the store, of minutes complete, gap, repaired, synthetic, down and unknown; of a
    # file, of bars missing
    data_shares: dict[str, float] = Field(default_factory=dict)
    seed: int = 0
    algorithm: str = ""
    code_version: str = ""  # `don.sources.code_version`; of older cards the version alone
    trained: Trained = Trained()
    in_sample: dict[str, float] = Field(default_factory=dict)
    out_of_sample: dict[str, float] = Field(default_factory=dict)
    # what it was trained on from: a model's id, name@version, or a trial of its search and how far
    parent: str = ""
    notes: dict[str, str] = Field(default_factory=dict)
    # of the code of rewards of one's own that it learned from; to act it needs none of them
    reward_code: str = Field(default="", exclude_if=lambda code: not code)
    # which of `COLUMNS` its environment fed its features with; left out of what older ones wrote
    columns: int = Field(default=1, ge=1, exclude_if=lambda number: number == 1)

    @property
    def config_hash(self) -> str:
        """Of environment, networks, who acts with which, and algorithm: how it was set up. That of
        the whole training is in the research ledger, under the run that `notes` name.
        """
        told = self.model_dump(mode="json", include={"env", "policies", "agents", "algorithm"})
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def check_features(self) -> None:
        """Make sure that the features mean here what they meant where it was trained.

        Raises:
            ConfigError: if one is not there, a module of theirs cannot be loaded, or they mean
                something else.
        """
        seen = self.env.observation
        try:
            now = seen.feature_set().hash
        except ConfigError as error:
            raise ConfigError(f"features of model {self.name}: {error}") from error
        if now == self.feature_hash:
            self._check_columns()
            return
        own = ", ".join(seen.modules)
        raise ConfigError(
            f"model {self.name} was trained on features of hash {self.feature_hash}; "
            f"{', '.join(self.features)} have the hash {now} here: train it again"
            + (f" (or {own} has changed since: take it as it was)" if own else "")
        )

    def _check_columns(self) -> None:
        if self.columns >= COLUMNS:
            return
        read = self.env.observation.feature_set().features
        other = [f.name for _, f in read if not {TIME, "rate", "mark"}.isdisjoint(f.inputs)]
        if other:
            raise ConfigError(
                f"model {self.name} observes {', '.join(other)}, of which environments gave other "
                "numbers when it was trained than sessions do: train it again"
            )
