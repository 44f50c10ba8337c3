"""Which of several connections that carry the same subscriptions is listened to. Pure.

Events that have an id of their own (trades, liquidations) are taken from whichever connection
brings them first. States (quotes, books, marks) are taken from one connection, the leader, until it
is lost or has been behind another for a while: two interleaved copies would go back in time.
"""

from collections import OrderedDict
from typing import Protocol

from don.clock import NS_PER_S
from don.feeds.health import Stream

BEHIND_NS = NS_PER_S  # a leader that is silent for longer while another speaks is replaced
MEMORY = 2048  # ids of a stream that are remembered: more than exchanges send as history


class Leader(Protocol):
    """A connection; compared by identity."""


class Copies:
    """The arbiter of a feed. One connection is the common case, and costs one look-up."""

    def __init__(self, memory: int = MEMORY) -> None:
        self._memory = memory
        self._ids: dict[Stream, OrderedDict[int, None]] = {}
        self._leaders: dict[Stream, Leader] = {}
        self.repeats = 0  # events that had come before

    def first(self, stream: Stream, key: int) -> bool:
        """Whether this event is new; repeats after a reconnection are not either."""
        known = self._ids.setdefault(stream, OrderedDict())
        if key in known:
            self.repeats += 1
            return False
        known[key] = None
        if len(known) > self._memory:
            known.popitem(last=False)
        return True

    def leads(self, stream: Stream, copy: Leader, ts_recv: int) -> bool:
        """Whether the stream's state is taken from this connection now."""
        leader = self._leaders.get(stream)
        if leader is copy:
            return True
        if leader is None or ts_recv - stream.last_recv > BEHIND_NS:
            self._leaders[stream] = copy
            return True
        self.repeats += 1
        return False

    def gone(self, stream: Stream, copy: Leader) -> None:
        """This connection says no more: another may lead from its next event on."""
        if self._leaders.get(stream) is copy:
            del self._leaders[stream]
