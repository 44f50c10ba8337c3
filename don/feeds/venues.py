"""The exchanges that a live feed knows: one table, a row each. Pure.

What is the same everywhere is not said: channels are those of cryptofeed's class, its parser is
used unless a row names the fast one, books are loaded anew by subscribing again. A row says what
is particular, and what does not work. `docs/feeds.md` shows the table; a test compares the two.
"""

import dataclasses
from collections.abc import Mapping

from cryptofeed.defines import (
    CANDLES,
    FUNDING,
    L2_BOOK,
    LIQUIDATIONS,
    OPEN_INTEREST,
    TICKER,
    TRADES,
)
from cryptofeed.exchanges import EXCHANGE_MAP
from cryptofeed.feed import Feed

from don.errors import ConfigError
from don.market.book import SequenceRule

CRYPTOFEED_CHANNELS = {
    "trades": TRADES,
    "quotes": TICKER,
    "books": L2_BOOK,
    "bars": CANDLES,
    "funding": FUNDING,
    "liquidations": LIQUIDATIONS,
    "open_interest": OPEN_INTEREST,
}

DAY_S = 86_400.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fast:
    """Speaks Binance's dialect: parsed by `don.feeds.binance`, repaired by REST."""

    rule: SequenceRule
    prefix: str  # of REST paths
    klines_limit: int  # bars an answer has at most
    depth_limits: tuple[int, ...]  # levels a snapshot may be asked for
    open_interest: bool = False  # by polling

    @property
    def klines(self) -> str:
        """Path of bars."""
        return f"{self.prefix}/klines"

    @property
    def trades(self) -> str:
        """Path of aggregate trades by id."""
        return f"{self.prefix}/aggTrades"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """What a client must send, or the exchange hangs up."""

    send: str
    every_s: float
    answer: str  # beginning of what comes back, which the parser is not shown


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """What is particular about one exchange."""

    feed: type[Feed]  # cryptofeed's class: endpoints, symbols, subscriptions, mostly the parser
    fast: Fast | None = None
    streams: int = 100  # subscriptions a connection carries
    life_s: float = DAY_S  # a connection is replaced by then, without a gap
    starts: tuple[int, float] = (10, 10.0)  # at most so many connection attempts in so many s
    checksum: bool = False  # books carry one, and ours is compared with it
    resync: str | None = "unsubscribe"  # how one book is loaded anew, see `don.feeds.resubscribe`
    closes: str = "next"  # a bar is closed when the next one begins; "flag": when it says so
    sizes: tuple[str, str] | None = None  # paths to bid and ask size in a raw quote
    heartbeat: Heartbeat | None = None
    broken: Mapping[str, str] = dataclasses.field(default_factory=dict)  # channel, "*": all -> why
    recording: bool = False  # checked by serving a recording of the real exchange

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels that a feed can give, in the order of our list."""
        if "*" in self.broken:
            return ()
        offered = self.feed.websocket_channels
        found = [
            ours
            for ours, theirs in CRYPTOFEED_CHANNELS.items()
            if theirs in offered and ours not in self.broken
        ]
        if self.fast is not None and not self.fast.open_interest and "open_interest" in found:
            found.remove("open_interest")
        return tuple([*found, "book_deltas"] if "books" in found else found)


_DEPTHS = (5, 10, 20, 50, 100, 500, 1000)
_SPOT = Fast(rule=SequenceRule.SPOT, prefix="/api/v3", klines_limit=1000, depth_limits=_DEPTHS)
_PING = Heartbeat(send="ping", every_s=20.0, answer="pong")

_ROWS: dict[str, dict[str, object]] = {
    "BINANCE": {"fast": _SPOT, "streams": 190, "starts": (60, 60.0), "recording": True},
    "BINANCE_DELIVERY": {
        "fast": Fast(
            rule=SequenceRule.FUTURES,
            prefix="/dapi/v1",
            klines_limit=1500,
            depth_limits=_DEPTHS,
            open_interest=True,
        ),
        "streams": 190,
        "starts": (60, 60.0),
        "recording": True,
    },
    "BINANCE_FUTURES": {
        "fast": Fast(
            rule=SequenceRule.FUTURES,
            prefix="/fapi/v1",
            klines_limit=1500,
            depth_limits=_DEPTHS,
            open_interest=True,
        ),
        "streams": 190,
        "starts": (60, 60.0),
        "recording": True,
    },
    "BINANCE_TR": {"fast": _SPOT, "streams": 190},
    "BINANCE_US": {"fast": _SPOT, "streams": 190},
    "BITFINEX": {
        "streams": 25,
        "starts": (15, 60.0),
        "resync": None,
        "sizes": ("1.1", "1.3"),
        "recording": True,
    },
    "BITFLYER": {
        "sizes": ("params.message.best_bid_size", "params.message.best_ask_size"),
        "recording": True,
    },
    "BITGET": {"checksum": True, "heartbeat": _PING, "streams": 50},
    "BITMEX": {
        "starts": (20, 3600.0 / 36),
        "heartbeat": Heartbeat(send="ping", every_s=5.0, answer="pong"),
        "sizes": ("bidSize", "askSize"),
        "recording": True,
    },
    "BITSTAMP": {"recording": True},
    "BLOCKCHAIN": {},
    "BYBIT": {
        "heartbeat": Heartbeat(
            send='{"op":"ping"}', every_s=20.0, answer='{"success":true,"ret_msg":"pong'
        ),
        "broken": {"*": "a recording of the exchange does not match cryptofeed 2.4.1's parser"},
    },
    "COINBASE": {"broken": {"*": "lists instruments with an API key only; recording not matched"}},
    "BIT.COM": {"broken": {"*": "a recording of the exchange does not match the parser"}},
    "DERIBIT": {
        "sizes": ("params.data.best_bid_amount", "params.data.best_ask_amount"),
        "recording": True,
    },
    "DYDX": {"recording": True},
    "GATEIO": {"resync": "forget", "recording": True},
    "GATEIO_FUTURES": {"resync": "forget"},
    "GEMINI": {"recording": True},
    "HUOBI": {"recording": True},
    "HUOBI_SWAP": {"broken": {"funding": "cryptofeed polls it in a task that nobody watches"}},
    "INDEPENDENT_RESERVE": {"broken": {"books": "level 3 only"}},
    "KRAKEN": {
        "checksum": True,
        "streams": 50,
        "starts": (150, 600.0),
        "sizes": ("1.b.2", "1.a.2"),
        "recording": True,
    },
    "KRAKEN_FUTURES": {"sizes": ("bid_size", "ask_size"), "recording": True},
    "KUCOIN": {
        "resync": "forget",
        "heartbeat": Heartbeat(
            send='{"id":"1","type":"ping"}', every_s=15.0, answer='{"id":"1","type":"pong"'
        ),
        "broken": {"books": "snapshots need an API key"},
        "sizes": ("data.bestBidSize", "data.bestAskSize"),
    },
    "OKCOIN": {"checksum": True, "heartbeat": _PING, "sizes": ("bidSz", "askSz")},
    "OKX": {
        "checksum": True,
        "heartbeat": _PING,
        "streams": 200,
        "starts": (3, 1.0),
        "sizes": ("bidSz", "askSz"),
        "broken": {"liquidations": "cryptofeed polls a REST path that the exchange has removed"},
        "recording": True,
    },
    "PHEMEX": {
        "streams": 20,
        "heartbeat": Heartbeat(
            send='{"id":0,"method":"server.ping","params":[]}',
            every_s=5.0,
            answer='{"error":null,"id":0,"result":"pong"',
        ),
        "recording": True,
    },
    "POLONIEX": {
        "heartbeat": Heartbeat(send='{"event":"ping"}', every_s=20.0, answer='{"event":"pong"'),
        "recording": True,
    },
    "UPBIT": {"recording": True},
}

VENUES: dict[str, Venue] = {
    name: Venue(feed=feed, **_ROWS.get(name, {}))  # type: ignore[arg-type]
    for name, feed in sorted(EXCHANGE_MAP.items())
}


def venue_of(exchange: str) -> Venue:
    """The row of an exchange.

    Raises:
        ConfigError: if the feed does not know it, or it is known not to work.
    """
    if exchange not in VENUES:
        known = ", ".join(VENUES)
        raise ConfigError(f"feed exchange must be one of {known}, was {exchange!r}")
    venue = VENUES[exchange]
    if not venue.channels:
        raise ConfigError(f"feed exchange {exchange} does not work: {venue.broken['*']}")
    return venue


def describe() -> str:
    """The table as Markdown, for the docs."""
    lines = [
        "| exchange | channels | recording | connections | book anew by | does not work |",
        "|---|---|---|---|---|---|",
    ]
    for name, venue in VENUES.items():
        broken = "; ".join(
            why if channel == "*" else f"{channel}: {why}" for channel, why in venue.broken.items()
        )
        starts, window_s = venue.starts
        cells = (
            name,
            ", ".join(c for c in venue.channels if c != "book_deltas") or "none",
            "yes" if venue.recording else "no",
            f"{venue.streams} streams, {starts} attempts in {window_s:g} s",
            _resync(venue) if "books" in venue.channels else "",
            broken,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _resync(venue: Venue) -> str:
    if venue.fast is not None:
        return "REST snapshot"
    check = ", checksum" if venue.checksum else ""
    how = {"unsubscribe": "new subscription", "forget": "REST snapshot", None: "new connection"}
    return how[venue.resync] + check
