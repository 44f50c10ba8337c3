"""Models that can be asked, several names and versions side by side. Pure but for loading folders.

What is asked of one model at the same time is answered in one pass; an answer does not depend on
what it was batched with (see `don.learning.kernels`). Refusals are values, one for each question.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from don.envs.actions import Actions
from don.envs.config import ActionKind
from don.envs.core import AGENTS
from don.errors import DonError, UsageError
from don.learning.model import Model

Lookup = Callable[[str], tuple[str, str, Path]]  # NAME or NAME@VERSION -> name, version, folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question."""

    name: str  # NAME, or NAME@VERSION
    feature_hash: str  # of the observations
    observations: np.ndarray  # [B, A, D]
    group: str = AGENTS
    state: np.ndarray | None = None  # [B, A, S] of the answer before


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The answer."""

    model: str  # name@version
    id: str
    actions: np.ndarray  # [B, A, ...]
    weights: np.ndarray | None  # [B, A, n] target exposures that they stand for
    state: np.ndarray | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why there is no answer; as an HTTP problem."""

    status: int
    error: str
    field: str
    detail: str


Reply = Answered | Refused


class Shelf:
    """Loaded models. A name without a version means the one loaded for it last.

    Args:
        lookup: where a version's folder is; raises `DonError` if there is none.
        keep: models kept in memory; beyond that the one asked least recently goes, unless a name
            means it.
    """

    def __init__(self, lookup: Lookup, keep: int = 32) -> None:
        self._lookup, self._keep = lookup, keep
        self._models: dict[str, Model] = {}  # label -> model, asked last is last
        self._current: dict[str, str] = {}  # name -> label

    @property
    def current(self) -> dict[str, str]:
        """What each name means."""
        return dict(self._current)

    def load(self, text: str, *, current: bool = True) -> str:
        """Have a version in memory, warm; its name means it from then on, if `current`.

        Questions that are being answered keep the model that they began with.

        Returns:
            Its label, `name@version`.

        Raises:
            DonError: if it is not there or cannot be read; then everything stays as it was.
        """
        name, version, folder = self._lookup(text)
        label = f"{name}@{version}"
        if label not in self._models:
            model = Model.load(folder)
            _warm(model)
            self._models[label] = model
        if current:
            self._current[name] = label
        self._evict()
        return label

    def find(self, text: str) -> tuple[str, Model] | None:
        """Label and model that a question means, if loaded."""
        label = text if "@" in text else self._current.get(text, "")
        model = self._models.pop(label, None)
        if model is None:
            return None
        self._models[label] = model
        return label, model

    def describe(self, text: str) -> dict[str, Any] | Refused:
        """What a model reads and says."""
        found = self._need(text)
        if isinstance(found, Refused):
            return found
        label, model = found
        card = model.card
        groups = {}
        for group, agents in card.agents.items():
            spec = card.policies[next(iter(agents.values()))]
            groups[group] = {
                "agents": list(agents),
                "observation": spec.observation.model_dump(mode="json"),
                "size": spec.observation.size,
                "action": spec.action.model_dump(mode="json"),
                "memory": max(card.policies[p].net.memory for p in agents.values()),
            }
        return {
            "model": label, "id": model.id, "feature_hash": card.feature_hash,
            "features": list(card.features), "symbols": list(card.symbols),
            "interval_ns": card.interval_ns, "groups": groups,
        }  # fmt: skip

    def act(self, questions: Sequence[Asked]) -> list[Reply]:
        """Answers, in order."""
        replies: list[Reply | None] = [None] * len(questions)
        together: dict[tuple[str, str, bool], list[int]] = {}
        models: dict[str, Model] = {}
        for place, asked in enumerate(questions):
            found = self._need(asked.name)
            if isinstance(found, Refused):
                replies[place] = found
                continue
            label, model = found
            refusal = _refusal(asked, label, model)
            if refusal is not None:
                replies[place] = refusal
                continue
            models[label] = model
            together.setdefault((label, asked.group, asked.state is not None), []).append(place)
        for (label, group, _), places in together.items():
            own = [questions[place] for place in places]
            for place, reply in zip(places, _act(label, models[label], group, own), strict=True):
                replies[place] = reply
        return [reply for reply in replies if reply is not None]

    def _need(self, text: str) -> tuple[str, Model] | Refused:
        found = self.find(text)
        if found is None and "@" in text:  # a version that nobody has asked for yet
            try:
                found = self.find(self.load(text, current=False))
            except DonError as error:
                return Refused(status=404, error="not_found", field="path.name", detail=str(error))
        if found is None:
            known = ", ".join(sorted(self._current)) or "none yet"
            return Refused(
                status=404, error="not_found", field="path.name",
                detail=f"was {text!r}, must be one of: {known}",
            )  # fmt: skip
        return found

    def _evict(self) -> None:
        meant = set(self._current.values())
        for label in list(self._models):
            if len(self._models) <= self._keep:
                return
            if label not in meant:
                del self._models[label]


def listed(folders: Mapping[str, str]) -> Lookup:
    """A lookup in a list of NAME@VERSION -> folder."""

    def lookup(text: str) -> tuple[str, str, Path]:
        if text not in folders:
            raise UsageError(f"model {text!r} is none of {', '.join(folders)}")
        name, _, version = text.partition("@")
        return name, version, Path(folders[text])

    return lookup


def _refusal(asked: Asked, label: str, model: Model) -> Refused | None:
    card = model.card
    if asked.feature_hash != card.feature_hash:
        return Refused(
            status=409, error="conflict", field="body.feature_hash",
            detail=f"{label} was trained on features of hash {card.feature_hash} "
            f"({', '.join(card.features)}), these are of {asked.feature_hash}",
        )  # fmt: skip
    try:
        checked = model.checked(asked.group, asked.observations)
        if asked.state is not None:
            model.checked_state(asked.group, asked.state, len(checked))
    except DonError as error:
        return Refused(status=422, error="invalid", field="body", detail=str(error))
    return None


def _act(label: str, model: Model, group: str, own: Sequence[Asked]) -> list[Answered]:
    """One pass for questions to one model."""
    rows = np.concatenate([asked.observations for asked in own])
    state = None
    if own[0].state is not None:
        state = {group: np.concatenate([np.asarray(a.state, np.float64) for a in own])}
    actions, after = model.act({group: rows}, state)
    config = model.card.env.action
    weights = None
    if group == AGENTS and config.kind is not ActionKind.TICKET:
        n = model.card.policies[next(iter(model.card.agents[group].values()))].observation.symbols
        # of the agent's account: it has all symbols unless it has one of its own
        each = 1 if model.card.env.form == "single" else len(model.card.symbols)
        turned = Actions(config, n, config.gross / each, spot=model.card.env.costs.spot)
        weights = turned.weights(actions[group])
    told, at = [], 0
    for asked in own:
        part = slice(at, at + len(asked.observations))
        at = part.stop
        told.append(
            Answered(
                model=label,
                id=model.id,
                actions=actions[group][part],
                weights=None if weights is None else weights[part],
                state=after[group][part] if group in after else None,
            )
        )
    return told


def _warm(model: Model) -> None:
    """Act once on nothing: what is compiled at first use is compiled before anybody waits."""
    for group, agents in model.card.agents.items():
        size = model.card.policies[next(iter(agents.values()))].observation.size
        model.act({group: np.zeros((1, len(agents), size), np.float32)})
