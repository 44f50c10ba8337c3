"""Rules by which a slot that trades a model is taken down (`don.learning.trail`). Pure."""

from dataclasses import dataclass

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
