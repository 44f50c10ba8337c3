"""What baselines can be told. Pure; imports nothing heavy."""

from pydantic import Field

from don.model.section import Section


class BaselineConfig(Section):
    """Parameters of the baselines."""

    rebalance_hours: float = Field(default=24.0, gt=0)  # all but hold
    volatility_days: float = Field(default=28.0, gt=0)
    momentum_days: float = Field(default=28.0, gt=0)
    moments_days: float = Field(default=60.0, gt=0)  # of mean-variance
    risk_aversion: float = Field(default=5.0, gt=0)  # of mean-variance, on daily moments
    gross: float = Field(default=1.0, gt=0, le=20)  # sum of |weights| at most
