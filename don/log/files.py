"""Log files of JSON lines that several processes may share. Does I/O.

Each line is one `write` to a file opened for appending, so lines of several processes never mix.
Who finds the file full renames it under a lock; the others notice at their next line.
"""

import contextlib
import fcntl
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

SUFFIX = ".jsonl"
MAX_BYTES = 10 * 2**20
KEPT = 4  # rotated files an actor, besides the current one


class LineFileHandler(logging.Handler):
    """Appends formatted records to one file, rotated by size.

    A disk that refuses a line must not stop trading: the line goes to stderr instead, once until
    the disk takes lines again; how many were lost is then written.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> None:
        super().__init__()
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._descriptor = -1
        self._lost = 0
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._open()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            line = self.format(record)
        except Exception:
            self.handleError(record)
            return
        try:
            if self._lost:
                note = {"ts": time.time_ns(), "level": "error", "event": f"{self._lost} lines lost"}
                self._write(json.dumps(note))
                self._lost = 0
            self._write(line)
        except OSError as error:
            if not self._lost:
                print(f"cannot write {self._path}: {error}; {line}", file=sys.stderr)
            self._lost += 1

    def close(self) -> None:
        """Close the file."""
        self.acquire()
        try:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
        finally:
            self.release()
        super().close()

    def _write(self, line: str) -> None:
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        if self._descriptor < 0 or not self._is_current():
            self._open()
        if os.fstat(self._descriptor).st_size + len(data) > self._max_bytes:
            self._rotate()
        written = os.write(self._descriptor, data)
        if written < len(data):  # the disk is full: end the torn line where it is
            raise OSError(f"only {written} of {len(data)} bytes fit")

    def _open(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            os.write(self._descriptor, b"\n")  # whoever wrote last was killed in mid-line

    def _is_current(self) -> bool:
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return False
        mine = os.fstat(self._descriptor)
        return (named.st_ino, named.st_dev) == (mine.st_ino, mine.st_dev)

    def _rotate(self) -> None:
        with self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._is_current() and os.fstat(self._descriptor).st_size:
                for number in range(self._kept, 0, -1):
                    older = numbered(self._path, number)
                    newer = numbered(self._path, number - 1)
                    with contextlib.suppress(FileNotFoundError):
                        newer.replace(older)
            self._open()


def numbered(path: Path, number: int) -> Path:
    """The rotated file of a number; 0 is the current one."""
    return path if number == 0 else path.with_name(f"{path.name}.{number}")


def log_path(home: Path, actor: str) -> Path:
    """Where an actor's lines go."""
    return Path(home) / "logs" / f"{actor.replace(':', '-')}{SUFFIX}"


def parse(raw: bytes) -> dict[str, Any]:
    """One line; whatever it is, the answer has `ts` and `event`."""
    text = raw.decode(errors="replace").rstrip("\n")
    try:
        line = json.loads(text)
    except ValueError:
        line = None
    if not isinstance(line, dict) or not isinstance(line.get("ts"), int):
        return {"ts": 0, "level": "warning", "event": text, "unreadable": True}
    line.setdefault("event", "")
    return line


class Series:
    """All lines of one actor, oldest first, and then those that come, across rotations."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rest = b""
        self._file = self._opened()

    def history(self) -> Iterator[dict[str, Any]]:
        """Lines of the rotated files, then those of the current one so far."""
        numbers = [
            int(found.suffix[1:])
            for found in self._path.parent.glob(f"{self._path.name}.*")
            if found.suffix[1:].isdigit()
        ]
        for number in sorted(numbers, reverse=True):
            with contextlib.suppress(FileNotFoundError):  # rotated away in the meantime
                with numbered(self._path, number).open("rb") as file:
                    if self._file is None or not _same(file, self._file):
                        # who opens it while another writes may add an empty line
                        yield from (parse(raw) for raw in file if raw.strip())
        yield from self.fresh()

    def fresh(self) -> Iterator[dict[str, Any]]:
        """Complete lines written since the last look."""
        while True:
            if self._file is None:
                self._file = self._opened()
                if self._file is None:
                    return
            yield from self._complete(self._file)
            current = self._opened()
            if current is None:
                return
            if _same(current, self._file):
                current.close()
                return
            yield from self._complete(self._file)  # written before it was renamed
            self._file.close()
            self._file, self._rest = current, b""

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _opened(self) -> BinaryIO | None:
        try:
            return self._path.open("rb")
        except FileNotFoundError:
            return None

    def _complete(self, file: BinaryIO) -> Iterator[dict[str, Any]]:
        for raw in file:
            self._rest += raw
            if self._rest.endswith(b"\n"):
                whole, self._rest = self._rest, b""
                if whole.strip():
                    yield parse(whole)


def _same(one: BinaryIO, other: BinaryIO) -> bool:
    return os.path.sameopenfile(one.fileno(), other.fileno())
