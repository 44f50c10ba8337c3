"""Checkpoints of a training: RLlib's state beside Don's counters. Reads and writes folders.

A checkpoint is written beside and renamed when it is whole, so a process killed while it writes
leaves the one before. Only states that are finite are written.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from ray.rllib.algorithms.algorithm import Algorithm

FOLDER, OWN = "checkpoints", "don.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """How far a training is."""

    iteration: int = 0
    steps: int = 0  # agent-steps
    seconds: float = 0.0  # of training, over all processes
    best: float | None = None  # greatest mean return
    started_ns: int = 0


def save(algorithm: Algorithm, counters: Counters, out: Path, keep: int) -> Path:
    """Write a checkpoint and remove the oldest beyond `keep`."""
    root = out / FOLDER
    root.mkdir(exist_ok=True)
    draft = root / ".draft"
    shutil.rmtree(draft, ignore_errors=True)
    algorithm.save_to_path(str(draft.absolute()))
    (draft / OWN).write_text(json.dumps(asdict(counters)))
    final = root / f"{counters.iteration:08d}"
    shutil.rmtree(final, ignore_errors=True)  # of a process that was killed after it
    draft.rename(final)
    for old in all_of(out)[:-keep]:
        shutil.rmtree(old)
    return final


def all_of(out: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(p for p in (out / FOLDER).glob("[0-9]*") if (p / OWN).exists())


def last_of(out: Path) -> tuple[Path, Counters] | None:
    """The newest one."""
    found = all_of(out)
    if not found:
        return None
    return found[-1], Counters(**json.loads((found[-1] / OWN).read_text()))
