"""How cryptofeed is bent to our endpoints: its classes, subscriptions and addresses, our requests.

Feeds are built in a thread: some of cryptofeed's classes ask their exchange for what they need
while they are built, with blocking calls, which `SyncHttp` answers by our own REST client.
"""

import asyncio
import atexit
import copy
import dataclasses
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from cryptofeed.connection import WSAsyncConn
from cryptofeed.feed import Feed
from cryptofeed.symbols import Symbols

from don.errors import ConfigError, DataError, DonError, UsageError
from don.feeds.config import FeedConfig
from don.feeds.http import AsyncHttp, RestPool, SyncHttp
from don.feeds.venues import CRYPTOFEED_CHANNELS, Venue

# cryptofeed's own defaults queue without bound, which would hide a consumer that is too slow.
_SOCKET_OPTIONS: dict[str, Any] = {
    "max_queue": (256, 64),
    "max_size": 16 * 2**20,
    "compression": None,
    "close_timeout": 1.0,
    "ping_interval": 10,
    "ping_timeout": None,  # a reader that is held back cannot see pongs; silence is watched instead
}
_POLLED = {"open_interest"}  # channels of fast venues that are asked for by REST
_SYMBOLS = threading.Lock()  # cryptofeed keeps the symbols of all exchanges in one table

Pair = tuple[str, str]  # channel (ours), canonical symbol


@dataclasses.dataclass(frozen=True, slots=True)
class Subscribed:
    """One of the connections that a group of subscriptions needs."""

    feed: Feed
    conn: WSAsyncConn
    pairs: tuple[Pair, ...]
    cleanup: tuple[Any, ...]  # connections that cryptofeed would keep until the process ends

    def forget(self) -> None:
        """Let cryptofeed's objects go."""
        for conn in self.cleanup:
            atexit.unregister(conn.__del__)


class FeedBuilder:
    """Builds cryptofeed feeds of one exchange."""

    def __init__(self, venue: Venue, config: FeedConfig, rest: RestPool) -> None:
        self._venue = venue
        self._config = config
        self._rest = rest
        self._listed: tuple[dict[str, str], Any] | None = None

    # ---- instruments ------------------------------------------------------------------------

    async def symbols(self) -> dict[str, str]:
        """Canonical to exchange symbols, from the exchange; waits while it is away.

        Raises:
            DataError: if the answer is not what the exchange documents.
            ExchangeRefused: if the exchange does not give it.
            ExchangeUnavailable: only if the feed was closed meanwhile.
        """
        loop = asyncio.get_running_loop()
        local = self._local_class(loop)
        self._listed = await asyncio.to_thread(_fetch, local)
        return self._listed[0]

    def interval(self) -> str:
        """The bar interval as cryptofeed's class names it.

        Raises:
            ConfigError: if the exchange has no such bars.
        """
        known = self._venue.feed.valid_candle_intervals
        wanted = self._config.interval
        if known is NotImplemented or "bars" not in self._config.channels:
            return wanted
        for name in (wanted, wanted[:-1] + wanted[-1].upper()):
            if name in known and (name == wanted or wanted[-1] != "m"):
                return name
        raise ConfigError(
            f"feed interval must be one of {', '.join(sorted(known))} on "
            f"{self._config.exchange}, was {wanted!r}"
        )

    # ---- feeds ------------------------------------------------------------------------------

    def groups(self) -> Iterator[list[Pair]]:
        """Subscriptions by connection: all channels of a symbol together, as many as fit."""
        limit = self._config.streams_per_connection or self._venue.streams
        pairs = [
            (channel, symbol)
            for symbol in self._config.symbols
            for channel in self._config.channels
            if channel in CRYPTOFEED_CHANNELS
            and not (self._venue.fast is not None and channel in _POLLED)
        ]
        for start in range(0, len(pairs), limit):
            yield pairs[start : start + limit]

    async def build(self, pairs: Sequence[Pair]) -> list[Subscribed]:
        """Feeds for these subscriptions that have made no connection yet, one for each connection.

        A feed of its own for each connection keeps what goes wrong on one from the others.

        Raises:
            ConfigError: if cryptofeed refuses the subscription.
            UsageError: if a symbol does not have a channel.
        """
        local = self._local_class(asyncio.get_running_loop())
        built = await asyncio.to_thread(self._build, local, pairs)
        served = {pair for part in built for pair in part.pairs}
        for channel, symbol in pairs:
            if (channel, symbol) not in served:
                raise UsageError(f"{self._config.exchange} has no {channel} of {symbol}")
        return built

    def _build(self, local: type[Feed], pairs: Sequence[Pair]) -> list[Subscribed]:
        assert self._listed is not None
        wanted: dict[str, list[str]] = {}
        for channel, symbol in pairs:
            wanted.setdefault(CRYPTOFEED_CHANNELS[channel], []).append(symbol)
        try:
            feed = self._instance(local, wanted)
            first = next(iter(feed.connect()), None)
            if first is None:
                raise ConfigError(f"feed: {self._config.exchange} has none of {list(wanted)}")
            whole = [conn for conn, *_ in feed.connect() if isinstance(conn, WSAsyncConn)]
            for conn in (first[0], *whole):
                atexit.unregister(conn.__del__)
            parts = []
            for number in range(len(whole)):
                # The same feed anew, so that each connection has a state of its own.
                own = feed if number == 0 else self._instance(local, wanted)
                conns = [c for c, *_ in own.connect() if isinstance(c, WSAsyncConn)]
                conn = conns[number]
                mine = tuple(p for p in pairs if self._carries(own, conn, *p))
                if len(whole) > 1:
                    own.subscription = copy.copy(conn.subscription)
                for other in conns:
                    if other is not conn:
                        atexit.unregister(other.__del__)
                parts.append(Subscribed(own, conn, mine, (conn,)))
            return parts
        except DonError:
            raise
        except Exception as error:
            raise ConfigError(f"feed: {error}") from error

    def _carries(self, feed: Feed, conn: WSAsyncConn, channel: str, symbol: str) -> bool:
        theirs = feed.std_channel_to_exchange(CRYPTOFEED_CHANNELS[channel])
        key = feed.std_symbol_to_exchange_symbol(symbol)
        return key in (conn.subscription or {}).get(theirs, ())

    def _instance(self, local: type[Feed], wanted: Mapping[str, list[str]]) -> Feed:
        assert self._listed is not None
        options: dict[str, Any] = {}
        if self._venue.fast is not None:
            options["depth_interval"] = self._config.depth_interval
        # cryptofeed's DERIBIT asks for a key even where none is used
        keys = {"deribit": {"key_id": "none", "key_secret": "none"}}
        with _SYMBOLS:
            Symbols.set(local.id, *self._listed)
            feed = local(
                subscription={channel: list(symbols) for channel, symbols in wanted.items()},
                candle_interval=self.interval(),
                candle_closed_only=False,
                config={"log": {"disabled": True}, **(keys if local.id == "DERIBIT" else {})},
                **options,
            )
        atexit.unregister(feed.http_conn.__del__)
        feed.http_conn = AsyncHttp(self._rest)
        feed.subscription = {channel: sorted(s) for channel, s in feed.subscription.items()}
        # A class that learns its address while it is built replaces what we have set.
        feed.websocket_endpoints = [self._endpoint(e) for e in feed.websocket_endpoints]
        return feed

    def _local_class(self, loop: asyncio.AbstractEventLoop) -> type[Feed]:
        theirs = self._venue.feed
        return type(theirs.__name__, (theirs,), {"http_sync": SyncHttp(self._rest, loop)})

    def _endpoint(self, endpoint: Any) -> Any:
        config = self._config
        address = moved(endpoint.address, config.ws_url)
        options = {**_SOCKET_OPTIONS, "open_timeout": config.connect_timeout_s}
        if "origin" in endpoint.options:
            options["origin"] = endpoint.options["origin"]
        if urlsplit(address).hostname in ("localhost", "127.0.0.1", "::1"):
            options["proxy"] = None
        # Subscriptions are spread over connections before cryptofeed sees them.
        return dataclasses.replace(
            endpoint, address=address, sandbox=None, options=options, limit=None
        )


def moved(address: str, base: str | None) -> str:
    """An address with another scheme and host: that of `base`, whose path goes first."""
    if base is None:
        return address
    old, new = urlsplit(address), urlsplit(base)
    path = new.path.rstrip("/") + old.path
    return urlunsplit((new.scheme, new.netloc, path, old.query, ""))


def _fetch(local: type[Feed]) -> tuple[dict[str, str], Any]:
    with _SYMBOLS:
        Symbols.data.pop(local.id, None)
    try:
        symbols = dict(local.symbol_mapping(refresh=True))
    except DonError:
        raise
    except Exception as error:  # cryptofeed's parsers raise whatever does not fit
        raise DataError(
            f"the exchange's list of instruments is not understood: {error!r}"
        ) from error
    with _SYMBOLS:
        return symbols, Symbols.get(local.id)[1]
