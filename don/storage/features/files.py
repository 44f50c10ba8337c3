"""Built features on disk, and how they are read: Arrow files, memory-mapped. Does I/O, locks.

A build is a folder named by its key: `build.json` says what it is and which parts it has. A part
covers a span of close times: one file of them, and two a symbol: what the features were fed (with
whether the bar was there), and the features, one column each. Files are written aside, synced and
moved into place before the description names them, so a build that was cut off goes on where it
was. Whoever builds holds the folder's lock: what another is writing is named by no part yet.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from don.errors import DataError, DonError, UsageError
from don.features.columns import Floats, Ints

FORMAT = 1
PRESENT, KNOWN = "present", "known"
_DESCRIPTION, _LOCK, _ASIDE = "build.json", "build.lock", ".tmp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A span of a build; the file names carry what they hold, so none is ever changed."""

    start: int  # ns, close times in [start, end)
    end: int
    first: int  # close of its first set, ns
    last: int  # and of its last
    sets: int
    data: str  # hash of what the features were fed
    name: str  # of its files


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a build is."""

    feature_set: str  # content hash
    names: tuple[str, ...]
    symbols: tuple[str, ...]
    interval_ns: int
    inputs: tuple[str, ...]  # columns that are kept of what the features were fed
    chunk_bars: int
    parts: tuple[Part, ...] = ()
    format: int = FORMAT

    @property
    def key(self) -> str:
        """Names the folder: one build a feature set, list of symbols, interval and chunk."""
        text = json.dumps([self.symbols, self.interval_ns, self.chunk_bars, self.format])
        return f"{self.feature_set}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


class FeatureFiles:
    """A folder of builds."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def keys(self) -> tuple[str, ...]:
        """Every build, whether or not it can be read."""
        return tuple(sorted(path.parent.name for path in self.root.glob(f"*/{_DESCRIPTION}")))

    def describe(self, key: str) -> Description:
        """The build of a key, or of the beginning of one.

        Raises:
            DataError: if there is none, several, or its description is damaged.
        """
        keys = self.keys()
        found = [key] if key in keys else [one for one in keys if one.startswith(key)]
        if len(found) != 1:
            kind = "no build" if not found else f"{len(found)} builds"
            raise DataError(f"{kind} {key!r} in {self.root}: see `don features show`")
        path = self.root / found[0] / _DESCRIPTION
        try:
            told = json.loads(path.read_text())
            if told["format"] != FORMAT:
                raise DataError(
                    f"{path} is of format {told['format']}, this is {FORMAT}: build anew"
                )
            parts = tuple(Part(**part) for part in told.pop("parts"))
            lists = {k: tuple(v) for k, v in told.items() if isinstance(v, list)}
            return Description(**{**told, **lists, "parts": parts})
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise DataError(
                f"{path} is no description of a build: {error}; remove the folder and build anew"
            ) from error

    def open(self, key: str) -> "Matrix":
        """The built features of a key."""
        return Matrix(self, self.describe(key))

    # ---- for builds ------------------------------------------------------------------------------

    def folder(self, description: Description) -> Path:
        """Where a build lies."""
        return self.root / description.key

    @contextmanager
    def alone(self, wanted: Description) -> Iterator[None]:
        """Be the only one who builds this, on this machine: two would remove each other's files.

        Raises:
            UsageError: if another process does, or the folder cannot be used.
        """
        folder = self.folder(wanted)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / _LOCK).open("a")
        except OSError as error:
            raise UsageError(f"folder {folder} cannot be used: {error.strerror}") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(
                    f"{folder} is being built by another process: wait until it is done, or build "
                    "in another folder (--root)"
                ) from error
            yield

    def begin(self, wanted: Description) -> Description:
        """The build as far as it is, or a new one."""
        path = self.folder(wanted) / _DESCRIPTION
        if path.exists():
            return self.describe(wanted.key)
        self.save(wanted)
        return wanted

    def save(self, description: Description) -> None:
        """Replace a build's description."""
        folder = self.folder(description)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"folder {folder} cannot be used: {error.strerror}") from error
        text = json.dumps(asdict(description), indent=1)
        _put(folder / _DESCRIPTION, lambda file: file.write(text.encode()))

    def write(self, description: Description, name: str, table: pa.Table) -> None:
        """Write one file of a part."""

        def content(file: Any) -> None:
            with pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)

        _put(self.folder(description) / name, content)

    def table(self, description: Description, name: str) -> pa.Table:
        """A file of a part, mapped.

        Raises:
            DataError: if it is missing or damaged.
        """
        path = self.folder(description) / name
        try:
            return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{path} cannot be read: {error}; remove the folder and build anew") \
                from error  # fmt: skip

    def torn(self, description: Description, part: Part) -> list[str]:
        """Files of a part that are missing, cannot be read, or are not as long as they must be."""
        names = [times_of(part)]
        for symbol in description.symbols:
            names += [fed_of(part, symbol), symbol_of(part.name, symbol)]
        found = []
        for name in names:
            try:
                whole = self.table(description, name).num_rows == part.sets
            except DataError:
                whole = False
            if not whole:
                found.append(name)
        return found

    def remove(self, description: Description, names: Sequence[str]) -> None:
        """Remove files that are to be made anew; missing ones are passed over."""
        for name in names:
            (self.folder(description) / name).unlink(missing_ok=True)

    def sweep(self, description: Description) -> None:
        """Remove files that no part names, and what a builder that died left half written."""
        kept = {part.name for part in description.parts}
        folder = self.folder(description)
        for path in [*folder.glob("*.arrow"), *folder.glob(f"*{_ASIDE}")]:
            if path.suffix == _ASIDE or path.name.split(".")[0] not in kept:
                path.unlink(missing_ok=True)


class Matrix:
    """Features of a history; what is asked for is copied out, the rest stays on disk."""

    def __init__(self, files: FeatureFiles, about: Description) -> None:
        self._files, self.about = files, about

    @property
    def sets(self) -> int:
        """Number of sets, T."""
        return sum(part.sets for part in self.about.parts)

    def times(self) -> Ints:
        """Close times [T], ns."""
        found = [
            np.asarray(self._files.table(self.about, times_of(part))["ts_event"].to_numpy())
            for part in self.about.parts
        ]
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def column(self, symbol: str, name: str, start: int = 0, end: int | None = None) -> Floats:
        """A feature, or a column that was fed, of one symbol: [time] of the sets [start, end)."""
        return self._columns(symbol, [name], start, end)[:, 0]

    def values(
        self,
        symbols: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        start: int = 0,
        end: int | None = None,
    ) -> Floats:
        """[time, symbol, feature] of the sets [start, end); NaN where not known.

        Raises:
            DataError: for a symbol or feature that the build does not have.
        """
        chosen = list(names) if names is not None else list(self.about.names)
        own = list(symbols) if symbols is not None else list(self.about.symbols)
        return np.stack([self._columns(s, chosen, start, end) for s in own], axis=1)

    def _columns(self, symbol: str, names: list[str], start: int, end: int | None) -> Floats:
        have = (*self.about.names, *self.about.inputs, PRESENT)
        unknown = [name for name in names if name not in have]
        if unknown or symbol not in self.about.symbols:
            raise DataError(
                f"build {self.about.key} has no {', '.join(unknown) or symbol}; symbols "
                f"{', '.join(self.about.symbols)}; columns {', '.join(have)}"
            )
        end = self.sets if end is None else min(end, self.sets)
        out = np.full((max(end - start, 0), len(names)), np.nan)
        begun = 0
        for part in self.about.parts:
            low, high = max(start, begun), min(end, begun + part.sets)
            if low < high:
                built = self._files.table(self.about, symbol_of(part.name, symbol))
                fed = self._files.table(self.about, fed_of(part, symbol))
                for i, name in enumerate(names):
                    column = built[name] if name in self.about.names else fed[name]
                    values = column.slice(low - begun, high - low).to_numpy()
                    out[low - start : high - start, i] = values
            begun += part.sets
        return out


def times_of(part: Part) -> str:
    """File of a part's close times."""
    return f"{part.name}.times.arrow"


def fed_of(part: Part, symbol: str) -> str:
    """File of what the features of a symbol were fed."""
    return f"{part.name}.{_plain(symbol)}.fed.arrow"


def symbol_of(part: str, symbol: str) -> str:
    """File of the features of one symbol; `part` by its name."""
    return f"{part}.{_plain(symbol)}.arrow"


def _plain(symbol: str) -> str:
    """A symbol as a part of a file's name: some are called BTC/USDT."""
    return quote(symbol, safe="")


def _put(path: Path, content: Any) -> None:
    """Write a file aside and move it into place; nothing is left of one that cannot be written.

    Raises:
        DonError: if the disk is full or refuses it.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}{_ASIDE}")
    try:
        try:
            with aside.open("wb") as file:
                content(file)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise DonError(
            f"{path} cannot be written: {error.strerror or error}; what is built so far is kept"
        ) from error
