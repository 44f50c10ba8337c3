"""The exchanges that a live feed knows, a row each, and how cryptofeed is bent to our endpoints."""

import dataclasses
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from cryptofeed.defines import (
    CANDLES,
    FUNDING,
    L2_BOOK,
    LIQUIDATIONS,
    TICKER,
    TRADES,
)
from cryptofeed.exchanges import BinanceFutures
from cryptofeed.feed import Feed
from cryptofeed.symbols import Symbols

from don.errors import ConfigError, DataError
from don.feeds.binance import BinanceParser
from don.feeds.config import FeedConfig
from don.feeds.sink import Sink
from don.market.book import SequenceRule

CRYPTOFEED_CHANNELS = {
    "trades": TRADES,
    "quotes": TICKER,
    "books": L2_BOOK,
    "bars": CANDLES,
    "funding": FUNDING,
    "liquidations": LIQUIDATIONS,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """What is particular about one exchange."""

    feed: type[Feed]  # cryptofeed's class: endpoints, symbols, subscriptions
    parser: Callable[[Sink, int], BinanceParser]
    rule: SequenceRule
    klines: str  # path
    klines_limit: int  # rows an answer has at most
    depth_limits: tuple[int, ...]  # levels a snapshot may be asked for


VENUES: dict[str, Venue] = {
    "BINANCE_FUTURES": Venue(
        feed=BinanceFutures,
        parser=BinanceParser,
        rule=SequenceRule.FUTURES,
        klines="/fapi/v1/klines",
        klines_limit=1500,
        depth_limits=(5, 10, 20, 50, 100, 500, 1000),
    ),
}

# cryptofeed's own defaults queue without bound, which would hide a consumer that is too slow.
_SOCKET_OPTIONS: dict[str, Any] = {
    "max_queue": (256, 64),
    "max_size": 16 * 2**20,
    "compression": None,
    "close_timeout": 1.0,
    "ping_interval": 10,
    "ping_timeout": None,  # a reader that is held back cannot see pongs; silence is watched instead
}


def venue_of(exchange: str) -> Venue:
    """The row of an exchange.

    Raises:
        ConfigError: if the feed does not know it.
    """
    if exchange not in VENUES:
        known = ", ".join(sorted(VENUES))
        raise ConfigError(f"feed exchange must be one of {known}, was {exchange!r}")
    return VENUES[exchange]


def rest_url(venue: Venue, config: FeedConfig) -> str:
    """Where REST is answered."""
    return config.rest_url or str(venue.feed.rest_endpoints[0].address)


def instruments_path(venue: Venue) -> str:
    """Path of the answer that lists the instruments."""
    return str(venue.feed.rest_endpoints[0].routes.instruments)


def depth_path(venue: Venue) -> str:
    """Path of a book snapshot, without its query."""
    return str(venue.feed.rest_endpoints[0].routes.l2book).partition("?")[0]


def symbol_table(venue: Venue, listing: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """Canonical to exchange symbols and cryptofeed's notes on them, from the instruments answer.

    Raises:
        DataError: if the answer is not what the exchange documents.
    """
    try:
        table, notes = venue.feed._parse_symbol_data(listing)
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        raise DataError(
            f"the exchange's list of instruments is not understood: {error!r}"
        ) from error
    return table, notes


def build_feed(venue: Venue, config: FeedConfig, listing: Any) -> Feed:
    """A cryptofeed feed on our endpoints that has made no request of its own.

    Its constructor would fetch the instruments with blocking HTTP and without a time-out, and keep
    them in a table shared by the whole process; so the table is filled from `listing` first.

    Raises:
        ConfigError: if cryptofeed refuses the subscription, e.g. the bar interval.
    """
    table, notes = symbol_table(venue, listing)
    socket = venue.feed.websocket_endpoints[0]
    address = config.ws_url or socket.address
    options = {**_SOCKET_OPTIONS, "open_timeout": config.connect_timeout_s}
    if urlsplit(address).hostname in ("localhost", "127.0.0.1", "::1"):
        options["proxy"] = None
    endpoints = {
        "websocket_endpoints": [dataclasses.replace(socket, address=address, options=options)],
        "rest_endpoints": [
            dataclasses.replace(venue.feed.rest_endpoints[0], address=rest_url(venue, config))
        ],
    }
    local = type(venue.feed.__name__, (venue.feed,), endpoints)
    Symbols.set(venue.feed.id, table, notes)
    extra = {"depth_interval": config.depth_interval}
    try:
        return local(
            symbols=list(config.symbols),
            channels=[CRYPTOFEED_CHANNELS[channel] for channel in config.channels],
            candle_interval=config.interval,
            config={"log": {"disabled": True}},
            **extra,
        )
    except ValueError as error:
        raise ConfigError(f"feed: {error}") from error
