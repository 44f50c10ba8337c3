"""Sharpe ratios that trials told, and of what records, as the ledger learned them. Pure."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from don.storage.chain import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """What a trial came to."""

    sharpe: float  # annual
    returns: int | None = None  # that it was reckoned from; None: not known
    days: float | None = None  # that they cover; None: not known

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> "Ratio | None":
        """Of a run's result; None if it tells no ratio. Runs of before tell no record."""
        sharpe = _number(metrics.get("sharpe"))
        if sharpe is None:
            return None
        returns, days = _number(metrics.get("returns")), _number(metrics.get("days"))
        if returns is None or days is None or not (returns > 0 and days > 0):
            return cls(sharpe=sharpe)
        return cls(sharpe=sharpe, returns=int(returns), days=days)


def ratios_of(entries: Iterable[Entry], labels: Iterable[str]) -> tuple[Ratio, ...]:
    """Ratios of the trials of a family, in the order in which they became known of it.

    What is entered later is told later: no entry changes what was told before it. Runs that count
    for no trial (an evaluation, a part of another run, one that was refused) tell none.

    Args:
        entries: of the ledger, in order.
        labels: what the family's data are known by; see `family`.
    """
    known = set(labels) - {""}
    waiting: dict[int, set[str]] = {}  # runs that nothing joins to the family yet, by number
    family: set[int] = set()
    counted: set[int] = set()
    ended: dict[int, Ratio] = {}  # of runs that wait
    found: list[Ratio] = []

    def join(run: int) -> None:
        near = [run]
        while near:
            fresh: set[str] = set()
            for one in near:
                fresh |= waiting.pop(one, set()) - known
                family.add(one)
                if one in ended:
                    found.append(ended.pop(one))
            known.update(fresh)
            near = [one for one, names in waiting.items() if names & fresh]

    for entry in entries:
        run = int(entry.session)
        if entry.kind == "begin":
            told = json.loads(entry.payload)
            names = {told["data_hash"], *told["lineage"]} - {""}
            if told["trials"] > 0:
                counted.add(run)
            waiting[run] = names
            if names & known:
                join(run)
        elif entry.kind == "end":
            told = json.loads(entry.payload)
            names = set(told.get("lineage", ()))
            ratio = Ratio.of(told["metrics"]) if told["status"] != "refused" else None
            if ratio is not None and run in counted:
                ended[run] = ratio
            waiting[run] = waiting.get(run, set()) | names
            if run in family or names & known:
                join(run)
    return tuple(found)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
