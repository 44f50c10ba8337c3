"""Risk limits as configuration, checked against each other. Pure."""

from decimal import Decimal
from enum import StrEnum
from typing import Self

from pydantic import Field, field_validator, model_validator

from don.model.section import Section
from don.risk.scenarios import BY_NAME


class VarMethod(StrEnum):
    """How value at risk is estimated from the window of returns."""

    HISTORICAL = "historical"  # the window's own quantile
    PARAMETRIC = "parametric"  # normal returns with the window's covariance
    FILTERED = "filtered"  # historical, each return scaled to the volatility of now


class SymbolLimits(Section):
    """Limits of one symbol beside those of every symbol; None: none of its own."""

    symbol: str
    max_order_size: Decimal | None = Field(default=None, gt=0)  # base
    max_order_notional: Decimal | None = Field(default=None, gt=0)
    max_position_notional: Decimal | None = Field(default=None, gt=0)


class GroupLimits(Section):
    """Limits on some symbols together, as fractions of equity; None: no limit."""

    name: str = Field(min_length=1)
    symbols: tuple[str, ...] = Field(min_length=1)
    max_gross: Decimal | None = Field(default=None, gt=0)
    max_net: Decimal | None = Field(default=None, gt=0)  # of |sum|

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.max_gross is None and self.max_net is None:
            raise ValueError(f"group {self.name} must have a max_gross or a max_net, had neither")
        return self


class RiskConfig(Section):
    """Limits that no target and no order may break. Amounts are quote currency, rates fractions.

    None switches a limit off.
    """

    # one order
    max_order_notional: Decimal = Field(default=Decimal(50_000), gt=0)
    max_order_size: Decimal | None = Field(default=None, gt=0)  # base; see `symbols` too
    price_collar: Decimal = Field(default=Decimal("0.02"), gt=0, lt=1)  # distance from mark
    max_slippage: Decimal | None = Field(default=None, gt=0, lt=1)  # worse than mark, at most
    max_orders: int = Field(default=100, ge=1)  # in any `order_window_s` of wall time
    order_window_s: float = Field(default=10.0, gt=0)
    max_open_orders: int = Field(default=200, ge=1)  # of the account
    # positions, as they would be after the worst fills
    max_position_notional: Decimal = Field(default=Decimal(250_000), gt=0)  # one symbol
    max_gross_leverage: Decimal = Field(default=Decimal(3), gt=0)  # sum of |position| / equity
    max_net_leverage: Decimal | None = Field(default=None, gt=0)  # |sum of positions| / equity
    max_concentration: Decimal | None = Field(default=None, gt=0)  # |position| / equity
    groups: tuple[GroupLimits, ...] = ()
    symbols: tuple[SymbolLimits, ...] = ()
    # margin of a cross account
    initial_margin_rate: Decimal = Field(default=Decimal("0.05"), gt=0, le=1)
    maintenance_rate: Decimal = Field(default=Decimal("0.004"), gt=0, lt=1)
    max_margin: Decimal | None = Field(default=None, gt=0, le=1)  # initial margin / equity
    # the move against every position at once that would liquidate, at least
    min_liquidation_distance: Decimal | None = Field(default=None, gt=0)
    # losses
    max_daily_loss: Decimal = Field(
        default=Decimal("0.15"), gt=0, le=1
    )  # of the day's first equity
    reduce_at_daily_loss: Decimal | None = Field(default=None, gt=0, le=1)  # REDUCING from there
    max_drawdown: Decimal | None = Field(default=None, gt=0, le=1)  # from the highest equity
    reduce_at_drawdown: Decimal | None = Field(default=None, gt=0, le=1)
    max_loss_streak: int | None = Field(default=None, ge=1)  # losing trades in a row
    # the portfolio, per bar
    max_var: Decimal | None = Field(default=None, gt=0)  # of equity
    max_cvar: Decimal | None = Field(default=None, gt=0)
    var_level: float = Field(default=0.99, gt=0.5, lt=1)
    var_method: VarMethod = VarMethod.HISTORICAL
    var_half_life: float = Field(default=48.0, gt=0)  # bars, of the volatility of now
    window_bars: int = Field(default=500, ge=30, le=20_000)  # returns kept
    max_stress_loss: Decimal | None = Field(default=None, gt=0)  # of equity, worst scenario
    scenarios: tuple[str, ...] = tuple(BY_NAME)
    max_correlation_break: float | None = Field(default=None, gt=0, le=2)
    correlation_bars: int = Field(default=48, ge=10)  # the short window
    # a reported fill that does not come: the books are not believed any more
    fills_timeout_s: float = Field(default=60.0, gt=0)

    @field_validator("scenarios")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in BY_NAME]:
            raise ValueError(f"must be of {', '.join(BY_NAME)}, was {', '.join(unknown)}")
        return names

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for low, high, why in _ORDERED:
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise ValueError(f"{low} must be at most {high}, were {least} and {most}: {why}")
        if self.correlation_bars >= self.window_bars:
            raise ValueError(
                f"correlation_bars must be less than window_bars, were {self.correlation_bars} "
                f"and {self.window_bars}"
            )
        for field, names in (
            ("groups", [group.name for group in self.groups]),
            ("symbols", [limits.symbol for limits in self.symbols]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{field} must name each once, was twice: {', '.join(twice)}")
        if self.max_stress_loss is not None and not self.scenarios:
            raise ValueError("max_stress_loss needs scenarios, there were none")
        return self


_ORDERED = (
    ("max_slippage", "price_collar", "orders beyond the collar are refused before"),
    ("reduce_at_daily_loss", "max_daily_loss", "the desk would halt before it reduces"),
    ("reduce_at_drawdown", "max_drawdown", "the desk would halt before it reduces"),
    ("max_var", "max_cvar", "CVaR is never below VaR, so max_var could never bind"),
    ("maintenance_rate", "initial_margin_rate", "a new position would be liquidated at once"),
)
