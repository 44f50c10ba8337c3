"""A trained model: its card, weights and normalisers, and how it acts. Reads and writes folders.

A folder holds `model.json` (card, and the hashes of the other files), `weights.npz` (arrays, no
code) and `normalizers.json`. It is written beside and put in place at once.
"""

import hashlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from don.envs.core import AGENTS, BatchEnv
from don.envs.layout import LEVERAGE, Floats
from don.envs.normalize import NormalizerState
from don.envs.rewards import code_hash
from don.errors import ConfigError, DataError, UsageError
from don.learning.act import choose
from don.learning.card import COLUMNS, FORMAT, ModelCard, PolicySpec
from don.learning.config import NetConfig, NetKind
from don.learning.forward import Forward, Weights
from don.learning.schema import schema_hash
from don.learning.shapes import ActionShape, observation_shapes
from don.sources import code_version

if TYPE_CHECKING:
    from don.learning.nets import PolicyNet

CARD, WEIGHTS, NORMALIZERS = "model.json", "weights.npz", "normalizers.json"
State = dict[str, Floats]  # group -> [B, A, S]; only of groups whose networks remember


@dataclass(frozen=True, kw_only=True)
class Model:
    """Everything that is needed to act."""

    card: ModelCard
    weights: Mapping[str, Weights]  # policy -> weights, names of torch's state dict, float32
    states: tuple[NormalizerState, ...] = ()  # of the environment's blocks, as `BatchEnv.states`

    # ---- making ----------------------------------------------------------------------------------

    @classmethod
    def untrained(
        cls,
        env: BatchEnv,
        net: NetConfig,
        policies: Mapping[str, str] | None = None,
        *,
        name: str = "untrained",
        seed: int = 0,
    ) -> Self:
        """A model with first weights; see `card_of`."""
        import torch

        card = card_of(env, net, policies, name=name, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        nets = {p: build(spec, generator=generator) for p, spec in card.policies.items()}
        return cls(card=card, weights={p: plain(n) for p, n in nets.items()}, states=env.states)

    def net(self, policy: str) -> "PolicyNet":
        """The network of a policy as torch's module, with these weights; to train on from."""
        import torch

        one = build(self.card.policies[policy])
        given = {k: torch.from_numpy(np.array(v)) for k, v in self.weights[policy].items()}
        one.load_state_dict(given)
        return one

    # ---- acting ----------------------------------------------------------------------------------

    @cached_property
    def forwards(self) -> dict[str, Forward]:
        """Networks at work."""
        return {
            name: Forward(spec.observation, spec.action, spec.net, self.weights[name])
            for name, spec in self.card.policies.items()
        }

    @cached_property
    def _places(self) -> dict[str, list[tuple[str, list[int]]]]:
        """Group -> policy and the places of its agents."""
        found: dict[str, list[tuple[str, list[int]]]] = {}
        for group, agents in self.card.agents.items():
            own: dict[str, list[int]] = {}
            for place, policy in enumerate(agents.values()):
                own.setdefault(policy, []).append(place)
            found[group] = list(own.items())
        return found

    def act(
        self,
        observations: Mapping[str, NDArray[np.floating]],
        state: State | None = None,
        *,
        rng: np.random.Generator | None = None,
    ) -> tuple[dict[str, NDArray[np.generic]], State]:
        """What agents do.

        Without `rng` the likeliest action. An episode's actions do not depend on the other episodes
        of the batch, to the last bit.

        Args:
            observations: group -> [B, A, D], flat; a part of the groups is enough.
            state: of the step before; none: episodes begin.
            rng: to draw with.

        Returns:
            Actions as `BatchEnv.step` takes them, group -> [B, A, ...], and the state after.

        Raises:
            UsageError: if a group is not the model's or a shape is wrong.
            DataError: if an observation is not finite.
        """
        actions: dict[str, NDArray[np.generic]] = {}
        after: State = {}
        for group, given in observations.items():
            values = self.checked(group, given)
            B = len(values)
            before = (state or {}).get(group)
            if before is not None:
                before = self.checked_state(group, before, B)
            for policy, places in self._places[group]:
                spec, A = self.card.policies[policy], len(self.card.agents[group])
                rows = np.ascontiguousarray(values[:, places]).reshape(B * len(places), -1)
                own = None
                if spec.net.memory and before is not None:
                    own = np.ascontiguousarray(before[:, places, : spec.net.memory])
                    own = own.reshape(len(rows), -1)
                inputs, then = self.forwards[policy](rows, own)
                chosen = choose(inputs, spec.action, squash=spec.net.squash, rng=rng)
                if group not in actions:
                    actions[group] = np.zeros((B, A, *spec.action.shape), chosen.dtype)
                actions[group][:, places] = chosen.reshape(B, len(places), *spec.action.shape)
                if then is not None:
                    if group not in after:
                        most = max(self.card.policies[p].net.memory for p, _ in self._places[group])
                        after[group] = np.zeros((B, A, most))
                    after[group][:, places, : spec.net.memory] = then.reshape(B, len(places), -1)
        return actions, after

    def checked(self, group: str, given: NDArray[np.floating]) -> Floats:
        """Observations of a group as numbers [B, A, D].

        Raises:
            UsageError: if the group is not the model's or the shape is wrong.
            DataError: if one is not finite.
        """
        if group not in self.card.agents:
            raise UsageError(
                f"observations must be of {sorted(self.card.agents)}, were of {group!r}"
            )
        agents = list(self.card.agents[group])
        shape = self.card.policies[self.card.agents[group][agents[0]]].observation
        values = np.array(given, np.float64)
        if values.ndim != 3 or values.shape[1:] != (len(agents), shape.size):
            raise UsageError(
                f"observations of {group} must be [B, {len(agents)}, {shape.size}], were "
                f"{list(values.shape)}"
            )
        if not np.isfinite(values).all():
            b, a, i = (int(x) for x in np.argwhere(~np.isfinite(values))[0])
            raise DataError(
                f"observations must be finite: {shape.place(i)} of {agents[a]}, row {b}, was "
                f"{values[b, a, i]}"
            )
        return values

    def checked_state(self, group: str, given: NDArray[np.floating], rows: int) -> Floats:
        """A state of a group as numbers [B, A, S].

        Raises:
            UsageError: if the shape is wrong or a number is not finite.
        """
        agents = self.card.agents[group]
        most = max(self.card.policies[p].net.memory for p in agents.values())
        values = np.array(given, np.float64)
        if values.shape != (rows, len(agents), most) or not np.isfinite(values).all():
            raise UsageError(
                f"state of {group} must be {[rows, len(agents), most]} finite numbers, was "
                f"{list(values.shape)}"
            )
        return values

    # ---- keeping ---------------------------------------------------------------------------------

    @cached_property
    def id(self) -> str:
        """Of everything in it but its version in a registry."""
        card = self.card.model_copy(update={"version": 0})
        digest = hashlib.sha256(card.model_dump_json().encode())
        for content in (self._packed(), self._normalizers()):
            digest.update(content)
        return digest.hexdigest()[:16]

    @cached_property
    def schema_hash(self) -> str:
        """What its observations and actions mean: see `don.learning.schema`."""
        return schema_hash(self.card, self.states)

    def _packed(self) -> bytes:
        arrays = {
            f"{policy}/{name}": np.ascontiguousarray(values, np.float32)
            for policy, own in sorted(self.weights.items())
            for name, values in sorted(own.items())
        }
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:  # the same bytes each time
            for name, values in arrays.items():
                content = io.BytesIO()
                np.lib.format.write_array(content, values, allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())
        return out.getvalue()

    def _normalizers(self) -> bytes:
        return json.dumps([state.dump() for state in self.states]).encode()

    def save(self, folder: Path) -> None:
        """Write the folder; one that is there is replaced when the new one is whole."""
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            files = {WEIGHTS: self._packed(), NORMALIZERS: self._normalizers()}
            card = self.card.model_dump_json()
            told = {
                "format": FORMAT,
                "card": json.loads(card),
                "card_hash": _hash(_canonical(json.loads(card))),
                "files": {name: _hash(content) for name, content in files.items()},
                "id": self.id,
            }
            files[CARD] = json.dumps(told, indent=1).encode()
            for name, content in files.items():
                with (made / name).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            made.chmod(0o755)
            if folder.exists():
                old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
                os.replace(folder, old)
                os.replace(made, folder)
                shutil.rmtree(old)
            else:
                os.replace(made, folder)
        finally:
            if made.exists():
                shutil.rmtree(made)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder, whole or not at all.

        Raises:
            DataError: if it is none, is torn or was changed.
            ConfigError: if it is of another format, or its features mean something else now.
        """
        folder = Path(folder)
        told = _card(folder)
        try:
            card = ModelCard.model_validate(told["card"])
            hashes = {name: str(told["files"][name]) for name in (WEIGHTS, NORMALIZERS)}
        except (ValidationError, KeyError, TypeError) as error:
            raise DataError(f"{folder / CARD} is no card of a model: {error}") from error
        content = {}
        for name, digest in hashes.items():
            try:
                content[name] = (folder / name).read_bytes()
            except OSError as error:
                raise DataError(f"{folder / name} cannot be read: {error.strerror}") from error
            if _hash(content[name]) != digest:
                raise DataError(
                    f"{folder / name} is torn: its hash must be {digest}, was "
                    f"{_hash(content[name])}; export or import the model again"
                )
        card.check_features()
        weights: dict[str, dict[str, NDArray[np.float32]]] = {p: {} for p in card.policies}
        with np.load(io.BytesIO(content[WEIGHTS]), allow_pickle=False) as arrays:
            for key in arrays.files:
                policy, _, name = key.partition("/")
                if policy not in weights:
                    raise DataError(f"{folder / WEIGHTS} has weights of no policy: {key!r}")
                weights[policy][name] = arrays[key]
        states = tuple(NormalizerState.load(text) for text in json.loads(content[NORMALIZERS]))
        model = cls(card=card, weights=weights, states=states)
        assert model.forwards  # weights fit the card, or this says why not
        return model


def _card(folder: Path) -> dict[str, Any]:
    """The content of a folder's card, once its hash and format are right."""
    try:
        told = json.loads((folder / CARD).read_text())
    except OSError as error:
        raise DataError(f"{folder} is no model: {CARD} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{folder / CARD} is torn: {error}") from error
    if not isinstance(told, dict) or "format" not in told:
        raise DataError(f"{folder / CARD} is no card of a model")
    if told["format"] != FORMAT:
        raise ConfigError(
            f"{folder} has format {told['format']}, this Don reads {FORMAT}: export it again"
        )
    if _hash(_canonical(told.get("card"))) != told.get("card_hash"):
        raise DataError(f"{folder / CARD} was changed by hand or is torn: its card's hash is wrong")
    return told


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def card_of(
    env: BatchEnv,
    net: NetConfig,
    policies: Mapping[str, str] | None = None,
    *,
    name: str,
    seed: int = 0,
) -> ModelCard:
    """The card of a model that will act in an environment, before its training.

    Args:
        env: the environment.
        net: of all policies; an allocator's is a plain `mlp` with the same hidden layers.
        policies: agent -> policy; none: one a group, named after it.
        name: of the model.
        seed: of the first weights.

    Raises:
        UsageError: if an agent has no policy, or a policy acts in two groups.
    """
    shapes = observation_shapes(env)
    agents: dict[str, dict[str, str]] = {}
    specs: dict[str, PolicySpec] = {}
    for group, told in env.groups.items():
        agents[group] = {a: (policies or {}).get(a, group) for a in told.agents}
        own = net if group == AGENTS else net.model_copy(update={"kind": NetKind.MLP})
        for policy in dict.fromkeys(agents[group].values()):
            if policy in specs:
                raise UsageError(f"policy {policy!r} must act in one group, was in several")
            specs[policy] = PolicySpec(
                group=group, net=own, observation=shapes[group],
                action=ActionShape.of(told.action_space),
            )  # fmt: skip
    unknown = set(policies or {}) - {a for own_agents in agents.values() for a in own_agents}
    if unknown:
        raise UsageError(f"policies name agents that are not there: {', '.join(sorted(unknown))}")
    seen = env.config.observation
    return ModelCard(
        name=name,
        env=env.config,
        policies=specs,
        agents=agents,
        features=seen.features,
        feature_hash=seen.feature_set().hash,
        symbols=env.market.symbols,
        leverage=tuple(env.market.spec[:, LEVERAGE].tolist()),
        interval_ns=env.market.interval_ns,
        data_hash=env.market.hash,
        seed=seed,
        code_version=code_version(),
        reward_code=code_hash(env.config.reward),
        columns=COLUMNS,
    )


def build(spec: PolicySpec, **options: object) -> "PolicyNet":
    """The network of a policy as torch's module, with first weights."""
    from don.learning.nets import PolicyNet

    return PolicyNet(spec.observation, spec.action, spec.net, **options)  # type: ignore[arg-type]


def plain(net: "PolicyNet") -> dict[str, NDArray[np.float32]]:
    """The weights of torch's module as arrays: what `Model.weights` holds."""
    return {
        name: values.detach().cpu().numpy().astype(np.float32, copy=True)
        for name, values in net.state_dict().items()
    }


__all__ = ["Model", "State", "build", "card_of", "plain"]
