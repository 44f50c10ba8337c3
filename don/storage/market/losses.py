"""Whose rows a record of the spool holds, and what is lost with one that is unusable. Does I/O.

What a record is of stands before it, with a checksum of its own. What is lost, because the record
is damaged or the database refuses it, is kept in memory and, as soon as the disk takes it, in a
file beside the segments, until the completeness ledger was told.
"""

import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import structlog

from don.market.coverage import Range, State, bar_channel, ceil_minute, floor_minute
from don.storage.market.audit import interval_text

_log = structlog.get_logger(__name__)
HEAD_MAGIC = b"DON\x02"
_HEAD = struct.Struct(">4sII")  # magic, checksum, bytes
_SUFFIX = ".lost"
_REASON = "rows of the spool could not be stored: damaged, or refused by the database"

Span = tuple[str, str, str, int, int]  # exchange, channel, symbol, first and last time, ns


def spans_of(tables: Mapping[str, pa.Table]) -> list[Span]:
    """Whose rows of which time these tables hold."""
    spans: list[Span] = []
    for name, table in tables.items():
        by = ["exchange", "symbol", *(["interval_ns"] if name == "bars" else [])]
        found = table.group_by(by).aggregate([("ts_event", "min"), ("ts_event", "max")])
        for row in found.to_pylist():
            first, last = row["ts_event_min"], row["ts_event_max"]
            channel = name
            if name == "bars":  # a bar is of the time before its close
                channel, first = (
                    bar_channel(interval_text(row["interval_ns"])),
                    first - row["interval_ns"],
                )
            spans.append((row["exchange"], channel, row["symbol"], first, last))
    return spans


def about_of(tables: Mapping[str, pa.Table]) -> bytes:
    """What stands before a record of these tables."""
    body = msgspec.msgpack.encode(spans_of(tables))
    return _HEAD.pack(HEAD_MAGIC, zlib.crc32(body), len(body)) + body


def about_at(data: bytes, at: int) -> tuple[Sequence[Span], int]:
    """What stands at an offset, and the offset behind it; nothing and `at` if there is none."""
    if len(data) - at < _HEAD.size:
        return (), at
    magic, checksum, size = _HEAD.unpack_from(data, at)
    body = data[at + _HEAD.size : at + _HEAD.size + size] if magic == HEAD_MAGIC else b""
    if len(body) != size or zlib.crc32(body) != checksum or not body:
        return (), at
    return msgspec.msgpack.decode(body, type=list[Span]), at + _HEAD.size + size


class Losses:
    """What is lost of one spool and not told yet; those of earlier runs too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spans: dict[str, Sequence[Span]] = {  # by name of the record, in the order they came
            path.name.removesuffix(_SUFFIX): msgspec.json.decode(path.read_bytes(), type=list[Span])
            for path in sorted(folder.glob(f"*{_SUFFIX}"))
        }
        self._unsaved: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._spans)

    @property
    def count(self) -> int:
        """How many spans are kept."""
        return len(self._all())

    def add(self, spans: Sequence[Span], name: str) -> int:
        """Keep some, on disk too if it takes them; returns how many.

        Args:
            spans: what is lost.
            name: of the record; a second time it changes nothing.
        """
        if spans and name not in self._spans:
            self._spans = {**self._spans, name: spans}  # others may be reading
            self._unsaved.append(name)
            self.save()
        return len(spans)

    def save(self) -> bool:
        """Have all of it on disk; False if that is not possible now: it is kept in memory."""
        while self._unsaved:
            try:
                self._write(self._unsaved[0])
            except OSError as error:
                _log.warning(
                    "what is lost of the spool cannot be written down, it is kept in memory",
                    folder=str(self._folder), records=len(self._unsaved), error=error.strerror,
                )  # fmt: skip
                return False
            del self._unsaved[0]
        return True

    def ranges(self) -> list[Range]:
        """As gaps for the ledger."""
        return [
            Range(
                exchange=exchange, channel=channel, symbol=symbol, start=floor_minute(first),
                end=ceil_minute(last + 1), state=State.GAP, reason=_REASON,
            )
            for exchange, channel, symbol, first, last in self._all()
        ]  # fmt: skip

    def forgive(self) -> None:
        """They were told."""
        self._spans, self._unsaved = {}, []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            path.unlink()

    def _all(self) -> list[Span]:
        return [span for spans in self._spans.values() for span in spans]

    def _write(self, name: str) -> None:
        passing = self._folder / f".{name}{_SUFFIX}.tmp"
        with passing.open("wb") as file:
            file.write(msgspec.json.encode(self._spans[name]))
            file.flush()
            os.fsync(file.fileno())
        passing.replace(self._folder / f"{name}{_SUFFIX}")
        sync_folder(self._folder)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
