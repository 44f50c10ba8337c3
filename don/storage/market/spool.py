"""A bounded queue of market tables on disk, for while the database is away. Does I/O.

Records (Arrow IPC, compressed, with a checksum) are appended to numbered segment files and synced
before `append` returns. They are read in order; a segment goes when all of it was dropped, so a
crash hands some records out again, never none. What a crash left half-written at the very end was
never acknowledged and is cut off; damage anywhere else is stepped over, counted, and the segment
kept under another name. Before each record stands what it is of, with a checksum of its own: whose
rows of which time are lost is known, and kept in a file until it was told (`losses`, `forgive`).
No file takes the name of one that is kept.
"""

import fcntl
import os
import re
import struct
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import structlog

from don.errors import DataError, DependencyError, UsageError
from don.storage.arrow import pack, unpack
from don.storage.market.losses import HEAD_MAGIC, Losses, about_at, about_of, sync_folder

_log = structlog.get_logger(__name__)
_MAGIC = b"DON\x01"
_HEAD = struct.Struct(">4sIQI")  # magic, checksum of all behind it, bytes, rows
_SUFFIX = ".spool"
_NUMBERED = re.compile(r"\.?(\d{12,})\D")  # segments, and what is kept of them


class SpoolFull(DependencyError):
    """The spool has reached its bound, or its disk is full; nothing was taken in."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record lies."""

    segment: Path
    offset: int
    end: int  # offset behind it
    rows: int
    body: int  # offset of the record behind what it is of


class Spool:
    """The spool of one folder; one process at a time, one thread at a time.

    Args:
        folder: made if it does not exist.
        max_bytes: all segments together never grow beyond it.
        segment_bytes: a segment is closed when it has reached this size.

    Raises:
        UsageError: if another process has it open.
    """

    def __init__(self, folder: Path, *, max_bytes: int, segment_bytes: int = 16 * 2**20) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = (folder / "lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise UsageError(f"the spool {folder} is in use by another process") from None
        self._active: Path | None = None
        self._places: deque[Place] = deque()
        self._sizes: dict[Path, int] = {}
        self._damaged: set[Path] = set()
        self._left: list[Path] = []  # damaged, and what is lost of them is not on disk yet
        self.rows = 0
        self.bytes = 0  # on disk
        self.torn_bytes = 0  # cut off the end when it was opened
        self.damaged_bytes = 0  # stepped over
        self._next = 1
        self.losses = Losses(folder)
        self._recover()

    @property
    def empty(self) -> bool:
        """True if there is nothing to drain."""
        return not self._places

    def append(self, tables: Mapping[str, pa.Table]) -> None:
        """Add a record; it is on disk when this returns.

        Raises:
            SpoolFull: if there is no room; nothing of the record stays.
        """
        payload = pack(tables)
        rows = sum(table.num_rows for table in tables.values())
        body = struct.pack(">QI", len(payload), rows) + payload
        about = about_of(tables)
        data = about + _MAGIC + struct.pack(">I", zlib.crc32(body)) + body
        if self.bytes + len(data) > self._max_bytes:
            raise SpoolFull(
                f"the spool {self._folder} holds {self.bytes} bytes of at most {self._max_bytes}: "
                "the database must come back, or spool_bytes be raised"
            )
        segment = self._open_segment()
        offset = self._sizes[segment]
        try:
            with segment.open("r+b", buffering=0) as file:
                file.seek(offset)
                _write_all(file.fileno(), data)
                os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):  # what is left of it has no valid checksum anyway
                os.truncate(segment, offset)
            raise SpoolFull(
                f"the spool {self._folder} cannot be written: {error.strerror}; free disk space"
            ) from error
        end = offset + len(data)
        self._sizes[segment] = end
        self.bytes += len(data)
        self._places.append(Place(segment, offset, end, rows, offset + len(about)))
        self.rows += rows

    def peek(self, max_rows: int) -> list[tuple[Place, dict[str, pa.Table]]]:
        """The oldest records, at least one unless it is empty, about `max_rows` at most.

        A record that cannot be read any more is stepped over and counted as damage.
        """
        found: list[tuple[Place, dict[str, pa.Table]]] = []
        rows = 0
        for place in list(self._places):
            if found and rows + place.rows > max_rows:
                break
            try:
                found.append((place, self._read(place)))
                rows += place.rows
            except (DataError, OSError):
                if found:
                    break  # next time, when it is the oldest
                data = b""
                with suppress(OSError):  # not even what it is of can be read: that is told, too
                    data = place.segment.read_bytes()
                self._lost(place.segment, data, place.offset, place.end)
                self.damaged_bytes += place.end - place.offset
                self._damaged.add(place.segment)
                self._forget(place)
        return found

    def drop(self, place: Place) -> None:
        """Forget the oldest record: it is safe elsewhere."""
        self._forget(place)

    def set_aside(self, place: Place) -> Path:
        """Move the oldest record to a file of its own: nobody could use it, and nobody loses it.

        Raises:
            SpoolFull: if it cannot be written; the record stays where it is.
        """
        target = self._folder / f"{place.segment.stem}-{place.offset}.refused"
        try:
            with place.segment.open("rb") as source, target.open("wb") as file:
                source.seek(place.offset)
                file.write(source.read(place.end - place.offset))
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self._folder)
        except OSError as error:
            raise SpoolFull(
                f"{target} cannot be written: {error.strerror}; free disk space"
            ) from error
        self._forget(place)
        return target

    def settle(self) -> None:
        """Write down what is lost, if that was not possible before."""
        if self.losses.save():
            while self._left:
                segment = self._left.pop()
                segment.rename(segment.with_suffix(".damaged"))

    def close(self) -> None:
        """Let another process have it; everything in it stays."""
        self._lock.close()

    # ---- inside ---------------------------------------------------------------------------------

    def _open_segment(self) -> Path:
        active = self._active
        if active is None or self._sizes[active] >= self._segment_bytes:
            active = self._folder / f"{self._next:012d}{_SUFFIX}"
            self._next += 1  # also if what follows fails half-way: the file may be there then
            try:
                active.touch(mode=0o600, exist_ok=False)
                sync_folder(self._folder)
            except OSError as error:
                raise SpoolFull(
                    f"the spool {self._folder} cannot be written: {error.strerror}; free disk space"
                ) from error
            self._sizes[active] = 0
            self._active = active
        return active

    def _forget(self, place: Place) -> None:
        if not self._places or self._places[0] != place:
            raise ValueError(f"only the oldest record can be dropped, not {place}")
        self._places.popleft()
        self.rows -= place.rows
        if self._places and self._places[0].segment == place.segment:
            return
        if place.segment in self._damaged:
            self._keep(place.segment)
        else:
            place.segment.unlink()
        self.bytes -= self._sizes.pop(place.segment)
        if self._active == place.segment:
            self._active = None

    def _keep(self, segment: Path) -> None:
        """Keep a damaged segment to look at. Until what is lost of it is on disk it keeps its name:
        then the next process finds the damage again.
        """
        self._left.append(segment)
        self.settle()

    def _lost(self, segment: Path, data: bytes, start: int, end: int) -> None:
        """Keep what is known of the bytes of a segment that cannot be read."""
        known = 0
        while 0 <= (start := data.find(HEAD_MAGIC, start, end)):
            spans, _ = about_at(data, start)
            known += self.losses.add(spans, f"{segment.name}-{start}")
            start += 1
        _log.error(
            "acknowledged rows in the spool cannot be read", file=str(segment), streams=known,
            hint="" if known else "whose rows they were is not known: run `don data audit`",
        )  # fmt: skip

    def _read(self, place: Place) -> dict[str, pa.Table]:
        with place.segment.open("rb") as file:
            file.seek(place.body)
            data = file.read(place.end - place.body)
        if _record_at(data, 0) != len(data):
            raise DataError(f"record at {place.offset} of {place.segment} is damaged")
        return unpack(data[_HEAD.size :])

    def _recover(self) -> None:
        segments = sorted(self._folder.glob(f"*{_SUFFIX}"))
        kept = (_NUMBERED.match(path.name) for path in self._folder.iterdir())
        self._next = 1 + max((int(found[1]) for found in kept if found), default=0)
        for segment in segments:
            data = segment.read_bytes()
            places = list(_scan(segment, data))
            good = sum(place.end - place.offset for place in places)
            tail = len(data) - (places[-1].end if places else 0)
            at = 0
            for place in places:
                if place.offset > at:
                    self._lost(segment, data, at, place.offset)
                at = place.end
            if at < len(data) and (segment != segments[-1] or _complete(data, at)):
                self._lost(segment, data, at, len(data))
            cut = tail if segment == segments[-1] and self.losses.save() else 0
            if cut:
                os.truncate(segment, len(data) - cut)
                self.torn_bytes += cut
            lost = len(data) - good - cut
            if lost:
                self.damaged_bytes += lost
                self._damaged.add(segment)
            if places:
                self._places.extend(places)
                self._sizes[segment] = places[-1].end if segment == segments[-1] else len(data)
            elif lost:
                self._keep(segment)
            else:
                segment.unlink()
        self.rows = sum(place.rows for place in self._places)
        self.bytes = sum(self._sizes.values())


def _scan(segment: Path, data: bytes) -> Iterator[Place]:
    """The good records of a segment."""
    at = 0
    while 0 <= at < len(data):
        _, body = about_at(data, at)
        end = _record_at(data, body)
        if end:
            yield Place(segment, at, end, _HEAD.unpack_from(data, body)[3], body)
            at = end
        else:
            at = data.find(_MAGIC[:3], at + 1)


def _complete(data: bytes, at: int) -> bool:
    """Whether the record at `at` has its length: then it may have been acknowledged once."""
    _, body = about_at(data, at)
    if len(data) - body < _HEAD.size:
        return False
    return body + _HEAD.size + int(_HEAD.unpack_from(data, body)[2]) <= len(data)


def _record_at(data: bytes, at: int) -> int:
    """Offset behind the good record at `at`; 0 if there is none."""
    if len(data) - at < _HEAD.size:
        return 0
    magic, checksum, size, _ = _HEAD.unpack_from(data, at)
    end = at + _HEAD.size + size
    if magic != _MAGIC or end > len(data):
        return 0
    body = memoryview(data)[at + 8 : end]
    return end if zlib.crc32(body) == checksum else 0


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
