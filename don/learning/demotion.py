"""Takes down models whose books break a rule: in the registry, and on the desk. Reads the database.

A session's books are judged by `don.books.rules`; whoever broke one becomes a candidate again, with
the rule on record, and the desk closes what it holds.
"""

import json
from collections.abc import Callable

from don.books.config import Mode
from don.books.rules import Breach, DemotionConfig, Point, breaches
from don.errors import UsageError
from don.learning.registry import Registry
from don.learning.resolve import version_of
from don.learning.stages import TRADING, Version
from don.model.messages import Command, CommandKind
from don.storage.database import Database
from don.storage.queries import Queries

WHO = "don"  # who demotes, where no person does


def judged(
    db: Database, registry: Registry, session: str, config: DemotionConfig
) -> list[tuple[Breach, Version]]:
    """Rules that models which still have a slot broke in a session."""
    versions = registry.versions()
    curves: dict[str, list[Point]] = {}
    modes: dict[str, str] = {}
    for row in Queries(db).books(session):
        if row.mode not in set(Mode):
            continue
        version = version_of(row.book, versions)
        if version is None or version.stage not in TRADING:
            continue
        curves.setdefault(row.book, []).append(
            Point(ts=row.ts_event, equity=float(row.equity), pnl=float(row.pnl))
        )
        modes[row.book] = row.mode
    found = []
    for breach in breaches(curves, config):
        version = version_of(breach.slot, versions)
        if version is not None:
            found.append((breach, version))
    return found


def demote(
    registry: Registry,
    found: list[tuple[Breach, Version]],
    now: int,
    send: Callable[[Command], None],
) -> list[Breach]:
    """Demote versions that broke a rule, and have the desk close their books; once each.

    The desk is told first: a model that lost too much must stop even if the registry is away.

    Args:
        registry: where they are demoted.
        found: of `judged`.
        now: wall time, ns.
        send: hands a command to the desk.

    Returns:
        Breaches that were acted upon.
    """
    done = []
    taken: set[str] = set()
    for breach, version in found:
        if version.label in taken:
            continue
        taken.add(version.label)
        told = {"scope": f"policy:{breach.slot}", "state": "halted"}
        send(
            Command(
                key=f"command:state:demoted:{breach.slot}:{version.since}",
                kind=CommandKind.STATE,
                actor=WHO,
                reason=f"{version.label} is demoted: {breach.why}",
                ts_recv=now,
                payload=json.dumps(told),
            )
        )
        try:
            registry.demote(version.label, why=breach.why, who=WHO, rule=breach.rule)
        except UsageError:
            continue  # somebody else moved it meanwhile
        done.append(breach)
    return done
