"""Rules by which a slot that trades a model is taken down: from its book's own curve. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pydantic import Field

from don.model.section import Section

PAPER = ".paper"  # ends the name of the slot that trades the same on paper


class DemotionConfig(Section):
    """When a model that trades, or its shadow, is demoted without a person."""

    max_drawdown: float | None = Field(default=0.15, gt=0, lt=1)  # of the book; None: never
    max_drift: float | None = Field(default=0.05, gt=0)  # of growth from its twin's on paper
    min_points: int = Field(default=24, ge=2)  # of the curve, before drift is looked at
    every_s: float = Field(default=30.0, gt=0)  # between looks while a session runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What a book was worth."""

    ts: int
    equity: float
    pnl: float  # equity less the capital put in


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A rule that a slot broke."""

    slot: str
    rule: str  # drawdown | drift
    value: float
    limit: float

    @property
    def why(self) -> str:
        """For the record."""
        return f"{self.rule} {self.value:.4f} is beyond {self.limit:g}"


def growth(points: Sequence[Point]) -> list[float]:
    """Of one unit, a number a point: capital moved in or out is neither gain nor loss."""
    found = [1.0] if points else []
    for before, after in pairwise(points):
        gained = (after.pnl - before.pnl) / before.equity if before.equity > 0 else 0.0
        found.append(found[-1] * (1.0 + gained))
    return found


def drawdown(curve: Iterable[float]) -> float:
    """Greatest fall from a peak so far, 0 to 1."""
    peak, worst = 0.0, 0.0
    for value in curve:
        peak = max(peak, value)
        worst = max(worst, 1.0 - value / peak if peak > 0 else 0.0)
    return worst


def breaches(curves: Mapping[str, Sequence[Point]], config: DemotionConfig) -> list[Breach]:
    """Rules that are broken, by slot.

    Args:
        curves: slot -> its book's points, oldest first; twins on paper among them.
        config: limits.
    """
    found = []
    for slot, points in curves.items():
        if slot.endswith(PAPER):
            continue
        curve = growth(points)
        fall = drawdown(curve)
        if config.max_drawdown is not None and fall > config.max_drawdown:
            found.append(Breach(slot=slot, rule="drawdown", value=fall, limit=config.max_drawdown))
        paper = curves.get(slot + PAPER, ())
        twin = dict(zip((p.ts for p in paper), growth(paper), strict=True))
        both = [(value, twin[p.ts]) for p, value in zip(points, curve, strict=True) if p.ts in twin]
        if config.max_drift is None or len(both) < config.min_points:
            continue
        # both from where both are known
        drift = abs(both[-1][0] / both[0][0] - both[-1][1] / both[0][1])
        if drift > config.max_drift:
            found.append(Breach(slot=slot, rule="drift", value=drift, limit=config.max_drift))
    return found
