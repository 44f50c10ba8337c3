"""What drivers share: steps that are told, waiting for actors, and actors as supervised parts."""

import contextlib
import threading
from collections.abc import Iterator, Mapping

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, RayError

from actors.runtime import Probe, Progress
from actors.supervisor import Part
from don.clock import NS_PER_S, Clock
from don.errors import DependencyError, DonError, Interrupted
from don.log import get_logger

READY_TIMEOUT_S = 180
PING_S = 5  # an actor that takes longer is shown as down; the supervisor waits before it ends one


class Steps:
    """The start of a driver: every step is logged and told, and can be interrupted between two.

    Args:
        progress: told of every part.
        stop: set when the user wants to stop.
        clock: durations.
    """

    def __init__(self, progress: Progress, stop: threading.Event, clock: Clock) -> None:
        self._progress = progress
        self._stop = stop
        self._clock = clock
        self._log = get_logger("don.launch")

    @contextlib.contextmanager
    def step(self, part: str, *, quiet: bool = False) -> Iterator[None]:
        """One part that starts, or stops; `quiet`: told as ready by somebody else."""
        started = self._clock.monotonic_ns()
        self._progress(part, "starting", 0.0)
        try:
            yield
        except BaseException:
            self._progress(part, "failed", (self._clock.monotonic_ns() - started) / NS_PER_S)
            raise
        seconds = (self._clock.monotonic_ns() - started) / NS_PER_S
        self._log.info("started", part=part, seconds=round(seconds, 2))
        if not quiet:
            self._progress(part, "ready", seconds)

    @contextlib.contextmanager
    def whole(self, undo: contextlib.ExitStack) -> Iterator[None]:
        """A start that is whole or not there: what fails, or is stopped, is undone.

        Raises:
            Interrupted: for the SystemExit with which Ray, while it starts, passes SIGTERM on.
        """
        try:
            yield
        except SystemExit as error:
            undo.close()
            raise interrupted() from error
        except BaseException:
            undo.close()
            raise

    def check_stop(self) -> None:
        """Raise `Interrupted` if the user wants to stop."""
        if self._stop.is_set():
            raise interrupted()

    def await_ready(self, actors: Mapping[str, ActorHandle]) -> None:
        """Wait until these actors say that they are live, e.g. that the account is reconciled.

        Raises:
            DonError: what an actor's constructor refused with.
            DependencyError: if one is not live in time.
        """
        waiting = dict(actors)
        end = self._clock.monotonic_ns() + READY_TIMEOUT_S * NS_PER_S
        pause = threading.Event()
        with contextlib.ExitStack() as steps:
            for name in waiting:
                steps.enter_context(self.step(name, quiet=True))
            while waiting:
                self.check_stop()
                for name, handle in list(waiting.items()):
                    left = max(1.0, (end - self._clock.monotonic_ns()) / NS_PER_S)
                    try:
                        live = ray.get(handle.ping.remote(), timeout=left).state == "live"
                    except ActorDiedError as error:
                        raise _refusal(name, error) from error
                    except RayError:
                        live = False  # restarting, or slow: ask again until the time is up
                    if live:
                        del waiting[name]
                        self._progress(name, "ready", 0.0)
                if waiting and self._clock.monotonic_ns() > end:
                    raise DependencyError(
                        f"not ready within {READY_TIMEOUT_S} s: {', '.join(waiting)}; "
                        f"see `don logs --actor {next(iter(waiting))}`"
                    )
                pause.wait(0.1)


def interrupted() -> Interrupted:
    """What ends a start that the user stopped."""
    return Interrupted("stopped while starting, nothing is left behind")


def actor_part(name: str, handle: ActorHandle) -> Part:
    """How the supervisor looks after an actor: Ray restarts the dead, we end what hangs."""

    def probe() -> Probe:
        answer: Probe = ray.get(handle.ping.remote(), timeout=PING_S)
        return answer

    return Part(name=name, probe=probe, revive=lambda: None, end=lambda: _end(handle))


def _end(handle: ActorHandle) -> None:
    ray.kill(handle, no_restart=False)


def _refusal(name: str, error: ActorDiedError) -> DonError:
    """What an actor's constructor refused with, if it is one of ours."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DonError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    return DonError(f"{name} cannot start, see `don logs --actor {name}`: {error}")
