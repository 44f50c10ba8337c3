"""Recorded episodes for the API: which there are, and one run again. Blocks; use a thread."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from don.errors import DataError

if TYPE_CHECKING:  # environments are large: who never asks for one does without
    from don.envs.record import Episode
    from don.envs.shown import Shown

FOLDER = "episodes"  # in the state folder
LISTED = 100
MOST_BYTES = 256 * 2**20


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


def listed(home: Path) -> list[EpisodeTold]:
    """The newest files."""
    return [_told(path, written) for written, path in _files(home)[:LISTED]]


def one(home: Path, name: str) -> "tuple[EpisodeTold, Shown] | None":
    """One of them, run again; None if there is none such. Only a file of the folder is opened.

    Raises:
        DataError: if it cannot be read or run again.
    """
    found = next(((path, at) for at, path in _files(home) if path.name == name), None)
    if found is None:
        return None
    from don.envs.shown import shown

    episode = _read(found[0])
    return _row(*found, episode), shown(episode)


def _files(home: Path) -> list[tuple[int, Path]]:
    folder = home / FOLDER
    if not folder.is_dir():
        return []
    found = []
    for path in folder.glob("*.parquet"):
        if path.name.startswith(".") or path.is_symlink() or not path.is_file():
            continue
        found.append((path.stat().st_mtime_ns, path))
    return sorted(found, reverse=True)


@lru_cache(maxsize=2 * LISTED)  # a file that is written anew has another time
def _told(path: Path, written: int) -> EpisodeTold:
    try:
        return _row(path, written, _read(path))
    except DataError as error:
        return EpisodeTold(name=path.name, written_ns=written, problem=str(error)[:500])


def _row(path: Path, written: int, episode: "Episode") -> EpisodeTold:
    return EpisodeTold(
        name=path.name,
        written_ns=written,
        problem="",
        symbols=episode.symbols,
        start_ns=episode.start_ns,
        steps=len(episode.seen),
        capital=episode.config.episode.capital,
        final_equity=tuple(float(x) for x in episode.equity[-1]),
    )


def _read(path: Path) -> "Episode":
    from don.envs import record

    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DataError(f"{path.name} must be of up to {MOST_BYTES} bytes, was of {size}")
        episode = record.load(path)
        if not episode.seen:
            raise DataError(f"{path.name} has no step")
    except DataError as error:
        raise DataError(str(error).replace(str(path), path.name)) from error
    except (ValueError, KeyError, TypeError, OSError) as error:  # what a damaged record gives
        raise DataError(f"{path.name} is damaged: {type(error).__name__}: {error}") from error
    return episode
