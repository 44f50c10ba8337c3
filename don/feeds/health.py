"""What a feed says about itself: plain values, one a stream and one for the whole. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class StreamState(StrEnum):
    """May the last data of a stream be believed to be current?"""

    LIVE = "live"
    STALE = "stale"  # not connected, silent for too long, or being resynchronised


class FeedState(StrEnum):
    """The feed as a whole."""

    STARTING = "starting"
    LIVE = "live"  # every connection is up
    RECONNECTING = "reconnecting"  # at least one is not
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHealth:
    """One symbol's channel."""

    symbol: str
    channel: str
    state: StreamState
    detail: str  # why it is stale; "" when live
    last_event_ns: int  # exchange time of the last event, 0 before the first
    last_recv_ns: int  # wall time of its arrival
    events: int
    gaps: int  # holes found: missing trade ids, book ids, bars


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedHealth:
    """The feed's counters since it was made; times are seconds, `ts_*` ns."""

    source: str
    state: FeedState
    detail: str  # the last failure of a connection or request; "" if there was none
    ts_exchange: int  # latest exchange time seen
    connections: int  # sockets wanted
    connected: int  # sockets up now
    reconnects: int
    messages: int
    batches: int
    rows: int
    queue_depth: int
    queue_limit: int
    blocked_s: float  # time in which the socket was not read because the queue was full
    malformed: int  # messages and values refused
    duplicates: int  # events known already and not sent again
    dropped: int  # events lost by the feed itself: always 0, the policy is to block
    gaps: int
    resyncs: int  # books loaded anew after a gap
    bars_repaired: int  # bars from REST because the stream had not brought them
    bars_missing: int  # bars that the exchange itself does not have
    request_failures: int
    trades_repaired: int  # trades from REST because the stream had missed them
    rotations: int  # connections replaced as planned
    breaker: str  # closed | open | probing: whether the exchange is asked at all
    breaker_pause_s: float  # until it is asked again
    streams: tuple[StreamHealth, ...]


class Stream:
    """The mutable record of one stream, touched at each event; `health()` is its public face."""

    __slots__ = (
        "channel",
        "copies",
        "detail",
        "events",
        "gaps",
        "key",
        "last_event",
        "last_recv",
        "number",
        "seen",
        "silent_ns",
        "state",
        "symbol",
    )

    def __init__(self, symbol: str, channel: str, key: str) -> None:
        self.symbol = symbol
        self.channel = channel
        self.key = key  # the exchange's name of the symbol
        self.state = StreamState.STALE
        self.detail = "not connected yet"
        self.last_event = 0
        self.last_recv = 0
        self.events = 0
        self.gaps = 0
        self.seen = 0  # `events` when silence was last looked for
        self.silent_ns = 0
        self.copies = 1  # connections that carry it, or did a moment ago
        self.number = 0  # of its last event, where the exchange numbers them

    def health(self) -> StreamHealth:
        """A snapshot of the record."""
        return StreamHealth(
            symbol=self.symbol,
            channel=self.channel,
            state=self.state,
            detail=self.detail,
            last_event_ns=self.last_event,
            last_recv_ns=self.last_recv,
            events=self.events,
            gaps=self.gaps,
        )
