"""Configuration of portfolio choice. Pure; apart from the solvers, which cost an import."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from don.model.section import Section


class Objective(StrEnum):
    """What the optimizer wants. Every one obeys the same limits."""

    MEAN_VARIANCE = "mean_variance"
    MIN_VARIANCE = "min_variance"
    MAX_SHARPE = "max_sharpe"
    RISK_PARITY = "risk_parity"
    MAX_DIVERSIFICATION = "max_diversification"
    CVAR = "cvar"  # mean against conditional value at risk, needs scenarios
    CDAR = "cdar"  # mean against conditional drawdown at risk, needs scenarios
    HRP = "hrp"  # hierarchical risk parity
    BLACK_LITTERMAN = "black_litterman"  # mu is a view on a market in balance
    ROBUST = "robust"  # mean-variance against the worst mu within its uncertainty
    MULTI_PERIOD = "multi_period"  # a plan over several periods, of which the first is traded

    @property
    def has_views(self) -> bool:
        """Whether it asks the policy at all; the others weigh risks against each other alone."""
        return self not in _VIEWLESS


class Rounding(StrEnum):
    """How weights become whole lots."""

    NONE = "none"  # left to the order planner, which rounds trades toward zero
    TOWARD_ZERO = "toward_zero"  # positions toward zero: no limit on size can break
    GREEDY = "greedy"  # then lots are added one by one while they better the objective


class Group(Section):
    """Limits on some symbols together; None: no limit."""

    name: str = Field(min_length=1)
    symbols: tuple[str, ...] = Field(min_length=1)
    min_net: float | None = None  # sum of w
    max_net: float | None = None
    max_gross: float | None = Field(default=None, ge=0)  # sum of |w|

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order("min_net", self.min_net, "max_net", self.max_net)
        return self


class Bound(Section):
    """The least and greatest weight of one symbol."""

    symbol: str
    lower: float
    upper: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order("lower", self.lower, "upper", self.upper)
        return self


class RiskBudget(Section):
    """The share of risk that one symbol may have in risk parity, relative to the others' 1."""

    symbol: str
    budget: float = Field(gt=0)


class PortfolioConfig(Section):
    """Portfolio choice with costs, under limits. Weights are fractions of equity.

    The default objective: maximise  H mu'w - H gamma/2 w'Sigma w - cost'|w - w_now|  over w, where
    mu and Sigma are per bar and H is how long a position is expected to be held: a trade must earn
    its own cost within H bars.
    """

    objective: Objective = Objective.MEAN_VARIANCE
    risk_aversion: float = Field(default=6.0, gt=0)  # gamma, of wealth in units of one bar
    horizon_bars: float = Field(default=24.0, gt=0)  # H
    max_gross: float = Field(default=1.0, gt=0)  # sum of |w|
    max_weight: float = Field(default=0.3, gt=0)  # |w| of one symbol
    max_turnover: float = Field(default=1.0, gt=0)  # sum of |w - w_now| per decision
    allow_short: bool = True
    max_factors: int = Field(default=32, ge=1)  # above: that many factors and a diagonal rest

    invested: float | None = Field(default=None, gt=0)  # sum of w, exactly; None: see `budget`
    min_net: float | None = None  # sum of w
    max_net: float | None = None
    bounds: tuple[Bound, ...] = ()  # of single symbols, inside max_weight
    groups: tuple[Group, ...] = ()
    max_margin: float | None = Field(default=None, gt=0)  # initial margin, fraction of equity
    margin_rate: float = Field(default=0.05, gt=0, le=1)  # where the request does not say
    neutral_to: tuple[str, ...] = ()  # symbols whose beta the portfolio must not have
    neutral_factors: int = Field(default=0, ge=0)  # leading principal factors, likewise
    neutral_tolerance: float = Field(default=0.0, ge=0)  # of such an exposure
    max_positions: int | None = Field(default=None, ge=1)
    rounding: Rounding = Rounding.NONE

    tail: float = Field(default=0.95, gt=0, lt=1)  # CVaR and CDaR: of the worst 1 - tail
    tail_aversion: float = Field(default=1.0, ge=0)  # weight of CVaR (of H bars) or CDaR
    uncertainty: float = Field(default=1.0, ge=0)  # robust: radius in standard errors
    observations: float = Field(default=96.0, gt=0)  # behind mu, where its error is not given
    tau: float = Field(default=0.05, gt=0)  # Black-Litterman: uncertainty of the balance
    view_confidence: float = Field(default=0.5, gt=0, lt=1)  # where a view's error is not given
    risk_budgets: tuple[RiskBudget, ...] = ()  # risk parity; 1 for symbols not named
    periods: int = Field(default=4, ge=1, le=64)  # multi-period: H is cut into so many
    decay: float = Field(default=0.5, gt=0, le=1)  # of mu from period to period

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_order("min_net", self.min_net, "max_net", self.max_net)
        if self.invested is not None:
            _check_order("invested", self.invested, "max_gross", self.max_gross)
            _check_order("invested", self.invested, "max_net", self.max_net)
            _check_order("min_net", self.min_net, "invested", self.invested)
        _check_order("min_net", self.min_net, "max_gross", self.max_gross)
        floor = -self.max_weight if self.allow_short else 0.0
        for bound in self.bounds:
            if bound.lower > self.max_weight or bound.upper < floor:
                raise ValueError(
                    f"bounds of {bound.symbol} must meet {floor} to {self.max_weight} (max_weight, "
                    f"allow_short), were {bound.lower} to {bound.upper}"
                )
        forced = sum(max(b.lower, -b.upper, 0.0) for b in self.bounds)
        if forced > self.max_gross:
            raise ValueError(
                f"bounds force a gross of {forced}, max_gross must be more, was {self.max_gross}"
            )
        for field, names in (
            ("groups", [group.name for group in self.groups]),
            ("bounds", [bound.symbol for bound in self.bounds]),
            ("risk_budgets", [budget.symbol for budget in self.risk_budgets]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{field} must name each once, was twice: {', '.join(twice)}")
        return self

    @property
    def only_sizes(self) -> bool:
        """Whether nothing but bounds, gross and turnover limits weights, which need no solver."""
        sums = (self.budget, self.min_net, self.max_net, self.max_margin, self.max_positions)
        return (
            all(one is None for one in sums)
            and not (self.groups or self.neutral_to or self.neutral_factors)
            and self.rounding is Rounding.NONE
        )

    @property
    def budget(self) -> float | None:
        """Sum of the weights, where it is fixed.

        Objectives that only weigh risks against each other would hold nothing; without `invested`
        they invest `max_gross`.
        """
        if self.invested is None and not self.objective.has_views:
            return self.max_gross
        return self.invested


_VIEWLESS = frozenset(
    {
        Objective.MIN_VARIANCE,
        Objective.RISK_PARITY,
        Objective.MAX_DIVERSIFICATION,
        Objective.HRP,
    }
)


def _check_order(low_name: str, low: float | None, high_name: str, high: float | None) -> None:
    if low is not None and high is not None and low > high:
        raise ValueError(f"{low_name} must be at most {high_name}, were {low} and {high}")


class RiskModelKind(StrEnum):
    """How moments of returns become a covariance. All of them are updated bar by bar."""

    EWMA = "ewma"  # exponentially weighted, shrunk by hand: `shrinkage`
    SAMPLE = "sample"  # every return seen counts the same, shrunk by hand
    LEDOIT_WOLF = "ledoit_wolf"  # exponentially weighted, as are the rest
    OAS = "oas"
    FACTOR = "factor"  # leading principal factors and own variances
    DENOISED = "denoised"  # Marchenko-Pastur


class CovarianceConfig(Section):
    """How the covariance of returns is estimated."""

    model: RiskModelKind = RiskModelKind.EWMA
    factors: int = Field(default=3, ge=1)  # of the factor model

    half_life: float = 96.0  # bars after which an observation counts half
    min_bars: int = 24  # returns needed before the desk trades
    shrinkage: float = 0.1  # weight of the constant-correlation target, 0 to 1
