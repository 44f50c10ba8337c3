"""The database as a driver sees it: started, migrated, watched; or a server of the user's own."""

from pathlib import Path

from actors.runtime import Probe
from actors.supervisor import Part
from don.errors import DependencyError
from don.home import DATABASE_USE, SharedUse
from don.security.secrets import Secret
from don.storage.database import Database
from don.storage.embedded import EmbeddedPostgres


class DatabaseProcess:
    """The embedded server of a state folder, or an external one.

    Args:
        home: the state folder.
        external: URL of a server of the user's own; None: the embedded one.
    """

    def __init__(self, home: Path, external: Secret | None) -> None:
        self._home = home
        self._external = external
        self._use: SharedUse | None = None
        self._postgres = EmbeddedPostgres(home)

    def start(self) -> Secret:
        """Start it or attach to it, and bring its schema up to date.

        Raises:
            DonError: if it does not start or answer.
        """
        if self._external is None:
            self._use = SharedUse(self._home, DATABASE_USE)
        url = self._external if self._external is not None else Secret(self._postgres.start())
        with Database(url) as db:
            db.wait(10.0)
            db.migrate()
        return url

    def stop(self) -> None:
        """Stop the embedded server if nobody else uses it; never an external one."""
        if self._use is not None:
            if self._use.last():
                self._postgres.stop()
            self._use.close()
            self._use = None

    def part(self) -> Part | None:
        """What the supervisor looks after; None for an external server."""
        if self._external is not None:
            return None
        return Part(name="database", probe=self._probe, revive=self._revive)

    def _probe(self) -> Probe:
        pid = self._postgres.pid
        if pid is None:
            raise DependencyError("the embedded database is not running")
        return Probe(pid=pid)

    def _revive(self) -> None:
        self._postgres.start()
