"""Connections of a feed: subscriptions spread over lanes, each carried by one or more sockets.

A lane is what one connection can carry. It has `redundancy` sockets that bring the same; a socket
that nears the exchange's limit of life is replaced while it is still up, so that nothing is missed.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any

import structlog

from don.clock import NS_PER_S, Clock
from don.feeds.adapter import Adapter
from don.feeds.builder import FeedBuilder, Pair, Subscribed
from don.feeds.config import FeedConfig
from don.feeds.health import Stream
from don.feeds.socket import FeedSocket

log = structlog.get_logger(__name__)

TICK_S = 0.05
QUIET = 4  # overlaps after which a new connection that says nothing counts as up


@dataclass(slots=True, eq=False)
class Copy:
    """One socket of a lane."""

    part: Subscribed
    socket: FeedSocket
    adapter: Adapter | None  # None: the fast parser, which is the same for all


@dataclass(slots=True, eq=False)
class Lane:
    """What one connection carries."""

    pairs: tuple[Pair, ...]
    streams: list[Stream]
    copies: list[Copy] = field(default_factory=list)

    @property
    def connected(self) -> int:
        """Sockets that are up."""
        return sum(copy.socket.connected for copy in self.copies)


class Pool:
    """All connections of a feed.

    Args:
        builder: makes cryptofeed feeds.
        config: redundancy, life, overlap.
        life_s: how long a connection may live.
        make: builds the copy for a lane, not yet connected.
        left: told that a copy is no more.
        spawn: runs a task of the feed.
        clock: monotonic time.
        rng: spreads the times of rotation.
    """

    def __init__(
        self,
        builder: FeedBuilder,
        config: FeedConfig,
        life_s: float,
        *,
        make: Callable[[Lane, Subscribed], Copy],
        left: Callable[[Copy], None],
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        clock: Clock,
        rng: Random,
    ) -> None:
        self._builder = builder
        self._redundancy = config.redundancy
        self._overlap_s = config.overlap_s
        self._life_s = config.connection_life_s or life_s
        self._make = make
        self._left = left
        self._spawn = spawn
        self._clock = clock
        self._rng = rng
        self._lane_of: dict[FeedSocket, Lane] = {}
        self._past_losses = 0
        self._past_received = 0
        self.lanes: list[Lane] = []
        self.rotations = 0

    @property
    def sockets(self) -> list[FeedSocket]:
        """Sockets that are wanted now."""
        return [copy.socket for lane in self.lanes for copy in lane.copies]

    @property
    def received(self) -> int:
        """Messages, those of sockets that are no more included."""
        return self._past_received + sum(socket.received for socket in self.sockets)

    @property
    def losses(self) -> int:
        """Connections that were up and went down unplanned."""
        return self._past_losses + sum(socket.losses for socket in self.sockets)

    def lane_of(self, socket: FeedSocket) -> Lane:
        """The lane that a socket belongs to."""
        return self._lane_of[socket]

    async def start(self, add: Callable[[tuple[Pair, ...]], list[Stream]]) -> None:
        """Build all connections; `run` opens them.

        Args:
            add: makes the records of a lane's streams.

        Raises:
            ConfigError, UsageError: as `FeedBuilder.build`.
        """
        for group in self._builder.groups():
            for part in await self._builder.build(group):
                lane = Lane(part.pairs, add(part.pairs))
                self.lanes.append(lane)
                self._add(lane, part)
                for _ in range(self._redundancy - 1):
                    self._add(lane, await self._again(lane))

    def run(self) -> None:
        """Open all connections, in tasks."""
        for lane in self.lanes:
            for copy in list(lane.copies):
                self._spawn(self._keep(lane, copy), "lane")

    def forget(self) -> None:
        """Let cryptofeed's objects go: the feed is closed."""
        for lane in self.lanes:
            for copy in lane.copies:
                copy.part.forget()

    # ---- inside -----------------------------------------------------------------------------

    def _add(self, lane: Lane, part: Subscribed) -> Copy:
        copy = self._make(lane, part)
        lane.copies.append(copy)
        self._lane_of[copy.socket] = lane
        self._count(lane)
        return copy

    async def _again(self, lane: Lane) -> Subscribed:
        (part,) = await self._builder.build(lane.pairs)
        return part

    async def _keep(self, lane: Lane, copy: Copy) -> None:
        """Keep one copy up, and replace it before it gets too old."""
        task = self._spawn(copy.socket.run(), "socket")
        while True:
            await self._aged(copy.socket)
            fresh = self._add(lane, await self._again(lane))
            fresh_task = self._spawn(fresh.socket.run(), "socket")
            await self._settled(fresh)
            await self._retire(lane, copy, task)
            copy, task = fresh, fresh_task

    async def _aged(self, socket: FeedSocket) -> None:
        life_ns = int(self._life_s * self._rng.uniform(0.8, 0.95) * NS_PER_S)
        while True:
            age_ns = self._clock.monotonic_ns() - socket.opened_ns if socket.connected else 0
            if age_ns >= life_ns:
                return
            await asyncio.sleep(max(TICK_S, (life_ns - age_ns) / NS_PER_S))

    async def _settled(self, copy: Copy) -> None:
        """Return when what the new connection brings has overlapped with the old one's."""
        socket = copy.socket
        while True:
            if socket.connected:
                age_s = (self._clock.monotonic_ns() - socket.opened_ns) / NS_PER_S
                told = bool(socket.began_ns) and not (copy.adapter and copy.adapter.awaiting)
                if age_s >= self._overlap_s * (1 if told else QUIET):
                    return
            await asyncio.sleep(min(TICK_S, self._overlap_s))

    async def _retire(self, lane: Lane, copy: Copy, task: asyncio.Task[None]) -> None:
        lane.copies.remove(copy)
        self._past_losses += copy.socket.losses
        self._past_received += copy.socket.received
        self.rotations += 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        copy.part.forget()
        self._left(copy)
        del self._lane_of[copy.socket]
        log.info("connection replaced", streams=len(lane.streams))
        # What the new connection brings a little late has come before: it is still told apart.
        asyncio.get_running_loop().call_later(self._overlap_s, self._count, lane)

    def _count(self, lane: Lane) -> None:
        for stream in lane.streams:
            stream.copies = len(lane.copies)
