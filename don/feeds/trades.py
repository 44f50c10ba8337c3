"""Keeps the trades of each symbol without hole and without duplicate, by their ids. Pure.

Ids of a symbol rise by one. A trade that does not follow shows a hole, which is filled by another
connection that is a little behind, or by REST, or is told as a gap.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

MAX_HOLES = 256  # ranges a symbol; the oldest are given up


class TradeVerdict(StrEnum):
    """What a trade that does not simply follow is."""

    KNOWN = "known"  # sent already
    LATE = "late"  # fills a hole: to be sent
    HOLE = "hole"  # new, but trades before it are missing
    RESTART = "restart"  # the exchange numbers anew


@dataclass(slots=True)
class Hole:
    """Ids `first` to `last` of a symbol are missing; times are those of the trades around them."""

    first: int
    last: int
    since: int  # exchange time of the trade before, ns
    until: int  # exchange time of the trade after, ns

    @property
    def count(self) -> int:
        """Trades that are missing."""
        return self.last - self.first + 1


class TradeKeeper:
    """Which trades of one symbol have been sent, and which are missing."""

    __slots__ = ("holes", "last", "last_ts")

    def __init__(self, trade_id: int, ts_event: int) -> None:
        self.last = trade_id
        self.last_ts = ts_event
        self.holes: list[Hole] = []

    def on_jump(self, trade_id: int, ts_event: int) -> TradeVerdict:
        """A trade whose id is not the next one; `last` is set unless it is KNOWN or LATE."""
        if trade_id > self.last + 1:
            hole = Hole(self.last + 1, trade_id - 1, self.last_ts, ts_event)
            self.holes = [*self.holes[1 - MAX_HOLES :], hole]
            self.last, self.last_ts = trade_id, ts_event
            return TradeVerdict.HOLE
        if self.fill([trade_id]):
            return TradeVerdict.LATE
        if ts_event <= self.last_ts:
            return TradeVerdict.KNOWN
        self.holes = []
        self.last, self.last_ts = trade_id, ts_event
        return TradeVerdict.RESTART

    def fill(self, ids: Iterable[int]) -> list[int]:
        """Take ids out of the holes; returns those that were missing."""
        found = []
        for trade_id in ids:
            for index, hole in enumerate(self.holes):
                if hole.first <= trade_id <= hole.last:
                    found.append(trade_id)
                    before = Hole(hole.first, trade_id - 1, hole.since, hole.until)
                    after = Hole(trade_id + 1, hole.last, hole.since, hole.until)
                    self.holes[index : index + 1] = [h for h in (before, after) if h.count > 0]
                    break
        return found

    def missing(self, hole: Hole) -> list[Hole]:
        """What of a hole is still missing."""
        return [h for h in self.holes if hole.first <= h.first and h.last <= hole.last]

    def give_up(self, hole: Hole) -> None:
        """What of the hole is still missing does not come any more."""
        self.holes = [h for h in self.holes if not (hole.first <= h.first and h.last <= hole.last)]
