"""Where Don keeps its state, and who holds it. Reads the environment, takes file locks."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from don.errors import DonError, UsageError

ENV_HOME = "DON_HOME"
TRADE_LOCK = "run.lock"  # held by the Don that trades on a state folder
DATABASE_USE = "database.lock"  # shared by all that use the embedded database
COLLECT_LOCK = "collect.lock"  # held by the one that collects: both may run, one of each


def home_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The state folder: `DON_HOME`, or `~/.don`. Not created here."""
    return Path(environ.get(ENV_HOME) or Path.home() / ".don").expanduser().absolute()


@contextmanager
def hold(home: Path, lock: str, busy: str) -> Iterator[None]:
    """Make the state folder if need be, and hold one of its locks.

    Raises:
        UsageError: if the folder cannot be used.
        DonError: with `busy`, if another process holds the lock.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (home / lock).open("a")
    except OSError as error:
        raise UsageError(
            f"state folder {home} cannot be used: {error.strerror}; set {ENV_HOME} to another"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DonError(busy) from error
        yield


def held(home: Path, lock: str) -> bool:
    """Whether a process holds the lock. It tells more than a process id: those are reused."""
    try:
        file = (home / lock).open("a")
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class SharedUse:
    """One of several users of something in the state folder; the last one puts it away.

    The lock goes with its process, so that a user that was killed does not count.
    """

    def __init__(self, home: Path, name: str) -> None:
        """Wait for whoever is putting it away just now, then count as a user."""
        self._file = (home / name).open("a")
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def last(self) -> bool:
        """Whether nobody else uses it; then nobody can begin to until `close`."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Use it no longer."""
        self._file.close()
