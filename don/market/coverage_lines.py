"""One stream's way through time, by kind: what proves that it is complete. Pure.

A line turns rows and states of its stream into claims, in the order in which they become known. A
claim may be withdrawn by a later one: `don.market.coverage.settle` says how.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from don.clock import NS_PER_S
from don.market.coverage import MINUTE_NS, Range, State, ceil_minute, floor_minute

MAX_HOLES = 10_000  # of one stream that wait for repair; older ones stay gaps
LATE_NS = 60 * NS_PER_S  # a bar that has not come so long after its close is missing

Times = NDArray[np.int64]


class Line:
    """What all kinds share: live and in doubt by turns."""

    def __init__(self, exchange: str, channel: str, symbol: str) -> None:
        self._stream = {"exchange": exchange, "channel": channel, "symbol": symbol}
        self._since: int | None = None  # covered without a break from here on
        self._done = 0  # claimed complete up to this minute
        self._open: tuple[int, str] | None = None  # in doubt since, and why
        self._told = 0  # the doubt is claimed up to this minute
        self.resumed: int | None = None  # arrival of `live`, until rows tell the exchange's time
        self._bad = 0  # end of the last minute in which something is known to be missing
        self._claims: list[Range] = []
        self.newest = 0  # time of the newest row

    # ---- what happens ---------------------------------------------------------------------------

    def rows(self, times: Times, extra: Any) -> None:
        """Rows in the order of arrival; `extra` is what the kind needs of each."""
        first = int(times[0])
        self.newest = max(self.newest, int(times.max()))
        if self._open is not None:
            self._close(first)
        elif self._since is None:
            self._begin(first)

    def live(self, ts_recv: int) -> None:
        """The feed believes the stream again; from which exchange time on, rows will tell."""
        if self._open is not None or self._since is None:
            self.resumed = ts_recv

    def evidence(self, first: int) -> None:
        """The first exchange time that any stream of the feed told after `live`; 0: none yet."""
        if self.resumed is None or not first:
            return
        if self._open is not None:
            self._close(first)
        else:
            self._begin(first)

    def doubt(self, start: int, reason: str) -> None:
        """From `start` on nothing is certain any more."""
        self.resumed = None
        if self._open is not None or start <= 0:
            return
        if self._since is not None:
            start = max(start, self._since)
            self._emit(start)
        self._open = (start, reason)
        self._told = floor_minute(start)

    def lost(self, start: int, end: int, reason: str) -> None:
        """Something between the two times is missing; the stream goes on."""
        self._emit(start)
        self._claims += self.spread(start, max(end, start + 1), State.GAP, reason)
        self._bad = max(self._bad, ceil_minute(max(end, start + 1)))
        self._done = max(self._done, self._bad)

    def spoil(self, start: int, end: int) -> None:
        """Somebody else knows that something is missing here: its minutes are not claimed later."""
        if self._open is None:
            self._emit(start)
        self._bad = max(self._bad, ceil_minute(end))
        self._done = max(self._done, self._bad)

    def mended(self, start: int, end: int, reason: str) -> None:
        """What was missing between the two times has been fetched."""
        self._claims += self.spread(start, max(end, start + 1), State.REPAIRED, reason)

    def absent(self, first: int, last: int, reason: str) -> None:
        """Bars closing in [first, last] do not exist on the exchange."""
        self.lost(first, last, reason)

    def repaired(self, times: Times, ids: NDArray[np.int64]) -> None:
        """Trades fetched afterwards; only where ids count do they prove anything."""

    # ---- what is claimed ------------------------------------------------------------------------

    def advance(self, now: int) -> None:
        """Claim what is certain now that exchange time is `now`."""
        if self._open is not None:
            reason = self._open[1]
            until = floor_minute(now)
            if until > self._told:
                self._claims += self.spread(self._told, until, State.GAP, reason)
                self._told = until
        else:
            self._emit(now)

    def take(self) -> list[Range]:
        """Claims since the last call."""
        claims, self._claims = self._claims, []
        return claims

    def spread(self, start: int, end: int, state: State, reason: str = "") -> list[Range]:
        """A claim about every minute that [start, end) touches; none if that is empty."""
        low, high = floor_minute(start), ceil_minute(end)
        return [self._range(low, high, state, reason)] if low < high else []

    # ---- inside ---------------------------------------------------------------------------------

    def _range(self, start: int, end: int, state: State, reason: str) -> Range:
        return Range(**self._stream, start=start, end=end, state=state, reason=reason)

    def _begin(self, at: int) -> None:
        self._since = at
        self._done = max(self._bad, ceil_minute(at))
        self.resumed = None

    def _close(self, at: int) -> None:
        """The doubt ends at `at`."""
        assert self._open is not None
        start, reason = self._open
        at = max(at, start + 1)
        self._claims += self.spread(start, at, State.GAP, reason)
        self._bad = max(self._bad, ceil_minute(at))
        self._open = None
        self._begin(at)

    def _emit(self, until: int) -> None:
        if self._since is None:
            return
        to = floor_minute(until)
        if to > self._done:
            self._claims.append(self._range(self._done, to, State.COMPLETE, ""))
            self._done = to


class PlainLine(Line):
    """Nothing but the connection tells whether something is missing."""


@dataclass(slots=True)
class _Hole:
    first: int  # missing ids, inclusive
    last: int
    start: int  # time of the trade before
    end: int  # and of the one after
    got: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


class TradeLine(Line):
    """Trades whose ids rise by one: after a doubt, the next id tells whether any was missed."""

    def __init__(self, exchange: str, channel: str, symbol: str) -> None:
        super().__init__(exchange, channel, symbol)
        self._last: tuple[int, int] | None = None  # id and time of the newest trade
        self._holes: list[_Hole] = []
        self._unproven: tuple[int, int, int] | None = None  # since, done, bad before the doubt

    def rows(self, times: Times, extra: Any) -> None:
        """Trades; `extra` holds their ids."""
        ids: NDArray[np.int64] = extra
        super().rows(times, ids)
        if self._last is None:
            self._last = (int(ids[0]), int(times[0]))
            times, ids = times[1:], ids[1:]
        last_id, last_ts = self._last
        if len(ids) and (np.diff(ids, prepend=last_id) == 1).all():  # nearly always
            self._proven()
            self._last = (int(ids[-1]), int(times[-1]))
            return
        for n in range(len(ids)):
            trade, ts = int(ids[n]), int(times[n])
            if trade == last_id + 1:
                self._proven()
            elif trade > last_id:
                self._hole(last_id + 1, trade - 1, last_ts, ts)
            elif ts <= last_ts:
                continue  # known
            else:
                super().lost(last_ts, ts, f"trade ids restarted at {trade}, were at {last_id}")
                self._unproven = None
            last_id, last_ts = trade, ts
        self._last = (last_id, last_ts)

    def spoil(self, start: int, end: int) -> None:
        """As for all lines; ids do not prove it away."""
        super().spoil(start, end)
        self._unproven = None

    def lost(self, start: int, end: int, reason: str) -> None:
        """As for all lines; but what the feed says of ids, the ids tell better."""
        if not reason.startswith("trade"):
            super().lost(start, end, reason)

    def mended(self, start: int, end: int, reason: str) -> None:
        """Nothing: the repaired trades themselves tell."""

    def repaired(self, times: Times, ids: NDArray[np.int64]) -> None:
        """Fill holes; one that is full is repaired, unless another lies in the same minute."""
        full = []
        for hole in self._holes:
            inside = ids[(ids >= hole.first) & (ids <= hole.last)]
            if len(inside):
                hole.got = np.union1d(hole.got, inside)
                if len(hole.got) == hole.last - hole.first + 1:
                    full.append(hole)
        self._holes = [hole for hole in self._holes if hole not in full]
        for hole in full:
            why = f"trades {hole.first} to {hole.last} fetched ({len(hole.got)})"
            for start, end in self._free(floor_minute(hole.start), ceil_minute(hole.end + 1)):
                self._claims.append(self._range(start, end, State.REPAIRED, why))

    def _close(self, at: int) -> None:
        if self._last is not None and self._since is not None and self._unproven is None:
            assert self._open is not None
            done = min(self._done, floor_minute(self._open[0]))  # what was claimed after it is void
            done = max(done, self._bad, ceil_minute(self._since))
            self._unproven = (self._since, done, self._bad)
        super()._close(at)

    def _proven(self) -> None:
        """The next id follows: nothing was missed while the stream was in doubt."""
        if self._unproven is not None:
            self._since, self._done, self._bad = self._unproven
            self._unproven = None

    def _hole(self, first: int, last: int, start: int, end: int) -> None:
        self._unproven = None
        count = last - first + 1
        super().lost(start, end + 1, f"trades {first} to {last} missing ({count})")
        self._holes.append(_Hole(first, last, start, end))
        del self._holes[:-MAX_HOLES]

    def _free(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of [start, end), whole minutes, in which no hole is left."""
        taken = sorted((floor_minute(h.start), ceil_minute(h.end + 1)) for h in self._holes)
        for low, high in taken:
            if low >= end:
                break
            if low > start:
                yield start, low
            start = max(start, high)
        if start < end:
            yield start, end


class BarLine(Line):
    """Closed bars: each says that its own interval is there, and only that."""

    def __init__(self, exchange: str, channel: str, symbol: str, interval_ns: int) -> None:
        super().__init__(exchange, channel, symbol)
        self._interval = interval_ns
        self._last: int | None = None  # newest close
        self._streamed = False
        self._missing: dict[int, None] = {}  # closes, oldest first
        self._nowhere: set[int] = set()  # closes that the exchange does not have
        self._run = State.COMPLETE  # worst of what was not claimed yet

    def rows(self, times: Times, extra: Any) -> None:
        """Bars by close time; `extra` holds their origins."""
        order = np.argsort(times, kind="stable")
        for at in order.tolist():
            self._bar(int(times[at]), str(extra[at]))

    def live(self, ts_recv: int) -> None:
        """Bars speak for themselves."""
        self._open = None

    def evidence(self, first: int) -> None:
        """Bars speak for themselves."""

    def doubt(self, start: int, reason: str) -> None:
        """Only why bars do not come; but what was not collected counts from `start` on."""
        if self._last is None and start % self._interval == 0:
            self._last, self._done = start, ceil_minute(start)  # nothing is claimed of before
        self._open = (start, reason)

    def spoil(self, start: int, end: int) -> None:
        """A minute of which other bars may still come is not claimed by them."""
        self._done = max(self._done, ceil_minute(end))

    def lost(self, start: int, end: int, reason: str) -> None:
        """A bar that was refused shows as missing."""

    def mended(self, start: int, end: int, reason: str) -> None:
        """Nothing: the repaired bars themselves tell."""

    def absent(self, first: int, last: int, reason: str) -> None:
        """The exchange itself has no such bars."""
        for close in range(first, last + 1, self._interval)[-MAX_HOLES:]:
            if close in self._missing:
                self._fill(close, State.DOWN, reason)
            else:
                self._nowhere.add(close)
        while len(self._nowhere) > MAX_HOLES:
            self._nowhere.discard(min(self._nowhere))

    def advance(self, now: int) -> None:
        """Claim a bar missing that is long overdue; it may come all the same."""
        if self._last is None:
            return
        count = (now - LATE_NS - self._last) // self._interval
        start = max(self._last, self._told)
        end = self._last + count * self._interval
        if count > 0 and end > start:
            reason = self._open[1] if self._open is not None else "bars are late"
            self._claims += self.spread(start, end, State.GAP, reason)
            self._told = end

    def _bar(self, close: int, origin: str) -> None:
        if close in self._missing:
            self._fill(close, State.COMPLETE if origin == "stream" else State.REPAIRED, "")
            return
        last = self._last
        if last is None:
            self._done = ceil_minute(close - self._interval)
        elif close <= last:
            return  # known
        elif close - last > self._interval:
            self._skip(last, close)
        self._last = close
        if origin == "stream":
            self._streamed, state = True, State.COMPLETE
        else:
            state = State.REPAIRED if self._streamed else State.FILLED
        if self._run is State.COMPLETE:
            self._run = state
        to = floor_minute(close)
        if to > self._done:
            self._append(self._range(self._done, to, self._run, ""))
            self._done, self._run = to, State.COMPLETE

    def _skip(self, last: int, close: int) -> None:
        """The bars between two closes did not come."""
        step = self._interval
        lost = range(last + step, close, step)[-MAX_HOLES:]
        why = f"{(close - last) // step - 1} bars missing"
        self._claims += self.spread(last, close - step, State.GAP, why)
        for each in lost:
            self._missing[each] = None
            if each in self._nowhere:
                self._nowhere.discard(each)
                self._fill(each, State.DOWN, "the exchange does not have this bar")
        while len(self._missing) > MAX_HOLES:
            del self._missing[next(iter(self._missing))]
        self._done = max(self._done, ceil_minute(close - step))
        self._run = State.COMPLETE

    def _fill(self, close: int, state: State, reason: str) -> None:
        del self._missing[close]
        low, high = floor_minute(close - self._interval), ceil_minute(close)
        if self._interval < MINUTE_NS and any(
            each - self._interval < high and each > low for each in self._missing
        ):
            return  # others of that minute are still missing
        self._append(self._range(low, high, state, reason))

    def _append(self, claim: Range) -> None:
        """Add a claim; one that goes on where the last ended makes it longer."""
        last = self._claims[-1] if self._claims else None
        if last is not None and (last.end, last.state, last.reason) == (
            claim.start,
            claim.state,
            claim.reason,
        ):
            self._claims[-1] = self._range(last.start, claim.end, claim.state, claim.reason)
        else:
            self._claims.append(claim)
