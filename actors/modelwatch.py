"""The driver's eye on models that trade: demotes those that break a rule while a session runs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ray.exceptions import RayError

from actors.runtime import Probe
from don.clock import NS_PER_S, Clock
from don.config import DonConfig
from don.errors import DependencyError, DonError
from don.log import get_logger
from don.model.messages import Command
from don.security.secrets import Secret
from don.storage.database import Database

if TYPE_CHECKING:
    from don.learning.demotion import Judge
    from don.learning.takedown import Takedown

_MODEL = "model:"
_PATIENCE_S = 0.5  # with the database: this thread hands commands to the desk, and looks again
_SHOWN = 400  # characters of what health says


class ModelWatch:
    """Looks every `models.every_s` seconds, in the thread that calls `look`.

    Args:
        home: the state folder.
        database_url: of registry and books.
        session: that runs.
        config: of the session; without models there is nothing to do.
        clock: wall time and durations.
        send: hands a command to the desk.
    """

    def __init__(
        self,
        home: Path,
        database_url: Secret,
        session: str,
        config: DonConfig,
        clock: Clock,
        send: Callable[[Command], None],
    ) -> None:
        self._home, self._url, self._session = home, database_url, session
        self._config, self._clock, self._send = config.models, clock, send
        self._log = get_logger("don.models")
        self.active = any(slot.policy.startswith(_MODEL) for slot in config.engine.slots)
        self._judge: Judge | None = None
        self._takedown: Takedown | None = None
        self._begun = False  # what was left half done before this session is known
        self._next = 0
        self._ill = ""  # what the last look could not do
        if not config.engine.slots and config.policy.startswith(_MODEL):
            self._log.warning(
                "a model has the whole account: rules of demotion look at books of slots and do "
                "not watch it; limits of [engine.risk] do, or trade it as `models:NAME`",
                policy=config.policy,
            )

    def probe(self) -> Probe:
        """For the supervisor: whether the last look could do all that it had to."""
        return Probe(pid=os.getpid(), state="stale" if self._ill else "live", detail=self._ill)

    def look(self) -> None:
        """Look, if it is time. What fails is on the log, and tried again next time."""
        now = self._clock.monotonic_ns()
        if not self.active or now < self._next:
            return
        self._next = now + int(self._config.every_s * NS_PER_S)
        # Imported here: a session without models needs none of it.
        from don.learning.demotion import Judge
        from don.learning.registry import Registry, store_of
        from don.learning.takedown import Takedown, owed

        if self._judge is None or self._takedown is None:
            self._judge, self._takedown = Judge(self._session, self._config), Takedown(self._tell)
        try:
            with Database(self._url, name="don-models", pool_size=1) as db:
                registry = Registry(
                    db, store_of(self._home), clock=self._clock, patience_s=_PATIENCE_S
                )
                found = [] if self._begun else owed(registry)
                found += self._judge.look(registry)
                self._begun = True
                for one in self._takedown.act(registry, found, self._clock.now_ns()):
                    self._log.error(
                        "model demoted", model=one.label, slot=one.slot.name, why=one.breach.why
                    )
            failures = self._takedown.failures
        except DonError as error:  # database away
            failures = (f"models could not be judged: {error}",)
        for failure in failures:
            self._log.error("demotion failed; tried again", error=failure)
        self._ill = "; ".join(failures)[:_SHOWN]

    def _tell(self, command: Command) -> None:
        try:
            self._send(command)
        except RayError as error:  # it is restarting
            raise DependencyError(f"the desk did not take it ({type(error).__name__})") from error


def finish(home: Path, db: Database) -> None:
    """Demote what an earlier driver, killed in between, halted but did not demote any more; before
    a session pins what stands.

    Raises:
        DatabaseError: if the database is away.
    """
    from don.learning.registry import Registry, store_of
    from don.learning.takedown import Takedown, owed

    registry, log = Registry(db, store_of(home)), get_logger("don.models")
    takedown = Takedown(lambda command: None)  # they are halted
    for one in takedown.act(registry, owed(registry), 0):
        log.error("model demoted", model=one.label, slot=one.slot.name, why=one.breach.why)
    for failure in takedown.failures:
        log.error("demotion failed; tried again", error=failure)
