"""Files that are there whole or not at all, also after the power failed. Writes them."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from don.errors import DataError, UsageError


@contextmanager
def put(path: Path) -> Iterator[IO[bytes]]:
    """A file beside its place: on the disk, then put there, when the block is over."""
    draft = path.with_suffix(".new")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder if need be, and try whether it can be written.

    Raises:
        UsageError: if not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"folder {folder} cannot be written: {error.strerror}") from error


def write_json(path: Path, told: Any) -> None:
    """Write a document, whole or not at all."""
    with put(path) as file:
        file.write(json.dumps(told, indent=1).encode())


def read_json(path: Path, what: str) -> dict[str, Any]:
    """What `write_json` wrote.

    Args:
        path: of the file.
        what: it is of, for the error.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{what} {path.parent}: {path.name} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{what} {path.parent}: {path.name} is no JSON object")
    return found


def sync_tree(root: Path) -> None:
    """Have all files of a folder, and their names, on the disk."""
    for folder, _, names in os.walk(root, topdown=False):
        for name in names:
            with (Path(folder) / name).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(folder))


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def hashes(root: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder, by its path in it."""
    return {str(path.relative_to(root)): hash_of(path)
            for path in sorted(root.rglob("*")) if path.is_file()}  # fmt: skip


def hash_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
