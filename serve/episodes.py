"""Recorded episodes for the API: which there are, and one run again. Blocks; use a thread.

Anybody may put files into the folder, take them away and write them anew while it is read.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from don.errors import DataError

if TYPE_CHECKING:  # environments are large: who never asks for one does without
    from don.envs.record import Episode
    from don.envs.shown import Shown

FOLDER = "episodes"  # in the state folder
LISTED = 100
MOST_BYTES = 256 * 2**20

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeTold:
    """A file of the folder."""

    name: str
    written_ns: int
    problem: str  # why it cannot be read; empty if it can
    symbols: tuple[str, ...] = ()  # none in older records
    start_ns: int | None = None
    steps: int | None = None
    capital: float | None = None  # of each account at the start
    final_equity: tuple[float, ...] = ()  # by account


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file as it was when the folder was read; one that is written anew is another."""

    path: Path
    written_ns: int
    changed_ns: int
    size: int


def listed(home: Path) -> list[EpisodeTold]:
    """The newest files."""
    found = []
    for file in _files(home)[:LISTED]:
        try:
            found.append(_told(file))
        except FileNotFoundError:
            continue  # gone since
    return found


def one(home: Path, name: str, told: "Callable[[EpisodeTold, Shown], T]") -> T | None:
    """One of them, run again, as `told` puts it; None if there is none such.

    Only a file of the folder is opened.

    Raises:
        DataError: if it cannot be read or run again.
    """
    found = next((file for file in _files(home) if file.path.name == name), None)
    if found is None:
        return None
    from don.envs.shown import shown

    try:
        episode = _read(found)
    except FileNotFoundError:
        return None
    return told(_row(found, episode), shown(episode))


def _files(home: Path) -> list[_File]:
    """Newest first."""
    folder = home / FOLDER
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = []
    for name in names:
        if name.startswith(".") or not name.endswith(".parquet"):
            continue
        try:
            about = (folder / name).lstat()
        except FileNotFoundError:
            continue  # gone since
        if stat.S_ISREG(about.st_mode):
            found.append(
                _File(
                    path=folder / name,
                    written_ns=about.st_mtime_ns,
                    changed_ns=about.st_ctime_ns,
                    size=about.st_size,
                )
            )
    return sorted(found, key=lambda file: (file.written_ns, file.path.name), reverse=True)


@lru_cache(maxsize=2 * LISTED)
def _told(file: _File) -> EpisodeTold:
    """What the list says of a file.

    Raises:
        FileNotFoundError: if it is gone.
    """
    try:
        return _row(file, _read(file))
    except DataError as error:
        return EpisodeTold(
            name=file.path.name, written_ns=file.written_ns, problem=str(error)[:500]
        )


def _row(file: _File, episode: "Episode") -> EpisodeTold:
    return EpisodeTold(
        name=file.path.name,
        written_ns=file.written_ns,
        problem="",
        symbols=episode.symbols,
        start_ns=episode.start_ns,
        steps=len(episode.seen),
        capital=episode.config.episode.capital,
        final_equity=tuple(float(x) for x in episode.equity[-1]),
    )


def _read(file: _File) -> "Episode":
    """Raises DataError, and FileNotFoundError if it is gone."""
    from don.envs import record

    path = file.path
    try:
        if file.size > MOST_BYTES:
            raise DataError(f"{path.name} must be of up to {MOST_BYTES} bytes, was of {file.size}")
        return record.load(path)
    except DataError as error:
        path.lstat()
        raise DataError(str(error).replace(str(path), path.name)) from error
