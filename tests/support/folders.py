"""Folders for tests."""

import tempfile
from pathlib import Path


def short_folder() -> Path:
    """A folder with a short path: sockets live in it."""
    return Path(tempfile.mkdtemp(prefix="don-", dir="/tmp"))
