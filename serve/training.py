"""Trainings for the API: what the index and their progress files say. Blocks; use a thread."""

from collections.abc import Sequence
from pathlib import Path

from don.learning import trainings
from serve.ports import TrainingTold

SHOWN = 100  # trainings of a list


def listed(home: Path) -> list[TrainingTold]:
    """The newest, with their last line."""
    return [_told(entry) for entry in trainings.entries(home)[:SHOWN]]


def curve(home: Path, run: str, points: int) -> TrainingTold | None:
    """One with its curve. Only what the index names is ever opened, whatever was asked for."""
    found = next((entry for entry in trainings.entries(home) if entry.id == run), None)
    return None if found is None else _told(found, trainings.rows(found.out, points))


def _told(entry: trainings.Entry, rows: Sequence[trainings.Row] = ()) -> TrainingTold:
    last, written = trainings.last(entry.out)
    return TrainingTold(entry=entry, last=last, written_ns=written, rows=rows)
