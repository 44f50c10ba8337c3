"""Recorded episodes for the API: which there are, and one run again. Blocks; use a thread."""

from dataclasses import dataclass
from pathlib import Path

from don.envs import record
from don.envs.shown import Shown, shown
from don.errors import DataError

FOLDER = "episodes"  # in the state folder
LISTED = 100
MOST_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeTold:
    """A file of the folder."""

    name: str
    written_ns: int
    episode: record.Episode | None
    problem: str  # why it cannot be read; empty if it can


def listed(home: Path) -> list[EpisodeTold]:
    """The newest files."""
    return [_told(path, written) for written, path in _files(home)[:LISTED]]


def one(home: Path, name: str) -> tuple[EpisodeTold, Shown] | None:
    """One of them, run again; None if there is none such. Only a file of the folder is opened.

    Raises:
        DataError: if it cannot be read or run again.
    """
    found = next(((path, at) for at, path in _files(home) if path.name == name), None)
    if found is None:
        return None
    told = _told(*found)
    if told.episode is None:
        raise DataError(told.problem)
    return told, shown(told.episode)


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


def _told(path: Path, written: int) -> EpisodeTold:
    episode, problem = None, ""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DataError(f"{path.name} must be of up to {MOST_BYTES} bytes, was of {size}")
        episode = record.load(path)
        if not episode.seen:
            raise DataError(f"{path.name} has no step")
    except DataError as error:
        episode, problem = None, str(error).replace(str(path), path.name)
    except (ValueError, KeyError, TypeError, OSError) as error:  # what a damaged record gives
        episode, problem = None, f"{path.name} is damaged: {type(error).__name__}: {error}"
    return EpisodeTold(name=path.name, written_ns=written, episode=episode, problem=problem[:500])
