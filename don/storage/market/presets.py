"""Ready mappings for files that are known by name. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from don.errors import DataError
from don.model.channels import CHANNELS
from don.storage.market.mapping import ImportMapping, Label, SymbolRule, canonical

_VENUES = {
    "binance": "BINANCE_FUTURES", "bybit": "BYBIT", "hyperliquid": "HYPERLIQUID",
    "kraken": "KRAKEN_FUTURES", "lighter": "LIGHTER", "okx": "OKX", "dydx": "DYDX",
    "gate": "GATEIO", "htx": "HUOBI", "kucoin": "KUCOIN", "mexc": "MEXC",
}  # fmt: skip
_QUOTES = {"HYPERLIQUID": "USD", "KRAKEN_FUTURES": "USD", "LIGHTER": "USD", "DYDX": "USD"}
_VENUE: dict[str, Any] = {
    "exchange_column": "venue", "exchanges": _VENUES, "symbol_column": "coin",
    "symbol_rule": "coin", "quotes": _QUOTES,
}  # fmt: skip
_INTERVAL = r"(?P<interval>\d+[smhd])"
_VISION_KLINES = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count",
    "taker_buy_volume", "taker_buy_quote_volume", "ignore",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A mapping, and which files it is for."""

    name: str
    files: str  # regular expression of the whole file name; groups `interval` and `symbol` count
    values: dict[str, Any]
    refusal: str = ""  # why such a file cannot be imported


def _preset(name: str, files: str, refusal: str = "", **values: Any) -> Preset:
    return Preset(name=name, files=files, values=values, refusal=refusal)


_ANY = r"\.(parquet|csv|csv\.gz|feather|arrow)"
PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        _preset(
            "binance-spot-bars",
            rf"binance_spot_ohlcv_{_INTERVAL}.*{_ANY}",
            channel="bars",
            exchange="BINANCE",
            symbol_rule="pair",
        ),
        _preset(
            "binance-futures-bars",
            rf"binance_usdm_ohlcv_{_INTERVAL}.*{_ANY}",
            channel="bars",
            exchange="BINANCE_FUTURES",
            symbol_rule="perp",
        ),
        _preset(
            "binance-futures-marks",
            rf"binance_usdm_mark_{_INTERVAL}.*{_ANY}",
            channel="marks",
            exchange="BINANCE_FUTURES",
            symbol_rule="perp",
            columns={"mark": "close"},
        ),
        _preset(
            "binance-futures-funding",
            rf"binance_usdm_funding.*{_ANY}",
            channel="funding",
            exchange="BINANCE_FUTURES",
            symbol_rule="perp",
            columns={"rate": "funding_rate"},
        ),
        _preset(
            "binance-futures-aggtrades",
            rf"binance_usdm_aggtrades.*{_ANY}",
            channel="trades",
            exchange="BINANCE_FUTURES",
            symbol_rule="perp",
            columns={"id": "agg_trade_id", "size": "quantity", "buy": "is_buyer_maker"},
            buys=("false",),  # the buyer rested, so the aggressor sold
            sells=("true",),
        ),
        _preset(
            "binance-spot-trades",
            rf"binance_spot_trades.*{_ANY}",
            channel="trades",
            exchange="BINANCE",
            symbol_rule="pair",
            columns={"id": "trade_id", "size": "amount", "buy": "side"},
        ),
        _preset(
            "spot-usd-bars",
            rf"spot_usd_ohlcv_{_INTERVAL}.*{_ANY}",
            channel="bars",
            exchange="BITFINEX",
            symbol_rule="pair",
        ),
        _preset(
            "multi-venue-bars",
            rf"multi_venue_perp_ohlcv_{_INTERVAL}.*{_ANY}",
            channel="bars",
            **_VENUE,
        ),
        _preset(
            "multi-venue-funding",
            rf"multi_venue_(perp_)?funding.*{_ANY}",
            channel="funding",
            columns={"rate": "funding_rate"},
            **_VENUE,
        ),
        _preset(
            "multi-venue-open-interest",
            rf"multi_venue_perp_open_interest_{_INTERVAL}.*{_ANY}",
            channel="open_interest",
            columns={"notional": "oi_usd", "size": ""},
            **_VENUE,
        ),
        # as data.binance.vision publishes them, unpacked
        _preset(
            "binance-vision-klines",
            rf"(?P<symbol>[A-Z0-9]+)-{_INTERVAL}-\d{{4}}-\d\d(-\d\d)?\.csv(\.gz)?",
            channel="bars",
            exchange="BINANCE_FUTURES",
            symbol_rule="perp",
            time_column="open_time",
            header=_VISION_KLINES,
            columns={"trades": "count"},
        ),
        _preset(
            "liquidation-sums",
            rf"perp_liquidation_daily.*{_ANY}",
            "it holds sums per day, and the channel `liquidations` single forced orders",
            channel="liquidations",
        ),
        _preset(
            "l3-orders",
            rf"bitstamp_l3_orders.*{_ANY}",
            "it holds single orders of a book (L3), for which there is no channel",
            channel="book_deltas",
        ),
    )
}


def preset_for(path: Path, name: str = "auto") -> ImportMapping:
    """The mapping of a file, by name of the preset or of the file.

    Raises:
        DataError: an unknown preset, a file that none fits, or one that cannot be imported.
    """
    if name != "auto" and name not in PRESETS:
        raise DataError(f"--preset must be auto or one of {', '.join(PRESETS)}, was {name!r}")
    for preset in PRESETS.values() if name == "auto" else (PRESETS[name],):
        match = re.fullmatch(preset.files, path.name)
        if match is None and name == "auto":
            continue
        if preset.refusal:
            raise DataError(f"{path.name}: cannot be imported: {preset.refusal}")
        values = dict(preset.values)
        groups = match.groupdict() if match else {}
        if groups.get("interval"):
            values["interval"] = groups["interval"]
        if groups.get("symbol"):
            values["symbol"] = _canonical(groups["symbol"], values)
        return ImportMapping.model_validate(values)
    raise DataError(
        f"{path.name}: no preset fits its name; give --channel, --exchange and what differs, "
        f"or --mapping FILE.toml, or --preset with one of {', '.join(PRESETS)}"
    )


def own_export(columns: Sequence[str]) -> ImportMapping | None:
    """The mapping of a file that Don exported, known by its columns; None if it is none."""
    for channel in CHANNELS.values():
        if list(columns) == channel.schema.names:
            same = [n for n in channel.schema.names if n not in ("exchange", "symbol", "ts_event")]
            return ImportMapping(
                channel=channel.name,
                exchange_column="exchange",
                time_column="ts_event",
                time_unit="ns",
                label=Label.CLOSE,
                columns={name: name for name in same},
            )
    return None


def _canonical(symbol: str, values: dict[str, Any]) -> str:
    return canonical(symbol, SymbolRule(values["symbol_rule"]), "USDT") or symbol
