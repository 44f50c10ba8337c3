"""Configuration of the decision core; its JSON travels in `SessionStart.config`. Pure."""

from decimal import Decimal

from pydantic import Field, ValidationError

from don.errors import ConfigError
from don.execution.planner import PlannerConfig
from don.model.section import Section
from don.policies import PoliciesConfig
from don.portfolio.config import CovarianceConfig, PortfolioConfig
from don.risk.config import RiskConfig


class EngineConfig(Section):
    """Everything that shapes decisions."""

    policies: PoliciesConfig = PoliciesConfig()
    covariance: CovarianceConfig = CovarianceConfig()
    portfolio: PortfolioConfig = PortfolioConfig()
    risk: RiskConfig = RiskConfig()
    planner: PlannerConfig = PlannerConfig()
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
