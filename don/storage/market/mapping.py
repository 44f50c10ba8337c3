"""How a file of market data is read: names, units, labels, sides, symbols. Pure."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import Field, ValidationError, field_validator

from don.clock import interval_ns
from don.errors import DataError
from don.model.channels import CHANNELS, channel
from don.model.complaint import complaint
from don.model.section import Section

UNITS = ("s", "ms", "us", "ns")
QUOTES = (
    "FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USDE", "USD", "EUR", "GBP", "JPY", "TRY", "BTC",
    "ETH", "BNB",
)  # fmt: skip
_BUYS = ("buy", "b", "bid", "true", "1", "t")
_SELLS = ("sell", "s", "ask", "false", "0", "f")


class Label(StrEnum):
    """Which end of a bar a file's time tells."""

    OPEN = "open"
    CLOSE = "close"


class SymbolRule(StrEnum):
    """How a file's symbol becomes Don's."""

    AS_IS = "as_is"  # BTC-USDT-PERP
    PAIR = "pair"  # BTCUSDT, BTC/USDT, BTC_USDT -> BTC-USDT
    PERP = "perp"  # the same -> BTC-USDT-PERP
    COIN = "coin"  # BTC -> BTC-<quote>-PERP


class ImportMapping(Section):
    """How a file is read. What the file does not have is left empty and given as a constant."""

    channel: str
    exchange: str = ""  # Don's name, for the whole file
    exchange_column: str = ""  # or a column that tells it
    exchanges: dict[str, str] = Field(default_factory=dict)  # its values -> Don's names
    symbol: str = ""  # Don's name, for the whole file
    symbol_column: str = "symbol"
    symbol_rule: SymbolRule = SymbolRule.AS_IS
    symbols: dict[str, str] = Field(default_factory=dict)  # theirs -> ours; before the rule
    quote: str = "USDT"  # of coins
    quotes: dict[str, str] = Field(default_factory=dict)  # the same by exchange
    time_column: str = "timestamp"
    time_unit: str = "auto"  # of whole numbers: s, ms, us, ns; texts are ISO-8601
    label: Label = Label.OPEN  # of bars and mark bars
    interval: str = ""  # of bars and mark bars, e.g. 1h
    columns: dict[str, str] = Field(default_factory=dict)  # ours -> theirs; "": not known
    buys: tuple[str, ...] = _BUYS  # values of the side column that say that the aggressor bought
    sells: tuple[str, ...] = _SELLS
    origin: str = "import"
    header: tuple[str, ...] = ()  # names of a CSV file's columns where it has no header

    @field_validator("channel")
    @classmethod
    def _known_channel(cls, value: str) -> str:
        if value not in CHANNELS:
            raise ValueError(f"must be one of {', '.join(CHANNELS)}")
        return value

    @field_validator("time_unit")
    @classmethod
    def _known_unit(cls, value: str) -> str:
        if value not in ("auto", *UNITS):
            raise ValueError(f"must be one of auto, {', '.join(UNITS)}")
        return value

    @field_validator("interval")
    @classmethod
    def _known_interval(cls, value: str) -> str:
        if value:
            interval_ns(value)
        return value

    def sources(self) -> dict[str, str]:
        """Our value columns -> the file's; those with a default only if they are mapped."""
        wanted = channel(self.channel)
        fixed = {"exchange", "symbol", "ts_event", "ts_recv", "origin", "interval_ns"}
        fixed -= self.columns.keys()
        return {
            name: self.columns.get(name, name)
            for name in wanted.schema.names
            if name not in fixed
            and (name in self.columns or name not in wanted.defaults)
            and self.columns.get(name) != ""
        }

    def needed(self) -> list[str]:
        """The file's columns that are read."""
        names = [self.time_column, *self.sources().values()]
        if not self.symbol:
            names.append(self.symbol_column)
        if self.exchange_column:
            names.append(self.exchange_column)
        return list(dict.fromkeys(names))


def canonical(name: str, rule: SymbolRule, quote: str) -> str | None:
    """Don's name of a file's symbol; None if the rule does not fit it.

    Args:
        name: as in the file, e.g. `BTCUSDT`.
        rule: how to read it.
        quote: of a coin.
    """
    if rule is SymbolRule.AS_IS:
        return name if re.fullmatch(r"[A-Z0-9.]+(-[A-Z0-9]+)+", name) else None
    text = name.upper().strip()
    if rule is SymbolRule.COIN:
        return f"{text}-{quote}-PERP" if re.fullmatch(r"[A-Z0-9]+", text) else None
    parts = re.split(r"[-/_:]", text)
    if len(parts) >= 2 and all(parts[:2]):
        pair = f"{parts[0]}-{parts[1]}"
    else:
        ends = next((q for q in QUOTES if text.endswith(q) and len(text) > len(q)), "")
        if not ends:
            return None
        pair = f"{text[: -len(ends)]}-{ends}"
    return pair if rule is SymbolRule.PAIR else f"{pair}-PERP"


def mapping_of(values: Mapping[str, Any], *, where: str) -> ImportMapping:
    """A mapping from plain values, e.g. of a TOML file.

    Raises:
        DataError: naming the key and what is wrong.
    """
    try:
        return ImportMapping.model_validate(dict(values))
    except ValidationError as error:
        raise DataError(f"{where}: {complaint(error, ImportMapping)}") from None
