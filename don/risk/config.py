"""Risk limits as configuration. Pure."""

from decimal import Decimal

from pydantic import Field

from don.model.section import Section


class RiskConfig(Section):
    """Limits that no target and no order may break. Amounts are quote currency, rates fractions."""

    max_order_notional: Decimal = Field(default=Decimal(50_000), gt=0)
    max_position_notional: Decimal = Field(default=Decimal(250_000), gt=0)  # one symbol
    max_gross_leverage: Decimal = Field(default=Decimal(3), gt=0)  # sum of |position| / equity
    price_collar: Decimal = Field(default=Decimal("0.02"), gt=0, lt=1)  # distance from mark
    max_daily_loss: Decimal = Field(
        default=Decimal("0.15"), gt=0, le=1
    )  # of the day's first equity
    max_orders: int = Field(default=100, ge=1)  # in any `order_window_s` of wall time
    order_window_s: float = Field(default=10.0, gt=0)
