"""Configuration of the paper exchange's core. Pure."""

from decimal import Decimal

from pydantic import Field

from don.model.section import Section


class PaperConfig(Section):
    """Rules of the paper exchange. Rates are fractions."""

    accounts: tuple[str, ...] = Field(default=("paper",), min_length=1)  # one per API key id
    asset: str = "USDT"  # the only margin asset
    deposit: Decimal = Field(default=Decimal(100_000), ge=0)  # opening balance of each new account
    default_leverage: int = Field(default=20, ge=1)  # capped by the instrument's own maximum
    maintenance_rate: Decimal = Field(default=Decimal("0.004"), gt=0, lt=1)  # single tier
    liquidation_fee: Decimal = Field(default=Decimal("0.0125"), ge=0, lt=1)  # of closed notional
    percent_up: Decimal = Field(default=Decimal("1.05"), gt=1)  # PERCENT_PRICE, on the mark price
    percent_down: Decimal = Field(default=Decimal("0.95"), gt=0, lt=1)
    max_open_orders: int = Field(default=200, ge=1)  # per account and symbol
    max_algo_orders: int = Field(default=100, ge=1)  # untriggered, per account and symbol
    intervals: tuple[str, ...] = ("1m",)  # of the bars that form; those of the tape
    # part of a bar after whose begin requests take effect, at a tape time that does not depend on
    # how fast they came (see `delay`); None: at once
    order_latency: float | None = Field(default=None, gt=0, lt=1)
    kline_every_ns: int = Field(default=250_000_000, ge=0)  # tape time between forming updates
    history: int = Field(default=100_000, ge=1)  # finished orders, trades and incomes kept, each
