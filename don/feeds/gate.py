"""When an exchange may be connected to: a limit of attempts for all connections, and a breaker.

One gate an exchange, shared by all connections (and, if the caller shares it, by all feeds) of a
process. Nothing gives up: a closed gate opens again by itself.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from don.clock import NS_PER_S, Clock
from don.feeds.config import FeedConfig
from don.feeds.venues import venue_of

REFUSALS = 5  # in a row, without a connection that worked, open the breaker
PAUSE_S = 5.0  # the first pause; each further one is twice as long ...
MAX_PAUSE_S = 300.0  # ... up to this


class BreakerState(StrEnum):
    """Whether the exchange is asked at all."""

    CLOSED = "closed"  # as usual
    OPEN = "open"  # paused
    PROBING = "probing"  # one attempt is under way, the others wait for what becomes of it


@dataclass(frozen=True, slots=True, kw_only=True)
class GateHealth:
    """The gate's state."""

    state: BreakerState
    pause_s: float  # until the next attempt, 0 when closed
    opened: int  # times that the breaker has opened


class Gate:
    """At most `starts` attempts in `window_s`; a pause after repeated refusals.

    Args:
        starts: attempts allowed in a window.
        window_s: its length.
        clock: monotonic time.
        rng: jitter of the pauses.
        refusals: in a row, over all connections, that open the breaker.
        pause_s: the first pause.
        max_pause_s: the longest pause.
    """

    def __init__(
        self,
        starts: int,
        window_s: float,
        clock: Clock,
        rng: Random,
        *,
        refusals: int = REFUSALS,
        pause_s: float = PAUSE_S,
        max_pause_s: float = MAX_PAUSE_S,
    ) -> None:
        if starts < 1 or window_s <= 0 or refusals < 1 or not 0 < pause_s <= max_pause_s:
            raise ValueError(
                "need starts >= 1, window_s > 0, refusals >= 1 and 0 < pause_s <= max_pause_s, "
                f"were {starts}, {window_s}, {refusals}, {pause_s} and {max_pause_s}"
            )
        self._window_ns = int(window_s * NS_PER_S)
        self._clock = clock
        self._rng = rng
        self._refusals = refusals
        self._pause_s = pause_s
        self._max_pause_s = max_pause_s
        self._recent: deque[int] = deque(maxlen=starts)  # times of the last attempts
        self._failed = 0  # refusals in a row
        self._pauses = 0  # of the breaker, in a row
        self._until_ns = 0  # paused until then
        self._state = BreakerState.CLOSED
        self._changed = asyncio.Event()
        self.opened = 0
        self.attempts = 0

    def health(self) -> GateHealth:
        """State and the rest of a pause."""
        rest_ns = max(0, self._until_ns - self._clock.monotonic_ns())
        pause_s = rest_ns / NS_PER_S if self._state is BreakerState.OPEN else 0.0
        return GateHealth(state=self._state, pause_s=pause_s, opened=self.opened)

    async def enter(self) -> None:
        """Return when an attempt may be made; then `worked`, `refused` or `undecided` is called."""
        while True:
            wait_s = self._wait_s()
            if wait_s <= 0.0:
                break
            self._changed.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                continue  # look again
        if self._state is BreakerState.OPEN:
            self._state = BreakerState.PROBING
        self._recent.append(self._clock.monotonic_ns())
        self.attempts += 1

    def worked(self) -> None:
        """The exchange took a connection."""
        self._failed = self._pauses = 0
        self._state = BreakerState.CLOSED
        self._changed.set()

    def refused(self) -> None:
        """The exchange answered, and the answer was no."""
        self._failed += 1
        probing = self._state is BreakerState.PROBING
        if not probing and (self._failed < self._refusals or self._state is BreakerState.OPEN):
            return
        longest = min(self._max_pause_s, self._pause_s * 2.0 ** min(self._pauses, 30))
        pause_s = self._rng.uniform(longest / 2, longest)
        self._until_ns = self._clock.monotonic_ns() + int(pause_s * NS_PER_S)
        self._pauses += 1
        self._state = BreakerState.OPEN
        self.opened += 1
        self._changed.set()

    def undecided(self) -> None:
        """The exchange was not reached, or the attempt was given up: that says nothing of it."""
        if self._state is BreakerState.PROBING:
            self._state = BreakerState.OPEN
            self._changed.set()

    def _wait_s(self) -> float:
        now = self._clock.monotonic_ns()
        if self._state is BreakerState.PROBING:
            return 1.0  # until the probe's outcome wakes us
        if self._state is BreakerState.OPEN and now < self._until_ns:
            return (self._until_ns - now) / NS_PER_S
        if len(self._recent) == self._recent.maxlen:
            free = self._recent[0] + self._window_ns
            if free > now:
                return (free - now) / NS_PER_S
        return 0.0


def gate_of(config: FeedConfig, clock: Clock, rng: Random) -> Gate:
    """The gate of an exchange; give one to all its feeds, if a process has several."""
    starts, window_s = venue_of(config.exchange).starts
    return Gate(
        starts,
        window_s,
        clock,
        rng,
        refusals=config.breaker_refusals,
        pause_s=config.breaker_pause_s,
        max_pause_s=config.breaker_cap_s,
    )
