"""Runs that wait in the state folder for the research ledger. Reads and writes files.

A backtest takes seconds and needs no database: to start one for a line in the ledger would cost
more than the run. So it is noted here, on disk before it begins, and the ledger takes all notes in
when it is opened next, before anything is counted by it.

Lines are numbered and chained, and the anchor of the state folder remembers the last one: what is
removed or changed meanwhile is found when they are taken in. A line is written first, then
anchored; one that was not is the last of its chain, and good.
"""

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from don.errors import UsageError
from don.storage.research_anchor import ANCHOR, Anchor, Reach
from don.words import amount

NOTES = "research-notes.jsonl"
_TAIL = 1 << 16  # bytes that are read to find the last line


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A run that began, or that ended."""

    key: str  # of the run
    ended: bool
    payload: Mapping[str, Any]  # as the ledger enters it


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What waits, and what is known to have waited."""

    notes: Sequence[Note] = ()
    removed: tuple[int, ...] = ()  # numbers of lines that are not there any more
    changed: tuple[int, ...] = ()  # and of those that are not as they were written
    lost: int = 0  # runs that began in them, at least one if there are any
    after: str = ""  # hash of the last line that was taken in before

    @property
    def name(self) -> str:
        """Of what was lost: the same until it is taken in."""
        told = f"{self.after} {self.removed} {self.changed}"
        return hashlib.sha256(told.encode()).hexdigest()[:24]

    @property
    def words(self) -> str:
        """What was lost."""
        told = [
            f"{amount(len(lines), 'note')} {how}"
            for lines, how in ((self.removed, "removed"), (self.changed, "changed"))
            if lines
        ]
        return (
            f"{' and '.join(told)} before the research ledger took them in: "
            f"{amount(self.lost, 'run')} of them go on counting as trials"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    note: Note
    reach: Reach | None  # with this line; None: of an older Don, which chained none
    before: str  # hash of the line before
    intact: bool


class Notes:
    """The notes of a state folder; any number of processes may write at once.

    Args:
        folder: of the state; made if need be.
        warn: takes a line when one cannot be read.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = lambda text: None) -> None:
        self._path, self._warn = folder / NOTES, warn
        self._anchor = Anchor(folder / ANCHOR)

    def begin(self, payload: Mapping[str, Any]) -> str:
        """Note a run before it does anything; on disk when this returns.

        Returns:
            Its key, for `end`.

        Raises:
            UsageError: if the state folder cannot be written: a run that is not counted must not
                begin.
            ConfigError: if its anchor cannot be read.
        """
        key = secrets.token_hex(12)
        self._append({"key": key, "ended": False, "payload": payload})
        return key

    def end(self, key: str, payload: Mapping[str, Any]) -> None:
        """Note what came of it.

        Raises:
            UsageError: if the state folder cannot be written.
            ConfigError: if its anchor cannot be read.
        """
        self._append({"key": key, "ended": True, "payload": payload})

    def waiting(self) -> bool:
        """Whether the ledger has something to take in, or to miss."""
        try:
            if self._path.stat().st_size > 0:
                return True
        except FileNotFoundError:
            pass
        made, taken = self._anchor.notes()
        return made.lines > taken.lines

    @contextmanager
    def taken(self) -> Iterator[Found]:
        """All notes, in order; they are gone when the block ends well, and stay if it does not."""
        if not self.waiting():
            yield Found()
            return
        with self._held() as file:
            made, taken = self._anchor.notes()
            found, reach = _judged(self._lines(file.read()), made, taken)
            yield found
            self._anchor.keep_notes(reach, reach)  # first: lines up to there are not missed
            file.truncate(0)
            os.fsync(file.fileno())

    # ---- inside ----------------------------------------------------------------------------------

    def _lines(self, content: bytes) -> list[_Line]:
        found = []
        for n, line in enumerate(content.split(b"\n"), 1):
            if not line:
                continue
            told = _parsed(line)
            if told is None:  # cut off: who wrote it died before its run began
                self._warn(f"line {n} of {self._path} cannot be read: it is left out")
            else:
                found.append(told)
        return found

    def _append(self, told: Mapping[str, Any]) -> None:
        with self._held() as file:
            made, taken = self._anchor.notes()
            if not made.hash:  # none is known: those that are here, or a new chain
                made = taken = _before(self._lines(file.read())) or _anew()
                self._anchor.keep_notes(made, taken)
            last = _last(file)
            if last is not None and last.intact and last.reach and last.reach.lines > made.lines:
                made = last.reach  # who wrote it died before it was anchored
                self._anchor.keep_notes(made, taken)
            runs = made.runs + (not told["ended"])
            body = {**told, "line": made.lines + 1, "runs": runs, "before": made.hash}
            made = Reach(lines=made.lines + 1, runs=runs, hash=_hash(body))
            line = json.dumps({**body, "hash": made.hash}, sort_keys=True).encode() + b"\n"
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            torn = file.read(1) not in (b"\n", b"")
            file.write(b"\n" + line if torn else line)
            file.flush()
            os.fsync(file.fileno())
            self._anchor.keep_notes(made, taken)

    @contextmanager
    def _held(self) -> Iterator[IO[bytes]]:
        while True:
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
                if not self._named(file):  # removed while this waited: another has begun a new one
                    continue
                if fresh:  # its name must be on disk as well
                    folder = os.open(self._path.parent, os.O_RDONLY)
                    try:
                        os.fsync(folder)
                    finally:
                        os.close(folder)
                file.seek(0)
                yield file
                return

    def _named(self, file: IO[bytes]) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(file.fileno()))
        except FileNotFoundError:
            return False


def _parsed(text: bytes) -> _Line | None:
    """A line; None if it is none."""
    try:
        told = json.loads(text)
        note = Note(key=told["key"], ended=told["ended"], payload=told["payload"])
        if "hash" not in told:
            return _Line(note=note, reach=None, before="", intact=True)
        digest = told.pop("hash")
        reach = Reach(lines=int(told["line"]), runs=int(told["runs"]), hash=str(digest))
        return _Line(
            note=note, reach=reach, before=str(told["before"]), intact=_hash(told) == digest
        )
    except (ValueError, TypeError, KeyError):
        return None


def _hash(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _last(file: IO[bytes]) -> _Line | None:
    """The last line that is chained, None if none is."""
    size, span = file.seek(0, os.SEEK_END), _TAIL
    while True:
        file.seek(max(size - span, 0))
        for text in reversed(file.read().split(b"\n")):
            line = _parsed(text)
            if line is not None and line.reach is not None:
                return line
        if span >= size:
            return None
        span *= 4


def _judged(lines: Sequence[_Line], made: Reach, taken: Reach) -> tuple[Found, Reach]:
    """What of the lines is as it was written, what is not there, and how far they go.

    Args:
        lines: of the file, in its order.
        made: the anchor's last line.
        taken: the last one that a ledger has taken in before: those up to it may still be here.
    """
    there: dict[int, list[_Line]] = {}
    for line in lines:
        if line.reach is not None and line.reach.lines > taken.lines:
            there.setdefault(line.reach.lines, []).append(line)
    if not made.hash:  # an anchor that knows of no notes: they speak for themselves
        made = taken = _before(lines) or _anew()
    good: dict[int, _Line] = {}
    expected: str | None = made.hash
    for n in range(made.lines, taken.lines, -1):  # from the anchor back: each names the one before
        for line in there.get(n, ()):
            if line.intact and line.reach and expected in (None, line.reach.hash):
                good[n] = line
        expected = good[n].before if n in good else None
    runs = made.runs - taken.runs - sum(not line.note.ended for line in good.values())
    reach = made
    while near := [
        line for line in there.get(reach.lines + 1, ()) if line.intact and line.before == reach.hash
    ]:
        good[reach.lines + 1] = near[0]
        reach = near[0].reach or reach
    gone = {*range(taken.lines + 1, made.lines + 1), *there} - set(good)
    kept = {id(line) for line in good.values()}
    return Found(
        notes=[line.note for line in lines if line.reach is None or id(line) in kept],
        removed=tuple(sorted(gone - set(there))),
        changed=tuple(sorted(gone & set(there))),
        lost=max(runs, 1) if gone else 0,
        after=taken.hash,
    ), reach


def _before(lines: Sequence[_Line]) -> Reach | None:
    """Where lines go on from; None if none is chained."""
    for line in lines:
        if line.reach is not None:
            runs = line.reach.runs - (not line.note.ended)
            return Reach(lines=line.reach.lines - 1, runs=runs, hash=line.before)
    return None


def _anew() -> Reach:
    """The beginning of a chain that is like no other."""
    return Reach(hash=secrets.token_hex(32))
