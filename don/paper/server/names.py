"""Stream names of the exchange: `btcusdt@depth@100ms` and its relatives. Pure."""

import re
from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum

from don.errors import UsageError

INTERVALS_MS = {
    "1m": 60_000,
    "3m": 180_000,
    "5m": 300_000,
    "15m": 900_000,
    "30m": 1_800_000,
    "1h": 3_600_000,
    "2h": 7_200_000,
    "4h": 14_400_000,
    "6h": 21_600_000,
    "8h": 28_800_000,
    "12h": 43_200_000,
    "1d": 86_400_000,
    "3d": 259_200_000,
}  # those that divide the epoch evenly; weeks and months do not

_DEPTH_MS = {"": 250, "@0ms": 0, "@100ms": 100, "@250ms": 250, "@500ms": 500}
_MARK_MS = {"": 3_000, "@1s": 1_000}
_NAME = re.compile(r"([a-z0-9]{2,40})@([A-Za-z]+)(?:_([0-9]+[a-zA-Z]))?(@[0-9]+m?s)?")


class Channel(StrEnum):
    """Kinds of market stream."""

    AGG_TRADE = "aggTrade"
    DEPTH = "depth"
    BOOK_TICKER = "bookTicker"
    KLINE = "kline"
    MARK_PRICE = "markPrice"
    FORCE_ORDER = "forceOrder"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamName:
    """A market stream, taken apart."""

    name: str  # as the client wrote it; it comes back in combined messages
    symbol: str  # "BTCUSDT"
    channel: Channel
    period_ms: int = 0  # depth and mark price: at most one message in so long; kline: the interval
    interval: str = ""  # of a kline


def parse_stream(name: str, symbols: Container[str]) -> StreamName:
    """Take a stream name apart.

    Raises:
        UsageError: if it is not one that this exchange serves.
    """
    match = _NAME.fullmatch(name)
    channels = [c.value for c in Channel]
    if match is None or match[2] not in channels:
        raise UsageError(
            f"stream must be <symbol>@<channel> with a channel of {', '.join(channels)}, "
            f"was {name[:80]!r}"
        )
    symbol, channel = match[1].upper(), Channel(match[2])
    interval, speed = match[3] or "", match[4] or ""
    if symbol not in symbols:
        raise UsageError(f"stream {name!r}: symbol {symbol} is not listed")
    if channel is Channel.KLINE:
        if interval not in INTERVALS_MS or speed:
            raise UsageError(f"stream {name!r}: interval must be one of {', '.join(INTERVALS_MS)}")
        period = INTERVALS_MS[interval]
    elif interval:
        raise UsageError(f"stream {name!r}: only kline streams have an interval")
    else:
        periods = {Channel.DEPTH: _DEPTH_MS, Channel.MARK_PRICE: _MARK_MS}.get(channel, {"": 0})
        if speed not in periods:
            raise UsageError(
                f"stream {name!r}: speed must be one of {', '.join(p or 'none' for p in periods)}"
            )
        period = periods[speed]
    return StreamName(
        name=name, symbol=symbol, channel=channel, period_ms=period, interval=interval
    )
