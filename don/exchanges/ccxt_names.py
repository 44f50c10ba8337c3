"""Names of exchanges and instruments: Don's (cryptofeed's) and ccxt's. Pure."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from don.errors import UsageError

# ccxt's id of exchanges whose name is not simply the same in capitals
IDS = {
    "ASCENDEX_FUTURES": "ascendex",
    "BINANCE_DELIVERY": "binancecoinm",
    "BINANCE_FUTURES": "binanceusdm",
    "BINANCE_US": "binanceus",
    "COINBASE": "coinbaseexchange",
    "CRYPTO.COM": "cryptocom",
    "GATEIO": "gate",
    "GATEIO_FUTURES": "gate",
    "HUOBI": "htx",
    "HUOBI_DM": "htx",
    "HUOBI_SWAP": "htx",
    "INDEPENDENT_RESERVE": "independentreserve",
    "KRAKEN_FUTURES": "krakenfutures",
}
_NAMES = {"binancecoinm": "BINANCE_DELIVERY", "binanceusdm": "BINANCE_FUTURES", "gate": "GATEIO",
          "htx": "HUOBI", "coinbaseexchange": "COINBASE", "krakenfutures": "KRAKEN_FUTURES",
          "cryptocom": "CRYPTO.COM", "binanceus": "BINANCE_US",
          "independentreserve": "INDEPENDENT_RESERVE"}  # fmt: skip


def ccxt_id(exchange: str, known: Iterable[str]) -> str:
    """Ccxt's id of an exchange, which may be named either way.

    Raises:
        UsageError: if ccxt does not have it; with the nearest names.
    """
    ids = set(known)
    for candidate in (IDS.get(exchange.upper(), ""), exchange.lower()):
        if candidate in ids:
            return candidate
    near = difflib.get_close_matches(exchange.lower(), ids, n=4)
    raise UsageError(
        f"exchange {exchange!r} is not known to ccxt"
        + (f"; near: {', '.join(near)}" if near else "")
    )


def exchange_name(exchange: str) -> str:
    """Don's name of an exchange, which may be named either way."""
    return _NAMES.get(exchange.lower(), exchange.upper())


def canonical(market: Mapping[str, Any]) -> str | None:
    """Don's name of a ccxt market; None for kinds that Don does not name (options, dated futures).

    Spot is `BTC-USDT`, a perpetual `BTC-USDT-PERP`.
    """
    pair = f"{market.get('base')}-{market.get('quote')}"
    if market.get("spot"):
        return pair
    return f"{pair}-PERP" if market.get("swap") else None


def symbol_table(markets: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Don's symbol -> ccxt's. Where two share a name, the linear one with the pair's own margin."""
    found: dict[str, str] = {}
    for name, market in markets.items():
        ours = canonical(market)
        if ours is None:
            continue
        if ours not in found or (market.get("linear") and market.get("settle") == market["quote"]):
            found[ours] = name
    return found
