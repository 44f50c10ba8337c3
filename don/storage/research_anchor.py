"""What a state folder remembers of research ledgers, outside of their database. Reads and writes a
file.
"""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from don.errors import ConfigError
from don.storage.chain import Head
from don.storage.research_runs import Outside


class Anchor:
    """The last acknowledged entry of each ledger that runs of this folder were counted in.

    Args:
        path: of the file; None: nothing is remembered.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def keep(self, ledger: str, head: Head, runs: int) -> None:
        """Remember an end. Of two processes at once either may be the last: both ends are true."""
        if self._path is None:
            return
        known = self._read()
        known[ledger] = {"seq": head.seq, "hash": head.hash.hex(), "runs": runs}
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.{threading.get_ident()}")
        draft.write_text(json.dumps(known, indent=1))
        draft.replace(self._path)

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
            if name != ledger:
                found.append(Outside(ledger=name, runs=end["runs"], why="other"))
            elif end["seq"] and hash_at(end["seq"]) != bytes.fromhex(end["hash"]):
                lost = max(end["runs"] - runs, 1)  # others may have begun since it was cut
                found.append(Outside(ledger=name, runs=lost, why="cut"))
        return found

    def _read(self) -> dict[str, dict[str, Any]]:  # ledger -> seq, hash, runs
        if self._path is None or not self._path.exists():
            return {}
        try:
            return dict(json.loads(self._path.read_text()))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self._path} cannot be read: {error}; it anchors the research ledger: restore it"
            ) from error
