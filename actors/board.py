"""The latest view of every part, for readers. Not pure: stamps what it takes with the wall clock.

A cache off the ring: the desk, the feeds and the rest put what they would show, the API and the
command line read. Nobody decides by it and nothing is lost with it; after its death a new one
fills within a second, because every part puts its view again and again.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from don.clock import Clock, SystemClock
from don.model.section import Section

NS_PER_US = 1_000


class BoardConfig(Section):
    """Bounds of the board; each is a refusal or a drop, never a growth."""

    max_keys: int = 64
    tail: int = (
        1_000  # events kept for readers that lag; the oldest are dropped and the loss is told
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """A view as it lies on the board."""

    seq: int
    ts_put: int  # ns, wall time at which it was put: what staleness is measured by
    view: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a reader that knew everything up to some `seq` has not seen yet."""

    seq: int  # ask with this next
    views: Mapping[str, Stamped]  # the changed ones, latest state only
    events: tuple[Mapping[str, Any], ...]  # oldest first
    lost: bool  # events fell off the tail before they could be told: read the database again


class Board:
    """Views by key, conflated, and a bounded tail of events, with versions and a long poll.

    `seq` starts at the wall time in microseconds: it rises across restarts, so that a reader of a
    board that died sees every view of its successor as new.
    """

    def __init__(self, config: BoardConfig | None = None, clock: Clock | None = None) -> None:
        self._config = config or BoardConfig()
        self._clock = clock or SystemClock()
        self._seq = self._clock.now_ns() // NS_PER_US
        self._views: dict[str, Stamped] = {}
        self._events: deque[tuple[int, Mapping[str, Any]]] = deque()
        self._dropped = self._seq  # up to here events are not known: another life, or off the tail
        self._news = asyncio.Event()

    async def put(self, key: str, view: Mapping[str, Any]) -> int:
        """Replace the view under `key`; returns its seq.

        A sender awaits one put before the next: calls of an async actor may overtake each other.

        Raises:
            ValueError: if the key is empty, or new while `max_keys` are taken.
        """
        if not key:
            raise ValueError("board key must not be empty")
        if key not in self._views and len(self._views) >= self._config.max_keys:
            raise ValueError(
                f"board holds at most {self._config.max_keys} keys, cannot take {key!r} too"
            )
        self._seq += 1
        self._views[key] = Stamped(seq=self._seq, ts_put=self._clock.now_ns(), view=view)
        self._wake()
        return self._seq

    async def emit(self, events: Sequence[Mapping[str, Any]]) -> int:
        """Append events (fills, orders, decisions) to the tail; returns the seq of the last.

        Raises:
            ValueError: if an event does not say what `kind` it is.
        """
        for event in events:
            if not event.get("kind"):
                raise ValueError(f"a board event needs a kind, had only {sorted(event)}")
        for event in events:
            self._seq += 1
            self._events.append((self._seq, event))
            if len(self._events) > self._config.tail:
                self._dropped = self._events.popleft()[0]
        if events:
            self._wake()
        return self._seq

    async def get(self, keys: Sequence[str] | None = None) -> dict[str, Stamped]:
        """The views under these keys, all of them for None; unknown keys are simply absent."""
        if keys is None:
            return dict(self._views)
        return {key: self._views[key] for key in keys if key in self._views}

    async def wait(self, seq: int, timeout_s: float) -> Change:
        """Everything newer than `seq`, as soon as there is any; an empty change after the time-out.

        A reader starts with 0. A `seq` from the future (the wall clock was set back between two
        lives of the board) is answered at once with everything.
        """
        if seq > self._seq:
            seq = 0
        if seq == self._seq:
            news = self._news
            try:
                async with asyncio.timeout(timeout_s):
                    await news.wait()
            except TimeoutError:
                return Change(seq=seq, views={}, events=(), lost=False)
        # A reader that starts with 0 reads the past from the database: it has lost nothing here.
        return Change(
            seq=self._seq,
            views={key: held for key, held in self._views.items() if held.seq > seq},
            events=tuple(event for at, event in self._events if at > seq),
            lost=0 < seq < self._dropped,
        )

    def _wake(self) -> None:
        """Release everyone who waits; later waiters wait for the next change."""
        news, self._news = self._news, asyncio.Event()
        news.set()
