"""Which trainings there are, whether they run, and what they have told. Reads and writes files.

Each training has a small file in the state folder, `trainings/<id>.json`, and holds a lock beside
it for as long as it runs: the lock goes with its process, so that one that was killed shows as
such. What it tells, `progress.jsonl`, lies in its own folder; only files of that name are read, and
never more of them than what a curve of so many points needs.
"""

import fcntl
import hashlib
import json
import math
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from don.clock import NS_PER_S, Clock, SystemClock
from don.errors import Interrupted

INDEX, PROGRESS = "trainings", "progress.jsonl"
# where the trainings of a kind that has several lie in its folder, and what they are called
PARTS = {"tune": ("trials/*", "trial"), "study": ("*/training", "part")}
KEEP = 200  # trainings that are remembered
MOST_PARTS = 100  # of a search or study, that are shown
WHOLE_BYTES = 4 << 20  # a longer file is not parsed, but looked into
LINE_BYTES = 64 << 10  # longest line
TAIL_BYTES = 2 * LINE_BYTES  # in which the newest one is
ENTRY_BYTES = 64 << 10
QUIET_S = 300.0  # a trial that told nothing for so long, while its search runs, is over
DETAIL = 300  # characters of an error
TRIES, PAUSE_S = 50, 0.01  # to get a lock that only readers hold
Row = dict[str, Any]


class TrainingState(StrEnum):
    """How a training is."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"  # by a person; it can be resumed
    FAILED = "failed"
    DIED = "died"  # its process is gone and has not said why


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A training, as the index knows it."""

    id: str
    kind: str  # train | tune | trial | study | part
    name: str
    out: str  # its folder
    started_ns: int  # wall time; of the last process, where it was resumed
    ended_ns: int | None = None
    state: TrainingState = TrainingState.RUNNING
    detail: str = ""  # why it failed
    parent: str = ""  # of a trial or part: its search or study


def id_of(out: Path) -> str:
    """A folder holds one training, and names it: what is resumed is the same one."""
    return hashlib.sha256(str(out.absolute()).encode()).hexdigest()[:12]


@contextmanager
def announced(
    home: Path,
    out: Path,
    *,
    kind: str = "train",
    name: str = "",
    warn: Callable[[str], None] = lambda line: None,
    clock: Clock | None = None,
) -> Iterator[None]:
    """Let others know of a training while it runs, and how it ended.

    Args:
        home: the state folder.
        out: folder of the training, or of a search's trials.
        kind: `train`, or one of `PARTS`.
        name: for people.
        warn: told if the state folder cannot be written: the training goes on all the same.
        clock: for times; the system's if None.
    """
    clock = clock or SystemClock()
    entry = Entry(
        id=id_of(out), kind=kind, name=name, out=str(out.absolute()), started_ns=clock.now_ns()
    )
    lock: BinaryIO | None = None
    written = False
    try:
        folder = home / INDEX
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _hold(folder / f"{entry.id}.lock")
        if lock is None:
            warn(f"the console will not show this training: another process trains in {out}")
        else:
            _write(home, entry)
            written = True
            _forget(home)
    except OSError as error:
        warn(f"the console will not show this training: {home} cannot be written: {error.strerror}")
    state, detail = TrainingState.FAILED, ""
    try:
        yield
        state = TrainingState.DONE
    except BaseException as error:
        if isinstance(error, Interrupted | KeyboardInterrupt):
            state = TrainingState.STOPPED
        detail = (str(error) or type(error).__name__)[:DETAIL]
        raise
    finally:
        ended = replace(entry, state=state, detail=detail, ended_ns=clock.now_ns())
        try:
            if written:
                _write(home, ended)
        except OSError as error:
            warn(f"how the training ended cannot be noted in {home}: {error.strerror}")
        if lock is not None:
            lock.close()


def entries(home: Path, clock: Clock | None = None) -> list[Entry]:
    """All trainings that are known, newest first; those of a search or study behind it."""
    now = (clock or SystemClock()).now_ns()
    found = []
    for path in (home / INDEX).glob("*.json"):
        entry = _read(path)
        if entry is None:
            continue
        if entry.state is TrainingState.RUNNING and not _held(path.with_suffix(".lock")):
            entry = replace(entry, state=TrainingState.DIED)
        found.append(entry)
    found.sort(key=lambda entry: (-entry.started_ns, entry.id))
    return [each for entry in found[:KEEP] for each in (entry, *_parts(entry, now))]


def rows(out: str, most: int) -> list[Row]:
    """At most `most` lines of a training's progress, evenly spread, the last one among them."""
    with _progress(out) as file:
        if file is None:
            return []
        size = os.fstat(file.fileno()).st_size
        if size <= WHOLE_BYTES:
            told = [row for line in file.read(WHOLE_BYTES).splitlines() if (row := _row(line))]
            return _spread(_rising(told), most)
        places = [n * size // (most - 1) for n in range(most - 1)]
        told = [row for place in places if (row := _first(_lines(file, place, LINE_BYTES)))]
        newest = _first(reversed(_lines(file, size - TAIL_BYTES, TAIL_BYTES)))
        told += [newest] if newest else []
        return _spread(_rising(told), most)


def last(out: str) -> tuple[Row | None, int]:
    """The newest line, and when it was written (ns); None and 0 while there is none."""
    with _progress(out) as file:
        if file is None:
            return None, 0
        told = os.fstat(file.fileno())
        lines = _lines(file, max(0, told.st_size - TAIL_BYTES), TAIL_BYTES)
        return _first(reversed(lines)), told.st_mtime_ns


def figures(row: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float | None]]:
    """The numbers of a line by name, as TensorBoard has them: `losses/trader/loss`."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from figures(value, f"{before}{name}/")
        elif value is None:
            yield before + name, None
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield before + name, float(value) if math.isfinite(value) else None


# ---- inside ------------------------------------------------------------------------------------


def _write(home: Path, entry: Entry) -> None:
    path = home / INDEX / f"{entry.id}.json"
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(asdict(entry)))
    draft.replace(path)


def _forget(home: Path) -> None:
    """Keep the newest."""
    paths = sorted((home / INDEX).glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    for path in paths[:-KEEP]:
        if not _held(path.with_suffix(".lock")):
            path.unlink(missing_ok=True)
            path.with_suffix(".lock").unlink(missing_ok=True)


def _read(path: Path) -> Entry | None:
    """None if it is no entry: somebody else's file."""
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(ENTRY_BYTES))
        entry = Entry(**{**told, "state": TrainingState(told["state"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    fits = entry.id == path.stem and isinstance(entry.out, str) and entry.started_ns > 0
    return entry if fits else None


def _hold(path: Path) -> BinaryIO | None:
    """Hold a training's lock; None: another process does, whose entry is not to be overwritten."""
    lock = path.open("ab")
    for _ in range(TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE_S)  # a reader holds it for an instant
        else:
            return lock
    lock.close()
    return None


def _held(lock: Path) -> bool:
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # several may look at once
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _parts(entry: Entry, now: int) -> Iterator[Entry]:
    if entry.kind not in PARTS:
        return
    pattern, kind = PARTS[entry.kind]
    folder = Path(entry.out)
    for path in islice(sorted(folder.glob(f"{pattern}/{PROGRESS}")), MOST_PARTS):
        name = path.relative_to(folder).parts[pattern.split("/").index("*")]
        out = str(path.parent)
        row, written = last(out)
        if row is None:
            continue
        over = entry.state is not TrainingState.RUNNING or now - written > QUIET_S * NS_PER_S
        yield Entry(
            id=f"{entry.id}.{name}", kind=kind, name=name, out=out, parent=entry.id,
            started_ns=max(1, written - int(float(row.get("seconds") or 0) * NS_PER_S)),
            ended_ns=written if over else None,
            state=TrainingState.DONE if over else TrainingState.RUNNING,
        )  # fmt: skip


@contextmanager
def _progress(out: str) -> Iterator[BinaryIO | None]:
    """The file of a training; None if there is none yet."""
    try:
        descriptor = os.open(
            Path(out) / PROGRESS, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
    except OSError:
        yield None
        return
    with os.fdopen(descriptor, "rb") as file:
        yield file if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


def _lines(file: BinaryIO, place: int, length: int) -> list[bytes]:
    """The lines that begin within `length` bytes from a place and end there."""
    file.seek(max(0, place - 1))
    lines = file.read(length + (place > 0)).split(b"\n")[:-1]  # one being written has no end yet
    return lines[1:] if place > 0 else lines  # nor does what began before belong here


def _first(lines: Iterable[bytes]) -> Row | None:
    """The first of them that is one; the others are not looked at."""
    return next((row for line in lines if (row := _row(line))), None)


def _row(line: bytes) -> Row | None:
    try:
        told = json.loads(line)
    except ValueError:
        return None
    ok = isinstance(told, dict) and type(told.get("iteration")) is int
    return told if ok else None


def _rising(told: list[Row]) -> list[Row]:
    """Each iteration once, in order."""
    found: list[Row] = []
    for row in told:
        if not found or row["iteration"] > found[-1]["iteration"]:
            found.append(row)
    return found


def _spread(told: list[Row], most: int) -> list[Row]:
    """So many at most: the first, the last, and of each stretch between the one that tells most.

    What is told every few iterations only, as evaluations are, would be lost otherwise.
    """
    if len(told) <= most:
        return told
    inner, stretches = told[1:-1], most - 2
    found = [told[0]]
    for n in range(stretches):
        stretch = inner[n * len(inner) // stretches : (n + 1) * len(inner) // stretches]
        found.append(max(stretch, key=lambda row: sum(v is not None for _, v in figures(row))))
    return [*found, told[-1]]
