"""Configuration of the decision core; its JSON travels in `SessionStart.config`. Pure."""

from decimal import Decimal
from typing import Self

from pydantic import Field, ValidationError, model_validator

from don.books.config import AllocationConfig, SlotConfig, check_slots
from don.errors import ConfigError
from don.execution.config import WorkingConfig
from don.execution.planner import PlannerConfig, Style
from don.execution.protect import ProtectConfig
from don.model.section import Section
from don.policies import PoliciesConfig
from don.portfolio.config import CovarianceConfig, PortfolioConfig
from don.risk.config import RiskConfig


class EngineConfig(Section):
    """Everything that shapes decisions."""

    policies: PoliciesConfig = PoliciesConfig()
    slots: tuple[SlotConfig, ...] = ()  # several policies on one account; empty: the one named
    allocation: AllocationConfig = AllocationConfig()
    covariance: CovarianceConfig = CovarianceConfig()
    portfolio: PortfolioConfig = PortfolioConfig()
    risk: RiskConfig = RiskConfig()
    planner: PlannerConfig = PlannerConfig()
    working: WorkingConfig = WorkingConfig()
    protect: ProtectConfig = ProtectConfig()
    max_snapshot_age_s: float = Field(default=10.0, gt=0)  # wall time from market data to decision
    silence_s: float = Field(
        default=120.0, gt=0
    )  # without a snapshot: data are stale, orders leave
    half_spread: float = Field(default=0.0001, ge=0)  # fraction: cost beside the taker fee ...
    spread_feature: str = "spread"  # ... unless the feature set has this one, and a value
    # quote; above zero only for exchanges that tell entry prices rounded
    cost_tolerance: Decimal = Field(default=Decimal(0), ge=0)
    flatten_retry_s: float = Field(default=2.0, gt=0)  # wall time between tries to close a rest
    # wall time for which a report may wait for the bar or the target that comes before it
    hold_s: float = Field(default=1.0, ge=0)
    # bars between decisions, by exchange time: bars whose close is a multiple of so many
    decide_every: int = Field(default=1, ge=1)
    funding_feature: str = ""  # carry for the optimizer: the rate of the running period; "" none
    funding_period_s: float = Field(default=28_800.0, gt=0)  # between two fundings
    impact: float = Field(default=0.0, ge=0)  # strength of square-root impact; 0: none

    @model_validator(mode="after")
    def _slots_fit(self) -> Self:
        if self.slots:
            check_slots(self.slots, self.allocation)
        return self

    @model_validator(mode="after")
    def _orders_can_pass(self) -> Self:
        """Refuse limits that every order of the planner would break."""
        risk, planner = self.risk, self.planner
        away = {
            Style.PASSIVE: planner.passive_offset,
            Style.CHASE: planner.passive_offset,
            Style.MARKET: Decimal(0),
        }.get(planner.style, planner.slippage)
        name = "slippage" if away == planner.slippage else "passive_offset"
        if away > risk.price_collar:
            raise ValueError(
                f"planner.{name} must be within risk.price_collar, were {away} and "
                f"{risk.price_collar}: every order would be refused"
            )
        if risk.max_slippage is not None:
            if planner.style is Style.MARKET:
                raise ValueError(
                    "planner.style market has no bound on slippage, risk.max_slippage is "
                    f"{risk.max_slippage}: every order would be refused"
                )
            if planner.style is Style.LIMIT_IOC and planner.slippage > risk.max_slippage:
                raise ValueError(
                    f"planner.slippage must be at most risk.max_slippage, were {planner.slippage} "
                    f"and {risk.max_slippage}: every order would be refused"
                )
        return self


def parse_config(text: str) -> EngineConfig:
    """The configuration in a session's first entry.

    Raises:
        ConfigError: if the text does not fit.
    """
    try:
        return EngineConfig.model_validate_json(text or "{}")
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"engine config: {path} {first['msg']}") from error
