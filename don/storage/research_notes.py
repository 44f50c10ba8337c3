"""Runs that wait in the state folder for the research ledger. Reads and writes a file.

A backtest takes seconds and needs no database: to start one for a line in the ledger would cost
more than the run. So it is noted here, on disk before it begins, and the ledger takes all notes in
when it is opened next, before anything is counted by it.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from don.errors import UsageError

NOTES = "research-notes.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A run that began, or that ended."""

    key: str  # of the run
    ended: bool
    payload: Mapping[str, Any]  # as the ledger enters it


class Notes:
    """The notes of a state folder; any number of processes may write at once.

    Args:
        folder: of the state; made if need be.
        warn: takes a line when one cannot be read.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = lambda text: None) -> None:
        self._path, self._warn = folder / NOTES, warn

    def begin(self, payload: Mapping[str, Any]) -> str:
        """Note a run before it does anything; on disk when this returns.

        Returns:
            Its key, for `end`.

        Raises:
            UsageError: if the state folder cannot be written: a run that is not counted must not
                begin.
        """
        key = secrets.token_hex(12)
        self._append({"key": key, "ended": False, "payload": payload})
        return key

    def end(self, key: str, payload: Mapping[str, Any]) -> None:
        """Note what came of it.

        Raises:
            UsageError: if the state folder cannot be written.
        """
        self._append({"key": key, "ended": True, "payload": payload})

    def waiting(self) -> bool:
        """Whether the ledger has something to take in."""
        try:
            return self._path.stat().st_size > 0
        except FileNotFoundError:
            return False

    @contextmanager
    def taken(self) -> Iterator[Sequence[Note]]:
        """All notes, in order; they are gone when the block ends well, and stay if it does not."""
        if not self.waiting():
            yield ()
            return
        with self._held() as file:
            yield self._notes(file.read())
            file.truncate(0)
            os.fsync(file.fileno())

    # ---- inside ----------------------------------------------------------------------------------

    def _notes(self, content: bytes) -> list[Note]:
        found = []
        for n, line in enumerate(content.split(b"\n"), 1):
            if not line:
                continue
            try:
                found.append(Note(**json.loads(line)))
            except (ValueError, TypeError):  # cut off: who wrote it died before its run began
                self._warn(f"line {n} of {self._path} cannot be read: it is left out")
        return found

    def _append(self, told: Mapping[str, Any]) -> None:
        line = json.dumps(told, sort_keys=True).encode() + b"\n"
        with self._held() as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            torn = file.read(1) not in (b"\n", b"")
            file.write(b"\n" + line if torn else line)
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def _held(self) -> Iterator[IO[bytes]]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = not self._path.exists()
            file = self._path.open("a+b")
        except OSError as error:
            raise UsageError(
                f"state folder {self._path.parent} cannot be used: {error.strerror}; it counts "
                "every backtest: set DON_HOME to another"
            ) from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if fresh:  # its name must be on disk as well
                folder = os.open(self._path.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
            file.seek(0)
            yield file
