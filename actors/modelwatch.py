"""The driver's eye on models that trade: demotes those that break a rule while a session runs."""

from collections.abc import Callable
from pathlib import Path

from don.clock import NS_PER_S, Clock
from don.config import DonConfig
from don.errors import DependencyError
from don.log import get_logger
from don.model.messages import Command
from don.security.secrets import Secret
from don.storage.database import Database


class ModelWatch:
    """Looks every `models.every_s` seconds, in the thread that calls `look`.

    Args:
        home: the state folder.
        database_url: of registry and books.
        session: that runs.
        config: of the session; without models in its slots there is nothing to do.
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
        self._active = any(slot.policy.startswith("model:") for slot in config.engine.slots)
        self._next = 0

    def look(self) -> None:
        """Look, if it is time."""
        now = self._clock.monotonic_ns()
        if not self._active or now < self._next:
            return
        self._next = now + int(self._config.every_s * NS_PER_S)
        # Imported here: a session without models needs none of it.
        from don.learning.demotion import demote, judged
        from don.learning.registry import Registry, store_of

        try:
            with Database(self._url, name="don-models", pool_size=1) as db:
                registry = Registry(db, store_of(self._home), clock=self._clock)
                found = judged(db, registry, self._session, self._config)
                done = demote(registry, found, self._clock.now_ns(), self._send)
        except DependencyError as error:  # looked at again soon
            get_logger("don.models").warning("models could not be judged", error=str(error))
            return
        for breach in done:
            get_logger("don.models").error("model demoted", slot=breach.slot, why=breach.why)
