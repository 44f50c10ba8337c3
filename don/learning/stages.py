"""How a model stands, folded from the registry's entries. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from don.errors import UsageError
from don.learning.card import ModelCard
from don.model.hints import meant


class Stage(StrEnum):
    """What a version may do."""

    CANDIDATE = "candidate"  # nothing yet
    SHADOW = "shadow"  # decides beside the live policy, orders nothing
    CANARY = "canary"  # trades with bounded capital
    LIVE = "live"  # trades
    RETIRED = "retired"  # was replaced while it was live: what a rollback brings back


LADDER = (Stage.CANDIDATE, Stage.SHADOW, Stage.CANARY, Stage.LIVE)
TRADING = (Stage.SHADOW, Stage.CANARY, Stage.LIVE)  # stages that a session gives a slot
SINGLE = (Stage.CANARY, Stage.LIVE)  # one version of a name at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A change of stage."""

    before: Stage
    after: Stage
    who: str
    why: str
    rule: str  # that made it; "": a person
    ts: int
    key: str = ""  # of the command that halted its slot, if a rule made it


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """How a version left the registry."""

    who: str
    why: str
    ts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of a model."""

    name: str
    version: int
    id: str  # of the content
    card: ModelCard
    stage: Stage
    who: str  # who imported it
    why: str
    ts: int  # when
    source: str  # folder that it was imported from
    moves: tuple[Move, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)  # out of sample, told later
    deletion: Deletion | None = None

    @property
    def deleted(self) -> bool:
        """Whether it left the registry; its entries stay."""
        return self.deletion is not None

    @property
    def label(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def outside(self) -> dict[str, float]:
        """Figures out of sample: those told last, else of the card; never of several runs."""
        return dict(self.measures or self.card.out_of_sample)

    @property
    def since(self) -> int:
        """When it came to its stage."""
        return self.moves[-1].ts if self.moves else self.ts


Versions = dict[tuple[str, int], Version]


def fold(entries: Iterable[tuple[str, int, Mapping[str, Any]]]) -> Versions:
    """Versions after entries (kind, ts, payload), in order; deleted ones among them."""
    found: Versions = {}
    for kind, ts, told in entries:
        key = told["name"], int(told["version"])
        match kind:
            case "import":
                found[key] = Version(
                    name=key[0],
                    version=key[1],
                    id=told["id"],
                    card=ModelCard.model_validate(told["card"]),
                    stage=Stage.CANDIDATE,
                    who=told["who"],
                    why=told["why"],
                    ts=ts,
                    source=told["source"],
                )
            case "move":
                one = found[key]
                move = Move(
                    before=one.stage, after=Stage(told["to"]), who=told["who"], why=told["why"],
                    rule=told["rule"], ts=ts, key=told.get("key", ""),
                )  # fmt: skip
                found[key] = replace(one, stage=move.after, moves=(*one.moves, move))
            case "measure":
                one = found[key]
                found[key] = replace(one, measures=told["measures"])  # of one run, never a mix
            case "delete":
                gone = Deletion(who=told["who"], why=told["why"], ts=ts)
                found[key] = replace(found[key], deletion=gone)
    return found


def find(versions: Versions, text: str) -> Version:
    """The version that `NAME`, `NAME@VERSION`, `NAME@STAGE` or an id means.

    A name alone means its live version, else its only one.

    Raises:
        UsageError: if there is none, or which one is not clear; says what there is.
    """
    alive = [one for one in versions.values() if not one.deleted]
    by_id = [one for one in alive if one.id == text]
    if by_id:
        return by_id[-1]
    name, _, which = text.partition("@")
    own = [one for one in alive if one.name == name]
    if not own:
        names = ", ".join(sorted({one.name for one in alive})) or "none"
        raise UsageError(
            f"model {name!r} is not in the registry, which has {names}"
            f"{meant(name, {one.name for one in alive})}"
        )
    if which.isascii() and which.isdigit():
        fit = [one for one in own if str(one.version) == which.lstrip("0")]
    elif which:
        if which not in set(Stage):
            raise UsageError(f"{text!r}: after @ a version or one of {', '.join(Stage)}")
        fit = [one for one in own if one.stage == which]
    else:
        fit = [one for one in own if one.stage is Stage.LIVE] or own
    if len(fit) != 1:
        there = ", ".join(f"{one.label} ({one.stage})" for one in own)
        if not fit:
            raise UsageError(f"model {text!r} is not in the registry, which has {there}")
        few = f"{name}@{fit[-1].version}"
        raise UsageError(
            f"{text!r} may be {len(fit)} versions: say which, such as {few}, of {there}"
        )
    return fit[0]


def nearest(versions: Iterable[Version]) -> dict[str, Version]:
    """What each name means where one must be served: its live version, else what comes nearest."""
    best: dict[str, Version] = {}
    for one in versions:
        if not one.deleted and (one.name not in best or _near(one) > _near(best[one.name])):
            best[one.name] = one
    return best


def _near(one: Version) -> tuple[int, int]:
    return (Stage.RETIRED, *LADDER).index(one.stage), one.version


def next_stage(one: Version) -> Stage | None:
    """Where a promotion leads that names no stage; None where there is nothing higher."""
    at = LADDER.index(one.stage) if one.stage in LADDER else 0
    return LADDER[at + 1] if at + 1 < len(LADDER) else None


def promoted(one: Version, to: Stage | None, *, force: bool) -> Stage:
    """The stage that a promotion leads to: the next one, or the one that is named.

    Raises:
        UsageError: if it is no promotion, or leaves out a stage without `force`.
    """
    at = LADDER.index(one.stage) if one.stage in LADDER else 0
    if to is None:
        following = next_stage(one)
        if following is None:
            raise UsageError(f"{one.label} is live already")
        return following
    if to not in LADDER or LADDER.index(to) <= at:
        higher = ", ".join(LADDER[at + 1 :]) or "nothing"
        raise UsageError(f"{one.label} is {one.stage}: it can be promoted to {higher}, not {to}")
    if LADDER.index(to) > at + 1 and not force:
        left = ", ".join(LADDER[at + 1 : LADDER.index(to)])
        raise UsageError(f"{one.label} would leave out {left}: say --force if you mean it")
    return to


def unmoved(one: Version, at: Stage | None, asked: int | None) -> None:
    """Refuse where a version stands elsewhere than whoever asks has seen it.

    Args:
        one: as it stands.
        at: the stage that it was seen in; None: any.
        asked: when it was seen, ns; None: just now.

    Raises:
        UsageError: says who moved it.
    """
    last = one.moves[-1] if one.moves else None
    how = f": {last.who} moved it from {last.before} ({last.why})" if last else ""
    if at is not None and one.stage is not at:
        raise UsageError(f"{one.label} is {one.stage}, not {at}{how}")
    if asked is not None and last is not None and last.ts > asked:
        raise UsageError(f"{one.label} is {one.stage} already{how} after this was asked for")


def taken_down(moves: Iterable[Move]) -> bool:
    """Whether a version left the stages that trade by one of these moves."""
    return any(move.after not in TRADING for move in moves)


def moves_for(versions: Versions, one: Version, to: Stage) -> list[tuple[Version, Stage]]:
    """Everything that moves when a version comes to a stage: who held it makes room."""
    moves = []
    if to in SINGLE:
        for other in versions.values():
            if other.name == one.name and other.version != one.version and other.stage is to:
                room = Stage.RETIRED if to is Stage.LIVE else Stage.CANDIDATE
                moves.append((other, room))
    return [*moves, (one, to)]


def rolled_back(versions: Versions, name: str) -> list[tuple[Version, Stage]]:
    """The moves that bring back the version that was live before.

    Raises:
        UsageError: if none was.
    """
    live = next((v for v in versions.values() if v.name == name and v.stage is Stage.LIVE), None)
    retired = [
        v for v in versions.values()
        if v.name == name and v.stage is Stage.RETIRED and not v.deleted
    ]  # fmt: skip
    if not retired:
        raise UsageError(f"no version of {name} was live before: nothing to roll back to")
    last = max(retired, key=lambda v: v.since)
    return ([(live, Stage.CANDIDATE)] if live is not None else []) + [(last, Stage.LIVE)]
