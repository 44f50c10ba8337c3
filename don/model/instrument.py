"""Instruments and their rounding rules. Pure; prices and sizes are exact decimals."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal

from don.model.hints import meant_perpetual


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """A tradable linear perpetual as the exchange lists it."""

    symbol: str  # canonical, "BTC-USDT-PERP"
    exchange: str  # as in cryptofeed, "BINANCE_FUTURES"
    exchange_symbol: str  # the exchange's own name, "BTCUSDT"
    base: str
    quote: str
    tick_size: Decimal  # price step, quote per base
    lot_size: Decimal  # size step, base units
    min_size: Decimal
    max_size: Decimal
    min_notional: Decimal  # quote
    max_leverage: int
    maker_fee: Decimal  # fraction of notional
    taker_fee: Decimal

    def __post_init__(self) -> None:
        for name in ("tick_size", "lot_size", "min_size", "max_size"):
            if getattr(self, name) <= 0:
                raise ValueError(f"instrument {name} must be positive, was {getattr(self, name)}")

    def round_size(self, size: Decimal) -> Decimal:
        """Round a size toward zero to the lot size: rounding never enlarges an order."""
        return (size / self.lot_size).to_integral_value(ROUND_DOWN) * self.lot_size

    def round_price(self, price: Decimal, *, up: bool) -> Decimal:
        """Round a price to the tick size, up or down as the caller's side demands."""
        mode = ROUND_CEILING if up else ROUND_FLOOR
        return (price / self.tick_size).to_integral_value(mode) * self.tick_size


def perpetual_symbol(base: str, quote: str) -> str:
    """Canonical name of a perpetual: `BTC-USDT-PERP`."""
    return f"{base}-{quote}-PERP"


def split_symbol(symbol: str) -> tuple[str, str]:
    """(base, quote) of a canonical perpetual symbol.

    Raises:
        ValueError: if the name is not BASE-QUOTE-PERP.
    """
    parts = symbol.split("-")
    if len(parts) != 3 or parts[2] != "PERP" or not all(parts):
        raise ValueError(
            f"symbol must be BASE-QUOTE-PERP such as BTC-USDT-PERP, was {symbol!r}"
            f"{meant_perpetual(symbol)}"
        )
    return parts[0], parts[1]
