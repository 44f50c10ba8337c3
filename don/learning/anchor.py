"""What a state folder remembers of registries' ends, outside of their database. Does file I/O.

A registry is known by its first entry: one folder may have spoken to several databases.
"""

import json
import os
import threading
from pathlib import Path
from typing import Any

from don.errors import ConfigError
from don.storage.chain import Head


class Anchor:
    """The last entry that this folder saw acknowledged, of each registry.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self, first: bytes, head: Head) -> None:
        """Remember an end, unless a later one is. Of two processes at once either may be the last:
        both ends are true.

        Args:
            first: hash of the registry's first entry.
            head: its last one.
        """
        known = self._read()
        if int(known.get(first.hex(), {}).get("seq", 0)) >= head.seq:
            return
        known[first.hex()] = {"seq": head.seq, "hash": head.hash.hex()}
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.{threading.get_ident()}")
        draft.write_text(json.dumps(known, indent=1))
        draft.replace(self._path)

    def end(self, first: bytes) -> Head:
        """The end of a registry as far as this folder knows."""
        told = self._read().get(first.hex())
        return Head(seq=told["seq"], hash=bytes.fromhex(told["hash"])) if told else Head()

    def _read(self) -> dict[str, dict[str, Any]]:  # first entry's hash -> seq, hash
        if not self._path.exists():
            return {}
        try:
            return dict(json.loads(self._path.read_text()))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self._path} cannot be read: {error}; it anchors the registry of models: "
                "restore it, or remove it and check with `don models verify` what there is"
            ) from error
