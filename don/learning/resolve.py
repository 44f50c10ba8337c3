"""From policies' names to pinned models, before a session or a backtest begins. Reads folders.

A session's journal must mean the same for ever: so names that move (`model:trend`, its live
version) become `model:trend@3`, and each is pinned to its content, which is kept in the state
folder.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from don.books.config import CANARY_SHARE, Mode, SlotConfig
from don.books.rules import PAPER
from don.engine.config import EngineConfig
from don.errors import ConfigError
from don.learning.model import Model
from don.learning.policy import PREFIX
from don.learning.registry import Registry
from don.learning.stages import Stage, Version
from don.learning.store import Store
from don.model.section import parsed
from don.policies import REGISTRY, ModelRef

MODES = {Stage.LIVE: Mode.LIVE, Stage.CANARY: Mode.CANARY, Stage.SHADOW: Mode.SHADOW}
_PARTS = 1_000_000  # of equity: what a canary may trade is cut to whole ones
_SLOT_NAME = 20  # characters of a model's name in its slot's
_SLOT, _HASHED = 32, 6  # of a slot's name; of them what tells long names apart
Opened = Callable[[], AbstractContextManager[Registry]]


def names_models(policy: str, engine: EngineConfig) -> bool:
    """Whether anything has to be pinned."""
    named = [policy, *(slot.policy for slot in engine.slots)]
    return any(_asks_all(name) or name.startswith(PREFIX) for name in named)


def pinned(
    policy: str, engine: EngineConfig, opened: Opened, store: Path | None = None,
    until: ExitStack | None = None,
) -> tuple[str, EngineConfig]:  # fmt: skip
    """Policy and configuration with every model pinned.

    Args:
        policy: as of `--policy`.
        engine: configuration, perhaps with slots.
        opened: opens the registry, if a name has to be looked up.
        store: where models that are named by their folder are kept for the journal; None: they stay
            where they are.
        until: it closes the files of the models stay, whoever deletes them meanwhile; None: a
            session of them is on record already, or there will be none.

    Raises:
        UsageError, ConfigError, DataError: if a model is not there, or cannot be read.
    """
    if not names_models(policy, engine):
        return policy, engine
    if _asks_all(policy):
        with opened() as registry:
            slots = slots_of(registry.versions(), policy.partition(":")[2])
        engine = engine.model_copy(update={"slots": (*engine.slots, *slots)})
        parsed(EngineConfig, engine.model_dump(), f"slots of {policy}")  # fit, or this says why not
        policy = REGISTRY
    refs: dict[str, ModelRef] = {}
    renamed: dict[str, str] = {}
    for name in [policy, *(slot.policy for slot in engine.slots)]:
        if name.startswith(PREFIX) and name not in renamed:
            renamed[name], ref = _pin(name, opened, store, until)
            refs[renamed[name].partition("#")[0]] = ref
    engine = engine.model_copy(
        update={
            "policies": engine.policies.model_copy(update={"models": refs}),
            "slots": tuple(
                slot.model_copy(
                    update={
                        "policy": renamed.get(slot.policy, slot.policy),
                        "policies": slot.policies
                        and slot.policies.model_copy(update={"models": refs}),
                    }
                )
                for slot in engine.slots
            ),
        }
    )
    return renamed.get(policy, policy), engine


def slots_of(versions: list[Version], names: str = "") -> tuple[SlotConfig, ...]:
    """Slots for what is live, canary and shadow; a paper twin beside each that trades.

    All canaries together may trade `CANARY_SHARE` of equity: each has an equal part of it at most.

    Args:
        versions: of the registry.
        names: comma-separated; "": all.

    Raises:
        ConfigError: if nothing of these may trade.
    """
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    slots = []
    chosen = [v for v in versions if v.stage in MODES and (not wanted or v.name in wanted)]
    canaries = sum(one.stage is Stage.CANARY for one in chosen)
    for one in chosen:
        name = slot_name(one.name, one.version)
        policy = f"{PREFIX}{one.label}"
        slot: dict[str, object] = {"name": name, "policy": policy, "mode": MODES[one.stage]}
        if one.stage is Stage.CANARY:
            slot["max_share"] = round(CANARY_SHARE * _PARTS) // canaries / _PARTS
        slots.append(SlotConfig.model_validate(slot))
        if one.stage is not Stage.SHADOW:
            twin = {"name": name + PAPER, "policy": f"{PREFIX}{one.label}", "mode": Mode.SHADOW}
            slots.append(SlotConfig.model_validate(twin))
    if not any(slot.mode.orders for slot in slots):
        there = ", ".join(f"{v.label} ({v.stage})" for v in versions) or "none"
        raise ConfigError(
            f"no model of {names or 'the registry'} is live or canary (there are {there}): promote "
            "one with `don models promote`, or name a slot that trades in [[engine.slots]]"
        )
    return tuple(slots)


def slot_name(name: str, version: int) -> str:
    """What the slot of a version is called: `NAME.vVERSION`, with a hash in a long name."""
    end = f".v{version}"
    room = min(_SLOT_NAME, _SLOT - len(PAPER) - len(end))
    if len(name) > room:
        told = hashlib.sha256(name.encode()).hexdigest()[:_HASHED]
        name = f"{name[: room - _HASHED - 1]}-{told}"
    return name + end


@dataclass(frozen=True, slots=True, kw_only=True)
class Traded:
    """A place where a session has a model decide."""

    name: str  # of the slot; "" where one model has the whole account
    policy: str  # pinned, such as model:trend@3
    id: str  # of the content; "": it was never pinned
    mode: Mode
    version: Version | None = None  # None: the registry does not know it

    @property
    def slotted(self) -> bool:
        """True if it has a book of its own, by which it can be judged and closed."""
        return bool(self.name)

    @property
    def label(self) -> str:
        """Its version, or its policy where the registry knows none."""
        return self.policy if self.version is None else self.version.label

    def known(self, versions: Iterable[Version]) -> "Traded":
        """With its version, of those that there are or ever were: the one of its content, and of
        several the one of its name.
        """
        told = self._told
        same = [one for one in versions if one.id == self.id]
        same.sort(key=lambda one: (one.label == told, not one.deleted))
        return replace(self, version=same[-1] if same else None)

    @property
    def pinned_by_name(self) -> bool:
        """True if its version is the one that the session pinned by name, not by its folder."""
        return self.version is not None and self.version.label == self._told

    @property
    def _told(self) -> str:
        return self.policy.removeprefix(PREFIX).partition("#")[0]


def traded(policy: str, config: Mapping[str, Any]) -> tuple[Traded, ...]:
    """Where a session has models decide; twins on paper aside.

    Args:
        policy: that the session was begun with.
        config: its `EngineConfig`, as JSON has it.
    """
    shared = config.get("policies") or {}
    slots: Sequence[Mapping[str, Any]] = config.get("slots") or ()
    if not slots:
        slots = ({"name": "", "policy": policy, "mode": Mode.LIVE},)
    names = {slot["name"] for slot in slots}
    found = []
    for slot in slots:
        mode, name = Mode(slot.get("mode", Mode.LIVE)), str(slot["name"])
        twin = mode is Mode.SHADOW and name.endswith(PAPER) and name.removesuffix(PAPER) in names
        if twin or not slot["policy"].startswith(PREFIX):
            continue
        refs = (slot.get("policies") or shared).get("models") or {}
        ref = refs.get(slot["policy"].partition("#")[0]) or {}
        found.append(Traded(name=name, policy=slot["policy"], id=str(ref.get("id", "")), mode=mode))
    return tuple(found)


def _asks_all(policy: str) -> bool:
    return policy == REGISTRY or policy.startswith(f"{REGISTRY}:")


def _pin(
    name: str, opened: Opened, store: Path | None, until: ExitStack | None
) -> tuple[str, ModelRef]:
    told, sharp, agent = name.removeprefix(PREFIX).partition("#")
    folder = Path(told).expanduser()
    if folder.is_dir():
        model = Model.load(folder)
        if store is not None:
            folder = Store(store).keep(model, until)
        return name, ModelRef(folder=str(folder.absolute()), id=model.id)
    with opened() as registry:
        one = registry.find(told)
        if until is not None:
            registry.claim(one, until)
        model = registry.model(one)
        where = registry.folder(one).absolute()
    return f"{PREFIX}{one.label}{sharp}{agent}", ModelRef(folder=str(where), id=model.id)
