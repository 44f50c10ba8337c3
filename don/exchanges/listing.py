"""Which instruments an exchange's answers list, and which of them are meant. Pure."""

import difflib
from collections.abc import Sequence
from typing import Any

from don.errors import ConfigError
from don.exchanges import binance_wire as wire
from don.exchanges.config import GatewayConfig
from don.model.instrument import Instrument


def read(info: Any, brackets: Any, config: GatewayConfig) -> list[Instrument]:
    """Tradable perpetuals of the margin asset, by symbol, with the configured fees.

    Args:
        info: answer of `exchangeInfo`.
        brackets: answer of `leverageBracket` for all symbols.
        config: margin asset and fees.
    """
    leverage = {
        row["symbol"]: max(int(step["initialLeverage"]) for step in row["brackets"])
        for row in brackets
    }
    listed = [
        wire.instrument_from_rest(
            row,
            max_leverage=leverage[row["symbol"]],
            maker_fee=config.maker_fee,
            taker_fee=config.taker_fee,
        )
        for row in info["symbols"]
        if row["contractType"] == "PERPETUAL"
        and row["status"] == "TRADING"
        and row["quoteAsset"] == config.asset
    ]
    return sorted(listed, key=lambda item: item.symbol)


def choose(listed: Sequence[Instrument], symbols: Sequence[str]) -> list[Instrument]:
    """The instruments of these symbols, by symbol; all where none are named.

    Raises:
        ConfigError: if one is not listed.
    """
    if not symbols:
        return list(listed)
    by_symbol = {item.symbol: item for item in listed}
    unknown = sorted(set(symbols) - set(by_symbol))
    if unknown:
        near = difflib.get_close_matches(unknown[0], by_symbol, n=3)
        raise ConfigError(
            f"symbol {unknown[0]!r} is not listed at the exchange; "
            f"near: {', '.join(near or sorted(by_symbol)[:10])}"
        )
    return [by_symbol[name] for name in sorted(symbols)]
