"""What a state folder remembers of research ledgers, outside of their database, and of the notes
that wait for them. Reads and writes a file.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from don.errors import ConfigError
from don.storage.chain import Head
from don.storage.research_runs import Outside

ANCHOR = "research.json"
_NOTES = "notes"  # beside the names of ledgers, which are hexadecimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far the notes of a folder went, from its first one on."""

    lines: int = 0
    runs: int = 0  # that began in them
    hash: str = ""  # of the last line; "": nothing is known of notes


class Anchor:
    """The last acknowledged entry of each ledger that runs of this folder were counted in.

    Args:
        path: of the file; None: nothing is remembered.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def keep(self, ledger: str, head: Head, runs: int) -> None:
        """Remember an end. Of two processes at once either may be the last: both ends are true."""
        self._keep({ledger: {"seq": head.seq, "hash": head.hash.hex(), "runs": runs}})

    def missing(
        self, ledger: str, runs: int, hash_at: Callable[[int], bytes | None]
    ) -> list[Outside]:
        """Runs that this folder knows of and a ledger does not have.

        Args:
            ledger: which.
            runs: that it has, or knows that it lost.
            hash_at: the hash of its entry of a number, None if there is none.
        """
        found = []
        for name, end in self._read().items():
            if name == _NOTES:
                continue
            if name != ledger:
                found.append(Outside(ledger=name, runs=end["runs"], why="other"))
            elif end["seq"] and hash_at(end["seq"]) != bytes.fromhex(end["hash"]):
                lost = max(end["runs"] - runs, 1)  # others may have begun since it was cut
                found.append(Outside(ledger=name, runs=lost, why="cut"))
        return found

    def notes(self) -> tuple[Reach, Reach]:
        """How far notes were made, and how far a ledger has taken them in."""
        known = self._read().get(_NOTES, {})
        return Reach(**known.get("made", {})), Reach(**known.get("taken", {}))

    def keep_notes(self, made: Reach, taken: Reach) -> None:
        """Remember how far; on disk when this returns. Only who holds the notes may."""
        self._keep({_NOTES: {"made": asdict(made), "taken": asdict(taken)}})

    # ---- inside ----------------------------------------------------------------------------------

    def _keep(self, told: dict[str, Any]) -> None:
        if self._path is None:
            return
        with _alone(self._path.parent) as folder:
            text = json.dumps(self._read() | told, indent=1)
            draft = self._path.with_name(f"{self._path.name}.new")
            with draft.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
            os.fsync(folder)

    def _read(self) -> dict[str, dict[str, Any]]:  # ledger -> seq, hash, runs; and of the notes
        if self._path is None or not self._path.exists():
            return {}
        try:
            return dict(json.loads(self._path.read_text()))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self._path} cannot be read: {error}; it anchors the research ledger: restore it"
            ) from error


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """The descriptor of a folder, which nobody else holds in this way: no file is left over."""
    found = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(found, fcntl.LOCK_EX)
        yield found
    finally:
        os.close(found)
