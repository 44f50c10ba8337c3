"""Takes down what broke a rule: on the desk and in the registry. Reads and writes the database.

Each slot stands for itself: one that fails keeps nobody else going. Desk and registry each stand
for themselves too, and what either did not take is tried again until both have it; what a driver
that was killed left half done, whoever begins next finishes (`owed`).
"""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from don.books.rules import Breach
from don.errors import DonError, UsageError
from don.learning.demotion import DEMOTED, WHO, Broken, halting
from don.learning.registry import Registry
from don.learning.resolve import traded
from don.learning.stages import TRADING, Stage, Version, taken_down
from don.model import codec
from don.model.messages import Command

_IS = " is demoted: "  # in the reason of a command, between who and why
_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_WHY = re.compile(rf"{_IS}\w+ (?P<value>{_NUMBER}) is beyond (?P<limit>{_NUMBER})$")
# a key may be anybody's choice: what does not look like ours is not
_KEY = re.compile(re.escape(DEMOTED) + r"([^:]+):([^:]+):([^:]+):(\d+)")  # see `Broken.key`


@dataclass(slots=True, kw_only=True)
class _Step:
    """How far a demotion has come."""

    one: Broken
    halted: bool
    recorded: bool = False

    @property
    def done(self) -> bool:
        return self.halted and self.recorded


class Takedown:
    """Demotions under way.

    The desk is told first: a model that lost too much must stop even if the registry is away. What
    stands in no stage that trades any more, or was never in the registry, is halted all the same.

    Args:
        send: hands a command to the desk; raises `DonError` if it was not taken.
    """

    def __init__(self, send: Callable[[Command], Any]) -> None:
        self._send = send
        self._steps: dict[tuple[str, str, int], _Step] = {}
        self.failures: tuple[str, ...] = ()  # of the last `act`: which model, what, and why

    def act(self, registry: Registry, found: Iterable[Broken], now: int) -> list[Broken]:
        """Go as far as possible with what broke a rule now, and with what is left of before.

        Args:
            registry: where they are demoted.
            found: of `Judge.look` or `owed`; what is known already is not done twice.
            now: wall time, ns.

        Returns:
            What both desk and registry have now, and had not before; one a slot.
        """
        for one in found:
            self._steps.setdefault(one.turn, _Step(one=one, halted=one.halted))
        under_way = [step for step in self._steps.values() if not step.done]
        failures = []
        for act, what in ((self._halt, "is not halted yet"), (self._record, "is not demoted yet")):
            for step in under_way:  # all are halted before the registry can take its time
                try:
                    act(step, registry, now)
                except DonError as error:
                    one = step.one
                    failures.append(f"{one.label} ({one.slot.name}) {what}: {error}")
        self.failures = tuple(failures)
        return [step.one for step in under_way if step.done]

    def recorded(self, one: Broken) -> bool:
        """Whether the registry owes nothing for it any more."""
        return one.turn in self._steps and self._steps[one.turn].recorded

    def _halt(self, step: _Step, registry: Registry, now: int) -> None:
        if not step.halted:
            one = step.one
            self._send(halting(one.slot, f"{one.label}{_IS}{one.breach.why}", one.key, now))
            step.halted = True

    def _record(self, step: _Step, registry: Registry, now: int) -> None:
        if step.recorded:
            return
        one, version = step.one, step.one.slot.version
        if version is not None and not version.deleted and version.stage in TRADING:
            with suppress(UsageError):  # somebody else moved it meanwhile: it trades no more
                registry.demote(
                    version.label, why=one.breach.why, who=WHO, rule=one.breach.rule, key=one.key,
                    seen=len(version.moves),
                )  # fmt: skip
        step.recorded = True


def owed(registry: Registry) -> list[Broken]:
    """Slots that were halted by a rule while the registry does not know of it, one a version.

    That is so where the driver was killed between the two. A version that traded in no stage then,
    came later, or was taken down since owes nothing, wherever it has risen to again.

    Raises:
        DatabaseError: if the database is away.
    """
    standing = [one for one in registry.versions() if one.stage in TRADING]
    if not standing:
        return []
    with registry.db.connection() as connection:
        rows = connection.execute(
            "SELECT j.kind, j.payload, j.key FROM journal_head h JOIN journal j "
            "ON j.account = h.account AND j.key LIKE %s ORDER BY j.ts_recv, j.seq",
            (DEMOTED + "%",),
        ).fetchall()
        halts = [(row, key.groups()) for row in rows if (key := _KEY.fullmatch(row[2]))]
        sessions = connection.execute(
            "SELECT id, policy, config FROM session WHERE id = ANY(%s)",
            (sorted({session for _, (session, *_) in halts}),),
        ).fetchall()
    composed = {name: traded(policy, config or {}) for name, policy, config in sessions}
    found: dict[str, Broken] = {}
    for (kind, payload, key), (session, name, rule, seen) in halts:
        command = codec.decode(kind, payload.encode())
        why = _WHY.search(command.reason) if isinstance(command, Command) else None
        slots = [one.known(standing) for one in composed.get(session, ()) if one.name == name]
        if why is None or not slots or slots[0].version is None:
            continue
        if _settled(slots[0].version, key, command.ts_recv):
            continue
        one = Broken(
            breach=Breach(
                slot=name, rule=rule, value=float(why["value"]), limit=float(why["limit"])
            ),
            slot=slots[0], session=session, seen=int(seen), halted=True,
        )  # fmt: skip
        found.setdefault(one.label, one)
    return list(found.values())


def _settled(one: Version, key: str, halted: int) -> bool:
    """Whether the registry owes a version nothing for a halt."""
    before = [move for move in one.moves if move.ts <= halted]
    stood = before[-1].after if before else Stage.CANDIDATE
    return (
        one.ts > halted
        or stood not in TRADING
        or any(move.key == key for move in one.moves)
        or taken_down(move for move in one.moves if move.ts >= halted)
    )
