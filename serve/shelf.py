"""Models that can be asked, several names and versions side by side. Pure but for loading folders.

What is asked of one model at the same time is answered in one pass; an answer does not depend on
what it was batched with (see `don.learning.kernels`). Refusals are values, one for each question.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from don.envs.actions import Actions
from don.envs.config import ActionKind
from don.envs.core import AGENTS
from don.errors import DependencyError, DonError, UsageError
from don.learning.model import Model
from don.learning.schema import schema

REMEMBERED_S = 5.0  # for how long `NAME@live` means what it meant when it was looked up
_REMEMBERED = 1_024  # texts
Lookup = Callable[[str], tuple[str, str, Path]]  # NAME or NAME@VERSION -> name, version, folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question."""

    name: str  # NAME, or NAME@VERSION
    feature_hash: str  # of the observations
    observations: np.ndarray  # [B, A, D]
    group: str = AGENTS
    state: np.ndarray | None = None  # [B, A, S] of the answer before
    schema_hash: str = ""  # of what the observations mean, `don.learning.schema`; "": not told


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
Found = tuple[str, Model]  # label, model


class Shelf:
    """Loaded models. A name without a version means the one loaded for it last.

    Threads may look up and load while another answers.

    Args:
        lookup: where a version's folder is; raises `DonError` if there is none.
        keep: models kept in memory; beyond that the one asked least recently goes, unless a name
            means it or it was asked for just now.
        now: seconds, for what is remembered of lookups.
    """

    def __init__(
        self, lookup: Lookup, keep: int = 32, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._lookup, self._keep, self._now = lookup, keep, now
        self._lock = threading.Lock()  # of what follows; never held while a model is read
        self._models: dict[str, Model] = {}  # label -> model, asked last is last
        self._current: dict[str, str] = {}  # name -> label
        self._texts: dict[str, tuple[str, float]] = {}  # NAME@live and such -> label, until when
        self._reading = threading.Lock()  # two that want the same model read it once
        self._unloads = 0  # what was looked up before one of them may be gone

    @property
    def current(self) -> dict[str, str]:
        """What each name means."""
        with self._lock:
            return dict(self._current)

    def load(self, text: str, *, current: bool = True) -> str:
        """Have a version in memory, warm; its name means it from then on, if `current`.

        Questions that are being answered keep the model that they began with.

        Returns:
            Its label, `name@version`.

        Raises:
            DonError: if it is not there or cannot be read; then everything stays as it was.
        """
        return self._load(text, current)[0]

    def unload(self, label: str) -> None:
        """Forget a version that is no more; its name means nothing until another is loaded for it.

        Questions that are being answered keep it; whoever is reading it now looks it up again.
        """
        with self._lock:
            self._unloads += 1
            self._models.pop(label, None)
            self._current = {n: own for n, own in self._current.items() if own != label}
            self._texts = {t: own for t, own in self._texts.items() if own[0] != label}

    def _load(self, text: str, current: bool) -> Found:
        found: Found | None = None
        while found is None:
            with self._lock:
                unloads = self._unloads
            name, version, folder = self._lookup(text)
            found = self._put(text, f"{name}@{version}", folder, current, unloads)
        return found

    def _put(
        self, text: str, label: str, folder: Path, current: bool, unloads: int
    ) -> Found | None:
        """Read a version and have it there; None if any was unloaded since it was looked up."""
        name = label.partition("@")[0]
        with self._reading:
            with self._lock:
                model = self._models.get(label)
            if model is None:
                model = Model.load(folder)
                _warm(model)
        with self._lock:
            if self._unloads != unloads:
                return None
            self._models.pop(label, None)
            self._models[label] = model
            if current:
                self._current[name] = label
                self._texts = {t: v for t, v in self._texts.items() if t.partition("@")[0] != name}
            elif text != label:
                self._texts.pop(text, None)
                self._texts[text] = label, self._now() + REMEMBERED_S
                while len(self._texts) > _REMEMBERED:
                    del self._texts[next(iter(self._texts))]
            self._evict(label)
        return label, model

    def find(self, text: str) -> Found | None:
        """Label and model that a question means, if loaded. Reads nothing."""
        with self._lock:
            label = text if "@" in text else self._current.get(text, "")
            if text in self._texts:
                meant, until = self._texts[text]
                label = meant if self._now() < until else ""
            model = self._models.pop(label, None)
            if model is None:
                return None
            self._models[label] = model
            return label, model

    def need(self, text: str) -> Found | Refused:
        """As `find`, but a version that nobody has asked for yet is looked up and read."""
        found = self.find(text)
        if found is not None:
            return found
        if "@" not in text:
            known = ", ".join(sorted(self.current)) or "none yet"
            return Refused(
                status=404, error="not_found", field="path.name",
                detail=f"was {text!r}, must be one of: {known}",
            )  # fmt: skip
        try:
            return self._load(text, current=False)
        except DependencyError as error:  # that there is no such model nobody knows
            return Refused(status=503, error="unavailable", field="", detail=str(error))
        except DonError as error:
            return Refused(status=404, error="not_found", field="path.name", detail=str(error))
        except Exception:
            return _broken(f"looking up {text!r}")

    def describe(self, text: str) -> dict[str, Any] | Refused:
        """What a model reads and says."""
        found = self.need(text)
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
            "schema_hash": model.schema_hash, "schema": schema(card, model.states),
            "features": list(card.features), "symbols": list(card.symbols),
            "interval_ns": card.interval_ns, "groups": groups,
        }  # fmt: skip

    def act(self, questions: Sequence[Asked]) -> list[Reply]:
        """Answers, in order; what is not in memory yet is read."""
        return self.answer([(asked, self.need(asked.name)) for asked in questions])

    def answer(self, questions: Sequence[tuple[Asked, Found | Refused]]) -> list[Reply]:
        """Answers to questions whose model was found, in order. Reads nothing."""
        replies: list[Reply | None] = [None] * len(questions)
        together: dict[tuple[int, str, bool], list[int]] = {}
        for place, (asked, found) in enumerate(questions):
            if isinstance(found, Refused):
                replies[place] = found
                continue
            label, model = found
            refusal = _refusal(asked, label, model)
            if refusal is not None:
                replies[place] = refusal
                continue
            together.setdefault((id(model), asked.group, asked.state is not None), []).append(place)
        for (_, group, _), places in together.items():
            found = questions[places[0]][1]
            assert not isinstance(found, Refused)
            own = [questions[place][0] for place in places]
            try:
                answers: Sequence[Reply] = _act(*found, group, own)
            except Exception:
                answers = [_broken(f"acting with {found[0]}")] * len(places)
            for place, reply in zip(places, answers, strict=True):
                replies[place] = reply
        return [reply for reply in replies if reply is not None]

    def _evict(self, just: str) -> None:
        meant = {*self._current.values(), just}
        for label in list(self._models):
            if len(self._models) <= self._keep:
                return
            if label not in meant:
                del self._models[label]


def _broken(doing: str) -> Refused:
    """One question's failure; those beside it are answered. The log has its trace."""
    logging.getLogger("don.policies").exception("%s failed", doing)
    return Refused(
        status=500, error="internal", field="", detail="an error of Don's own; its log says more"
    )


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
    if asked.schema_hash not in ("", model.schema_hash):
        seen = card.env.observation
        return Refused(
            status=409, error="conflict", field="body.schema_hash",
            detail=f"{label} reads observations of schema {model.schema_hash} (in this order "
            f"{', '.join(card.symbols)}; window {seen.window} of {', '.join(seen.parts)}, scaling "
            f"{seen.scaling}, actions {card.env.action.kind}; GET /v1/policies/{label} tells all), "
            f"these are of {asked.schema_hash}",
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
