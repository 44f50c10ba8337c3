"""Configuration of portfolio choice. Pure; apart from the optimizer, which alone imports cvxpy."""

from pydantic import Field

from don.model.section import Section


class PortfolioConfig(Section):
    """Mean-variance choice with costs, under limits. Weights are fractions of equity.

    maximise  H mu'w - H gamma/2 w'Sigma w - cost'|w - w_now|  over w, where mu and Sigma are per
    bar and H is how long a position is expected to be held: a trade must earn its own cost within H
    bars.
    """

    risk_aversion: float = Field(default=6.0, gt=0)  # gamma, of wealth in units of one bar
    horizon_bars: float = Field(default=24.0, gt=0)  # H
    max_gross: float = Field(default=1.0, gt=0)  # sum of |w|
    max_weight: float = Field(default=0.3, gt=0)  # |w| of one symbol
    max_turnover: float = Field(default=1.0, gt=0)  # sum of |w - w_now| per decision
    allow_short: bool = True
    max_factors: int = Field(default=32, ge=1)  # above: that many factors and a diagonal rest
