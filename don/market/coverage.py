"""What is known about every minute of a stream: claims, and how a later one settles an earlier.

Pure. A stream is (exchange, channel, symbol); bars of each interval are a channel of their own,
`bars:1m`. A range says one thing about whole minutes, [start, end). Complete is claimed only of
minutes that are complete from end to end; all other states spread to every minute they touch.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from don.clock import NS_PER_S, iso

MINUTE_NS = 60 * NS_PER_S
REASON_CHARS = 300  # longer reasons are cut: they come from exchanges


class State(StrEnum):
    """What a claim says. All but the last are kept; minutes without any are unknown."""

    COMPLETE = "complete"  # everything that the exchange sent or lists is there
    GAP = "gap"  # something is missing, or may be
    REPAIRED = "repaired"  # there was a gap; what was missing was fetched afterwards
    SYNTHETIC = "synthetic"  # made up by Don or its user, marked as such
    DOWN = "down"  # the exchange itself has nothing: it was down, or the contract did not trade
    FILLED = "filled"  # fetched from history: completes what was unknown, repairs what was a gap


TAPE_FILE = "coverage.json"  # beside a tape of stored bars: what was known of their minutes
KEPT = tuple(state for state in State if state is not State.FILLED)
WORST = (State.GAP, State.DOWN, State.SYNTHETIC, State.REPAIRED, State.COMPLETE)  # worst first

# Exchanges (cryptofeed's names) whose trade ids rise by one within a symbol: there a hole in them
# is a hole in the data. Elsewhere ids are shared by symbols, skip, or do not exist.
COUNTED_IDS = frozenset(
    {"BINANCE", "BINANCE_DELIVERY", "BINANCE_FUTURES", "BINANCE_TR", "BINANCE_US"}
)

_OF_HISTORY = {
    None: State.COMPLETE,
    State.COMPLETE: State.COMPLETE,
    State.GAP: State.REPAIRED,
    State.DOWN: State.REPAIRED,
    State.REPAIRED: State.REPAIRED,
    State.SYNTHETIC: State.SYNTHETIC,  # rows that are there are not replaced
}
_KEEPS: dict[State, frozenset[State]] = {  # claim -> known states that it does not change
    State.COMPLETE: frozenset({State.REPAIRED, State.SYNTHETIC}),
    State.GAP: frozenset({State.DOWN}),  # asked and explained already
    State.REPAIRED: frozenset({State.COMPLETE, State.SYNTHETIC}),
    State.SYNTHETIC: frozenset({State.COMPLETE, State.REPAIRED}),
    State.DOWN: frozenset({State.COMPLETE, State.REPAIRED, State.SYNTHETIC}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """One state of one stream for whole minutes, with the reason for people."""

    exchange: str
    channel: str  # "trades", "bars:1m" ...
    symbol: str  # canonical
    start: int  # ns, a whole minute
    end: int  # ns, a whole minute, exclusive
    state: State
    reason: str = ""

    def __post_init__(self) -> None:
        if self.start % MINUTE_NS or self.end % MINUTE_NS or self.start >= self.end:
            raise ValueError(
                "a coverage range needs whole minutes and start < end, "
                f"were {iso(self.start)} and {iso(self.end)}"
            )
        if len(self.reason) > REASON_CHARS:
            object.__setattr__(self, "reason", self.reason[: REASON_CHARS - 1] + "…")

    @property
    def stream(self) -> "StreamKey":
        """Whose range it is."""
        return StreamKey(self.exchange, self.channel, self.symbol)

    @property
    def minutes(self) -> int:
        """Its length."""
        return (self.end - self.start) // MINUTE_NS


@dataclass(frozen=True, slots=True, order=True)
class StreamKey:
    """Name of a stream."""

    exchange: str
    channel: str
    symbol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How many of the asked minutes are in each state; unknown ones have no claim at all."""

    minutes: int
    by_state: Mapping[State, int] = field(default_factory=dict)  # minutes; only states that occur

    @property
    def unknown(self) -> int:
        """Minutes of which nothing is known."""
        return self.minutes - sum(self.by_state.values())

    def share(self, state: State) -> float:
        """Fraction of the minutes in a state; 0 if no minute was asked for."""
        return self.by_state.get(state, 0) / self.minutes if self.minutes else 0.0

    def fractions(self) -> dict[str, float]:
        """Every state's fraction, `unknown` too; they add up to 1."""
        shares = {str(state): self.share(state) for state in KEPT}
        shares["unknown"] = self.unknown / self.minutes if self.minutes else 0.0
        return shares


def bar_channel(interval: str) -> str:
    """The ledger's channel of bars of an interval such as `1m`."""
    return f"bars:{interval}"


def floor_minute(ts: int) -> int:
    """Start of the minute of a time."""
    return ts - ts % MINUTE_NS


def ceil_minute(ts: int) -> int:
    """The first whole minute at or after a time."""
    return -(-ts // MINUTE_NS) * MINUTE_NS


def settle(known: State | None, claim: State) -> State:
    """The state of a minute after a claim about it.

    Args:
        known: what was known; None: nothing.
        claim: the later knowledge. What was observed or asked later wins, but a claim never
            forgets how data came to be (repaired and synthetic stay so), and a gap that the
            exchange has explained (down) stays explained. See `overlay(..., anew=True)` for
            audits, which look at the rows themselves.
    """
    if claim is State.FILLED:
        return _OF_HISTORY[known]
    if known is not None and known in _KEEPS[claim]:
        return known
    return claim


def overlay(known: Sequence[Range], claims: Sequence[Range], *, anew: bool = False) -> list[Range]:
    """The ranges of one stream after some claims about it, taken in order.

    Args:
        known: ascending, without overlap.
        claims: of the same stream, in any order and overlap; the later in the sequence is the
            later knowledge.
        anew: the claims come from the stored rows themselves and replace whatever was known of
            their minutes, except that a gap which is known to be the exchange's stays `down`, and
            what history filled stays repaired.

    Returns:
        Ascending, without overlap; neighbours that say the same are one.
    """
    found = list(known)
    for claim in claims:
        # Only what overlaps or touches the claim can change: found by bisection.
        first = bisect_left(found, claim.start, key=_end)
        last = bisect_right(found, claim.end, key=_start)
        found[first:last] = join(_one(found[first:last], claim, anew))
    return found


def _start(each: Range) -> int:
    return each.start


def _end(each: Range) -> int:
    return each.end


def _one(known: list[Range], claim: Range, anew: bool) -> list[Range]:
    result: list[Range] = []
    at = claim.start
    for each in known:
        begin, end = max(each.start, claim.start), min(each.end, claim.end)
        if begin >= end:  # a neighbour
            if each.start >= claim.end and at < claim.end:
                result.append(_claimed(claim, None, at, claim.end, anew))
                at = claim.end
            result.append(each)
            continue
        if begin > at:
            result.append(_claimed(claim, None, at, begin, anew))
        if each.start < begin:
            result.append(replace(each, end=begin))
        result.append(_claimed(claim, each, begin, end, anew))
        if end < each.end:
            result.append(replace(each, start=end))
        at = end
    if at < claim.end:
        result.append(_claimed(claim, None, at, claim.end, anew))
    return result


def _claimed(claim: Range, known: Range | None, start: int, end: int, anew: bool) -> Range:
    was = known.state if known is not None else None
    explained = claim.state is State.GAP and was is State.DOWN
    if anew and not explained and claim.state is not State.FILLED:
        was = None
    state = settle(was, claim.state)
    if known is not None and was is state:
        # It says nothing new, unless the reason of a gap changed.
        fresh = claim.state is state and state is State.GAP and claim.reason
        reason = claim.reason if fresh else known.reason
    else:
        reason = claim.reason
    return replace(claim, start=start, end=end, state=state, reason=reason)


def join(ranges: Iterable[Range]) -> list[Range]:
    """Neighbours of one stream that say the same become one; the order is kept."""
    joined: list[Range] = []
    for each in ranges:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.end == each.start
            and (last.state, last.reason) == (each.state, each.reason)
            and last.stream == each.stream
        ):
            joined[-1] = replace(last, end=each.end)
        else:
            joined.append(each)
    return joined


def by_stream(ranges: Iterable[Range]) -> dict[StreamKey, list[Range]]:
    """Ranges by their stream, in their order."""
    found: dict[StreamKey, list[Range]] = defaultdict(list)
    for each in ranges:
        found[each.stream].append(each)
    return dict(found)


def without(claims: Iterable[Range], missing: Sequence[Range]) -> list[Range]:
    """The claims, but none that a stream's minute is complete of which something is missing.

    Args:
        claims: in any order, which is kept.
        missing: of any streams, as somebody else knows it.
    """
    holes = by_stream(missing)
    kept: list[Range] = []
    for claim in claims:
        at = claim.start
        found = holes.get(claim.stream, []) if claim.state is State.COMPLETE else []
        for hole in sorted(found, key=_start):
            if hole.end <= at or hole.start >= claim.end:
                continue
            if hole.start > at:
                kept.append(replace(claim, start=at, end=hole.start))
            at = hole.end
        if at < claim.end:
            kept.append(claim if at == claim.start else replace(claim, start=at))
    return kept


def shares_of(ranges: Iterable[Range], start: int, end: int, streams: int = 1) -> Shares:
    """Shares of the minutes in [start, end) of so many streams.

    Args:
        ranges: of those streams, without overlap within a stream; parts outside do not count.
        start: ns; rounded down to its minute.
        end: ns, exclusive; rounded up.
        streams: how many were asked for, also those of which nothing is known.
    """
    start, end = floor_minute(start), ceil_minute(end)
    counts: dict[State, int] = defaultdict(int)
    for each in ranges:
        inside = min(each.end, end) - max(each.start, start)
        if inside > 0:
            counts[each.state] += inside // MINUTE_NS
    return Shares(minutes=max(0, end - start) // MINUTE_NS * streams, by_state=dict(counts))
