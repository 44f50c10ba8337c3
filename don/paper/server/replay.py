"""The driver that plays the tape at a speed. Sleeps on the event loop; reads time from its clock.

Events of one tape time are applied together. At a finite speed the driver waits for nobody: readers
that cannot follow are cut off. At `max` it waits for the slowest reader, as long as that one moves.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from don.clock import NS_PER_MS, NS_PER_S, Clock
from don.errors import UsageError
from don.paper.events import TapeEvent
from don.paper.server.hub import Hub
from don.paper.server.service import ExchangeService

MAX_LAG_NS = NS_PER_S  # further behind than this, the tape slows down instead of bursting
BATCH_NS = 4 * NS_PER_MS  # how long the tape may keep requests waiting at a time
MAX_BATCH = 256  # events applied at a time
MAX_BACKLOG = 1 << 20  # bytes a reader may be behind at speed `max` before the tape waits
PATIENCE_S = 10.0  # how long it waits for a reader that takes nothing at all


class ReplayState(StrEnum):
    """What the tape is doing."""

    HELD = "held"  # waits for the first reader of a market stream
    RUNNING = "running"
    PAUSED = "paused"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Tape time per wall time; None plays as fast as it goes."""

    factor: float | None
    text: str

    @classmethod
    def parse(cls, text: str, bar_ns: int) -> "Speed":
        """A speed from text.

        Args:
            text: `max`, tape seconds per second (`60`, `60x`), or bars per second (`1bar`).
            bar_ns: length of the tape's bars.

        Raises:
            UsageError: if it is none of these, or not positive.
        """
        word = text.strip().lower()
        if word == "max":
            return cls(factor=None, text=word)
        per_bar = word.endswith(("bar", "bars"))
        digits = word.removesuffix("s").removesuffix("bar") if per_bar else word.removesuffix("x")
        try:
            value = float(digits)
        except ValueError:
            value = 0.0
        factor = value * bar_ns / NS_PER_S if per_bar else value
        if not 0 < factor < 1e9:
            raise UsageError(
                "speed must be max, tape seconds per second such as 60, or bars per second such as "
                f"1bar, was {text!r}"
            )
        return cls(factor=factor, text=word)


class Replay:
    """Plays the tape into the service.

    Args:
        events: the tape from the service's position on: (position after it, event).
        speed: how fast.
        hold: wait for the first reader of a market stream before moving.
        max_idle_s: longest wall time to wait for the next event; wider gaps of the tape are jumped.
    """

    def __init__(
        self,
        events: Iterator[tuple[int, TapeEvent]],
        service: ExchangeService,
        hub: Hub,
        clock: Clock,
        speed: Speed,
        *,
        hold: bool,
        max_idle_s: float,
    ) -> None:
        self._events = events
        self._service = service
        self._hub = hub
        self._clock = clock
        self.speed = speed
        self._max_idle_ns = int(max_idle_s * NS_PER_S)
        self._held = hold
        self._batch_size = 16
        self._paused = False
        self._until_ns: int | None = None  # the tape pauses before the first event after this
        self._wake = asyncio.Event()
        self._ahead = next(events, None)
        self._anchor: tuple[int, int] | None = None  # (wall, tape) from which time is counted
        self.applied = 0  # events since this process started

    @property
    def state(self) -> ReplayState:
        """What the tape is doing."""
        if self._ahead is None:
            return ReplayState.ENDED
        if self._held:
            return ReplayState.HELD
        return ReplayState.PAUSED if self._paused else ReplayState.RUNNING

    def stand(self, *, known: bool) -> None:
        """Take in the market as it stands where the tape goes on, before time moves.

        Args:
            known: the exchange has it already, with what its customers took from the books.
        """
        start, steps = self._service.position, []
        while self._ahead is not None and self._ahead[0] <= start:
            steps.append(self._ahead)
            self._ahead = next(self._events, None)
        if steps and not known:
            self._service.advance(steps)

    def pause(self) -> None:
        """Stop the tape until `resume`."""
        self._paused = True

    def resume(self, until_ns: int | None = None) -> None:
        """Let the tape move, whatever it waited for; with `until_ns` no further than that."""
        self._paused = self._held = False
        self._until_ns = until_ns
        self._anchor = None
        self._wake.set()

    def reader_came(self) -> None:
        """A market stream has a reader: there is nothing to wait for any more."""
        if self._held:
            self._held = False
            self._wake.set()

    async def run(self) -> None:
        """Play to the end of the tape."""
        while self._ahead is not None:
            if self._held or self._paused:
                self._wake.clear()
                await self._wake.wait()
                self._anchor = None
                continue
            if self._until_ns is not None and self._ahead[1].ts > self._until_ns:
                self._paused, self._until_ns = True, None
                continue
            wait_ns = self._ahead[1].ts - self._due()
            if wait_ns > 0 and self.speed.factor is not None:
                await asyncio.sleep(wait_ns / self.speed.factor / NS_PER_S)
                continue
            self._advance(self._batch())
            if self.speed.factor is None:
                await self._room()
            await asyncio.sleep(0)
        self._service.end()

    def _due(self) -> int:
        """Tape time that has come; moves the anchor over gaps and after delays."""
        assert self._ahead is not None
        head, wall, factor = self._ahead[1].ts, self._clock.monotonic_ns(), self.speed.factor
        if factor is None:
            return head
        if self._anchor is None:
            self._anchor = (wall, self._service.exchange.now or head)
        due = self._anchor[1] + int((wall - self._anchor[0]) * factor)
        if due - head > MAX_LAG_NS * factor or head - due > self._max_idle_ns * factor:
            slack = 0 if due > head else int(self._max_idle_ns * factor)
            due = head - slack
            self._anchor = (wall, due)
        return due

    def _batch(self) -> list[tuple[int, TapeEvent]]:
        """Whole steps of the tape that are due, few enough not to keep requests waiting."""
        steps: list[tuple[int, TapeEvent]] = []
        due = self._due()
        while self._ahead is not None and len(steps) < self._batch_size:
            ts = self._ahead[1].ts
            if ts > due and self.speed.factor is not None:
                break
            if self._until_ns is not None and ts > self._until_ns:
                break
            while self._ahead is not None and self._ahead[1].ts == ts:
                steps.append(self._ahead)
                self._ahead = next(self._events, None)
        self.applied += len(steps)
        return steps

    def _advance(self, steps: list[tuple[int, TapeEvent]]) -> None:
        """Apply a batch; size the next one by how long this one took."""
        start = self._clock.monotonic_ns()
        self._service.advance(steps)
        took = max(1, self._clock.monotonic_ns() - start)
        fitting = BATCH_NS * len(steps) // took
        self._batch_size = max(1, min(MAX_BATCH, fitting, 2 * self._batch_size))

    async def _room(self) -> None:
        """Wait until no reader is far behind; cut off one that takes nothing."""
        waited, last = 0.0, self._hub.backlog()
        while (backlog := self._hub.backlog()) > MAX_BACKLOG:
            waited = waited + 0.002 if backlog >= last else 0.0
            last = backlog
            if waited > PATIENCE_S:
                self._hub.cut_slowest(MAX_BACKLOG, "it takes nothing")
                return
            await asyncio.sleep(0.002)
