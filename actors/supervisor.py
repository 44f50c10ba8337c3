"""The supervisor: probes every part, restarts what died, and shows the health of all of them."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ray.exceptions import ActorDiedError, ActorUnavailableError

from actors.runtime import Probe
from don.clock import NS_PER_S, Clock
from don.log import get_logger

PROBE_EVERY_S = 0.5
HUNG_AFTER_S = 30.0


@dataclass(slots=True)
class Part:
    """Something that must be alive: an actor, a server process, a database.

    `probe` says who lives, or raises; `revive` brings a dead one back (Ray's actors come back by
    themselves); `end` kills one that has not answered for long, so that it can be revived.
    """

    name: str
    probe: Callable[[], Probe]
    revive: Callable[[], None]
    end: Callable[[], None] | None = None
    seen: Probe = field(default_factory=lambda: Probe(pid=0, state="starting"))
    restarts: int = 0
    away_since: int = 0
    rebuilding: bool = False


class Supervisor:
    """A thread of the driver. It alone may catch every exception: its job is to outlive them."""

    def __init__(self, clock: Clock, show: Callable[[str, dict[str, Any]], None]) -> None:
        self._clock = clock
        self._show = show
        self._parts: list[Part] = []
        self._announced: dict[str, dict[str, Any]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._log = get_logger("don.supervisor")

    def watch(self, part: Part) -> None:
        """Look after a part from now on."""
        self._parts.append(part)

    def announce(self, key: str, view: dict[str, Any]) -> None:
        """Show a view again at every round."""
        self._announced[key] = view

    def start(self) -> None:
        """Begin probing."""
        self._thread.start()

    def stop(self) -> None:
        """Stop probing; nothing is revived any more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=HUNG_AFTER_S)

    @property
    def restarts(self) -> dict[str, int]:
        """How often each part came back from the dead."""
        return {part.name: part.restarts for part in self._parts}

    def _run(self) -> None:
        while not self._stop.wait(PROBE_EVERY_S):
            for part in list(self._parts):
                if self._stop.is_set():
                    return
                self._look_after(part)
                self._put(f"health:{part.name}", _view(part))
            for key, view in self._announced.items():
                self._put(key, view)

    def _look_after(self, part: Part) -> None:
        now = self._clock.now_ns()
        try:
            found = part.probe()
        except Exception as error:
            self._away(part, now, error)
            return
        if part.seen.pid and found.pid != part.seen.pid:
            part.restarts += 1
            self._log.warning("part is back", part=part.name, pid=found.pid, n=part.restarts)
        part.seen, part.away_since, part.rebuilding = found, 0, False

    def _away(self, part: Part, now: int, error: Exception) -> None:
        if not part.away_since:
            part.away_since = now
            self._log.warning("part is away", part=part.name, error=repr(error))
        part.seen = Probe(
            pid=part.seen.pid, state="down", detail=f"{type(error).__name__}: {error}"[:200]
        )
        try:
            part.rebuilding |= isinstance(error, ActorUnavailableError | ActorDiedError)
            # One that died is being rebuilt, which may take long; only one that lived can hang.
            hangs = now - part.away_since > HUNG_AFTER_S * NS_PER_S and not part.rebuilding
            if part.end is not None and hangs:
                self._log.error("part hangs, ending it", part=part.name)
                part.away_since = now
                part.end()
            part.revive()
        except Exception:
            self._log.exception("part could not be revived yet", part=part.name)

    def _put(self, key: str, view: dict[str, Any]) -> None:
        try:
            self._show(key, view)
        except Exception as error:
            self._log.debug("board away", error=str(error))


def _view(part: Part) -> dict[str, Any]:
    return {
        "part": part.name,
        "state": part.seen.state,
        "detail": part.seen.detail,
        "restarts": part.restarts,
        "streams": list(part.seen.streams),
        "metrics": list(part.seen.metrics),
    }
