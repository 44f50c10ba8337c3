"""Checkpoints of a training: RLlib's state beside Don's counters. Reads and writes folders.

A checkpoint is written beside, brought to the disk, and renamed when it is whole, so a process
killed while it writes, or a machine that loses power, leaves the one before. It says what its files
were, so that one that was damaged later is known as such before anything is taken from it. Only
states that are finite are written.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm

from don.errors import DataError
from experiments.begun import check_versions
from experiments.durable import hash_of, hashes, read_json, sync_folder, sync_tree, write_json

FOLDER, OWN = "checkpoints", "don.json"
DRAFT, GONE = ".draft", ".gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """How far a training is."""

    iteration: int = 0
    steps: int = 0  # agent-steps
    seconds: float = 0.0  # of training, over all processes
    best: float | None = None  # greatest mean return
    returns: float | None = None  # the newest one
    started_ns: int = 0
    episodes: int = 0  # that ended


def save(
    algorithm: Algorithm, counters: Counters, out: Path, keep: int, begun: Mapping[str, Any]
) -> Path:
    """Write a checkpoint and remove the oldest beyond `keep`.

    Args:
        algorithm: whose state it is.
        counters: how far it is.
        out: folder of the training.
        keep: that stay.
        begun: `experiments.begun.versions`.
    """
    root = out / FOLDER
    root.mkdir(exist_ok=True)
    final = root / f"{counters.iteration:08d}"
    if final.exists():  # nothing was learned since
        return final
    draft = root / DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    algorithm.save_to_path(str(draft.absolute()))
    write_json(draft / OWN, {**asdict(counters), "begun": dict(begun), "files": hashes(draft)})
    sync_tree(draft)
    draft.rename(final)
    sync_folder(root)
    for old in all_of(out)[:-keep]:
        _put_away(old, root / GONE)
        shutil.rmtree(root / GONE)
    return final


def all_of(out: Path) -> list[Path]:
    """Checkpoints, oldest first."""
    return sorted(p for p in (out / FOLDER).glob("[0-9]*") if p.is_dir())


def last_of(out: Path) -> tuple[Path, Counters] | None:
    """The newest one.

    Raises:
        DataError: if it is not whole.
    """
    found = all_of(out)
    return (found[-1], read(found[-1])) if found else None


def read(folder: Path, begun: Mapping[str, Any] | None = None) -> Counters:
    """How far a training was at a checkpoint.

    Args:
        folder: of the checkpoint.
        begun: versions here; None: they are not compared.

    Raises:
        DataError: if it is not as it was written.
        UsageError: if it is of other features, or of another version.
    """
    told = read_json(folder / OWN, "checkpoint")
    if begun is not None:
        check_versions(told.get("begun", {}), begun, folder)
    for name, digest in told.get("files", {}).items():
        path = folder / name
        if not path.is_file():
            raise DataError(f"checkpoint {folder} is not whole: {name} is missing")
        if hash_of(path) != digest:
            raise DataError(f"checkpoint {folder} is not whole: {name} is not as it was written")
    try:
        return Counters(**{f.name: told[f.name] for f in fields(Counters) if f.name in told})
    except TypeError as error:
        raise DataError(f"checkpoint {folder}: {OWN} is none of Don's: {error}") from error


class Found:
    """Checkpoints that a training may go on from.

    Args:
        out: its folder; None: it begins.
        tell: takes lines about those that cannot be read.
    """

    def __init__(self, out: Path | None, tell: Callable[[str], None]) -> None:
        self._all = [] if out is None else all_of(out)
        self._tell = tell
        self._whole: list[tuple[Path, Counters]] = []
        self._torn: list[Path] = []

    def check(self, begun: Mapping[str, Any]) -> None:
        """Look at all of them, and change nothing.

        Raises:
            DataError: if there are some, but none can be read.
            UsageError: if one is of other features, or of another version than `begun`.
        """
        for folder in self._all:
            try:
                self._whole.append((folder, read(folder, begun)))
            except DataError as error:
                self._tell(str(error))
                self._torn.append(folder)
        self.newest()

    def newest(self) -> tuple[Path, Counters] | None:
        """The newest whole one; None: there are none.

        Raises:
            DataError: if there are some, but none can be read.
        """
        if self._torn and not self._whole:
            root = self._torn[0].parent
            raise DataError(f"no checkpoint in {root} can be read: begin anew with another --out")
        return self._whole[-1] if self._whole else None

    def drop(self, error: DataError) -> None:
        """Take the newest one for torn."""
        self._tell(str(error))
        self._torn.append(self._whole.pop()[0])

    def put_aside(self) -> None:
        """Keep torn ones where they are not taken for checkpoints."""
        for folder in self._torn:
            place = folder.with_name(f"torn-{folder.name}")
            _put_away(folder, place)
            self._tell(f"kept as {place}")


def _put_away(folder: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    folder.rename(place)
