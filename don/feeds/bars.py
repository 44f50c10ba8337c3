"""Keeps the bars of each symbol without hole and without duplicate over stream and REST. Pure.

Times are CLOSE times in ns. A bar from REST counts as closed only on evidence: a later bar follows
it in the same answer, or the stream had shown an exchange time at or after its close before the
request. The wall clock proves nothing: a replayed exchange has a time of its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Bar(NamedTuple):
    """One bar as REST gives it."""

    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int


class BarVerdict(StrEnum):
    """What a closed bar from the stream is."""

    NEXT = "next"
    KNOWN = "known"  # sent already
    HOLE = "hole"  # new, but bars before it are missing: repair them


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What an answer from REST came to for one symbol."""

    bars: list[Bar]  # to send, ascending
    absent: list[int]  # close times of bars that the exchange does not have


class _Line:
    __slots__ = ("checked", "first", "holes", "last", "loaded")

    def __init__(self) -> None:
        self.first: int | None = None  # first bar sent
        self.last: int | None = None  # newest bar sent
        self.holes: set[int] = set()  # between first and last, not sent
        self.checked = 0  # REST was asked for everything up to here
        self.loaded = False  # REST has answered at least once


class BarKeeper:
    """Which bars have been sent, which are missing, which are overdue."""

    def __init__(self, symbols: Iterable[str], interval_ns: int, max_holes: int = 100_000) -> None:
        self._interval = interval_ns
        self._max_holes = max_holes
        self._lines = {symbol: _Line() for symbol in symbols}

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that are kept."""
        return tuple(self._lines)

    def on_stream(self, symbol: str, ts: int) -> BarVerdict:
        """A closed bar came by the stream; it is to be sent unless KNOWN."""
        line = self._lines[symbol]
        last = line.last
        if last is None:
            line.first = line.last = ts
            return BarVerdict.NEXT
        if ts in line.holes:
            line.holes.discard(ts)
            return BarVerdict.NEXT
        if ts <= last:
            return BarVerdict.KNOWN
        line.last = ts
        holes = range(last + self._interval, ts, self._interval)
        if not holes:
            return BarVerdict.NEXT
        line.holes.update(holes[-self._max_holes :])
        return BarVerdict.HOLE

    def wanted_from(self, symbol: str) -> int | None:
        """Close time of the first bar to ask REST for; None if nothing has been sent yet."""
        line = self._lines[symbol]
        if not line.loaded or line.last is None:
            return None
        return min(line.holes) if line.holes else line.last + self._interval

    def overdue(self, symbol: str, exchange_now: int) -> int | None:
        """Close time of the next bar if exchange time has reached it and REST was not asked yet."""
        line = self._lines[symbol]
        if line.last is None or not line.loaded:
            return None
        due = max(line.last, line.checked) + self._interval
        return due if due <= exchange_now else None

    def on_repair(self, symbol: str, bars: Sequence[Bar], closed_by: int) -> Repair:
        """Take in REST's answer to a request for everything from `wanted_from` on.

        Args:
            symbol: whose bars.
            bars: ascending; the last one may still be forming.
            closed_by: exchange time known before the request was sent.
        """
        line = self._lines[symbol]
        fresh = not line.loaded
        first, last = line.first, line.last
        closed = list(bars)
        if closed and closed[-1].ts > closed_by:
            closed.pop()
        send = [
            bar
            for bar in closed
            if first is None
            or last is None
            or bar.ts > last
            or bar.ts in line.holes
            or (fresh and bar.ts < first)
        ]
        sent = {bar.ts for bar in send}
        # A hole that the request did not reach back to, or that was found after it had been sent,
        # may be missing from the answer only: it is asked for again.
        reach = (bars[0].ts if bars else closed_by + 1) if fresh else 0
        absent = {ts for ts in line.holes - sent if reach <= ts <= closed_by}
        line.holes -= sent | absent
        if send:
            skipped = self._skipped(line, sent)
            # the first answer is of the newest bars: it says nothing of what it did not reach
            unreached = sorted(ts for ts in skipped if ts < reach)
            absent.update(skipped.difference(unreached))
            line.holes.update(unreached[-self._max_holes :])
            below = [ts for ts in sent if first is not None and ts < first]
            if fresh and first is not None and below:
                line.holes.update(range(max(below) + self._interval, first, self._interval))
            line.first = min(sent) if first is None else min(first, min(sent))
            line.last = max(sent) if last is None else max(last, max(sent))
        line.loaded = True
        if line.last is not None and closed_by > line.last:
            line.checked = closed_by - (closed_by - line.last) % self._interval
        return Repair(bars=send, absent=sorted(absent))

    def has_holes(self, symbol: str) -> bool:
        """True if bars before the newest one are still to be asked for."""
        return bool(self._lines[symbol].holes)

    def _skipped(self, line: _Line, sent: set[int]) -> set[int]:
        """Bars that an answer from REST leaves out although it has later ones."""
        if line.first is None or line.last is None:
            return self._missing(sent, min(sent))
        below = {ts for ts in sent if ts < line.first}
        above = {ts for ts in sent if ts > line.last}
        skipped = self._missing(above, line.last + self._interval)
        return skipped | self._missing(below, min(below, default=0))

    def _missing(self, sent: set[int], start: int) -> set[int]:
        return set(range(start, max(sent), self._interval)) - sent if sent else set()
