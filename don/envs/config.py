"""What an environment can be told. Pure; imports nothing heavy."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from don.backtest.config import BarFillConfig
from don.model.section import Section

if TYPE_CHECKING:
    from don.features.sets import FeatureSet


class Form(StrEnum):
    """How agents hold capital."""

    OWN = "own"  # each agent has an account and all symbols
    SINGLE = "single"  # each agent has an account and one symbol
    SHARED = "shared"  # one agent a symbol, one account for all of them
    ALLOCATED = "allocated"  # several policies with accounts of their own, an allocator above them


class ActionKind(StrEnum):
    """What an action says."""

    DISCRETE = "discrete"  # one of `levels` for the only symbol
    MULTI_DISCRETE = "multi_discrete"  # one of `levels` for each symbol
    CONTINUOUS = "continuous"  # a part of `gross` from -1 to 1 for each symbol
    SIMPLEX = "simplex"  # long-only weights: softmax over the symbols and cash
    LONG_SHORT = "long_short"  # weights of sum |w| <= gross
    TICKET = "ticket"  # side, offset, size, type for each symbol


class ActionConfig(Section):
    """Actions, and how they become orders."""

    kind: ActionKind = ActionKind.CONTINUOUS
    levels: tuple[float, ...] = (-1.0, 0.0, 1.0)  # exposures of discrete actions, parts of gross
    gross: float = Field(default=1.0, gt=0, le=20)  # sum of |weights| at most, fraction of equity
    band: float = Field(default=0.01, ge=0, lt=1)  # as the planner's: smaller changes are not made
    every: int = Field(default=1, ge=1, le=10_000)  # bars of a step: what was asked for stays asked
    offsets: tuple[float, ...] = (0.0, 0.0005, 0.002)  # of tickets, away from the last close
    sizes: tuple[float, ...] = (0.1, 0.5)  # of tickets, parts of gross times equity

    @model_validator(mode="after")
    def _sane(self) -> Self:
        if len(self.levels) < 2 or any(not -1 <= x <= 1 for x in self.levels):
            raise ValueError(f"levels must be two or more from -1 to 1, were {self.levels}")
        if not self.offsets or any(not 0 <= x < 0.05 for x in self.offsets):
            raise ValueError(f"offsets must be from 0 to 0.05, were {self.offsets}")
        if not self.sizes or any(not 0 < x <= 1 for x in self.sizes):
            raise ValueError(f"sizes must be above 0, at most 1, were {self.sizes}")
        if self.every > 1 and self.kind is ActionKind.TICKET:
            raise ValueError(f"every must be 1 with tickets, which are sent once, was {self.every}")
        return self


class Part(StrEnum):
    """A part of an observation."""

    WINDOW = "window"  # the last bars' features
    FRAMES = "frames"  # the same of longer bars, one window a timeframe
    BOOK = "book"  # image of the order book
    ACCOUNT = "account"  # positions, profit, drawdown, margin, time left


class Layout(StrEnum):
    """How parts are handed out."""

    FLAT = "flat"  # one vector
    DICT = "dict"  # each part in its own shape


class Scaling(StrEnum):
    """How features are made comparable."""

    NONE = "none"
    EXPANDING = "expanding"  # by mean and deviation of everything until then
    EWMA = "ewma"  # the same, older bars count less
    FITTED = "fitted"  # by mean and deviation of a range given beforehand


def _check_modules(names: tuple[str, ...]) -> None:
    odd = [name for name in names if not all(part.isidentifier() for part in name.split("."))]
    if odd or len(set(names)) != len(names):
        raise ValueError(f"modules must be different dotted names of Python modules, were {names}")


class ObservationConfig(Section):
    """What agents see."""

    features: tuple[str, ...] = ("log_return_1", "return_12", "rsi_14", "atr_14", "zscore_24")
    # Python modules that register features of one's own, imported where the features are computed;
    # none is left out of what is written: hashes of what was made before there were any stay
    modules: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    parts: tuple[Part, ...] = (Part.WINDOW, Part.ACCOUNT)
    layout: Layout = Layout.FLAT
    window: int = Field(default=1, ge=1, le=4096)  # bars
    frames: tuple[int, ...] = ()  # lengths of longer bars, in bars of the market
    frame_window: int = Field(default=8, ge=1, le=1024)  # longer bars of each frame
    levels: int = Field(default=5, ge=1, le=50)  # of the book image, a side
    scaling: Scaling = Scaling.EXPANDING
    half_life: float = Field(default=1000.0, gt=0)  # bars, of `ewma`
    clip: float = Field(default=10.0, gt=0)  # deviations

    @model_validator(mode="after")
    def _sane(self) -> Self:
        if not self.parts or len(set(self.parts)) != len(self.parts):
            told = ", ".join(self.parts) or "none"
            raise ValueError(f"parts must be one or more different ones, were {told}")
        if (Part.FRAMES in self.parts) != bool(self.frames):
            raise ValueError(
                f"frames must be given exactly when parts contain 'frames', were {self.frames} "
                f"with {', '.join(self.parts)}"
            )
        if any(f < 2 for f in self.frames) or len(set(self.frames)) != len(self.frames):
            raise ValueError(f"frames must be different and at least 2, were {self.frames}")
        if not self.features:
            raise ValueError("features must be one or more names, were none")
        _check_modules(self.modules)
        return self

    def feature_set(self, interval_ns: int | None = None) -> "FeatureSet":
        """The features, with the modules that register them.

        Raises:
            ConfigError: if a feature is none, or a module cannot be loaded.
        """
        # Imported here: whoever only carries a configuration must not load TA-Lib and the kernels.
        from don.features.plugins import load_modules
        from don.features.sets import FeatureSet

        load_modules(self.modules, "observation.modules")
        return FeatureSet(self.features, interval_ns)


class RewardTerm(Section):
    """One term of a reward; `name` is in `don.envs.rewards.kinds()`, or one of the user's own."""

    name: str = "log_return"
    weight: float = Field(default=1.0, allow_inf_nan=False)
    scale: float = Field(default=1.0, ge=0)  # of penalties
    rate: float = Field(default=0.01, gt=0, le=1)  # of moving estimates
    level: float = Field(default=0.05, gt=0, lt=1)  # tail probability
    # of one of the user's own; none is left out of what is written, as `modules` are
    params: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default_factory=dict, exclude_if=lambda given: not given
    )


class RewardConfig(Section):
    """A weighted sum of terms."""

    # Python modules that register rewards of one's own, imported where rewards are computed
    modules: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    terms: tuple[RewardTerm, ...] = Field(default=(RewardTerm(),), min_length=1)
    shared: bool = True  # of agents that share an account: all get its reward, or each its symbol's

    @model_validator(mode="after")
    def _modules(self) -> Self:
        _check_modules(self.modules)
        return self


class CostConfig(Section):
    """Costs beside the listed fees, and margin."""

    fills: BarFillConfig = BarFillConfig()
    maker: float = Field(default=1.0, ge=-10, le=100)  # times the listed fee
    taker: float = Field(default=1.0, ge=0, le=100)
    funding: float = Field(default=1.0, ge=0, le=100)  # times the recorded rate
    maintenance: float = Field(default=0.004, gt=0, lt=1)
    liquidation_fee: float = Field(default=0.0125, ge=0, lt=1)
    percent_up: float = Field(default=1.05, gt=1)
    percent_down: float = Field(default=0.95, gt=0, lt=1)
    spot: bool = False  # no shorts, no debt: buys are cut to what cash pays for, fees included


class RandomConfig(Section):
    """What is drawn anew for each episode; ranges are (least, greatest), uniform."""

    taker: tuple[float, float] = (1.0, 1.0)  # factors
    maker: tuple[float, float] = (1.0, 1.0)
    spread: tuple[float, float] = (1.0, 1.0)
    depth: tuple[float, float] = (1.0, 1.0)
    funding: tuple[float, float] = (1.0, 1.0)
    latency: tuple[float, float] = (
        0.0,
        0.0,
    )  # added to the part of the bar after which orders come

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name in type(self).model_fields:
            low, high = getattr(self, name)
            if not 0 <= low <= high <= 100:
                raise ValueError(f"{name} must be 0 <= least <= greatest, was {(low, high)}")
        return self


class VariantConfig(Section):
    """Made-up histories beside the real one."""

    bootstraps: int = Field(default=0, ge=0, le=1000)  # histories of resampled blocks
    block: float = Field(default=48.0, ge=1)  # mean length of a block, bars
    shuffles: int = Field(default=0, ge=0, le=1000)  # histories of shuffled regimes
    regimes: int = Field(default=3, ge=2, le=20)  # by volatility
    regime_window: int = Field(default=48, ge=2)  # bars whose volatility makes a regime
    crashes: float = Field(default=0.0, ge=0, le=0.1)  # a bar's chance of a crash, in variants
    crash: tuple[float, float] = (0.05, 0.3)  # fall, fraction; at once, inside one bar
    rebound: float = Field(default=0.5, ge=0, le=1)  # of the fall, by the close of that bar
    gaps: float = Field(default=0.0, ge=0, le=0.1)  # a bar's chance that a gap begins, in variants
    gap: tuple[int, int] = (1, 12)  # bars without trade, of all symbols
    keep_real: bool = True
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if not 0 < self.crash[0] <= self.crash[1] < 1:
            raise ValueError(f"crash must be 0 < least <= greatest < 1, was {self.crash}")
        if not 1 <= self.gap[0] <= self.gap[1]:
            raise ValueError(f"gap must be 1 <= least <= greatest, was {self.gap}")
        if self.bootstraps + self.shuffles:
            return self
        for name, field in type(self).model_fields.items():  # nothing is made that these are of
            if (value := getattr(self, name)) != field.default:
                raise ValueError(
                    f"{name} must be left out without bootstraps and shuffles, of which there were "
                    f"none; was {value}"
                )
        return self


class EpisodeConfig(Section):
    """When episodes begin and end."""

    length: int | None = Field(default=None, ge=1)  # bars; None: to the end of the segment
    random_start: bool = True  # else each begins at the first bar that can be observed
    capital: float = Field(default=100_000.0, gt=0)  # quote, of each account
    ruin: float = Field(default=0.05, ge=0, lt=1)  # ends when an account is below this part of it
    end_on_liquidation: bool = True


class EnvConfig(Section):
    """An environment."""

    form: Form = Form.OWN
    agents: int = Field(default=1, ge=1, le=1024)  # of forms `own` and `allocated`
    action: ActionConfig = ActionConfig()
    observation: ObservationConfig = ObservationConfig()
    reward: RewardConfig = RewardConfig()
    costs: CostConfig = CostConfig()
    random: RandomConfig = RandomConfig()
    episode: EpisodeConfig = EpisodeConfig()
    allocate_every: int = Field(default=1, ge=1)  # bars between changes of the allocation
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        spot, kind, every = self.costs.spot, self.action.kind, self.action.every
        if every > 1 and self.form is Form.ALLOCATED:
            raise ValueError(f"action.every must be 1 with form allocated, was {every}")
        if self.episode.length is not None and self.episode.length % every:
            raise ValueError(
                f"episode.length must be a multiple of action.every, which is {every}, was "
                f"{self.episode.length}"
            )
        if spot and self.action.gross > 1:
            raise ValueError(f"action.gross must be at most 1 in spot, was {self.action.gross}")
        if self.form is Form.SHARED and kind in (ActionKind.SIMPLEX, ActionKind.LONG_SHORT):
            raise ValueError(
                "action.kind must be one for a single symbol with form 'shared', whose agents have "
                f"one each, was {kind.value!r}"
            )
        return self
