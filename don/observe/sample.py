"""One figure of a metric: what parts tell and monitors read. Pure."""

from dataclasses import dataclass

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure: a name of the catalogue (without `don_`), its value, its labels."""

    name: str
    value: float
    labels: Labels = ()


def sample(name: str, value: float, **labels: str) -> Sample:
    """A sample; labels in any order."""
    return Sample(name, float(value), tuple(sorted(labels.items())))
