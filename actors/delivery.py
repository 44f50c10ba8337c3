"""Sending between actors at least once: repeated until the receiver has acknowledged."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ray.exceptions import ActorDiedError, ActorUnavailableError, PendingCallsLimitExceeded

from don.errors import DependencyError
from don.log import get_logger

T = TypeVar("T")

FIRST_DELAY_S = 0.05
LONGEST_DELAY_S = 1.0
RESTART = 70  # exit code of an actor that wants to be restarted

# The receiver is restarting, overloaded or not there yet: the message is still ours to deliver.
AWAY = (ActorDiedError, ActorUnavailableError, PendingCallsLimitExceeded, DependencyError)


async def deliver(call: Callable[[], Awaitable[T]], what: str) -> T:
    """The receiver's answer to `call()`, repeated while it is away.

    An error that the receiver's own code raised is not retried here: it propagates.
    """
    log = get_logger("don.actors")
    delay, attempts = FIRST_DELAY_S, 0
    while True:
        try:
            answer = await call()
        except AWAY as error:
            attempts += 1
            if attempts == 1:
                log.warning("receiver away, repeating", what=what, error=type(error).__name__)
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY_S)
        else:
            if attempts:
                log.info("delivered", what=what, attempts=attempts + 1)
            return answer


@contextmanager
def restart_if_away(what: str) -> Iterator[None]:
    """End the process if a dependency stays away; Ray then restarts the actor.

    For constructors and for steps whose outcome would be unknown: an exception in a constructor
    makes Ray give the actor up, and an actor that goes on after a doubtful write guesses.
    """
    try:
        yield
    except DependencyError:
        get_logger("don.actors").exception("dependency away, restarting the actor", what=what)
        os._exit(RESTART)


def run_or_die(coroutine: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
    """Run an actor's main loop; if it ends by an error the process ends, and Ray restarts it.

    Crash-only: an actor whose loop has died must not go on answering as if it were well.
    """

    async def guarded() -> None:
        try:
            await coroutine
        except asyncio.CancelledError:
            raise
        except BaseException:
            get_logger("don.actors").exception("main loop failed, restarting the actor", what=what)
            os._exit(RESTART)

    return asyncio.get_running_loop().create_task(guarded(), name=what)
