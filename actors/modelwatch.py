"""The driver's eye on models that trade: demotes those that break a rule while a session runs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ray.exceptions import RayError

from don.clock import NS_PER_S, Clock
from don.config import DonConfig
from don.errors import DonError
from don.log import get_logger
from don.model.messages import Command
from don.security.secrets import Secret
from don.storage.database import Database

if TYPE_CHECKING:
    from don.learning.demotion import Judge

_MODEL = "model:"


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
        self._active = any(slot.policy.startswith(_MODEL) for slot in config.engine.slots)
        self._judge: Judge | None = None
        self._done: set[str] = set()  # keys of halts that the desk has taken
        self._next = 0
        if not config.engine.slots and config.policy.startswith(_MODEL):
            self._log.warning(
                "a model has the whole account: rules of demotion look at books of slots and do "
                "not watch it; limits of [engine.risk] do, or trade it as `models:NAME`",
                policy=config.policy,
            )

    def look(self) -> None:
        """Look, if it is time. What fails is on the log, and looked at again next time."""
        now = self._clock.monotonic_ns()
        if not self._active or now < self._next:
            return
        self._next = now + int(self._config.every_s * NS_PER_S)
        # Imported here: a session without models needs none of it.
        from don.learning.demotion import Judge, demote
        from don.learning.registry import Registry, store_of

        if self._judge is None:
            self._judge = Judge(self._session, self._config)
        try:
            with Database(self._url, name="don-models", pool_size=1) as db:
                registry = Registry(db, store_of(self._home), clock=self._clock)
                found = [one for one in self._judge.look(registry) if one.key not in self._done]
                for one in demote(registry, found, self._clock.now_ns(), self._send):
                    self._done.add(one.key)
                    self._log.error(
                        "model demoted", model=one.label, slot=one.slot.name, why=one.breach.why
                    )
        except (DonError, RayError) as error:  # database away, desk restarting
            self._log.warning("models could not be judged", error=str(error))
